"""What only its maker can read, signatures, encrypted results, signed summaries, is not
taken back everywhere and for ever: where it is refused it is left out of what is sent,
once, the rest goes on as it was, and the record keeps it.

Another model, another account or a key that was changed made the service refuse what it
had sent itself, for good ("Invalid `signature` in `thinking` block", "could not be
decrypted"), and a summary that was refused took its conversation along:

- https://github.com/openclaw/openclaw/issues/107221
- https://github.com/openai/codex/issues/8119
- https://github.com/RooCodeInc/Roo-Code/issues/11785
"""

import json
from typing import Any, Final

import attrs
import pytest
from tests.harness.scenario import CONFIRMED, Scenario
from tests.harness.world import mentions

from turnlatch import FaultKind, Remedy, tool
from turnlatch.simulator import (
    Answer,
    Redacted,
    call,
    reply,
    server_call,
    server_result,
    think,
)

pytestmark = pytest.mark.anyio

ADAPTIVE: dict[str, Any] = {"settings": {"thinking": {"type": "adaptive"}}}
OTHER: Final = "claude-opus-5"
"""The model that takes over."""

CHANGED: Final = "at t=100 forever"
"""From some time on nothing of before is taken back."""

SEARCHED = reply(
    "Searching.",
    server_call("web_search", query="news"),
    server_result("https://example.org"),
    "It rains.",
)


@tool
async def web_search(query: str) -> str:
    """Never run here: the service runs it."""
    raise AssertionError(query)


OFFERED = attrs.evolve(
    web_search, definition={"type": "web_search_20250305", "name": "web_search"}
)


@attrs.frozen
class Opaque:
    """One kind of what only its maker reads.

    Attributes:
        answer: A reply that has some.
        path: Where that stands, as the service names it.
        says: What it says of it.
        mark: What a request that holds it contains.
    """

    answer: Answer
    path: str
    says: str
    mark: str

    def refused(self, when: str, *, named: bool = True) -> str:
        """The fault that refuses it."""
        said = f"{self.path}: {self.says}" if named else self.says
        mark = json.dumps(self.mark)
        return f"400 message={json.dumps(said)} body={mark} {when}"


THOUGHT = Opaque(
    reply(think("Hm."), "It rains."),
    "messages.1.content.0",
    "Invalid `signature` in `thinking` block",
    '"signature":',
)
HIDDEN = Opaque(
    reply(Redacted(), "It rains."),
    "messages.1.content.0",
    "Invalid `data` in `redacted_thinking` block",
    '"redacted_thinking"',
)
FOUND = Opaque(
    SEARCHED,
    "messages.1.content.2.web_search_tool_result.content.0.encrypted_content",
    "Could not be decrypted",
    '"encrypted_content"',
)
KINDS = {"thinking": THOUGHT, "redacted thinking": HIDDEN, "search results": FOUND}


def sent(scenario: Scenario) -> list[dict[str, Any]]:
    """The messages of the last request."""
    body: Any = scenario.requests[-1].body
    return list(body["messages"])


def texts(scenario: Scenario) -> list[str]:
    """All that the last request says in words."""
    return [
        block["text"]
        for message in sent(scenario)
        for block in message["content"]
        if block["type"] == "text"
    ]


@pytest.mark.parametrize("what", KINDS)
async def test_another_model_is_sent_the_rest_after_one_refusal(
    scenario: Scenario, what: str
) -> None:
    kind = KINDS[what]
    scenario.script(
        kind.answer, "Yes.", "Yes.", faults=kind.refused(f"model={OTHER} forever")
    )
    async with scenario.open(tools=[OFFERED], **ADAPTIVE) as chat:
        await chat.send("How is the weather?")
        await chat.configure(model=OTHER)
        turn = await chat.send("Are you sure?")
        assert turn.requests == 2
        said = texts(scenario)
        assert said[0] == "How is the weather?"
        assert said[-2:] == ["It rains.", "Are you sure?"]
        assert mentions(chat.messages, kind.mark.strip('":')), "the record keeps it"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, verbatim=False
        )


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", OTHER])
@pytest.mark.parametrize("what", KINDS)
async def test_from_some_time_on_nothing_of_before_is_taken_back(
    scenario: Scenario, what: str, model: str
) -> None:
    kind = KINDS[what]
    scenario.script(kind.answer, "Yes.", "Yes.", faults=kind.refused(CHANGED))
    async with scenario.open(model=model, tools=[OFFERED], **ADAPTIVE) as chat:
        await chat.send("How is the weather?")
        await chat.send("Are you sure?")
        await scenario.clock.sleep(200.0)
        turn = await chat.send("Still?")
        assert turn.requests <= 3, (
            "the service's own control is tried where there is one"
        )
        assert texts(scenario)[-3:] == ["Are you sure?", "Yes.", "Still?"]
        assert "It rains." in texts(scenario)
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=5, verbatim=False
        )


async def test_unnamed_refused_part_is_found_at_the_second_refusal(
    scenario: Scenario,
) -> None:
    scenario.script(SEARCHED, "Yes.", faults=FOUND.refused(CHANGED, named=False))
    async with scenario.open(tools=[OFFERED]) as chat:
        await chat.send("How is the weather?")
        await chat.send("A secret: 42.")
        await scenario.clock.sleep(200.0)
        turn = await chat.send("Still?")
        assert turn.fault is not None
        turn = await chat.retry()
        assert turn.remedies == (Remedy.BISECT,)
        assert "A secret: 42." in texts(scenario), "what is not to blame stays"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=12, verbatim=False
        )


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", OTHER])
async def test_refused_content_within_a_tool_turn_is_sent_as_a_record(
    scenario: Scenario, model: str
) -> None:
    scenario.script(
        reply(think("Hm."), call("ask", what="a")),
        "Done.",
        faults=THOUGHT.refused(CHANGED),
    )
    async with scenario.open(model=model, **ADAPTIVE) as chat:
        turn = await chat.send("Go")
        await scenario.clock.sleep(200.0)
        turn = await chat.approve(turn.awaiting[0].id)
        assert turn.text == "Done."
        last = len(scenario.requests)
        assert mentions(scenario.said(last), "did a")
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"ask a": 1},
            budget=4,
            altered=[last],
            verbatim=False,
        )


SUMMARY = Opaque(
    Answer(),
    "messages.0.content.0",
    "`compaction` block `signature` is not valid",
    '"type":"compaction"',
)


@pytest.mark.parametrize(
    "code", ["compaction_signature_invalid", "compaction_content_mismatch"]
)
async def test_a_signed_summary_that_is_refused_is_replaced_by_what_it_stood_for(
    scenario: Scenario, code: str
) -> None:
    fault = SUMMARY.refused(CHANGED).replace("400 ", f"400 code={code} ", 1)
    scenario.script("One.", "Two.", "Three.", "Four.", faults=fault)
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
        await chat.compact()
        await chat.send("3")
        await scenario.clock.sleep(200.0)
        await chat.send("4")
        assert texts(scenario) == ["1", "One.", "2", "Two.", "3", "Three.", "4"]
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=6)


async def test_and_by_one_in_words_where_that_is_too_long(scenario: Scenario) -> None:
    """No summary of ours has to be readable by anybody for the conversation to go on."""
    fault = SUMMARY.refused(CHANGED).replace(
        "400 ", "400 code=compaction_signature_invalid ", 1
    )
    scenario.script(
        "One. " * 300,
        "Two. " * 100,
        "Three.",
        "What was said, in short.",
        faults=f"{fault}, limit context_window=700 @5+",
        summaries=["In short."],
    )
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
        await chat.compact()
        await chat.send("3")
        await scenario.clock.sleep(200.0)
        await chat.send("4")
        assert texts(scenario)[-1] == "4"
        in_words = [
            number
            for number, one in enumerate(scenario.requests, start=1)
            if "[Record]" in one.raw.decode()
        ]
        assert in_words != []
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=14,
            unheard=in_words,
            verbatim=False,
            patience=3,
        )


@pytest.mark.parametrize("what", KINDS)
async def test_refused_part_does_not_prevent_a_summary(
    scenario: Scenario, what: str
) -> None:
    kind = KINDS[what]
    scenario.script(kind.answer, "Yes.", "It rained.", faults=kind.refused(CHANGED))
    async with scenario.open(tools=[OFFERED], **ADAPTIVE) as chat:
        await chat.send("How is the weather?")
        await chat.send("Are you sure?")
        await scenario.clock.sleep(200.0)
        turn = await chat.compact()
        assert turn.state is CONFIRMED
        last = len(scenario.requests)
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=4,
            unheard=[last],
            verbatim=False,
        )
    assert "It rained." in texts(scenario)[0]


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("what", KINDS)
async def test_an_incident_of_five_minutes_changes_nothing_for_good(
    scenario: Scenario, what: str, named: bool
) -> None:
    """Everything is refused as if it were ours to mend, and then nothing is."""
    kind = KINDS[what]
    said = f"{kind.path}: {kind.says}" if named else kind.says
    scenario.script(
        kind.answer,
        "Yes.",
        faults=f"400 message={json.dumps(said)} at t=100 until t=400 forever",
    )
    async with scenario.open(tools=[OFFERED], **ADAPTIVE) as chat:
        await chat.send("How is the weather?")
        await chat.send("Are you sure?")
        before = chat.history
        await scenario.clock.sleep(200.0)
        turn = await chat.send("Still?")
        for _ in range(2):
            assert turn.fault is not None
            turn = await chat.send("Still?")
        kinds = {FaultKind.INVALID, FaultKind.BLOCK, FaultKind.THINKING}
        assert turn.fault is not None
        assert turn.fault.kind in kinds
        assert chat.history == before
        assert not chat.snapshot.view, "nothing was adopted that did not help"
        await scenario.clock.sleep(400.0)
        await scenario.finish(chat, ended=turn.fault.kind, effects={}, budget=40)

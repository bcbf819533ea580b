"""No block without words and no message without blocks goes out or is history, whoever
made it: the user, a tool, the service, or a stream that was cut.

One empty text block in a reply, or one tool that answered nothing, and every later request
was refused ("text content blocks must be non-empty", "all messages must have non-empty
content"):

- https://github.com/anthropics/claude-code/issues/24662
- https://github.com/anthropics/claude-code/issues/60313
- https://github.com/anomalyco/opencode/issues/7493
"""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import FaultKind, SettingsError, Tool, tool
from turnlatch.simulator import Answer, Raw, call, reply, text, think

pytestmark = pytest.mark.anyio

EMPTY = Raw({"type": "text", "text": ""})
BLANK = Raw({"type": "text", "text": " \n\t\u3000"})
NULL = Raw({"type": "text", "text": None})

REPLIES: dict[str, Answer] = {
    "empty": reply(EMPTY),
    "blank": reply(BLANK),
    "null": reply(NULL),
    "nothing": Answer(),
    "many": reply(EMPTY, BLANK, NULL, EMPTY),
    "before words": reply(EMPTY, "Words."),
    "behind words": reply("Words.", BLANK),
    "behind a thought": reply(think("Hm."), EMPTY),
    "cut off at once": Answer((), "max_tokens"),
    "stopped at once": Answer((), "stop_sequence"),
}
SAID: dict[str, Any] = {
    "nothing": "",
    "space": "  \n",
    "a space that is none in ASCII": "\u00a0\u3000",
    "an empty block": [{"type": "text", "text": ""}],
    "a blank block": [
        {"type": "text", "text": "Words."},
        {"type": "text", "text": " "},
    ],
}
GIVEN: dict[str, Any] = {
    "empty": "",
    "space": " \n ",
    "none": None,
    "bytes": b"",
    "block": [{"type": "text", "text": ""}],
    "blocks": [{"type": "text", "text": " "}, {"type": "text", "text": "Words."}],
    "list": [],
    "failed": Exception(""),
    "blank": ValueError(" \n"),
}


def blocks(scenario: Scenario) -> Iterator[dict[str, Any]]:
    """Every block of every request, those inside results too."""
    for request in scenario.requests:
        body: Any = request.body
        for message in body["messages"]:
            assert message["content"], "a message has something in it"
            for block in message["content"]:
                yield block
                inner = block.get("content")
                yield from inner if isinstance(inner, list) else ()


def check_words(scenario: Scenario) -> None:
    """Every text says something, and every result that has a content does."""
    for block in blocks(scenario):
        if block["type"] == "text":
            assert block["text"].strip()
        elif block["type"] == "tool_result" and "content" in block:
            assert block["content"]
            assert str(block["content"]).strip()


def giving(scenario: Scenario, name: str) -> Tool:
    """A tool that gives what has that name."""
    value = GIVEN[name]

    @tool(effect="once", name=f"give_{name}")
    async def give() -> Any:
        """Give it."""
        scenario.note(f"give {name}")
        if isinstance(value, Exception):
            raise value
        return value

    return give


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("what", REPLIES)
async def test_a_reply_without_words_is_nothing_in_the_next_request(
    scenario: Scenario, what: str, how: str
) -> None:
    scenario.script(REPLIES[what], "Two.")
    async with scenario.open(settings={"thinking": {"type": "adaptive"}}) as chat:
        await (chat.send("1") if how == "whole" else chat.stream("1").turn())
        turn = await chat.send("2")
        assert turn.text == "Two."
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=2, verbatim=False
        )
    check_words(scenario)


@pytest.mark.parametrize("blank", [EMPTY, BLANK, NULL], ids=["empty", "blank", "null"])
async def test_a_call_behind_a_text_without_words_is_run_and_answered(
    scenario: Scenario, blank: Raw
) -> None:
    scenario.script(reply(blank, call("look", path="a"), blank), "A file.")
    async with scenario.open() as chat:
        await chat.send("Look")
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"look a": 1}, budget=2, verbatim=False
        )
    check_words(scenario)


async def test_tools_that_answer_nothing_are_answered_all_the_same(
    scenario: Scenario,
) -> None:
    scenario.script(reply(*[call(f"give_{name}") for name in GIVEN]), "Nothing.")
    async with scenario.open(tools=[giving(scenario, name) for name in GIVEN]) as chat:
        await chat.send("Go")
        assert [one["type"] for one in scenario.said(2)] == ["tool_result"] * len(GIVEN)
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={f"give {name}": 1 for name in GIVEN},
            budget=2,
        )
    check_words(scenario)


@pytest.mark.parametrize("what", SAID)
async def test_blank_user_text_is_not_sent(scenario: Scenario, what: str) -> None:
    scenario.script("Hello.")
    async with scenario.open() as chat:
        await chat.send("Hi")
        with pytest.raises(SettingsError):
            await chat.send(SAID[what])
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=1)
    check_words(scenario)


async def test_blank_text_behind_a_call_does_not_cost_its_result(
    scenario: Scenario,
) -> None:
    scenario.script(call("hang", what="a"), "I see.")
    async with scenario.open() as chat:
        await scenario.cancelled_while_it_hangs(chat, "Go")
        for said in SAID.values():
            with pytest.raises(SettingsError):
                await chat.send(said)
        await chat.send("Words.")
        await scenario.finish(chat, ended=CONFIRMED, effects={"hang a": 1}, budget=2)
    assert [one["type"] for one in scenario.said(2)] == ["tool_result", "text"]
    check_words(scenario)


async def test_empty_content_is_not_a_message(scenario: Scenario) -> None:
    scenario.script("Hello.")
    async with scenario.open() as chat:
        await chat.send("Hi")
        with pytest.raises(SettingsError):
            await chat.send([])
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=1)


@pytest.mark.parametrize("events", range(2, 7))
async def test_a_stream_that_is_cut_before_its_first_word_leaves_no_message(
    scenario: Scenario, events: int
) -> None:
    scenario.script("Words.", "Words.", faults=f"cut {events} eof @1")
    async with scenario.open() as chat:
        turn = await chat.stream("1").turn()
        assert turn.text == "Words."
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)
    check_words(scenario)


async def test_denial_without_a_reason_has_text_and_blank_pin_is_refused(
    scenario: Scenario,
) -> None:
    scenario.script(call("ask", what="a"), "I see.", "Yes.")
    async with scenario.open() as chat:
        turn = await chat.send("Go")
        await chat.deny(turn.awaiting[0].id, "")
        with pytest.raises(SettingsError):
            await chat.pin("empty", "")
        await chat.compact()
        await chat.send("On we go")
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=4, verbatim=False
        )
    check_words(scenario)


@pytest.mark.parametrize("summary", [" \n", ""], ids=["blank", "empty"])
async def test_a_summary_without_words_stands_for_nothing(
    scenario: Scenario, summary: str
) -> None:
    scenario.script(
        "One.", reply(Raw({"type": "text", "text": summary})), summaries=[summary]
    )
    async with scenario.open() as chat:
        await chat.send("1")
        turn = await chat.compact()
        assert turn.fault is not None
        assert chat.snapshot.base is None
        await scenario.finish(
            chat, ended=FaultKind.COMPACTION, effects={}, budget=3, unheard=[3]
        )
    check_words(scenario)


async def test_message_emptied_by_a_view_is_left_out(
    scenario: Scenario,
) -> None:
    """Thinking alone, which is not taken back: the whole reply is left out."""
    refused = "messages.1.content.0: Invalid `signature` in `thinking` block"
    scenario.script(
        reply(think("Hm.")),
        text("Two."),
        faults=f'400 message="{refused}" body="\\"signature\\":" forever',
    )
    async with scenario.open(model="claude-opus-5") as chat:
        await chat.send("1")
        await chat.send("2")
        roles = [one["role"] for one in messages(scenario)]
        assert roles == ["user", "user"]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, verbatim=False
        )
    check_words(scenario)


def messages(scenario: Scenario) -> list[dict[str, Any]]:
    """The messages of the last request."""
    body: Any = scenario.requests[-1].body
    return list(body["messages"])

"""One builder makes every request, those that ask for a summary or for the truth about a
refusal too; and when the service refuses what it used to take, the request is made anew
and the record is not touched.

Requests for titles and summaries went out without the tools that their history needs, or
with roles that nobody takes; and stored sessions ended on the day a rule was tightened:

- https://github.com/anthropics/claude-code/issues/60947
- https://github.com/pydantic/pydantic-ai/pull/5929
- https://github.com/anthropics/claude-code/issues/59294
"""

from typing import Any

import pytest
from tests.harness.media import image, png
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import FaultKind, Remedy
from turnlatch.simulator import Answer, call, refuse, reply

pytestmark = pytest.mark.anyio


def well_built(scenario: Scenario) -> None:
    """Hold every request to what one builder would make, whatever it was for."""
    for one in scenario.simulator.log:
        body: Any = one.body
        sent: list[Any] = body["messages"]
        assert {message["role"] for message in sent} <= {"user", "assistant"}
        types = {block["type"] for message in sent for block in message["content"]}
        if types & {"tool_use", "tool_result"}:
            names = [tool["name"] for tool in body["tools"]]
            assert names == ["look", "act", "ask", "hang"], "the tools it speaks of"
            assert "Be brief." in str(body["system"])
        assert body["model"] == "claude-sonnet-5-5"


STEPS: tuple[Answer | str, ...] = (
    call("look", path="a"),
    call("look", path="b"),
    "One.",
)
RAN = {"look a": 1, "look b": 1}


async def test_a_request_for_a_summary_has_what_its_history_needs(
    scenario: Scenario,
) -> None:
    scenario.script(*STEPS, "Two.")
    async with scenario.open(system="Be brief.") as chat:
        await chat.send("1")
        await chat.send("2")
        await chat.compact()
        asked = len(scenario.requests)
        well_built(scenario)
        await scenario.finish(
            chat, ended=CONFIRMED, effects=RAN, budget=5, summary=asked
        )


async def test_summary_in_words_needs_no_field_of_its_history(
    scenario: Scenario,
) -> None:
    """Where the server gives none, an ordinary request without any tool block does."""
    scenario.script(*STEPS, "Two.", "So far.", summaries=[refuse()])
    async with scenario.open(system="Be brief.") as chat:
        await chat.send("1")
        await chat.send("2")
        turn = await chat.compact()
        assert turn.state is CONFIRMED
        well_built(scenario)
        body: Any = scenario.requests[-1].body
        (message,) = body["messages"]
        assert [block["type"] for block in message["content"]] == ["text"]
        assert "tools" not in body
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects=RAN,
            budget=6,
            history=(1, 2, 3, 4),
            verbatim=False,
        )


async def test_a_small_question_is_a_legal_one(scenario: Scenario) -> None:
    scenario.script(*STEPS, "OK.", "Two.", faults="500 @4-7")
    async with scenario.open(system="Be brief.") as chat:
        await chat.send("1")
        turn = await chat.send("2")
        assert (turn.text, turn.trials) == ("Two.", 1)
        well_built(scenario)
        await scenario.finish(
            chat, ended=CONFIRMED, effects=RAN, budget=10, verbatim=False
        )


async def test_trials_and_counts_are_legal_ones(scenario: Scenario) -> None:
    refused = "400 body=old forever @4+"
    scenario.script(*STEPS, faults=refused)
    async with scenario.open(system="Be brief.") as chat:
        await chat.send("old words")
        await chat.send("2")
        turn = await chat.send("2")
        assert turn.remedies == (Remedy.BISECT,)
        assert turn.trials > 0
        well_built(scenario)
        paths = {one.path for one in scenario.simulator.log}
        assert paths == {"/v1/messages", "/v1/messages/count_tokens"}
        await scenario.finish(
            chat, ended=CONFIRMED, effects=RAN, budget=12, verbatim=False
        )


async def test_conversation_opened_without_tools_still_sends_those_of_the_history(
    scenario: Scenario,
) -> None:
    scenario.script(*STEPS)
    async with scenario.open(system="Be brief.") as chat:
        await chat.send("1")
    async with scenario.open(tools=None) as chat:
        await chat.send("2")
        well_built(scenario)
        await scenario.finish(chat, ended=CONFIRMED, effects=RAN, budget=4)


async def test_tools_that_are_withdrawn_are_sent_no_more(scenario: Scenario) -> None:
    scenario.script(*STEPS)
    async with scenario.open(system="Be brief.") as chat:
        await chat.send("1")
    async with scenario.open(tools=[]) as chat:
        await chat.send("2")
        body: Any = scenario.requests[-1].body
        assert "tools" not in body
        await scenario.finish(chat, ended=CONFIRMED, effects=RAN, budget=4)


# A rule that was not there when the conversation began.

PICTURE = [image(png())]

RULES: dict[str, tuple[str, list[Any], Remedy]] = {
    # from which request on, what was said before, and what is done about it
    "fewer images": ("limit images_max=2 @4+", [PICTURE] * 3, Remedy.SHRINK),
    "smaller images": ("limit image_pixels_max=5 @4+", [PICTURE] * 3, Remedy.STUB),
    "fewer marks": ("limit cache_markers_max=1 @4+", ["1"] * 3, Remedy.DROP_FIELD),
    "words": (
        '400 message="messages.2.content.0.text: not this" body=old forever @4+',
        ["1", "old", "3"],
        Remedy.STUB,
    ),
    "words of the model": (
        '400 message="messages.3.content.0.text: not this" body=Well forever @4+',
        ["1", "2", "3"],
        Remedy.STUB,
    ),
    "a field": (
        '400 message="metadata: Extra inputs are not permitted" body=metadata forever @4+',
        ["1", "2", "3"],
        Remedy.DROP_FIELD,
    ),
}


@pytest.mark.parametrize("rule", RULES)
async def test_a_rule_that_is_tightened_costs_a_rebuild_and_not_the_record(
    scenario: Scenario, rule: str
) -> None:
    faults, said, remedy = RULES[rule]
    scenario.script("One.", "Well.", "Three.", "Four.", faults=faults)
    settings = {"metadata": {"user_id": "u"}}
    async with scenario.open(settings=settings) as chat:
        for words in said:
            await chat.send(words)
        before = chat.history.wires()
        turn = await chat.send("4")
        assert (turn.text, set(turn.remedies)) == ("Four.", {remedy})
        assert chat.history.wires()[:3] == before, "the record stays as it was"
        budget = 3 + turn.requests
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=budget, verbatim=False
        )


async def test_a_call_that_is_not_taken_any_more_becomes_a_record(
    scenario: Scenario,
) -> None:
    rule = (
        '400 message="messages.1.content.0.tool_use.input: not this"'
        r' body="\"path\":\"old\"" forever @3+'
    )
    scenario.script(reply(call("look", path="old")), "One.", "Two.", faults=rule)
    async with scenario.open() as chat:
        await chat.send("1")
        turn = await chat.send("2")
        assert (turn.text, turn.requests) == ("Two.", 2)
        told = scenario.requests[-1].raw.decode()
        assert "contents of old" in told, "what came of it is not lost"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"look old": 1}, budget=4, verbatim=False
        )


async def test_twenty_turns_outlive_an_unexplained_rule(
    scenario: Scenario,
) -> None:
    answers = [f"Answer {number}." for number in range(24)]
    scenario.script(*answers, faults='400 message="no" body="word 7." forever @21+')
    async with scenario.open() as chat:
        for number in range(20):
            await chat.send(f"word {number}.")
        first = await chat.send("And?")
        assert first.fault is not None
        assert first.fault.kind is FaultKind.INVALID
        turn = await chat.send("And?")
        assert turn.remedies == (Remedy.BISECT,)
        told = scenario.requests[-1].raw.decode()
        left_out = [n for n in range(20) if f"word {n}." not in told]
        assert left_out == [7], "that turn, and no other"
        assert len(chat.history) == 21
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=32, verbatim=False
        )

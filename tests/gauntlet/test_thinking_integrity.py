"""Signed thinking goes back as it came: in its message, in its order, all of it, and to
the letter. What was never signed is not sent; what the service will not take back any
more is left out of turns that are done, and an open tool turn is told as a whole.

Thinking that was merged, split, cut in capture or dropped while its tool turn was open
made the service refuse every later request ("`thinking` or `redacted_thinking` blocks in
the latest assistant message cannot be modified"), and stripping it was refused as well:

- https://github.com/anthropics/claude-code/issues/63289
- https://github.com/openclaw/openclaw/issues/92201
- https://github.com/anthropics/anthropic-sdk-python/issues/1598
"""

import json
import re
from typing import Any

import pytest
from tests.harness.processes import kill_at
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only
from tests.harness.world import mentions

from turnlatch.simulator import Redacted, call, reply, think

pytestmark = pytest.mark.anyio

ADAPTIVE = {"thinking": {"type": "adaptive"}}
SHOWN = {"thinking": {"type": "adaptive", "display": "summarized"}}
BETWEEN = {"thinking": {"type": "between_tools"}}
FIXED = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
OFF = {"thinking": {"type": "disabled"}}

LONG = think("I shall look at the file first, and tell what is in it afterwards.")
THOUGHT = reply(LONG, "Let me see.", call("look", path="a"))
WORDINGS = (
    "messages.1.content.0: Invalid `signature` in `thinking` block",
    "messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest"
    " assistant message cannot be modified. These blocks must remain as they were in"
    " the original response.",
)


def thoughts(scenario: Scenario, request: int) -> list[str]:
    """The types of the thinking in a request, in order."""
    body: Any = scenario.requests[request - 1].body
    return [
        block["type"]
        for message in body["messages"]
        for block in message["content"]
        if "thinking" in block["type"]
    ]


@pytest.mark.parametrize(
    "cut",
    [*[f"cut {events} eof" for events in range(1, 12)]]
    + [f"cut {percent}% reset" for percent in range(25, 60, 5)],
)
async def test_a_stream_that_breaks_in_its_thinking_leaves_none_of_it(
    scenario: Scenario, cut: str
) -> None:
    scenario.script(THOUGHT, THOUGHT, "A file.", faults=f"{cut} @1")
    async with scenario.open(settings=SHOWN) as chat:
        await chat.stream("Go").turn()
        assert thoughts(scenario, 3) == ["thinking"]
        await scenario.finish(chat, ended=CONFIRMED, effects={"look a": 1}, budget=3)


@asyncio_only
@pytest.mark.parametrize("point", ["after CallClosed", "after RequestSent 2"])
async def test_killed_in_an_open_tool_turn_its_thinking_goes_back_as_it_came(
    scenario: Scenario, point: str
) -> None:
    scenario.script(reply(LONG, call("act", what="a")), "Done.")
    kill_at(scenario, point, "first")
    async with scenario.open() as chat:
        await chat.send("hi")
        assert thoughts(scenario, len(scenario.requests)) == ["thinking"]
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)


async def test_many_thoughts_of_one_reply_keep_their_places(scenario: Scenario) -> None:
    scenario.script(
        reply(LONG, Redacted(), "First.", think("More."), call("look", path="a")),
        reply(Redacted(), call("look", path="b"), call("look", path="c")),
        "Done.",
    )
    async with scenario.open(settings=SHOWN) as chat:
        await chat.send("Go")
        kinds = ["thinking", "redacted_thinking", "thinking", "redacted_thinking"]
        assert thoughts(scenario, 3) == kinds
        effects = {"look a": 1, "look b": 1, "look c": 1}
        await scenario.finish(chat, ended=CONFIRMED, effects=effects, budget=3)


@pytest.mark.parametrize(
    ("model", "before", "after"),
    [
        ("claude-opus-5", ADAPTIVE, OFF),
        ("claude-opus-5", OFF, ADAPTIVE),
        ("claude-sonnet-5-5", ADAPTIVE, BETWEEN),
        ("claude-sonnet-5-5", BETWEEN, ADAPTIVE),
        ("claude-opus-4-6", ADAPTIVE, FIXED),
        ("claude-opus-4-6", FIXED, OFF),
        ("claude-haiku-4-5", FIXED, OFF),
    ],
)
async def test_thinking_switched_between_a_call_and_its_result_changes_no_block(
    scenario: Scenario, model: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    scenario.script(
        reply(LONG, call("ask", what="a")),
        reply(LONG, call("look", path="b")),
        "Done.",
    )
    async with scenario.open(model=model, settings=before) as chat:
        turn = await chat.send("Go")
        await chat.configure(settings=after)
        await chat.approve(turn.awaiting[0].id)
        effects = {"ask a": 1, "look b": 1}
        await scenario.finish(chat, ended=CONFIRMED, effects=effects, budget=3)


@pytest.mark.parametrize("before", [OFF, {}], ids=["off", "never set"])
async def test_fixed_thinking_switched_on_in_an_open_turn_causes_no_refusal(
    scenario: Scenario, before: dict[str, Any]
) -> None:
    """With a fixed budget the turn would have to begin with thinking, and it cannot any
    more: it is told as a record instead, before anything is sent."""
    scenario.script(call("ask", what="a"), reply(LONG, call("look", path="b")), "Done.")
    async with scenario.open(model="claude-haiku-4-5", settings=before) as chat:
        turn = await chat.send("Go")
        await chat.configure(settings=FIXED)
        await chat.approve(turn.awaiting[0].id)
        assert mentions(scenario.said(2), "did a")
        effects = {"ask a": 1, "look b": 1}
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects=effects,
            budget=3,
            altered=[2],
            verbatim=False,
        )


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("claude-opus-5", ADAPTIVE), ("claude-haiku-4-5", FIXED)),
        (("claude-sonnet-5-5", ADAPTIVE), ("claude-opus-5", ADAPTIVE)),
        (("claude-opus-5", ADAPTIVE), ("claude-sonnet-5-5", ADAPTIVE)),
        (("claude-haiku-4-5", FIXED), ("claude-sonnet-5-5", ADAPTIVE)),
    ],
    ids=lambda pair: pair[0],
)
async def test_another_model_between_a_call_and_its_result_takes_the_turn_as_it_is(
    scenario: Scenario, first: tuple[str, Any], then: tuple[str, Any]
) -> None:
    scenario.script(
        reply(LONG, call("ask", what="a")), reply(LONG, call("look", path="b")), "Done."
    )
    async with scenario.open(model=first[0], settings=first[1]) as chat:
        turn = await chat.send("Go")
        await chat.configure(model=then[0], settings=then[1])
        await chat.approve(turn.awaiting[0].id)
        effects = {"ask a": 1, "look b": 1}
        await scenario.finish(chat, ended=CONFIRMED, effects=effects, budget=3)


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-opus-5"])
@pytest.mark.parametrize("wording", WORDINGS, ids=["invalid", "modified"])
async def test_thinking_of_turns_that_are_done_is_left_out_once_it_is_refused(
    scenario: Scenario, model: str, wording: str
) -> None:
    said = json.dumps(wording)
    scenario.script(
        reply(LONG, "One."),
        reply(LONG, "Two."),
        faults=f'400 message={said} body="\\"signature\\":" @3+',
    )
    async with scenario.open(model=model, settings=ADAPTIVE) as chat:
        await chat.send("1")
        await chat.send("2")
        await chat.send("3")
        assert thoughts(scenario, len(scenario.requests)) == []
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=5, verbatim=False
        )


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-opus-5"])
@pytest.mark.parametrize("wording", WORDINGS, ids=["invalid", "modified"])
async def test_open_tool_turn_with_refused_thinking_is_sent_as_a_record(
    scenario: Scenario, model: str, wording: str
) -> None:
    """No call without its thinking, no thinking without its call: a record of both."""
    said = json.dumps(wording)
    scenario.script(
        reply(LONG, "I shall act.", call("act", what="a")),
        "Done.",
        faults=f'400 message={said} body="\\"signature\\":" forever',
    )
    async with scenario.open(model=model, settings=ADAPTIVE) as chat:
        await chat.send("Go")
        last = len(scenario.requests)
        assert thoughts(scenario, last) == []
        body = json.dumps(scenario.requests[-1].body)
        assert '"tool_use"' not in body
        assert "act was called with" in body
        assert "did a" in body
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"act a": 1},
            budget=4,
            altered=[last],
            verbatim=False,
        )


def lost(event: bytes) -> bytes:
    """A gateway that does not pass the events of signatures on."""
    return b"" if b"signature_delta" in event else event


def cut(event: bytes) -> bytes:
    """A gateway that cuts signatures."""
    return re.sub(rb'("signature":"[^"]{40})[^"]+', rb"\1", event)


async def test_thinking_that_lost_its_signature_on_the_way_is_not_sent_back(
    scenario: Scenario,
) -> None:
    scenario.script(THOUGHT, reply(LONG, "A file."), gateway=lost)
    async with scenario.open(settings=SHOWN) as chat:
        await chat.stream("Go").turn()
        assert thoughts(scenario, 2) == []
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"look a": 1}, budget=2, verbatim=False
        )
    assert thoughts(scenario, 3) == []


async def test_thinking_whose_signature_was_cut_on_the_way_costs_its_turn_at_most(
    scenario: Scenario,
) -> None:
    """The engine cannot see it; the service says so, and the turn goes on."""
    scenario.script(THOUGHT, "A file.", gateway=cut)
    async with scenario.open(settings=SHOWN) as chat:
        await chat.stream("Go").turn()
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"look a": 1},
            budget=4,
            altered=[4],
            verbatim=False,
            illegal=2,
        )

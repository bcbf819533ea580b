"""What follows a reply is a total function of why it stopped and what it holds: each known
reason, one that nobody has heard of, none at all, with any content, has its one ending.

Turns were taken as done that held nothing or a thought only, calls ran that stood under
another reason, and an unknown reason, or one that contradicts its content, left a turn
without an end:

- https://github.com/kekzl/imp/issues/1553
- https://github.com/google/adk-python/issues/5394
- https://github.com/lidge-jun/opencodex/issues/246
"""

from typing import NamedTuple

import pytest
from tests.harness.recorder import Gateway
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch import Closing, Conversation, FaultKind, Turn
from turnlatch.simulator import Answer, call, reply, text, think
from turnlatch_states.api.stop_reasons import STOP_REASONS

pytestmark = pytest.mark.anyio


class End(NamedTuple):
    """What must become of a reply.

    Attributes:
        requests: How many requests its turn takes.
        kept: The numbers of those whose replies are history.
        runs: How often the call that is in it runs.
        closed: How that call is closed, where there is one that is answered.
        fault: Why the turn failed, where it did.
    """

    requests: int
    kept: tuple[int, ...]
    runs: int = 0
    closed: Closing | None = None
    fault: FaultKind | None = None


DONE = End(1, (1,))
RUN = End(2, (1, 2), 1, Closing.RESULT)
NOT_RUN = End(2, (1, 2), 0, Closing.NOT_EXECUTED)
CUT = End(2, (1, 2), 0, Closing.CUT_OFF)
AGAIN = End(2, (2,))
NO = End(1, (), fault=FaultKind.REFUSAL)

SHAPES: dict[str, Answer] = {
    "nothing": Answer(),
    "text": text("Well."),
    "thought": think("hm"),
    "call": reply("Well.", call("act", what="a")),
}
TABLE: dict[str, tuple[End, End, End, End]] = {
    # nothing, text, a thought only, a call
    "end_turn": (DONE, DONE, DONE, NOT_RUN),
    "stop_sequence": (DONE, DONE, DONE, NOT_RUN),
    "tool_use": (DONE, DONE, DONE, RUN),
    "pause_turn": (DONE, DONE, DONE, RUN),
    "compaction": (DONE, DONE, DONE, RUN),
    "max_tokens": (DONE, DONE, DONE, AGAIN),
    "model_context_window_exceeded": (DONE, DONE, DONE, CUT),
    "refusal": (NO, NO, NO, NO),
    "a_reason_of_tomorrow": (DONE, DONE, DONE, NOT_RUN),
    "": (DONE, DONE, DONE, NOT_RUN),
    "null": (AGAIN, AGAIN, AGAIN, AGAIN),
}


def reworded(reason: str) -> Gateway:
    """A gateway that gives another reason for the first reply, or none at all."""
    said = b"null" if reason == "null" else b'"%b"' % reason.encode()

    def replace(data: bytes) -> bytes:
        return data.replace(b'"stop_reason":"first"', b'"stop_reason":' + said)

    return replace


async def said(chat: Conversation, how: str) -> Turn:
    """The turn of one message, asked for in one piece or as a stream."""
    return await (chat.send("1") if how == "whole" else chat.stream("1").turn())


@asyncio_only
@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reason", TABLE)
async def test_each_reason_with_each_content_has_its_one_ending(
    scenario: Scenario, reason: str, shape: str, how: str
) -> None:
    end = TABLE[reason][list(SHAPES).index(shape)]
    first = reply(SHAPES[shape], stop_reason="first")
    scenario.script(first, "Done.", gateway=reworded(reason))
    async with scenario.open(settings={"thinking": {"type": "adaptive"}}) as chat:
        turn = await said(chat, how)
        assert turn.requests == end.requests
        closed = [] if end.closed is None else [end.closed]
        assert [one.closing for one in turn.calls] == closed
        if end.closed is not None and end.closed is not Closing.RESULT:
            (result,) = scenario.said(2)
            assert result["is_error"] is True, "the model is told that nothing ran"
        if end is DONE:
            assert turn.reply is not None
            assert turn.reply.stop_reason == reason, "and why it stopped can be read"
        await scenario.finish(
            chat,
            ended=end.fault or CONFIRMED,
            effects={"act a": 1} if end.runs else {},
            budget=end.requests,
            history=end.kept,
        )


def test_no_reason_is_missing_from_the_table(scenario: Scenario) -> None:
    assert set(STOP_REASONS) < set(TABLE)
    scenario.finished += 1


@pytest.mark.parametrize("how", ["whole", "stream"])
async def test_a_reason_that_is_given_twice_is_given_once(
    scenario: Scenario, how: str
) -> None:
    """A second ending of the same stream changes nothing that was said."""

    def twice(data: bytes) -> bytes:
        return data * 2 if data.startswith(b"event: message_delta") else data

    scenario.script(reply("Well.", call("act", what="a")), "Done.", gateway=twice)
    async with scenario.open() as chat:
        await said(chat, how)
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=2)


async def test_repeated_empty_replies_make_no_further_turns(
    scenario: Scenario,
) -> None:
    """An empty reply is no reason to ask again, and none to leave the next message out."""
    scenario.script(*[Answer()] * 5)
    async with scenario.open() as chat:
        for number in range(5):
            turn = await chat.send(str(number))
            assert (turn.state, turn.text, turn.requests) == (CONFIRMED, "", 1)
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=5)

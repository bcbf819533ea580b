"""An interruption takes back what was not confirmed and nothing else: the steps that were
finished stay, the input stays, and no message is made up for either side.

Stopping, an error late in a turn, or a terminal that closed threw away whole turns with
the work of their tools, or the words the user had typed, or left invented ones behind:

- https://github.com/griffinwork40/agent-afk/issues/762
- https://github.com/NousResearch/hermes-agent/pull/50004
- https://github.com/tidyverse/ellmer/issues/643
"""

import json
import signal

import pytest
from tests.gauntlet.course import CONFIRMED, Course, asyncio_only, for_ever
from tests.gauntlet.processes import victims

from detent import Conversation, FaultKind, RetryPolicy, TextArrived
from detent.simulator import call

pytestmark = pytest.mark.anyio

STEPS = tuple(call("act", what=str(step)) for step in range(1, 5))
DONE = {f"act {step}": 1 for step in range(1, 5)}


async def stopped_at_the_first_word(chat: Conversation, text: str) -> None:
    """Say something, and stop the turn when its reply begins to arrive."""
    async with chat.stream(text) as stream:
        async for happening in stream:
            if isinstance(happening, TextArrived):
                await chat.interrupt()


async def test_stopped_in_the_fifth_step_the_first_four_stay(course: Course) -> None:
    course.script(*STEPS, call("hang", what="5"), "On we go.")
    async with course.open() as chat:
        await course.while_it_hangs(chat, "Do five things", chat.interrupt)
    async with course.open() as chat:
        assert len(chat.history) == 5
        told = json.dumps(chat.messages)
        assert told.count("Do five things") == 1
        assert [f"did {step}" in told for step in range(1, 5)] == [True] * 4
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        await course.finish(
            chat, ended=CONFIRMED, effects={**DONE, "hang 5": 1}, budget=6
        )


async def test_retries_used_up_in_the_fifth_step_the_first_four_stay(
    course: Course,
) -> None:
    course.script(*STEPS, "Done.", faults="529 @5-7")
    async with course.open(retry=RetryPolicy(attempts_max=3)) as chat:
        await chat.send("Do four things")
    async with course.open(retry=RetryPolicy(attempts_max=3)) as chat:
        assert len(chat.history) == 4
        assert chat.turn is not None
        assert chat.turn.fault is not None
        assert chat.turn.fault.kind is FaultKind.TRANSIENT
        turn = await chat.retry()
        assert turn.text == "Done."
        assert turn.requests == 8
        await course.finish(chat, ended=CONFIRMED, effects=DONE, budget=8)


async def test_stopped_before_the_first_reply_the_input_stays(course: Course) -> None:
    course.script("A long reply that stops.", "Done.", faults="cut 4 stall @1")
    async with course.open(client=course.client(sleep=for_ever)) as chat:
        await stopped_at_the_first_word(chat, "Please")
    async with course.open() as chat:
        assert len(chat.history) == 0
        turn = await chat.retry()
        assert turn.text == "Done."
        assert course.said(1) == course.said(2)
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_nothing_is_made_up_when_a_stopped_turn_is_left(course: Course) -> None:
    course.script("A long reply that stops.", "Done.", faults="cut 4 stall @1")
    async with course.open(client=course.client(sleep=for_ever)) as chat:
        await stopped_at_the_first_word(chat, "Please")
        await course.finish(chat, ended=FaultKind.CANCELLED, effects={}, budget=1)
    body = course.requests[1].body
    assert body is not None
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]}
    ]


@asyncio_only
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
async def test_a_terminal_that_closes_takes_no_finished_step_along(
    course: Course, number: int
) -> None:
    course.script(*STEPS, "Done.")
    with victims(course) as children:
        child = children.start("after RequestSent 5", "Do four things", stream=True)
        child.until("now")
        child.signal(number)
        assert child.hear() == ""
    async with course.open() as chat:
        assert len(chat.history) == 4
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        await course.finish(chat, ended=CONFIRMED, effects=DONE, budget=5)

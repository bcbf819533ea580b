"""What a tool did is done once: that a call begins is on record before it begins, and one
whose end is not on record is told as unknown and never begun again.

Recovery that ran an unanswered call again paid, posted or deleted twice; one that left it
out told the model that nothing had happened:

- https://github.com/andrewyng/openworker/issues/443
- https://github.com/GEMISIS/leviath/issues/96
- https://github.com/anthony-chaudhary/fak/issues/8268
"""

import anyio
import pytest
from tests.gauntlet.course import CONFIRMED, Course, asyncio_only
from tests.gauntlet.processes import kill_at

from detent import FaultKind, tool
from detent.simulator import call

pytestmark = pytest.mark.anyio


@asyncio_only
@pytest.mark.parametrize("again", ["retry", "send", "key"])
@pytest.mark.parametrize(
    ("point", "effects"), [("in act", 0), ("after act", 1), ("before CallClosed", 1)]
)
async def test_killed_around_the_effect_it_is_told_as_unknown_and_not_repeated(
    course: Course, point: str, effects: int, again: str
) -> None:
    course.script(call("act", what="a"), "I see.")
    kill_at(course, point, "first")
    async with course.open() as chat:
        match again:
            case "retry":
                turn = await chat.retry()
            case "send":
                turn = await chat.send("And?")
            case _:
                turn = await chat.send("first", key="first")
        assert turn.state is CONFIRMED
        result = course.said(2)[0]
        assert result["is_error"] is True
        assert "outcome unknown" in result["content"]
        expected = {"act a": effects} if effects else {}
        await course.finish(chat, ended=CONFIRMED, effects=expected, budget=2)


@asyncio_only
async def test_killed_before_the_intent_is_on_record_nothing_was_done(
    course: Course,
) -> None:
    """Nor is the reply on record that asked for it; whoever goes on asks again."""
    course.script(call("act", what="a"), call("act", what="b"), "Done.")
    kill_at(course, "before CallStarted", "first")
    assert course.effects == {}
    async with course.open() as chat:
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        await course.finish(
            chat, ended=CONFIRMED, effects={"act b": 1}, budget=3, unheard=[1]
        )


async def test_a_retry_of_the_request_repeats_no_tool(course: Course) -> None:
    course.script(call("act", what="a"), "Done.", faults="529 @2-4, cut 2 reset @5")
    async with course.open() as chat:
        await chat.stream("Go").turn()
        await course.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=7)


async def test_a_cancelled_call_is_not_begun_again_and_keeps_its_key(
    course: Course,
) -> None:
    keys: list[str] = []

    @tool
    async def pay(amount: int, idempotency_key: str) -> str:
        """Pay, and lose the answer."""
        keys.append(idempotency_key)
        course.note(f"pay {amount}")
        course.begun.set()
        await anyio.sleep_forever()
        return ""

    course.script(call("pay", amount=5), "I see.")
    async with course.open(tools=[pay]) as chat:
        course.begun = anyio.Event()
        await course.cancelled_while_it_hangs(chat, "Go")
        assert chat.turn is not None
        assert chat.turn.fault is not None
        assert chat.turn.fault.kind is FaultKind.CANCELLED
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        assert len(keys) == 1
        await course.finish(chat, ended=CONFIRMED, effects={"pay 5": 1}, budget=2)

"""A question that waits for a person is durable and belongs to one call: it is asked again
after a crash, answered once, and closed as not executed by whatever is said instead.

Prompts that were open when a process ended were answered by a later key press, ran
without having been asked again, or left their call without a result:

- https://github.com/github/copilot-cli/issues/4469
- https://github.com/openJiuwen-ai/agent-core/issues/959
- https://github.com/anomalyco/opencode/issues/29422
"""

import pytest
from tests.gauntlet.course import CONFIRMED, Course, asyncio_only
from tests.gauntlet.processes import kill_at, victims

from detent import Closing, FaultKind, IllegalEventError
from detent.simulator import call, reply

pytestmark = pytest.mark.anyio


@asyncio_only
async def test_killed_with_a_question_open_plain_words_close_it(
    course: Course,
) -> None:
    course.script(call("ask", what="a"), "Fine.")
    kill_at(course, "after ReplyConfirmed", "first")
    async with course.open() as chat:
        assert chat.turn is not None
        (waiting,) = chat.turn.awaiting
        await chat.send("Never mind")
        result, text = course.said(2)
        assert "Not executed" in result["content"]
        assert text["text"] == "Never mind"
        for late in (chat.approve, chat.deny):
            with pytest.raises(IllegalEventError):
                await late(waiting.id)
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=2)


@asyncio_only
@pytest.mark.parametrize(("yes", "effects"), [(True, {"ask a": 1}), (False, {})])
async def test_killed_with_a_question_open_it_is_asked_again_and_answered_once(
    course: Course, yes: bool, effects: dict[str, int]
) -> None:
    course.script(reply(call("ask", what="a"), call("act", what="b")), "Fine.")
    with victims(course) as children:
        child = children.start("before TurnFailed", "first", "never said")
        child.until("now")  # the question is still open, and is about to be closed
        child.kill()
    effects = {**effects, "act b": 1}
    async with course.open() as chat:
        assert chat.turn is not None
        (waiting,) = chat.turn.awaiting
        turn = await (chat.approve if yes else chat.deny)(waiting.id)
        assert turn.state is CONFIRMED
        closings = [one.closing for one in turn.calls]
        assert closings == [Closing.RESULT if yes else Closing.DENIED, Closing.RESULT]
        with pytest.raises(IllegalEventError):
            await chat.approve(waiting.id)
        await course.finish(chat, ended=CONFIRMED, effects=effects, budget=3)


async def test_a_yes_that_was_recorded_is_not_asked_again_and_runs_once(
    course: Course,
) -> None:
    """Two calls wait; one is decided, the process ends, the other is decided later."""
    course.script(reply(call("ask", what="a"), call("ask", what="b")), "Fine.")
    async with course.open() as chat:
        turn = await chat.send("Go")
        await chat.approve(turn.awaiting[0].id)
    async with course.open() as chat:
        assert chat.turn is not None
        (waiting,) = chat.turn.awaiting
        turn = await chat.approve(waiting.id)
        assert turn.state is CONFIRMED
        effects = {"ask a": 1, "ask b": 1}
        await course.finish(chat, ended=CONFIRMED, effects=effects, budget=2)


async def test_stopping_while_a_question_is_open_leaves_it_open(course: Course) -> None:
    course.script(call("ask", what="a"), "Fine.")
    async with course.open() as chat:
        turn = await chat.send("Go")
        assert not await chat.interrupt(), "nothing runs while a person thinks"
        turn = await chat.approve(turn.awaiting[0].id)
        assert turn.state is CONFIRMED
        await course.finish(chat, ended=CONFIRMED, effects={"ask a": 1}, budget=2)


async def test_giving_up_while_a_question_is_open_closes_it(course: Course) -> None:
    course.script(call("ask", what="a"), "Fine.")
    async with course.open() as chat:
        await chat.send("Go")
        await chat.abandon()
        await course.finish(chat, ended=FaultKind.CANCELLED, effects={}, budget=1)
    assert "Not executed" in course.said(2)[0]["content"]

"""Whatever a call comes to, it comes to exactly one result: a tool that is unknown, takes
other arguments, raises, or is never done is answered like any other, as an error.

An exception that escaped the dispatcher left its call without a result, and with that a
history that no request could be made from:

- https://github.com/openai/openai-agents-python/issues/2204
- https://github.com/github/copilot-cli/issues/312
- https://github.com/strands-agents/harness-sdk/issues/1069
"""

import pytest
from tests.gauntlet.course import CONFIRMED, Course

from detent import Closing, FaultKind, Tool, tool
from detent.simulator import call, reply

pytestmark = pytest.mark.anyio


class HandedOffError(BaseException):
    """Something that is not meant to be caught."""


def tools(course: Course, error: BaseException) -> list[Tool]:
    @tool
    async def breaks(what: str) -> str:
        """Do something, and break."""
        course.note(f"breaks {what}")
        raise error

    @tool
    def typed(number: int) -> str:
        """Take a number."""
        course.note(f"typed {number}")
        return "never"

    return [breaks, typed]


THREE = reply(
    call("nobody", x=1), call("breaks", what="a"), call("typed", number="many")
)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("of all things"),
        KeyError(),
        TimeoutError(),
        ExceptionGroup("", [OSError()]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_three_calls_that_fail_get_three_error_results(
    course: Course, error: Exception
) -> None:
    course.script(THREE, "I see.")
    async with course.open(tools=tools(course, error)) as chat:
        turn = await chat.send("Go")
        assert [one.closing for one in turn.calls] == [Closing.ERROR] * 3
        results = course.said(2)
        assert [one["type"] for one in results] == ["tool_result"] * 3
        assert all(one["is_error"] is True for one in results)
        assert len({one["tool_use_id"] for one in results}) == 3
        await course.finish(chat, ended=CONFIRMED, effects={"breaks a": 1}, budget=2)


async def test_what_is_not_meant_to_be_caught_stops_the_turn_and_leaves_three_results(
    course: Course,
) -> None:
    course.script(THREE, "I see.")
    async with course.open(tools=tools(course, HandedOffError())) as chat:
        told = pytest.RaisesGroup(
            HandedOffError, allow_unwrapped=True, flatten_subgroups=True
        )
        with told:
            await chat.send("Go")
        turn = await chat.send("And?")
        assert turn.state is CONFIRMED
        *results, text = course.said(2)
        assert [one["type"] for one in results] == ["tool_result"] * 3
        assert all(one["is_error"] is True for one in results)
        assert "outcome unknown" in results[1]["content"]
        assert text["text"] == "And?"
        await course.finish(chat, ended=CONFIRMED, effects={"breaks a": 1}, budget=2)


async def test_a_tool_that_is_never_done_is_answered_in_time(course: Course) -> None:
    import anyio

    @tool(timeout=0.02)
    async def forever(what: str) -> str:
        """Begin, and never end."""
        course.note(f"forever {what}")
        await anyio.sleep_forever()
        return ""

    course.script(call("forever", what="a"), "I see.")
    async with course.open(tools=[forever]) as chat:
        await chat.send("Go")
        (result,) = course.said(2)
        assert "outcome unknown" in result["content"]
        await course.finish(chat, ended=CONFIRMED, effects={"forever a": 1}, budget=2)


async def test_a_call_that_is_handed_to_a_person_and_never_answered_is_closed(
    course: Course,
) -> None:
    course.script(call("ask", what="a"), "I see.")
    async with course.open() as chat:
        turn = await chat.send("Go")
        assert len(turn.awaiting) == 1
        await chat.send("Never mind")
        result, text = course.said(2)
        assert "Not executed" in result["content"]
        assert text["text"] == "Never mind"
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_a_turn_of_nothing_but_unknown_tools_runs_out_of_budget_not_of_history(
    course: Course,
) -> None:
    from detent import Limits

    course.script(*[call("nobody", x=n) for n in range(3)])
    async with course.open(limits=Limits(requests_per_turn_max=3)) as chat:
        await chat.send("Go")
        await course.finish(chat, ended=FaultKind.BUDGET, effects={}, budget=3)

"""Whatever a call comes to, it comes to exactly one result: a tool that is unknown, takes
other arguments, raises, or is never done is answered like any other, as an error.

An exception that escaped the dispatcher left its call without a result, and with that a
history that no request could be made from:

- https://github.com/openai/openai-agents-python/issues/2204
- https://github.com/github/copilot-cli/issues/312
- https://github.com/strands-agents/harness-sdk/issues/1069
"""

import anyio
import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import (
    Closing,
    CorrectableToolError,
    FaultKind,
    TerminalToolError,
    Tool,
    tool,
)
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio


class HandedOffError(BaseException):
    """Something that is not meant to be caught."""


def tools(scenario: Scenario, error: BaseException) -> list[Tool]:
    @tool
    async def breaks(what: str) -> str:
        """Do something, and break."""
        scenario.note(f"breaks {what}")
        raise error

    @tool
    def typed(number: int) -> str:
        """Take a number."""
        scenario.note(f"typed {number}")
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
    scenario: Scenario, error: Exception
) -> None:
    scenario.script(THREE, "I see.")
    async with scenario.open(tools=tools(scenario, error)) as chat:
        turn = await chat.send("Go")
        assert [one.closing for one in turn.calls] == [Closing.ERROR] * 3
        results = scenario.said(2)
        assert [one["type"] for one in results] == ["tool_result"] * 3
        assert all(one["is_error"] is True for one in results)
        assert len({one["tool_use_id"] for one in results}) == 3
        await scenario.finish(chat, ended=CONFIRMED, effects={"breaks a": 1}, budget=2)


async def test_exception_not_meant_to_be_caught_stops_the_turn_and_leaves_three_results(
    scenario: Scenario,
) -> None:
    scenario.script(THREE, "I see.")
    async with scenario.open(tools=tools(scenario, HandedOffError())) as chat:
        told = pytest.RaisesGroup(
            HandedOffError, allow_unwrapped=True, flatten_subgroups=True
        )
        with told:
            await chat.send("Go")
        turn = await chat.send("And?")
        assert turn.state is CONFIRMED
        *results, text = scenario.said(2)
        assert [one["type"] for one in results] == ["tool_result"] * 3
        assert all(one["is_error"] is True for one in results)
        assert "outcome unknown" in results[1]["content"]
        assert text["text"] == "And?"
        await scenario.finish(chat, ended=CONFIRMED, effects={"breaks a": 1}, budget=2)


async def test_a_tool_that_is_never_done_is_answered_in_time(
    scenario: Scenario,
) -> None:
    @tool(timeout=0.02)
    async def forever(what: str) -> str:
        """Begin, and never end."""
        scenario.note(f"forever {what}")
        await anyio.sleep_forever()
        return ""

    scenario.script(call("forever", what="a"), "I see.")
    async with scenario.open(tools=[forever]) as chat:
        await chat.send("Go")
        (result,) = scenario.said(2)
        assert "outcome unknown" in result["content"]
        await scenario.finish(chat, ended=CONFIRMED, effects={"forever a": 1}, budget=2)


async def test_a_call_that_is_handed_to_a_person_and_never_answered_is_closed(
    scenario: Scenario,
) -> None:
    scenario.script(call("ask", what="a"), "I see.")
    async with scenario.open() as chat:
        turn = await chat.send("Go")
        assert len(turn.awaiting) == 1
        await chat.send("Never mind")
        result, text = scenario.said(2)
        assert "Not executed" in result["content"]
        assert text["text"] == "Never mind"
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_a_turn_of_nothing_but_unknown_tools_runs_out_of_budget_not_of_history(
    scenario: Scenario,
) -> None:
    from turnlatch import Limits

    scenario.script(*[call("nobody", x=n) for n in range(3)])
    async with scenario.open(limits=Limits(requests_per_turn_max=3)) as chat:
        await chat.send("Go")
        await scenario.finish(chat, ended=FaultKind.BUDGET, effects={}, budget=3)


def failing(scenario: Scenario) -> list[Tool]:
    """A tool that says how to do better, and one that says that nothing helps."""

    @tool
    async def book(seats: int) -> str:
        """Book seats."""
        if seats > 2:
            raise CorrectableToolError(f"{seats} is more than the 2 that are left")
        scenario.note(f"book {seats}")
        return f"booked {seats}"

    @tool
    async def pay(amount: int) -> str:
        """Pay, with a card that is blocked."""
        scenario.note(f"pay {amount}")
        raise TerminalToolError("the card is blocked")

    return [*scenario.tools(), book, pay]


@pytest.mark.parametrize("go_on", ["retry", "send", "restart"])
async def test_a_failure_that_ends_the_turn_leaves_every_call_its_result(
    scenario: Scenario, go_on: str
) -> None:
    """And what was said meanwhile is not lost with it."""
    scenario.script(
        reply(call("pay", amount=5), call("act", what="a"), call("book", seats=9)),
        "I see.",
    )
    async with scenario.open(tools=failing(scenario)) as chat:
        await chat.steer("and hurry")
        turn = await chat.send("Go")
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.TOOL
        assert len(scenario.requests) == 1
        await chat.steer("or leave it")
        if go_on == "retry":
            await chat.retry()
        elif go_on == "send":
            await chat.send("What now?")
    async with scenario.open(tools=failing(scenario)) as chat:
        if go_on == "restart":
            await chat.retry()
        *results, text = scenario.said(2)[:4]
        assert [one["content"] for one in results] == [
            "the card is blocked",
            "did a",
            "9 is more than the 2 that are left",
        ]
        assert text["text"] == "or leave it"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"pay 5": 1, "act a": 1}, budget=2
        )


async def test_a_failure_that_says_how_to_do_better_lets_the_model_do_better(
    scenario: Scenario,
) -> None:
    scenario.script(call("book", seats=9), call("book", seats=2), "Booked.")
    async with scenario.open(tools=failing(scenario)) as chat:
        turn = await chat.send("Go")
        assert [one.closing for one in turn.calls] == [Closing.ERROR, Closing.RESULT]
        await scenario.finish(chat, ended=CONFIRMED, effects={"book 2": 1}, budget=3)


@pytest.mark.parametrize("done", [True, False])
async def test_a_tool_that_does_not_even_stop_is_answered_in_time_too(
    scenario: Scenario, done: bool
) -> None:
    """Its own end comes later, and is not taken for the end of any other call."""
    let_go, over = anyio.Event(), anyio.Event()

    @tool(timeout=0.02, grace=0.01)
    async def deaf(what: str) -> str:
        """Hear nothing."""
        if what == "b":
            scenario.note("deaf b")
            return "did b"
        try:
            with anyio.CancelScope(shield=True):
                await let_go.wait()
            scenario.note(f"deaf {what}")
            if not done:
                raise TerminalToolError("too late")
            return f"did {what}"
        finally:
            over.set()

    scenario.script(call("deaf", what="a"), call("deaf", what="b"), "I see.")
    async with scenario.open(tools=[deaf]) as chat:
        turn = await chat.send("Go")
        let_go.set()
        await over.wait()
        await anyio.wait_all_tasks_blocked()
        assert [one.closing for one in turn.calls] == [Closing.UNKNOWN, Closing.RESULT]
        (first,), (second,) = scenario.said(2), scenario.said(3)
        assert "outcome unknown" in first["content"]
        assert second["content"] == "did b"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"deaf a": 1, "deaf b": 1}, budget=3
        )

"""What a child has done is on the disk before its parent hears of it. A child that fails
says so, with what it got done and why it stopped, and the parent's call has one result.

Results of subagents were lost with the session that waited for them, cut off without a
word, or reported as done when a limit had stopped them half way:

- https://github.com/anthropics/claude-code/issues/89267
- https://github.com/anthropics/claude-code/issues/73372
- https://github.com/anthropics/claude-code/issues/83261
"""

from typing import Any

import anyio
import pytest
from tests.engine.model.wire import BACKENDS
from tests.gauntlet.conftest import LOOPS
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import (
    Closing,
    Conversation,
    FaultKind,
    Limits,
    RetryPolicy,
    Tool,
    Turn,
    tool,
)
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio

RETRY = RetryPolicy(attempts_max=2)


class UnfinishedError(Exception):
    """A child stopped before it was done."""


def told(turn: Turn) -> str:
    """What a child came to, or the error that says how far it got and why no further."""
    done = [f"{one.name} {one.closing}" for one in turn.calls]
    partial = " ".join(one.text for one in turn.replies if one.text)
    work = f"done so far: {done}; said so far: {partial!r}"
    if turn.fault is not None:
        raise UnfinishedError(f"the child failed ({turn.fault}); {work}")
    if turn.awaiting:
        raise UnfinishedError(f"the child waits for an approval; {work}")
    if turn.reply is None or turn.reply.stop_reason != "end_turn":
        reason = turn.reply.stop_reason if turn.reply else "nothing"
        raise UnfinishedError(f"the child was stopped by {reason}; {work}")
    return turn.text


def delegating(scenario: Scenario, *, timeout: float = 30.0, **options: Any) -> Tool:
    """A tool that has a child do a task, in a conversation of its own by that name.

    The same task again is the same child: it goes on where it stopped.
    """

    @tool(timeout=timeout)
    async def delegate(task: str) -> str:
        """Have somebody do a task."""
        system = f"You are the child for {task}."
        async with scenario.open(task, system=system, **options) as child:
            stopped = child.turn is not None and child.turn.fault is not None
            return told(
                await (child.retry() if stopped else child.send(task, key=task))
            )

    return delegate


def staying(scenario: Scenario, begun: anyio.Event) -> Tool:
    """A tool of a child that begins something and is never done with it."""

    @tool
    async def stay(what: str) -> str:
        """Begin something that never ends."""
        scenario.note(f"stay {what}")
        begun.set()
        await anyio.sleep_forever()
        return ""

    return stay


def parent(scenario: Scenario, **options: Any) -> Conversation:
    """A conversation whose only tool is a child."""
    return scenario.open(tools=[delegating(scenario, **options)])


ACTS = reply("First this.", call("act", what="a"))
DELEGATES = call("delegate", task="t")


async def test_outcome_of_a_subagent_is_durable_before_its_parent_gets_it(
    scenario: Scenario,
) -> None:
    scenario.script(DELEGATES, ACTS, "All of it.", "I see.")
    async with parent(scenario) as chat:
        turn = await chat.send("Go")
        assert [one.closing for one in turn.calls] == [Closing.RESULT]
        (result,) = scenario.said(4)
        assert result["content"] == "All of it."
        async with scenario.open("t") as child:
            assert child.turn is not None
            assert (child.turn.state, child.turn.text) == (CONFIRMED, "All of it.")
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"act a": 1}, budget=4, history=(1, 4)
        )


STOPS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    # what happens to the child's second request, its options, what the parent is told
    "overloaded": ("529 @3-4", {"retry": RETRY}, ("529", "act result", "First this.")),
    "refused": ("403 @3", {}, ("403", "act result", "First this.")),
    "not paid": ("402 @3", {}, ("402", "act result")),
    "out of requests": (
        "",
        {"limits": Limits(requests_per_turn_max=1)},
        ("the turn has sent its 1 requests", "act result"),
    ),
    "invalid": ("400 @3", {}, ("400", "act result")),
}


@pytest.mark.parametrize("stop", STOPS)
async def test_failed_subagent_reports_its_cause_and_its_work_once(
    scenario: Scenario, stop: str
) -> None:
    faults, options, words = STOPS[stop]
    scenario.script(DELEGATES, ACTS, "I see.", "Done.", faults=faults)
    async with parent(scenario, **options) as chat:
        turn = await chat.send("Go")
        asked = len(scenario.requests)
        assert [one.closing for one in turn.calls] == [Closing.ERROR]
        (result,) = scenario.said(asked)
        assert result["is_error"] is True
        assert all(word in result["content"] for word in words)
        async with scenario.open("t", retry=RETRY) as child:
            held = [one.message_id for one in child.history]
            assert len(held) == 1, "what it did is there"
            again = await child.retry()
            assert again.text == "Done.", "and it may still be finished"
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"act a": 1},
            budget=asked + 1,
            history=(1, asked),
        )


@pytest.mark.parametrize(
    ("last", "word"),
    [
        (reply("Half of", stop_reason="max_tokens"), "max_tokens"),
        (reply("Half of", stop_reason="refusal"), "declined"),
        (
            reply("Half of", stop_reason="model_context_window_exceeded"),
            "model_context_window_exceeded",
        ),
    ],
    ids=["max_tokens", "refusal", "window"],
)
async def test_a_child_that_was_cut_off_is_not_taken_for_done(
    scenario: Scenario, last: Any, word: str
) -> None:
    scenario.script(DELEGATES, ACTS, last, "I see.")
    async with parent(scenario) as chat:
        turn = await chat.send("Go")
        assert [one.closing for one in turn.calls] == [Closing.ERROR]
        (result,) = scenario.said(4)
        assert word in result["content"]
        assert "First this." in result["content"]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"act a": 1}, budget=4, history=(1, 4)
        )


async def test_a_child_that_waits_for_a_person_is_not_taken_for_done(
    scenario: Scenario,
) -> None:
    scenario.script(DELEGATES, call("ask", what="a"), "I see.", "Done.")
    async with parent(scenario) as chat:
        await chat.send("Go")
        (result,) = scenario.said(3)
        assert "waits for an approval" in result["content"]
        async with scenario.open("t") as child:
            assert child.turn is not None
            (one,) = child.turn.awaiting
            assert (await child.approve(one.id)).text == "Done."
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"ask a": 1}, budget=4, history=(1, 3)
        )


async def test_stopped_parent_reports_the_true_outcome_and_keeps_the_work(
    scenario: Scenario,
) -> None:
    """The child is in its second call when its parent is stopped; the next process has
    the same child go on, and what it did is not done again."""
    both = reply(ACTS, call("stay", what="b"))
    scenario.script(DELEGATES, both, DELEGATES, "Done.", "I see.")
    begun = anyio.Event()
    tools = [*scenario.tools(), staying(scenario, begun)]
    async with parent(scenario, tools=tools) as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "Go")
            await begun.wait()
            await chat.interrupt()
        assert chat.turn is not None
        assert [one.closing for one in chat.turn.calls] == [Closing.UNKNOWN]
    async with scenario.open("t") as child:
        assert child.turn is not None
        closings = [one.closing for one in child.turn.calls]
        assert closings == [Closing.RESULT, Closing.UNKNOWN]
    async with parent(scenario) as chat:
        turn = await chat.retry()
        assert [one.closing for one in turn.calls] == [Closing.UNKNOWN, Closing.RESULT]
        results = [scenario.said(3), scenario.said(5)]
        assert [len(one) for one in results] == [1, 1]
        assert "outcome unknown" in results[0][0]["content"]
        assert results[1][0]["content"] == "Done."
        ran = {"act a": 1, "stay b": 1}
        await scenario.finish(
            chat, ended=CONFIRMED, effects=ran, budget=5, history=(1, 3, 5)
        )


@pytest.mark.parametrize("anyio_backend", [BACKENDS[one]() for one in LOOPS])
async def test_a_child_that_takes_too_long_is_unknown_and_goes_on_later(
    scenario: Scenario,
) -> None:
    """Its 20 s pass at once, and only when the child does nothing but wait."""
    both = reply(ACTS, call("stay", what="b"))
    scenario.script(DELEGATES, both, "I see.", "Done.")
    tools = [*scenario.tools(), staying(scenario, anyio.Event())]
    async with parent(scenario, timeout=20.0, tools=tools) as chat:
        turn = await chat.send("Go")
        assert [one.closing for one in turn.calls] == [Closing.UNKNOWN]
        (result,) = scenario.said(3)
        assert "outcome unknown" in result["content"]
        async with scenario.open("t") as child:
            assert child.turn is not None
            assert child.turn.fault is not None
            assert child.turn.fault.kind is FaultKind.CANCELLED
            assert (await child.retry()).text == "Done."
        ran = {"act a": 1, "stay b": 1}
        await scenario.finish(
            chat, ended=CONFIRMED, effects=ran, budget=4, history=(1, 3)
        )


async def test_of_two_children_each_has_its_own_result(scenario: Scenario) -> None:
    both = reply(call("delegate", task="one"), call("delegate", task="two"))
    scenario.script(both, faults='529 body="child for two" times 2')
    async with parent(scenario, retry=RETRY) as chat:
        turn = await chat.send("Go")
        assert [one.closing for one in turn.calls] == [Closing.RESULT, Closing.ERROR]
        one, two = scenario.said(5)
        assert (one["content"], one.get("is_error", False)) == ("Very well.", False)
        assert "529" in two["content"]
        assert [one["tool_use_id"], two["tool_use_id"]] == [c.id for c in turn.calls]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=5, history=(1, 5)
        )

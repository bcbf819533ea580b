"""A fork is a parent and a place in its confirmed past: it takes nothing that is still
moving, copies nothing, and what happens in it never reaches the parent.

Forks took running calls along and ran them twice, took the summary without what it stood
for, or shared rows with the parent so that editing one changed the other:

- https://github.com/openai/codex/issues/21025
- https://github.com/anthropics/claude-code/issues/63446
- https://github.com/anomalyco/opencode/pull/43994
"""

import anyio
import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import FaultKind, IllegalEventError, Reconciled, tool
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


async def test_a_fork_while_a_tool_runs_is_refused_and_disturbs_nothing(
    scenario: Scenario,
) -> None:
    scenario.script("One.", call("hang", what="a"))
    async with scenario.open() as chat:
        await chat.send("1")

        async def fork() -> None:
            with pytest.raises(IllegalEventError):
                chat.fork("b")
            await chat.interrupt()

        await scenario.while_it_hangs(chat, "Go", fork)
        await scenario.finish(
            chat, ended=FaultKind.CANCELLED, effects={"hang a": 1}, budget=2
        )


async def test_events_of_a_fork_never_reach_its_parent(scenario: Scenario) -> None:
    scenario.script(
        "One.", "Two.", call("act", what="child"), "In the child.", "Three."
    )
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
        child = await chat.fork("child").__aenter__()
        before = chat.snapshot
        await child.rewind()
        await child.send("2, in the child")
        assert chat.snapshot == before
        await chat.send("3")
        await scenario.finish(
            child,
            ended=CONFIRMED,
            effects={"act child": 1},
            budget=5,
            history=[1, 3, 4],
        )
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"act child": 1},
            budget=9,
            history=[1, 2, 5],
        )


async def test_a_fork_after_a_compaction_takes_the_summary_and_what_it_stands_for(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Two.", "In the child.", "In the parent.")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.compact()
        await chat.send("2")
        child = await chat.fork("child").__aenter__()
        assert child.history == chat.history
        assert child.snapshot.base == chat.snapshot.base
        await child.send("3")
        await chat.send("3")
        await scenario.finish(
            child,
            ended=CONFIRMED,
            effects={},
            budget=5,
            history=[1, 3, 4],
            summary=2,
        )
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=9,
            history=[1, 3, 5],
            summary=2,
        )


async def test_a_call_that_waits_in_the_parent_waits_in_the_parent_alone(
    scenario: Scenario,
) -> None:
    scenario.script("One.", call("ask", what="a"), "Done.")
    async with scenario.open() as chat:
        await chat.send("1")
        turn = await chat.send("2")
        with pytest.raises(IllegalEventError):
            chat.fork("child")
        await chat.deny(turn.awaiting[0].id)
        child = await chat.fork("child").__aenter__()
        assert child.turn is None or not child.turn.awaiting
        await scenario.finish(
            child, ended=CONFIRMED, effects={}, budget=3, history=[1, 2, 3]
        )
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=5, history=[1, 2, 3]
        )


async def test_waiting_steered_message_is_sent_once_in_parent_and_fork(
    scenario: Scenario,
) -> None:
    """It was said where the fork begins, so it belongs to both; what is said later
    belongs to one."""
    scenario.script("One.", "In the child.", "In the parent.")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.steer("and this", key="k")
        child = await chat.fork("child").__aenter__()
        await child.steer("and this", key="k")
        await child.steer("only in the child")
        await child.send("2")
        assert [one["text"] for one in scenario.said(2)] == [
            "and this",
            "only in the child",
            "2",
        ]
        assert len(chat.snapshot.said) == 1
        await chat.retry()
        assert [one["text"] for one in scenario.said(3)] == ["and this"]
        await scenario.finish(
            child, ended=CONFIRMED, effects={}, budget=3, history=[1, 2]
        )
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=5, history=[1, 3]
        )


async def test_a_child_finds_out_nothing_again_about_the_calls_of_its_parent(
    scenario: Scenario,
) -> None:
    """A question about a call's end is the parent's, and is answered before a fork."""
    asked: list[str] = []

    def look_up(key: str) -> object:
        asked.append(key)
        return Reconciled.NOT_DONE

    @tool(timeout=0.3, grace=0.01, reconcile=look_up)
    async def pay(amount: int) -> str:
        """Never pay."""
        await anyio.sleep_forever()
        return f"paid {amount}"

    scenario.script(call("pay", amount=5), "Not paid.", "In the child.")
    async with scenario.open(tools=[pay]) as chat:
        await chat.send("1")
        child = await chat.fork("child").__aenter__()
        await child.send("2")
        assert len(asked) == 1
        await scenario.finish(
            child, ended=CONFIRMED, effects={}, budget=3, history=[1, 2, 3]
        )
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=5, history=[1, 2]
        )

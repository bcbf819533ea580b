"""A conversation belongs to a writer that can be shown to live; what a dead one left
behind, a lease, a number that is used again or a turn that was running, blocks nobody.

Sessions stayed locked by processes that were long gone, or busy with a turn that nobody
ran any more, and stopping and resetting queued behind what they were to stop:

- https://github.com/anthropics/claude-code/issues/5524
- https://github.com/github/copilot-cli/issues/4805
- https://github.com/openclaw/openclaw/issues/79525
"""

import os

import anyio
import pytest
from tests.harness.processes import kill_at
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch import ConversationBusyError, FaultKind, tool
from turnlatch.journal import SQLiteStore
from turnlatch.journal.owner import Owner
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


@asyncio_only
@pytest.mark.parametrize(
    ("point", "effects"),
    [
        ("after TurnOpened", {"act a": 1}),  # nothing had left: the next one is asked
        ("after CallStarted", {}),
        ("after act", {"act a": 1}),
    ],
)
async def test_a_killed_owner_is_succeeded_at_once_whatever_was_running(
    scenario: Scenario, point: str, effects: dict[str, int]
) -> None:
    scenario.script(call("act", what="a"), "Done.")
    kill_at(scenario, point, "first")
    async with scenario.open() as chat:
        assert chat.snapshot.turn is not None
        turn = await chat.send("second")
        assert turn.state is CONFIRMED
        await scenario.finish(chat, ended=CONFIRMED, effects=effects, budget=3)
    assert scenario.clock.slept == [], "nobody was waited for"


async def test_a_number_that_is_used_again_is_not_the_owner(scenario: Scenario) -> None:
    """The process with that number lives, and began at another time than the owner."""
    scenario.script("One.")
    async with scenario.open() as chat:
        await chat.send("1")
    here = Owner.current()
    dead = Owner(here.host, os.getppid(), "1", here.boot)
    left = SQLiteStore(scenario.store, owner=dead)
    left.open("a")
    async with scenario.open() as chat:
        left.close()
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=1)


async def test_an_owner_that_lives_is_named_and_not_robbed(scenario: Scenario) -> None:
    scenario.script("One.")
    async with scenario.open() as chat:
        await chat.send("1")
        with pytest.raises(ConversationBusyError, match=f"process {os.getpid()}"):
            async with scenario.open():
                pass
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=1)


async def test_stopping_never_queues_behind_what_it_stops(scenario: Scenario) -> None:
    scenario.script(call("hang", what="a"))
    async with scenario.open() as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "Go")
            await scenario.begun.wait()
            group.start_soon(chat.send, "Queued behind it")
            await anyio.wait_all_tasks_blocked()
            assert await chat.interrupt()
        assert chat.turn is not None
        assert (chat.turn.number, chat.turn.state) == (2, CONFIRMED)
        await scenario.finish(chat, ended=CONFIRMED, effects={"hang a": 1}, budget=2)


async def test_closing_never_queues_behind_what_hangs(scenario: Scenario) -> None:
    scenario.script(call("hang", what="a"))
    async with scenario.open() as chat:
        await scenario.while_it_hangs(chat, "Go", chat.close)
    async with scenario.open() as chat:
        await scenario.finish(
            chat, ended=FaultKind.CANCELLED, effects={"hang a": 1}, budget=1
        )


async def test_closing_never_waits_for_a_tool_that_does_not_listen(
    scenario: Scenario,
) -> None:
    """The next process has the conversation; the late end writes nothing into it."""
    let_go, over = anyio.Event(), anyio.Event()

    @tool(grace=0.01)
    async def deaf(what: str) -> str:
        """Hear nothing."""
        scenario.begun.set()
        with anyio.CancelScope(shield=True):
            await let_go.wait()
        scenario.note(f"deaf {what}")
        over.set()
        return "done after all"

    scenario.script(call("deaf", what="a"), "On we go.")
    tools = [*scenario.tools(), deaf]
    async with scenario.open(tools=tools) as chat:
        await scenario.while_it_hangs(chat, "Go", chat.close)
    async with scenario.open(tools=tools) as chat:
        await chat.send("And?")
        before = chat.snapshot
        let_go.set()
        await over.wait()
        await anyio.wait_all_tasks_blocked()
        assert chat.snapshot is before
        await scenario.finish(chat, ended=CONFIRMED, effects={"deaf a": 1}, budget=2)


async def test_saying_something_never_queues_behind_what_runs(
    scenario: Scenario,
) -> None:
    """It is on record when it returns, however long the turn goes on."""
    scenario.script(call("hang", what="a"), "I see.")
    async with scenario.open() as chat:

        async def say() -> None:
            assert await chat.steer("leave it")
            copied = scenario.copied("meanwhile")
            async with scenario.again("a", copied) as again:
                assert len(again.snapshot.said) == 1
            await chat.interrupt()

        await scenario.while_it_hangs(chat, "Go", say)
        await chat.retry()
        assert scenario.said(2)[1]["text"] == "leave it"
        await scenario.finish(chat, ended=CONFIRMED, effects={"hang a": 1}, budget=2)

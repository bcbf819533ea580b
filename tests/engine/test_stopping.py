"""Stopping always works, keeps what was finished, and says what nobody saw."""

import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from tests.harness.published import has_call, moved_to
from tests.harness.world import World, mentions

from turnlatch import (
    CallState,
    Closing,
    Conversation,
    Cursor,
    FaultKind,
    Tool,
    TurnState,
    tool,
)
from turnlatch.runtime.clock import SystemClock
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio

GUARD_SECONDS = 30
"""Far longer than anything here takes: a hang fails instead of hanging."""


class Deaf:
    """A tool that does not listen when it is cancelled, until it is let go."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.let_go = anyio.Event()
        self.over = anyio.Event()

    def tool(self, **options: Any) -> Tool:
        @tool(grace=0.01, **options)
        async def deaf() -> str:
            """Hear nothing."""
            self.begun.set()
            try:
                with anyio.CancelScope(shield=True):
                    await self.let_go.wait()
                return "done after all"
            finally:
                self.over.set()

        return deaf


async def by_interrupt(chat: Conversation, _: anyio.CancelScope) -> None:
    await chat.interrupt()


async def by_cancelling(_: Conversation, scope: anyio.CancelScope) -> None:
    scope.cancel()


async def by_closing(chat: Conversation, _: anyio.CancelScope) -> None:
    await chat.close()


@pytest.mark.parametrize("stop", [by_interrupt, by_cancelling, by_closing])
async def test_tool_that_ignores_cancellation_does_not_delay_the_turn(
    world: World, stop: Callable[[Conversation, anyio.CancelScope], Awaitable[None]]
) -> None:
    deaf = Deaf()
    world.script(call("deaf"), "Good.")
    with anyio.fail_after(GUARD_SECONDS):
        async with world.open(tools=[deaf.tool()]) as chat:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(chat.send, "Go")
                    await deaf.begun.wait()
                    await stop(chat, scope)
        async with world.open(tools=[deaf.tool()]) as chat:
            assert chat.turn is not None
            assert chat.turn.state is TurnState.FAILED
            assert [c.closing for c in chat.turn.calls] == [Closing.UNKNOWN]
            before = chat.snapshot
            deaf.let_go.set()  # its end comes too late, and changes nothing
            await deaf.over.wait()
            assert chat.snapshot is before
            turn = await chat.send("And now?")

            assert turn.text == "Good."
            assert mentions(world.bodies[-1], "outcome unknown")


async def test_past_its_time_too_and_the_turn_goes_on(world: World) -> None:
    deaf = Deaf()
    world.script(call("deaf"), "Good.")
    with anyio.fail_after(GUARD_SECONDS):
        async with world.open(tools=[deaf.tool(timeout=0.01)]) as chat:
            turn = await chat.send("Go")
            deaf.let_go.set()

            assert turn.text == "Good."
            assert turn.calls[0].closing is Closing.UNKNOWN


async def test_running_thread_does_not_delay_the_turn(world: World) -> None:
    begun, let_go = threading.Event(), threading.Event()

    @tool
    def plod() -> str:
        """Work in a thread."""
        begun.set()
        let_go.wait(GUARD_SECONDS)
        return "done"

    world.script(call("plod"), "Good.")
    try:
        with anyio.fail_after(GUARD_SECONDS):
            async with world.open(tools=[plod]) as chat:
                async with anyio.create_task_group() as group:
                    group.start_soon(chat.send, "Go")
                    await anyio.to_thread.run_sync(begun.wait, GUARD_SECONDS)
                    await chat.interrupt()
                assert chat.turn is not None
                assert chat.turn.calls[0].closing is Closing.UNKNOWN
                turn = await chat.send("And now?")

                assert turn.text == "Good."
    finally:
        let_go.set()


async def test_call_that_ends_in_its_grace_time_has_its_result(
    world: World,
) -> None:
    """The effect was there: to call it unknown would be less than what is known."""
    begun = anyio.Event()

    @tool
    async def finish() -> str:
        """Finish what was begun."""
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            world.ran.append("finished")
            return "finished"  # noqa: B012 - that is what such tools do

    world.script(call("finish"), "Good.")
    with anyio.fail_after(GUARD_SECONDS):
        async with world.open(tools=[finish]) as chat:
            async with anyio.create_task_group() as group:
                group.start_soon(chat.send, "Go")
                await begun.wait()
                await chat.interrupt()
            assert chat.turn is not None
            assert chat.turn.fault is not None
            assert chat.turn.fault.kind is FaultKind.CANCELLED
            assert chat.turn.calls[0].closing is Closing.RESULT
        async with world.open(tools=[finish]) as chat:
            assert chat.turn is not None
            assert chat.turn.calls[0].closing is Closing.RESULT
            await chat.retry()

            assert mentions(world.bodies[-1], "finished")
    assert world.ran == ["finished"]


async def test_a_tool_that_fails_because_it_is_stopped_has_an_unknown_outcome(
    world: World,
) -> None:
    begun = anyio.Event()

    @tool
    async def break_down() -> str:
        """Break down when stopped."""
        begun.set()
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            raise RuntimeError("rolled back, or not") from error
        return ""

    world.script(call("break_down"), "Good.")
    with anyio.fail_after(GUARD_SECONDS):
        async with world.open(tools=[break_down]) as chat:
            async with anyio.create_task_group() as group:
                group.start_soon(chat.send, "Go")
                await begun.wait()
                await chat.interrupt()
            assert chat.turn is not None
            assert chat.turn.calls[0].closing is Closing.UNKNOWN


async def test_reconcile_that_ignores_cancellation_does_not_delay_the_turn(
    world: World,
) -> None:
    begun, let_go = anyio.Event(), anyio.Event()

    async def ask_around(_: str) -> str:
        begun.set()
        with anyio.CancelScope(shield=True):
            await let_go.wait()
        return "done after all"

    @tool(timeout=0.01, grace=0.01, reconcile=ask_around)
    async def slow() -> str:
        """Take too long."""
        await anyio.sleep_forever()
        return ""

    world.script(call("slow"), "Good.")
    with anyio.fail_after(GUARD_SECONDS):
        async with world.open(tools=[slow]) as chat:
            turn = await chat.send("Go")
            let_go.set()

            assert begun.is_set()
            assert turn.text == "Good."
            assert turn.calls[0].closing is Closing.UNKNOWN


STATES = ("pending", "sent", "failed", "confirmed", "compacting")
ENGINE_SECONDS = 0.1

KEPT_THERE = {
    "sent": "slow headers 30s @1",
    "failed": "529 @1",
    "compacting": "slow headers 30s @2",
}
"""What keeps a turn in a state until it is stopped there."""


async def never(_: object) -> None:
    """A hook that keeps a turn in `pending`."""
    await anyio.sleep_forever()


@pytest.mark.parametrize("state", STATES)
async def test_in_every_state_it_costs_the_engine_less_than_a_tenth_of_a_second(
    world: World, state: str
) -> None:
    """In processor time, which a busy machine does not change: from the order to stop
    until the turn rests."""
    compacts = state in ("pending", "compacting")
    answers = [call("hang", what="x")] if state == "confirmed" else ["One."]
    world.script(*answers, "Good.", "Good.", faults=KEPT_THERE.get(state, ""))
    client = world.client(sleep=anyio.sleep)
    hook = never if state == "pending" else None
    options: dict[str, Any] = {"client": client, "clock": SystemClock()}
    async with world.open(before_compaction=hook, **options) as chat:
        if compacts:
            await chat.send("Hello")
        cursor, began = chat.cursor, 0.0
        with anyio.fail_after(GUARD_SECONDS):
            async with anyio.create_task_group() as group:
                if compacts:
                    group.start_soon(chat.compact)
                else:
                    group.start_soon(chat.send, "Go")
                if state != "pending":
                    await once_there(chat, cursor, state)
                await anyio.wait_all_tasks_blocked()
                assert chat.state == state
                began = time.thread_time()
                assert await chat.interrupt()
        spent = time.thread_time() - began

        assert chat.state is TurnState.FAILED
        assert spent < ENGINE_SECONDS
        turn = await chat.send("And now?")
        assert turn.state is TurnState.CONFIRMED


async def once_there(chat: Conversation, cursor: Cursor, state: str) -> None:
    """Return once the turn stands in a state in which something keeps it."""
    async for event in chat.watch(cursor):
        if state == "confirmed":
            there = has_call(event, CallState.STARTED)
        else:
            there = moved_to(event, TurnState(state))
        if there:
            return

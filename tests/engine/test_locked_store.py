"""Another process has the store locked: the event loop goes on, nothing is lost.

The lock is real, and so is the process. Nothing is measured: the lock is let go of by what
runs beside, once it ran often enough, so a wait that holds up the loop ends in an error.
"""

import ast
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.around import run_now
from tests.harness.world import World

import turnlatch
from turnlatch import (
    Conversation,
    JournalError,
    Limits,
    Turn,
    TurnState,
    sync,
    tool,
)
from turnlatch.errors import StoreLockedError
from turnlatch.journal import SQLiteStore, lease
from turnlatch.journal import lock_waiting as patience
from turnlatch.journal.holder import lock_holder
from turnlatch.journal.lock_waiting import waited
from turnlatch.runtime.loop import CallReports, Driver
from turnlatch.simulator import call, reply
from turnlatch_states.effects.call_effects import CallRun

pytestmark = pytest.mark.anyio

TICKS = 20

_LOCKS = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    held.execute(line)
    print("done", flush=True)
"""


class Locker:
    """A process that locks a store when it is told, and lets go of it."""

    def __init__(self, store: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LOCKS, str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def lock(self) -> None:
        """Lock it; it is locked when this returns."""
        self._tell("BEGIN IMMEDIATE")

    def free(self) -> None:
        """Let go of it."""
        self._tell("ROLLBACK")

    def _tell(self, statement: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{statement}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def locker(world: World) -> Iterator[Locker]:
    """A process beside the store of the world."""
    made = Locker(world.store)
    yield made
    made.end()


@asynccontextmanager
async def beside(locker: Locker) -> AsyncGenerator[list[int]]:
    """Lock the store, and let go of it once the loop has come round so many times."""
    ticks: list[int] = []

    async def tick() -> None:
        for number in range(TICKS):
            await anyio.sleep(0.001)
            ticks.append(number)
        locker.free()

    locker.lock()
    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        yield ticks


async def _waits(chat: Conversation) -> None:
    """The second turn was begun, and waits for the store."""
    while chat.snapshot.turns == 1:
        await anyio.lowlevel.checkpoint()


async def _send(chat: Conversation) -> None:
    assert (await chat.send("more")).state is TurnState.CONFIRMED


async def _stream(chat: Conversation) -> None:
    async with chat.stream("more") as stream:
        assert (await stream.turn()).state is TurnState.CONFIRMED


async def _steer(chat: Conversation) -> None:
    assert not await chat.steer("a word", key="k")
    assert not await chat.steer("a word", key="k")
    assert len(chat.snapshot.said) == 1


async def _pin(chat: Conversation) -> None:
    await chat.pin("name", "text")
    assert chat.pins == {"name": "text"}


async def _configure(chat: Conversation) -> None:
    await chat.configure(max_tokens=77)
    assert chat.profile.max_tokens == 77


async def _rewind(chat: Conversation) -> None:
    await chat.rewind()
    assert not chat.history


async def _compact(chat: Conversation) -> None:
    assert (await chat.compact()).number == 2


async def _fork(chat: Conversation) -> None:
    async with chat.fork("b") as fork:
        assert len(fork.history) == 1


async def _close(chat: Conversation) -> None:
    await chat.close()


Act = Callable[[Conversation], Awaitable[None]]


@pytest.mark.parametrize(
    "act", [_send, _stream, _steer, _pin, _configure, _rewind, _compact, _fork, _close]
)
async def test_the_loop_goes_on_while_a_method_waits_for_the_store(
    world: World, locker: Locker, act: Act
) -> None:
    async with world.open() as chat:
        await chat.send("first")
        async with beside(locker) as ticks:
            await act(chat)
            assert len(ticks) == TICKS

    store = SQLiteStore(world.store)  # and every lease was given back
    assert [one.holder for one in store.conversations() if one.holder] == []
    store.close()


@pytest.mark.parametrize("answer", ["approve", "deny", "abandon", "retry", "send"])
async def test_the_loop_goes_on_while_an_answer_waits_for_the_store(
    world: World, locker: Locker, answer: str
) -> None:
    world.script(call("ask", what="x"), *["Done."] * 3)
    async with world.open() as chat:
        waiting = await chat.send("Ask me")
        method: Any = getattr(chat, answer)
        said = {
            "approve": waiting.calls[0].id,
            "deny": waiting.calls[0].id,
            "send": "No",
        }
        async with beside(locker) as ticks:
            if answer == "retry":
                await chat.steer("and more")
            await method(*[said[answer]] if answer in said else [])
            assert len(ticks) == TICKS

    assert world.ran == (["ask x"] if answer == "approve" else [])


@pytest.mark.parametrize("name", ["a", "b"])
async def test_the_loop_goes_on_while_a_conversation_is_opened(
    world: World, locker: Locker, name: str
) -> None:
    async with world.open() as chat:
        await chat.send("first")

    async with beside(locker) as ticks, world.open(name) as again:
        assert len(ticks) == TICKS
        assert len(again.history) == (name == "a")


async def test_the_loop_goes_on_while_a_new_store_is_made(
    world: World, locker: Locker
) -> None:
    """The other process has begun to make something of the empty file."""
    async with beside(locker) as ticks, world.open() as chat:
        assert len(ticks) == TICKS
        assert (await chat.send("first")).state is TurnState.CONFIRMED


@pytest.mark.parametrize("renews", [True, False])
async def test_another_conversation_has_its_turns_while_one_waits_for_the_store(
    world: World, locker: Locker, renews: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its lease is to be renewed all the time, which takes the same lock."""
    if renews:
        monkeypatch.setattr(lease, "RENEW_SECONDS", 0.001)
    async with world.open() as chat, world.open(store=None) as other:
        await chat.send("first")
        locker.lock()
        async with anyio.create_task_group() as group:

            async def elsewhere() -> None:
                for number in range(1, 6):
                    assert (await other.send("more")).number == number
                assert chat.state is TurnState.SENT
                assert not [one for one in world.bodies if "second" in str(one)]
                locker.free()

            group.start_soon(elsewhere)
            assert (await chat.send("second")).state is TurnState.CONFIRMED


async def test_the_end_of_a_call_waits_for_the_store_and_the_loop_goes_on(
    world: World, locker: Locker
) -> None:
    """Locked while the tool runs: what it did is recorded before anything follows."""
    ended = anyio.Event()

    @tool
    async def act() -> str:
        """Do something."""
        locker.lock()
        ended.set()
        return "did it"

    world.script(call("act"), "Done.")
    async with world.open(tools=[act]) as chat, anyio.create_task_group() as group:

        async def let_go() -> None:
            await ended.wait()
            for _ in range(TICKS):
                await anyio.sleep(0.001)
            assert len(world.bodies) == 1
            locker.free()

        group.start_soon(let_go)
        assert (await chat.send("Go")).text == "Done."


# What is not let go of in time.


async def test_a_lock_that_stays_is_an_error_that_names_its_holder(
    world: World, locker: Locker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message was not recorded and not sent; said again, it is one turn."""
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.01)
    async with world.open() as chat:
        await chat.send("first")
        locker.lock()
        known = lock_holder(str(world.store))
        for method in (chat.send, chat.steer):
            with pytest.raises(
                StoreLockedError, match="has the store locked"
            ) as raised:
                await method("second", key="k")
            assert raised.value.seconds == 0.01
            assert raised.value.holder == known
        assert chat.unsaved == 0
        assert (chat.snapshot.turns, chat.snapshot.said) == (1, ())
        with pytest.raises(StoreLockedError):
            async with world.open("b"):
                pass
        locker.free()
        turn = await chat.send("second", key="k")

    assert turn.number == 2
    assert len(world.bodies) == 2


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell")
def test_the_holder_of_a_lock_is_named(world: World, locker: Locker) -> None:
    store = SQLiteStore(world.store)
    locker.lock()
    if not Path("/proc/locks").read_text():
        pytest.skip("the system tells nobody")
    assert str(lock_holder(str(world.store))).startswith(f"process {locker.pid} (")
    locker.free()
    assert lock_holder(str(world.store)) is None
    store.close()


async def test_result_of_a_call_is_kept_while_the_store_is_locked(
    world: World, locker: Locker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.01)

    @tool
    async def act() -> str:
        """Do something that counts."""
        world.ran.append("act")
        locker.lock()
        return "did it"

    world.script(call("act"), "Done.")
    async with world.open(tools=[act]) as chat:
        with pytest.raises(StoreLockedError):
            await chat.send("Go")
        assert chat.unsaved == 1
        locker.free()
        turn = await chat.retry()

    assert turn.text == "Done."
    assert world.ran == ["act"]
    assert "did it" in str(world.bodies[-1])


async def test_call_with_an_unrecorded_start_is_reported_as_not_executed(
    world: World, locker: Locker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ended beside it meanwhile stands on the record of its start, and keeps it."""
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.1)

    @tool
    async def quick() -> str:
        """End at once."""
        return "quick"

    @tool
    async def slow() -> str:
        """Lock the store, and end while the next call waits for it."""
        locker.lock()
        while chat.snapshot.turn is not None:
            if [
                c.use.name for c in chat.snapshot.turn.calls if c.state == "started"
            ] == [
                "slow",
                "late",
            ]:
                break
            await anyio.sleep(0.001)
        return "slow"

    @tool
    async def late() -> str:
        """Never start."""
        world.ran.append("late")
        return "late"

    world.script(reply(call("quick"), call("slow"), call("late")), "Done.")
    limits = Limits(calls_parallel_max=2)
    async with world.open(tools=[quick, slow, late], limits=limits) as chat:
        with pytest.raises(JournalError):
            await chat.send("Go")
        locker.free()
        turn = await chat.retry()

    assert turn.text == "Done."
    assert world.ran == []
    assert "could start" in turn.calls[2].result.decode()


async def test_a_call_does_not_start_whose_start_was_taken_back_by_who_waited_before(
    world: World, locker: Locker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits longest gives up first, and what is only about to happen goes with it; who
    began it learns that, although the store is free by then."""
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.3)
    ready, begin = anyio.Event(), CallReports.begin

    def is_started() -> bool:
        turn = chat.snapshot.turn
        return turn is not None and [c.state for c in turn.calls][2:] == ["started"]

    async def late_begin(reports: CallReports, late: CallRun) -> bool:
        locker.lock()
        ready.set()  # the end of `slow` waits for the store now, and for longer
        for _ in range(10):
            await anyio.sleep(0.01)
        assert chat.unsaved == 1
        return await begin(reports, late)

    @tool
    async def quick() -> str:
        """End at once."""
        return "quick"

    @tool
    async def slow() -> str:
        """End once the store is locked."""
        await ready.wait()
        return "slow"

    @tool
    async def late() -> str:
        """Do what has to be recorded before."""
        world.ran.append("late")
        return "late"

    async def let_go() -> None:
        while not is_started():
            await anyio.lowlevel.checkpoint()
        while is_started():
            await anyio.lowlevel.checkpoint()
        locker.free()

    monkeypatch.setattr(CallReports, "begin", late_begin)
    world.script(reply(call("quick"), call("slow"), call("late")), "Done.")
    limits = Limits(calls_parallel_max=2)
    async with world.open(tools=[quick, slow, late], limits=limits) as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(let_go)
            with pytest.raises(JournalError):
                await chat.send("Go")
        assert world.ran == []
        assert (await chat.retry()).text == "Done."

    assert world.ran == ["late"]


async def test_a_turn_that_is_interrupted_while_it_waits_rests_once_it_is_recorded(
    world: World, locker: Locker
) -> None:
    async with world.open() as chat:
        await chat.send("first")
        locker.lock()
        async with anyio.create_task_group() as group:

            async def interrupt() -> None:
                await _waits(chat)
                assert await chat.interrupt()
                locker.free()

            group.start_soon(interrupt)
            turn = await chat.send("second")
            assert turn.number == 2
            assert turn.state is TurnState.FAILED
            assert chat.unsaved == 0

    assert len(world.bodies) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_task_cancelled_by_asyncio_while_waiting_has_sent_nothing(
    world: World, locker: Locker
) -> None:
    """asyncio cancels through every shield."""
    import asyncio

    async with world.open() as chat:
        await chat.send("first")
        locker.lock()
        task = asyncio.create_task(chat.send("second"))
        await _waits(chat)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (chat.snapshot.turns, chat.unsaved) == (1, 0)
        locker.free()
        assert (await chat.send("third")).number == 2

    assert "second" not in str(world.bodies)


# The sync twin.


def test_the_sync_twin_hears_while_it_waits_for_the_store(
    world: World, locker: Locker
) -> None:
    """Its engine answers others in the meantime."""
    with sync.Conversation.open("a", store=world.store, client=world.client()) as chat:
        chat.send("first")
        locker.lock()
        turns: list[Turn] = []
        thread = threading.Thread(target=lambda: turns.append(chat.send("second")))
        thread.start()
        while chat.snapshot.turns == 1:
            pass
        assert chat.interrupt()
        locker.free()
        thread.join()

    assert [turn.state for turn in turns] == [TurnState.FAILED]


def test_caller_without_an_event_loop_waits_for_the_lock_in_its_thread(
    world: World, locker: Locker
) -> None:
    store = SQLiteStore(world.store)
    locker.lock()
    thread = threading.Thread(target=store.open, args=("a",))
    thread.start()
    locker.free()
    thread.join()

    assert [one.name for one in store.conversations()] == ["a"]
    store.close()


# The planted bug.


async def test_a_wait_that_holds_up_the_loop_is_seen(
    world: World, locker: Locker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def save(driver: Driver) -> None:
        waited(lambda: run_now(driver._flush()), 0.05)  # pyright: ignore[reportPrivateUsage]

    monkeypatch.setattr(Driver, "save", save)

    async with world.open() as chat:
        with pytest.raises(BaseExceptionGroup) as raised:
            async with beside(locker):
                await _send(chat)
        assert raised.group_contains(StoreLockedError)
        locker.free()


def test_only_a_stop_gives_up_where_the_store_is_locked() -> None:
    """`Record._flush` tries once. `save` and `note` try again, and a stop, which must not
    hold up a cancelled task, leaves it to the next `save`."""
    found = {
        f"{path.stem}.{function.name}"
        for path in Path(turnlatch.__file__).parent.rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(function, ast.AsyncFunctionDef)
        and any(
            isinstance(node, ast.Attribute) and node.attr == "_flush"
            for node in ast.walk(function)
        )
    }
    assert found == {"record.save", "record.note", "record.noted", "record.stop"}

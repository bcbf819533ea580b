"""A store whose commits are elsewhere: what happens while an append is in flight.

The sweep of cancellations (tests/sweeps/test_cancel.py) takes every point of it; here each
promise has a name. No test waits for time to pass: an append is held until it is let go.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import final

import anyio
import anyio.lowlevel
import pytest
from tests.around import JournalAround, StoreAround
from tests.harness.world import World

from turnlatch import (
    Conversation,
    Cursor,
    FaultKind,
    JournalError,
    JournalFullError,
    NotNowError,
    StreamEvent,
    TurnEnded,
    TurnState,
    Watch,
)
from turnlatch.journal import MemoryStore
from turnlatch.journal import lock_waiting as patience
from turnlatch.ports import Journal
from turnlatch.simulator import call
from turnlatch_states.machine.events import (
    CallAsked,
    ConversationOpened,
    Event,
    ReplyConfirmed,
    RequestSent,
    Steered,
    TurnFailed,
)

pytestmark = pytest.mark.anyio

FULL = JournalFullError("store", "there is no room", "make some")


@final
class HeldStore(StoreAround):
    """A store that holds one append in flight.

    Attributes:
        event: The first append of an event of this class is held.
        held: Set while it is.
        go: Set it to let the append go.
        error: What it ends with then; None for what it should.
        records: It commits before it is held.
    """

    def __init__(self, event: type[Event], *, records: bool = False) -> None:
        super().__init__(MemoryStore())
        self.event: type[Event] | None = event
        self.records = records
        self.error: JournalError | None = None
        self.held, self.go = anyio.Event(), anyio.Event()

    def open(self, name: str) -> Journal:
        return HeldJournal(self.inner.open(name), self)

    def count(self, event: type[Event]) -> int:
        """How often an event of that class is on record."""
        return sum(isinstance(one.event, event) for one in self.read("a"))


@final
class HeldJournal(JournalAround):
    """One journal of a `HeldStore`."""

    def __init__(self, inner: Journal, store: HeldStore) -> None:
        super().__init__(inner)
        self._store = store

    async def append(self, events: Sequence[Event]) -> None:
        store = self._store
        wanted = store.event
        if wanted is None or not any(isinstance(one, wanted) for one in events):
            return await self.inner.append(events)
        store.event = None
        if store.records:
            await self.inner.append(events)
        store.held.set()
        await store.go.wait()
        if store.error is not None:
            raise store.error
        if not store.records:
            await self.inner.append(events)


@pytest.mark.parametrize("records", [True, False])
async def test_an_append_that_never_ends_is_in_doubt_and_looked_up(
    world: World, records: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply is known and may not be recorded: for so long, and no longer."""
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.05)
    store = HeldStore(ReplyConfirmed, records=records)
    world.script("One.", "Two.")
    async with world.open(store=store) as chat:
        with pytest.raises(
            JournalError, match=r"did not answer within 0\.05 s"
        ) as told:
            await chat.send("1")
        assert told.value.outcome_unknown
        assert chat.history.head is not None
        assert chat.history.head.reply.text == "One."
        assert (await chat.send("2")).text == "Two."
        assert chat.unsaved == 0

    assert store.count(ReplyConfirmed) == 2
    assert len(world.bodies) == 2


async def test_an_interrupt_returns_at_once_and_takes_effect_after_the_append(
    world: World,
) -> None:
    """What was about to be sent does not leave."""
    store = HeldStore(RequestSent)
    async with world.open(store=store) as chat, anyio.create_task_group() as group:

        async def interrupt() -> None:
            await store.held.wait()
            assert await chat.interrupt()
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert chat.state is TurnState.SENT, "its append is in flight"
            store.go.set()

        group.start_soon(interrupt)
        turn = await chat.send("1")

        assert turn.state is TurnState.FAILED
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.CANCELLED
        assert world.bodies == []
        assert chat.unsaved == 0
        assert (await chat.retry()).state is TurnState.CONFIRMED


async def test_an_interrupt_under_the_append_of_the_last_question_leaves_it_asked(
    world: World,
) -> None:
    """The record says that the turn rests there, and so do the stream and the turn."""
    store = HeldStore(CallAsked)
    world.script(call("ask", what="a"), "Done.")
    async with world.open(store=store) as chat, anyio.create_task_group() as group:
        live = chat.watch()

        async def interrupt() -> None:
            await store.held.wait()
            assert await chat.interrupt()
            store.go.set()

        group.start_soon(interrupt)
        turn = await chat.send("1")

        assert [one.name for one in turn.awaiting] == ["ask"]
        again = chat.watch(Cursor(1))
        ends = [
            [event async for event in up_to_the_end(watch)][-1]
            for watch in (live, again)
        ]
        assert ends[0] == ends[1]
        assert (await chat.approve(turn.awaiting[0].id)).text == "Done."


async def up_to_the_end(watch: Watch) -> AsyncIterator[StreamEvent]:
    """The stream events up to the end of a turn."""
    async for event in watch:
        yield event
        if isinstance(event, TurnEnded):
            return


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_word_is_not_so_much_as_decided_while_an_append_is_in_flight(
    world: World, cancelled: bool
) -> None:
    store = HeldStore(RequestSent)
    async with world.open(store=store) as chat, anyio.create_task_group() as group:
        group.start_soon(chat.send, "1")
        await store.held.wait()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as saying:
                saying.start_soon(chat.steer, "a word")
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
                assert chat.snapshot.said == ()
                if cancelled:
                    scope.cancel()
                else:
                    store.go.set()
        store.go.set()

    assert store.count(Steered) == (0 if cancelled else 1)


async def test_a_reply_that_comes_while_a_word_is_in_flight_is_recorded_after_it(
    world: World,
) -> None:
    store = HeldStore(Steered)
    world.script("One.", "Two.")
    async with world.open(store=store) as chat, anyio.create_task_group() as group:
        group.start_soon(said_into, chat, store)
        turn = await chat.send("1")

        assert turn.text == "Two.", "the word went along with a request of its own"
        kinds = [type(one.event).__name__ for one in store.read("a")]
        assert kinds.index("Steered") < kinds.index("ReplyConfirmed")


async def said_into(chat: Conversation, store: HeldStore) -> None:
    """Say something into the running turn, whose reply comes while that is in flight."""
    while chat.state is not TurnState.SENT:
        await anyio.lowlevel.checkpoint()

    async def let_go() -> None:
        await store.held.wait()
        while chat.history.head is None:
            await anyio.lowlevel.checkpoint()
        store.go.set()

    async with anyio.create_task_group() as group:
        group.start_soon(let_go)
        await chat.steer("a word", key="word")


async def test_event_applied_under_a_reply_is_kept_after_its_failed_append_and_reported(
    world: World,
) -> None:
    """The reply was decided on top of it, so it cannot be taken back any more."""
    store = HeldStore(Steered)
    store.error = FULL
    world.script("One.", "Two.", "Three.")
    async with world.open(store=store) as chat:
        told: list[JournalError] = []

        async def say() -> None:
            try:
                await said_into(chat, store)
            except* JournalError as errors:
                told.extend(
                    one for one in errors.exceptions if isinstance(one, JournalError)
                )

        async with anyio.create_task_group() as group:
            group.start_soon(say)
            with pytest.raises(JournalError, match="failed while this one waited"):
                await chat.send("1", key="1")
        assert [one.outcome_unknown for one in told] == [True]
        await chat.steer("a word", key="word")
        turn = await chat.send("2")
        assert turn.state is TurnState.CONFIRMED
        assert chat.unsaved == 0

    assert store.count(Steered) == 1
    assert "a word" in str(world.bodies[-1])


async def test_a_fork_is_refused_while_something_is_not_recorded(world: World) -> None:
    store = HeldStore(Steered)
    async with world.open(store=store) as chat:
        await chat.send("1")
        async with anyio.create_task_group() as group:
            group.start_soon(chat.steer, "a word")
            await store.held.wait()
            with pytest.raises(NotNowError, match="1 of its events are not recorded"):
                chat.fork("b")
            store.go.set()
        async with chat.fork("b") as fork:
            assert len(fork.snapshot.said) == 1


@pytest.mark.parametrize("records", [True, False])
async def test_an_opening_that_is_cut_off_leaves_nothing_in_the_way(
    world: World, records: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.05)
    store = HeldStore(ConversationOpened, records=records)
    with pytest.raises(JournalError, match="did not answer"):
        async with world.open(store=store):
            pass
    async with world.open(store=store) as chat:
        assert (await chat.send("1")).state is TurnState.CONFIRMED
    assert store.count(ConversationOpened) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("records", [True, False])
async def test_asyncio_cancels_through_the_shield_and_nothing_is_lost(
    world: World, records: bool
) -> None:
    """Cancelled while the reply is being recorded: in doubt, and looked up at once."""
    store = HeldStore(ReplyConfirmed, records=records)
    world.script("One.", "Two.")
    async with world.open(store=store) as chat:
        task = asyncio.create_task(chat.send("1", key="1"))
        await store.held.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert chat.unsaved == 0
        assert (await chat.send("1", key="1")).text == "One."
        assert (await chat.send("2")).text == "Two."

    assert store.count(ReplyConfirmed) == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("records", [True, False])
async def test_a_stop_that_is_cut_off_has_come_to_rest_in_memory(
    world: World, records: bool
) -> None:
    """asyncio cancels the task again, while its end is being recorded."""
    store = HeldStore(TurnFailed, records=records)
    world.script(call("hang", what="x"), "Good.")
    async with world.open(store=store) as chat:
        task = asyncio.create_task(chat.send("1"))
        await world.begun.wait()
        task.cancel()
        await store.held.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert chat.state is TurnState.FAILED
        assert chat.unsaved > 0
        assert (await chat.retry()).text == "Good."
        assert chat.unsaved == 0

    assert store.count(TurnFailed) == 1

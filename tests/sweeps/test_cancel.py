"""Stopped before any of its suspension points, a conversation is whole and goes on.

It holds everything that waits for something: a retry, calls in
parallel, a question and its answer, a stream, words said meanwhile, a summary, opening
and closing. It is stopped at every point in turn, and at pairs of points, by the scope
around it and by cancelling its task; on a store that commits in place, and on one whose
appends suspend before and after they commit. Nothing may be left half done: in memory,
in the journal, in the ledger of effects; and nobody hears of what is not durable.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from tests.around import SuspendingStore
from tests.harness.published import moved_to
from tests.harness.world import World
from tests.sweeps.cancelling import Driven, Points, Tracked, Way, by_scope, by_task
from tests.sweeps.sweep import Tally

from turnlatch import (
    Closing,
    Conversation,
    ConversationBusyError,
    IllegalEventError,
    Limits,
    Tool,
    Turn,
    TurnlatchError,
    TurnState,
    tool,
)
from turnlatch import conversation as conversation_module
from turnlatch.journal import SQLiteStore
from turnlatch.ports import Store
from turnlatch.runtime.loop import Driver
from turnlatch.runtime.unsaved import Kept
from turnlatch.simulator import call, reply
from turnlatch_states.machine.call import CallState
from turnlatch_states.machine.events import (
    CallClosed,
    CallStarted,
    Event,
    ReplyConfirmed,
)
from turnlatch_states.machine.load import fold_events

ANSWERS = (
    reply("Two things.", call("act", what="a"), call("look", path="b")),
    "Done.",
    call("ask", what="c"),
    "Asked.",
    "Streamed.",
    "And that.",
)
FAULTS = "529 @2, slow headers 0.1s forever, slow events 0.1s forever"
"""Slow, so that there are points between the events of a reply; the clock is not real."""


class CancelledConversation:
    """One conversation from its opening to its end, and what its tools did.

    Args:
        folder: Where its store is made.
        suspends: The appends suspend, and pass points.
    """

    def __init__(self, folder: Path, *, suspends: bool = False) -> None:
        self.world = World(folder)
        self.world.script(*ANSWERS, faults=FAULTS)
        self.store = SQLiteStore(self.world.store, synchronous="NORMAL")
        self.transport = Tracked(self.world.transport())
        self.chat: Conversation | None = None
        self.driver: Driver | None = None
        self.effects: list[str] = []
        self.suspends = suspends

    def tools(self, points: Points | None) -> list[Tool]:
        """Tools that note when their effect is done, and pass points around it."""
        effects = self.effects

        async def did(what: str) -> str:
            await anyio.lowlevel.checkpoint()
            effects.append(what)
            await anyio.lowlevel.checkpoint()
            return f"did {what}"

        async def driven(what: str) -> str:
            work = did(what)
            return str(await (work if points is None else Driven(work, points)))

        @tool(effect="once")
        async def act(what: str) -> str:
            """Do something that counts."""
            return await driven(f"act {what}")

        @tool(effect="safe")
        async def look(path: str) -> str:
            """Look at something."""
            return await driven(f"look {path}")

        @tool(effect="ask")
        async def ask(what: str) -> str:
            """Do something a person decides."""
            return await driven(f"ask {what}")

        return [act, look, ask]

    def open(self, points: Points | None) -> Conversation:
        """The conversation, new or as it was left."""
        store: Store = self.store
        if self.suspends and points is not None:

            async def rounds() -> None:  # long enough for others to come in between
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()

            async def suspend() -> None:
                await Driven(rounds(), points)

            store = SuspendingStore(self.store, suspend)
        self.chat = self.world.open(
            store=store,
            client=self.world.client(self.transport),
            tools=self.tools(points),
            limits=Limits(stream_above_tokens=1),
        )
        return self.chat

    async def run(self, points: Points) -> None:
        """Everything, from the beginning."""
        async with self.open(points) as chat:
            self.driver = chat._driver  # pyright: ignore[reportPrivateUsage] - seen after the end, too
            await chat.send("Do two things")
            turn = await chat.send("Ask me")
            await decided(chat, turn)
            async for event in chat.stream("Stream it"):
                durable = self.store.read("a")[-1].sequence
                assert event.cursor.entry <= durable, "told before it is durable"
                if moved_to(event, TurnState.SENT) and not chat.snapshot.said:
                    await chat.steer("and that")
            if chat.state is TurnState.CONFIRMED:  # what was stopped is not summarised
                await chat.compact()

    def stop(self) -> None:
        """Interrupt whatever runs, as somebody who holds the conversation can."""
        if self.driver is not None:
            self.driver.interrupt("stopped by the sweep")

    def recorded(self) -> list[Event]:
        """What the journal holds."""
        return [entry.event for entry in self.store.read("a")]


async def decided(chat: Conversation, turn: Turn) -> None:
    """Say yes to what waits."""
    for waiting in turn.awaiting:
        await chat.approve(waiting.id)


def at_rest(driver: Driver, recorded: list[Event]) -> None:
    """In memory: nothing is in flight, nothing unsaved, no call without its end, and
    everything as it is recorded."""
    turn = driver.snapshot.turn
    assert driver.unsaved == 0, "an event is not saved"
    assert driver.snapshot == fold_events(recorded), "memory and record differ"
    assert not driver.running
    if turn is not None:
        assert turn.state in ("confirmed", "failed"), f"left in {turn.state}"
        begun = (CallState.STARTED, CallState.UNKNOWN)
        left = [c.use.name for c in turn.open_calls if c.state in begun]
        assert not left, f"begun and not ended: {left}"


async def no_tasks_left(before: set[int]) -> None:
    """Nothing of ours still runs beside the caller."""
    await anyio.wait_all_tasks_blocked()
    left = [task for task in anyio.get_running_tasks() if task.id not in before]
    assert not left, f"left running: {left}"


def effects_as_told(conversation: CancelledConversation, events: list[Event]) -> None:
    """Every effect happened as often as its call's ending says, and never twice."""
    names = {
        use.id: " ".join([use.name, *map(str, (use.input or {}).values())])
        for event in events
        if isinstance(event, ReplyConfirmed)
        for use in event.reply.tool_uses
    }
    found = Counter(conversation.effects)
    assert max(found.values(), default=0) <= 1, f"an effect happened twice: {found}"
    assert set(found) <= {names[e.call] for e in events if isinstance(e, CallStarted)}
    for event in events:
        if isinstance(event, CallClosed):
            times = found[names[event.call]]
            match event.closing:
                case Closing.RESULT:
                    assert times == 1, f"a result without its effect: {event}"
                case Closing.NOT_EXECUTED | Closing.DENIED | Closing.CUT_OFF:
                    assert times == 0, f"an effect that is denied: {event}"
                case Closing.UNKNOWN | Closing.ERROR:
                    assert times <= 1


async def goes_on(conversation: CancelledConversation) -> None:
    """Reopened, it stands somewhere legal, says nothing illegal, and takes a message."""
    before = conversation.recorded() if conversation.store.conversations() else []
    if before:
        fold_events(before)
    async with conversation.open(None) as chat:
        turn = await chat.send("And now?")
        assert turn.state is TurnState.CONFIRMED, turn.fault
        assert chat.check() == ()
        json.dumps(chat.messages)
    effects_as_told(conversation, conversation.recorded())
    assert conversation.world.simulator.unscripted_rejections() == ()


async def swept(
    folder: Path, way: Way, at: frozenset[int], pair: bool, suspends: bool
) -> int:
    """One run, stopped at some points, and everything asked of it; how many it had."""
    conversation = CancelledConversation(folder, suspends=suspends)
    tasks = {task.id for task in anyio.get_running_tasks()}
    try:
        found = await way(conversation.run, at, conversation.stop if pair else None)
        await no_tasks_left(tasks)  # what was closed is closed, also where nobody waits
        if conversation.driver is not None:
            at_rest(conversation.driver, conversation.recorded())
        if conversation.chat is not None:
            await conversation.chat.close()
        assert conversation.transport.open == 0, "a response was not closed"
        await no_tasks_left(tasks)
        await goes_on(conversation)
    finally:
        conversation.store.close()
    return found.points


WAYS = [
    pytest.param("asyncio", by_scope, id="asyncio-scope"),
    pytest.param("asyncio", by_task, id="asyncio-task"),
    pytest.param("trio", by_scope, id="trio-scope"),
]


def run(
    backend: str,
    folder: Path,
    way: Way,
    at: frozenset[int],
    *,
    pair: bool = False,
    suspends: bool = False,
) -> int:
    """A run in an event loop of its own."""
    return anyio.run(swept, folder, way, at, pair, suspends, backend=backend)


COMMITS = pytest.mark.parametrize("suspends", [False, True], ids=["in place", "away"])
"""Where the store commits."""


@COMMITS
@pytest.mark.parametrize(("backend", "way"), WAYS)
def test_stopped_before_any_point_it_is_whole_and_goes_on(
    backend: str,
    way: Way,
    suspends: bool,
    folder: Path,
    tally: Callable[[str], Tally],
    full: bool,
) -> None:
    """Every point in the full run, a part of them in an ordinary one; from the first
    on."""
    commits = "away" if suspends else "in place"
    counts = tally(f"cancel once, {backend}, {way.__name__}, commits {commits}")
    points = run(backend, made(folder, 0), way, frozenset(), suspends=suspends)
    assert points > 50, "the conversation waits for nothing any more"
    for at in range(1, points + 1, 1 if full else 17 if suspends else 5):
        run(backend, made(folder, at), way, frozenset({at}), suspends=suspends)
        counts.add("points")


@COMMITS
@pytest.mark.parametrize(("backend", "way"), WAYS)
def test_stopped_twice_it_is_whole_and_goes_on(
    backend: str,
    way: Way,
    suspends: bool,
    folder: Path,
    tally: Callable[[str], Tally],
    full: bool,
) -> None:
    """The second stop comes while the first is being followed: an interrupt, or another
    cancellation of the task, which no shield keeps away. Every pair of points that
    are close to each other in the full run; a part of them in an ordinary one."""
    commits = "away" if suspends else "in place"
    counts = tally(f"cancel twice, {backend}, {way.__name__}, commits {commits}")
    points = run(backend, made(folder, 0), way, frozenset(), suspends=suspends)
    pairs = [p for p in combinations(range(1, points + 1), 2) if p[1] - p[0] <= 12]
    for number, pair in enumerate(pairs[:: 1 if full else 251 if suspends else 101]):
        where, first = made(folder, number), way is by_scope or number % 2 == 0
        run(backend, where, way, frozenset(pair), pair=first, suspends=suspends)
        counts.add("points")


def made(folder: Path, number: int) -> Path:
    """A folder of its own for a run."""
    found = folder / f"run-{number}"
    found.mkdir(exist_ok=True)
    for left in found.iterdir():
        left.unlink()
    return found


async def forgets(_: Driver, why: str, kind: Any = None) -> None:
    """The planted bug: a turn that is stopped is left where it stood."""


def test_the_sweep_sees_a_turn_that_is_left_where_it_stood(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Driver, "stop", forgets)
    seen = 0
    for at in range(1, 60, 3):
        try:
            run("asyncio", made(folder, at), by_scope, frozenset({at}))
        except (AssertionError, IllegalEventError) as error:
            seen += "left in" in str(error) or "no turn is going on" in str(error)
    assert seen


async def shielded(work: Callable[[], Awaitable[None]]) -> None:
    """The planted bug: closing relies on a shield."""
    with anyio.CancelScope(shield=True):
        await work()


def test_the_sweep_sees_a_closing_that_is_cut_off(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_module, "carried_through", shielded)
    points = run("asyncio", made(folder, 0), by_task, frozenset(), suspends=True)

    def until_seen() -> None:
        for at in range(points, 2, -1):
            at_both = frozenset({at - 1, at})
            run("asyncio", made(folder, at), by_task, at_both, suspends=True)

    with pytest.raises((AssertionError, ConversationBusyError)):
        until_seen()


# What a store whose appends suspend is for: each rule of the lane, broken.


def counted(driver: Driver) -> Kept:
    """The memory of a driver, with everything unsaved taken for durable."""
    kept = driver._kept  # pyright: ignore[reportPrivateUsage]
    return kept.began(driver.world.journal.sequence + 1).recorded()


async def tells_first(driver: Driver) -> None:
    """The planted bug: watchers hear of events that are about to be appended."""
    events = [one.event for one in driver._kept.unsaved]  # pyright: ignore[reportPrivateUsage]
    driver._kept = counted(driver)  # pyright: ignore[reportPrivateUsage]
    driver._tell()  # pyright: ignore[reportPrivateUsage]
    await driver.world.journal.append(events)


async def forgets_what_came(driver: Driver) -> None:
    """The planted bug: what is applied while an append is in flight is not unsaved."""
    await append(driver)
    kept = driver._kept  # pyright: ignore[reportPrivateUsage]
    driver._kept = attrs.evolve(kept, unsaved=())  # pyright: ignore[reportPrivateUsage]


async def takes_it_for_not_written(driver: Driver) -> None:
    """The planted bug: an append that was cancelled has recorded nothing."""
    try:
        await append(driver)
    except anyio.get_cancelled_exc_class():
        kept = driver._kept.ended().taken_back()  # pyright: ignore[reportPrivateUsage]
        driver._kept = kept  # pyright: ignore[reportPrivateUsage]
        raise


append = Driver._append  # pyright: ignore[reportPrivateUsage]

SEEN = (AssertionError, TurnlatchError, BaseExceptionGroup)
BROKEN = [
    pytest.param(tells_first, by_scope, "told before", id="tells first"),
    pytest.param(forgets_what_came, by_scope, "cannot answer", id="forgets what came"),
    pytest.param(
        takes_it_for_not_written, by_task, "differ", id="takes it for not written"
    ),
]


@pytest.mark.spoils_journals("the planted lanes lose and double entries")
@pytest.mark.parametrize(("bug", "way", "says"), BROKEN)
def test_the_sweep_sees_a_broken_lane(
    bug: Any, way: Way, says: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = run("asyncio", made(folder, 0), way, frozenset(), suspends=True)
    monkeypatch.setattr(Driver, "_append", bug)

    def until_seen() -> None:
        for at in (0, *range(1, points + 1, 7)):  # not stopped, then stopped
            run("asyncio", made(folder, at), way, frozenset({at}), suspends=True)

    with pytest.raises(SEEN, match=says):
        until_seen()

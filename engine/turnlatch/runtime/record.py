"""What happened to one conversation, and how much of it is durable.

Rules of this file:

* It is the only place that gives the machine an event, and the only one that appends to
  the journal: what is applied is saved by the next `save`, in one transaction.
* One append of a conversation is in flight at a time. An event that is applied
  meanwhile follows it, and its caller waits for the next append.
* Nothing that an event announces is done, and no watcher hears of it, before an append
  that has the event has returned.
* An append whose end is not known is looked up before anything else is written.
* A wait for the store is bounded and shielded. Until it ends, nothing that is about to
  happen is done, and nothing that happened is forgotten.
"""

import contextlib
import threading
from collections.abc import Callable

import anyio
import anyio.lowlevel

from turnlatch.errors import JournalError, StoreLockedError
from turnlatch.journal import lock_waiting as patience
from turnlatch.journal.lock_waiting import at_once, tried_patiently
from turnlatch.logs import log_fault
from turnlatch.runtime.environment import World
from turnlatch.runtime.unsaved import BegunAppend, Kept, steered_keys, stopping
from turnlatch.watching.event_log import EventLog
from turnlatch.watching.publish import publish_entry
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.effects.effect import Count, Effect, Probe
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.machine.step import Step, step
from turnlatch_states.machine.turn import Substate, TurnState


class Record:
    """One conversation in memory, with what is not known to be durable of it."""

    def __init__(self, world: World, snapshot: Snapshot, feed: EventLog) -> None:
        self.world = world
        self.feed = feed
        self.said: set[str] = set()
        """The keys of durable steered messages."""
        self._kept = Kept(snapshot)
        self._failures = 0  # of appends, for tasks that wait to append
        # Held while an append is in flight, and looked at before it is taken, so that
        # no thread waits for it. It is a lock of the interpreter, because no interrupt
        # comes between the end of a block and its release.
        self._lane = threading.Lock()
        self._landed: anyio.Event | None = None
        self.doing: Effect | None = None
        """The effect that is being performed."""

    def granted(self) -> None:
        """Somebody asked for the turn, or asked again; nothing more follows here."""

    @property
    def snapshot(self) -> Snapshot:
        """Where the conversation stands."""
        return self._kept.snapshot

    @property
    def substate(self) -> Substate:
        """Where the turn stands. Events tell of a question to the server once it was
        answered; it says `probing` from the moment when the question is put."""
        asks = isinstance(self.doing, Probe | Count)
        if asks and self.snapshot.state == TurnState.FAILED:
            return Substate.PROBING
        return Substate(self.snapshot.substate)

    @property
    def unsaved(self) -> int:
        """How many events happened that are not known to be durable."""
        return len(self._kept.unsaved)

    @property
    def turn(self) -> Turn:
        """The turn that is going on."""
        turn = self.snapshot.turn
        assert turn is not None, "the driver runs turns only"
        return turn

    def begin(self, opened: ev.ConversationOpened) -> None:
        """The conversation is new: its first entry is saved by the next `save`."""
        self._kept = self._kept.applied(opened, Step(self.snapshot))

    def apply(self, event: Event) -> Step:
        """Give the machine an event; it is recorded by the next `save`.

        Raises:
            IllegalEventError: The event is not legal here; nothing was changed.
        """
        made = step(self._kept.snapshot, event)
        if not made.dropped:
            self._kept = self._kept.applied(event, made)
            if isinstance(event, ev.TurnOpened) or (
                isinstance(event, ev.TurnRetried) and event.asked
            ):
                self.granted()
        return made

    async def save(self) -> None:
        """Make everything that was applied so far durable.

        Other tasks run while an append is in flight, and while another process has the
        store locked. Both waits are shielded, so that an interrupt takes effect before
        or after them, and each takes `WAIT_SECONDS` at most. Where the store commits in
        place and is not locked, nothing is awaited.

        Any other exception than a definite JournalError, an interrupt included, leaves
        the append in doubt: the next one takes the conversation again and compares,
        before it writes.

        Raises:
            StoreLockedError: Another process has had the store locked all the time.
            JournalError: Facts stay in memory and are saved by the next `save`. Intents
                are taken back, unless it is unknown whether they were recorded.
        """
        if not self._kept.unsaved:
            return self._tell()
        mine, failures = self._kept.unsaved[-1], self._failures
        left = patience.pauses(patience.WAIT_SECONDS)
        while any(one is mine for one in self._kept.unsaved):
            pause = 0.0
            if not self._lane.locked():
                try:
                    await self._flush()
                    continue
                except StoreLockedError as error:
                    pause = next(left, 0.0)
                    if not pause:
                        self._take_back()
                        raise error.after(patience.WAIT_SECONDS) from error
            try:
                with anyio.CancelScope(shield=True):
                    await (anyio.sleep(pause) if pause else self._landing())
            except BaseException:  # asyncio can cancel a task through a shield
                self._take_back()
                raise
            if self._failures != failures:
                self._take_back()
                raise self._failed_meanwhile()
        await anyio.lowlevel.checkpoint_if_cancelled()

    async def _flush(self) -> None:
        """Append what is unsaved, once no other append is in flight; one try.

        Raises:
            StoreLockedError: Another process has the store locked; nothing was changed,
                in the store or in memory.
            JournalError: As `save`.
        """
        if self._lane.locked():
            await self._landing()
        try:
            with self._lane:
                if self._kept.begun is not None:
                    self._look(self._kept.begun)
                if self._kept.unsaved:
                    await self._append()
        except StoreLockedError:
            raise
        except BaseException:
            self._failures += 1
            raise
        finally:
            if self._landed is not None:
                self._landed.set()
                self._landed = None
        self._tell()

    async def _landing(self) -> None:
        """Wait until no append is in flight.

        Raises:
            JournalError: One is in flight all the time, and ignores its cancellation.
        """
        with anyio.move_on_after(patience.WAIT_SECONDS) as bound:
            while self._lane.locked():
                if self._landed is None:
                    self._landed = anyio.Event()
                await self._landed.wait()
        if bound.cancelled_caught and self._lane.locked():
            raise self._late()

    async def _append(self) -> None:
        """Append everything that is unsaved now.

        Raises:
            JournalError: As `save`.
        """
        journal, events = self.world.journal, self._kept.events
        self._kept = self._kept.began(journal.sequence + 1)
        try:
            with anyio.move_on_after(patience.WAIT_SECONDS, shield=True) as bound:
                await journal.append(events)
        except StoreLockedError:
            self._kept = self._kept.ended()
            raise
        except JournalError as error:
            if not error.outcome_unknown:
                # Everybody with an intent among these, or after them, gets an error.
                self._kept = self._kept.refused()
            raise
        if bound.cancelled_caught:
            raise self._late()
        self._recorded()

    def _look(self, doubt: BegunAppend) -> None:
        """Find out what became of an append that is in doubt: all of it, or none.

        Raises:
            JournalError: It cannot be found out now, or the conversation was gone on
                with elsewhere; the doubt stays.
        """
        with at_once():
            self.world.journal.close()
            self.world.journal = self.world.reopen()
            entries = self.world.journal.entries(doubt.first - 1)
        found = [one.event for one in entries]
        kept = self._kept.looked_up(found)
        behind = self.world.journal.sequence != doubt.first - 1 + len(found)
        if kept is None or behind:
            raise JournalError(
                f"conversation {self.world.name!r}",
                "it was gone on with elsewhere while an append was in doubt",
                "open the conversation again to go on from what is recorded",
            )
        if found:
            self.said |= steered_keys(self._kept.unsaved[: doubt.count])
        self._kept = kept

    def _recorded(self) -> None:
        """Remember that the append that was begun recorded all that it had."""
        assert self._kept.begun is not None, "an append was begun"
        self.said |= steered_keys(self._kept.unsaved[: self._kept.begun.count])
        self._kept = self._kept.recorded()

    def _tell(self) -> None:
        """Tell watchers what is durable now."""
        while self._kept.untold:
            (sequence, one), *_ = self._kept.untold
            self._kept = self._kept.told()
            publish_entry(self.feed, sequence, one.before, one.event, one.made)

    def _take_back(self) -> None:
        """Forget the intents of the tasks that wait for an append, and have those tasks
        get an error."""
        kept = self._kept.taken_back()
        flying = 0 if kept.begun is None else kept.begun.count
        self._kept = kept.never_started(kept.unsaved[flying:])
        self._failures += 1

    def _failed_meanwhile(self) -> JournalError:
        """The error of who waited while another append of this conversation failed, which
        may have taken back what was waited with."""
        return JournalError(
            f"conversation {self.world.name!r}",
            "an append failed while this one waited for the store",
            "see whether it was said before it is said again",
            outcome_unknown=self._kept.begun is not None,
        )

    def _late(self) -> JournalError:
        """The error of an append that did not end in time."""
        return JournalError(
            f"conversation {self.world.name!r}",
            f"the store did not answer within {patience.WAIT_SECONDS:g} s",
            "try again; what was recorded is looked up first",
            outcome_unknown=True,
        )

    async def note(self, decide: Callable[[], Event | None]) -> None:
        """Record a message or a decision from outside the running turn.

        While another append is in flight, or another process has the store locked, it is
        not so much as decided: what waits to be saved otherwise may have to be taken
        back, and nothing may stand on it. Until then it may be cancelled.

        Args:
            decide: The event, asked at each try; None if there is nothing to be noted.

        Raises:
            JournalError: Nothing was noted, unless that is in doubt (`outcome_unknown`).
        """

        async def noted() -> None:
            await self._flush()  # what was in doubt is known from here on
            event = decide()
            if event is None or self.apply(event).dropped:
                return
            mine = self._kept.unsaved[-1]
            try:
                await self._flush()
            except StoreLockedError:
                if self._kept.unsaved[-1] is not mine:
                    return await self.save()  # something was applied after it
                self._kept = self._kept.without((mine,))
                raise
            except JournalError as error:
                if not any(one is mine for one in self._kept.unsaved):
                    raise
                # Something was applied after it, so that the next append has it.
                at, problem = error.where, error.problem
                raise JournalError(at, problem, error.remedy, True) from error

        await tried_patiently(noted)

    async def stop(self, why: str, kind: FaultKind = FaultKind.CANCELLED) -> None:
        """Bring a turn that is going on to rest in `failed`, and save that; one try.

        It runs while everything around it is being cancelled, and is shielded from that.
        If asyncio cancels its task again, the turn has come to rest in memory.

        Raises:
            JournalError: As `save`; the turn has come to rest in memory.
        """
        with anyio.CancelScope(shield=True):
            try:
                with contextlib.suppress(JournalError):
                    if self._lane.locked():
                        await self._landing()
                    if self._kept.begun is not None:
                        self._look(self._kept.begun)  # or the rest is in doubt as well
            finally:
                self.bring_to_rest(why, kind)
            await self._flush()

    async def halt(self, why: str) -> None:
        """Bring a turn that waits for somebody to rest in `failed`, and save that.

        Raises:
            JournalError: As `save`; the turn has come to rest in memory.
        """
        await self.save()
        self.bring_to_rest(why, FaultKind.CANCELLED)
        await self.save()

    def bring_to_rest(self, why: str, kind: FaultKind) -> None:
        """Bring a turn that is going on to rest in `failed`, in memory."""
        turn = self.snapshot.turn
        for event in stopping(self.snapshot, why, kind):
            fault = (
                event.fault
                if isinstance(event, ev.TurnFailed | ev.RetryCancelled)
                else None
            )
            if turn is not None and fault is not None:
                now = "it was stopped; retry() goes on, and nothing confirmed is lost"
                log_fault(self.world.name, turn.number, turn.attempt, fault, now)
            self.apply(event)

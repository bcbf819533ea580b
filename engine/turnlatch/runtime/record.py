"""What happened to one conversation, and how much of it is durable.

Rules of this file:

* It is the only place that gives the machine an event, and the only one that appends to
  the journal: what is applied is saved by the next `flush` or `save`, in one transaction.
* An append that is in doubt is looked up before anything else is written.
* The one thing that is waited for is the lock that another process has on the store:
  until it is gone nothing that is about to happen is done, and nothing that happened is
  forgotten.
"""

import contextlib
from collections.abc import Callable, Sequence

import anyio
import anyio.lowlevel

from turnlatch.errors import JournalError, StoreLockedError
from turnlatch.journal import lock_waiting as patience
from turnlatch.journal.lock_waiting import at_once, patiently
from turnlatch.logs import log_fault
from turnlatch.runtime.environment import World
from turnlatch.runtime.unsaved import Kept, steered_keys
from turnlatch.watching.event_log import EventLog
from turnlatch.watching.publish import publish_event
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.effects.effect import Count, Effect, Probe
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.machine.step import Step, step
from turnlatch_states.machine.synthetic_results import NEVER_STARTED, closed_result
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
        """The conversation is new: its first entry is saved by the next `flush`."""
        self._kept = self._kept.applied(opened, Step(self.snapshot))

    def apply(self, event: Event) -> Step:
        """Give the machine an event; its record is saved by the next `flush`.

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

    def flush(self) -> None:
        """Make everything since the last flush durable, in one transaction.

        Any other exception than a definite JournalError, an interrupt included, leaves
        the append in doubt: the next flush takes the conversation again and compares,
        before it writes.

        Raises:
            StoreLockedError: Another process has the store locked; nothing was changed,
                in the store or in memory.
            JournalError: Facts stay in memory and are saved by the next flush. Intents
                are taken back, unless it is unknown whether they were recorded.
        """
        if self._kept.settled:
            return
        try:
            with at_once():
                self._append()
        except StoreLockedError:
            raise
        except BaseException:
            self._failures += 1
            raise
        self._tell()

    async def save(self) -> None:
        """`flush`, once no other process has the store locked. Other tasks run until
        then; where it is not locked, nothing is awaited.

        The wait is bounded and shielded: an interrupt takes effect before or after it.

        Raises:
            JournalError: As `flush`; a lock that is not let go of in time, too.
        """
        try:
            return self.flush()
        except StoreLockedError as error:
            locked = error
        failures = self._failures
        for pause in patience.pauses(patience.WAIT_SECONDS):
            try:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(pause)
            except BaseException:  # asyncio can cancel a task through a shield
                self._take_back()
                raise
            if self._failures != failures:
                self._take_back()
                raise self._failed_meanwhile()
            try:
                self.flush()
            except StoreLockedError as error:
                locked = error
            else:
                return await anyio.lowlevel.checkpoint_if_cancelled()
        self._take_back()
        raise locked.after(patience.WAIT_SECONDS) from locked

    def _take_back(self) -> None:
        """Forget intents, and wake the tasks that wait for them to be saved."""
        self._kept = self._kept.taken_back()
        self._failures += 1

    def _failed_meanwhile(self) -> JournalError:
        """The error of who waited while another append of this conversation failed, which
        may have taken back what was waited with."""
        return JournalError(
            f"conversation {self.world.name!r}",
            "an append failed while this one waited for the store",
            "see whether it was said before it is said again",
            outcome_unknown=self._kept.doubt is not None,
        )

    async def note(self, decide: Callable[[], Event | None]) -> None:
        """Record a message or a decision from outside the running turn.

        While another process has the store locked it is not so much as decided: what waits
        to be saved otherwise may have to be taken back, and nothing may stand on it.

        Args:
            decide: The event, asked at each try; None if there is nothing to be noted.

        Raises:
            JournalError: Nothing was noted, unless that is in doubt (`outcome_unknown`).
        """

        def noted() -> None:
            self.flush()  # what was in doubt is known from here on
            before, event = self._kept, decide()
            if event is None:
                return
            self.apply(event)
            try:
                self.flush()
            except StoreLockedError:
                self._kept = before
                raise

        await patiently(noted)

    def _append(self) -> None:
        """Append what is unsaved.

        Raises:
            JournalError: As `flush`.
        """
        self._look()
        kept = self._kept
        if kept.unsaved:
            first = self.world.journal.sequence + 1
            self._kept = kept.doubtful(first)
            try:
                self.world.journal.append(kept.events)
            except StoreLockedError:
                self._kept = kept
                raise
            except JournalError as error:
                if not error.outcome_unknown:
                    self._kept = kept.unrecorded()
                raise
            self._saved(kept, first, len(kept.unsaved))

    def _look(self) -> None:
        """Find out what became of an append that is in doubt: all of it, or none.

        Raises:
            JournalError: It cannot be found out now, or the conversation was gone on
                with elsewhere; the doubt stays.
        """
        kept = self._kept
        doubt = kept.doubt
        if doubt is None:
            return
        self.world.journal.close()
        self.world.journal = self.world.reopen()
        found = [one.event for one in self.world.journal.entries(doubt.first - 1)]
        if found == kept.events[: doubt.count]:
            self._saved(kept, doubt.first, doubt.count)
        elif not found and self.world.journal.sequence == doubt.first - 1:
            self._kept = kept.unrecorded()
        else:
            raise JournalError(
                f"conversation {self.world.name!r}",
                "it was gone on with elsewhere while an append was in doubt",
                "open the conversation again to go on from what is recorded",
            )

    def _saved(self, kept: Kept, first: int, count: int) -> None:
        """Remember that the first `count` events are durable."""
        self.said |= steered_keys(kept.unsaved[:count])
        if kept.doubt is not None and count == len(kept.unsaved):
            # The tasks that waited for this append got an error and started nothing.
            self._kept = self._never_started(kept.recorded(first, count), kept.events)
        else:
            self._kept = kept.recorded(first, count)

    def _never_started(self, kept: Kept, events: Sequence[Event]) -> Kept:
        """The calls closed that are recorded as started, and were not."""
        for event in events:
            if isinstance(event, ev.CallStarted):
                result = closed_result(event.call, NEVER_STARTED)
                closing = Closing.NOT_EXECUTED
                closed = ev.CallClosed(event.turn, event.call, closing, result)
                kept = kept.applied(closed, step(kept.snapshot, closed))
        return kept

    def _tell(self) -> None:
        """Tell watchers what is durable now."""
        while self._kept.untold:
            (sequence, one), *_ = self._kept.untold
            self._kept = self._kept.told()
            policy = self.world.policies.retry
            publish_event(self.feed, sequence, one.before, one.event, one.made, policy)

    def stop(self, why: str, kind: FaultKind = FaultKind.CANCELLED) -> None:
        """Bring a turn that is going on to rest in `failed`, and save that.

        Synchronous on purpose: it runs while everything around it is being cancelled.

        Raises:
            JournalError: As `flush`; the turn has come to rest in memory.
        """
        with contextlib.suppress(JournalError), at_once():
            self._look()  # or what follows is in doubt as well
        self._bring_to_rest(why, kind)
        self.flush()

    async def halt(self, why: str) -> None:
        """Bring a turn that waits for somebody to rest in `failed`, and save that.

        Raises:
            JournalError: As `save`; the turn has come to rest in memory.
        """
        await self.save()
        self._bring_to_rest(why, FaultKind.CANCELLED)
        await self.save()

    def _bring_to_rest(self, why: str, kind: FaultKind) -> None:
        turn = self.snapshot.turn
        if turn is not None and turn.substate == Substate.PROBING:
            self.apply(ev.RetryCancelled(turn.number))
        if turn is None or self.snapshot.resting:
            return
        flying = turn.state in (TurnState.SENT, TurnState.COMPACTING)
        fault = Fault(kind, why, outcome_unknown=flying)
        now = "it was stopped; retry() goes on, and nothing confirmed is lost"
        log_fault(self.world.name, turn.number, turn.attempt, fault, now)
        if turn.state == TurnState.FAILED:
            self.apply(ev.RetryCancelled(turn.number, fault))
        else:
            self.apply(ev.TurnFailed(turn.number, turn.attempt, fault))

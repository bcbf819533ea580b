"""The driver: performs what the machine orders, and reports back what happened.

Rules of this file:

* The machine decides; the driver builds, sends, runs, waits, and tells it how that
  ended. It changes no state by itself.
* Nothing is awaited while an event is unsaved: `flush` comes before every `await`, and
  between a reply and its record there is no `await` at all.
* Whatever interrupts it, the turn ends in a declared state and every call it started
  has an ending.
"""

import contextlib
from typing import final

import anyio

from detent.calling import Caller
from detent.errors import JournalError
from detent.feed import Feed
from detent.narrator import narrate
from detent.recovering import Recovery
from detent.sending import Sender
from detent.world import World
from detent_states import events as ev
from detent_states.call import Closing
from detent_states.closing import closed_result
from detent_states.commands import (
    ConsiderRetry,
    ContinueTurn,
    Prepare,
    Rest,
    RunCalls,
    SendRequest,
)
from detent_states.events import Event
from detent_states.faults import Fault, FaultKind
from detent_states.request import Request
from detent_states.snapshot import Call, Snapshot, Turn
from detent_states.step import Step, orders, step
from detent_states.turn import TurnState

NEVER_STARTED = "Not executed: the journal failed before this call could start."

_FACTS = (
    ev.ReplyConfirmed,
    ev.CompactionConfirmed,
    ev.CallLost,
    ev.CallClosed,
    ev.TurnFailed,
)
"""What has already happened in the world: kept in memory until it is durable."""


@final
class Driver:
    """One conversation, its machine and its world."""

    def __init__(self, world: World, snapshot: Snapshot, feed: Feed) -> None:
        self.world = world
        self.snapshot = snapshot
        self.feed = feed
        self.said: set[str] = set()
        """The keys of what was said while a turn ran, as far as it is durable."""
        self._unsaved: list[tuple[Snapshot, Event, Step]] = []
        self._scope: anyio.CancelScope | None = None
        self._why = ""
        self._sender = Sender(self)
        self._recovery = Recovery(self, self._sender)
        self._caller = Caller(self)
        self._in_doubt = False
        self._doubted_from = 0

    # What the machine is told, and what becomes durable.

    def apply(self, event: Event) -> Step:
        """Give the machine an event; its record is saved by the next `flush`.

        Raises:
            IllegalEventError: The event is not legal here; nothing was changed.
        """
        made = step(self.snapshot, event)
        if not made.dropped:
            self._unsaved.append((self.snapshot, event, made))
            self.snapshot = made.snapshot
        return made

    def flush(self) -> None:
        """Make everything since the last flush durable, in one transaction.

        Raises:
            JournalError: What already happened in the world stays in memory and is
                saved by the next flush. What was only about to happen is taken back,
                unless nobody can say whether it was recorded: then the next flush
                takes the conversation anew and looks.
        """
        if self._in_doubt:
            self._look()
        if not self._unsaved:
            return
        journal = self.world.journal
        first = journal.sequence + 1
        try:
            journal.append([event for _, event, _ in self._unsaved])
        except JournalError as error:
            self._in_doubt = error.outcome_unknown
            self._doubted_from = first
            if not error.outcome_unknown:
                self._take_back()
            raise
        self._tell(first)

    def _look(self) -> None:
        """Find out what became of an append that ended in doubt: all of it, or none."""
        self.world.journal.close()
        self.world.journal = self.world.reopen()
        self._in_doubt = False
        if self.world.journal.sequence < self._doubted_from:
            self._take_back()
            return
        announced = [
            e.call for _, e, _ in self._unsaved if isinstance(e, ev.CallStarted)
        ]
        self._tell(self._doubted_from)
        for call in announced:  # recorded as started, and known not to have been
            result = closed_result(call, NEVER_STARTED)
            number = self.turn.number
            self.apply(ev.CallClosed(number, call, Closing.NOT_EXECUTED, result))

    def _tell(self, first: int) -> None:
        """Tell watchers what is durable now."""
        saved, self._unsaved = self._unsaved, []
        policy = self.world.policies.retry
        for entry, (before, event, made) in enumerate(saved, first):
            if isinstance(event, ev.Steered) and event.key is not None:
                self.said.add(event.key)
            narrate(self.feed, entry, before, event, made, policy)

    @property
    def unsaved(self) -> int:
        """How many events happened that are not durable yet."""
        return len(self._unsaved)

    def _take_back(self) -> None:
        """Forget what was only about to happen; keep what did."""
        while self._unsaved and not isinstance(self._unsaved[-1][1], _FACTS):
            self.snapshot = self._unsaved.pop()[0]

    # The loop.

    async def run(self, *, stream: bool) -> None:
        """Do what the machine orders until the conversation rests.

        Raises:
            JournalError: The journal failed; see `flush`.
        """
        with anyio.CancelScope() as scope:
            self._scope = scope
            try:
                self.expire()
                while await self._perform(stream=stream):
                    pass
                self.flush()
            except JournalError:
                raise
            except BaseException as error:
                # The fault is kept in memory if it cannot be saved now: what stops the
                # turn must reach the caller, and the next flush saves the rest.
                with contextlib.suppress(JournalError):
                    if isinstance(error, Exception):
                        said = f"{type(error).__name__}: {error}"
                        self.stop(said, FaultKind.LOCAL)
                    else:
                        self.stop(self._why or "the task was cancelled")
                raise
            finally:
                self._scope = None
                self._why = ""

    @property
    def running(self) -> bool:
        """True while `run` is at work."""
        return self._scope is not None

    def interrupt(self, why: str) -> bool:
        """Stop the running turn; True if one was running. Returns at once."""
        if self._scope is None:
            return False
        self._why = why
        self._scope.cancel()
        return True

    def stop(self, why: str, kind: FaultKind = FaultKind.CANCELLED) -> None:
        """Bring a turn that is going on to rest in `failed`, and save that.

        Synchronous on purpose: it runs while everything around it is being cancelled.
        """
        turn = self.snapshot.turn
        if turn is None or self.snapshot.resting:
            return
        if turn.state == TurnState.FAILED:
            self.apply(ev.RetryCancelled(turn.number, Fault(kind, why)))
        else:
            flying = turn.state in (TurnState.SENT, TurnState.COMPACTING)
            fault = Fault(kind, why, outcome_unknown=flying)
            self.apply(ev.TurnFailed(turn.number, turn.attempt, fault))
        self.flush()

    async def _perform(self, *, stream: bool) -> bool:
        """Perform the next order; False when there is nothing more to do."""
        (command,) = orders(self.snapshot) or (Rest(),)
        match command:
            case Prepare():
                await self._sender.prepare(command.purpose)
            case SendRequest():
                self.flush()
                await self._sender.send(command, stream=stream)
            case RunCalls():
                await self._caller.run()
            case ContinueTurn():
                self.apply(ev.TurnContinued(command.turn))
            case ConsiderRetry():
                return await self._recovery.consider(stream=stream)
            case Rest():
                return False
        return True

    def expire(self) -> None:
        """Say no to the questions that nobody answered in time."""
        self._caller.expire()

    def ask_anew(self, call: Call) -> bool:
        """Put a question anew that is not the one any more that was put; True if so."""
        return self._caller.ask_anew(call)

    async def settle(self) -> str:
        """Find out how the calls ended whose end was not seen, as far as can be; why
        that was interrupted, if it was."""
        self._scope = anyio.CancelScope()
        with self._scope as scope:
            try:
                await self._caller.settle()
            finally:
                self._scope = None
                with contextlib.suppress(JournalError):  # kept for the next flush
                    self.flush()
        why, self._why = self._why, ""
        return why if scope.cancelled_caught else ""

    @property
    def turn(self) -> Turn:
        """The turn that is going on."""
        turn = self.snapshot.turn
        assert turn is not None, "the driver runs turns only"
        return turn

    def request(self, *, stream: bool) -> Request:
        """The request of the current attempt, byte for byte as it is sent."""
        return self._sender.request(stream=stream)

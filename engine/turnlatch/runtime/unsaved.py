"""The state of a conversation in memory, and the part of it that is known to be durable.

One immutable value, so that the driver changes it in one assignment: whatever interrupts
the driver, at whatever line, finds the value before the change or the one after it.
"""

from collections.abc import Iterable, Sequence
from typing import final

import attrs

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.effects.calls import never_started
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import Step, step
from turnlatch_states.machine.turn import Substate, TurnState

_FACTS = (
    ev.ReplyConfirmed,
    ev.CompactionConfirmed,
    ev.CallLost,
    ev.CallClosed,
    ev.TurnFailed,
)
"""What has already happened in the world: kept in memory until it is durable."""


@final
@attrs.frozen
class Applied:
    """An event that the machine took.

    Attributes:
        before: The snapshot before it.
        event: The event.
        made: The step that it made.
    """

    before: Snapshot
    event: Event
    made: Step


@final
@attrs.frozen
class BegunAppend:
    """An append whose outcome is not known: it is in flight, or what ended it did not
    say whether anything was recorded.

    Attributes:
        first: The sequence that its first event has, if it was recorded.
        count: How many events it has: the first of what is unsaved.
    """

    first: int
    count: int


@final
@attrs.frozen
class Kept:
    """Everything the driver remembers of a conversation.

    Attributes:
        snapshot: The state of the conversation.
        unsaved: Applied events that are not known to be durable, in order.
        begun: The append of the first of these, from before it begins until its outcome
            is known. Events applied meanwhile follow them.
        untold: Durable events that are not published to watchers yet, with sequences.
    """

    snapshot: Snapshot
    unsaved: tuple[Applied, ...] = ()
    begun: BegunAppend | None = None
    untold: tuple[tuple[int, Applied], ...] = ()

    @property
    def events(self) -> list[Event]:
        """The events that are unsaved."""
        return [one.event for one in self.unsaved]

    def applied(self, event: Event, made: Step) -> "Kept":
        """The same after an event."""
        one = Applied(self.snapshot, event, made)
        unsaved = (*self.unsaved, one)
        return attrs.evolve(self, snapshot=made.snapshot, unsaved=unsaved)

    def began(self, first: int) -> "Kept":
        """The same, while everything that is unsaved now is being appended."""
        return attrs.evolve(self, begun=BegunAppend(first, len(self.unsaved)))

    def ended(self) -> "Kept":
        """The same, once it is known that the append recorded nothing."""
        return attrs.evolve(self, begun=None)

    def recorded(self) -> "Kept":
        """The same, once it is known that the append recorded all that it had."""
        assert self.begun is not None, "an append was begun"
        first, count = self.begun.first, self.begun.count
        saved = tuple(enumerate(self.unsaved[:count], first))
        return attrs.evolve(
            self,
            unsaved=self.unsaved[count:],
            begun=None,
            untold=(*self.untold, *saved),
        )

    def refused(self) -> "Kept":
        """The same, once the append failed for certain: the intents are taken back, and
        everybody who waited with one of them gets an error."""
        kept = self.ended().taken_back()
        return kept.never_started(kept.unsaved)

    def looked_up(self, found: Sequence[Event]) -> "Kept | None":
        """The same, once it was looked up what the append in doubt recorded.

        Args:
            found: The events that the journal has from the first of that append on.

        Returns:
            None if these are neither all of its events nor none: somebody else has
            written since.
        """
        assert self.begun is not None, "an append was begun"
        count = self.begun.count
        given_up = self.unsaved[:count]
        if list(found) == [one.event for one in given_up]:
            kept = self.recorded()
        elif not found:
            kept = self.ended()
            # Events applied after the doubt depend on all of it, and keep it.
            kept = kept.taken_back() if count == len(kept.unsaved) else kept
        else:
            return None
        return kept.never_started(given_up)

    def taken_back(self) -> "Kept":
        """The same without the intents after the last fact, except those of an append
        that was begun."""
        least = 0 if self.begun is None else self.begun.count
        left = len(self.unsaved)
        while left > least and not isinstance(self.unsaved[left - 1].event, _FACTS):
            left -= 1
        return self.without(self.unsaved[left:])

    def without(self, last: Sequence[Applied]) -> "Kept":
        """The same without the last events that were applied."""
        if not last:
            return self
        unsaved = self.unsaved[: len(self.unsaved) - len(last)]
        return attrs.evolve(self, snapshot=last[0].before, unsaved=unsaved)

    def never_started(self, begun: Sequence[Applied]) -> "Kept":
        """The same, with the truth about calls whose start is kept and was given up.

        Callers that waited for the record of the start got an error, and ran nothing.

        Args:
            begun: The events that no caller acts on any more.
        """
        kept = self
        for one in begun:
            if isinstance(one.event, ev.CallStarted):
                truth = never_started(one.before, one.event, kept.snapshot)
                if truth is not None:
                    kept = kept.applied(truth, step(kept.snapshot, truth))
        return kept

    def told(self) -> "Kept":
        """The same without the first that was untold."""
        return attrs.evolve(self, untold=self.untold[1:])


def stopping(snapshot: Snapshot, why: str, kind: FaultKind) -> tuple[Event, ...]:
    """The events that bring a turn to rest in `failed`; none for one that rests.

    Args:
        snapshot: Where the conversation stands.
        why: The reason, in words.
        kind: Who stopped it: the caller, or the end of its process.
    """
    turn = snapshot.turn
    if turn is None:
        return ()
    if turn.substate == Substate.PROBING:
        return (ev.RetryCancelled(turn.number),)
    if snapshot.resting:
        return ()
    flying = turn.state in (TurnState.SENT, TurnState.COMPACTING)
    fault = Fault(kind, why, outcome_unknown=flying)
    if turn.state == TurnState.FAILED:
        return (ev.RetryCancelled(turn.number, fault),)
    return (ev.TurnFailed(turn.number, turn.attempt, fault),)


def steered_keys(applied: Iterable[Applied]) -> set[str]:
    """The idempotency keys of steered messages."""
    return {
        one.event.key
        for one in applied
        if isinstance(one.event, ev.Steered) and one.event.key is not None
    }

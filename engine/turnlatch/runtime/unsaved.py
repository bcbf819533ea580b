"""The state of a conversation in memory, and the part of it that is known to be durable.

One immutable value, so that the driver changes it in one assignment: whatever interrupts
the driver, at whatever line, finds the value before the change or the one after it.
"""

from collections.abc import Iterable
from typing import final

import attrs

from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import Step

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
class DoubtfulAppend:
    """An append with unknown outcome.

    Attributes:
        first: The sequence that its first event has, if it was recorded.
        count: How many events it had: the first of what is unsaved.
    """

    first: int
    count: int

    @property
    def last(self) -> int:
        """The sequence that its last event has, if it was recorded."""
        return self.first + self.count - 1


@final
@attrs.frozen
class Kept:
    """Everything the driver remembers of a conversation.

    Attributes:
        snapshot: The state of the conversation.
        unsaved: Applied events that are not known to be durable, in order.
        doubt: The append of the first of these, if its outcome is unknown; the record
            must be read before the next append.
        untold: Durable events that are not published to watchers yet, with sequences.
    """

    snapshot: Snapshot
    unsaved: tuple[Applied, ...] = ()
    doubt: DoubtfulAppend | None = None
    untold: tuple[tuple[int, Applied], ...] = ()

    @property
    def settled(self) -> bool:
        """True if everything is durable and was told."""
        return not self.unsaved and self.doubt is None and not self.untold

    @property
    def events(self) -> list[Event]:
        """The events that are unsaved."""
        return [one.event for one in self.unsaved]

    def applied(self, event: Event, made: Step) -> "Kept":
        """The same after an event."""
        one = Applied(self.snapshot, event, made)
        unsaved = (*self.unsaved, one)
        return attrs.evolve(self, snapshot=made.snapshot, unsaved=unsaved)

    def doubtful(self, first: int) -> "Kept":
        """The same, while everything unsaved is being appended."""
        return attrs.evolve(self, doubt=DoubtfulAppend(first, len(self.unsaved)))

    def recorded(self, first: int, count: int) -> "Kept":
        """The same, once the first `count` that were unsaved are known to be durable."""
        saved = tuple(enumerate(self.unsaved[:count], first))
        return attrs.evolve(
            self,
            unsaved=self.unsaved[count:],
            doubt=None,
            untold=(*self.untold, *saved),
        )

    def unrecorded(self) -> "Kept":
        """The same, once it is known that nothing unsaved was recorded.

        Intents after the last fact are forgotten. Events applied on top of a doubt depend
        on all of it, and keep it.
        """
        if self.doubt is not None and self.doubt.count < len(self.unsaved):
            return attrs.evolve(self, doubt=None)
        return attrs.evolve(self, doubt=None).taken_back()

    def taken_back(self) -> "Kept":
        """The same, without what was only about to happen and was never appended."""
        least = 0 if self.doubt is None else self.doubt.count
        left = len(self.unsaved)
        while left > least and not isinstance(self.unsaved[left - 1].event, _FACTS):
            left -= 1
        if left == len(self.unsaved):
            return self
        snapshot = self.unsaved[left].before
        return attrs.evolve(self, snapshot=snapshot, unsaved=self.unsaved[:left])

    def told(self) -> "Kept":
        """The same without the first that was untold."""
        return attrs.evolve(self, untold=self.untold[1:])


def steered_keys(applied: Iterable[Applied]) -> set[str]:
    """The idempotency keys of steered messages."""
    return {
        one.event.key
        for one in applied
        if isinstance(one.event, ev.Steered) and one.event.key is not None
    }

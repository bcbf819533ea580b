"""What tests look for among stream events."""

from collections.abc import Iterable
from typing import TypeVar

from turnlatch import (
    Arrived,
    CallState,
    Event,
    PrefixChange,
    Recorded,
    StreamEvent,
    TextDelta,
    TurnState,
)

_E = TypeVar("_E", bound=Event)


def recorded(events: Iterable[StreamEvent], kind: type[_E]) -> list[_E]:
    """The journal events of one kind."""
    entries = (one.event for one in events if isinstance(one, Recorded))
    return [one for one in entries if isinstance(one, kind)]


def moved_to(event: StreamEvent, state: TurnState) -> bool:
    """True if the turn moved to that state."""
    move = event.move if isinstance(event, Recorded) else None
    return move is not None and move.target == state


def has_call(event: StreamEvent, state: CallState) -> bool:
    """True if a call came into that state."""
    calls = event.calls if isinstance(event, Recorded) else ()
    return any(one.state is state for one in calls)


def is_text(event: StreamEvent) -> bool:
    """True for a piece of text."""
    return isinstance(event, Arrived) and isinstance(event.delta, TextDelta)


def texts(events: Iterable[StreamEvent]) -> list[str]:
    """The pieces of text."""
    pieces = (one.delta for one in events if isinstance(one, Arrived))
    return [one.text for one in pieces if isinstance(one, TextDelta)]


def prefix_changes(events: Iterable[StreamEvent]) -> list[PrefixChange]:
    """The changes of the cached prefix that requests made."""
    changes = (one.prefix_change for one in events if isinstance(one, Recorded))
    return [one for one in changes if one is not None]

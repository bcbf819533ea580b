"""Reading the stream events of a conversation again, from the journal."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from turnlatch.journal.repeated import events_of, without_repetitions
from turnlatch.ports import Entry
from turnlatch.result import Turn
from turnlatch.watching.event_log import EventLog
from turnlatch.watching.events import Cursor, StreamEvent, TurnEnded
from turnlatch.watching.publish import publish_entry
from turnlatch_states.effects.commands import Command, next_command
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.load import fold_events
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import step

_ENDING = (
    ev.ReplyConfirmed,
    ev.CompactionConfirmed,
    ev.TurnFailed,
    ev.TurnSuspended,
    ev.Probed,
    ev.RetryCancelled,
    ev.CallAsked,
    ev.CallApproved,
    ev.CallDenied,
    ev.CallClosed,
)
"""The last event of a turn that comes to rest is one of these."""

_ANSWERS = (ev.CallApproved, ev.CallDenied)

_MOVING = {CallState.PROPOSED, CallState.STARTED, CallState.UNKNOWN}
"""A call that stands in one of these moves by itself."""

_CONTINUING = (
    ev.RetryScheduled,
    ev.RetryCancelled,
    ev.RemedyChosen,
    ev.Probed,
    ev.TurnSuspended,
    ev.CompactionSent,
)
"""A turn that failed and is followed by one of these was not at rest in between."""

_ANY_TIME = (ev.Steered, ev.Pinned, ev.ProfileChanged)
"""Events that can be journaled at any time, in any state of the turn."""


def read_again(
    entries: Sequence[Entry], after: Cursor, until: Cursor
) -> Iterator[StreamEvent]:
    """The stream events between two cursors, as far as the journal holds them.

    These are the events that a reader saw live, with the same cursors, except for the
    pieces of replies: a confirmed reply comes in whole pieces, and the pieces of a failed
    attempt do not come. The end of a turn comes even if the process was killed before it
    published that.

    Args:
        entries: Every entry of the conversation.
        after: Where to begin: behind this cursor.
        until: Where to end: at this cursor.
    """
    once = without_repetitions(entries)
    events, numbers = events_of(once), [entry.sequence for entry in once]
    begin = min(max(bisect_left(numbers, after.entry), 1), len(events))
    before = fold_events(events[:begin])
    feed = EventLog()
    feed.begin(numbers[begin - 1])
    reader = feed.reader()
    # The whole pieces of a reply stand before its entry.
    for index in range(begin, bisect_right(numbers, until.entry + 1)):
        event = events[index]
        made = step(before, event)
        publish_entry(feed, numbers[index], before, event, made)
        if _ends(events, index, before, made.snapshot):
            turn = Turn.current(made.snapshot)
            assert turn is not None, "what came to rest is a turn"
            feed.publish(TurnEnded(feed.next(), turn))
        before = made.snapshot
        while (published := reader.next()) is not None:
            if after < published.cursor <= until:
                yield published


def at_rest(snapshot: Snapshot) -> bool:
    """True if a turn stands where nothing moves by itself: it is done, it stopped, or
    it waits for a person."""
    turn = snapshot.turn
    if turn is None:
        return False
    if turn.state == "failed":
        return snapshot.resting
    started = any(call.state is CallState.STARTED for call in turn.calls)
    return not started and next_command(snapshot) in (Command.AWAIT, Command.REST)


def _ends(
    events: Sequence[Event], index: int, before: Snapshot, after: Snapshot
) -> bool:
    """True if the turn came to rest with that event, or stays at rest, answered."""
    event = events[index]
    if not isinstance(event, _ENDING) or not _rested(events, index, after):
        return False
    return isinstance(event, _ANSWERS) or not _rested(events, index - 1, before)


def _rested(events: Sequence[Event], index: int, snapshot: Snapshot) -> bool:
    """True if nothing moved by itself after that event."""
    turn = snapshot.turn
    if turn is None:
        return False
    follows = _next(events, range(index + 1, len(events)))
    if turn.state == "failed":
        again = isinstance(follows, ev.TurnRetried) and not follows.asked
        return at_rest(snapshot) and not again and not isinstance(follows, _CONTINUING)
    states = {call.state for call in turn.calls}
    if CallState.ASKED in states and not states & _MOVING:
        # A person answered for one call, and is waited for on account of another.
        last = _next(events, range(index, -1, -1))
        if isinstance(last, _ANSWERS):
            return not isinstance(follows, ev.CallStarted | ev.CallClosed)
    return at_rest(snapshot)


def _next(events: Sequence[Event], where: range) -> Event | None:
    """The first event there that belongs to the turn."""
    found = (events[at] for at in where if not isinstance(events[at], _ANY_TIME))
    return next(found, None)

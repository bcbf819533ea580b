"""Publishing stream events, from journal entries and from pieces of an arriving reply.

One function publishes a journal entry, when the entry is made and when it is read again:
`publish_entry` depends only on the record, and on whether pieces of the reply arrived.
"""

import json
from typing import Any, cast

from turnlatch.ports import BlockOpened, Delta, TextDelta, ThinkingDelta
from turnlatch.watching.event_log import EventLog
from turnlatch.watching.events import Arrived, Cursor, Progressed, Recorded
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Call, Snapshot
from turnlatch_states.machine.step import Step
from turnlatch_states.recovery.cache_guard import prefix_change

_ENDS = (ev.ReplyConfirmed, ev.CompactionConfirmed, ev.TurnFailed)
"""Events that end an attempt: its pieces are in the journal now, or are void."""


def publish_entry(
    feed: EventLog, sequence: int, before: Snapshot, event: Event, made: Step
) -> None:
    """Publish a journal entry, after the reply that it confirms.

    Args:
        feed: The conversation's log of stream events.
        sequence: The entry's sequence in the journal.
        before: The snapshot before the event.
        event: The event.
        made: The step that the event made from `before`.
    """
    if isinstance(event, ev.ReplyConfirmed | ev.CompactionConfirmed):
        _publish_reply(feed, event)
    turn = made.snapshot.turn
    feed.publish(
        Recorded(
            Cursor(sequence),
            0 if turn is None else turn.number,
            event,
            made.move,
            prefix_change(before) if isinstance(event, ev.RequestSent) else None,
            _changed_calls(before, made.snapshot),
        )
    )
    if not feed.arriving or isinstance(event, _ENDS):
        feed.settle()


def publish_delta(feed: EventLog, turn: int, attempt: int, delta: Delta) -> None:
    """Publish a piece of a reply that is arriving; it is not history."""
    feed.arriving = True
    if isinstance(delta, TextDelta | ThinkingDelta | BlockOpened):
        feed.publish(Arrived(feed.next(), turn, attempt, delta))


def publish_progress(feed: EventLog, turn: int, call: Call, text: str) -> None:
    """Publish how far a call has come, as its tool says; it is not history."""
    use = call.use
    feed.publish(Progressed(feed.next(), turn, use.id, call.place, use.name, text))


def _publish_reply(
    feed: EventLog, event: ev.ReplyConfirmed | ev.CompactionConfirmed
) -> None:
    """Publish a confirmed reply in whole pieces, unless its pieces have arrived."""
    if feed.arriving:
        return
    blocks = cast("list[dict[str, Any]]", json.loads(b"[%b]" % event.reply.content))
    for index, block in enumerate(blocks):
        for delta in _whole(index, block):
            feed.publish(
                Arrived(feed.whole(), event.turn, event.attempt, delta, whole=True)
            )


def _whole(
    index: int, block: dict[str, Any]
) -> list[BlockOpened | TextDelta | ThinkingDelta]:
    """The pieces of a whole block."""
    kind = str(block.get("type"))
    name, id_ = (
        found if isinstance(found := block.get(member), str) else None
        for member in ("name", "id")
    )
    opened = BlockOpened(index, kind, name, id_)
    text = block.get(kind)
    if not isinstance(text, str) or not text:
        return [opened]
    if kind == "text":
        return [opened, TextDelta(index, text)]
    if kind == "thinking":
        return [opened, ThinkingDelta(index, text)]
    return [opened]


def _changed_calls(before: Snapshot, after: Snapshot) -> tuple[Call, ...]:
    """The calls of the last reply that an event changed."""
    old = () if before.turn is None else before.turn.calls
    new = () if after.turn is None else after.turn.calls
    return () if new is old else tuple(call for call in new if call not in old)

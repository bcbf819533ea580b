"""Publishing happenings, from journal entries and from pieces of an arriving reply.

One function turns a journal entry into happenings, when the entry is made and when it is
read again: `publish_event` depends only on the record, the caller's policy, and whether
pieces of the reply arrived.
"""

import json
from typing import Any, assert_never, cast

from turnlatch.ports import BlockOpened, Delta, TextDelta, ThinkingDelta
from turnlatch.watching.event_log import EventLog
from turnlatch.watching.events import (
    BlockBegan,
    CallMoved,
    Moved,
    PrefixChanged,
    RemedyTried,
    Steered,
    Suspended,
    TextArrived,
    ThinkingArrived,
    TrialMade,
    Waiting,
)
from turnlatch_states.api.faults import RetryPolicy
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Call, Move, Snapshot, Turn
from turnlatch_states.machine.step import Step
from turnlatch_states.recovery.cache_guard import prefix_change

_ENDS = (ev.ReplyConfirmed, ev.CompactionConfirmed, ev.TurnFailed)
"""Events that end an attempt: its pieces are in the journal now, or are void."""


def publish_event(
    feed: EventLog,
    entry: int,
    before: Snapshot,
    event: Event,
    made: Step,
    policy: RetryPolicy,
) -> None:
    """Publish the happenings of one journaled event.

    Args:
        feed: The conversation's log of happenings.
        entry: The event's sequence in the journal.
        before: The snapshot before the event.
        event: The event.
        made: The step that the event made from `before`.
        policy: How transient faults are waited out, for entries that do not say it.
    """
    if isinstance(event, ev.ReplyConfirmed | ev.CompactionConfirmed):
        _tell_reply(feed, event)
    feed.enter(entry)
    turn = made.snapshot.turn
    if turn is not None:
        if isinstance(event, ev.RequestSent):
            _tell_prefix(feed, before, turn)
        _tell(feed, event, made, turn, policy)
    if not feed.arriving or isinstance(event, _ENDS):
        feed.settle()


def _tell_reply(
    feed: EventLog, event: ev.ReplyConfirmed | ev.CompactionConfirmed
) -> None:
    """Publish a reply that did not arrive in pieces, as if it had."""
    if feed.arriving:
        return
    turn, attempt = event.turn, event.attempt
    blocks = cast("list[dict[str, Any]]", json.loads(b"[%b]" % event.reply.content))
    for index, block in enumerate(blocks):
        kind, name = block.get("type"), block.get("name")
        feed.publish(
            BlockBegan(
                feed.whole(),
                turn,
                attempt,
                index,
                str(kind),
                name if isinstance(name, str) else None,
            )
        )
        text = block.get(str(kind))
        if not isinstance(text, str) or not text:
            continue
        if kind == "text":
            feed.publish(TextArrived(feed.whole(), turn, attempt, index, text, True))
        elif kind == "thinking":
            cursor = feed.whole()
            feed.publish(ThinkingArrived(cursor, turn, attempt, index, text, True))


def _tell_prefix(feed: EventLog, before: Snapshot, turn: Turn) -> None:
    """Publish the change of the cached prefix by the request that is being sent."""
    change = prefix_change(before)
    if change is not None:
        feed.publish(PrefixChanged(feed.next(), turn.number, change))


def _tell(
    feed: EventLog, event: Event, made: Step, turn: Turn, policy: RetryPolicy
) -> None:
    """Publish the moves of the turn and its calls, and what was noted in addition."""
    if made.move is not None:
        _tell_move(feed, made.move, turn)
    if isinstance(event, ev.CallEvent):
        call = turn.call(event.call)
        if call is not None:
            feed.publish(_moved(feed, turn, call))
    match event:
        case ev.ReplyConfirmed():
            for call in turn.calls:
                feed.publish(_moved(feed, turn, call))
        case ev.TurnFailed():
            for call in turn.calls:
                if call.closing in (Closing.UNKNOWN, Closing.NOT_EXECUTED):
                    feed.publish(_moved(feed, turn, call))
        case ev.RetryScheduled():
            feed.publish(
                Waiting(
                    feed.next(),
                    turn.number,
                    event.failures,
                    event.attempts_max or policy.attempts_max,
                    event.wait_seconds,
                    event.due,
                    turn.fault,
                )
            )
        case ev.RemedyChosen():
            feed.publish(RemedyTried(feed.next(), turn.number, event.remedy, event.why))
        case ev.Probed() if event.about is not ev.Question.SEARCH:
            cursor = feed.next()
            feed.publish(TrialMade(cursor, turn.number, event.question, event.passed))
        case ev.Steered():
            waiting = len(made.snapshot.said)
            feed.publish(Steered(feed.next(), turn.number, waiting))
        case ev.TurnSuspended():
            feed.publish(Suspended(feed.next(), turn.number, event.why, event.until))
        case (
            ev.TurnOpened()
            | ev.RequestSent()
            | ev.TurnRetried()
            | ev.TurnContinued()
            | ev.CompactionSent()
            | ev.CompactionConfirmed()
            | ev.CallAsked()
            | ev.CallApproved()
            | ev.CallDenied()
            | ev.CallStarted()
            | ev.CallLost()
            | ev.CallClosed()
        ):
            pass  # the move, or the call's report, says it
        case (
            ev.ConversationOpened()
            | ev.ProfileChanged()
            | ev.Forked()
            | ev.RetryCancelled()
            | ev.Probed()
            | ev.Pinned()
            | ev.TurnAbandoned()
            | ev.Rewound()
        ):
            pass  # not published: only the caller who asked for it is concerned
        case _:
            assert_never(event)


def _tell_move(feed: EventLog, move: Move, turn: Turn) -> None:
    """Publish a row that the turn took."""
    feed.publish(
        Moved(
            feed.next(),
            turn.number,
            move.trigger,
            move.source,
            move.target,
            turn.fault if move.target == "failed" else None,
        )
    )


def publish_delta(feed: EventLog, turn: int, attempt: int, delta: Delta) -> None:
    """Publish a piece of a reply that is arriving; it is not history."""
    feed.arriving = True
    match delta:
        case TextDelta():
            feed.publish(
                TextArrived(feed.next(), turn, attempt, delta.index, delta.text)
            )
        case ThinkingDelta():
            feed.publish(
                ThinkingArrived(feed.next(), turn, attempt, delta.index, delta.text)
            )
        case BlockOpened():
            feed.publish(
                BlockBegan(
                    feed.next(), turn, attempt, delta.index, delta.type, delta.name
                )
            )
        case _:
            pass


def _moved(feed: EventLog, turn: Turn, call: Call) -> CallMoved:
    return CallMoved(
        feed.next(),
        turn.number,
        call.use.id,
        call.use.name,
        CallState(call.state),
        call.closing,
        call.place,
    )

"""Telling watchers what happened, from what was journaled and what is arriving."""

from detent.happenings import (
    BlockBegan,
    CallMoved,
    Feed,
    Moved,
    RemedyTried,
    Steered,
    Suspended,
    TextArrived,
    ThinkingArrived,
    TrialMade,
    Waiting,
)
from detent.ports import BlockOpened, Delta, TextDelta, ThinkingDelta
from detent_states import events as ev
from detent_states.call import CallState, Closing
from detent_states.events import Event
from detent_states.faults import RetryPolicy
from detent_states.snapshot import Call, Turn
from detent_states.step import Step


def narrate(
    feed: Feed, entry: int, event: Event, made: Step, policy: RetryPolicy
) -> None:
    """Publish what one journaled event meant."""
    turn = made.snapshot.turn
    if turn is None:
        return
    if made.move is not None:
        move = made.move
        feed.publish(
            Moved(
                feed.at(entry),
                turn.number,
                move.trigger,
                move.source,
                move.target,
                turn.fault if move.target == "failed" else None,
            )
        )
    if isinstance(event, ev.CallEvent):
        call = turn.call(event.call)
        if call is not None:
            feed.publish(_moved(feed, entry, turn, call))
    match event:
        case ev.ReplyConfirmed():
            for call in turn.calls:
                feed.publish(_moved(feed, entry, turn, call))
        case ev.TurnFailed():
            for call in turn.calls:
                if call.closing in (Closing.UNKNOWN, Closing.NOT_EXECUTED):
                    feed.publish(_moved(feed, entry, turn, call))
        case ev.RetryScheduled():
            feed.publish(
                Waiting(
                    feed.at(entry),
                    turn.number,
                    event.failures,
                    policy.attempts_max,
                    event.wait_seconds,
                    event.due,
                    turn.fault,
                )
            )
        case ev.RemedyChosen():
            feed.publish(
                RemedyTried(feed.at(entry), turn.number, event.remedy, event.why)
            )
        case ev.Probed():
            cursor = feed.at(entry)
            feed.publish(TrialMade(cursor, turn.number, event.question, event.passed))
        case ev.Steered():
            waiting = len(made.snapshot.said)
            feed.publish(Steered(feed.at(entry), turn.number, waiting))
        case ev.TurnSuspended():
            feed.publish(Suspended(feed.at(entry), turn.number, event.why, event.until))
        case _:
            pass


def narrate_delta(feed: Feed, turn: int, attempt: int, delta: Delta) -> None:
    """Publish a piece of a reply that is arriving; it is not history."""
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


def _moved(feed: Feed, entry: int, turn: Turn, call: Call) -> CallMoved:
    return CallMoved(
        feed.at(entry),
        turn.number,
        call.use.id,
        call.use.name,
        CallState(call.state),
        call.closing,
    )

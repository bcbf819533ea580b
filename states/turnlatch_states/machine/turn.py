"""The turn machine. Start reading here: this table predicts the engine.

A turn is one user input until the reply that needs nothing more from us. Rules:

* Everything that can move a turn is a row below; nothing else changes its state.
* Only the rows whose effect is *commit* change history, ids, base or usage.
* `fail` is legal in every state where something is going on: an interrupt always works.
* A failed turn loses nothing that was confirmed, and its input is still staged.
"""

from enum import StrEnum

from turnlatch_states.api.faults import FaultKind
from turnlatch_states.api.stop_reasons import Outcome, outcome
from turnlatch_states.fsm.table import Effect, Guard, Role, State, Table, Transition
from turnlatch_states.machine.events import (
    CompactionSent,
    Event,
    ReplyConfirmed,
    TurnRetried,
)
from turnlatch_states.machine.snapshot import Snapshot, cuttable, owes, unheard
from turnlatch_states.request.profile import Purpose


class TurnState(StrEnum):
    """Where a turn stands."""

    PENDING = "pending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    COMPACTING = "compacting"


def _accepted(_: Snapshot, event: Event) -> bool:
    return (
        isinstance(event, ReplyConfirmed)
        and outcome(event.reply) is not Outcome.REFUSED
    )


def _owes(snapshot: Snapshot, _: Event) -> bool:
    return snapshot.turn is not None and owes(snapshot.turn)


def _answered(snapshot: Snapshot, _: Event) -> bool:
    turn = snapshot.turn
    if turn is None or turn.open_calls:
        return False
    return owes(turn) or unheard(snapshot)


def _sendable(snapshot: Snapshot, _: Event) -> bool:
    # Without staged input only a paused turn has something to send: itself.
    turn = snapshot.turn
    return (
        turn is not None
        and turn.purpose is Purpose.MESSAGE
        and (bool(turn.staged) or turn.outcome is Outcome.RESUME)
    )


def _remedy_left(snapshot: Snapshot, event: Event) -> bool:
    turn = snapshot.turn
    if turn is None or turn.abandoned or not isinstance(event, TurnRetried):
        return False
    return event.asked or turn.due is not None or turn.ready


def _compactable(snapshot: Snapshot, event: Event) -> bool:
    # A summary stands for whole exchanges: it must not part a call from its answer.
    turn, history = snapshot.turn, snapshot.history
    if turn is None or not isinstance(event, CompactionSent):
        return False
    if not snapshot.covered < event.covers <= len(history):
        return False
    if event.covers < len(history):
        return cuttable(history, event.covers)
    return not turn.calls and turn.outcome is not Outcome.RESUME


def _too_long(snapshot: Snapshot, event: Event) -> bool:
    turn = snapshot.turn
    return (
        turn is not None
        and not turn.abandoned
        and turn.fault is not None
        and turn.fault.kind is FaultKind.TOO_LONG
        and _compactable(snapshot, event)
    )


def _staged(snapshot: Snapshot, _: Event) -> bool:
    return snapshot.turn is not None and bool(snapshot.turn.staged)


SENDABLE = Guard("legal", "there is staged input, or a paused turn", _sendable)
ACCEPTED = Guard("whole", "the reply is whole and not refused", _accepted)
OWES = Guard("owes", "the turn still owes answers", _owes)
ANSWERED = Guard(
    "answered",
    "every open call is closed, the server paused, or more was said",
    _answered,
)
REMEDY_LEFT = Guard("remedy", "a remedy is left, or the caller asks", _remedy_left)
COMPACTABLE = Guard(
    "coverable", "it covers whole exchanges that no summary covers", _compactable
)
TOO_LONG = Guard(
    "too long",
    "the fault was that the request is too long, and the turn was not given up",
    _too_long,
)
STAGED = Guard("staged", "input is staged", _staged)

_P, _S, _C, _F, _K = (state.value for state in TurnState)

TURN = Table(
    name="turn",
    promise=(
        "a conversation is never stuck, never loses what was confirmed,"
        " and never lies about what was done"
    ),
    states=(
        State(
            _P,
            "input is staged: durable, not history",
            icon="○",
            ascii="o",
            role=Role.IDLE,
            cell=(0, 0),
        ),
        State(
            _S,
            "a request for exactly that input is in flight",
            icon="◐",
            ascii=">",
            role=Role.BUSY,
            cell=(1, 0),
        ),
        State(
            _C,
            "the server's last word is committed; done, or answers are owed",
            rests=True,
            icon="✓",
            ascii="+",
            role=Role.OK,
            cell=(2, 0),
        ),
        State(
            _F,
            "stopped; history ends at the last confirmed exchange, input still staged",
            rests=True,
            icon="✕",
            ascii="x",
            role=Role.BAD,
            cell=(1, 1),
        ),
        State(
            _K,
            "a smaller context is being made; the old one is in force",
            icon="≡",
            ascii="=",
            role=Role.UPKEEP,
            cell=(0, 1),
        ),
    ),
    initial=_P,
    refusable=frozenset(
        {"send", "confirm", "fail", "retry", "answer", "compact"},
    ),
    transitions=(
        Transition("send", _P, _S, SENDABLE),
        Transition("confirm", _S, _C, ACCEPTED, Effect.COMMIT, "history, ids, usage"),
        Transition("fail", _S, _F, None, Effect.ROLL_BACK),
        Transition("fail", _K, _F, None, Effect.ROLL_BACK, "the old context stays"),
        Transition("fail", _P, _F, says="cancelled, refused locally, budget spent"),
        Transition("fail", _C, _F, OWES, Effect.CLOSE_CALLS, "cancelled among tools"),
        Transition("retry", _F, _P, REMEDY_LEFT),
        Transition("answer", _C, _P, ANSWERED),
        Transition("compact", _P, _K, COMPACTABLE),
        Transition("compact", _F, _K, TOO_LONG),
        Transition("compacted", _K, _P, STAGED, Effect.COMMIT, "base, usage"),
        Transition(
            "compacted",
            _K,
            _C,
            STAGED.negate("the turn was only this compaction"),
            Effect.COMMIT,
            "base, usage",
        ),
    ),
)

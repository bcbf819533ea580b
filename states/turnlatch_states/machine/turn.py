"""The turn machine. Start reading here: this table predicts the engine.

A turn runs from one user input to the reply that needs no further request. Rules:

* Every event of a conversation is a row below; an event without a row is refused, and
  nothing else changes the state. An event that moves nothing is a row from a state to
  itself.
* Only the rows whose effect is *commit* change history, ids, base or usage; a *rewind*
  moves the head of the history back.
* `fail` is legal in every state in which work is in progress: an interrupt always works.
* A failed turn loses nothing that was confirmed, and its input is still staged.

`confirmed` and `failed` have parts, because different events are legal in each:
calls run in `calling` and `asking`, results are sent from `answered`, the next turn is
opened from `done`; a retry comes by itself only from `waiting`, and only the next turn
follows `abandoned`. Steered messages that wait (`Snapshot.said`) do not belong to a turn:
they are a guard of `answer`.
"""

from typing import Final

from turnlatch_states.api.faults import FaultKind
from turnlatch_states.api.stop_reasons import Outcome, outcome
from turnlatch_states.fsm.table import (
    ANY,
    SAME,
    Effect,
    Guard,
    Role,
    State,
    Table,
    Transition,
    each,
)
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot, cuttable, unheard
from turnlatch_states.machine.turn_states import (
    OPENABLE,
    OWING,
    STATES,
    Substate,
    TurnState,
)
from turnlatch_states.request.profile import Purpose

TRIGGERS: Final[dict[type[Event], str]] = {
    ev.ConversationOpened: "begin",
    ev.ProfileChanged: "configure",
    ev.Forked: "fork",
    ev.TurnOpened: "open",
    ev.RequestSent: "send",
    ev.ReplyConfirmed: "confirm",
    ev.TurnFailed: "fail",
    ev.RetryScheduled: "schedule",
    ev.RetryCancelled: "cancel",
    ev.TurnRetried: "retry",
    ev.Steered: "steer",
    ev.CallAsked: "call",
    ev.CallApproved: "call",
    ev.CallDenied: "call",
    ev.CallStarted: "call",
    ev.CallLost: "call",
    ev.CallClosed: "call",
    ev.TurnContinued: "answer",
    ev.CompactionSent: "compact",
    ev.CompactionConfirmed: "compacted",
    ev.RemedyChosen: "choose",
    ev.Probed: "probe",
    ev.TurnSuspended: "suspend",
    ev.Pinned: "pin",
    ev.TurnAbandoned: "abandon",
    ev.Rewound: "rewind",
}
"""The trigger that each event pulls. `begin` has no row: it makes the first snapshot."""


def _is_next(snapshot: Snapshot, event: Event) -> bool:
    return isinstance(event, ev.TurnOpened) and event.turn == snapshot.turns + 1


def _sendable(snapshot: Snapshot, event: Event) -> bool:
    # Without staged input only a paused turn has something to send: itself.
    turn = snapshot.turn
    return (
        turn is not None
        and isinstance(event, ev.RequestSent)
        and event.attempt == turn.attempt + 1
        and turn.purpose is Purpose.MESSAGE
        and (bool(turn.staged) or turn.outcome is Outcome.RESUME)
    )


def _calls(_: Snapshot, event: Event) -> bool:
    return (
        isinstance(event, ev.ReplyConfirmed) and outcome(event.reply) is Outcome.CALLS
    )


def _owes(_: Snapshot, event: Event) -> bool:
    if not isinstance(event, ev.ReplyConfirmed):
        return False
    came_to = outcome(event.reply)
    if came_to is Outcome.RESUME or event.misfit:
        return True
    return bool(event.reply.tool_uses) and came_to is not Outcome.REFUSED


def _accepted(_: Snapshot, event: Event) -> bool:
    return (
        isinstance(event, ev.ReplyConfirmed)
        and outcome(event.reply) is not Outcome.REFUSED
    )


def _all_closed(snapshot: Snapshot, _: Event) -> bool:
    return snapshot.turn is not None and not snapshot.turn.open_calls


def _only_questions(snapshot: Snapshot, _: Event) -> bool:
    calls = () if snapshot.turn is None else snapshot.turn.open_calls
    return all(call.state is CallState.ASKED for call in calls)


def _compactable(snapshot: Snapshot, event: Event) -> bool:
    # A summary stands for whole exchanges: it must not part a call from its answer.
    turn, history = snapshot.turn, snapshot.history
    if turn is None or not isinstance(event, ev.CompactionSent):
        return False
    if event.attempt != turn.attempt + 1:
        return False
    if not snapshot.covered < event.covers <= len(history):
        return False
    if event.covers < len(history):
        return cuttable(history, event.covers)
    return not turn.calls and turn.outcome is not Outcome.RESUME


def _too_long(snapshot: Snapshot, event: Event) -> bool:
    fault = None if snapshot.turn is None else snapshot.turn.fault
    return (
        fault is not None
        and fault.kind is FaultKind.TOO_LONG
        and _compactable(snapshot, event)
    )


def _staged(snapshot: Snapshot, _: Event) -> bool:
    return snapshot.turn is not None and bool(snapshot.turn.staged)


def _paused(snapshot: Snapshot, _: Event) -> bool:
    return snapshot.turn is not None and snapshot.turn.outcome is Outcome.RESUME


def _rewindable(snapshot: Snapshot, event: Event) -> bool:
    return (
        isinstance(event, ev.Rewound)
        and 0 <= event.size <= len(snapshot.history)
        and cuttable(snapshot.history, event.size)
    )


def _in_turn(snapshot: Snapshot, event: Event) -> bool:
    return (
        isinstance(event, ev.Steered)
        and event.turn == snapshot.turns
        and bool(event.content)
    )


NEXT = Guard("next", "its number follows the last turn's", _is_next)
SENDABLE = Guard(
    "legal",
    "there is staged input, or a paused turn, and it is the next request",
    _sendable,
)
CALLS = Guard("calls", "the reply is whole and calls tools", _calls)
OWES = Guard(
    "owes",
    "the reply paused, is not the output asked for, or its calls must not run",
    _owes,
)
ACCEPTED = Guard("whole", "the reply is whole and not refused", _accepted)
ALL_CLOSED = Guard("closed", "every call has its result", _all_closed)
ONLY_QUESTIONS = Guard(
    "questions", "every open call waits for a person", _only_questions
)
ASKED = Guard(
    "asked",
    "the caller asks; nothing is scheduled",
    lambda _, event: isinstance(event, ev.TurnRetried) and event.asked,
)
UNHEARD = Guard("more", "more was said", lambda snapshot, _: unheard(snapshot))
COMPACTABLE = Guard(
    "coverable", "it covers whole exchanges that no summary covers", _compactable
)
TOO_LONG = Guard("too long", "the fault was that the request is too long", _too_long)
STAGED = Guard("staged", "input is staged", _staged)
PAUSED = Guard("paused", "the server paused, and its reply goes back", _paused)
OVER = Guard(
    "over",
    "it is the end of a search that found nothing",
    lambda _, event: isinstance(event, ev.Probed) and event.about is ev.Question.SEARCH,
)
CUTTABLE = Guard(
    "whole turns",
    "the history is that long, and owes nothing where it is cut",
    _rewindable,
)
IN_TURN = Guard("now", "it is said in the current turn, and is not empty", _in_turn)

_NEW, _P, _S = Substate.NEW.value, Substate.PENDING.value, Substate.SENT.value
_CALLING, _ASKING = Substate.CALLING.value, Substate.ASKING.value
_ANSWERED, _DONE = Substate.ANSWERED.value, Substate.DONE.value
_RESTING, _WAITING = Substate.RESTING.value, Substate.WAITING.value
_PROBING, _SUSPENDED = Substate.PROBING.value, Substate.SUSPENDED.value
_ABANDONED, _K = Substate.ABANDONED.value, Substate.COMPACTING.value
_CONFIRMED, _FAILED = TurnState.CONFIRMED.value, TurnState.FAILED.value
_CURABLE = (_RESTING, _WAITING, _PROBING, _SUSPENDED)

TURN = Table(
    name="turn",
    promise=(
        "a conversation is never stuck, never loses what was confirmed,"
        " and never lies about what was done"
    ),
    states=(
        State(_NEW, "no turn was opened yet", rests=True),
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
            _CONFIRMED,
            "the server's last word is committed; done, or answers are owed",
            rests=True,
            icon="✓",
            ascii="+",
            role=Role.OK,
            cell=(2, 0),
        ),
        State(_CALLING, "a call of the reply can run, or runs", parent=_CONFIRMED),
        State(_ASKING, "a person decides about calls", rests=True, parent=_CONFIRMED),
        State(_ANSWERED, "the turn goes back to the model", parent=_CONFIRMED),
        State(_DONE, "nothing is owed", rests=True, parent=_CONFIRMED),
        State(
            _FAILED,
            "stopped; history ends at the last confirmed exchange, input still staged",
            rests=True,
            icon="✕",
            ascii="x",
            role=Role.BAD,
            cell=(1, 1),
        ),
        State(_RESTING, "nothing happens by itself", rests=True, parent=_FAILED),
        State(_WAITING, "a retry comes by itself", parent=_FAILED),
        State(
            _PROBING,
            "the server is asked what it refuses; a crash leaves it at rest",
            rests=True,
            parent=_FAILED,
        ),
        State(_SUSPENDED, "it waits for the world", rests=True, parent=_FAILED),
        State(
            _ABANDONED, "given up; only its results live", rests=True, parent=_FAILED
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
    initial=_NEW,
    refusable=frozenset(
        {
            "open",
            "send",
            "confirm",
            "retry",
            "answer",
            "compact",
            "steer",
            "rewind",
        },
    ),
    transitions=(
        *each("open", OPENABLE, _P, NEXT, says="the next turn"),
        Transition("send", _P, _S, SENDABLE),
        Transition(
            "confirm", _S, _CALLING, CALLS, Effect.COMMIT, "history, ids, usage"
        ),
        Transition(
            "confirm", _S, _ANSWERED, OWES, Effect.COMMIT, "history, ids, usage"
        ),
        Transition(
            "confirm", _S, _DONE, ACCEPTED, Effect.COMMIT, "history, ids, usage"
        ),
        *each("call", (_CALLING, _ASKING), _ANSWERED, ALL_CLOSED),
        *each("call", (_CALLING, _ASKING), _ASKING, ONLY_QUESTIONS),
        *each("call", (_CALLING, _ASKING), _CALLING, says="as the call's table allows"),
        Transition("answer", _ANSWERED, _P),
        Transition("answer", _DONE, _P, UNHEARD),
        Transition("fail", _S, _RESTING, None, Effect.ROLL_BACK),
        Transition(
            "fail", _K, _RESTING, None, Effect.ROLL_BACK, "the old context stays"
        ),
        Transition(
            "fail", _P, _RESTING, says="cancelled, refused locally, budget spent"
        ),
        *each(
            "fail",
            OWING,
            _RESTING,
            None,
            Effect.CLOSE_CALLS,
            "cancelled among tools, or no reply was the output asked for",
        ),
        *each("retry", (_RESTING, _PROBING, _SUSPENDED), _P, ASKED),
        Transition("retry", _WAITING, _P, says="the wait is over, or the caller asks"),
        *each("schedule", _CURABLE, _WAITING, says="tried again later"),
        *each("choose", _CURABLE, _WAITING, says="tried again otherwise"),
        Transition("choose", _P, _P, says="before the request leaves"),
        *each("probe", _CURABLE, _RESTING, OVER),
        *each("probe", _CURABLE, _PROBING, OVER.negate("more may be asked")),
        *each("suspend", _CURABLE, _SUSPENDED),
        *each("cancel", (_RESTING, _WAITING, _PROBING), _RESTING),
        Transition("cancel", _SUSPENDED, _SUSPENDED),
        Transition("abandon", _FAILED, _ABANDONED, None, Effect.GIVE_UP),
        Transition("compact", _P, _K, COMPACTABLE),
        *each("compact", _CURABLE, _K, TOO_LONG),
        Transition("compacted", _K, _P, STAGED, Effect.COMMIT, "base, usage"),
        Transition("compacted", _K, _ANSWERED, PAUSED, Effect.COMMIT, "base, usage"),
        Transition(
            "compacted",
            _K,
            _DONE,
            STAGED.negate("the turn was only this compaction"),
            Effect.COMMIT,
            "base, usage",
        ),
        *each("rewind", (_NEW, _DONE), SAME, CUTTABLE, Effect.REWIND),
        *each(
            "rewind",
            (_RESTING, _PROBING, _SUSPENDED, _ABANDONED),
            _ABANDONED,
            CUTTABLE,
            Effect.REWIND,
        ),
        Transition("steer", ANY, SAME, IN_TURN, says="it waits for the next request"),
        Transition("pin", ANY, SAME, says="goes along with every summary"),
        Transition("configure", ANY, SAME, says="holds from the next request on"),
        Transition("fork", ANY, SAME, says="a copy that goes its own way"),
    ),
)

__all__ = ["STATES", "TRIGGERS", "TURN", "Substate", "TurnState"]

"""The reducer: `step(snapshot, event) -> Step(snapshot, move, dropped)`.

Pure and total: no I/O, no clock, no randomness. An event that is not legal raises and
changes nothing; an event of a turn or attempt that is no longer current is dropped.
"""

from typing import Any, assert_never, final

import attrs

from turnlatch_states.fsm.errors import CoreBugError, IllegalEventError
from turnlatch_states.fsm.table import Effect, Table
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState
from turnlatch_states.machine.call_step import moved_calls
from turnlatch_states.machine.commit import commit, learned
from turnlatch_states.machine.current_turn import changed, charges, current, turn_of
from turnlatch_states.machine.doubt import Found
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.notes import noted_beside, pinned
from turnlatch_states.machine.snapshot import (
    Call,
    Compacting,
    Move,
    Snapshot,
    Turn,
    cuttable,
)
from turnlatch_states.machine.steering import still_waiting, with_said
from turnlatch_states.machine.synthetic_results import ended
from turnlatch_states.machine.thread import Fire
from turnlatch_states.machine.turn import TURN, TurnState
from turnlatch_states.request.profile import Profile, Purpose
from turnlatch_states.request.view import DropBeta, DropField, Op, View


@final
@attrs.frozen
class Step:
    """What an event made of a snapshot.

    Attributes:
        snapshot: Where the conversation stands now.
        move: The row of the turn's table that was executed, if one was.
        dropped: True if the event was stale: nothing changed, journal nothing.
    """

    snapshot: Snapshot
    move: Move | None = None
    dropped: bool = False


def begin(event: ev.ConversationOpened) -> Snapshot:
    """The snapshot of a conversation that was just opened."""
    return Snapshot(event.profile, identity=event.identity)


def step(snapshot: Snapshot, event: Event) -> Step:
    """What `event` makes of `snapshot`.

    Raises:
        IllegalEventError: The event is not legal where the conversation stands;
            nothing was changed.
    """
    return _step(snapshot, event, Table.fire)


def fold(snapshot: Snapshot, event: Event) -> Snapshot:
    """The snapshot that `step` would give, for loading a journal.

    The row is looked up in the table instead of being executed by the library. A test holds the two to the same answer for every event.

    Raises:
        IllegalEventError: The event is not legal where the conversation stands.
    """
    return _step(snapshot, event, Table.choose).snapshot


def _step(snapshot: Snapshot, event: Event, fire: Fire) -> Step:
    if _stale(snapshot, event):
        return Step(snapshot, dropped=True)
    after, move = _apply(snapshot, event, fire)
    after = attrs.evolve(after, entries=snapshot.entries + 1)
    return Step(after, move)


def _stale(snapshot: Snapshot, event: Event) -> bool:
    """True for a completion of a turn or an attempt that is no longer current."""
    turn = snapshot.turn
    match event:
        case (
            ev.ReplyConfirmed()
            | ev.CompactionConfirmed()
            | ev.TurnFailed()
            | ev.RetryScheduled()
            | ev.RetryCancelled()
            | ev.CallClosed()
            | ev.CallLost()
        ):
            if turn is None or event.turn != turn.number:
                return True
        case _:
            return False
    match event:
        case ev.ReplyConfirmed() | ev.CompactionConfirmed():
            flying = turn.state in (TurnState.SENT, TurnState.COMPACTING)
            return event.attempt != turn.attempt or not flying
        case ev.TurnFailed():
            return event.attempt != turn.attempt or turn.state == TurnState.FAILED
        case ev.CallClosed():
            call = turn.call(event.call)
            return call is None or call.state is CallState.CLOSED
        case ev.CallLost():
            call = turn.call(event.call)
            return call is None or call.state is not CallState.STARTED
        case ev.RetryScheduled() | ev.RetryCancelled():
            return turn.state != TurnState.FAILED or turn.abandoned
        case _:
            return False


def _apply(
    snapshot: Snapshot, event: Event, fire: Fire
) -> tuple[Snapshot, Move | None]:
    if isinstance(event, ev.CallEvent):
        calls = moved_calls(current(snapshot, event), event, fire)
        return changed(snapshot, calls=calls), None
    match event:
        case ev.ConversationOpened():
            raise IllegalEventError("conversation", "open", "open", ("any but open",))
        case ev.ProfileChanged():
            return _reconfigured(snapshot, event.profile, fire), None
        case ev.Forked():
            return snapshot, None
        case ev.TurnOpened():
            return _open(snapshot, event), None
        case ev.TurnAbandoned():
            return _abandon(snapshot, event), None
        case ev.Rewound():
            return _rewind(snapshot, event, fire), None
        case ev.Steered():
            return _steered(snapshot, event), None
        case ev.RemedyChosen() | ev.Probed() | ev.TurnSuspended():
            return noted_beside(snapshot, event), None
        case ev.Pinned():
            return pinned(snapshot, event, fire), None
        case ev.RetryScheduled():
            return changed(snapshot, due=event.due), None
        case ev.RetryCancelled():
            fault = event.fault or turn_of(snapshot).fault
            now = {"due": None, "ready": False, "fault": fault, "inquiry": None}
            return changed(snapshot, **now), None
        case _:
            return _move(snapshot, event, fire)


def _reconfigured(snapshot: Snapshot, profile: Profile, fire: Fire) -> Snapshot:
    """Under other settings: what was left out under the old ones is given a chance."""
    old = snapshot.profile

    def stands(op: Op) -> bool:
        match op:
            case DropField("diagnostics"):
                return old.diagnostics == profile.diagnostics
            case DropField("cache_control"):
                return old.cache == profile.cache
            case DropField():
                return bool(old.setting(op.name) == profile.setting(op.name))
            case DropBeta():
                return old.betas == profile.betas
            case _:
                return True

    ops = tuple(filter(stands, snapshot.view.ops))
    view = snapshot.view if ops == snapshot.view.ops else View(ops)
    thread = snapshot.thread.elsewhere(fire)
    return attrs.evolve(
        snapshot,
        profile=profile,
        view=view,
        thread=thread,
        window=None,
        capped=None,
        summed=False,
        doubts=(),
        found=None,
    )


_TRIGGERS: dict[type, str] = {
    ev.RequestSent: "send",
    ev.ReplyConfirmed: "confirm",
    ev.TurnFailed: "fail",
    ev.TurnRetried: "retry",
    ev.TurnContinued: "answer",
    ev.CompactionSent: "compact",
    ev.CompactionConfirmed: "compacted",
}
"""Which event pulls which trigger. An event that is not here moves no turn."""


def _move(snapshot: Snapshot, event: Event, fire: Fire) -> tuple[Snapshot, Move | None]:
    """Execute the row that the event pulls: the only place where a turn moves."""
    turn = current(snapshot, event)
    trigger = _TRIGGERS[type(event)]
    row = fire(TURN, turn.state, trigger, snapshot, event)
    move = Move(trigger, row.source, row.target)
    charged = (*turn.charges, *charges(snapshot.profile, event))
    changes = {"charges": charged, **_noted(turn, event, snapshot.said)}
    if isinstance(event, ev.RequestSent | ev.ReplyConfirmed | ev.TurnFailed):
        snapshot = learned(snapshot, turn, event, fire)
    match row.effect:
        case Effect.COMMIT:
            snapshot, committed = commit(snapshot, turn, event, fire)
            changes.update(committed)
        case Effect.ROLL_BACK | Effect.NONE:
            pass  # nothing was changed by trying, so there is nothing to take back
        case Effect.CLOSE_CALLS:
            changes["calls"] = tuple(map(ended, turn.calls))
        case _:
            raise CoreBugError(f"no turn moves with the effect {row.effect!r}")
    path = (*turn.path, move)
    return changed(snapshot, state=row.target, path=path, **changes), move


def _steered(snapshot: Snapshot, event: ev.Steered) -> Snapshot:
    """Something was said: it waits for the next request that may say it."""
    if event.turn != snapshot.turns or not event.content:
        raise IllegalEventError(
            "conversation",
            f"turn {snapshot.turns}",
            f"say something in turn {event.turn}",
            (f"say something in turn {snapshot.turns}",),
        )
    return attrs.evolve(snapshot, said=(*snapshot.said, event.content))


def _noted(turn: Turn, event: Event, said: tuple[bytes, ...]) -> dict[str, Any]:
    """What the turn itself remembers of an event that moves it: fields of `Turn`."""
    match event:
        case ev.RequestSent() | ev.CompactionSent():
            if event.attempt != turn.attempt + 1:
                raise IllegalEventError(
                    TURN.name,
                    turn.state,
                    f"attempt {event.attempt}",
                    (f"attempt {turn.attempt + 1}",),
                )
            noted: dict[str, Any] = {"attempt": event.attempt, "fault": None}
            if isinstance(event, ev.RequestSent):
                return {**noted, "copy": event.copy, "compacting": None}
            return {
                **noted,
                "compacting": Compacting(
                    event.covers, event.method, event.instructions
                ),
                "compactions": turn.compactions + 1,
            }
        case ev.TurnFailed():
            complaint = event.fault.message if event.fault.misshapen else None
            again = complaint is not None and complaint == turn.complaint
            return {
                "complaint": complaint,
                "alike": turn.alike + 1 if again else int(complaint is not None),
                "fault": event.fault,
                "failures": turn.failures + 1,
                "due": None,
                "ready": False,
                "inquiry": None,
                "unknown": turn.unknown + event.fault.outcome_unknown,
            }
        case ev.TurnContinued():
            return {} if event.results_only else with_said(turn, said)
        case ev.TurnRetried():
            if not event.asked:
                return {"due": None, "ready": False, "inquiry": None}
            return {
                **({} if event.results_only else with_said(turn, said)),
                "due": None,
                "ready": False,
                "inquiry": None,
                "charges": (),
                "failures": 0,
                "complaint": None,
                "alike": 0,
                "granted": turn.attempt + turn.probes,
                "tried": (),
                "trial": None,
                "lent": (),
                "max_tokens": None,
                "compacting": None,
                "suspended": None,
            }
        case _:
            return {}


def _open(snapshot: Snapshot, event: ev.TurnOpened) -> Snapshot:
    last = snapshot.turn
    if not snapshot.resting or event.turn != snapshot.turns + 1:
        where = "nothing" if last is None else last.state
        raise IllegalEventError(
            "conversation",
            where,
            f"open turn {event.turn}",
            (f"open turn {snapshot.turns + 1}",),
            "no turn is going on",
        )
    # Answers are facts and outlive the turn that they belong to.
    answers = () if last is None else last.calls
    said = snapshot.said if last is None else still_waiting(snapshot, last)
    goes = said if event.purpose is Purpose.MESSAGE else ()
    content = b",".join((*goes, *((event.content,) if event.content else ())))
    turn = Turn(
        number=event.turn,
        state=TURN.initial,
        purpose=event.purpose,
        key=event.key,
        content=content,
        taken=len(goes),
        said=content,
        calls=answers,
    )
    return attrs.evolve(snapshot, turn=turn, turns=event.turn, said=said)


def _abandon(snapshot: Snapshot, event: ev.TurnAbandoned) -> Snapshot:
    turn = current(snapshot, event)
    if turn.state != TurnState.FAILED:
        raise IllegalEventError(
            "conversation", turn.state, "abandon", TURN.legal(turn.state)
        )
    left = attrs.evolve(snapshot, said=snapshot.said[turn.taken :])
    return _given_up(left)


def _given_up(snapshot: Snapshot) -> Snapshot:
    """The turn is over for good: of what it had staged, its answers alone live on."""
    return changed(
        snapshot,
        content=b"",
        taken=0,
        abandoned=True,
        due=None,
        ready=False,
        inquiry=None,
        trial=None,
        lent=(),
    )


def _rewind(snapshot: Snapshot, event: ev.Rewound, fire: Fire) -> Snapshot:
    size = event.size
    if not snapshot.resting or not 0 <= size <= len(snapshot.history):
        raise IllegalEventError(
            "conversation",
            str(snapshot.state),
            f"rewind to {size}",
            (f"rewind to 0..{len(snapshot.history)}",),
            "no turn is going on",
        )
    history = snapshot.history.until(size)
    if not cuttable(snapshot.history, size):
        raise IllegalEventError(
            "conversation",
            str(snapshot.state),
            f"rewind to {size}",
            (),
            "the exchange before the cut owes no answers",
        )
    bases = tuple(base for base in snapshot.bases if base.covers <= size)
    kept = () if size < len(snapshot.history) else _turn_calls(snapshot)
    after = attrs.evolve(
        snapshot,
        history=history,
        bases=bases,
        view=snapshot.view.until(size),
        found=_until(snapshot.found, size),
        thread=snapshot.thread.lost(fire),
    )
    if snapshot.turn is None:
        return after
    return _given_up(changed(after, calls=kept))


def _until(found: Found | None, size: int) -> Found | None:
    return found and attrs.evolve(found, view=found.view.until(size))


def _turn_calls(snapshot: Snapshot) -> tuple[Call, ...]:
    return () if snapshot.turn is None else snapshot.turn.calls

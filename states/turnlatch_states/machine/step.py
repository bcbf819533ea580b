"""The reducer: `step(snapshot, event) -> Step(snapshot, row, dropped)`.

Every event pulls one trigger of the turn's table, and is refused where the state has no
row for it.

Pure and total: no I/O, no clock, no randomness. An event that is not legal raises and
changes nothing; an event of a turn or attempt that is no longer current is dropped.
"""

from functools import cached_property
from typing import Any, Final, assert_never, final

import attrs

from turnlatch_states.fsm.table import Effect, Table, Transition
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
)
from turnlatch_states.machine.steering import still_waiting, with_said
from turnlatch_states.machine.synthetic_results import ended
from turnlatch_states.machine.thread import Fire
from turnlatch_states.machine.turn import (
    STATES,
    TRIGGERS,
    TURN,
    Substate,
    TurnState,
)
from turnlatch_states.request.profile import Profile, Purpose
from turnlatch_states.request.view import DropBeta, DropField, Op, View


@final
@attrs.frozen
class Step:
    """The result of an event.

    Attributes:
        snapshot: Where the conversation stands now.
        row: The row of the turn's table that was executed; None where it was dropped.
        dropped: True if the event was stale: nothing changed, journal nothing.
    """

    snapshot: Snapshot
    row: Transition | None = None
    dropped: bool = False

    @cached_property
    def move(self) -> Move | None:
        """How the turn moved between its five states; None if it did not."""
        return None if self.row is None else _move_of(self.row)


def begin(event: ev.ConversationOpened) -> Snapshot:
    """The snapshot of a conversation that was just opened."""
    return Snapshot(event.profile, identity=event.identity)


def step(snapshot: Snapshot, event: Event) -> Step:
    """The step from `snapshot` by `event`.

    Raises:
        IllegalEventError: The event is not legal where the conversation stands;
            nothing was changed.
    """
    return step_with(snapshot, event, Table.fire)


def fold(snapshot: Snapshot, event: Event) -> Snapshot:
    """The snapshot that `step` would give, for loading a journal.

    The row is looked up in the table instead of being executed by the library. A test holds the two to the same answer for every event.

    Raises:
        IllegalEventError: The event is not legal where the conversation stands.
    """
    return step_with(snapshot, event, Table.choose).snapshot


def step_with(snapshot: Snapshot, event: Event, fire: Fire) -> Step:
    """The step that `step` makes, with each row of each table executed by `fire`.

    Args:
        snapshot: Where the conversation stands.
        event: The event.
        fire: Executes a row, as `Table.fire` does, or looks it up, as `Table.choose`.

    Raises:
        IllegalEventError: As `step`.
    """
    if _stale(snapshot, event):
        return Step(snapshot, dropped=True)
    after, row = _apply(snapshot, event, fire)
    after = attrs.evolve(after, entries=snapshot.entries + 1)
    return Step(after, row)


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
            flying = turn.substate in (Substate.SENT, Substate.COMPACTING)
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
            return not TURN.rows(turn.substate, TRIGGERS[type(event)])
        case _:
            return False


_OF_NO_TURN: Final = (
    ev.ConversationOpened,
    ev.ProfileChanged,
    ev.Forked,
    ev.TurnOpened,
    ev.Steered,
    ev.Pinned,
    ev.Rewound,
)
"""Events that need not belong to the current turn; their guards say what they need."""


def _apply(snapshot: Snapshot, event: Event, fire: Fire) -> tuple[Snapshot, Transition]:
    """Execute the row that the event pulls: the only place where a turn moves."""
    if not isinstance(event, _OF_NO_TURN):
        turn = current(snapshot, event)
        if isinstance(event, ev.CallEvent):
            # Where the turn stands then depends on all its calls, this one included.
            snapshot = changed(snapshot, calls=moved_calls(turn, event, fire))
    row = fire(TURN, snapshot.substate, TRIGGERS[type(event)], snapshot, event)
    if isinstance(event, ev.MoveEvent):
        return _move(snapshot, event, row, fire), row
    match event:
        case ev.ProfileChanged():
            after = _changed_usual(snapshot, event.profile, fire)
        case ev.TurnOpened():
            own = _for_turn(snapshot, event.profile, fire)
            return _open(own, event, row.target), row
        case ev.TurnAbandoned():
            after = _abandon(snapshot)
        case ev.Rewound():
            after = _rewind(snapshot, event, fire)
        case ev.Steered():
            after = attrs.evolve(snapshot, said=(*snapshot.said, event.content))
        case ev.RemedyChosen() | ev.Probed() | ev.TurnSuspended():
            after = noted_beside(snapshot, turn_of(snapshot), event)
        case ev.Pinned():
            after = pinned(snapshot, event, fire)
        case ev.RetryScheduled():
            after = changed(snapshot, due=event.due)
        case ev.RetryCancelled():
            fault = event.fault or turn_of(snapshot).fault
            after = changed(snapshot, due=None, fault=fault, inquiry=None)
        case ev.ConversationOpened() | ev.Forked():
            after = snapshot
        case (
            ev.CallAsked()
            | ev.CallApproved()
            | ev.CallDenied()
            | ev.CallStarted()
            | ev.CallLost()
            | ev.CallClosed()
        ):
            after = snapshot  # the call has moved already
        case _:
            assert_never(event)
    if after.turn is None or after.turn.substate == row.target:
        return after, row
    return changed(after, substate=row.target), row


def _for_turn(snapshot: Snapshot, own: Profile | None, fire: Fire) -> Snapshot:
    """With the settings of the turn that begins: its own, or the conversation's."""
    lasting = snapshot.lasting
    profile = own or lasting
    usual = None if own is None else lasting
    if profile != snapshot.profile:
        snapshot = _reconfigured(snapshot, profile, fire)
    return snapshot if usual is snapshot.usual else attrs.evolve(snapshot, usual=usual)


def _changed_usual(snapshot: Snapshot, new: Profile, fire: Fire) -> Snapshot:
    """Under other settings of the conversation. A turn for which settings were given has
    those that differ from the ones before."""
    usual = snapshot.usual
    if usual is None:
        return _reconfigured(snapshot, new, fire)
    own = snapshot.profile.following(usual, new)
    return _reconfigured(attrs.evolve(snapshot, usual=new), own, fire)


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


def _move(snapshot: Snapshot, event: Event, row: Transition, fire: Fire) -> Snapshot:
    """The snapshot after a turn moves between its five states."""
    turn = turn_of(snapshot)
    charged = (*turn.charges, *charges(snapshot.profile, event))
    changes = {"charges": charged, **_noted(turn, event, snapshot.said)}
    if isinstance(event, ev.RequestSent | ev.ReplyConfirmed | ev.TurnFailed):
        snapshot = learned(snapshot, turn, event, fire)
    if row.effect is Effect.COMMIT:
        snapshot, committed = commit(snapshot, turn, event, fire)
        changes.update(committed)
    elif row.effect is Effect.CLOSE_CALLS:
        changes["calls"] = tuple(map(ended, turn.calls))
    # Nothing was changed by trying, so a roll back has nothing to take back.
    path = (*turn.path, Move(row.trigger, STATES[row.source], STATES[row.target]))
    return changed(snapshot, substate=row.target, path=path, **changes)


def _move_of(row: Transition) -> Move | None:
    """The move of a row between the five states; None for a row of another machine."""
    target = STATES.get(row.target)
    source = target if row.trigger == "open" else STATES.get(row.source)
    if source is None or target is None or source is target:
        return None
    return Move(row.trigger, source, target)


def _noted(turn: Turn, event: Event, said: tuple[bytes, ...]) -> dict[str, Any]:
    """What the turn itself remembers of an event that moves it: fields of `Turn`."""
    match event:
        case ev.RequestSent() | ev.CompactionSent():
            noted: dict[str, Any] = {"attempt": event.attempt, "fault": None}
            if isinstance(event, ev.RequestSent):
                return {**noted, "copy": event.copy, "compacting": None}
            return {
                **noted,
                "compacting": Compacting(
                    event.covers, event.method, event.instructions
                ),
                "due": None,
                "inquiry": None,
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
                "inquiry": None,
                "unknown": turn.unknown + event.fault.outcome_unknown,
            }
        case ev.TurnContinued():
            return {} if event.results_only else with_said(turn, said)
        case ev.TurnRetried():
            if not event.asked:
                return {"due": None, "inquiry": None}
            return {
                **({} if event.results_only else with_said(turn, said)),
                "due": None,
                "inquiry": None,
                "charges_before": len(turn.charges),
                "failures": 0,
                "complaint": None,
                "alike": 0,
                "misfits": 0,
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


def _open(snapshot: Snapshot, event: ev.TurnOpened, substate: str) -> Snapshot:
    last = snapshot.turn
    # Answers are facts and outlive the turn that they belong to.
    answers = () if last is None else last.calls
    said = snapshot.said if last is None else still_waiting(snapshot, last)
    goes = said if event.purpose is Purpose.MESSAGE else ()
    content = b",".join((*goes, *((event.content,) if event.content else ())))
    turn = Turn(
        number=event.turn,
        substate=substate,
        purpose=event.purpose,
        key=event.key,
        content=content,
        taken=len(goes),
        said=content,
        calls=answers,
    )
    return attrs.evolve(snapshot, turn=turn, turns=event.turn, said=said)


def _abandon(snapshot: Snapshot) -> Snapshot:
    turn = turn_of(snapshot)
    left = attrs.evolve(snapshot, said=snapshot.said[turn.taken :])
    return _given_up(left)


def _given_up(snapshot: Snapshot) -> Snapshot:
    """The turn is over for good: of what it had staged, its answers alone live on."""
    return changed(
        snapshot,
        content=b"",
        taken=0,
        due=None,
        inquiry=None,
        trial=None,
        lent=(),
    )


def _rewind(snapshot: Snapshot, event: ev.Rewound, fire: Fire) -> Snapshot:
    size = event.size
    history = snapshot.history.until(size)
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

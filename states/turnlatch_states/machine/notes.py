"""Facts that a conversation remembers in addition to its history.

Remedies, questions to the server, suspensions and pins: none of them changes history.
"""

from typing import assert_never

import attrs

from turnlatch_states.machine import events as ev
from turnlatch_states.machine.current_turn import changed, charges
from turnlatch_states.machine.doubt import Found, answered, doubt_of, settled
from turnlatch_states.machine.learned_limits import found_too_long
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Inquiry, Snapshot, Suspension, Turn
from turnlatch_states.machine.thread import Fire
from turnlatch_states.request.view import Op


def noted_beside(
    snapshot: Snapshot,
    turn: Turn,
    event: ev.RemedyChosen | ev.Probed | ev.TurnSuspended,
) -> Snapshot:
    """The snapshot after a decision or a probe of its turn."""
    match event:
        case ev.RemedyChosen():
            chosen = changed(
                snapshot,
                tried=(*turn.tried, event.remedy),
                remedies=(*turn.remedies, event.remedy),
                trial=turn.trial if event.view is None else event.view,
                lent=_lent(snapshot, turn, event),
                max_tokens=event.max_tokens or turn.max_tokens,
                inquiry=None,
            )
            found = _proposed(snapshot, turn, event)
            if event.remedy is Remedy.MAKE_ROOM:
                chosen = found_too_long(chosen)
            return attrs.evolve(chosen, found=found)
        case ev.Probed():
            return _probed(snapshot, turn, event)
        case ev.TurnSuspended():
            suspended = Suspension(event.why, event.until)
            return changed(snapshot, suspended=suspended, due=None)
        case _:
            assert_never(event)


def pinned(snapshot: Snapshot, event: ev.Pinned, fire: Fire) -> Snapshot:
    """A text is pinned, or let go of: then the summaries that are there go without it,
    and what the server holds is another conversation."""
    kept = tuple((n, text) for n, text in snapshot.pins if n != event.name)
    if event.text is not None:
        return attrs.evolve(snapshot, pins=(*kept, (event.name, event.text)))
    gone = tuple((event.name, base.message_id) for base in snapshot.bases if base.pins)
    let_go = tuple(dict.fromkeys((*snapshot.let_go, *gone)))
    left = attrs.evolve(snapshot, pins=kept, let_go=let_go)
    if left.base == snapshot.base:
        return left
    return attrs.evolve(left, thread=snapshot.thread.lost(fire))


def _lent(snapshot: Snapshot, turn: Turn, event: ev.RemedyChosen) -> tuple[Op, ...]:
    """The operations of the tried view that are only lent, while the trouble lasts."""
    if event.view is None:
        return turn.lent
    if not event.passing:
        return tuple(op for op in turn.lent if op in event.view.ops)
    return tuple(op for op in event.view.ops if op not in snapshot.view.ops)


def _proposed(snapshot: Snapshot, turn: Turn, event: ev.RemedyChosen) -> Found | None:
    """The fallback view of the next turn, if this one does not end."""
    known, fault = snapshot.found, turn.fault
    if event.view is None or not event.passing or fault is None:
        return known
    if known is not None and known.view == event.view and known.of(fault):
        return known
    doubt = doubt_of(snapshot.doubts, fault)
    proofs = doubt.alternations if doubt is not None else 0
    return Found(event.view, fault.kind, fault.status, proofs)


def _probed(snapshot: Snapshot, turn: Turn, event: ev.Probed) -> Snapshot:
    """The snapshot after a probe. A wait before it is over."""
    fault = turn.fault
    doubts = snapshot.doubts
    if event.about is ev.Question.SEARCH:
        if fault is not None and not event.passed:
            doubts = settled(doubts, fault.kind)
        over = changed(snapshot, due=None, inquiry=None)
        return attrs.evolve(over, doubts=doubts)
    if event.about is ev.Question.SMALL and fault is not None:
        met = None if event.passed else event.fault or fault
        doubts = answered(doubts, fault.kind, met)
    charged = (*turn.charges, *charges(snapshot.profile, event))
    asked = changed(
        snapshot,
        probes=turn.probes + 1,
        due=None,
        charges=charged,
        inquiry=_inquiry(snapshot, turn, event),
        counted=event.counted,
    )
    trials = snapshot.trials
    if event.key:
        trials = (*trials, (event.key, event.passed, event.turn))
    return attrs.evolve(asked, doubts=doubts, trials=trials)


def _inquiry(snapshot: Snapshot, turn: Turn, event: ev.Probed) -> Inquiry | None:
    """The questions about this failure; whether the server is well concludes them."""
    if event.about is ev.Question.SMALL:
        return None
    known = turn.inquiry or Inquiry(snapshot, ())
    return attrs.evolve(known, answers=(*known.answers, event.fault))

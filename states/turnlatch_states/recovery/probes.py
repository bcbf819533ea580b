"""Trials: what the answer to one shows, and what else may be done without.

A trial shows the conversation otherwise and has no effect. It proves something about what
is searched for only where nothing else stands in its way: a reason that is known by its
name is put aside, and the trial is made again.
"""

from typing import Final

import attrs

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.machine.doubt import suspicious
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.recovery.context_window import CONTEXT_LADDER, prepare
from turnlatch_states.recovery.decide import decide
from turnlatch_states.recovery.decisions import ChangeRequest
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.request.build import Copy
from turnlatch_states.request.view import (
    DropBeta,
    DropBound,
    DropField,
    IgnoreBase,
    Rename,
    StripThinking,
    View,
)

_ASIDE: Final = frozenset(
    {FaultKind.OPTIONAL_FIELD, FaultKind.THINKING, FaultKind.COMPACTION}
)
"""Kinds of refusal of a trial other than the one that is searched for: each has its own
remedy, and says nothing about the search."""

_NAMED: Final = (DropField, DropBeta, DropBound, IgnoreBase, StripThinking, Rename)
"""Operations that leave out a named part that is not content of a message."""


def under(snapshot: Snapshot, view: View) -> Snapshot:
    """A conversation as it would be shown under a view."""
    assert snapshot.turn is not None, "only what a turn sends is shown"
    return attrs.evolve(snapshot, turn=attrs.evolve(snapshot.turn, trial=view))


def aside(
    snapshot: Snapshot, searched: Fault, fault: Fault | None, policies: Policies
) -> View | None:
    """How a trial is shown that was refused for a known reason, which is not the one
    that is searched for: without what is named. None where that reason is not known.

    Args:
        snapshot: The conversation, as the trial showed it.
        searched: The fault that is searched for.
        fault: Why the trial was refused; None if it was not.
        policies: The caller's policies for faults.
    """
    turn = snapshot.turn
    if turn is None or fault is None:
        return None
    if fault.kind not in _ASIDE or fault.kind is searched.kind:
        return None
    refused = attrs.evolve(turn, fault=fault, compacting=None, copy=Copy.NONE)
    made = decide(attrs.evolve(snapshot, turn=refused), policies, 0.0)
    return made.view if isinstance(made, ChangeRequest) else None


def verdict(searched: Fault, answer: Fault | None) -> bool | None:
    """What the answer to a trial shows: True if it passes, False for a definite no to
    the body, or for a failure of the very sort that is searched for; None for nothing.

    A model that declines has read it: that passes, unless this is what is searched for.
    """
    if answer is None:
        return True
    if answer.definite:
        return False
    alike = (answer.kind, answer.status) == (searched.kind, searched.status)
    if alike and (suspicious(answer) or answer.kind is FaultKind.COMPACTION):
        return False
    return True if answer.kind is FaultKind.REFUSAL else None


def anew(snapshot: Snapshot, policies: Policies) -> Snapshot:
    """A conversation as a turn shows it before any remedy, except for parts that the
    server named: operations that did not help are not part of the result."""
    named = (op for op in snapshot.showing.ops if isinstance(op, _NAMED))
    found = snapshot.found
    in_force = snapshot.view if found is None else found.view
    fresh = under(snapshot, in_force.adding(*named))
    for _ in CONTEXT_LADDER:
        made = prepare(fresh, policies.compaction)
        if not isinstance(made, ChangeRequest) or made.view is None:
            break
        fresh = under(fresh, made.view)
    return fresh

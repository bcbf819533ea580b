"""The meaning of a trial's answer for the fault that is searched for.

A trial shows the conversation in another view and has no effect. If it is refused for a
different, known reason, it says nothing: it is repeated without the part that is named.
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

_NAMING: Final = frozenset(
    {FaultKind.OPTIONAL_FIELD, FaultKind.THINKING, FaultKind.COMPACTION}
)
"""Kinds of refusal that name a part and have a separate remedy."""

_NAMED: Final = (DropField, DropBeta, DropBound, IgnoreBase, StripThinking, Rename)
"""Operations that leave out a named part that is not content of a message."""


def with_view(snapshot: Snapshot, view: View) -> Snapshot:
    """A conversation as it would be shown under a view."""
    assert snapshot.turn is not None, "only what a turn sends is shown"
    return attrs.evolve(snapshot, turn=attrs.evolve(snapshot.turn, trial=view))


def view_without_named(
    snapshot: Snapshot, searched: Fault, fault: Fault | None, policies: Policies
) -> View | None:
    """The view for repeating a trial that was refused for a different, known reason: the
    same view without the named part. None if the reason names nothing.

    Args:
        snapshot: The conversation, as the trial showed it.
        searched: The fault that is searched for.
        fault: Why the trial was refused; None if it was not.
        policies: The caller's policies for faults.
    """
    turn = snapshot.turn
    if turn is None or fault is None:
        return None
    if fault.kind not in _NAMING or fault.kind is searched.kind:
        return None
    refused = attrs.evolve(turn, fault=fault, compacting=None, copy=Copy.NONE)
    made = decide(attrs.evolve(snapshot, turn=refused), policies, 0.0)
    return made.view if isinstance(made, ChangeRequest) else None


def probe_result(searched: Fault, answer: Fault | None) -> bool | None:
    """Whether a trial passes: False if it is refused for good, or fails as the searched
    request did; None if its answer does not say.

    A model that declines has read the request: it passes, unless refusals are searched.
    """
    if answer is None:
        return True
    if answer.definite:
        return False
    alike = (answer.kind, answer.status) == (searched.kind, searched.status)
    if alike and (suspicious(answer) or answer.kind is FaultKind.COMPACTION):
        return False
    return True if answer.kind is FaultKind.REFUSAL else None


def fresh_snapshot(snapshot: Snapshot, policies: Policies) -> Snapshot:
    """The conversation in the view that its turn began with, without the parts that the
    server has named since: remedies that did not help are not part of the result."""
    named = (op for op in snapshot.showing.ops if isinstance(op, _NAMED))
    found = snapshot.found
    in_force = snapshot.view if found is None else found.view
    fresh = with_view(snapshot, in_force.adding(*named))
    for _ in CONTEXT_LADDER:
        made = prepare(fresh, policies.compaction)
        if not isinstance(made, ChangeRequest) or made.view is None:
            break
        fresh = with_view(fresh, made.view)
    return fresh

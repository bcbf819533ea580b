"""The limits that a conversation has learned from a server."""

import attrs

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.length_errors import told
from turnlatch_states.machine.context_size import added, context
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.turn import TurnState


def found_too_long(snapshot: Snapshot) -> Snapshot:
    """The learned window, once trials have shown that a request is too long."""
    turn = snapshot.turn
    if turn is None:
        return snapshot
    refused = context(snapshot) + added(turn)
    window = refused if snapshot.window is None else min(snapshot.window, refused)
    return attrs.evolve(snapshot, window=window)


def told_of_length(snapshot: Snapshot, fault: Fault) -> Snapshot:
    """The limits learned from a refusal, and the length of the refused request."""
    said = told(fault.message) if fault.kind is FaultKind.TOO_LONG else None
    turn = snapshot.turn
    if said is None or turn is None:
        return snapshot
    window = snapshot.window if said.window is None else said.window
    sent = turn.state == TurnState.SENT
    if said.window is None and said.cap is None and sent:
        # It did not say how much it takes, but that was too much.
        refused = context(snapshot) + added(turn)
        window = refused if window is None else min(window, refused)
    density = snapshot.density
    if said.prompt is not None and sent:
        size = snapshot.history.bytes_of(snapshot.covered) + len(turn.staged)
        size += len(snapshot.profile.plain_opening)
        density = max(density, min(said.prompt / size, 1.0))
    return attrs.evolve(
        snapshot,
        window=window,
        capped=snapshot.capped if said.cap is None else said.cap,
        summed=snapshot.summed or said.summed,
        density=density,
    )

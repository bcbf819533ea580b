"""The current turn of a conversation: looked up, and changed."""

from typing import Any

import attrs

from turnlatch_states.api.reply import Charge
from turnlatch_states.fsm.errors import CoreBugError
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.machine.turn import TURN
from turnlatch_states.request.profile import Profile


def turn_of(snapshot: Snapshot) -> Turn:
    """The current turn, or the last one.

    Raises:
        CoreBugError: No turn has begun.
    """
    if snapshot.turn is None:
        raise CoreBugError("a turn was changed before the first was opened")
    return snapshot.turn


def current(snapshot: Snapshot, event: Event) -> Turn:
    """The current turn, if the event belongs to it.

    Raises:
        IllegalEventError: It does not.
    """
    turn = snapshot.turn
    number = getattr(event, "turn", None)
    if turn is None or number != turn.number:
        last = None if turn is None else turn.number
        TURN.refuse(
            snapshot.substate,
            f"{type(event).__name__} of turn {number}",
            why=f"the event belongs to the current turn, {last}",
        )
    return turn


def changed(snapshot: Snapshot, **changes: Any) -> Snapshot:
    """The conversation with some fields of its current turn changed."""
    return attrs.evolve(snapshot, turn=attrs.evolve(turn_of(snapshot), **changes))


def charges(profile: Profile, event: Event) -> tuple[Charge, ...]:
    """The charges of a request, as far as the event that ends it knows them.

    Where no reply names a model and a speed, it was asked for with those of the profile.
    """
    match event:
        case ev.ReplyConfirmed() | ev.CompactionConfirmed():
            return (event.reply.charge(profile.model),)
        case ev.TurnFailed():
            spent = event.fault.spent
        case ev.Probed():
            spent = event.spent
        case _:
            spent = None
    if spent is None:
        return ()
    return (Charge(profile.model, str(profile.setting("speed") or ""), spent),)

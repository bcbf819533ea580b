"""What happens to one call: the only place where a call moves."""

from typing import assert_never

import attrs

from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CALL, CallState
from turnlatch_states.machine.snapshot import Call, Turn
from turnlatch_states.machine.thread import Fire


def moved_calls(turn: Turn, event: ev.CallEvent, fire: Fire) -> tuple[Call, ...]:
    """The calls of a turn after what happened to one of them.

    Raises:
        IllegalEventError: There is no such call, or that is not legal where it stands.
    """
    call = turn.call(event.call)
    if call is None:
        CALL.refuse(
            "none",
            f"{type(event).__name__} of {event.call}",
            legal=[one.use.id for one in turn.open_calls],
        )
    match event:
        case ev.CallAsked():
            trigger = "ask"
            changed = attrs.evolve(
                call,
                digest=event.digest,
                expires=event.expires,
                arguments=event.arguments,
            )
        case ev.CallApproved():
            trigger = "approve"
            shown = event.arguments or call.arguments
            changed = attrs.evolve(
                call, digest=event.digest, expires=None, arguments=shown
            )
        case ev.CallDenied():
            trigger, changed = "deny", attrs.evolve(call, note=event.reason)
        case ev.CallStarted():
            trigger = "start"
            changed = attrs.evolve(call, key=event.key, safe=event.safe)
        case ev.CallLost():
            trigger, changed = "lose", call
        case ev.CallClosed():
            trigger = "close"
            changed = attrs.evolve(call, closing=event.closing, result=event.result)
        case _:
            assert_never(event)
    row = fire(CALL, call.state, trigger, call, event)
    changed = attrs.evolve(changed, state=CallState(row.target))
    return tuple(changed if one is call else one for one in turn.calls)

"""What happens to one call: the only place where a call moves."""

from hashlib import sha256
from typing import assert_never

import attrs

from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CALL, CallState, Closing
from turnlatch_states.machine.snapshot import Call, Snapshot, Turn
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


def call_key(snapshot: Snapshot, name: str, call: Call) -> str:
    """The idempotency key of a call that was not started yet.

    It is made from the place of the call in the record, and never from the id that the
    model gave it: the same after a reload and in a copy of the store, and another one
    for every other call, whatever was rewound, forked or named alike.

    Args:
        snapshot: The conversation.
        name: Its name, which tells the forks of one record apart.
        call: The call.
    """
    # A copy that went its own way has other replies in the same places.
    place = (call.entry, call.index, call.reply)
    return sha256(encode([snapshot.identity, name, *place])).hexdigest()[:32]


def started(turn: Turn) -> int:
    """How many calls of a turn were run, or may have been."""
    ran = (Closing.RESULT, Closing.ERROR, Closing.UNKNOWN)
    return sum(
        call.closing in ran or call.state in (CallState.STARTED, CallState.UNKNOWN)
        for call in (*turn.done, *turn.calls)
    )


def repeats(turn: Turn, use: ToolUse) -> int:
    """How often in a row the same call had the same result in a turn, up to now.

    If it was not run in between, the model was told so, and the count starts again: a
    model that repeats a call may be waiting for something.
    """
    count, last = 0, None
    for call in reversed(turn.done):
        if not call.use.repeats(use):
            continue
        found = (call.closing, _said(call))
        last = last or found
        if found != last or call.closing not in (Closing.RESULT, Closing.ERROR):
            break
        count += 1
    return count


def _said(call: Call) -> bytes:
    """A result without the id of the call that it answers."""
    return call.result.replace(encode(call.use.id), b"", 1)

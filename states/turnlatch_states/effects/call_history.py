"""What is known of a call before it is decided about: its key, and those before it."""

from hashlib import sha256

from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.snapshot import Call, Snapshot, Turn


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

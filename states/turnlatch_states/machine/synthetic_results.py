"""Closing a call that has no result: with a text that says what happened."""

from typing import Final, assert_never

import attrs

from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.resendable import mended
from turnlatch_states.api.stop_reasons import Outcome
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.snapshot import Call, Turn

NOTHING_SAID: Final = "Closed without a word."
CUT_OFF: Final = "Cut off, not executed: the reply ended inside this call."
NOT_EXECUTED: Final = "Not executed: the reply did not end as a call for tools."
CANCELLED: Final = "Not executed: the turn was stopped before this call started."
NEVER_STARTED: Final = "Not executed: the journal failed before this call could start."
UNKNOWN: Final = (
    "Interrupted, outcome unknown: this call started and its end was not seen."
    " It may or may not have had its effect; check before repeating it."
)

UNREPORTED: Final = "Its reports until then were not recorded."


def closed_result(call_id: str, text: str) -> bytes:
    """The `tool_result` block of a call without a result."""
    return encode(
        {
            "type": "tool_result",
            "tool_use_id": call_id,
            "content": mended(text) if text.strip() else NOTHING_SAID,
            "is_error": True,
        }
    )


def _closed(call: Call, closing: Closing, text: str) -> Call:
    return attrs.evolve(
        call,
        state=CallState.CLOSED,
        closing=closing,
        result=closed_result(call.use.id, text),
    )


def proposed(call: Call, found: Outcome) -> Call:
    """A call as the commit finds it: closed at once where it must not run."""
    if found in (Outcome.TRUNCATED, Outcome.OVERFLOW):
        return _closed(call, Closing.CUT_OFF, CUT_OFF)
    if found is not Outcome.CALLS:
        return _closed(call, Closing.NOT_EXECUTED, NOT_EXECUTED)
    return call


def ended(call: Call) -> Call:
    """A call as a stopped turn leaves it: closed with the truth about it."""
    match call.state:
        case CallState.CLOSED:
            return call
        case CallState.STARTED | CallState.UNKNOWN:
            return _closed(call, Closing.UNKNOWN, UNKNOWN)
        case CallState.DENIED:
            return _closed(call, Closing.DENIED, f"Denied: {call.note}")
        case CallState.PROPOSED | CallState.ASKED | CallState.APPROVED:
            return _closed(call, Closing.NOT_EXECUTED, CANCELLED)
        case _:
            assert_never(call.state)


def staged_if_stopped(turn: Turn) -> bytes:
    """What a turn would stage if it were stopped now: every call with its result."""
    return attrs.evolve(turn, calls=tuple(map(ended, turn.calls))).staged

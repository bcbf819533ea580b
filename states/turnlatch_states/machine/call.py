"""The tool-call machine: every path ends in exactly one truthful result.

A call is proposed by a confirmed reply. It is started only after that is journaled, and
closed once, with its real result or with a sentence that says what did not happen. A
question about a call is about exactly that call: the answer names its digest, and a yes
is used up by the start. A call whose end was not seen is `unknown`; it is never started
again, unless its start said that it only reads.
"""

from enum import StrEnum
from typing import Any

from turnlatch_states.fsm.table import Guard, Role, State, Table, Transition


class CallState(StrEnum):
    """Where one tool call stands."""

    PROPOSED = "proposed"
    ASKED = "asked"
    APPROVED = "approved"
    DENIED = "denied"
    STARTED = "started"
    UNKNOWN = "unknown"
    CLOSED = "closed"


class Closing(StrEnum):
    """How a call was closed: which truth its result tells."""

    RESULT = "result"
    """The tool returned."""
    ERROR = "error"
    """The tool, or its input, failed; the result says how."""
    DENIED = "denied"
    """A person or a policy said no; it did not run."""
    NOT_EXECUTED = "not executed"
    """It never started."""
    CUT_OFF = "cut off"
    """The reply ended inside the call; it never started."""
    UNKNOWN = "outcome unknown"
    """It started and its end was not seen; it may or may not have had its effect."""


def expired(expires: float | None, now: float) -> bool:
    """True if a question has expired. No other code compares its end with the clock.

    Args:
        expires: The end of the question, in seconds since the epoch; None for no end.
        now: The time now, likewise.
    """
    return expires is not None and now >= expires


# The subject is a `Call` and the event is the one of the trigger; both are defined on
# top of this module, so they are asked for what they carry.


def _same(call: Any, event: Any) -> bool:
    return bool(call.digest == event.digest)


def _another(call: Any, event: Any) -> bool:
    return bool(call.digest != event.digest)


def _repeatable(call: Any, event: Any) -> bool:
    return bool(call.safe and event.safe)


SAME = Guard("same", "the answer is to the question that was asked", _same)
ANOTHER = Guard("another", "it is not the call that was said yes to", _another)
REPEATABLE = Guard("safe", "it was started as one that only reads", _repeatable)

_P, _Q, _A, _D, _S, _U, _C = (state.value for state in CallState)

CALL = Table(
    name="call",
    promise="every call that was confirmed gets exactly one truthful result",
    states=(
        State(_P, "the model asked for it; nothing ran", role=Role.IDLE, cell=(0, 0)),
        State(
            _Q,
            "a person was asked about exactly this call; nothing ran",
            rests=True,
            icon="?",
            ascii="?",
            role=Role.UPKEEP,
            cell=(0, 1),
        ),
        State(
            _A,
            "somebody said yes; nothing ran",
            icon="◇",
            ascii="y",
            role=Role.UPKEEP,
            cell=(1, 1),
        ),
        State(
            _D,
            "somebody said no; nothing will run",
            icon="✕",
            ascii="x",
            role=Role.BAD,
            cell=(0, 2),
        ),
        State(
            _S,
            "the intent is journaled; the effect may have happened",
            icon="◐",
            ascii=">",
            role=Role.BUSY,
            cell=(1, 0),
        ),
        State(
            _U,
            "it started and its end was not seen",
            icon="≡",
            ascii="=",
            role=Role.UPKEEP,
            cell=(2, 0),
        ),
        State(
            _C,
            "its one result is journaled",
            final=True,
            icon="✓",
            ascii="+",
            role=Role.OK,
            cell=(2, 1),
        ),
    ),
    initial=_P,
    refusable=frozenset({"ask", "approve", "start"}),
    transitions=(
        Transition("ask", _P, _Q, says="a person decides about this very call"),
        Transition("ask", _Q, _Q, ANOTHER, says="asked again"),
        Transition("ask", _A, _Q, ANOTHER, says="asked again"),
        Transition("approve", _P, _A, says="a rule said yes"),
        Transition("approve", _Q, _A, SAME),
        Transition("deny", _P, _D, says="a rule said no"),
        Transition("deny", _Q, _D, says="a person said no, or nothing in time"),
        Transition("start", _P, _S, says="no approval is asked for"),
        Transition("start", _A, _S, says="the yes is used up"),
        Transition("start", _U, _S, REPEATABLE),
        Transition("close", _P, _C, says="not executed, cut off, or unusable"),
        Transition("close", _Q, _C, says="cancelled before anybody answered"),
        Transition("close", _A, _C, says="cancelled before it started"),
        Transition("close", _D, _C, says="denied"),
        Transition("close", _S, _C, says="its real result, or its error"),
        Transition("lose", _S, _U, says="the end was not seen"),
        Transition("close", _U, _C, says="reconciled, or told as unknown"),
    ),
)

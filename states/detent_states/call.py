"""The tool-call machine: every path ends in exactly one truthful result.

A call is proposed by a confirmed reply. It is started only after that is journaled, and
closed once, with its real result or with a sentence that says what did not happen. A
call whose end was not seen is `unknown`; it is never started again.
"""

from enum import StrEnum

from detent_states.machine import Role, State, Table, Transition


class CallState(StrEnum):
    """Where one tool call stands."""

    PROPOSED = "proposed"
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


_P, _A, _D, _S, _U, _C = (state.value for state in CallState)

CALL = Table(
    name="call",
    promise="every call that was confirmed gets exactly one truthful result",
    states=(
        State(_P, "the model asked for it; nothing ran", role=Role.IDLE, cell=(0, 0)),
        State(
            _A,
            "somebody said yes; nothing ran",
            icon="◇",
            ascii="?",
            role=Role.UPKEEP,
            cell=(1, 1),
        ),
        State(
            _D,
            "somebody said no; nothing will run",
            icon="✕",
            ascii="x",
            role=Role.BAD,
            cell=(0, 1),
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
    transitions=(
        Transition("approve", _P, _A),
        Transition("deny", _P, _D),
        Transition("start", _P, _S, says="no approval is asked for"),
        Transition("start", _A, _S),
        Transition("close", _P, _C, says="not executed, cut off, or unusable"),
        Transition("close", _A, _C, says="cancelled before it started"),
        Transition("close", _D, _C, says="denied"),
        Transition("close", _S, _C, says="its real result, or its error"),
        Transition("lose", _S, _U, says="the end was not seen"),
        Transition("close", _U, _C, says="reconciled, or told as unknown"),
    ),
)

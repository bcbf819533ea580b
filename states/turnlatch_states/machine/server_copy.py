"""Whether what a server refused may be its copy of the conversation."""

from turnlatch_states.api.faults import DEFINITE, Fault, FaultKind, optional_field
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Turn
from turnlatch_states.request.build import Copy


def without_copy(turn: Turn, fault: Fault) -> Remedy | None:
    """How the request is sent again where its copy may be what was refused; None if
    that is out of the question.

    Whatever a server says no to when it is asked to continue a thread, it may say of
    what it holds, or of how it was asked: the whole conversation is sent before
    anything is concluded about it. A path in such a refusal counts other messages.
    """
    if turn.copy is Copy.NONE or fault.kind not in DEFINITE:
        return None
    if turn.copy is Copy.CONTINUE:
        hopeless = fault.code == "thread_unsupported_request" or fault.spent is not None
        return Remedy.UNTHREAD if hopeless else Remedy.REPLAY
    if Remedy.REPLAY in turn.tried or fault.kind in (
        FaultKind.THREAD,
        FaultKind.INVALID,
    ):
        return Remedy.UNTHREAD
    named = fault.kind is FaultKind.OPTIONAL_FIELD and optional_field(fault.message)
    return Remedy.UNTHREAD if named == "thread" else None

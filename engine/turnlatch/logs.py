"""What is logged, under which name, at which level: the table stands in docs/design.md.

Nothing that was said is logged: no message, no reply, no arguments, no key, and no words of
a server, which may quote them. Only the traceback of an error in the caller's own code says
what that code says. Whatever comes from outside is one line without control characters.
"""

import logging
import traceback
from typing import Final, final

from turnlatch.call_context import RUNNING
from turnlatch.result import Turn
from turnlatch_states.api.faults import Fault
from turnlatch_states.fsm.printable import escape, printable
from turnlatch_states.fsm.table import COMPILED
from turnlatch_states.recovery.decisions import (
    BisectHistory,
    ChangeRequest,
    Compact,
    Decision,
    PingServer,
    Stop,
    Suspend,
    WaitThenRetry,
)

_NAME_MAX: Final = 80


@final
class _Plain(logging.Filter):
    """Escapes texts from outside, so that a log is safe to read in a terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                printable(one) if isinstance(one, str) else one for one in record.args
            )
        if record.exc_info and record.exc_text is None:
            told = "".join(traceback.format_exception(*record.exc_info))
            record.exc_text = escape(told.rstrip("\n"))
        return True


@final
class _Placed(logging.Filter):
    """Says for which conversation and turn the code ran that is told of."""

    def filter(self, record: logging.LogRecord) -> bool:
        call = RUNNING.get(None)
        if call is not None and isinstance(record.args, tuple):
            record.msg = f"{record.msg} (conversation '%s' turn %d)"
            record.args = (*record.args, call.conversation, call.turn)
        return True


@final
class _Quiet(logging.Filter):
    """Leaves out what the library behind the tables says of every row of ours: two lines
    each. Machines that the caller makes with that library are heard as ever."""

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args
        return not (isinstance(args, tuple) and args[:1] == (f"{COMPILED}: ",))


_PLAIN: Final = _Plain()


def _logger(area: str, *before: logging.Filter) -> logging.Logger:
    made = logging.getLogger(f"turnlatch.{area}")
    for one in (*before, _PLAIN):
        made.addFilter(one)
    return made


logging.getLogger("turnlatch").addHandler(logging.NullHandler())
logging.getLogger("transitions.core").addFilter(_Quiet())

LOG_TURNS: Final = _logger("turns")
LOG_FAULTS: Final = _logger("faults")
LOG_CALLER: Final = _logger("caller", _Placed())
LOG_STORE: Final = _logger("store")


def log_turn(conversation: str, turn: Turn, seconds: float) -> None:
    """One line for a turn that came to rest.

    Args:
        conversation: Its conversation.
        turn: The turn.
        seconds: How long it was at work since somebody asked for it.
    """
    state = turn.state.value
    if turn.fault is not None:
        state = f"{state} ({turn.fault.kind.value})"
    elif turn.awaiting:
        state = f"{state}, waits for a person"
    LOG_TURNS.info(
        "conversation '%s' turn %d: %s; requests %d, tokens in %d, out %d, %.1f s",
        conversation,
        turn.number,
        state,
        turn.requests,
        turn.usage.context - turn.usage.output,
        turn.usage.output,
        seconds,
    )


def log_fault(
    conversation: str, turn: int, request: int, fault: Fault, now: str
) -> None:
    """One line for a fault.

    Args:
        conversation: Its conversation.
        turn: The number of its turn.
        request: Which request of the turn met it.
        fault: The fault; its words are left out.
        now: The reaction, in words.
    """
    LOG_FAULTS.warning(
        "conversation '%s' turn %d request %d: %s; %s",
        conversation,
        turn,
        request,
        _named(fault),
        now,
    )


def _named(fault: Fault) -> str:
    told = [fault.kind.value]
    told += [
        str(one)[:_NAME_MAX] for one in (fault.status, fault.type, fault.code) if one
    ]
    if fault.path:
        told.append(f"at {fault.path[:_NAME_MAX]}")
    told.append(f"(request id {(fault.request_id or 'none')[:_NAME_MAX]})")
    return " ".join(told)


def doing(decision: Decision) -> str:
    """A decision about a fault, in words."""
    match decision:
        case WaitThenRetry():
            return f"it waits {decision.seconds:.1f} s, and sends the same again"
        case ChangeRequest():
            return f"it goes on otherwise: {decision.remedy.value}"
        case Compact():
            return "it asks for a summary, to make room"
        case PingServer():
            return "it asks something short, to see whether the server answers at all"
        case BisectHistory():
            return "it looks for the part that is refused, by trials"
        case Suspend():
            return "it is suspended until the world has changed; retry() goes on"
        case Stop():
            return "it gives up; retry() tries again, and nothing confirmed is lost"

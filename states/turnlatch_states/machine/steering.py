"""What is said while a turn runs: it waits, and goes along at the next legal place.

It leaves the queue only by a commit, so a request that failed has delivered nothing.
"""

from typing import Any

from turnlatch_states.api.faults import STOPPED
from turnlatch_states.api.stop_reasons import Outcome
from turnlatch_states.machine.events import TurnRetried
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.request.preflight import has_open_work
from turnlatch_states.request.profile import Purpose


def with_said(turn: Turn, said: tuple[bytes, ...]) -> dict[str, Any]:
    """What waits goes along, behind what is staged already: fields of `Turn`."""
    if turn.purpose is not Purpose.MESSAGE or turn.outcome is Outcome.RESUME:
        return {}  # what the server paused goes back exactly as it is
    waiting = said[turn.taken :]
    if not waiting:
        return {}
    return {
        "content": b",".join(filter(None, (turn.content, *waiting))),
        "taken": len(said),
        "said": b",".join(filter(None, (turn.said, *waiting))),
    }


def must_wait(snapshot: Snapshot) -> bool:
    """True if steered messages must wait: the service has open work (code that called a
    client tool, a search next to client calls), and continues it only if the results
    come back alone. A message with them would cost the work."""
    return bool(snapshot.said) and has_open_work(snapshot.history)


def asked_again(snapshot: Snapshot, turn: int) -> TurnRetried:
    """A failed turn goes on because the caller asks for it."""
    return TurnRetried(turn, asked=True, results_only=must_wait(snapshot))


def said_in(snapshot: Snapshot, turn: Turn) -> bytes:
    """The user's content in the current turn: its message, and steered messages."""
    return b",".join(filter(None, (turn.said, *snapshot.said[turn.taken :])))


def still_waiting(snapshot: Snapshot, last: Turn) -> tuple[bytes, ...]:
    """The messages that still wait once a turn that carried some of them is abandoned.

    It waits on where the turn was only stopped. Otherwise it is given up with the rest
    of what the turn said: it may be what was refused, and what cannot be said must not
    be in the way of everything that is said later.
    """
    if last.fault is None or last.fault.kind in STOPPED:
        return snapshot.said
    return snapshot.said[last.taken :]

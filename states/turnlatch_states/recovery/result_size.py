"""How much of the room that is left one tool result may take."""

from typing import Final

from turnlatch_states.machine.context_size import context
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.recovery.context_window import window
from turnlatch_states.recovery.policies import CompactionPolicy

RESULT_BYTES_MIN: Final = 1024
"""What a result may always say, however little room is left: the rest is made."""


def result_bytes(snapshot: Snapshot, policy: CompactionPolicy) -> int:
    """The longest result that a call may have now, in bytes.

    The free part of the window, less the reply to come, is shared among the results that
    the next request owes. A token counts as one byte, which is less than it has, because
    the rest of the request must fit, too.
    """
    turn = snapshot.turn
    most = window(snapshot, policy)
    reply = min(snapshot.profile.max_tokens, most // 4)
    owed = len(turn.calls) if turn is not None else 1
    left = most - context(snapshot) - reply
    return max(left // max(owed, 1), RESULT_BYTES_MIN)

"""The pure core of detent: what a conversation is, and what is legal.

Read `turn` first: the table there predicts the engine. Then `step`, which executes it,
`history`, which holds what was confirmed and builds every request, and `rules`, which
knows what the Messages API accepts. Nothing here does I/O, reads a clock or draws lots.
"""

from detent_states.call import CALL
from detent_states.machine import Table, Transition
from detent_states.snapshot import Snapshot
from detent_states.step import Step, begin, step
from detent_states.thread import THREAD
from detent_states.turn import TURN
from detent_states.writer import WRITER

__all__ = [
    "CALL",
    "THREAD",
    "TURN",
    "WRITER",
    "Snapshot",
    "Step",
    "Table",
    "Transition",
    "begin",
    "step",
]

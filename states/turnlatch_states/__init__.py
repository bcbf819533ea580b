"""The pure core of turnlatch: what a conversation is, and what is legal.

Read `turn` first: the table there predicts the engine. Then `step`, which executes it,
`history`, which holds what was confirmed and builds every request, and `rules`, which
knows what the Messages API accepts. Nothing here does I/O, reads a clock or draws lots.
"""

from turnlatch_states.call import CALL
from turnlatch_states.machine import Table, Transition
from turnlatch_states.snapshot import Snapshot
from turnlatch_states.step import Step, begin, step
from turnlatch_states.thread import THREAD
from turnlatch_states.turn import TURN
from turnlatch_states.writer import WRITER

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

"""The pure core of turnlatch: what a conversation is, and what is legal.

Read `turn` first: the table there predicts the engine. Then `step`, which executes it,
`history`, which holds what was confirmed and builds every request, and `rules`, which
knows what the Messages API accepts. Nothing here does I/O, reads a clock or draws lots.
"""

from turnlatch_states.fsm.table import Table, Transition
from turnlatch_states.machine.call import CALL
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import Step, begin, step
from turnlatch_states.machine.thread import THREAD
from turnlatch_states.machine.turn import TURN
from turnlatch_states.machine.writer import WRITER

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

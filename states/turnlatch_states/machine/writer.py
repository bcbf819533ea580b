"""The writer machine: one writer at a time, proved inside every append.

A writer holds a conversation under an epoch, a number that only grows. Every append
checks the epoch in its own transaction, so a writer that lost its lease while it was
paused is refused by the journal itself, however late it wakes.
"""

from enum import StrEnum

from turnlatch_states.fsm.table import Role, State, Table, Transition


class WriterState(StrEnum):
    """Who may append to a conversation."""

    FREE = "free"
    HELD = "held"
    LOST = "lost"


_FREE, _HELD, _LOST = (state.value for state in WriterState)

WRITER = Table(
    name="writer",
    promise="an append by anyone but the holder of the newest epoch is refused",
    states=(
        State(_FREE, "no process writes", rests=True),
        State(
            _HELD,
            "this process writes, under its epoch",
            rests=True,
            icon="✓",
            ascii="+",
            role=Role.OK,
            cell=(1, 0),
        ),
        State(
            _LOST,
            "a newer epoch exists; this handle appends nothing any more",
            final=True,
            icon="✕",
            ascii="x",
            role=Role.BAD,
            cell=(1, 1),
        ),
    ),
    initial=_FREE,
    transitions=(
        Transition("acquire", _FREE, _HELD, says="free, or its holder is dead"),
        Transition("append", _HELD, _HELD, says="the epoch is still the newest"),
        Transition("release", _HELD, _FREE),
        Transition("lose", _HELD, _LOST, says="a newer epoch was found"),
    ),
)

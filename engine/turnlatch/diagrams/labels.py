"""What is written on a drawing: rows, counts, words. Shared by every format."""

from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from turnlatch_states.fsm.table import State, Table, Transition

TIMES: Final = "\N{MULTIPLICATION SIGN}"
"""The sign before a count."""


class MoveLabel(Protocol):
    """One transition that was taken, as a recorded turn lists them."""

    @property
    def trigger(self) -> str:
        """The event that arrived."""
        ...

    @property
    def source(self) -> str:
        """The state it found."""
        ...

    @property
    def target(self) -> str:
        """The state it led to."""
        ...


@attrs.frozen
class RowLabel:
    """One row of a table as it is drawn.

    Attributes:
        index: Its place in the table.
        transition: The row itself.
        count: How often the drawn path takes it.
    """

    index: int
    transition: Transition
    count: int

    @property
    def detail(self) -> str:
        """Guard and effect: `[whole] / commit`; empty if the row has neither."""
        row = self.transition
        guard = "" if row.guard is None else f"[{row.guard.name}]"
        effect = f"/ {row.effect.value}" if row.effect.value else ""
        return f"{guard} {effect}".strip()

    @property
    def times(self) -> str:
        """How often a taken row was taken; empty for one that was not."""
        return f"{TIMES}{self.count}" if self.count else ""

    @property
    def label(self) -> str:
        """Trigger, guard, effect and count on one line."""
        parts = (self.transition.trigger, self.detail, self.times)
        return " ".join(part for part in parts if part)

    @property
    def condition(self) -> str:
        """When the row is taken, in words; empty if there is nothing to say."""
        row = self.transition
        return row.says if row.guard is None else row.guard.says

    @property
    def sentence(self) -> str:
        """The whole row in words, for people who cannot see the picture."""
        row = self.transition
        parts = [f"{row.trigger}: {row.source} to {row.target}"]
        if row.guard is not None:
            parts.append(f"if {row.guard.says}")
        if row.effect.value:
            parts.append(f"effect: {row.effect.value}")
        if row.says:
            parts.append(row.says)
        if self.count:
            parts.append(
                f"taken {self.count} times" if self.count > 1 else "taken once"
            )
        return "; ".join(parts)


def rows(table: Table, path: Sequence[MoveLabel] = ()) -> tuple[RowLabel, ...]:
    """Every row of the table with the number of times the path takes it.

    Rows that differ only in their guard cannot be told apart by a move; the first of
    them is counted.

    Raises:
        ValueError: A move of the path is not a row of the table.
    """
    keys = [(row.trigger, row.source, row.target) for row in table.transitions]
    counts = [0] * len(keys)
    for move in path:
        key = (move.trigger, move.source, move.target)
        if key not in keys:
            raise ValueError(
                f"{table.name} has no row {move.trigger!r}"
                f" from {move.source!r} to {move.target!r}"
            )
        counts[keys.index(key)] += 1
    return tuple(
        RowLabel(index, transition, counts[index])
        for index, transition in enumerate(table.transitions)
    )


def check_current(table: Table, current: str | None) -> None:
    """Refuse a current state that the table does not have.

    Raises:
        ValueError: No such state.
    """
    names = [state.name for state in table.states]
    if current is not None and current not in names:
        raise ValueError(f"{table.name} has no state {current!r}")


def marks(table: Table, state: State, current: str | None) -> tuple[str, ...]:
    """The marks of a state in addition to its name: initial, rests, final, current."""
    held = (
        ("initial", state.name == table.initial),
        ("rests", state.rests),
        ("final", state.final),
        ("current", state.name == current),
    )
    return tuple(word for word, holds in held if holds)


def describe(table: Table) -> str:
    """The whole machine in words."""
    names = ", ".join(state.name for state in table.states)
    told = ". ".join(row.sentence for row in rows(table))
    return f"Promise: {table.promise}. States: {names}. Born {table.initial}. {told}."

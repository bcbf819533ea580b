"""Mutants of a table, and the decisions that tell each from the table.

A mutant is one change of one row: the row is missing, leads elsewhere, answers to another
trigger, has no guard or the opposite one, or stands in a cell that refuses its trigger.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import final

import attrs
from tests.prefixes.rows import TableDecision

from turnlatch_states.fsm.errors import DefinitionError
from turnlatch_states.fsm.table import Table, Transition


@final
@attrs.frozen
class TableMutant:
    """A table with one change.

    Attributes:
        kind: The kind of the change.
        says: The change.
        table: The table that was changed.
        transitions: Its rows with the change.
        cell: The state and trigger of the row that was changed.
    """

    kind: str
    says: str
    table: Table
    transitions: tuple[Transition, ...]
    cell: tuple[str, str]

    @property
    def well_formed(self) -> bool:
        """False if the table is refused when it is built."""
        try:
            attrs.evolve(self.table, transitions=self.transitions)
        except DefinitionError:
            return False
        return True

    def differs(self, asked: Mapping[tuple[str, str], Sequence[TableDecision]]) -> bool:
        """True if it decides otherwise anywhere.

        Args:
            asked: The decisions of the table, by state and trigger.
        """
        before, after = _by_cell(self.table.transitions), _by_cell(self.transitions)
        for cell in before.keys() | after.keys():
            mine = after.get(cell, ())
            if mine == before.get(cell, ()):
                continue
            for one in asked.get(cell, ()):
                try:
                    found = next((row for row in mine if _takes(row, one)), None)
                except AttributeError:  # the guard asks about another kind of event
                    return True
                if _leads(found) != _leads(one.row):
                    return True
        return False


def _by_cell(
    transitions: Sequence[Transition],
) -> dict[tuple[str, str], tuple[Transition, ...]]:
    cells: dict[tuple[str, str], tuple[Transition, ...]] = {}
    for row in transitions:
        cell = (row.source, row.trigger)
        cells[cell] = (*cells.get(cell, ()), row)
    return cells


def _takes(row: Transition, asked: TableDecision) -> bool:
    return row.guard is None or row.guard.test(asked.subject, asked.event)


def _leads(row: Transition | None) -> object:
    """What the step makes of a row: where it leads to, and its effect."""
    return row and (row.target, row.effect)


def mutants(table: Table) -> Iterator[TableMutant]:
    """Every mutant of a table, in the order of its rows."""
    rows, states = table.transitions, [one.name for one in table.leaves]
    for place, row in enumerate(rows):
        name = f"{row.trigger} {row.source} → {row.target}"

        def changed(
            kind: str,
            says: str,
            *made: Transition,
            at: int = place,
            here: tuple[str, str] = (row.source, row.trigger),
        ) -> TableMutant:
            several = (*rows[:at], *made, *rows[at + 1 :])
            return TableMutant(kind, says, table, several, here)

        yield changed("row removed", f"without {name}")
        for state in states:
            if state != row.target:
                moved = attrs.evolve(row, target=state)
                yield changed("target changed", f"{name}: to {state}", moved)
        for trigger in table.triggers():
            if trigger != row.trigger:
                moved = attrs.evolve(row, trigger=trigger)
                yield changed("trigger changed", f"{name}: by {trigger}", moved)
        if row.guard is not None:
            bare = attrs.evolve(row, guard=None)
            yield changed("guard dropped", f"{name}: always", bare)
            other = attrs.evolve(row, guard=row.guard.negate())
            yield changed("guard negated", f"{name}: otherwise", other)
    taken = {(row.source, row.trigger) for row in rows}
    for state in states:
        for trigger in table.triggers():
            if (state, trigger) not in taken:
                new = Transition(trigger, state, state)
                yield TableMutant(
                    "row added",
                    f"{trigger} in {state}",
                    table,
                    (*rows, new),
                    (state, trigger),
                )


def by_cell(
    asked: Iterable[TableDecision], table: Table
) -> Mapping[tuple[str, str], Sequence[TableDecision]]:
    """The decisions of one table by state and trigger."""
    cells: dict[tuple[str, str], list[TableDecision]] = {}
    for one in asked:
        if one.table is table:
            cells.setdefault((one.state, one.trigger), []).append(one)
    return cells

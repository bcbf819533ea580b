"""The shortest ways through a table, and how much of it some runs have reached."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import pairwise
from typing import Final, TypeAlias, final

import attrs

from turnlatch.testing.report import within
from turnlatch_states.fsm.explore import explore
from turnlatch_states.fsm.table import Table, Transition

TablePath: TypeAlias = tuple[Transition, ...]
"""Rows in the order in which they are taken; the first starts in the initial state."""

RowPair: TypeAlias = tuple[Transition, Transition]
"""Two rows of which the second starts where the first ends."""

MISSED_MAX: Final = 20
"""Most states, rows and pairs that a report lists one by one, of each kind."""


def _always(_: Transition) -> bool:
    return True


@final
@attrs.frozen
class Paths:
    """A shortest path to everything that a table has.

    The paths are in the order of the table. States and rows that no path reaches are in
    `unreachable` and in none of the mappings.

    Attributes:
        table: The table.
        states: By leaf state, the path that ends there; empty for the initial state.
        rows: By row, the path that ends with it.
        pairs: By pair of rows, the path that ends with both.
        unreachable: The states and rows that no path reaches, one phrase for each.
    """

    table: Table
    states: Mapping[str, TablePath]
    rows: Mapping[Transition, TablePath]
    pairs: Mapping[RowPair, TablePath]
    unreachable: tuple[str, ...]

    def __str__(self) -> str:
        longest = max(map(len, self.pairs.values()), default=0)
        lines = [
            (
                f"{self.table.name}: {len(self.states)} states, {len(self.rows)} rows,"
                f" {len(self.pairs)} pairs of rows, by at most {longest} rows"
            ),
            *(f"  cannot be reached: {one}" for one in self.unreachable),
        ]
        return "\n".join(map(within, lines))


def paths(table: Table, possible: Callable[[Transition], bool] = _always) -> Paths:
    """The shortest path to every state, every row and every pair of consecutive rows.

    A path is over the rows as the table declares them. No guard is asked, because a
    guard asks about a subject that a table does not have: a row with a guard counts as
    possible wherever the machine stands in its source, unless `possible` says that it is
    not. A path may therefore need a subject for which all its guards say yes.

    A table without unreachable states is the only one that `Table` accepts, so that
    `unreachable` holds only what `possible` has cut off.

    Args:
        table: The table.
        possible: True for a row that can be taken. A row that cannot be is unreachable.
    """

    def moves(state: str) -> Iterator[tuple[str, str]]:
        for place, row in enumerate(table.transitions):
            if row.source == state and possible(row):
                yield str(place), row.target

    found = explore(table.initial, moves, lambda state: state)
    states = {
        state.name: tuple(
            table.transitions[int(place)] for place in found.path(state.name)
        )
        for state in table.leaves
        if state.name in found.states
    }
    rows = {
        row: (*states[row.source], row)
        for row in table.transitions
        if row.source in states and possible(row)
    }
    pairs = {
        (first, second): (*rows[first], second)
        for first in rows
        for second in rows
        if first.target == second.source
    }
    lost = [f"state {one.name}" for one in table.leaves if one.name not in states]
    lost += [f"row {row_words(one)}" for one in table.transitions if one not in rows]
    return Paths(table, states, rows, pairs, tuple(lost))


def row_words(row: Transition) -> str:
    """A row in one line: `pay [funded]: new → paid`."""
    return f"{row_label(row)}: {row.source} → {row.target}"


def row_label(row: Transition) -> str:
    """A row's name among those of its source: the trigger, and its guard if it has one."""
    return row.trigger if row.guard is None else f"{row.trigger} [{row.guard.name}]"


@final
@attrs.frozen
class Coverage:
    """How much of a table some runs have reached; `str` is the report.

    Attributes:
        possible: The paths of the table.
        states: The leaf states that were reached.
        rows: The rows that were taken.
        pairs: The pairs of rows that were taken one after the other.
    """

    possible: Paths
    states: frozenset[str]
    rows: frozenset[Transition]
    pairs: frozenset[RowPair]

    @property
    def missed_states(self) -> tuple[str, ...]:
        """The states that were not reached, in the order of the table."""
        return tuple(one for one in self.possible.states if one not in self.states)

    @property
    def missed_rows(self) -> tuple[Transition, ...]:
        """The rows that were not taken, in the order of the table."""
        return tuple(one for one in self.possible.rows if one not in self.rows)

    @property
    def missed_pairs(self) -> tuple[RowPair, ...]:
        """The pairs that were not taken, in the order of the table."""
        return tuple(one for one in self.possible.pairs if one not in self.pairs)

    @property
    def complete(self) -> bool:
        """True if everything that can be reached was reached."""
        return not (self.missed_states or self.missed_rows or self.missed_pairs)

    def __str__(self) -> str:
        able = self.possible
        lines = [
            f"{able.table.name}:"
            f" {_share(able.states, self.missed_states)} states,"
            f" {_share(able.rows, self.missed_rows)} rows,"
            f" {_share(able.pairs, self.missed_pairs)} pairs of rows"
        ]
        lines += _listed("state not reached", self.missed_states)
        lines += _listed("row not taken", list(map(row_words, self.missed_rows)))
        together = [
            f"{row_words(first)}, then {row_label(second)} → {second.target}"
            for first, second in self.missed_pairs
        ]
        lines += _listed("pair not taken", together)
        lines += [f"  cannot be reached: {one}" for one in able.unreachable]
        return "\n".join(map(within, lines))


def _share(able: Sized, missed: Sized) -> str:
    return f"{len(able) - len(missed)} of {len(able)}"


def _listed(what: str, missed: Sequence[str]) -> Iterator[str]:
    for one in missed[:MISSED_MAX]:
        yield f"  {what}: {one}"
    if len(missed) > MISSED_MAX:
        yield f"  {what}: {len(missed) - MISSED_MAX} more"


def coverage(
    table: Table,
    taken: Iterable[Sequence[Transition]],
    possible: Callable[[Transition], bool] = _always,
) -> Coverage:
    """How much of the table some runs have reached.

    Args:
        table: The table.
        taken: The rows that each run took, in order; a run starts in the initial state.
            No runs at all reach nothing.
        possible: As for `paths`: a row for which it is false is not missed.

    Raises:
        ValueError: A run has a row that is not the table's, or that does not start where
            the row before ended.
    """
    states: set[str] = set()
    rows: set[Transition] = set()
    pairs: set[RowPair] = set()
    known = frozenset(table.transitions)
    for run in taken:
        at = table.initial
        states.add(at)
        for row in run:
            if row not in known or row.source != at:
                raise ValueError(
                    f"{table.name}: a run stands in {at!r} and takes"
                    f" {row_words(row)!r}, which is not a row of the table from there;"
                    " give the rows of one run in order, from the initial state"
                )
            at = row.target
            states.add(at)
            rows.add(row)
        pairs.update(pairwise(run))
    return Coverage(
        paths(table, possible), frozenset(states), frozenset(rows), frozenset(pairs)
    )

"""Every mutant of every table is told from the table by a decision, or cannot be built.

What no decision tells from the table is listed with its reason, and the list is exact.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Final

import pytest
from tests.prefixes.corpus import of_conversations, of_threads, of_writers
from tests.prefixes.mutants import TableMutant, by_cell, mutants
from tests.prefixes.rows import TableDecision

from turnlatch.diagrams import MACHINES
from turnlatch_states.fsm.table import Table
from turnlatch_states.machine.call import CALL
from turnlatch_states.machine.thread import THREAD
from turnlatch_states.machine.turn import TURN
from turnlatch_states.machine.writer import WRITER

MUTANTS: Final[Mapping[str, int]] = {
    "turn": 4222,
    "call": 237,
    "thread": 96,
    "writer": 32,
}
"""How many mutants each table has."""

EXPLORED: Final = [one for name, one in MACHINES.items() if name in MUTANTS]
"""The tables that the explored core decides by. The connection to a server of tools has no
part in it: tests/engine/test_mcp.py takes each of its rows with real servers."""


@cache
def asked(name: str) -> Sequence[TableDecision]:
    """The decisions of one table."""
    if name == THREAD.name:
        return of_threads()
    if name == WRITER.name:
        return of_writers()
    return of_conversations()


_OF_A_TURN: Final = frozenset(TURN.triggers()) - {
    *("open", "steer", "pin", "configure", "fork", "rewind")
}
_FAILED: Final = ("resting", "waiting", "probing", "suspended", "abandoned")


def never_asked(table: Table) -> Iterator[tuple[str, str]]:
    """The cells that nothing asks the table about: a row that were added there would
    never be taken."""
    states = [one.name for one in table.leaves]
    if table is TURN:
        # An event of a turn is refused where there is none; a late one is dropped.
        yield from (("new", trigger) for trigger in _OF_A_TURN)
        for state, trigger in product(states, ("confirm", "compacted")):
            if state not in ("sent", "compacting"):
                yield state, trigger
        for state, trigger in product(states, ("schedule", "cancel")):
            if not table.rows(state, trigger):
                yield state, trigger
        yield from ((state, "fail") for state in _FAILED)
        # The table of calls refuses first: every call is closed there.
        yield from ((one, "call") for one in states if one not in ("calling", "asking"))
    elif table is CALL:
        yield from ((state, "lose") for state in states if state != "started")
        yield "closed", "close"
    elif table is THREAD:
        # `Thread` asks for a row only where it has something to change.
        yield from (("off", trigger) for trigger in ("disable", "lose", "replay"))
        yield from (("new", trigger) for trigger in ("enable", "lose", "replay"))
        yield from (("continuing", trigger) for trigger in ("enable", "replay"))
        yield from (("lost", trigger) for trigger in ("enable", "lose"))


LAST_OF_ITS_CELL: Final = (
    *(
        f"probe {state} → probing: always"
        for state in ("resting", "waiting", "probing", "suspended")
    ),
    "compacted compacting → done: always",
)
"""Mutants without a guard that is asked last: the rows before take all it refuses."""


def survivors(table: Table, wanted: Sequence[TableMutant]) -> Sequence[TableMutant]:
    """The mutants that no decision tells from the table, and that can be built."""
    cells = by_cell(asked(table.name), table)
    return [one for one in wanted if not one.differs(cells) and one.well_formed]


@pytest.mark.parametrize("table", EXPLORED, ids=lambda one: one.name)
def test_the_cells_that_nothing_asks_about_are_exactly_these(table: Table) -> None:
    cells = set(product([one.name for one in table.leaves], table.triggers()))
    assert cells - by_cell(asked(table.name), table).keys() == set(never_asked(table))


@pytest.mark.parametrize("table", EXPLORED, ids=lambda one: one.name)
def test_every_mutant_of_a_table_is_killed_unless_it_is_equivalent(
    table: Table,
) -> None:
    every = list(mutants(table))
    assert len(every) == MUTANTS[table.name]
    left = survivors(table, every)
    silent = set(never_asked(table))
    assert {one.says for one in left if one.cell not in silent} <= set(LAST_OF_ITS_CELL)
    assert {one.kind for one in left if one.cell in silent} <= {"row added"}


def test_each_equivalent_mutant_that_is_listed_survives() -> None:
    listed = [one for one in mutants(TURN) if one.says in LAST_OF_ITS_CELL]
    assert len(listed) == len(LAST_OF_ITS_CELL)
    assert survivors(TURN, listed) == listed


def test_without_the_decisions_of_a_cell_its_mutants_survive() -> None:
    """Planted: decisions that have never seen a turn fail in flight."""
    decided = by_cell(asked(TURN.name), TURN)
    poorer = {cell: made for cell, made in decided.items() if cell != ("sent", "fail")}
    alive = [one for one in mutants(TURN) if not one.differs(poorer)]
    assert "fail sent → resting: to done" in {one.says for one in alive}
    assert "without fail sent → resting" in {one.says for one in alive}

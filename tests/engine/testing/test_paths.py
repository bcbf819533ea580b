"""Paths reach everything of a table by the fewest rows, and a report says what is missed."""

from itertools import product

import pytest
from tests.engine.testing.orders import ORDER, STOCKED

from turnlatch.diagrams import MACHINES
from turnlatch.testing import coverage, paths
from turnlatch.testing.shortest_paths import row_words
from turnlatch_states.fsm.table import Table, Transition

TABLES = (*MACHINES.values(), ORDER, STOCKED)


def walked(table: Table, path: tuple[Transition, ...]) -> str:
    """The state that a path ends in, held to be one of the table from its start."""
    at = table.initial
    for row in path:
        assert row in table.transitions
        assert row.source == at
        at = row.target
    return at


def lengths(table: Table) -> dict[str, int]:
    """The distance of every state, by the plainest relaxation."""
    far = {one.name: 10**6 for one in table.leaves} | {table.initial: 0}
    for _ in table.leaves:
        for row in table.transitions:
            far[row.target] = min(far[row.target], far[row.source] + 1)
    return far


@pytest.mark.parametrize("table", TABLES, ids=lambda one: one.name)
def test_each_state_row_and_pair_has_its_shortest_path(table: Table) -> None:
    found, far = paths(table), lengths(table)
    assert found.unreachable == ()
    assert {one: len(path) for one, path in found.states.items()} == far
    assert all(walked(table, path) == one for one, path in found.states.items())
    assert list(found.rows) == list(table.transitions)
    for row, path in found.rows.items():
        walked(table, path)
        assert (path[-1], len(path)) == (row, far[row.source] + 1)
    joined = product(table.transitions, repeat=2)
    assert set(found.pairs) == {(a, b) for a, b in joined if a.target == b.source}
    for (first, second), path in found.pairs.items():
        walked(table, path)
        assert path[-2:] == (first, second)
        assert len(path) == far[first.source] + 2


@pytest.mark.parametrize("table", TABLES, ids=lambda one: one.name)
def test_taking_the_path_of_every_pair_covers_the_table(table: Table) -> None:
    found = paths(table)
    report = coverage(table, [*found.pairs.values(), *found.rows.values()])
    assert report.complete
    assert str(report) == (
        f"{table.name}: {len(found.states)} of {len(found.states)} states,"
        f" {len(found.rows)} of {len(found.rows)} rows,"
        f" {len(found.pairs)} of {len(found.pairs)} pairs of rows"
    )


def test_rows_that_a_predicate_excludes_are_unreachable_with_what_is_behind_them() -> (
    None
):
    found = paths(STOCKED, lambda row: row.target != "waiting")
    assert found.unreachable == (
        "state waiting",
        "row fill [not in stock]: open → waiting",
        "row claim [in stock]: waiting → filled",
        "row note: waiting → waiting",
    )
    assert "cannot be reached: state waiting" in str(found)
    report = coverage(STOCKED, found.pairs.values(), lambda one: one in found.rows)
    assert report.complete


@pytest.mark.parametrize("table", TABLES, ids=lambda one: one.name)
def test_a_report_of_nothing_fits_the_columns_and_names_what_is_missed(
    table: Table,
) -> None:
    report = str(coverage(table, []))
    assert max(map(len, report.splitlines())) <= 100
    assert report.startswith(f"{table.name}: 0 of {len(table.leaves)} states, 0 of ")
    assert f"state not reached: {table.initial}" in report
    assert "row not taken: " in report


@pytest.mark.parametrize("planted", ORDER.transitions, ids=row_words)
def test_a_planted_row_that_no_run_takes_is_missed(planted: Transition) -> None:
    found = paths(ORDER)
    runs = [one for one in found.pairs.values() if planted not in one]
    report = coverage(ORDER, runs)
    assert planted in report.missed_rows
    assert f"{planted.trigger}: {planted.source} → {planted.target}" in str(report)


def test_a_run_that_jumps_is_refused() -> None:
    pay, ship, arrive, *_ = ORDER.transitions
    with pytest.raises(ValueError, match=r"stands in 'paid' and takes 'arrive"):
        coverage(ORDER, [[pay, arrive]])
    assert coverage(ORDER, [[pay, ship]]).pairs == {(pay, ship)}

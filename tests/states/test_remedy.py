"""Every kind of fault has a ladder, every rung has words, and every rung is climbed."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest

from turnlatch_states.api.faults import DEFINITE, SUSPENDING, FaultKind
from turnlatch_states.machine.remedy import (
    AFTERWARDS,
    LADDERS,
    ROOM,
    SAYS,
    WITHOUT_COPY,
    Remedy,
    ladder,
)

TOTAL: tuple[tuple[Mapping[Any, object], type[StrEnum]], ...] = (
    (LADDERS, FaultKind),
    (AFTERWARDS, FaultKind),
    (SAYS, Remedy),
)


def missing(table: Mapping[Any, object], kinds: type[StrEnum]) -> set[object]:
    """What has no entry in a table that is to have one for each."""
    known: set[object] = set(kinds.__members__.values())
    return known ^ set(table)


@pytest.mark.parametrize(("table", "kinds"), TOTAL)
def test_the_tables_are_total(
    table: Mapping[Any, object], kinds: type[StrEnum]
) -> None:
    assert missing(table, kinds) == set()
    assert all(value or kinds is FaultKind for value in table.values())


@pytest.mark.parametrize(("table", "kinds"), TOTAL)
def test_an_entry_that_is_missing_is_noticed(
    table: Mapping[Any, object], kinds: type[StrEnum]
) -> None:
    """Planted: each entry in turn is left out, as if it were new and forgotten."""
    for entry in table:
        rest = {key: value for key, value in table.items() if key != entry}
        assert missing(rest, kinds) == {entry}


def test_a_ladder_names_no_rung_twice_and_says_what_a_person_can_do() -> None:
    for kind in FaultKind:
        found = ladder(kind)
        assert len(set(found.rungs)) == len(found.rungs)
        assert found.rungs == LADDERS[kind]
        assert found.afterwards.strip()
        assert (found.rungs[:1] == (Remedy.SUSPEND,)) == (kind in SUSPENDING)


def test_what_is_too_long_climbs_the_ladder_of_room() -> None:
    assert LADDERS[FaultKind.TOO_LONG] == (*WITHOUT_COPY, *ROOM)
    assert set(ROOM) < set(Remedy)


def test_a_copy_is_done_without_before_anything_definite_is_concluded() -> None:
    for kind in DEFINITE:
        assert LADDERS[kind][: len(WITHOUT_COPY)] == WITHOUT_COPY

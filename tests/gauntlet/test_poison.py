"""Whatever a part of the conversation meets, wherever it stands: it is found, and the next
messages are answered. The matrix of `tests.gauntlet.poison`: every trouble in every second
place, with threads or without. `make gauntlet` plays it in every place and with both.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import anyio
import attrs
import pytest
from tests.gauntlet.poison import (
    KINDS,
    WORD,
    Cell,
    Place,
    Poisoned,
    cells,
    matrix,
    played,
)
from tests.harness.world import mentions
from tests.part import WHOLE

from turnlatch_states.api.faults import FaultKind
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.recovery.ladder import LADDERS
from turnlatch_states.request.profile import Threads

EVERY = cells()


def once(some: Sequence[Cell]) -> list[Cell]:
    """Each trouble in every second place, and in each place every second trouble: once,
    with threads or without."""
    found: dict[tuple[str, Place], list[Cell]] = defaultdict(list)
    for cell in some:
        found[cell.trouble.name, cell.place].append(cell)
    numbered = (
        (number + number // len(Place), same)
        for number, same in enumerate(found.values())
    )
    return [
        same[number // 2 % len(same)] for number, same in numbered if not number % 2
    ]


@pytest.mark.parametrize("cell", EVERY if WHOLE else once(EVERY), ids=str)
def test_the_third_ordinary_message_at_the_latest_is_confirmed(cell: Cell) -> None:
    result = anyio.run(played, cell)

    assert result.held, result.told


def test_every_kind_has_a_row_or_a_reason() -> None:
    assert set(KINDS) == set(FaultKind)
    for trouble in KINDS.values():
        tried = trouble.script is not None or trouble.declines
        assert tried != bool(trouble.why)


@pytest.mark.parametrize("place", Place)
def test_poisoned_word_is_in_the_place_of_its_cell(place: Place) -> None:
    """Each conversation is poisoned in its place, and nowhere else."""
    cell = next(one for one in EVERY if one.place is place)
    poisoned = Poisoned(cell)
    anyio.run(poisoned.play)
    whole = next(e.raw for e in poisoned.world.simulator.log if WORD.encode() in e.raw)
    messages: list[dict[str, Any]] = json.loads(whole)["messages"]
    held = [one["role"] for one in messages if mentions(one, WORD)]
    said = {Place.REPLY: "assistant", Place.SUMMARY: "assistant"}
    assert held == [said.get(place, "user")]


def test_the_check_sees_an_engine_that_never_searches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: what no ladder mends is waited out."""

    without = {
        kind: attrs.evolve(
            ladder,
            rungs=tuple(r for r in ladder.rungs if r.remedy is not Remedy.BISECT),
        )
        for kind, ladder in LADDERS.items()
    }
    monkeypatch.setattr(
        import_module("turnlatch_states.recovery.decide"), "LADDERS", without
    )
    stuck = [
        Cell(trouble, Place.USER, Threads.OFF)
        for trouble in (KINDS[FaultKind.REFUSAL], KINDS[FaultKind.TRANSIENT])
    ]
    for cell in stuck:
        assert not anyio.run(played, cell).held


def test_the_matrix_says_where_somebody_is_stuck() -> None:
    cell = EVERY[0]
    held = matrix({cell: anyio.run(played, cell)})
    assert held[-1].startswith("poison: 1 of 1 cells")

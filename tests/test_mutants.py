"""The list of mutants that survive says what is there, and the figures add up."""

import re

import pytest
from attrs import evolve
from tests.mutants.__main__ import Score, judged
from tests.mutants.rooms import ROOMS, UNFIT
from tests.mutants.survivors import (
    LISTED,
    ROOT,
    Change,
    Kind,
    Listed,
    Survivor,
    listed,
    stale,
)

SAID = listed(LISTED.read_text("utf-8"))
CHANGE = Change(
    "turnlatch_states.fsm.printable",
    "escape",
    'return _SUSPECT.sub(_visible, text.replace("\\r\\n", "\\n"))',
    'return _SUSPECT.sub(_visible, text.replace("\\r\\n", ""))',
)


def test_every_listed_survivor_is_still_in_the_sources() -> None:
    assert stale(SAID.survivors) == []


@pytest.mark.parametrize(
    "gone",
    [
        evolve(CHANGE, module="turnlatch_states.fsm.gone"),
        evolve(CHANGE, function="gone"),
        evolve(CHANGE, was="return gone"),
    ],
    ids=["module", "function", "line"],
)
def test_the_check_sees_an_entry_whose_code_is_gone(gone: Change) -> None:
    assert stale([Survivor(CHANGE, "open", "planted")]) == []
    assert stale([Survivor(gone, "open", "planted")])


def test_every_survivor_and_every_kind_has_a_reason() -> None:
    assert all(len(kind.reason) > 20 for kind in SAID.kinds)
    assert all(len(one.reason) > 20 for one in SAID.survivors)
    assert {one.verdict for one in SAID.survivors} <= {"equivalent", "open"}


def test_every_room_of_the_core_is_mutated_by_tests_that_exist() -> None:
    core = {path.name for path in (ROOT / "states" / "turnlatch_states").iterdir()}
    mutated = {room.package.rpartition("/")[2] for room in ROOMS.values()}

    assert mutated == core - {"__init__.py", "__pycache__", "py.typed"} | {"journal"}
    for named in (*UNFIT, *(one for room in ROOMS.values() for one in room.tests)):
        path, _, test = named.partition("::")
        assert (ROOT / path).exists(), named
        assert not test or f"def {test}(" in (ROOT / path).read_text("utf-8"), named


def test_equivalent_survivors_do_not_count_and_open_ones_do() -> None:
    kinds = [evolve(CHANGE, was=f"return {name}") for name in "abcd"]
    said = Listed(
        (Kind("of a kind", re.compile("return a"), re.compile(".*"), "planted"),),
        (Survivor(kinds[1], "equivalent", "by itself"), Survivor(kinds[2], "open", "")),
    )
    noted = {
        **dict.fromkeys("pqrst", "killed"),
        **{"u": "timeout", "v": "segfault"},
        **dict.fromkeys("abcd", "survived"),
    }

    score = judged("room", 100, noted, kinds, said)

    assert score.equivalent == {"of a kind": 1, "by itself": 1}
    assert (score.killed, score.counted, score.open) == (7, 9, 1)
    assert score.survivors == [kinds[3]]
    assert score.score == 7 / 9


def test_a_sample_says_how_sure_it_is() -> None:
    def score(mutants: int, tried: int, killed: int) -> Score:
        return Score("room", mutants, tried, killed, {}, 0, [])

    assert score(50, 50, 49).at_least == score(50, 50, 49).score
    small, large = score(5000, 100, 97), score(5000, 1000, 970)
    assert 0.91 < small.at_least < 0.92 < large.at_least < large.score

"""What an ordinary run leaves out of a matrix, it proves at another point."""

from itertools import product

import pytest
from tests.part import LOOPS, WHOLE, Run, one_in, spare


def runs(*parameters: str) -> list[Run]:
    """A test with these parameters, each letter a value, on both loops."""
    return [
        Run("test", point, loop) for loop in LOOPS for point in product(*parameters)
    ]


@pytest.mark.parametrize(
    "parameters",
    [("ab",), ("abc",), ("ab", "xy"), ("ab", "xyz", "12"), ("abcd", "xy", "12", "34")],
)
def test_each_point_runs_once_and_every_parameter_in_both_ways(
    parameters: tuple[str, ...],
) -> None:
    every = runs(*parameters)
    kept = [run for run in every if run not in spare(every)]

    assert sorted(run.point for run in kept) == sorted(product(*parameters))
    assert {run.way for run in kept} == set(LOOPS)
    if len(parameters) > 1:
        for place, values in enumerate(parameters):
            for value in values:
                met = {run.way for run in kept if run.point[place] == value}
                assert met == set(LOOPS), value


def test_a_test_without_parameters_and_a_point_with_one_loop_are_kept() -> None:
    assert spare(runs()) == set()
    assert spare([Run("test", (one,), "asyncio") for one in "abc"]) == set()


def test_the_parts_from_each_beginning_are_the_whole_together() -> None:
    points = list(range(17))
    parts = [one_in(3, points, first) for first in range(3)]

    if WHOLE:
        assert parts == [points] * 3
    else:
        assert sorted(one for part in parts for one in part) == points
        assert one_in(3, points, 4) == parts[1]

"""How much of a large matrix a run takes: `make test` a part, `make sweep` the whole.

The part is the same in every run. It is drawn so that each value of each parameter is in
it, and what would have been proved twice is proved once.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")

VARIABLE: Final = "WHOLE"
"""The environment variable that asks for every point."""

WHOLE: Final = bool(os.environ.get(VARIABLE))


def one_in(count: int, points: Sequence[T], first: int = 0) -> Sequence[T]:
    """One in so many of the points, or all of them where the whole is asked for.

    Args:
        count: How many points stand for one.
        points: All of them, in a fixed order.
        first: Which of them begins, modulo `count`. Where one matrix is swept several
            times, each sweep begins at another, so that together they take all.
    """
    return points if WHOLE else points[first % count :: count]


def examples(count: int) -> int:
    """So many examples of a property where the whole is asked for, half of them else.

    The half is the same in every run; `make fuzz` draws others for ten minutes.
    """
    return count if WHOLE else (count + 1) // 2


LOOPS: Final = ("asyncio", "trio")


HOWS: Final = ("whole", "stream")
"""How a scenario of the gauntlet has its replies: at once, or piece by piece."""


class Run(NamedTuple):
    """A test, at one of its points, in one of two ways: on a loop, or a way of replies."""

    test: str
    point: tuple[str, ...]
    way: str


def spare(runs: Sequence[Run]) -> set[Run]:
    """The runs that can be left out if each point is run once, and each test in each way.

    The way of the nth point is the parity of n's binary digits (the Thue-Morse
    sequence): of two neighbours each has another way, and no value of one parameter
    always meets the same one. A test with a single point keeps both, and a point that
    has one way only keeps that.
    """
    tests: dict[str, dict[tuple[str, ...], list[Run]]] = defaultdict(dict)
    for run in runs:
        tests[run.test].setdefault(run.point, []).append(run)
    return {
        run
        for points in tests.values()
        if len(points) > 1
        for number, both in enumerate(points.values())
        if len(both) == 2
        for run in both
        if run is not both[number.bit_count() % 2]
    }

"""Spreading the lines that share a lane next to each other."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from turnlatch.diagrams.grid import Cell, CellSide, Kind, Lane, Route, spans

Line = tuple[int, int]
"""(edge, position on its route): one straight line of one edge."""

_LOOP = 0.4


class LaneRun(NamedTuple):
    """A line in its lane.

    Attributes:
        line: Which line.
        begin: Where it begins along the lane, in grid units.
        stop: Where it stops.
        ends: The box sides that it leaves or enters by.
        pull: How far from the middle of the lane the edge's other lines lie.
        straight: Whether it is the whole of its edge.
    """

    line: Line
    begin: float
    stop: float
    ends: frozenset[tuple[Cell, CellSide]]
    pull: float
    straight: bool


@lru_cache(maxsize=4096)
def runs(
    index: int, source: Cell, target: Cell, route: Route
) -> tuple[tuple[Lane, LaneRun], ...]:
    """The lines of an edge; each is pulled to where the edge's other lines lie."""
    lanes = route.lanes
    last = len(lanes) - 1
    lengths = spans(route, source, target)
    found: list[tuple[Lane, LaneRun]] = []
    for position, lane in enumerate(lanes):
        before = lanes[max(position - 2, 0)].at if position != 1 else _at(source, lane)
        after = (
            lanes[min(position + 2, last)].at
            if position != last - 1
            else _at(target, lane)
        )
        pull = (before + after) / 2 - lane.at
        ends: set[tuple[Cell, CellSide]] = set()
        if position == 0:
            ends.add((source, route.leaves))
            pull -= _LOOP if source == target else 0.0
        if position == last:
            ends.add((target, route.enters))
            pull += _LOOP if source == target else 0.0
        begin, stop = lengths[position]
        line = (index, position)
        run = LaneRun(line, begin, stop, frozenset(ends), pull, last == 0)
        found.append((lane, run))
    return tuple(found)


def _at(cell: Cell, lane: Lane) -> int:
    """Where a cell lies across a lane."""
    return 2 * cell[1 if lane.flat else 0] + 1


@lru_cache(maxsize=4096)
def beside(kind: Kind, lines: tuple[LaneRun, ...]) -> Mapping[Line, float]:
    """How many steps each line of a lane stands off the lane's middle."""
    offsets: dict[Line, float] = {}
    for group in _groups(lines):
        offsets |= _spread(group, kind)
    return offsets


def _groups(runs: Sequence[LaneRun]) -> Iterator[list[LaneRun]]:
    """Lines of one lane that would lie on each other or share a box side."""
    left = list(runs)
    while left:
        group = [left.pop(0)]
        for run in group:
            near = [other for other in left if _conflict(run, other)]
            group += near
            left = [other for other in left if other not in near]
        yield group


def _conflict(one: LaneRun, two: LaneRun) -> bool:
    return bool(one.ends & two.ends) or (
        one.begin <= two.stop and two.begin <= one.stop
    )


def _spread(group: Sequence[LaneRun], kind: Kind) -> Mapping[Line, float]:
    """Place a group's lines next to each other; lines that cannot touch may share.

    A straight edge keeps the middle of its boxes, the others stand around it.
    """
    ranked = sorted(group, key=lambda run: (run.pull, run.line))
    straight = [index for index, run in enumerate(ranked) if run.straight]
    pivot = straight[0] if straight else 0
    levels = [0] * len(ranked)
    for index in range(pivot + 1, len(ranked)):
        nearer = range(pivot, index)
        held = [levels[i] + 1 for i in nearer if _conflict(ranked[i], ranked[index])]
        levels[index] = max(held, default=0)
    for index in range(pivot - 1, -1, -1):
        nearer = range(index + 1, len(ranked))
        held = [levels[i] - 1 for i in nearer if _conflict(ranked[i], ranked[index])]
        levels[index] = min(held, default=0)
    middle = (min(levels) + max(levels)) / 2
    if kind in {Kind.ROW, Kind.COLUMN} and straight:
        middle = sum(levels[index] for index in straight) / len(straight)
    return {run.line: levels[i] - middle for i, run in enumerate(ranked)}

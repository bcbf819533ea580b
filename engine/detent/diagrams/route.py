"""Which way every edge takes, so that few lines cross and few bend.

A plan gives each edge a route and each of its lines a rank among the lines that share
its lane. The search starts from the shortest routes and changes one thing at a time for
as long as that makes the drawing better. It knows no chance: same table, same plan.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from typing import NamedTuple

import attrs

from detent.diagrams.grid import (
    Cell,
    Kind,
    Lane,
    Route,
    Side,
    ends_of,
    routes,
    spans,
)

Line = tuple[int, int]
"""(edge, position on its route): one straight line of one edge."""

Point = tuple[float, float]
"""(x, y)."""

_CANDIDATES = 24
_CROSSING = 60.0
_BEND = 7.0
_LENGTH = 4.0
_CROWD = 40.0
_UNDER = 2.0
_LOOP = 0.4
_STEP = 0.12
"""Offset between neighbouring lines of a lane, in grid units, while planning."""


@attrs.frozen
class Edge:
    """The two cells an edge joins and every route it could take."""

    source: Cell
    target: Cell
    choices: tuple[Route, ...]


@attrs.frozen
class Plan:
    """A route for each edge and an offset for each of their lines.

    Attributes:
        routes: The chosen route of each edge.
        offsets: How many steps each line stands off the middle of its lane.
        lanes: The lines of each lane.
    """

    routes: tuple[Route, ...]
    offsets: Mapping[Line, float]
    lanes: Mapping[Lane, tuple[Line, ...]]


class _Run(NamedTuple):
    line: Line
    begin: float
    stop: float
    ends: frozenset[tuple[Cell, Side]]
    pull: float
    straight: bool


def plan(
    ends: Sequence[tuple[Cell, Cell]], taken: frozenset[Cell], initial: Cell
) -> Plan:
    """The best plan found for edges between the given cells.

    Args:
        ends: (source, target) of each edge, in reading order.
        taken: All cells that hold a state.
        initial: The cell of the initial state; its left side is kept for the dot.
    """
    edges = tuple(_edge(source, target, taken, initial) for source, target in ends)
    reading = range(len(edges))
    shortest = sorted(reading, key=lambda index: _least(edges[index]))
    _, best = min(
        (_search(edges, order) for order in (reading, shortest)),
        key=lambda found: found[0],
    )
    return best


def middles(places: Plan, edges: Sequence[tuple[Cell, Cell]]) -> list[list[Point]]:
    """The corner points of each edge, in grid units, while planning."""
    return [
        _points(index, places.routes[index], source, target, places.offsets)
        for index, (source, target) in enumerate(edges)
    ]


def crossings(paths: Sequence[Sequence[Point]]) -> Iterator[tuple[int, int]]:
    """Every pair of edges that meet, once for each place where they do."""
    parts = [[_extent(*segment) for segment in pairwise(path)] for path in paths]
    for (one, mine), (two, theirs) in combinations(enumerate(parts), 2):
        for left, top, right, bottom in mine:
            for other_left, other_top, other_right, other_bottom in theirs:
                if (
                    left <= other_right
                    and other_left <= right
                    and top <= other_bottom
                    and other_top <= bottom
                ):
                    yield one, two


def _edge(source: Cell, target: Cell, taken: frozenset[Cell], initial: Cell) -> Edge:
    dot = (initial, Side.LEFT)
    found = [
        route
        for route in routes(source, target, taken)
        if dot not in {(source, route.leaves), (target, route.enters)}
    ]
    alone: dict[Line, float] = {}
    ranked = sorted(
        found,
        key=lambda route: (
            _length(_points(0, route, source, target, alone)) * _LENGTH
            + _BEND * len(route.lanes)
        ),
    )
    return Edge(source, target, tuple(ranked[:_CANDIDATES]))


def _least(edge: Edge) -> float:
    alone: dict[Line, float] = {}
    return _length(_points(0, edge.choices[0], edge.source, edge.target, alone))


def _search(edges: Sequence[Edge], order: Sequence[int]) -> tuple[float, Plan]:
    """The best plan that can be reached when edges choose in the given order."""
    chosen = [edge.choices[0] for edge in edges]
    swaps: dict[Line, float] = {}
    best = _cost(edges, chosen, swaps)
    while True:
        before = best
        best = _choose_routes(edges, order, chosen, swaps, best)
        best = _choose_ranks(edges, chosen, swaps, best)
        best = _choose_pairs(edges, chosen, swaps, best)
        if best >= before:
            return best, _arrange(edges, chosen, swaps)


def _choose_routes(
    edges: Sequence[Edge],
    order: Sequence[int],
    chosen: list[Route],
    swaps: dict[Line, float],
    best: float,
) -> float:
    for index in order:
        for route in edges[index].choices:
            kept = chosen[index]
            chosen[index] = route
            cost = _cost(edges, chosen, swaps)
            if cost < best:
                best = cost
            else:
                chosen[index] = kept
    return best


def _choose_ranks(
    edges: Sequence[Edge], chosen: list[Route], swaps: dict[Line, float], best: float
) -> float:
    lanes = _arrange(edges, chosen, swaps).lanes
    for lines in lanes.values():
        for line in lines:
            for nudge in (-2.0, 2.0, -4.0, 4.0):
                kept = swaps.get(line, 0.0)
                swaps[line] = nudge
                cost = _cost(edges, chosen, swaps)
                if cost < best:
                    best = cost
                else:
                    swaps[line] = kept
    return best


def _choose_pairs(
    edges: Sequence[Edge], chosen: list[Route], swaps: dict[Line, float], best: float
) -> float:
    """Move two edges together, where moving either alone does not help.

    Tried for edges that cross and for edges between the same two states.
    """
    places = _arrange(edges, chosen, swaps)
    paths = middles(places, [(edge.source, edge.target) for edge in edges])
    twins = [
        (one, two)
        for one, two in combinations(range(len(edges)), 2)
        if {edges[one].source, edges[one].target}
        == {edges[two].source, edges[two].target}
    ]
    for one, two in dict.fromkeys([*crossings(paths), *twins]):
        for route in edges[one].choices[:10]:
            for other in edges[two].choices[:10]:
                kept = chosen[one], chosen[two]
                chosen[one], chosen[two] = route, other
                cost = _cost(edges, chosen, swaps)
                if cost < best:
                    best = cost
                else:
                    chosen[one], chosen[two] = kept
    return best


def _cost(
    edges: Sequence[Edge], chosen: Sequence[Route], swaps: Mapping[Line, float]
) -> float:
    places = _arrange(edges, chosen, swaps)
    paths = middles(places, [(edge.source, edge.target) for edge in edges])
    cost = _CROSSING * sum(1 for _ in crossings(paths))
    for route, path in zip(chosen, paths, strict=True):
        cost += _BEND * (len(route.lanes) - 1) + _LENGTH * _length(path)
        if route.leaves is route.enters is Side.BOTTOM:
            cost += _UNDER
    return cost + _CROWD * _crowding(edges, chosen)


def _crowding(edges: Sequence[Edge], chosen: Sequence[Route]) -> int:
    """How many edge ends are more than their box side holds with ease."""
    held: dict[tuple[Cell, Side], int] = {}
    for edge, route in zip(edges, chosen, strict=True):
        for end in ((edge.source, route.leaves), (edge.target, route.enters)):
            held[end] = held.get(end, 0) + 1
    easy = {Side.LEFT: 2, Side.RIGHT: 2, Side.TOP: 4, Side.BOTTOM: 4}
    return sum(max(0, count - easy[side]) for (_, side), count in held.items())


def _arrange(
    edges: Sequence[Edge], chosen: Sequence[Route], swaps: Mapping[Line, float]
) -> Plan:
    """Stand the lines of every lane side by side."""
    lanes: dict[Lane, list[_Run]] = {}
    for index, (edge, route) in enumerate(zip(edges, chosen, strict=True)):
        for lane, run in _runs(index, edge, route, swaps):
            lanes.setdefault(lane, []).append(run)
    offsets: dict[Line, float] = {}
    for lane, runs in lanes.items():
        for group in _groups(runs):
            offsets |= _spread(group, lane.kind)
    return Plan(
        tuple(chosen),
        offsets,
        {lane: tuple(run.line for run in runs) for lane, runs in lanes.items()},
    )


def _runs(
    index: int, edge: Edge, route: Route, swaps: Mapping[Line, float]
) -> Iterator[tuple[Lane, _Run]]:
    for lane, run in _unmoved(index, edge.source, edge.target, route):
        nudge = swaps.get(run.line)
        yield lane, run if nudge is None else run._replace(pull=run.pull + nudge)


@lru_cache(maxsize=4096)
def _unmoved(
    index: int, source: Cell, target: Cell, route: Route
) -> tuple[tuple[Lane, _Run], ...]:
    """The lines of an edge; each is pulled to where the edge's other lines lie."""
    lanes = route.lanes
    last = len(lanes) - 1
    lengths = spans(route, source, target)
    found: list[tuple[Lane, _Run]] = []
    for position, lane in enumerate(lanes):
        before = lanes[max(position - 2, 0)].at if position != 1 else _at(source, lane)
        after = (
            lanes[min(position + 2, last)].at
            if position != last - 1
            else _at(target, lane)
        )
        pull = (before + after) / 2 - lane.at
        ends: set[tuple[Cell, Side]] = set()
        if position == 0:
            ends.add((source, route.leaves))
            pull -= _LOOP if source == target else 0.0
        if position == last:
            ends.add((target, route.enters))
            pull += _LOOP if source == target else 0.0
        begin, stop = lengths[position]
        line = (index, position)
        run = _Run(line, begin, stop, frozenset(ends), pull, last == 0)
        found.append((lane, run))
    return tuple(found)


def _at(cell: Cell, lane: Lane) -> int:
    """Where a cell lies across a lane."""
    return 2 * cell[1 if lane.flat else 0] + 1


def _groups(runs: Sequence[_Run]) -> Iterator[list[_Run]]:
    """Lines of one lane that would lie on each other or share a box side."""
    left = list(runs)
    while left:
        group = [left.pop(0)]
        for run in group:
            near = [other for other in left if _conflict(run, other)]
            group += near
            left = [other for other in left if other not in near]
        yield group


def _conflict(one: _Run, two: _Run) -> bool:
    return bool(one.ends & two.ends) or (
        one.begin <= two.stop and two.begin <= one.stop
    )


def _spread(group: Iterable[_Run], kind: Kind) -> Mapping[Line, float]:
    """Stand a group's lines beside each other; lines that cannot touch may share.

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


def _points(
    index: int, route: Route, source: Cell, target: Cell, offsets: Mapping[Line, float]
) -> list[Point]:
    at = [
        lane.at + _STEP * offsets.get((index, position), 0.0)
        for position, lane in enumerate(route.lanes)
    ]
    first, last = ends_of(route, source, target)
    return corners(route, at, first, last)


def corners(
    route: Route, at: Sequence[float], first: float, last: float
) -> list[Point]:
    """The points of a route whose lines lie at the given coordinates."""
    stops = [first, *at, last]
    points: list[Point] = []
    for position, lane in enumerate(route.lanes):
        begin = stops[position]
        points.append((begin, at[position]) if lane.flat else (at[position], begin))
    final = route.lanes[-1]
    points.append((last, at[-1]) if final.flat else (at[-1], last))
    return points


def _length(path: Sequence[Point]) -> float:
    return sum(abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in pairwise(path))


def _extent(one: Point, two: Point) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of an upright segment."""
    (ax, ay), (bx, by) = one, two
    return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)

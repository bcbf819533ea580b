"""The routes that edges have taken, with what they cost, changed a little at a time."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, final

import attrs

from turnlatch.diagrams.grid import Cell, CellSide, Lane, Route, ends_of
from turnlatch.diagrams.lanes import LaneRun, Line, beside, runs

Point = tuple[float, float]
"""(x, y)."""

_Extent = tuple[float, float, float, float]
"""Left, top, right and bottom."""

_CROSSING = 60.0
_BEND = 7.0
_LENGTH = 4.0
_CROWD = 40.0
_UNDER = 2.0
_STEP = 0.12
"""Offset between neighbouring lines of a lane, in grid units, while planning."""

_EASY = {CellSide.LEFT: 2, CellSide.RIGHT: 2, CellSide.TOP: 4, CellSide.BOTTOM: 4}
"""How many edge ends a side of a box holds with ease."""

_ROUNDING = 1e-6
"""More than sums of the same costs differ by when they are added in another order."""


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


class _Way(NamedTuple):
    """One edge as it is drawn, in grid units.

    Attributes:
        parts: The area of each straight part.
        whole: The area of all parts together.
        price: The cost of the length and the bends.
        under: The cost of both ends lying below.
    """

    parts: tuple[_Extent, ...]
    whole: _Extent
    price: float
    under: float


@attrs.frozen
class _Change:
    """The change to a layout when some of its edges take other routes.

    Attributes:
        routes: The routes of those edges.
        lanes: The lanes that have other lines then.
        offsets: The offsets of the lines in these.
        ways: The edges that are drawn differently.
    """

    routes: Mapping[int, Route]
    lanes: Mapping[Lane, tuple[LaneRun, ...]]
    offsets: Mapping[Line, float]
    ways: Mapping[int, _Way]


@final
class Layout:
    """A route for each edge, the lines of each lane, and what all of it costs.

    A change concerns a few lanes, and with them the ways of a few edges; nothing else is
    looked at again. The costs are added in one order whatever has changed, so that equal
    layouts cost the same to the last bit.

    Args:
        edges: The edges, in reading order; each takes its first choice.

    Attributes:
        edges: The edges.
        cost: The cost of the layout; less is better.
    """

    def __init__(self, edges: Sequence[Edge]) -> None:
        self.edges = edges
        self.cost = float("inf")
        self._routes: dict[int, Route] = {}
        self._nudges: dict[Line, float] = {}
        self._lanes: dict[Lane, tuple[LaneRun, ...]] = {}
        self._offsets: dict[Line, float] = {}
        self._ways: dict[int, _Way] = {}
        self._meetings: dict[tuple[int, int], int] = {}
        self.take({index: edge.choices[0] for index, edge in enumerate(edges)})

    def plan(self) -> Plan:
        """The current plan; lanes come in the order in which edges run into them."""
        lanes: dict[Lane, list[Line]] = {}
        routes = tuple(self._routes[index] for index in range(len(self.edges)))
        for index, route in enumerate(routes):
            for position, lane in enumerate(route.lanes):
                lanes.setdefault(lane, []).append((index, position))
        return Plan(
            routes,
            {line: self._offsets[line] for lines in lanes.values() for line in lines},
            {lane: tuple(lines) for lane, lines in lanes.items()},
        )

    def crossed(self) -> Iterator[tuple[int, int]]:
        """Every pair of edges that meet."""
        return iter(sorted(self._meetings))

    def take(self, routes: Mapping[int, Route]) -> bool:
        """Have edges take these routes if that makes the layout cheaper."""
        if all(self._routes.get(index) == route for index, route in routes.items()):
            return False
        return self._keep_if_cheaper(self._changed(routes))

    def nudge(self, line: Line, by: float) -> bool:
        """Move a line among the lines of its lane if that makes the layout cheaper."""
        kept = self._nudges.get(line, 0.0)
        self._nudges[line] = by
        index, _ = line
        if self._keep_if_cheaper(self._changed({index: self._routes[index]})):
            return True
        self._nudges[line] = kept
        return False

    def _changed(self, routes: Mapping[int, Route]) -> _Change:
        lanes: dict[Lane, list[LaneRun]] = {}
        for index in routes:
            before = self._routes.get(index)
            for lane in before.lanes if before else ():
                lanes[lane] = []
        for index, route in routes.items():
            edge = self.edges[index]
            for lane, run in runs(index, edge.source, edge.target, route):
                nudge = self._nudges.get(run.line)
                moved = run if nudge is None else run._replace(pull=run.pull + nudge)
                lanes.setdefault(lane, []).append(moved)
        sides: dict[Lane, tuple[LaneRun, ...]] = {}
        offsets: dict[Line, float] = {}
        for lane, found in lanes.items():
            there = self._lanes.get(lane, ())
            found += [run for run in there if run.line[0] not in routes]
            # Sorted, an arrangement that was seen before is known again.
            sides[lane] = tuple(sorted(found))
            offsets |= beside(lane.kind, sides[lane])
        moved_edges = {
            line[0] for line, at in offsets.items() if self._offsets.get(line) != at
        }
        ways = {
            index: self._way(index, routes.get(index), offsets)
            for index in moved_edges | routes.keys()
        }
        return _Change(routes, sides, offsets, ways)

    def _way(
        self, index: int, route: Route | None, offsets: Mapping[Line, float]
    ) -> _Way:
        edge = self.edges[index]
        taken = route or self._routes[index]
        known = self._offsets
        at = tuple(
            offsets[line] if line in offsets else known[line]
            for line in ((index, position) for position in range(len(taken.lanes)))
        )
        return _way(edge.source, edge.target, taken, at)

    def _keep_if_cheaper(self, change: _Change) -> bool:
        ways = {**self._ways, **change.ways}
        crowd = _CROWD * _crowding(self.edges, {**self._routes, **change.routes})
        meetings = {
            (one, two): count
            for (one, two), count in self._meetings.items()
            if one not in change.ways and two not in change.ways
        }
        # Stop summing once the cost is too high.
        enough = self.cost + _ROUNDING
        if _sum(sum(meetings.values()), ways) + crowd > enough:
            return False
        for one, mine in change.ways.items():
            for two, theirs in ways.items():
                if one != two and (count := _meetings(mine, theirs)):
                    meetings[min(one, two), max(one, two)] = count
        cost = _sum(sum(meetings.values()), ways) + crowd
        if cost >= self.cost:
            return False
        self.cost = cost
        self._ways, self._meetings = ways, meetings
        self._routes |= change.routes
        self._lanes |= change.lanes
        self._offsets |= change.offsets
        return True


def _sum(meetings: int, ways: Mapping[int, _Way]) -> float:
    cost = _CROSSING * meetings
    for index in range(len(ways)):
        way = ways[index]
        cost = cost + way.price + way.under
    return cost


def _meetings(one: _Way, two: _Way) -> int:
    """In how many places two edges meet."""
    if not _touch(one.whole, two.whole):
        return 0
    near = [part for part in one.parts if _touch(part, two.whole)]
    return sum(_touch(mine, theirs) for mine in near for theirs in two.parts)


def _touch(one: _Extent, two: _Extent) -> bool:
    left, top, right, bottom = one
    other_left, other_top, other_right, other_bottom = two
    return (
        left <= other_right
        and other_left <= right
        and top <= other_bottom
        and other_top <= bottom
    )


def _crowding(edges: Sequence[Edge], routes: Mapping[int, Route]) -> int:
    """How many edge ends are more than their box side holds with ease."""
    held: dict[tuple[Cell, CellSide], int] = {}
    for index, edge in enumerate(edges):
        route = routes[index]
        for end in ((edge.source, route.leaves), (edge.target, route.enters)):
            held[end] = held.get(end, 0) + 1
    return sum(max(0, count - _EASY[side]) for (_, side), count in held.items())


@lru_cache(maxsize=65536)
def _way(source: Cell, target: Cell, route: Route, offsets: tuple[float, ...]) -> _Way:
    path = _middle(source, target, route, offsets)
    parts = tuple(_extent(*segment) for segment in pairwise(path))
    lefts, tops, rights, bottoms = zip(*parts, strict=True)
    bottom = route.leaves is route.enters is CellSide.BOTTOM
    return _Way(
        parts,
        (min(lefts), min(tops), max(rights), max(bottoms)),
        _BEND * (len(route.lanes) - 1) + _LENGTH * _long(path),
        _UNDER if bottom else 0.0,
    )


def price(source: Cell, target: Cell, route: Route) -> float:
    """The cost of a route without any other route."""
    return length(source, target, route) * _LENGTH + _BEND * len(route.lanes)


def length(source: Cell, target: Cell, route: Route) -> float:
    """How long a route is where there is no other, in grid units."""
    return _long(_middle(source, target, route, (0.0,) * len(route.lanes)))


def _middle(
    source: Cell, target: Cell, route: Route, offsets: Sequence[float]
) -> list[Point]:
    """The corner points of an edge, in grid units, while planning."""
    at = [
        lane.at + _STEP * offset
        for lane, offset in zip(route.lanes, offsets, strict=True)
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


def _long(path: Sequence[Point]) -> float:
    return sum(abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in pairwise(path))


def _extent(one: Point, two: Point) -> _Extent:
    """Left, top, right and bottom of an upright segment."""
    (ax, ay), (bx, by) = one, two
    return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)

"""Where states stand and which ways an edge may take between them.

The drawing is a coarse grid. A state sits in a cell; between the cells run gaps. An edge
is a chain of straight lines, each in a *lane*: along a row or column of cells, or along
a gap. Cells have odd coordinates and gaps even ones, so one number line holds both.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from turnlatch_states.fsm.table import Table

Cell = tuple[int, int]
"""(column, row) of a state, from the top left."""

REACH = 0.5
"""How far a box reaches from the middle of its cell, in grid units."""


class Kind(StrEnum):
    """The direction of a lane."""

    ROW = "row"
    COLUMN = "column"
    BETWEEN_ROWS = "between rows"
    BETWEEN_COLUMNS = "between columns"


class CellSide(StrEnum):
    """A side of a state's box."""

    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"


class Lane(NamedTuple):
    """One strip of the grid that lines can run along."""

    kind: Kind
    number: int

    @property
    def at(self) -> int:
        """The lane's grid coordinate: y if it lies flat, x if it stands."""
        if self.kind in {Kind.ROW, Kind.COLUMN}:
            return 2 * self.number + 1
        return 2 * self.number

    @property
    def flat(self) -> bool:
        """Whether lines in it run left and right."""
        return self.kind in {Kind.ROW, Kind.BETWEEN_ROWS}


class Route(NamedTuple):
    """The lanes an edge runs through and the box sides it leaves and enters by."""

    lanes: tuple[Lane, ...]
    leaves: CellSide
    enters: CellSide


def cells(table: Table) -> Mapping[str, Cell]:
    """The cell of every state.

    The declared cells are taken if they are distinct. Otherwise states are layered:
    a state's column is the longest way to it from the initial state that never turns
    back, and states of one column stand below each other in reading order.
    """
    declared = {state.name: state.cell for state in table.states}
    if len(set(declared.values())) == len(declared):
        return declared
    depths = _depths(table)
    filled: dict[int, int] = {}
    layered: dict[str, Cell] = {}
    for state in table.states:
        column = depths[state.name]
        layered[state.name] = (column, filled.get(column, 0))
        filled[column] = filled.get(column, 0) + 1
    return layered


def _depths(table: Table) -> dict[str, int]:
    """The longest forward way to every state; rows that close a circle do not count."""
    following: dict[str, list[str]] = {state.name: [] for state in table.states}
    for row in table.transitions:
        following[row.source].append(row.target)
    order: list[str] = []
    open_states: set[str] = set()
    forward: list[tuple[str, str]] = []

    def visit(name: str) -> None:
        open_states.add(name)
        for target in dict.fromkeys(following[name]):
            if target in open_states:
                continue
            forward.append((name, target))
            if target not in order:
                visit(target)
        open_states.discard(name)
        order.append(name)

    visit(table.initial)
    depths = dict.fromkeys(following, 0)
    for name in reversed(order):
        for source, target in forward:
            if source == name:
                depths[target] = max(depths[target], depths[name] + 1)
    return depths


def routes(source: Cell, target: Cell, taken: frozenset[Cell]) -> tuple[Route, ...]:
    """Every way from one cell to another that runs through no state's box.

    Args:
        source: The cell an edge leaves.
        target: The cell it enters; the same cell means a loop.
        taken: All cells that hold a state.
    """
    if source == target:
        return tuple(_loops(source))
    columns = 1 + max(column for column, _ in taken)
    rows = 1 + max(row for _, row in taken)
    found: dict[Route, None] = {}
    for lanes in _chains(source, target, columns, rows):
        route = _route(lanes, source, target)
        if route is not None and _free(route, source, target, taken):
            found[route] = None
    return tuple(found)


def _loops(cell: Cell) -> Iterator[Route]:
    column, row = cell
    stand, lie = Lane(Kind.COLUMN, column), Lane(Kind.ROW, row)
    above, below = Lane(Kind.BETWEEN_ROWS, row), Lane(Kind.BETWEEN_ROWS, row + 1)
    left = Lane(Kind.BETWEEN_COLUMNS, column)
    right = Lane(Kind.BETWEEN_COLUMNS, column + 1)
    yield Route((stand, above, stand), CellSide.TOP, CellSide.TOP)
    yield Route((stand, below, stand), CellSide.BOTTOM, CellSide.BOTTOM)
    yield Route((lie, right, lie), CellSide.RIGHT, CellSide.RIGHT)
    yield Route((lie, left, lie), CellSide.LEFT, CellSide.LEFT)


def _chains(
    source: Cell, target: Cell, columns: int, rows: int
) -> Iterator[tuple[Lane, ...]]:
    """Chains of lanes that turn at every step, fewest turns first."""
    lie, stand = Lane(Kind.ROW, source[1]), Lane(Kind.COLUMN, source[0])
    lie_end, stand_end = Lane(Kind.ROW, target[1]), Lane(Kind.COLUMN, target[0])
    standing = [Lane(Kind.BETWEEN_COLUMNS, k) for k in range(columns + 1)]
    lying = [Lane(Kind.BETWEEN_ROWS, k) for k in range(rows + 1)]
    if lie == lie_end:
        yield (lie,)
    if stand == stand_end:
        yield (stand,)
    if lie != lie_end and stand != stand_end:
        yield (lie, stand_end)
        yield (stand, lie_end)
    for gap in standing:
        yield (lie, gap, lie_end)
    for gap in lying:
        yield (stand, gap, stand_end)
    for gap in standing:
        for other in lying:
            yield (lie, gap, other, stand_end)
            yield (stand, other, gap, lie_end)


def _route(lanes: tuple[Lane, ...], source: Cell, target: Cell) -> Route | None:
    """The chain with its box sides; None if it would turn back on itself."""
    first, last = lanes[0], lanes[-1]
    start = 2 * source[0 if first.flat else 1] + 1
    end = 2 * target[0 if last.flat else 1] + 1
    towards = lanes[1].at if len(lanes) > 1 else end
    back = lanes[-2].at if len(lanes) > 1 else start
    if towards == start or back == end:
        return None
    leaves = _side(flat=first.flat, forward=towards > start)
    enters = _side(flat=last.flat, forward=back > end)
    return Route(lanes, leaves, enters)


def _side(*, flat: bool, forward: bool) -> CellSide:
    if flat:
        return CellSide.RIGHT if forward else CellSide.LEFT
    return CellSide.BOTTOM if forward else CellSide.TOP


def spans(route: Route, source: Cell, target: Cell) -> tuple[tuple[float, float], ...]:
    """From where to where each line of a route runs, along its lane, sorted."""
    lanes = route.lanes
    # Line i runs from the lane before it to the lane after it; boxes are the two ends.
    first, last = ends_of(route, source, target)
    stops = (first, *(float(lane.at) for lane in lanes), last)
    found: list[tuple[float, float]] = []
    for index in range(len(lanes)):
        begin, stop = stops[index], stops[index + 2]
        if begin == stop:  # the far line of a loop
            begin, stop = begin - 0.3, stop + 0.3
        found.append((min(begin, stop), max(begin, stop)))
    return tuple(found)


def ends_of(route: Route, source: Cell, target: Cell) -> tuple[float, float]:
    """Where a route meets its two boxes, along its first and along its last line."""
    forward = {CellSide.RIGHT, CellSide.BOTTOM}
    start = 2 * source[0 if route.lanes[0].flat else 1] + 1
    end = 2 * target[0 if route.lanes[-1].flat else 1] + 1
    return (
        start + (REACH if route.leaves in forward else -REACH),
        end + (REACH if route.enters in forward else -REACH),
    )


def _free(route: Route, source: Cell, target: Cell, taken: frozenset[Cell]) -> bool:
    for lane, (begin, stop) in zip(
        route.lanes, spans(route, source, target), strict=True
    ):
        if lane.kind not in {Kind.ROW, Kind.COLUMN}:
            continue
        for column, row in taken:
            along, across = (column, row) if lane.flat else (row, column)
            if across == lane.number and begin <= 2 * along + 1 <= stop:
                return False
    return all(one != two for one, two in pairwise(route.lanes))

"""A drawing in pixels: boxes, lines and labels that keep clear of each other.

The plan says which lanes edges use; here lanes get a width. Labels are then placed
next to their edge where they touch nothing. If a label finds no such place, the lanes of
its edge grow and everything is placed again.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

import attrs

from turnlatch.diagrams.grid import Cell, CellSide, Kind, Lane, cells
from turnlatch.diagrams.labels import RowLabel
from turnlatch.diagrams.labels import rows as untaken
from turnlatch.diagrams.layout import Plan, Point, corners
from turnlatch.diagrams.route import plan
from turnlatch_states.fsm.table import State, Table

TRIGGER_SIZE: Final = 13.0
"""Font size of triggers and counts."""
DETAIL_SIZE: Final = 11.5
"""Font size of guards and effects."""
STATE_SIZE: Final = 15.0
"""Font size of states."""
EM: Final = 0.6
"""A character's width, in font sizes, that no usual face exceeds on average."""

_LINE_HEIGHT = 15.0
_BOX_HEIGHT = 54.0
_DOT_GAP = 52.0
_DOT = 7.0
_TIP = 16.0
_MARGIN = 18.0
_ROUNDS = 40
_EVEN_ROUNDS = 20
_GROWTH = 12.0
_FASTER = 1.3
_CLASH = 1000.0
_TOUCH = 40.0


@attrs.frozen
class Box:
    """An upright rectangle.

    Attributes:
        x: Left.
        y: Top.
        width: To the right.
        height: Downward.
    """

    x: float
    y: float
    width: float
    height: float

    def grown(self, by: float) -> "Box":
        """The same box with a rim around it."""
        return Box(self.x - by, self.y - by, self.width + 2 * by, self.height + 2 * by)

    def meets(self, other: "Box") -> bool:
        """Whether the two share more than an edge."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )

    def crossed(self, one: Point, two: Point) -> bool:
        """Whether an upright segment runs through the box."""
        return (
            min(one[0], two[0]) < self.x + self.width
            and max(one[0], two[0]) > self.x
            and min(one[1], two[1]) < self.y + self.height
            and max(one[1], two[1]) > self.y
        )


@attrs.frozen
class Node:
    """A state and its box."""

    state: State
    box: Box


@attrs.frozen
class Label:
    """The words of an edge.

    Attributes:
        lines: One or two: the trigger, then guard and effect.
        box: The area that the words may cover.
        anchor: The end of the box where the words start.
    """

    lines: tuple[str, ...]
    box: Box
    anchor: str


@attrs.frozen
class Arrow:
    """A row, its corner points and its label."""

    row: RowLabel
    points: tuple[Point, ...]
    label: Label


@attrs.frozen
class Scene:
    """Everything on the drawing, in pixels.

    Attributes:
        frame: The bounding box of the whole drawing.
        nodes: The states, in reading order.
        arrows: The rows, in reading order.
        dot: The middle of the initial dot.
        birth: The line from the dot to the initial state.
    """

    frame: Box
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
    dot: Point
    birth: tuple[Point, Point]


def scene(table: Table, rows: Sequence[RowLabel]) -> Scene:
    """The drawing of a table whose rows carry the given counts.

    Counts move nothing: there is room for two digits whether a row was taken or not,
    so a drawing stands still while a path grows.
    """
    empty = _laid_out(table)
    arrows = tuple(
        attrs.evolve(arrow, row=row, label=attrs.evolve(arrow.label, lines=words(row)))
        for arrow, row in zip(empty.arrows, rows, strict=True)
    )
    return attrs.evolve(empty, arrows=arrows)


@lru_cache(maxsize=64)
def _laid_out(table: Table) -> Scene:
    """The drawing of a table before any move: tried again until labels are clear."""
    grid = cells(table)
    ends = [(grid[row.source], grid[row.target]) for row in table.transitions]
    places = plan(ends, frozenset(grid.values()), grid[table.initial])
    rows = untaken(table)
    slack: dict[Lane, float] = {}
    best: tuple[float, Scene] | None = None
    growth = _GROWTH
    for count in range(_ROUNDS):
        canvas = _Canvas(table, grid, places, slack)
        drawn, costs = canvas.draw(rows)
        total = sum(costs)
        if best is None or total < best[0]:
            best = total, drawn
        tight = [index for index, cost in enumerate(costs) if cost >= _TOUCH]
        if not tight:
            break
        for lane in {lane for index in tight for lane in canvas.near(index)}:
            slack[lane] = slack.get(lane, 0.0) + growth
        if count >= _EVEN_ROUNDS:  # many rows join the same states: much is missing
            growth *= _FASTER
    assert best is not None
    return best[1]


def words(row: RowLabel) -> tuple[str, ...]:
    """The lines of a row's label."""
    head = f"{row.transition.trigger} {row.times}".strip()
    return (head, row.detail) if row.detail else (head,)


def width(lines: Sequence[str]) -> float:
    """The width the label of a row that was not taken is given: a count fits in."""
    head, *details = lines
    shown = len(head) + len(" x99")
    return max(
        shown * TRIGGER_SIZE * EM,
        *(len(each) * DETAIL_SIZE * EM for each in details),
        0,
    )


class _Canvas:
    """One try at a drawing: lanes of a fixed width."""

    def __init__(
        self,
        table: Table,
        grid: Mapping[str, Cell],
        places: Plan,
        slack: Mapping[Lane, float],
    ) -> None:
        self._table = table
        self._grid = grid
        self._places = places
        self._slack = slack
        longest = max(len(state.name) for state in table.states) + 2
        self._box_width = max(112.0, longest * STATE_SIZE * EM + 28)
        self._x = self._middles(Kind.COLUMN, Kind.BETWEEN_COLUMNS, self._box_width)
        self._y = self._middles(Kind.ROW, Kind.BETWEEN_ROWS, _BOX_HEIGHT)

    def near(self, index: int) -> set[Lane]:
        """The gaps that would give the edge's label more room if they grew."""
        route = self._places.routes[index]
        found = {
            lane
            for lane in route.lanes
            if lane.kind in {Kind.BETWEEN_ROWS, Kind.BETWEEN_COLUMNS}
        }
        row = self._table.transitions[index]
        one, two = self._grid[row.source], self._grid[row.target]
        if len(route.lanes) <= 2:
            for column in range(min(one[0], two[0]) + 1, max(one[0], two[0]) + 1):
                found.add(Lane(Kind.BETWEEN_COLUMNS, column))
            for line in range(min(one[1], two[1]) + 1, max(one[1], two[1]) + 1):
                found.add(Lane(Kind.BETWEEN_ROWS, line))
        return found

    def draw(self, rows: Sequence[RowLabel]) -> tuple[Scene, list[float]]:
        """The scene and, for each label, how badly it stands."""
        nodes = tuple(
            Node(state, self._box(self._grid[state.name]))
            for state in self._table.states
        )
        dot, birth = self._birth()
        paths = [self._path(index) for index in range(len(rows))]
        obstacles = [node.box for node in nodes]
        obstacles.append(Box(dot[0] - _DOT, dot[1] - _DOT, 2 * _DOT, 2 * _DOT))
        placed = _Placer(rows, paths, obstacles, birth).place()
        arrows = tuple(
            Arrow(row, path, label)
            for row, path, (label, _) in zip(rows, paths, placed, strict=True)
        )
        frame = _frame([*obstacles, *(arrow.label.box for arrow in arrows)], paths)
        costs = [cost for _, cost in placed]
        return Scene(frame, nodes, arrows, dot, birth), costs

    def _box(self, cell: Cell) -> Box:
        return Box(
            self._x[2 * cell[0] + 1] - self._box_width / 2,
            self._y[2 * cell[1] + 1] - _BOX_HEIGHT / 2,
            self._box_width,
            _BOX_HEIGHT,
        )

    def _birth(self) -> tuple[Point, tuple[Point, Point]]:
        box = self._box(self._grid[self._table.initial])
        y = box.y + box.height / 2
        dot = (box.x - _DOT_GAP, y)
        return dot, ((dot[0] + _DOT, y), (box.x, y))

    def _path(self, index: int) -> tuple[Point, ...]:
        route = self._places.routes[index]
        row = self._table.transitions[index]
        at: list[float] = []
        for position, lane in enumerate(route.lanes):
            middle = (self._y if lane.flat else self._x)[lane.at]
            offset = self._places.offsets[(index, position)]
            at.append(middle + offset * self._step(lane))
        return tuple(
            corners(
                route,
                at,
                self._edge_of(row.source, route.leaves),
                self._edge_of(row.target, route.enters),
            )
        )

    def _edge_of(self, name: str, side: CellSide) -> float:
        box = self._box(self._grid[name])
        match side:
            case CellSide.LEFT:
                return box.x
            case CellSide.RIGHT:
                return box.x + box.width
            case CellSide.TOP:
                return box.y
            case CellSide.BOTTOM:
                return box.y + box.height

    def _step(self, lane: Lane) -> float:
        """The distance between neighbouring lines of a lane."""
        slack = self._slack.get(lane, 0.0)
        match lane.kind:
            case Kind.ROW | Kind.COLUMN:
                half = _BOX_HEIGHT / 2 if lane.flat else self._box_width / 2
                held = [self._places.offsets[line] for line in self._lines(lane)]
                room = (half - 10) / max(1.0, *(abs(offset) for offset in held), 1.0)
                return min(room, 16.0 if lane.flat else 34.0)
            case Kind.BETWEEN_ROWS:
                return 28.0 + slack / 2
            case Kind.BETWEEN_COLUMNS:
                return 24.0 + slack / 2

    def _lines(self, lane: Lane) -> Sequence[tuple[int, int]]:
        return self._places.lanes.get(lane, ())

    def _middles(self, of: Kind, gaps: Kind, size: float) -> dict[int, float]:
        """Where the middle of each lane lies, by grid coordinate."""
        column = 0 if of is Kind.COLUMN else 1
        count = 1 + max(cell[column] for cell in self._grid.values())
        sizes: list[float] = []
        for index in range(count):
            sizes += [self._gap(Lane(gaps, index)), size]
        sizes.append(self._gap(Lane(gaps, count)))
        ends = accumulate(sizes)
        return {
            place: end - own / 2
            for place, (end, own) in enumerate(zip(ends, sizes, strict=True))
        }

    def _gap(self, lane: Lane) -> float:
        offsets = [abs(self._places.offsets[line]) for line in self._lines(lane)]
        tracks = 2 * max(offsets, default=0.0) * self._step(lane)
        slack = self._slack.get(lane, 0.0)
        least, rim = 72.0, 60.0
        if lane.kind is Kind.BETWEEN_COLUMNS:
            least = 104.0
            if lane.number == self._grid[self._table.initial][0]:
                # Lines pass on the far side of the initial dot.
                rim = 2 * (_DOT_GAP + _DOT + 14) if offsets else 0.0
        return max(least + slack, tracks + rim + slack / 2)


class _Placer:
    """Finds a place for every label, one after the other, then once more."""

    def __init__(
        self,
        rows: Sequence[RowLabel],
        paths: Sequence[tuple[Point, ...]],
        obstacles: Sequence[Box],
        birth: tuple[Point, Point],
    ) -> None:
        self._rows = rows
        self._paths = paths
        self._obstacles = [*obstacles, *(_tip(path) for path in paths)]
        self._lines = [*paths, birth]

    def place(self) -> list[tuple[Label, float]]:
        """A label for each row and how badly it stands."""
        placed: dict[int, tuple[Label, float]] = {}
        lengths = [sum(_long(a, b) for a, b in pairwise(path)) for path in self._paths]
        order = sorted(range(len(self._rows)), key=lambda index: lengths[index])
        for _ in range(3):
            for index in order:
                others = [
                    label.box for other, (label, _) in placed.items() if other != index
                ]
                placed[index] = self._best(index, others)
        return [placed[index] for index in range(len(self._rows))]

    def _best(self, index: int, others: Sequence[Box]) -> tuple[Label, float]:
        lines = words(self._rows[index])
        found: list[tuple[float, int, Label]] = []
        for one, two in pairwise(self._paths[index]):
            for label, liking in _spots(lines, one, two):
                cost = liking + self._trouble(label.box, others)
                found.append((cost, len(found), label))
        cost, _, label = min(found, key=lambda each: each[:2])
        return label, cost

    def _trouble(self, box: Box, others: Sequence[Box]) -> float:
        clear = box.grown(3)
        cost = _CLASH * sum(clear.meets(other) for other in others)
        cost += _CLASH * sum(clear.meets(each) for each in self._obstacles)
        for path in self._lines:
            cost += _TOUCH * sum(clear.crossed(a, b) for a, b in pairwise(path))
        return cost


def _spots(lines: tuple[str, ...], one: Point, two: Point) -> list[tuple[Label, float]]:
    """Places next to one segment, each with a penalty."""
    wide, high = width(lines), len(lines) * _LINE_HEIGHT
    flat = one[1] == two[1]
    length = _long(one, two)
    short = max(0.0, (wide if flat else high) + 12 - length) * 0.2
    found: list[tuple[Label, float]] = []
    for share in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.12, 0.88):
        x = one[0] + (two[0] - one[0]) * share
        y = one[1] + (two[1] - one[1]) * share
        liking = short + abs(share - 0.5) * 12 - min(length, 300) * 0.01
        if flat:
            above = Box(x - wide / 2, y - 4 - high, wide, high)
            below = Box(x - wide / 2, y + 5, wide, high)
            found.append((Label(lines, above, "middle"), liking))
            found.append((Label(lines, below, "middle"), liking + 3))
        else:
            right = Box(x + 8, y - high / 2, wide, high)
            left = Box(x - 8 - wide, y - high / 2, wide, high)
            found.append((Label(lines, right, "start"), liking + 4))
            found.append((Label(lines, left, "end"), liking + 5))
    return found


def _tip(path: Sequence[Point]) -> Box:
    """The area of the arrow head at the end of a path."""
    (x, y), (end_x, end_y) = path[-2:]
    length = _long((x, y), (end_x, end_y)) or 1.0
    back_x = end_x - (end_x - x) / length * _TIP
    back_y = end_y - (end_y - y) / length * _TIP
    flat = y == end_y
    half = _TIP / 2 - 2
    left, right = sorted((back_x, end_x))
    top, bottom = sorted((back_y, end_y))
    if flat:
        return Box(left, top - half, right - left, 2 * half)
    return Box(left - half, top, 2 * half, bottom - top)


def _long(one: Point, two: Point) -> float:
    return abs(one[0] - two[0]) + abs(one[1] - two[1])


def _frame(boxes: Sequence[Box], paths: Sequence[Sequence[Point]]) -> Box:
    xs = [point[0] for path in paths for point in path]
    ys = [point[1] for path in paths for point in path]
    for box in boxes:
        xs += [box.x, box.x + box.width]
        ys += [box.y, box.y + box.height]
    left, top = min(xs) - _MARGIN, min(ys) - _MARGIN
    return Box(left, top, max(xs) + _MARGIN - left, max(ys) + _MARGIN - top)

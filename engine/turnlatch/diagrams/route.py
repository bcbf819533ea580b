"""Which way every edge takes, so that few lines cross and few bend.

A plan gives each edge a route and each of its lines a rank among the lines that share
its lane. The search starts from the shortest routes and changes one thing at a time for
as long as that makes the drawing better. It knows no chance: same table, same plan.
"""

from collections.abc import Sequence
from itertools import combinations

from turnlatch.diagrams.grid import Cell, CellSide, routes
from turnlatch.diagrams.layout import Edge, Layout, Plan, length, price

_CANDIDATES = 24


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


def _edge(source: Cell, target: Cell, taken: frozenset[Cell], initial: Cell) -> Edge:
    dot = (initial, CellSide.LEFT)
    found = [
        route
        for route in routes(source, target, taken)
        if dot not in {(source, route.leaves), (target, route.enters)}
    ]
    ranked = sorted(found, key=lambda route: price(source, target, route))
    return Edge(source, target, tuple(ranked[:_CANDIDATES]))


def _least(edge: Edge) -> float:
    return length(edge.source, edge.target, edge.choices[0])


def _search(edges: Sequence[Edge], order: Sequence[int]) -> tuple[float, Plan]:
    """The best plan that can be reached when edges choose in the given order."""
    layout = Layout(edges)
    while True:
        before = layout.cost
        _choose_routes(layout, order)
        _choose_ranks(layout)
        _choose_pairs(layout)
        if layout.cost >= before:
            return layout.cost, layout.plan()


def _choose_routes(layout: Layout, order: Sequence[int]) -> None:
    for index in order:
        for route in layout.edges[index].choices:
            layout.take({index: route})


def _choose_ranks(layout: Layout) -> None:
    for lines in layout.plan().lanes.values():
        for line in lines:
            for nudge in (-2.0, 2.0, -4.0, 4.0):
                layout.nudge(line, nudge)


def _choose_pairs(layout: Layout) -> None:
    """Move two edges together, where moving either alone does not help.

    Tried for edges that cross and for edges between the same two states.
    """
    edges = layout.edges
    twins = [
        (one, two)
        for one, two in combinations(range(len(edges)), 2)
        if {edges[one].source, edges[one].target}
        == {edges[two].source, edges[two].target}
    ]
    for one, two in dict.fromkeys([*layout.crossed(), *twins]):
        for route in edges[one].choices[:10]:
            for other in edges[two].choices[:10]:
                layout.take({one: route, two: other})

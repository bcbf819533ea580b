"""A layout that is changed bit by bit is the layout that is made at once."""

from collections.abc import Sequence

import attrs
import pytest

from turnlatch.diagrams import MACHINES
from turnlatch.diagrams.grid import Route, cells, routes
from turnlatch.diagrams.layout import Edge, Layout
from turnlatch.diagrams.parts import folded
from turnlatch_states.fsm.table import Table


def edges(table: Table) -> list[Edge]:
    """The edges of a table, each with some ways it can go, the worst first."""
    grid = cells(table)
    taken = frozenset(grid.values())
    ends = [(grid[row.source], grid[row.target]) for row in table.transitions]
    return [Edge(one, two, routes(one, two, taken)[11::-1]) for one, two in ends]


def at_once(edges: Sequence[Edge], chosen: Sequence[Route]) -> Layout:
    """The layout in which each edge takes the given route."""
    return Layout(
        [
            attrs.evolve(edge, choices=(route,))
            for edge, route in zip(edges, chosen, strict=True)
        ]
    )


@pytest.mark.parametrize("together", [1, 2, 3])
@pytest.mark.parametrize("table", [*map(folded, MACHINES.values())], ids=MACHINES)
def test_a_layout_costs_the_same_whatever_came_before(
    table: Table, together: int
) -> None:
    ways = edges(table)
    layout = Layout(ways)
    taken = 0

    for step in range(60):
        first = step * together % len(ways)
        picked = {(first + more) % len(ways) for more in range(together)}
        choices = {
            index: ways[index].choices[(step * 5 + index) % len(ways[index].choices)]
            for index in picked
        }
        if layout.take(choices):
            taken += 1
            anew = at_once(ways, layout.plan().routes)
            assert anew.cost == layout.cost
            assert anew.plan() == layout.plan()
            assert list(anew.crossed()) == list(layout.crossed())

    assert taken > 0


@pytest.mark.parametrize("table", [*map(folded, MACHINES.values())], ids=MACHINES)
def test_layout_takes_only_a_cheaper_route(table: Table) -> None:
    ways = edges(table)
    layout = Layout(ways)

    for index, edge in enumerate(ways):
        for route in edge.choices:
            before = layout.plan(), layout.cost
            anew = at_once(
                ways, [*before[0].routes[:index], route, *before[0].routes[index + 1 :]]
            )
            assert layout.take({index: route}) == (anew.cost < before[1])
            if anew.cost >= before[1]:
                assert (layout.plan(), layout.cost) == before

"""Nothing on a drawing lies on anything else."""

from collections.abc import Iterator
from itertools import combinations, pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnlatch.diagrams import MACHINES
from turnlatch.diagrams.grid import cells
from turnlatch.diagrams.labels import rows
from turnlatch.diagrams.parts import folded
from turnlatch.diagrams.scene import DETAIL_SIZE, TRIGGER_SIZE, Arrow, Box, Scene, scene
from turnlatch_states.fsm.table import Effect, Guard, State, Table, Transition
from turnlatch_states.machine.turn import TURN

OUTER = folded(TURN)

EM_PER_CHARACTER = 0.6
TABLES = pytest.mark.parametrize(
    "table", [*map(folded, MACHINES.values())], ids=MACHINES
)


def worded(arrow: Arrow) -> Box:
    """What the words of a label cover, measured without the layout's own numbers."""
    label = arrow.label
    sizes = (TRIGGER_SIZE, DETAIL_SIZE)
    wide = max(
        len(line) * size * EM_PER_CHARACTER
        for line, size in zip(label.lines, sizes, strict=False)
    )
    room = label.box.width - wide
    left = {"start": 0.0, "middle": room / 2, "end": room}[label.anchor]
    return Box(label.box.x + left, label.box.y, wide, label.box.height)


def clashes(drawn: Scene) -> Iterator[str]:
    """Every pair of things that lie on each other."""
    for one, two in combinations(drawn.arrows, 2):
        if worded(one).meets(worded(two)):
            yield f"labels of {one.row.sentence} and {two.row.sentence}"
    for arrow in drawn.arrows:
        row = arrow.row.transition
        for node in drawn.nodes:
            if worded(arrow).meets(node.box):
                yield f"label of {arrow.row.sentence} and {node.state.name}"
            # A line may touch the border of its own two states, never their inside.
            rim = -0.5 if node.state.name in {row.source, row.target} else 1.0
            for start, end in pairwise(arrow.points):
                if node.box.grown(rim).crossed(start, end):
                    yield f"line of {arrow.row.sentence} and {node.state.name}"
    dot = Box(drawn.dot[0] - 8, drawn.dot[1] - 4, drawn.birth[1][0] - drawn.dot[0], 8)
    for arrow in drawn.arrows:
        if any(dot.crossed(start, end) for start, end in pairwise(arrow.points)):
            yield f"line of {arrow.row.sentence} and the initial dot"
    for left, right in combinations(drawn.nodes, 2):
        if left.box.grown(10).meets(right.box):
            yield f"{left.state.name} and {right.state.name}"


def lines_through_words(drawn: Scene) -> Iterator[str]:
    lines = [(arrow.row.sentence, arrow.points) for arrow in drawn.arrows]
    for arrow in drawn.arrows:
        for sentence, points in (*lines, ("birth", drawn.birth)):
            if any(worded(arrow).crossed(one, two) for one, two in pairwise(points)):
                yield f"{sentence} through the label of {arrow.row.sentence}"


def shared_lines(drawn: Scene) -> Iterator[str]:
    """Two rows whose lines run on top of each other for a while."""
    for one, two in combinations(drawn.arrows, 2):
        for a, b in pairwise(one.points):
            for c, d in pairwise(two.points):
                wide = min(max(a[0], b[0]), max(c[0], d[0])) - max(
                    min(a[0], b[0]), min(c[0], d[0])
                )
                high = min(max(a[1], b[1]), max(c[1], d[1])) - max(
                    min(a[1], b[1]), min(c[1], d[1])
                )
                if wide >= 0 and high >= 0 and wide + high > 0:
                    yield f"{one.row.sentence} and {two.row.sentence}"


def crossings(drawn: Scene) -> int:
    return sum(
        Box(min(a[0], b[0]), min(a[1], b[1]), abs(a[0] - b[0]), abs(a[1] - b[1]))
        .grown(0.01)
        .crossed(c, d)
        for one, two in combinations(drawn.arrows, 2)
        for a, b in pairwise(one.points)
        for c, d in pairwise(two.points)
    )


def asked(subject: object, event: object) -> bool:
    return subject is event


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Any machine of up to five states and a dozen rows, with cells or without."""
    count = draw(st.integers(2, 5))
    names = [f"state{index}" for index in range(count)]
    grid = [(column, line) for column in range(4) for line in range(3)]
    spots = draw(st.permutations(grid))
    layered = draw(st.booleans())
    states = tuple(
        State(name, "", rests=True, cell=(0, 0) if layered else spots[index])
        for index, name in enumerate(names)
    )
    circle = [(names[i - 1], names[i]) for i in range(count)]
    more = draw(
        st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=6)
    )
    details = st.sampled_from([None, Guard("within budget", "", asked)])
    made = [
        Transition(
            f"event{i}", source, target, draw(details), draw(st.sampled_from(Effect))
        )
        for i, (source, target) in enumerate([*circle, *more])
    ]
    return Table(
        name="any",
        promise="",
        states=states,
        initial=names[0],
        transitions=tuple(made),
        refusable=frozenset(row.trigger for row in made),
    )


@TABLES
def test_nothing_lies_on_anything_else(table: Table) -> None:
    drawn = scene(table, rows(table))

    assert list(clashes(drawn)) == []
    assert list(lines_through_words(drawn)) == []
    assert list(shared_lines(drawn)) == []


@TABLES
def test_everything_fits_in_the_frame(table: Table) -> None:
    drawn = scene(table, rows(table))

    frame = drawn.frame
    inside = [node.box for node in drawn.nodes] + [a.label.box for a in drawn.arrows]
    for box in inside:
        assert frame.x < box.x
        assert frame.y < box.y
        assert box.x + box.width < frame.x + frame.width
        assert box.y + box.height < frame.y + frame.height


@TABLES
def test_path_moves_nothing(table: Table) -> None:
    """A viewer that steps through a run must see a picture that stands still."""
    bare = scene(table, rows(table))
    taken = scene(table, rows(table, [*table.transitions, *table.transitions] * 6))

    assert taken.frame == bare.frame
    for one, two in zip(bare.arrows, taken.arrows, strict=True):
        assert one.points == two.points
        assert one.label.box == two.label.box
    assert list(clashes(taken)) == []


def test_turn_has_no_crossings_and_its_happy_path_runs_right_on_top() -> None:
    drawn = scene(OUTER, rows(OUTER))

    box = {node.state.name: node.box for node in drawn.nodes}
    top = min(each.y for each in box.values())
    assert crossings(drawn) == 0
    assert box["pending"].x < box["sent"].x < box["confirmed"].x
    assert {box[name].y for name in ("pending", "sent", "confirmed")} == {top}


@given(tables())
@settings(max_examples=12, deadline=None)
def test_no_machine_makes_a_line_run_through_a_state(table: Table) -> None:
    drawn = scene(table, rows(table))

    assert len(drawn.arrows) == len(table.transitions)
    assert len(set(cells(table).values())) == len(table.states)
    assert list(clashes(drawn)) == []
    assert list(shared_lines(drawn)) == []


def test_labels_of_many_rows_between_two_states_keep_clear() -> None:
    """An example that the fixed draw leaves out: its labels lay on each other."""
    guard = Guard("within budget", "", asked)
    one, two = "state0", "state1"
    made = (
        Transition("event0", two, one, guard, Effect.COMMIT),
        Transition("event1", one, two, guard, Effect.COMMIT),
        Transition("event2", two, one, guard, Effect.COMMIT),
        Transition("event3", two, one, guard, Effect.CLOSE_CALLS),
        Transition("event4", two, two, None, Effect.ROLL_BACK),
        Transition("event5", two, one, guard, Effect.CLOSE_CALLS),
        Transition("event6", two, one, guard),
        Transition("event7", one, two, guard, Effect.COMMIT),
    )
    table = Table(
        name="crowded",
        promise="",
        states=tuple(State(name, "", rests=True) for name in (one, two)),
        initial=one,
        transitions=made,
        refusable=frozenset(row.trigger for row in made),
    )

    drawn = scene(table, rows(table))

    assert list(clashes(drawn)) == []
    assert list(shared_lines(drawn)) == []


def test_clashes_are_found() -> None:
    """Planted bugs: a label on a box, a label on a label, a line through a box."""
    drawn = scene(OUTER, rows(OUTER))
    first, second, *rest = drawn.arrows
    sent = next(node.box for node in drawn.nodes if node.state.name == "failed")

    on_box = attrs.evolve(first, label=attrs.evolve(first.label, box=sent))
    on_label = attrs.evolve(
        first, label=attrs.evolve(first.label, box=second.label.box)
    )
    middle = sent.y + sent.height / 2
    through = attrs.evolve(
        first, points=((sent.x - 9, middle), (sent.x + sent.width + 9, middle))
    )
    doubled = attrs.evolve(first, points=second.points)

    assert clash_count(drawn) == 0
    for bad in (on_box, on_label, through):
        assert clash_count(attrs.evolve(drawn, arrows=(bad, second, *rest))) > 0
    assert list(shared_lines(attrs.evolve(drawn, arrows=(doubled, second, *rest))))


def clash_count(drawn: Scene) -> int:
    return sum(1 for _ in clashes(drawn))


def test_states_without_cells_stand_in_layers() -> None:
    """Without cells of its own a machine still reads from left to right."""
    bare = attrs.evolve(
        OUTER, states=tuple(attrs.evolve(s, cell=(0, 0)) for s in OUTER.states)
    )

    placed = cells(bare)

    assert placed["pending"] == (0, 0)
    assert len(set(placed.values())) == len(OUTER.states)
    assert placed["pending"][0] < placed["sent"][0] < placed["confirmed"][0]
    assert list(clashes(scene(bare, rows(bare)))) == []

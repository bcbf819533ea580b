"""What Mermaid, DOT and text promise beside drawing every row."""

import re

import attrs
import pytest

from turnlatch.diagrams import MACHINES, render, text
from turnlatch.diagrams.parts import folded
from turnlatch_states.fsm.table import Guard, State, Table, Transition
from turnlatch_states.machine.call import CALL
from turnlatch_states.machine.turn import TURN

AWKWARD = 'a "b": c; d # e <f>'


def awkward() -> Table:
    """A table whose words hold what the formats read as their own."""

    def asked(subject: object, event: object) -> bool:
        return subject is event

    return Table(
        name="awkward",
        promise=AWKWARD,
        states=(State("end", AWKWARD, rests=True), State("graph", "–", rests=True)),
        initial="end",
        transitions=(
            Transition("go", "end", "graph", Guard(AWKWARD, AWKWARD, asked)),
            Transition("back", "graph", "end", says=AWKWARD),
        ),
        refusable=frozenset({"go"}),
    )


def test_mermaid_words_contain_no_mermaid_syntax() -> None:
    drawing = render(awkward(), "mermaid")

    row = next(line for line in drawing.splitlines() if ": go" in line)
    told = row.split(": ", 1)[1]
    assert not set(re.sub(r"#\d+;", "", told)) & set('":;#<>')
    assert re.sub(r"#(\d+);", lambda code: chr(int(code[1])), told) == f"go [{AWKWARD}]"


def test_mermaid_states_avoid_reserved_words() -> None:
    drawing = render(awkward(), "mermaid")

    assert "s_end --> s_graph" in drawing
    assert not re.search(r"^  end\b", drawing, re.MULTILINE)


def test_mermaid_ids_are_plain_words_and_each_is_one_state() -> None:
    named = (
        "in progress",
        "in-progress",
        "in_progress",
        "geprüft",
        "n_1",
        "a.b",
        "A/b",
    )
    states = tuple(
        State(name, "x", final=name != "in progress", cell=(place, place))
        for place, name in enumerate(named)
    )
    rows = tuple(Transition(f"go{n}", named[0], name) for n, name in enumerate(named))
    table = Table("order", "it ends", states, "in progress", rows[1:])

    drawing = render(table, "mermaid")

    ids = re.findall(r'^  state ".*" as (.*)$', drawing, re.MULTILINE)
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", one) for one in ids)
    assert len(set(ids)) == len(named)
    drawn = re.findall(r"^  (\S+) --> (\S+):", drawing, re.MULTILINE)
    assert drawn == [(ids[0], one) for one in ids[1:]]


@pytest.mark.parametrize("table", [*map(folded, MACHINES.values())], ids=MACHINES)
def test_mermaid_gives_fill_and_text_colour_to_every_state(table: Table) -> None:
    drawing = render(table, "mermaid")

    styled = set(re.findall(r"classDef (\w+) fill:\S+,color:\S+", drawing))
    worn = dict(re.findall(r"class s_(\w+) (\w+)", drawing))
    assert set(worn) == {state.name for state in table.states}
    assert set(worn.values()) == styled


def test_mermaid_enters_the_initial_state_and_leaves_final_ones() -> None:
    drawing = render(CALL, "mermaid")

    assert drawing.startswith("stateDiagram-v2\n")
    assert re.findall(r"\[\*\] --> (\S+)", drawing) == ["s_proposed"]
    assert re.findall(r"(\S+) --> \[\*\]", drawing) == ["s_closed"]


def test_dot_quotes_what_it_is_given() -> None:
    drawing = render(awkward(), "dot")

    assert r"a \"b\": c; d # e <f>" in drawing
    unescaped = re.sub(r"\\.", "", drawing)
    assert all(line.count('"') % 2 == 0 for line in unescaped.splitlines())


def test_dot_marks_final_states_taken_rows_and_the_current_state() -> None:
    drawing = render(CALL, "dot", path=[CALL.transitions[0]], current="asked")

    assert re.findall(r'"(\w+)" \[.*peripheries=2', drawing) == ["closed"]
    assert re.findall(r'"(\w+)" \[.*penwidth=4', drawing) == ["asked"]
    assert re.findall(r'-> "(\w+)" \[.*penwidth=2.6', drawing) == ["asked"]


def test_dark_theme_changes_colours_only() -> None:
    for form in ("mermaid", "dot"):
        light, dark = render(TURN, form), render(TURN, form, theme="dark")

        assert light != dark
        bare = [re.sub(r"#[0-9a-f]{6}", "#", drawing) for drawing in (light, dark)]
        assert bare[0] == bare[1]


@pytest.mark.parametrize(
    "table", [*map(folded, MACHINES.values()), awkward()], ids=lambda t: t.name
)
def test_plain_text_is_ascii_and_has_no_trailing_blanks(table: Table) -> None:
    path = table.transitions[:1]

    drawing = text.draw(table, path=path, current=table.initial, plain=True)

    assert drawing.isascii()
    assert all(line == line.rstrip() for line in drawing.splitlines())
    for state in table.states:
        assert f"{state.ascii} {state.name}" in drawing


def test_main_line_follows_the_rows_of_the_table() -> None:
    """The picture must change with the table: nothing in it is drawn by hand."""
    renamed = attrs.evolve(
        folded(TURN),
        transitions=tuple(
            attrs.evolve(row, trigger="post") if row.trigger == "send" else row
            for row in folded(TURN).transitions
        ),
        refusable=folded(TURN).refusable - {"send"} | {"post"},
    )

    assert "○ pending ──send──▶ ◐ sent ──confirm──▶ ✓ confirmed" in render(TURN, "text")
    assert "○ pending ──post──▶ ◐ sent" in render(renamed, "text")


def test_text_marks_initial_resting_final_and_current_states() -> None:
    drawing = render(CALL, "text", current="started")

    assert re.search(r"○ proposed +initial ", drawing)
    assert re.search(r"◐ started +current ", drawing)
    assert re.search(r"✓ closed +final ", drawing)
    assert re.search(r"✓ confirmed +rests ", render(TURN, "text"))

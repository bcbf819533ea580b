"""Every format draws every state and every row, and the same table the same way."""

import hashlib
import re
import subprocess
import sys
from typing import get_args
from xml.etree import ElementTree

import attrs
import pytest
from tests.part import one_in

from turnlatch.diagrams import MACHINES, Format, render
from turnlatch.diagrams.labels import TIMES
from turnlatch.diagrams.parts import folded, inner
from turnlatch_states.fsm.errors import DefinitionError
from turnlatch_states.fsm.table import Table, Transition
from turnlatch_states.machine.turn import TURN

DRAWN = {name: folded(table) for name, table in MACHINES.items()}
"""The machines as the drawings show them first: states with parts are drawn as one."""

OUTER = DRAWN["turn"]
FORMATS: tuple[Format, ...] = get_args(Format)
SVG = "{http://www.w3.org/2000/svg}"


def drawn_rows(drawing: str, form: Format, table: Table) -> list[tuple[str, str, str]]:
    """The rows that stand in a drawing, read back from it."""
    match form:
        case "svg":
            groups = ElementTree.fromstring(drawing).iter(f"{SVG}g")
            return [
                (
                    g.attrib["data-trigger"],
                    g.attrib["data-source"],
                    g.attrib["data-target"],
                )
                for g in groups
                if "data-row" in g.attrib
            ]
        case "mermaid":
            found = re.findall(r"^  s_(\S+) --> s_(\S+): (\S+)", drawing, re.MULTILINE)
        case "dot":
            found = re.findall(
                r'^  "(\S+)" -> "(\S+)" \[label="([^ "]+)', drawing, re.MULTILINE
            )
        case "text":
            told = drawing.split("transitions\n")[1].split("\n\n")[0]
            lines = re.findall(r"^  (\S+) .*?(\S+) → (\S+)", told, re.MULTILINE)
            return list(lines)
    return [(trigger, source, target) for source, target, trigger in found]


def declared(table: Table) -> list[tuple[str, str, str]]:
    return [(row.trigger, row.source, row.target) for row in table.transitions]


def smaller(table: Table) -> list[Table]:
    """Every valid table that lacks one row of the given one."""
    found: list[Table] = []
    for index in range(len(table.transitions)):
        left = table.transitions[:index] + table.transitions[index + 1 :]
        orders = table.refusable & {row.trigger for row in left}
        try:
            found.append(attrs.evolve(table, transitions=left, refusable=orders))
        except DefinitionError:
            continue
    return found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("table", MACHINES.values(), ids=MACHINES)
def test_every_row_is_drawn_once_and_nothing_else(table: Table, form: Format) -> None:
    drawing = render(table, form)

    shown = declared(DRAWN[table.name])
    assert sorted(drawn_rows(drawing, form, table)) == sorted(shown)


@pytest.mark.parametrize("form", FORMATS)
def test_missing_row_is_missed_in_every_format(form: Format) -> None:
    """Planted bug: a table that lacks one row must never pass for the whole one."""
    tables = smaller(OUTER)

    assert len(tables) > 4
    for table in one_in(len(FORMATS), tables, list(FORMATS).index(form)):
        lacking = drawn_rows(render(table, form), form, table)
        assert sorted(lacking) == sorted(declared(table))
        assert sorted(lacking) != sorted(declared(OUTER))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("table", MACHINES.values(), ids=MACHINES)
def test_every_state_guard_and_effect_is_named(table: Table, form: Format) -> None:
    drawing = render(table, form)

    for state in DRAWN[table.name].states:
        assert f"{state.icon} {state.name}" in drawing
    for row in DRAWN[table.name].transitions:
        if row.guard is not None:
            assert f"[{row.guard.name}]" in drawing
        if row.effect.value:
            assert f"/ {row.effect.value}" in drawing


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("table", MACHINES.values(), ids=MACHINES)
def test_same_table_gives_same_bytes(table: Table, form: Format) -> None:
    again = attrs.evolve(table)

    assert again is not table
    assert render(table, form) == render(again, form)


@pytest.mark.parametrize("form", FORMATS)
def test_taken_rows_carry_their_count(form: Format) -> None:
    send, confirm, answer = (
        next(row for row in OUTER.transitions if row.trigger == trigger)
        for trigger in ("send", "confirm", "answer")
    )

    drawing = render(TURN, form, path=[send, confirm, answer, send])

    assert drawing.count(f"{TIMES}2") == 1
    assert drawing.count(f"{TIMES}1") == 2
    assert TIMES not in render(TURN, form)


@pytest.mark.parametrize("form", FORMATS)
def test_current_state_changes_the_drawing(form: Format) -> None:
    drawings = {render(TURN, form, current=state.name) for state in OUTER.states}

    assert len(OUTER.states) == 5
    assert len(drawings | {render(TURN, form)}) == len(OUTER.states) + 1


@pytest.mark.parametrize("form", FORMATS)
def test_move_without_a_row_is_refused(form: Format) -> None:
    move = Transition("teleport", "pending", "confirmed")

    with pytest.raises(ValueError, match="turn has no row 'teleport'"):
        render(TURN, form, path=[move])


@pytest.mark.parametrize("form", FORMATS)
def test_unknown_current_state_is_refused(form: Format) -> None:
    with pytest.raises(ValueError, match="turn has no state 'limbo'"):
        render(TURN, form, current="limbo")


def told_rows(drawing: str) -> set[tuple[str, str, str]]:
    """The rows between the parts of states, read back from a text."""
    found: set[tuple[str, str, str]] = set()
    for line in drawing.split("\nrows\n")[1].splitlines():
        trigger, ends = line.strip().split(maxsplit=1)
        ends = re.split(r"  +|: stays", ends)[0]
        sources, _, target = ends.partition(" → ")
        names = [one.name for one in TURN.leaves]
        for source in names if sources == "any state" else sources.split(", "):
            found.add((trigger, source, target or source))
    return found


def test_a_text_tells_every_row_between_the_parts_of_states() -> None:
    drawing = render(TURN, "text")

    assert told_rows(drawing) == set(declared(TURN))
    for state in TURN.leaves:
        assert re.search(rf"\b{state.name}\b.*{re.escape(state.meaning)}", drawing)


def test_a_row_between_parts_that_is_missing_is_missed() -> None:
    """Planted: tables of the turn that lack one row."""
    tables = smaller(TURN)

    assert len(tables) > 40
    for table in tables:
        assert told_rows(render(table, "text")) != set(declared(TURN))


def test_mermaid_nests_the_parts_of_states_and_how_a_turn_moves_between_them() -> None:
    drawing = render(TURN, "mermaid")

    for parent in ("confirmed", "failed"):
        block = drawing.split(f"  state s_{parent} {{\n")[1].split("\n  }")[0]
        parts = [state.name for state in inner(TURN, parent)]
        assert re.findall(r'^    state ".*" as s_(\S+)', block, re.MULTILINE) == parts
        ends = set(re.findall(r"^    s_(\S+) --> s_(\S+):", block, re.MULTILINE))
        assert ends == {
            (row.source, row.target)
            for row in TURN.transitions
            if row.source != row.target and {row.source, row.target} <= set(parts)
        }


def test_a_folded_table_is_the_same_for_a_machine_without_parts() -> None:
    for name in ("call", "thread", "writer"):
        assert folded(MACHINES[name]) is MACHINES[name]


def test_machines_are_named_as_they_call_themselves() -> None:
    assert list(MACHINES) == ["turn", "call", "thread", "writer", "connection"]
    assert all(name == table.name for name, table in MACHINES.items())


@pytest.mark.parametrize("seed", ["0", "1"])
def test_drawings_are_the_same_in_every_process(seed: str) -> None:
    """Sets and addresses differ from run to run; drawings are committed and must not."""
    ask = (
        "import hashlib; from turnlatch.diagrams import *;"
        "print(*[hashlib.sha256(render(t, f).encode()).hexdigest()"
        " for t in MACHINES.values() for f in ('svg', 'mermaid', 'dot', 'text')])"
    )
    here = [
        hashlib.sha256(render(table, form).encode()).hexdigest()
        for table in MACHINES.values()
        for form in ("svg", "mermaid", "dot", "text")
    ]

    done = subprocess.run(
        [sys.executable, "-c", ask],
        capture_output=True,
        timeout=60,
        check=True,
        env={"PYTHONHASHSEED": seed},
    )

    assert done.stdout.decode().split() == here

"""Only a table refuses an event, and what it says of a state is true of the data."""

import ast
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import get_args

import pytest

from turnlatch_states.machine.events import Event
from turnlatch_states.machine.turn import TRIGGERS, TURN
from turnlatch_states.machine.turn_states import OPENABLE, OWING, STATES, Substate

ROOT = Path(__file__).parents[2]


def refusals(source: str) -> list[int]:
    """The lines that make an `IllegalEventError`."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] == "IllegalEventError"
    ]


def test_no_event_is_refused_outside_the_tables() -> None:
    files = [
        path
        for room in ("states", "engine")
        for path in (ROOT / room).rglob("*.py")
        if path.parent.name != "fsm"
    ]
    found = {str(path): refusals(path.read_text("utf-8")) for path in files}

    assert len(files) > 100
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_the_check_sees_an_error_that_is_raised_by_hand() -> None:
    assert refusals("raise errors.IllegalEventError('turn', 'sent', 'x', ())") == [1]


def test_the_names_of_states_are_those_of_the_table() -> None:
    leaves = {state.name: state for state in TURN.leaves}

    assert set(leaves) == set(Substate)
    assert {n: TURN.outer(n) for n in leaves if n != Substate.NEW} == STATES
    assert {n for n in leaves if "open" in TURN.legal(n)} == {*OPENABLE}
    assert {n for n in leaves if STATES.get(n) == "confirmed"} == {
        *OWING,
        Substate.DONE,
    }


DESIGN = (ROOT / "docs/design.md").read_text("utf-8")


def rows_of_events(design: str) -> Iterator[tuple[list[str], list[str], str, str]]:
    """The rows of the table of events: events, triggers, "from" and "to"."""
    for line in design.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 5 and cells[0].startswith("`"):
            events, triggers = re.findall(r"`(\w+)`", cells[0]), cells[1].split(", ")
            yield events, triggers, cells[2], cells[3]


def told_states(cell: str) -> set[str]:
    """The leaf states that a cell names: by name, `failed but` one of its parts, or any.
    A condition stands in brackets."""
    found: set[str] = set()
    for one in re.sub(r" \([^)]*\)", "", cell).split(", "):
        name, _, but = one.partition(" but ")
        parts = {leaf for leaf, state in STATES.items() if state == name}
        if name == "any state":
            found |= {leaf.name for leaf in TURN.leaves}
        elif but or name == "failed":
            assert not but or but in parts, one
            found |= parts - {but}
        else:
            found.add(name)
    return found


def told_moves(source: str, target: str) -> set[tuple[str, str]]:
    """The moves that "from" and "to" tell: every source goes to every target, but for
    those that stay."""
    sources = told_states(source)
    if target == "stays":
        return {(one, one) for one in sources}
    stays = set(re.findall(r"(\w+) \(stays\)", target))
    targets = told_states(target) - stays
    moves = {(one, to) for one in sources - stays for to in targets}
    return moves | {(one, one) for one in stays}


def wrong_moves(design: str) -> list[str]:
    """The moves in which the table of events and the turn's table differ."""
    found: list[str] = []
    for _, triggers, source, target in rows_of_events(design):
        told = told_moves(source, target)
        for trigger in triggers:
            moves = {
                (leaf.name, row.target)
                for leaf in TURN.leaves
                for row in TURN.rows(leaf.name, trigger)
            }
            found += [f"{trigger}: {one} to {to}" for one, to in sorted(told ^ moves)]
    return found


def test_the_design_note_tells_from_where_to_where_each_event_moves_a_turn() -> None:
    assert wrong_moves(DESIGN) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("| send | pending | sent |", "| send | pending, done | sent |"),
        ("| send | pending | sent |", "| send | pending | compacting |"),
        ("failed but waiting | pending", "failed but abandoned | pending"),
        ("| resting, suspended (stays) |", "| resting |"),
        ("| calling, answered, done |", "| calling, done |"),
        ("| any state | stays |", "| any state | pending |"),
        ("answered, done (if more was said)", "answered"),
    ],
)
def test_check_sees_a_wrong_move_in_the_design_note(right: str, wrong: str) -> None:
    assert right in DESIGN
    assert wrong_moves(DESIGN.replace(right, wrong))


def test_every_event_has_a_trigger_and_the_design_note_lists_both() -> None:
    told: dict[str, str] = {}
    for events, triggers, _, _ in rows_of_events(DESIGN):
        pairs = zip_longest(events, triggers, fillvalue=triggers[0])
        told.update({str(event): str(trigger) for event, trigger in pairs})
    pulled = {kind.__name__: trigger for kind, trigger in TRIGGERS.items()}

    assert set(TRIGGERS) == set(get_args(Event))
    assert pulled.pop("ConversationOpened") not in TURN.triggers()
    assert set(pulled.values()) == set(TURN.triggers())
    assert told == pulled

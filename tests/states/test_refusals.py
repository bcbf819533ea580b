"""Only a table refuses an event, and what it says of a state is true of the data."""

import ast
import re
from itertools import zip_longest
from pathlib import Path
from typing import get_args

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
    assert {n for n in leaves if "open" in TURN.legal(n)} == OPENABLE
    assert {n for n in leaves if STATES.get(n) == "confirmed"} == {
        *OWING,
        Substate.DONE,
    }


def test_every_event_has_a_trigger_and_the_design_note_lists_both() -> None:
    told: dict[str, str] = {}
    for line in (ROOT / "docs/design.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 5 and cells[0].startswith("`"):
            events, triggers = re.findall(r"`(\w+)`", cells[0]), cells[1].split(", ")
            pairs = zip_longest(events, triggers, fillvalue=triggers[0])
            told.update({str(event): str(trigger) for event, trigger in pairs})
    pulled = {kind.__name__: trigger for kind, trigger in TRIGGERS.items()}

    assert set(TRIGGERS) == set(get_args(Event))
    assert pulled.pop("ConversationOpened") not in TURN.triggers()
    assert set(pulled.values()) == set(TURN.triggers())
    assert told == pulled

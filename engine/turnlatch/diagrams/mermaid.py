"""A table as a Mermaid state diagram, for pages that draw Mermaid themselves."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from turnlatch.diagrams.labels import MoveLabel, check_current, marks, rows
from turnlatch.diagrams.palette import DARK, LIGHT, Theme
from turnlatch.diagrams.parts import folded, inner
from turnlatch_states.fsm.table import State, Table

_PLAIN: Final = re.compile(r"[A-Za-z0-9_]+")


def draw(
    table: Table,
    *,
    path: Sequence[MoveLabel] = (),
    current: str | None = None,
    theme: Theme = "auto",
) -> str:
    """The table as `stateDiagram-v2` text.

    Fill, border and text colour of a state are all given, so it can be read whatever
    theme the page uses. State diagrams cannot style their lines: rows that were taken
    carry their count.

    Raises:
        ValueError: A move is not a row of the table, or `current` is not a state of it.
    """
    outer = folded(table)
    check_current(outer, current)
    lines = [*_lines(outer, path, current, theme), *_parts(table)]
    return "\n".join(lines) + "\n"


def _lines(
    table: Table, path: Sequence[MoveLabel], current: str | None, theme: Theme
) -> Iterator[str]:
    keys = _keys(table)
    yield "stateDiagram-v2"
    yield f"  accTitle: The {table.name} machine"
    yield f"  accDescr: {_told(table.promise)}"
    yield "  direction LR"
    for state in table.states:
        yield f'  state "{_shown(table, state, current)}" as {keys[state.name]}'
    yield f"  [*] --> {keys[table.initial]}"
    for row in rows(table, path):
        step = row.transition
        ends = f"{keys[step.source]} --> {keys[step.target]}"
        yield f"  {ends}: {_told(row.label)}"
    for state in table.states:
        if state.final:
            yield f"  {keys[state.name]} --> [*]"
    palette = DARK if theme == "dark" else LIGHT
    for role, look in palette.looks.items():
        if any(state.role is role for state in table.states):
            yield (
                f"  classDef {role.value} fill:{look.fill},stroke:{look.border},"
                f"color:{palette.text},stroke-width:1.5px"
            )
    for state in table.states:
        yield f"  class {keys[state.name]} {state.role.value}"
    if current is not None:
        yield "  classDef current stroke-width:4px,font-weight:bold"
        yield f"  class {keys[current]} current"


def _parts(table: Table) -> Iterator[str]:
    """The states within states, and how a turn moves between them.

    Rows between the same two are one line; a row that leads nowhere else is left out.
    """
    keys = _keys(table)
    for parent in table.states:
        parts = {state.name: state for state in inner(table, parent.name)}
        if not parts:
            continue
        yield f"  state {keys[parent.name]} {{"
        for state in parts.values():
            note = " (rests)" if state.rests else ""
            yield f'    state "{_told(state.name + note)}" as {keys[state.name]}'
        moves: dict[tuple[str, str], dict[str, None]] = {}
        for row in table.transitions:
            if row.source in parts and row.target in parts and row.source != row.target:
                moves.setdefault((row.source, row.target), {})[row.trigger] = None
        for (source, target), triggers in moves.items():
            yield f"    {keys[source]} --> {keys[target]}: {_told(', '.join(triggers))}"
        yield "  }"


def _shown(table: Table, state: State, current: str | None) -> str:
    held = [word for word in marks(table, state, current) if word != "initial"]
    note = f" ({', '.join(held)})" if held else ""
    return _told(f"{state.icon} {state.name}{note}")


def _keys(table: Table) -> dict[str, str]:
    """The id of each state, by its name.

    Mermaid reserves some plain words, such as `end`, and draws undeclared states for a
    space, a dash or an accent in an id.
    """
    return {
        state.name: f"s_{state.name}" if _PLAIN.fullmatch(state.name) else f"n_{place}"
        for place, state in enumerate(table.states)
    }


def _told(words: str) -> str:
    """Words with the characters that Mermaid reads as its own written as codes."""
    return "".join(f"#{ord(c)};" if c in '#;:"<>{}%' else c for c in words)

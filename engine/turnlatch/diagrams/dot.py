"""A table as DOT, for Graphviz and the tools that read it."""

from collections.abc import Iterator, Sequence

from turnlatch.diagrams.labels import MoveLabel, RowLabel, check_current, marks, rows
from turnlatch.diagrams.palette import DARK, LIGHT, Palette, Theme
from turnlatch_states.fsm.table import State, Table


def draw(
    table: Table,
    *,
    path: Sequence[MoveLabel] = (),
    current: str | None = None,
    theme: Theme = "auto",
) -> str:
    """The table as a directed graph that reads from left to right.

    Raises:
        ValueError: A move is not a row of the table, or `current` is not a state of it.
    """
    check_current(table, current)
    palette = DARK if theme == "dark" else LIGHT
    return "\n".join(_lines(table, path, current, palette)) + "\n"


def _lines(
    table: Table, path: Sequence[MoveLabel], current: str | None, palette: Palette
) -> Iterator[str]:
    yield f"digraph {_quoted(table.name)} {{"
    yield (
        '  graph [rankdir=LR, bgcolor=transparent, fontname="Helvetica",'
        " nodesep=0.6, ranksep=1.1]"
    )
    yield (
        '  node [shape=box, style="rounded,filled", fontname="Helvetica",'
        f' fontcolor="{palette.text}", penwidth=1.5]'
    )
    yield (
        f'  edge [fontname="Helvetica", fontsize=11, color="{palette.edge}",'
        f' fontcolor="{palette.muted}"]'
    )
    yield f'  "" [shape=point, width=0.16, color="{palette.text}"]'
    for state in table.states:
        yield f"  {_node(table, state, current, palette)}"
    yield f'  "" -> {_quoted(table.initial)}'
    for row in rows(table, path):
        yield f"  {_edge(row, palette)}"
    yield "}"


def _node(table: Table, state: State, current: str | None, palette: Palette) -> str:
    look = palette.looks[state.role]
    held = marks(table, state, current)
    note = [word for word in held if word in {"rests", "final"}]
    shown = "\n".join([f"{state.icon} {state.name}", *note])
    classes = " ".join((state.role.value, *held))
    facts = [
        f"label={_quoted(shown)}",
        f'fillcolor="{look.fill}"',
        f'color="{look.border}"',
        f"tooltip={_quoted(state.meaning)}",
        f"class={_quoted(classes)}",
    ]
    if state.final:
        facts.append("peripheries=2")
    if state.name == current:
        facts.append("penwidth=4")
    return f"{_quoted(state.name)} [{', '.join(facts)}]"


def _edge(row: RowLabel, palette: Palette) -> str:
    step = row.transition
    facts = [f"label={_quoted(row.label)}", f"tooltip={_quoted(row.sentence)}"]
    if row.count:
        facts += [
            f'color="{palette.path}"',
            f'fontcolor="{palette.text}"',
            "penwidth=2.6",
            'class="taken"',
        ]
    ends = f"{_quoted(step.source)} -> {_quoted(step.target)}"
    return f"{ends} [{', '.join(facts)}]"


def _quoted(words: str) -> str:
    escaped = words.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'

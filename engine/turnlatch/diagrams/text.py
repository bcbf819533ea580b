"""A table as text: the main line, the states, every row, and the parts of states."""

import itertools
from collections.abc import Iterator, Sequence

from turnlatch.diagrams.grid import cells
from turnlatch.diagrams.labels import (
    TIMES,
    MoveLabel,
    RowLabel,
    check_current,
    marks,
    rows,
)
from turnlatch.diagrams.parts import folded, grouped
from turnlatch_states.fsm.table import State, Table, Transition

_PLAIN = str.maketrans(
    {
        "→": "->",
        "…": "...",
        TIMES: "x",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    }
)


def draw(
    table: Table,
    *,
    path: Sequence[MoveLabel] = (),
    current: str | None = None,
    plain: bool = False,
) -> str:
    """The table as text for a terminal.

    Args:
        table: The machine.
        path: Moves that were taken; their rows are counted.
        current: The state to mark.
        plain: Use ASCII characters only.

    Raises:
        ValueError: A move is not a row of the table, or `current` is not a state of it.
    """
    whole, table = table, folded(table)
    check_current(table, current)
    counted = rows(table, path)
    lines = [
        f"{table.name}: {table.promise}",
        "",
        f"  {_main_line(table, plain=plain)}",
        "",
        "states",
        *_columns(_state(table, state, current, plain=plain) for state in table.states),
        "",
        "transitions",
        *_columns(_row(row) for row in counted),
        *_parts(whole, plain=plain),
    ]
    drawn = "\n".join(line.rstrip() for line in lines) + "\n"
    if plain:
        return drawn.translate(_PLAIN).encode("ascii", "replace").decode()
    return drawn


def draw_path(table: Table, taken: Sequence[Transition], columns: int = 100) -> str:
    """A path through a table as text: the states in the order in which they were reached.

    Args:
        table: The machine.
        taken: The rows, each beginning where the one before ends; the first begins in
            the initial state. A row that was taken several times in a row is counted.
        columns: Longest line.
    """
    lines = [f"  ● ──▶ {_named(table.state(table.initial), plain=False)}"]
    for row, same in itertools.groupby(taken):
        many = sum(1 for _ in same)
        label = " ".join(
            filter(None, (row.trigger, row.effect.value and f"/ {row.effect.value}"))
        )
        times = f" {TIMES}{many}" if many > 1 else ""
        step = f"──{label}{times}──▶ {_named(table.state(row.target), plain=False)}"
        if len(lines[-1]) + len(step) + 1 > columns:
            lines.append("   ")
        lines[-1] += f" {step}"
    return "\n".join(lines)


def _parts(table: Table, *, plain: bool) -> Iterator[str]:
    """The parts of states, and every row between the parts."""
    if folded(table) is table:
        return
    named = [s for s in table.leaves if s.parent or s.name == table.initial]
    yield from ("", "parts")
    yield from _columns(
        (s.parent or "before", s.name, "rests" if s.rests else "", s.meaning)
        for s in named
    )
    yield from ("", "rows")
    yield from _columns(_part_row(sources, row) for sources, row in grouped(table))


def _part_row(sources: str, row: Transition) -> tuple[str, ...]:
    guard = "" if row.guard is None else f"[{row.guard.name}]"
    ends = f"{sources} → {row.target}" if row.target else f"{sources}: stays"
    effect = f"/ {row.effect.value}" if row.effect.value else ""
    said = row.says if row.guard is None else row.guard.says
    return (row.trigger, ends, effect, guard, said)


def _main_line(table: Table, *, plain: bool) -> str:
    """The way right from the initial state, along its own line of cells."""
    dot, line, tip = ("*", "--", ">") if plain else ("●", "──", "▶")
    state = table.state(table.initial)
    parts = [f"{dot} {line}{tip} {_named(state, plain=plain)}"]
    while (step := _rightward(table, state)) is not None:
        state = table.state(step.target)
        parts.append(f"{line}{step.trigger}{line}{tip} {_named(state, plain=plain)}")
    return " ".join(parts)


def _rightward(table: Table, state: State) -> Transition | None:
    grid = cells(table)
    column, line = grid[state.name]
    ahead = [
        row
        for row in table.transitions
        if row.source == state.name
        and grid[row.target][1] == line
        and grid[row.target][0] > column
    ]
    return min(ahead, key=lambda row: grid[row.target][0], default=None)


def _named(state: State, *, plain: bool) -> str:
    return f"{state.ascii if plain else state.icon} {state.name}"


def _state(
    table: Table, state: State, current: str | None, *, plain: bool
) -> tuple[str, ...]:
    held = ", ".join(marks(table, state, current))
    return (_named(state, plain=plain), held, state.meaning)


def _row(row: RowLabel) -> tuple[str, ...]:
    step = row.transition
    guard = "" if step.guard is None else f"[{step.guard.name}] {step.guard.says}"
    effect = f"/ {step.effect.value}" if step.effect.value else ""
    ends = f"{step.source} → {step.target}"
    return (step.trigger, row.times, ends, effect, guard, step.says)


def _columns(table: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """Cells below each other; a column that is empty everywhere is left out."""
    lines = list(table)
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        shown = [
            cell.ljust(width) for cell, width in zip(line, widths, strict=True) if width
        ]
        yield "  " + "  ".join(shown)

"""The two levels of a table: the states that users see first, and what they consist of."""

from collections.abc import Iterator

import attrs

from turnlatch_states.fsm.table import State, Table, Transition


def folded(table: Table) -> Table:
    """The table with every state that has parts drawn as one.

    Rows within a state are left out. Rows that lead between the same two states become
    one; it has the guard that all of them have, and else says when each is taken. An
    initial state that leads to one state only, by one trigger, is the dot that a drawing
    begins with, wherever else that trigger is legal.
    """
    if all(not state.parent for state in table.states):
        return table
    groups: dict[tuple[str, str, str], list[Transition]] = {}
    for row in table.transitions:
        source, target = table.outer(row.source), table.outer(row.target)
        if source != target:
            groups.setdefault((row.trigger, source, target), []).append(row)
    begun = {(key[0], key[2]) for key in groups if key[1] == table.initial}
    dropped, birth, initial = "", "", table.initial
    if len(begun) == 1:
        dropped, ((birth, initial),) = table.initial, begun
    rows = tuple(
        _one(table, source, target, rows)
        for (trigger, source, target), rows in groups.items()
        if trigger != birth
    )
    return Table(
        table.name,
        table.promise,
        tuple(s for s in table.states if not s.parent and s.name != dropped),
        initial,
        rows,
        table.refusable & {row.trigger for row in rows},
    )


def _one(table: Table, source: str, target: str, rows: list[Transition]) -> Transition:
    parts = [state.name for state in inner(table, source)]
    first = dict.fromkeys(row.source for row in rows)
    says = "" if len(first) == len(parts) or not parts else f"from {', '.join(first)}"
    if len({row.guard for row in rows}) == 1:
        said = "; ".join(filter(None, (rows[0].says, says)))
        return attrs.evolve(rows[0], source=source, target=target, says=said)
    asked = (row.says if row.guard is None else row.guard.says for row in rows)
    said = ", or ".join(dict.fromkeys(filter(None, asked)))
    said = "; ".join(filter(None, (says, said)))
    row = attrs.evolve(rows[0], guard=None, source=source, target=target)
    return attrs.evolve(row, says=said)


def inner(table: Table, parent: str) -> tuple[State, ...]:
    """The parts of a state, in reading order."""
    return tuple(state for state in table.states if state.parent == parent)


def grouped(table: Table) -> Iterator[tuple[str, Transition]]:
    """Every row between leaf states; those that differ in their source alone are one.

    Each comes with its sources, as words. Rows that lead from states to themselves, and
    from nowhere else, are one, too: their target is empty.
    """
    found: dict[Transition, list[str]] = {}
    for row in table.transitions:
        found.setdefault(attrs.evolve(row, source=""), []).append(row.source)
    shown: dict[Transition, list[str]] = {}
    for row, sources in found.items():
        stays = sources == [row.target]
        key = attrs.evolve(row, target="") if stays else row
        shown.setdefault(key, []).extend(sources)
    everywhere = [state.name for state in table.leaves]
    for row, sources in shown.items():
        yield "any state" if sources == everywhere else ", ".join(sources), row

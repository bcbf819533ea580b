"""The result of an exploration, in words and as JSON."""

from typing import Any, Final

from turnlatch.diagrams import text
from turnlatch.testing.report import within
from turnlatch.testing.verify.exploration import Exploration, Violation
from turnlatch.testing.verify.judge import PROPERTIES
from turnlatch_states.machine.turn import TURN

ASSUMED: Final = (
    "an append is recorded whole or not at all",
    "a tool begins in the moment in which its start is durable",
    "a tool that has a reconcile tells the truth, or that it does not know",
    "no hooks, no rules of tools, no server threads, no change of settings",
)
"""The assumptions of the exploration, and its gaps."""


def report(found: Exploration, *, plain: bool = False) -> str:
    """The figures, then the violation with its trace and diagram, if there is one.

    Args:
        found: The exploration.
        plain: Use ASCII characters only.
    """
    rows = len(found.rows)
    lines = [
        f"states      {found.states:,}",
        f"edges       {found.edges:,}",
        f"depth       {found.depth}",
        f"rows        {rows} of {len(TURN.transitions)} of the turn's table",
        within(f"bounds      {found.bounds}"),
        f"properties  {len(PROPERTIES)}: {', '.join(PROPERTIES)}",
        f"seconds     {found.seconds:.1f}",
        f"memory      {found.peak_bytes / 2**20:,.0f} MiB at most",
        *(f"assumed     {one}" for one in ASSUMED),
    ]
    if found.violation is not None:
        lines += ["", *_violation(found.violation, plain=plain)]
    elif found.whole:
        lines += ["", "Every property holds in every state within these bounds."]
    else:
        lines += [
            "",
            "Stopped before the end: no property is broken in what was reached, and whether"
            " every state leads to a confirmed message was not judged.",
        ]
    return "\n".join(map(within, lines)) + "\n"


def _violation(broken: Violation, *, plain: bool) -> list[str]:
    snapshot = broken.last.stored.replayed
    if broken.last.writer is not None:
        snapshot = broken.last.writer.snapshot
    turn = snapshot.turn
    drawn = text.draw(
        TURN,
        path=() if turn is None else turn.path,
        current=None if turn is None else turn.state,
        plain=plain,
    )
    return [
        f"broken: {broken.name}: {PROPERTIES[broken.name]}",
        f"  {broken.said}",
        f"The shortest way there has {len(broken.moves)} moves:",
        *(f"  {place}. {words}" for place, words in enumerate(broken.moves, 1)),
        "",
        "The turn before the last of them:",
        *drawn.splitlines(),
    ]


def as_json(found: Exploration) -> dict[str, Any]:
    """The figures as JSON values."""
    broken = found.violation
    return {
        "states": found.states,
        "edges": found.edges,
        "depth": found.depth,
        "whole": found.whole,
        "rows": len(found.rows),
        "rows_of_table": len(TURN.transitions),
        "bounds": found.bounds._asdict(),
        "properties": dict(PROPERTIES),
        "assumed": list(ASSUMED),
        "seconds": round(found.seconds, 1),
        "peak_bytes": found.peak_bytes,
        "violation": None
        if broken is None
        else {
            "property": broken.name,
            "said": broken.said,
            "moves": list(broken.moves),
        },
    }

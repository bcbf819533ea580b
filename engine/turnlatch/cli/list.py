"""`turnlatch list`: the conversations of a store, without touching it."""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs
import click

from turnlatch.cli.chat import default_store
from turnlatch.cli.main import UnreadableError
from turnlatch.cli.page import INDENT, wrapped
from turnlatch.cli.terminal import (
    Ink,
    Look,
    cells,
    clip,
    forgive_encodings,
    one_line,
    survey,
)
from turnlatch.ports import Listing

HEADS: Final = ("NAME", "TURNS", "ENTRIES", "LAST USED")

NAME_MIN: Final = 12
"""Columns a name has in the narrowest window."""

EVER_WIDE: Final = 10_000
"""The width of a file or a pipe: nothing is cut there."""

_AGO: Final = ((60, "s"), (3600, "min"), (86400, "h"), (14 * 86400, "d"))
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400}


@click.command("list")
@click.option(
    "--store",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps the conversations.  [default: the platform's state folder]",
)
@click.option("--json", "as_json", is_flag=True, help="Print it for machines.")
def list_(store: Path | None, as_json: bool) -> None:
    """List the conversations of a store, the last used first.

    It takes none of them and changes nothing, so it may be run while they are in use.
    SIM stands before the turns of one with answers that the simulator made up.
    Ends with 7 if the store cannot be read.

    \b
    Examples:
        turnlatch list
        turnlatch list --store chat.db --json
    """
    forgive_encodings()
    found = _found(store)
    if as_json:
        click.echo(json.dumps([_as_object(one) for one in found], indent=2))
        return
    look = survey(plain=False).look
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else EVER_WIDE
    told = listed(found, look, width, time.time())
    click.echo(told, nl=False, color=look.colour)


def _found(store: Path | None) -> Sequence[Listing]:
    # Imported here: `--help` does not need the journal.
    from turnlatch.errors import JournalError
    from turnlatch.journal.listing import last_used_first, list_readonly

    path = default_store() if store is None else store
    if store is None and not path.exists():
        return ()  # the default store does not exist yet
    try:
        return last_used_first(list_readonly(path))
    except JournalError as error:
        raise UnreadableError(str(error)) from error


def listed(found: Sequence[Listing], look: Look, width: int, now: float) -> str:
    """The table, for a window of some width.

    Args:
        found: The conversations, in this order.
        look: How things are shown.
        width: Columns of the window.
        now: Seconds since the epoch.
    """
    if not found:
        return "No conversation yet; turnlatch chat begins one.\n"
    names = [one_line(one.name) for one in found]
    columns = [
        [f"{'SIM ' if one.simulated else ''}{one.turns}" for one in found],
        [str(one.entries) for one in found],
        [ago(one.used, now) for one in found],
    ]
    sizes = [
        max(map(cells, [head, *column]))
        for head, column in zip(HEADS[1:], columns, strict=True)
    ]
    left = width - sum(sizes) - 2 * len(sizes)
    named = min(max(map(cells, [HEADS[0], *names])), max(NAME_MIN, left))
    room = left - named - 2  # for what there is to remark

    def row(name: str, turns: str, entries: str, used: str) -> str:
        name = clip(name, named, look.glyph("more"))
        return "  ".join(
            (
                name + " " * (named - cells(name)),
                turns.rjust(sizes[0]),
                entries.rjust(sizes[1]),
                used.ljust(sizes[2]),
            )
        )

    lines = [look.ink(row(*HEADS).rstrip(), "dim")]
    for one, name, *told in zip(found, names, *columns, strict=True):
        remarks = _remarks(one)
        ink: Ink = "yellow" if one.left else "cyan"
        drawn = row(name, *told)
        if cells(remarks) <= room:
            lines.append(f"{drawn}  {look.ink(remarks, ink)}".rstrip())
            continue
        lines.append(drawn.rstrip())
        below = wrapped(remarks, width - len(INDENT))
        lines += [INDENT + look.ink(line, ink) for line in below]
    return "\n".join(lines) + "\n"


def _remarks(one: Listing) -> str:
    """Who has it, and where it came from."""
    said: list[str] = []
    if one.holder is not None:
        said.append(f"open in {one.holder}")
    if one.left is not None:
        said.append(f"{one.left} is dead: will be taken over")
    if one.parent is not None:
        said.append(f"fork of {one.parent}")
    return one_line("; ".join(said))


def ago(used: float | None, now: float) -> str:
    """A moment in the past, as people say it; `now` and it in seconds since the epoch."""
    if used is None:
        return "never"
    seconds = max(0.0, now - used)
    if seconds < 10:
        return "now"
    for below, unit in _AGO:
        if seconds < below:
            return f"{int(seconds / _SECONDS[unit])} {unit} ago"
    return time.strftime("%Y-%m-%d", time.localtime(used))


def _as_object(one: Listing) -> dict[str, Any]:
    used = None
    if one.used is not None:
        moment = datetime.fromtimestamp(one.used, UTC)
        used = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {**attrs.asdict(one), "used": used}

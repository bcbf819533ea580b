"""`turnlatch diagram`: draw a declared machine."""

import codecs
import sys
from pathlib import Path
from typing import cast, get_args

import click

from turnlatch.cli.terminal import Guarded
from turnlatch.diagrams import MACHINES, Format, Theme, render, text


@click.command()
@click.argument("machine", default="turn")
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(get_args(Format)),
    default="text",
    show_default=True,
    help="Format of the drawing.",
)
@click.option(
    "--theme",
    type=click.Choice(get_args(Theme)),
    default="auto",
    show_default=True,
    help="Which page it is for; auto follows the reader's system.",
)
@click.option("--plain", is_flag=True, help="ASCII characters only, for text.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write to this file instead of standard output.",
)
def diagram(
    machine: str, form: str, theme: str, plain: bool, output: Path | None
) -> None:
    """Draw MACHINE: turn (the default), call, thread or writer.

    \b
    Example:
        turnlatch diagram turn -f svg -o turn.svg
    """
    table = MACHINES.get(machine)
    if table is None:
        known = ", ".join(MACHINES)
        raise click.UsageError(f"no machine {machine!r}; there are: {known}")
    to_screen = output is None or str(output) == "-"
    if form == "text":
        drawn = text.draw(table, plain=plain or (to_screen and not _speaks_unicode()))
    else:
        # click has checked both words against the same two types.
        drawn = render(table, cast(Format, form), theme=cast(Theme, theme))
    if output is None or to_screen:
        # Bytes, so that a file is UTF-8 whatever the terminal's encoding is.
        terminal = isinstance(sys.stdout, Guarded)
        click.echo(drawn if terminal else drawn.encode(), nl=False)
        return
    try:
        output.write_bytes(drawn.encode())
    except OSError as error:
        raise click.FileError(str(output), error.strerror or str(error)) from error


def _speaks_unicode() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False

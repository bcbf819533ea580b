"""`turnlatch verify`: prove the engine within bounds, or hold a store to the tables."""

import json
import sys
from pathlib import Path
from typing import Final

import click

from turnlatch.cli.main import SettingRefusedError, UnreadableError
from turnlatch.cli.terminal import forgive_encodings, one_line, survey
from turnlatch.errors import JournalError, UnknownConversationError

EXIT_BROKEN: Final = 1
"""Exit status if a property is broken or a conversation does not conform."""


@click.command()
@click.option("--full", is_flag=True, help="Explore the wide bounds: takes minutes.")
@click.option(
    "--seconds", type=click.FloatRange(0), help="Stop the exploration after this time."
)
@click.option(
    "--json",
    "figures",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the figures of the exploration to this file.",
)
@click.argument(
    "store", required=False, type=click.Path(dir_okay=False, path_type=Path)
)
@click.argument("conversation", required=False)
def verify(
    full: bool,
    seconds: float | None,
    figures: Path | None,
    store: Path | None,
    conversation: str | None,
) -> None:
    """Prove the engine within bounds, or hold a store to the tables.

    Without STORE every state that the engine can reach within bounds is explored, and a
    broken property is shown with a shortest trace. With STORE the journal of each of its
    conversations, or of CONVERSATION, is held to the tables; no lease is taken, and
    nothing is appended.

    \b
    Exit status: 0 everything holds, 1 something is broken, 7 STORE cannot be read.
    Examples:
        turnlatch verify
        turnlatch verify chat.db notes
    """
    forgive_encodings()
    if store is None:
        _explore(figures, seconds, full=full)
    elif full or seconds is not None or figures is not None:
        raise SettingRefusedError(
            "--full, --seconds and --json are for the exploration: leave out STORE"
        )
    else:
        _hold(store, conversation)


def _explore(figures: Path | None, seconds: float | None, *, full: bool) -> None:
    # Imported here: a store is held to the tables without it.
    from turnlatch.testing.verify import CI, FULL, as_json, explored, report

    shown = sys.stderr.isatty()

    def progress(states: int, depth: int, spent: float) -> None:
        if shown:
            line = f"\r{states:,} states, depth {depth}, {spent:.0f} s "
            click.echo(line, nl=False, err=True)

    found = explored(FULL if full else CI, seconds=seconds, progress=progress)
    if shown:
        click.echo(err=True)
    if figures is not None:
        try:
            figures.write_text(json.dumps(as_json(found), indent=2) + "\n", "utf-8")
        except OSError as error:
            raise SettingRefusedError(f"--json: {error}") from error
    plain = survey(plain=False).look.ascii
    click.echo(report(found, plain=plain), nl=False)
    if found.violation is not None:
        raise SystemExit(EXIT_BROKEN)


def _hold(path: Path, only: str | None) -> None:
    # Imported here: `--help` does not need the journal.
    from turnlatch.journal import SQLiteStore
    from turnlatch.journal.listing import list_readonly
    from turnlatch.testing.conformity import conforms

    try:
        names = [one.name for one in list_readonly(path)]
        if only is not None and only not in names:
            raise UnknownConversationError(
                str(path), f"it has no conversation {only!r}", "see turnlatch list"
            )
        bad = 0
        store = SQLiteStore(path, renew=False)
        try:
            for name in names if only is None else [only]:
                entries = store.read(name)
                problem = conforms(entries)
                told = f"conforms: {len(entries)} entries"
                if problem is not None:
                    bad, told = bad + 1, f"does not conform: {problem}"
                click.echo(f"{one_line(name)}: {one_line(told)}")
        finally:
            store.close()
    except JournalError as error:
        raise UnreadableError(str(error)) from error
    if bad:
        raise SystemExit(EXIT_BROKEN)
    if not names:
        click.echo("The store has no conversation.")

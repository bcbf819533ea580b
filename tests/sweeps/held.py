"""What must hold of a store after whatever happened to the process or the disk.

Every acknowledged entry is there, byte for byte; the step in doubt is there as a whole or
not at all; nothing else is there; what is there is a history that the tables allow; and
the store goes on, also in the process after the next.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import final

from tests.around import append_now
from tests.sweeps.work import SCRIPT, Contents, Notes, Step, left_by

from turnlatch.errors import JournalError
from turnlatch.journal import SQLiteStore
from turnlatch.journal.codec import Row, encode
from turnlatch_states.machine.events import RequestSent
from turnlatch_states.machine.load import fold_events

NEW = RequestSent(999, 9)


@final
class LostError(AssertionError):
    """Something that was acknowledged is gone, or the store is refused."""


@final
class StrangeError(AssertionError):
    """Something is there that nobody appended, or in another way than it was."""


def contents(store: SQLiteStore) -> Contents:
    """All that a store holds; a conversation without an entry is as good as none."""
    found = {
        one.name: [entry.event for entry in store.read(one.name)]
        for one in store.conversations()
    }
    return {name: events for name, events in found.items() if events}


def rows(held: Contents) -> dict[str, list[Row]]:
    """The same as the bytes that stand in the file."""
    return {name: [encode(event) for event in events] for name, events in held.items()}


def compare(found: Contents, notes: Notes, script: Sequence[Step] = SCRIPT) -> None:
    """Hold what a store holds to what a process noted.

    Raises:
        LostError: An acknowledged entry is missing.
        StrangeError: There is half a step, or something that is no step at all.
    """
    sure = left_by(script[: notes.sure])
    doubt = left_by(script[: notes.sure + notes.doubt])
    there = rows(found)
    if there == rows(sure) or there == rows(doubt):
        return
    for name, events in sure.items():
        kept = there.get(name, [])[: len(events)]
        if kept != rows({name: events})[name]:
            raise LostError(f"{name!r} has {len(kept)} of {len(events)} entries")
    raise StrangeError(
        f"after step {notes.sure} there are {sizes(found)}, not {sizes(sure)} or"
        f" {sizes(doubt)}"
    )


def sizes(held: Contents) -> dict[str, int]:
    """How much there is of each conversation."""
    return {name: len(events) for name, events in held.items()}


def check(path: Path, notes: Notes) -> None:
    """Open a store that something happened to, and ask everything.

    Raises:
        LostError: What was acknowledged is gone, or the store is refused.
        StrangeError: It holds what it must not.
    """
    try:
        found = goes_on(path, notes)
    except JournalError as error:
        raise LostError(f"{type(error).__name__}: {error}") from error
    again = SQLiteStore(path)
    after = contents(again)
    again.close()
    for name, events in after.items():
        if events != [*found.get(name, ()), NEW]:
            raise StrangeError(f"{name!r} is another after it went on")
    intact(path)


def goes_on(path: Path, notes: Notes) -> Contents:
    """Compare, fold_events, and append once to every conversation and to a new one."""
    store = SQLiteStore(path)
    try:
        found = contents(store)
        compare(found, notes)
        for events in found.values():
            fold_events(events)
        for name in (*found, "new"):
            journal = store.open(name)
            if len(journal.entries()) != len(found.get(name, ())):
                raise StrangeError(f"{name!r} opens as another than it reads")
            append_now(journal, [NEW])
            journal.close()
    finally:
        store.close()
    return found


def intact(path: Path) -> None:
    """See that the file alone is a sound database: a store that was closed left no log."""
    if Path(f"{path}-wal").exists():
        raise StrangeError("a store that was closed left its log")
    connection = sqlite3.connect(path)
    (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    if said != "ok":
        raise StrangeError(f"the database is not sound: {said}")

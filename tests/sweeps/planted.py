"""The planted bugs: each is put into a process, and the sweep that it is for must see it."""

from collections.abc import Callable, Sequence
from sqlite3 import Connection
from typing import Any, Final

import attrs
from tests.around import run_now

from turnlatch.journal import database, formats
from turnlatch.journal.handle import SQLiteJournal
from turnlatch_states.machine.events import Event

_PATIENT: Final[Any] = SQLiteJournal


def _unsynced() -> None:
    """Nothing is ever synced, whatever was asked for."""
    settings: Any = database._SYNCHRONOUS  # pyright: ignore[reportPrivateUsage] - the bug
    settings.update(dict.fromkeys(settings, "PRAGMA synchronous = OFF"))


def _early() -> None:
    """An append says that it is done, and is done with the next one."""
    append = SQLiteJournal.append
    close = SQLiteJournal.close
    held: dict[int, list[Event]] = {}

    async def later(self: SQLiteJournal, events: Sequence[Event]) -> None:
        last, held[id(self)] = held.get(id(self), []), list(events)
        await append(self, last)

    def closing(self: SQLiteJournal) -> None:
        run_now(append(self, held.pop(id(self), [])))
        close(self)

    _PATIENT.append = later
    _PATIENT.close = closing


def _split() -> None:
    """An append of several events is several appends."""
    append = SQLiteJournal.append

    async def one_by_one(self: SQLiteJournal, events: Sequence[Event]) -> None:
        for event in events:
            await append(self, [event])

    _PATIENT.append = one_by_one


def _hopeful() -> None:
    """A commit that failed is taken for one that was made."""

    def yes(*_: object) -> bool:
        return True

    _PATIENT._is_done = yes


def _trusting() -> None:
    """What can be read of a log is taken for what is on the disk."""

    def settle_log(_: object) -> None:
        """Nothing has to be done."""

    careful: Any = database.Database
    careful.settle_log = settle_log


def _checkpointing() -> None:
    """A log that is in doubt is written back into the database, and not again itself."""

    def write_again(connection: Connection, _: str) -> None:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    patient: Any = database
    patient.write_again = write_again


def _half_an_upgrade() -> None:
    """The tables are committed before the file says that it has another format."""
    upgrade = formats.FORMATS[1].upgrade
    assert upgrade is not None

    def in_parts(connection: Connection, may_write: Any) -> None:
        upgrade(connection, may_write)
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")

    known: Any = formats.FORMATS
    known[1] = attrs.evolve(known[1], upgrade=in_parts)


BUGS: Final[dict[str, Callable[[], None]]] = {
    "unsynced": _unsynced,
    "early": _early,
    "split": _split,
    "hopeful": _hopeful,
    "trusting": _trusting,
    "checkpointing": _checkpointing,
    "half an upgrade": _half_an_upgrade,
}


ELSEWHERE: Final = ("", "late")
"""No bug, and the one that a conversation's own journal has, in `chats.py`."""


def plant(name: str) -> None:
    """Put a bug into this process; nothing for no name."""
    if name in BUGS:
        BUGS[name]()
    else:
        assert name in ELSEWHERE, f"no bug is called {name!r}"

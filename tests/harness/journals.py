"""The journals that a test made, held to the tables when it ends.

A fixture that every test has (tests/conftest.py) reads the record of each conversation that
was opened in the process, in a file or in memory, and gives it to `turnlatch.testing.conforms`.
An ordinary run takes one in three of the records of a test, the first among them.
A test that spoils a record on purpose says why:

    @pytest.mark.spoils_journals("a run of entries is appended twice")
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from tests.around import StoreAround
from tests.part import one_in

from turnlatch.errors import JournalError
from turnlatch.journal import MemoryStore, SQLiteStore, records
from turnlatch.ports import Entry, Store
from turnlatch.runtime.record import Record
from turnlatch.testing import conforms

MARK: Final = "spoils_journals"

_OPENED: Final[dict[tuple[int, str], Store]] = {}
"""The store of each conversation that was opened since `forget`, and is not judged."""

_FOUND: Final[list[str]] = []
"""The contradictions in stores that were closed and are gone since."""


def watch() -> None:
    """Note from here on which conversations are opened, until the process ends."""
    made = Record.__init__

    @wraps(made)
    def noted(self: Record, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        store = self.world.store
        _OPENED[(id(store), self.world.name)] = store

    close = MemoryStore.close

    @wraps(close)
    def judged(self: MemoryStore) -> None:
        mine = {key: one for key, one in _OPENED.items() if one is self}
        for key in mine:
            del _OPENED[key]
        _FOUND.extend(_contradictions(mine))
        close(self)

    patch = pytest.MonkeyPatch()
    patch.setattr(Record, "__init__", noted)
    patch.setattr(MemoryStore, "close", judged)


def forget() -> None:
    """Begin anew, for the next test."""
    _OPENED.clear()
    _FOUND.clear()


def contradictions() -> Iterator[str]:
    """The contradictions in the journals that were opened, one line for each journal."""
    yield from _FOUND
    yield from _contradictions(_OPENED)


def _contradictions(opened: Mapping[tuple[int, str], Store]) -> Iterator[str]:
    # Whoever opened a file by its path closed it; several stores may be of one file.
    made = {
        (store.path if isinstance(store, SQLiteStore) else id(store), name): store
        for (_, name), store in opened.items()
    }
    for (_, name), store in one_in(3, list(made.items())):
        try:
            entries = _entries(store, name)
        except JournalError as error:
            yield f"{name!r} cannot be read: {error}"
            continue
        found = conforms(entries)
        if found is not None:
            yield f"{name!r}: {found}"


def _entries(store: Store, name: str) -> Sequence[Entry]:
    """The record of a conversation; empty where its store is gone."""
    while isinstance(store, StoreAround):
        store = store.inner
    if isinstance(store, SQLiteStore):
        if not Path(store.path).exists():
            return ()
        try:
            return _read(store.path, name)
        except (sqlite3.Error, JournalError):  # the store itself says what is wrong
            fresh = SQLiteStore(store.path, renew=False)
            try:
                return fresh.read(name)
            finally:
                fresh.close()
    return store.read(name)


def _read(path: str, name: str) -> Sequence[Entry]:
    """The record in a file, at half the cost of opening a store."""
    place = f"file:{quote(path)}?mode=ro"
    with closing(sqlite3.connect(place, uri=True)) as connection:
        return records.load(connection, records.known(connection, name)).entries

"""Fail the nth statement of a whole scenario, for every n, once and for good.

Whatever fails: only typed errors come out, everything that was acknowledged is there
afterwards, an append is there as a whole or not at all, and what is still in doubt was
said to be."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.around import append_now
from tests.part import WHOLE

from turnlatch.errors import JournalError, UnknownConversationError
from turnlatch.journal import SQLiteStore
from turnlatch.journal.handle import SQLiteJournal
from turnlatch_states.machine.events import RequestSent

BATCH = 3


class Trouble:
    """Fails the nth statement, and perhaps every one after it, of every connection."""

    def __init__(self, nth: int, *, once: bool, late: bool, code: int) -> None:
        self.nth, self.once, self.late, self.code = nth, once, late, code
        self.count = 0
        self.on = True

    def around(self, work: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        self.count += 1
        due = self.count == self.nth or (self.count > self.nth and not self.once)
        if not (self.on and due):
            return work()
        if self.late:
            work()
        error = sqlite3.OperationalError(f"planted at {self.count}")
        error.sqlite_errorcode = self.code
        raise error

    def connect(self, uri: str) -> sqlite3.Connection:
        trouble = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                return trouble.around(
                    lambda: sqlite3.Connection.execute(self, sql, *arguments)
                )

            def executemany(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                return trouble.around(
                    lambda: sqlite3.Connection.executemany(self, sql, *arguments)
                )

        return sqlite3.connect(uri, uri=True, isolation_level=None, factory=Connection)


class Scenario:
    """Two conversations, one a fork, with notes of what was acknowledged.

    Attributes:
        acknowledged: Own entries of each conversation that are certain.
        possible: The same, and what may be there too.
        forked: Own entries of the parent when it was forked, if that is certain.
    """

    def __init__(self, path: Path, trouble: Trouble) -> None:
        self.path = path
        self.trouble = trouble
        self.acknowledged = {"notes": 0, "branch": 0}
        self.possible = {"notes": 0, "branch": 0}
        self.forked = False

    def run(self) -> None:
        store: SQLiteStore | None = None
        try:
            store = SQLiteStore(
                self.path, synchronous="NORMAL", connect=self.trouble.connect
            )
            self.append(store, "notes")
            store.fork("notes", "branch", BATCH)
            self.forked = True
            self.append(store, "branch")
            self.append(store, "notes")
            store.read("branch")
            store.conversations()
        except JournalError:
            pass
        finally:
            if store is not None:
                store.close()

    def append(self, store: SQLiteStore, name: str) -> None:
        journal = store.open(name)
        for _ in range(3):
            try:
                append_now(journal, [RequestSent(1, number) for number in range(BATCH)])
            except JournalError as error:
                if error.outcome_unknown:
                    self.possible[name] += BATCH
                    raise
            else:
                self.acknowledged[name] += BATCH
                self.possible[name] += BATCH
        journal.close()

    def check(self) -> None:
        store = SQLiteStore(self.path, synchronous="NORMAL")
        notes = self.size(store, "notes")
        branch = self.size(store, "branch")
        assert self.acknowledged["notes"] <= notes <= self.possible["notes"]
        if self.forked:
            own = branch - BATCH
            assert self.acknowledged["branch"] <= own <= self.possible["branch"]
        assert notes % BATCH == branch % BATCH == 0
        for name in ("notes", "after"):  # and it goes on
            append_now(store.open(name), [RequestSent(9, 9)])
        store.close()

    @staticmethod
    def size(store: SQLiteStore, name: str) -> int:
        try:
            return len(store.read(name))
        except UnknownConversationError:
            return 0


def _sweep(
    folder: Path, *, once: bool, late: bool, code: int, apart: int = 1, first: int = 0
) -> Scenario:
    """Run the scenario with its nth statement failing until there is no nth one; one
    statement in so many, the first of them given."""
    nth = first % apart + 1 - apart
    while True:
        nth += apart
        path = folder / f"{nth}.db"
        trouble = Trouble(nth, once=once, late=late, code=code)
        scenario = Scenario(path, trouble)
        scenario.run()
        trouble.on = False
        scenario.check()
        if trouble.count < nth:
            assert nth > 100
            return scenario


@pytest.mark.parametrize(
    ("first", "once", "late", "code"),
    [
        (0, True, False, sqlite3.SQLITE_IOERR),
        (1, True, False, sqlite3.SQLITE_FULL),
        (0, True, True, sqlite3.SQLITE_IOERR),
        (1, False, False, sqlite3.SQLITE_FULL),
        (1, False, True, sqlite3.SQLITE_IOERR),
    ],
)
def test_every_statement_may_fail(
    tmp_path: Path, first: int, once: bool, late: bool, code: int
) -> None:
    trouble: dict[str, Any] = {"once": once, "late": late, "code": code}
    scenario = _sweep(tmp_path, **trouble, apart=1 if WHOLE else 2, first=first)

    assert scenario.acknowledged == {"notes": 6 * BATCH, "branch": 3 * BATCH}


def _never(*_: object) -> bool:
    return False


def test_commit_that_is_taken_for_failed_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: an exception from COMMIT read as "it did not happen"."""
    monkeypatch.setattr(SQLiteJournal, "_is_done", _never)

    with pytest.raises(AssertionError):
        _sweep(tmp_path, once=True, late=True, code=sqlite3.SQLITE_FULL)

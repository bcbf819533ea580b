"""Full disks, failing commits, interrupts: a typed error, and nothing lost."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.around import append_now

from turnlatch.errors import (
    JournalError,
    JournalFullError,
    StoreLockedError,
)
from turnlatch.journal import SQLiteStore
from turnlatch_states.machine.events import Event, RequestSent, TurnOpened

BIG = TurnOpened(1, b"x" * 200_000)


class Faulty(sqlite3.Connection):
    """A connection that fails where it is told to.

    Attributes:
        plan: (statement begins with, before or after doing it, what to raise), once each.
    """

    plan: list[tuple[str, str, BaseException]]

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        self.plan = getattr(self, "plan", [])
        found = next((one for one in self.plan if sql.startswith(one[0])), None)
        if found is None:
            return super().execute(sql, *arguments)
        self.plan.remove(found)
        if found[1] == "after":
            super().execute(sql, *arguments)
        raise found[2]


class Made:
    """Makes faulty connections, and remembers them."""

    def __init__(self) -> None:
        self.connections: list[Faulty] = []
        self.refuses = False

    def __call__(self, uri: str) -> sqlite3.Connection:
        if self.refuses:
            raise failing(sqlite3.SQLITE_CANTOPEN)
        made = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=0, factory=Faulty
        )
        self.connections.append(made)
        return made

    def fail(self, statement: str, when: str, error: BaseException) -> None:
        """Fail once, at the next such statement of the newest connection."""
        newest = self.connections[-1]
        newest.plan = [*getattr(newest, "plan", []), (statement, when, error)]


def failing(code: int) -> sqlite3.OperationalError:
    """An error of SQLite with that code."""
    error = sqlite3.OperationalError("planted")
    error.sqlite_errorcode = code
    return error


@pytest.fixture
def made() -> Made:
    """Where a store's connections come from."""
    return Made()


@pytest.fixture
def faulty(path: Path, made: Made) -> Iterator[SQLiteStore]:
    """A store whose connection can be made to fail."""
    store = SQLiteStore(path, connect=made, wait=0)
    yield store
    store.close()


def _events(store: SQLiteStore, name: str = "notes") -> list[Event]:
    return [entry.event for entry in store.read(name)]


# Room.


def test_full_disk_appends_nothing_and_later_succeeds(
    faulty: SQLiteStore, made: Made, events: tuple[Event, ...]
) -> None:
    journal = faulty.open("notes")
    append_now(journal, events, wait=0)
    connection = made.connections[-1]
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 4}")

    with pytest.raises(JournalFullError, match="no room") as raised:
        append_now(journal, [RequestSent(5, 1), BIG], wait=0)
    assert not raised.value.outcome_unknown
    assert journal.sequence == len(events)
    assert _events(faulty) == list(events)
    connection.execute("PRAGMA max_page_count = 1000000")
    append_now(journal, [RequestSent(5, 1), BIG], wait=0)

    assert _events(faulty) == [*events, RequestSent(5, 1), BIG]


def test_full_at_the_commit_is_found_out_by_reading(
    faulty: SQLiteStore, made: Made
) -> None:
    journal = faulty.open("notes")
    made.fail("COMMIT", "before", failing(sqlite3.SQLITE_FULL))

    with pytest.raises(JournalFullError):
        append_now(journal, [RequestSent(1, 1)], wait=0)
    append_now(journal, [RequestSent(1, 1)], wait=0)

    assert _events(faulty) == [RequestSent(1, 1)]


# Commits.

CODES = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_ERROR)


@pytest.mark.parametrize("code", CODES)
def test_commit_that_did_not_happen_leaves_nothing_and_a_handle_that_works(
    faulty: SQLiteStore, made: Made, events: tuple[Event, ...], code: int
) -> None:
    journal = faulty.open("notes")
    append_now(journal, events, wait=0)
    made.fail("COMMIT", "before", failing(code))

    with pytest.raises(JournalError) as raised:
        append_now(journal, [RequestSent(5, 1), RequestSent(5, 2)], wait=0)
    assert not raised.value.outcome_unknown
    assert len(made.connections) == 2  # the old one is not asked
    assert _events(faulty) == list(events)
    append_now(journal, [RequestSent(6, 1)], wait=0)

    assert _events(faulty) == [*events, RequestSent(6, 1)]


@pytest.mark.parametrize("code", CODES)
def test_commit_that_did_happen_is_a_success(
    faulty: SQLiteStore, made: Made, events: tuple[Event, ...], code: int
) -> None:
    journal = faulty.open("notes")
    made.fail("COMMIT", "after", failing(code))
    append_now(journal, events, wait=0)

    assert len(made.connections) == 2
    assert journal.sequence == len(events)
    append_now(journal, [RequestSent(6, 1)], wait=0)
    assert _events(faulty) == [*events, RequestSent(6, 1)]


@pytest.mark.parametrize("when", ["before", "after"])
def test_commit_that_cannot_be_looked_up_is_unknown_and_poisons_the_handle(
    faulty: SQLiteStore, made: Made, when: str
) -> None:
    journal = faulty.open("notes")
    made.fail("COMMIT", when, failing(sqlite3.SQLITE_IOERR))
    made.refuses = True

    with pytest.raises(JournalError) as raised:
        append_now(journal, [RequestSent(1, 1)], wait=0)
    assert raised.value.outcome_unknown
    made.refuses = False
    for use in (
        lambda: append_now(journal, [RequestSent(1, 2)], wait=0),
        journal.entries,
    ):
        with pytest.raises(JournalError, match="may or may not") as again:
            use()
        assert again.value.outcome_unknown
    journal.close()
    reopened = faulty.open("notes")

    assert reopened.sequence == (1 if when == "after" else 0)
    append_now(reopened, [RequestSent(2, 1)], wait=0)
    assert _events(faulty)[-1] == RequestSent(2, 1)


def test_disk_error_that_comes_again_when_the_log_is_written_again_is_unknown(
    faulty: SQLiteStore, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry can be read, from memory; nothing shows that it reached the disk."""
    journal = faulty.open("notes")
    made.fail("COMMIT", "after", failing(sqlite3.SQLITE_IOERR))
    monkeypatch.setattr(
        Faulty,
        "plan",
        [("BEGIN IMMEDIATE", "before", failing(sqlite3.SQLITE_IOERR))],
        raising=False,
    )

    with pytest.raises(JournalError) as raised:
        append_now(journal, [RequestSent(1, 1)], wait=0)
    assert raised.value.outcome_unknown


def test_store_that_is_found_damaged_in_the_middle_keeps_its_log(
    faulty: SQLiteStore, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = faulty.open("notes")
    append_now(journal, [RequestSent(1, 1)], wait=0)
    made.fail("COMMIT", "before", failing(sqlite3.SQLITE_IOERR))
    monkeypatch.setattr(
        Faulty,
        "plan",
        [("SELECT id FROM store", "before", failing(sqlite3.SQLITE_CORRUPT))],
        raising=False,
    )

    with pytest.raises(JournalError) as raised:
        append_now(journal, [RequestSent(1, 2)], wait=0)
    assert raised.value.outcome_unknown
    faulty.close()

    assert os.stat(f"{faulty.path}-wal").st_size > 0
    store = SQLiteStore(faulty.path)
    assert _events(store) == [RequestSent(1, 1)]
    store.close()


@pytest.mark.parametrize("statement", ["BEGIN", "SELECT 1 FROM lease", "COMMIT"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupt_goes_on_and_memory_agrees_with_the_record(
    faulty: SQLiteStore, made: Made, statement: str, when: str
) -> None:
    journal = faulty.open("notes")
    made.fail(statement, when, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        append_now(journal, [RequestSent(1, 1)], wait=0)
    assert (
        journal.sequence
        == len(_events(faulty))
        == (statement, when).count("COMMIT") * (when == "after")
    )
    append_now(journal, [RequestSent(1, 2)], wait=0)

    assert _events(faulty)[-1] == RequestSent(1, 2)


@pytest.mark.parametrize("statement", ["BEGIN", "SELECT 1 FROM lease"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY])
def test_error_before_the_commit_is_definite(
    faulty: SQLiteStore, made: Made, statement: str, when: str, code: int
) -> None:
    journal = faulty.open("notes")
    made.fail(statement, when, failing(code))

    with pytest.raises(JournalError) as raised:
        append_now(journal, [RequestSent(1, 1)], wait=0)
    assert not raised.value.outcome_unknown
    append_now(journal, [RequestSent(1, 2)], wait=0)

    assert _events(faulty) == [RequestSent(1, 2)]


def test_other_handles_survive_a_new_connection(
    faulty: SQLiteStore, made: Made
) -> None:
    one, other = faulty.open("one"), faulty.open("other")
    made.fail("COMMIT", "before", failing(sqlite3.SQLITE_IOERR))
    with pytest.raises(JournalError):
        append_now(one, [RequestSent(1, 1)], wait=0)

    append_now(other, [RequestSent(2, 1)], wait=0)
    append_now(one, [RequestSent(3, 1)], wait=0)

    assert _events(faulty, "other") == [RequestSent(2, 1)]


def test_store_that_another_connection_writes_to_is_busy_and_later_works(
    path: Path, faulty: SQLiteStore
) -> None:
    journal = faulty.open("notes")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreLockedError, match="has the store locked"):
        append_now(journal, [RequestSent(1, 1)], wait=0)
    other.execute("ROLLBACK")
    other.close()
    append_now(journal, [RequestSent(1, 1)], wait=0)

    assert journal.sequence == 1


@pytest.mark.parametrize(
    "statement",
    ["SELECT epoch, at_ms", "INSERT OR REPLACE INTO lease", "SELECT key FROM entry"],
    ids=["before it was taken", "taking it", "after it was taken"],
)
def test_failed_opening_gives_the_lease_back(
    faulty: SQLiteStore, made: Made, events: tuple[Event, ...], statement: str
) -> None:
    append_now(faulty.open("notes"), events, wait=0)
    faulty.close()
    store = SQLiteStore(faulty.path, connect=made)
    made.fail(statement, "before", failing(sqlite3.SQLITE_IOERR))
    with pytest.raises(JournalError):
        store.open("notes")

    assert store.conversations()[0].holder is None
    assert store.open("notes").sequence == len(events)
    store.close()


def test_log_that_was_removed_under_us_is_noticed_before_more_is_lost(
    faulty: SQLiteStore, events: tuple[Event, ...]
) -> None:
    """What another process may do once this one's locks are gone, because somebody
    here opened and closed the file."""
    journal = faulty.open("notes")
    append_now(journal, events, wait=0)
    os.unlink(f"{faulty.path}-wal")

    for _ in range(2):
        with pytest.raises(JournalError, match="log") as raised:
            append_now(journal, [RequestSent(5, 1)], wait=0)
        assert raised.value.outcome_unknown
    journal.close()
    # The old connection still had the log open, and saved what was in it.
    assert faulty.open("notes").sequence == len(events)

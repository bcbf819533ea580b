"""Full disks, missing permissions, foreign files, commits that fail: a typed error, and
nothing lost."""

import hashlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

import pytest

from detent.errors import (
    JournalError,
    JournalFullError,
    JournalVersionError,
)
from detent.journal import SQLiteStore
from detent.journal.database import connect
from detent_states.events import Event, RequestSent, TurnOpened


class Child(Protocol):
    """A real process, as `conftest.py` makes it."""

    def hear(self) -> str: ...


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
            raise _error(sqlite3.SQLITE_CANTOPEN)
        made = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=0, factory=Faulty
        )
        self.connections.append(made)
        return made

    def fail(self, statement: str, when: str, error: BaseException) -> None:
        """Fail once, at the next such statement of the newest connection."""
        newest = self.connections[-1]
        newest.plan = [*getattr(newest, "plan", []), (statement, when, error)]


def _error(code: int) -> sqlite3.OperationalError:
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
    store = SQLiteStore(path, connect=made)
    yield store
    store.close()


def _events(store: SQLiteStore, name: str = "notes") -> list[Event]:
    return [entry.event for entry in store.read(name)]


# Room.


def test_full_disk_appends_nothing_and_later_succeeds(
    faulty: SQLiteStore, made: Made, events: tuple[Event, ...]
) -> None:
    journal = faulty.open("notes")
    journal.append(events)
    connection = made.connections[-1]
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 4}")

    with pytest.raises(JournalFullError, match="no room") as raised:
        journal.append([RequestSent(5, 1), BIG])
    assert not raised.value.outcome_unknown
    assert journal.sequence == len(events)
    assert _events(faulty) == list(events)
    connection.execute("PRAGMA max_page_count = 1000000")
    journal.append([RequestSent(5, 1), BIG])

    assert _events(faulty) == [*events, RequestSent(5, 1), BIG]


def test_full_at_the_commit_is_found_out_by_reading(
    faulty: SQLiteStore, made: Made
) -> None:
    journal = faulty.open("notes")
    made.fail("COMMIT", "before", _error(sqlite3.SQLITE_FULL))

    with pytest.raises(JournalFullError):
        journal.append([RequestSent(1, 1)])
    journal.append([RequestSent(1, 1)])

    assert _events(faulty) == [RequestSent(1, 1)]


# Commits.

CODES = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_ERROR)


@pytest.mark.parametrize("code", CODES)
def test_commit_that_did_not_happen_leaves_nothing_and_a_handle_that_works(
    faulty: SQLiteStore, made: Made, events: tuple[Event, ...], code: int
) -> None:
    journal = faulty.open("notes")
    journal.append(events)
    made.fail("COMMIT", "before", _error(code))

    with pytest.raises(JournalError) as raised:
        journal.append([RequestSent(5, 1), RequestSent(5, 2)])
    assert not raised.value.outcome_unknown
    assert len(made.connections) == 2  # the old one is not asked
    assert _events(faulty) == list(events)
    journal.append([RequestSent(6, 1)])

    assert _events(faulty) == [*events, RequestSent(6, 1)]


@pytest.mark.parametrize("code", CODES)
def test_commit_that_did_happen_is_a_success(
    faulty: SQLiteStore, made: Made, events: tuple[Event, ...], code: int
) -> None:
    journal = faulty.open("notes")
    made.fail("COMMIT", "after", _error(code))
    journal.append(events)

    assert len(made.connections) == 2
    assert journal.sequence == len(events)
    journal.append([RequestSent(6, 1)])
    assert _events(faulty) == [*events, RequestSent(6, 1)]


@pytest.mark.parametrize("when", ["before", "after"])
def test_commit_that_cannot_be_looked_up_is_unknown_and_poisons_the_handle(
    faulty: SQLiteStore, made: Made, when: str
) -> None:
    journal = faulty.open("notes")
    made.fail("COMMIT", when, _error(sqlite3.SQLITE_IOERR))
    made.refuses = True

    with pytest.raises(JournalError) as raised:
        journal.append([RequestSent(1, 1)])
    assert raised.value.outcome_unknown
    made.refuses = False
    for use in (lambda: journal.append([RequestSent(1, 2)]), journal.entries):
        with pytest.raises(JournalError, match="may or may not") as again:
            use()
        assert again.value.outcome_unknown
    journal.close()
    reopened = faulty.open("notes")

    assert reopened.sequence == (1 if when == "after" else 0)
    reopened.append([RequestSent(2, 1)])
    assert _events(faulty)[-1] == RequestSent(2, 1)


def test_disk_error_that_the_checkpoint_repeats_is_unknown(
    faulty: SQLiteStore, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry can be read, from memory; nothing shows that it reached the disk."""
    journal = faulty.open("notes")
    made.fail("COMMIT", "after", _error(sqlite3.SQLITE_IOERR))
    monkeypatch.setattr(
        Faulty,
        "plan",
        [("PRAGMA wal_checkpoint", "before", _error(sqlite3.SQLITE_IOERR))],
        raising=False,
    )

    with pytest.raises(JournalError) as raised:
        journal.append([RequestSent(1, 1)])
    assert raised.value.outcome_unknown


@pytest.mark.parametrize("statement", ["BEGIN", "SELECT 1 FROM lease", "COMMIT"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupt_goes_on_and_memory_agrees_with_the_record(
    faulty: SQLiteStore, made: Made, statement: str, when: str
) -> None:
    journal = faulty.open("notes")
    made.fail(statement, when, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        journal.append([RequestSent(1, 1)])
    assert (
        journal.sequence
        == len(_events(faulty))
        == (statement, when).count("COMMIT") * (when == "after")
    )
    journal.append([RequestSent(1, 2)])

    assert _events(faulty)[-1] == RequestSent(1, 2)


@pytest.mark.parametrize("statement", ["BEGIN", "SELECT 1 FROM lease"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY])
def test_error_before_the_commit_is_definite(
    faulty: SQLiteStore, made: Made, statement: str, when: str, code: int
) -> None:
    journal = faulty.open("notes")
    made.fail(statement, when, _error(code))

    with pytest.raises(JournalError) as raised:
        journal.append([RequestSent(1, 1)])
    assert not raised.value.outcome_unknown
    journal.append([RequestSent(1, 2)])

    assert _events(faulty) == [RequestSent(1, 2)]


def test_other_handles_survive_a_new_connection(
    faulty: SQLiteStore, made: Made
) -> None:
    one, other = faulty.open("one"), faulty.open("other")
    made.fail("COMMIT", "before", _error(sqlite3.SQLITE_IOERR))
    with pytest.raises(JournalError):
        one.append([RequestSent(1, 1)])

    other.append([RequestSent(2, 1)])
    one.append([RequestSent(3, 1)])

    assert _events(faulty, "other") == [RequestSent(2, 1)]


def test_store_that_another_connection_writes_to_is_busy_and_later_works(
    path: Path, faulty: SQLiteStore
) -> None:
    journal = faulty.open("notes")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(JournalError, match="another process is writing"):
        journal.append([RequestSent(1, 1)])
    other.execute("ROLLBACK")
    other.close()
    journal.append([RequestSent(1, 1)])

    assert journal.sequence == 1


def test_failed_opening_gives_the_lease_back(
    faulty: SQLiteStore, made: Made, events: tuple[Event, ...]
) -> None:
    faulty.open("notes").append(events)
    faulty.close()
    store = SQLiteStore(faulty.path, connect=made)
    made.fail("SELECT epoch, kind", "before", _error(sqlite3.SQLITE_IOERR))
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
    journal.append(events)
    os.unlink(f"{faulty.path}-wal")

    for _ in range(2):
        with pytest.raises(JournalError, match="log") as raised:
            journal.append([RequestSent(5, 1)])
        assert raised.value.outcome_unknown
    journal.close()
    # The old connection still had the log open, and saved what was in it.
    assert faulty.open("notes").sequence == len(events)


# Files that are not ours to write.


def _digests(folder: Path) -> dict[str, str]:
    return {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest()
        for one in folder.iterdir()
    }


def _foreign(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE mine (x)",),
        ("PRAGMA application_id = 7",),
        ("PRAGMA user_version = 1",),
        ("PRAGMA journal_mode = WAL", "CREATE TABLE mine (x)"),
        ("PRAGMA application_id = 1685352052", "PRAGMA user_version = 2"),
        ("PRAGMA application_id = 1685352052", "PRAGMA user_version = 2", "CREATE TABLE t (x)"),
    ],
)  # fmt: skip
def test_foreign_or_newer_database_is_refused_untouched(
    path: Path, statements: tuple[str, ...]
) -> None:
    _foreign(path, *statements)
    before = _digests(path.parent)

    with pytest.raises(JournalVersionError, match=r"not a detent store|has version 2"):
        SQLiteStore(path)

    assert _digests(path.parent) == before


@pytest.mark.parametrize("content", [b"not a database", b"\0" * 4096, os.urandom(8192)])
def test_file_that_is_no_database_is_refused_untouched(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)

    with pytest.raises(JournalError):
        SQLiteStore(path)

    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["chat.db"]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON entry BEGIN DELETE FROM entry; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE INDEX i ON entry (turn)",
        "CREATE TABLE t (x AS (1) STORED, y)",
        "DROP VIEW journal",
    ],
)
def test_store_with_another_schema_is_refused(path: Path, statement: str) -> None:
    SQLiteStore(path).close()
    _foreign(path, statement)

    with pytest.raises(JournalVersionError, match="schema"):
        SQLiteStore(path)


def test_statistics_are_no_other_schema(path: Path) -> None:
    store = SQLiteStore(path)
    store.open("notes").append([RequestSent(1, 1)])
    store.close()
    _foreign(path, "ANALYZE")

    SQLiteStore(path).close()


def test_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    store = SQLiteStore(path)
    store.open("notes").append([RequestSent(1, 1)])

    assert _events(store) == [RequestSent(1, 1)]
    store.close()


@pytest.mark.parametrize("name", ["", ":memory:", "file:x.db", "a\0b"])
def test_what_is_no_path_is_refused(name: str) -> None:
    with pytest.raises(JournalError, match="MemoryStore"):
        SQLiteStore(name)


def test_folder_pipe_and_missing_folder_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for wrong in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(JournalError, match="regular file"):
            SQLiteStore(wrong)
    with pytest.raises(JournalError, match="folder exists"):
        SQLiteStore(tmp_path / "missing" / "chat.db")
    (tmp_path / "file").touch()
    with pytest.raises(JournalError):
        SQLiteStore(tmp_path / "file" / "chat.db")


def test_strange_paths_are_paths(tmp_path: Path) -> None:
    """`%`, `?` and `#` mean something in the URI that SQLite is given."""
    path = tmp_path / "a%20b?mode=memory#c ä.db"
    store = SQLiteStore(path)
    store.open("notes").append([RequestSent(1, 1)])
    store.close()

    assert path.stat().st_size > 0


def test_files_are_made_for_this_user_alone(path: Path) -> None:
    store = SQLiteStore(path)
    store.open("notes").append([RequestSent(1, 1)])

    modes = {
        one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()
    }
    assert modes == dict.fromkeys(
        ("chat.db", "chat.db-wal", "chat.db-shm", "chat.db-head"), 0o600
    )
    store.close()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that another user can reach."""
    folder = Path(mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_new_store_in_a_read_only_folder_is_refused(
    shared: Path, child: Callable[..., Child]
) -> None:
    shared.chmod(0o555)

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        try:
            SQLiteStore(shared / "chat.db")
        except JournalError as error:
            say(f"{type(error).__name__} {error.remedy}")

    assert "this user may write to it" in child(work, uid=65534).hear()
    assert list(shared.iterdir()) == []


def test_store_that_may_only_be_read_is_read_and_not_written(
    shared: Path, child: Callable[..., Child], events: tuple[Event, ...]
) -> None:
    path = shared / "chat.db"
    store = SQLiteStore(path)
    store.open("notes").append(events)
    store.close()
    for file in shared.iterdir():
        file.chmod(0o444)
    shared.chmod(0o777)

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        store = SQLiteStore(path)
        say(str([entry.event for entry in store.read("notes")] == list(events)))
        try:
            store.open("notes")
        except JournalError as error:
            say(str(error))

    one = child(work, uid=65534)
    assert one.hear() == "True"
    assert "writable" in one.hear()


# One connection.


def test_stores_of_one_file_share_one_connection(path: Path, made: Made) -> None:
    one = SQLiteStore(path, connect=made)
    (path.parent / "link.db").symlink_to(path)
    other = SQLiteStore(path.parent / "link.db", connect=made)
    journal = one.open("notes")
    journal.append([RequestSent(1, 1)])

    assert len(made.connections) == 1
    assert _events(other) == [RequestSent(1, 1)]
    with pytest.raises(JournalError, match="synchronous=FULL"):
        SQLiteStore(path, synchronous="NORMAL")
    one.close()
    assert _events(other) == [RequestSent(1, 1)]
    other.close()
    SQLiteStore(path, synchronous="NORMAL").close()


def test_settings_of_the_connection_are_the_safe_ones(
    faulty: SQLiteStore, made: Made
) -> None:
    asked = {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1,
        "trusted_schema": 0, "cell_size_check": 1,
    }  # fmt: skip
    found = {
        name: made.connections[-1].execute(f"PRAGMA {name}").fetchone()[0]
        for name in asked
    }

    assert found == asked


def test_file_system_without_wal_is_refused(path: Path) -> None:
    class NoWal(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql.startswith("PRAGMA journal_mode"):
                sql = "PRAGMA journal_mode = DELETE"
            return super().execute(sql, *arguments)

    def make(uri: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, isolation_level=None, factory=NoWal)

    with pytest.raises(JournalError, match="not WAL"):
        SQLiteStore(path, connect=make)


@pytest.mark.parametrize(
    ("version", "said"),
    [((3, 40, 1), 1), ((3, 51, 2), 1), ((3, 51, 3), 0), ((4, 0, 0), 0)],
)
def test_sqlite_with_the_known_bug_is_said(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, int, int],
    said: int,
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    store = SQLiteStore(path)

    assert sum("3.51.3" in notice for notice in store.notices) == said
    store.close()


def test_sqlite_that_is_too_old_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))

    with pytest.raises(JournalError, match="too old"):
        SQLiteStore(path)


def test_database_file_is_opened_by_sqlite_alone(
    path: Path, child: Callable[..., Child]
) -> None:
    """Any other descriptor of it that is closed would drop SQLite's locks."""

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        import sys

        opened: list[str] = []

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open":
                opened.append(str(arguments[0]))

        store = SQLiteStore(path)  # made here; from now on it exists
        store.close()
        sys.addaudithook(hook)
        store = SQLiteStore(path)
        store.open("notes").append([RequestSent(1, 1)])
        store.read("notes")
        store.fork("notes", "fork", 1)
        store.close()
        files = sorted({one for one in opened if one.startswith(str(path.parent))})
        say(",".join(files))

    assert child(work).hear() == f"{path}-head"


def test_entries_are_read_with_plain_sql(path: Path, events: tuple[Event, ...]) -> None:
    store = SQLiteStore(path)
    store.open("notes").append(events)
    store.close()
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT sequence, kind, turn, body FROM journal WHERE conversation = 'notes'"
    ).fetchall()
    connection.close()

    assert rows[1] == (2, "turn_opened", 1, '{"type":"text","text":"hello"}')
    assert len(rows) == len(events)


def test_even_a_bug_cannot_write_what_is_not_declared(path: Path) -> None:
    store = SQLiteStore(path)
    store.open("notes").append([RequestSent(1, 1)])
    store.close()
    connection = connect(path.as_uri())
    connection.execute("PRAGMA foreign_keys = ON")
    row = ((1 << 32) + 2, 1, "request_sent", 1, 1, b"", b"", b"", bytes(32))
    insert = (
        "INSERT INTO entry (key, epoch, kind, turn, attempt, meta, body, extra, hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    for index, wrong in (
        (0, (1 << 32) + 1), (0, 1 << 32), (0, (2 << 32) + 1), (1, 0), (2, "rewritten"),
        (3, -1), (4, -1), (5, "text"), (6, "text"), (7, None), (8, b"short"),
    ):  # fmt: skip
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(insert, (*row[:index], wrong, *row[index + 1 :]))
    connection.execute(insert, row)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE lease SET state = 'stolen'")
    connection.close()

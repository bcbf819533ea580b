"""Which files are used, and how: foreign ones untouched, our own by SQLite alone."""

import hashlib
import os
import shutil
import sqlite3
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

import pytest
from tests.around import append_now

import turnlatch.sync
from turnlatch.errors import JournalError, JournalVersionError, SettingsError
from turnlatch.journal import SQLiteStore, schema
from turnlatch.journal.database import connect
from turnlatch.journal.listing import list_readonly
from turnlatch_states.machine.events import Event, RequestSent


class Child(Protocol):
    """A real process, as `conftest.py` makes it."""

    def hear(self) -> str: ...


def _events(store: SQLiteStore, name: str = "notes") -> list[Event]:
    return [entry.event for entry in store.read(name)]


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
        ("PRAGMA application_id = 1685352052", "PRAGMA user_version = 3"),
        ("PRAGMA application_id = 1685352052", "PRAGMA user_version = 3", "CREATE TABLE t (x)"),
    ],
)  # fmt: skip
def test_foreign_or_newer_database_is_refused_untouched(
    path: Path, statements: tuple[str, ...]
) -> None:
    _foreign(path, *statements)
    before = _digests(path.parent)

    with pytest.raises(
        JournalVersionError, match=r"not a turnlatch store|newer turnlatch"
    ):
        SQLiteStore(path)

    assert _digests(path.parent) == before


@pytest.mark.parametrize("content", [b"not a database", b"\0" * 4096, os.urandom(8192)])
def test_file_that_is_not_a_database_is_refused_untouched(
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


def test_sqlite_statistics_do_not_count_as_another_schema(path: Path) -> None:
    store = SQLiteStore(path)
    append_now(store.open("notes"), [RequestSent(1, 1)])
    store.close()
    _foreign(path, "ANALYZE")

    SQLiteStore(path).close()


def _hot(path: Path, pages: int) -> None:
    """SQLite's journal of a first transaction on a database of so many pages, and the
    first page as a power cut may leave it."""
    path.write_bytes(bytes(512) + b"\x0d" * 3584)
    head = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + struct.pack(
        ">IIIII", 0, 7, pages, 512, 4096
    )
    path.with_name("chat.db-journal").write_bytes(head.ljust(512, b"\0"))


def test_store_half_created_at_a_power_cut_is_created_again(path: Path) -> None:
    _hot(path, pages=0)
    store = SQLiteStore(path)
    append_now(store.open("notes"), [RequestSent(1, 1)])

    assert _events(store) == [RequestSent(1, 1)]
    store.close()


def test_database_that_was_more_than_begun_is_not_taken_for_that(path: Path) -> None:
    _hot(path, pages=1)
    before = _digests(path.parent)

    with pytest.raises(JournalVersionError, match="not a database"):
        SQLiteStore(path)

    assert _digests(path.parent) == before


def test_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    store = SQLiteStore(path)
    append_now(store.open("notes"), [RequestSent(1, 1)])

    assert _events(store) == [RequestSent(1, 1)]
    store.close()


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_value_that_is_not_a_path_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="path"):
        SQLiteStore(name)


@pytest.mark.parametrize("name", [":memory:", "file:x.db"])
def test_names_of_sqlite_that_mean_no_file_are_refused(name: str) -> None:
    with pytest.raises(JournalError, match="MemoryStore"):
        SQLiteStore(name)


@pytest.mark.parametrize("name", [":memory:", "file:x.db", Path(":memory:")])
def test_conversation_creates_no_file_for_an_illegal_path(
    name: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`open` makes paths absolute, and an absolute `:memory:` looks like a file."""
    monkeypatch.chdir(tmp_path)

    with (
        pytest.raises(JournalError, match="MemoryStore"),
        turnlatch.sync.Conversation.open("a", store=name, client="simulator"),
    ):
        pytest.fail("it was opened")

    assert list(tmp_path.iterdir()) == []


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
    append_now(store.open("notes"), [RequestSent(1, 1)])
    store.close()

    assert path.stat().st_size > 0


def test_files_are_made_for_this_user_alone(path: Path) -> None:
    store = SQLiteStore(path)
    append_now(store.open("notes"), [RequestSent(1, 1)])

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
    append_now(store.open("notes"), events)
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


class Connections(list[sqlite3.Connection]):
    """Remembers the connections a store makes."""

    def __call__(self, uri: str) -> sqlite3.Connection:
        self.append(connect(uri))
        return self[-1]


def test_stores_of_one_file_share_one_connection(path: Path) -> None:
    made = Connections()
    one = SQLiteStore(path, connect=made)
    (path.parent / "link.db").symlink_to(path)
    other = SQLiteStore(path.parent / "link.db", connect=made)
    journal = one.open("notes")
    append_now(journal, [RequestSent(1, 1)])

    assert len(made) == 1
    assert _events(other) == [RequestSent(1, 1)]
    with pytest.raises(JournalError, match="synchronous=FULL"):
        SQLiteStore(path, synchronous="NORMAL")
    one.close()
    assert _events(other) == [RequestSent(1, 1)]
    other.close()
    SQLiteStore(path, synchronous="NORMAL").close()


def test_settings_of_the_connection_are_the_safe_ones(path: Path) -> None:
    made = Connections()
    store = SQLiteStore(path, connect=made)
    asked = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "cell_size_check": 1,
    }
    found = {name: made[0].execute(f"PRAGMA {name}").fetchone()[0] for name in asked}
    store.close()

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
def test_sqlite_with_the_known_bug_is_reported(
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
        opened: list[str] = []

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open":
                opened.append(str(arguments[0]))

        store = SQLiteStore(path)  # made here; from now on it exists
        store.close()
        sys.addaudithook(hook)
        store = SQLiteStore(path)
        append_now(store.open("notes"), [RequestSent(1, 1)])
        store.read("notes")
        store.fork("notes", "fork", 1)
        store.close()
        files = sorted({one for one in opened if one.startswith(str(path.parent))})
        say(",".join(files))

    assert child(work).hear() == f"{path}-head"


def test_entries_are_read_with_plain_sql(path: Path, events: tuple[Event, ...]) -> None:
    store = SQLiteStore(path, clock=lambda: 1_000_000_000.5)
    append_now(store.open("notes"), events)
    store.close()
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT sequence, kind, turn, body FROM journal WHERE conversation = 'notes'"
    ).fetchall()
    (at,) = connection.execute("SELECT at FROM journal WHERE sequence = 1").fetchone()
    connection.close()

    assert rows[1] == (2, "turn_opened", 1, '{"type":"text","text":"hello"}')
    assert len(rows) == len(events)
    assert at == "2001-09-09T01:46:40.500Z"


def test_even_a_bug_cannot_write_what_is_not_declared(path: Path) -> None:
    store = SQLiteStore(path)
    append_now(store.open("notes"), [RequestSent(1, 1)])
    store.close()
    connection = connect(path.as_uri())
    connection.execute("PRAGMA foreign_keys = ON")
    row = ((1 << 32) + 2, 1, 0, "request_sent", 1, 1, b"", b"", b"", bytes(32))
    insert = (
        "INSERT INTO entry"
        " (key, epoch, at_ms, kind, turn, attempt, meta, body, extra, hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    for index, wrong in (
        (0, (1 << 32) + 1), (0, 1 << 32), (0, (2 << 32) + 1), (1, 0), (2, -1),
        (3, ""), (3, "x" * 33), (4, -1), (5, -1), (6, "text"), (7, "text"), (8, None),
        (9, b"short"),
    ):  # fmt: skip
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(insert, (*row[:index], wrong, *row[index + 1 :]))
    connection.execute(insert, row)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE lease SET state = 'stolen'")
    connection.close()


# What is not ours, or somebody else's to write.


@pytest.mark.parametrize(
    ("name", "table"),
    [("journal", "entry"), ("entry", "conversation"), ("lease", "store"), ("sqlite_stat1", "entry")],
)  # fmt: skip
def test_nothing_hides_behind_the_name_of_something_else(
    path: Path, name: str, table: str
) -> None:
    """A trigger may have the name of a table; its row stands before that table's."""
    store = SQLiteStore(path)
    append_now(store.open("notes"), [RequestSent(1, 1)])
    store.close()
    sql = f"CREATE TRIGGER {name} AFTER INSERT ON {table} BEGIN SELECT 1; END"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = ON")
    rows = connection.execute("SELECT * FROM sqlite_schema").fetchall()
    connection.execute("DELETE FROM sqlite_schema")
    for row in rows:
        hidden = [("trigger", name, table, 0, sql)] if row[1] == table else []
        for each in (row, *hidden):
            connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", each)
    connection.commit()
    connection.close()
    before = path.read_bytes()

    for use in (SQLiteStore, list_readonly):
        with pytest.raises(JournalVersionError, match=f"schema.*trigger {name}"):
            use(path)
    assert path.read_bytes() == before


def test_a_look_at_an_unknown_file_has_a_number_of_steps(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SQLiteStore(path).close()
    monkeypatch.setattr(schema, "STEPS_MAX", 10)

    for use in (SQLiteStore, list_readonly):
        with pytest.raises(JournalVersionError, match="more steps"):
            use(path)


@pytest.mark.parametrize("accept_loss", [False, True])
@pytest.mark.parametrize(
    "content", [b"mine", b"mine" * 16, b"mine" * 1000, bytes(6400) + b"mine"]
)
def test_a_file_that_stands_where_the_head_file_belongs_is_not_touched(
    path: Path, content: bytes, *, accept_loss: bool
) -> None:
    SQLiteStore(path).close()
    head = path.with_name("chat.db-head")
    head.write_bytes(content)

    with pytest.raises(JournalError, match="is not a head file; move it away"):
        SQLiteStore(path, accept_loss=accept_loss)

    assert head.read_bytes() == content


@pytest.mark.parametrize("size", [64, 640])
def test_head_file_left_blank_by_a_power_cut_is_recreated(
    path: Path, size: int
) -> None:
    """It is never synced: its size can be on the disk, and none of its sectors."""
    store = SQLiteStore(path)
    append_now(store.open("notes"), [RequestSent(1, 1)])
    store.close()
    path.with_name("chat.db-head").write_bytes(bytes(size))

    store = SQLiteStore(path)
    append_now(store.open("notes"), [RequestSent(1, 2)])
    store.close()
    assert any(path.with_name("chat.db-head").read_bytes())


@pytest.mark.parametrize("suffix", ["-head", "-wal", "-shm", "-journal"])
def test_special_file_next_to_a_store_is_refused_at_once(
    path: Path, suffix: str
) -> None:
    SQLiteStore(path).close()
    beside = path.with_name("chat.db" + suffix)
    beside.unlink(missing_ok=True)
    elsewhere = path.with_name("elsewhere")
    elsewhere.write_bytes(b"mine")

    makes: list[Callable[[], None]] = [
        lambda: os.mkfifo(beside),
        beside.mkdir,
        lambda: beside.symlink_to(elsewhere),
    ]
    for make in makes:
        make()
        for use in (SQLiteStore, list_readonly):
            with pytest.raises(JournalError, match="regular file"):
                use(path)
        if beside.is_dir() and not beside.is_symlink():
            beside.rmdir()
        else:
            beside.unlink()
    assert elsewhere.read_bytes() == b"mine"


@pytest.mark.parametrize("suffix", ["", "-head"])
def test_permissions_of_others_are_reported(path: Path, suffix: str) -> None:
    SQLiteStore(path).close()
    one = path.with_name("chat.db" + suffix)
    for mode, said in ((0o660, "by its group"), (0o644, "by everybody")):
        one.chmod(mode)
        store = SQLiteStore(path)
        assert sum(said in notice for notice in store.notices) == 1
        store.close()
    one.chmod(0o602)
    for use in (SQLiteStore, list_readonly):
        with pytest.raises(JournalError, match="everybody on this machine may write"):
            use(path)

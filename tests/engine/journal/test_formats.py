"""Every store that a released turnlatch left is opened, read and gone on with.

The golden stores were written by the turnlatch of their format: every kind of entry, a fork,
a real conversation with a question that is open, and the lease of a process that died.
"""

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.around import append_now
from tests.engine.journal.golden_store import DEAD, GOLDEN
from tests.harness.world import World

from turnlatch.errors import (
    ConversationBusyError,
    JournalError,
    JournalFullError,
    JournalVersionError,
)
from turnlatch.journal import SQLiteStore, codec, formats, schema
from turnlatch.journal.codec import Row, encode
from turnlatch.journal.formats import FORMATS, NEWEST, OLDEST
from turnlatch.journal.listing import list_readonly
from turnlatch.journal.owner import Owner
from turnlatch.journal.tail_anchor import open_head
from turnlatch.ports import Entry
from turnlatch_states.machine.events import RequestSent

VERSIONS = sorted(FORMATS)
OLD = [version for version in VERSIONS if version != NEWEST]
NAMES = ("talk", "branch", "every kind", "fork of every kind", "left")


def _golden(version: int, path: Path) -> Path:
    """A copy of a golden store, at that path."""
    shutil.copy(GOLDEN / f"v{version}.db", path)
    shutil.copy(GOLDEN / f"v{version}.db-head", f"{path}-head")
    return path


@pytest.fixture(params=VERSIONS)
def golden(request: pytest.FixtureRequest, path: Path) -> Path:
    """A copy of the golden store of each format."""
    return _golden(request.param, path)


def _entries(path: Path) -> list[Any]:
    """Every column of every entry, and how conversations hang together."""
    connection = sqlite3.connect(path)
    try:
        found: list[Any] = connection.execute(
            "SELECT key, epoch, at_ms, kind, turn, attempt, meta, body, extra, hash,"
            " conversation, sequence FROM entry ORDER BY key"
        ).fetchall()
        return [*found, *connection.execute("SELECT * FROM conversation ORDER BY id")]
    finally:
        connection.close()


def _format(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        application, version = schema.identity(connection)
        schema.refuse(application, version, "the file")
        tables = dict(connection.execute("SELECT name, sql FROM sqlite_schema"))
        tables = {n: s for n, s in tables.items() if s is not None}
        assert tables == FORMATS[found].schema, "half a format"
        return int(found)
    finally:
        connection.close()


def _told(store: SQLiteStore, name: str) -> list[str]:
    """A conversation's entries; as text, since one holds a number that equals none."""
    return list(map(repr, store.read(name)))


def test_every_format_has_a_golden_store() -> None:
    assert list(range(OLDEST, NEWEST + 1)) == VERSIONS
    assert codec.FORMAT == NEWEST, "what the codec writes is the newest of the map"
    for version in VERSIONS:
        assert _format(GOLDEN / f"v{version}.db") == version
        rows = _entries(GOLDEN / f"v{version}.db")
        kinds = {row[3] for row in rows if len(row) == 12}
        assert kinds == set(codec.KINDS) or version != NEWEST


def test_looking_at_a_store_of_any_format_writes_nothing(golden: Path) -> None:
    before, version = golden.read_bytes(), _format(golden)
    listed = list_readonly(golden)

    store = SQLiteStore(golden)
    assert [one.name for one in store.conversations()] == [one.name for one in listed]
    assert {one.name for one in listed} == set(NAMES)
    assert {one.left for one in listed} == {None, str(DEAD)}
    for name in NAMES:
        assert len(store.read(name)) > 0
    store.close()

    assert golden.read_bytes() == before
    assert _format(golden) == version
    assert [one.name for one in list_readonly(golden)] == [one.name for one in listed]


def test_a_store_of_any_format_is_read_where_it_cannot_be_written_to(
    golden: Path,
) -> None:
    uri = f"{golden.as_uri()}?mode=ro"

    def connect(_: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, isolation_level=None)

    store = SQLiteStore(golden, connect=connect)
    assert len(store.read("talk")) > 0
    with pytest.raises(JournalError, match="cannot be written"):
        store.open("talk")
    assert len(store.read("talk")) > 0
    store.close()


def test_every_entry_of_any_format_is_read_as_what_it_was(golden: Path) -> None:
    """What was decoded is encoded again as the row that stands there."""
    store = SQLiteStore(golden)
    rows = [row for row in _entries(golden) if len(row) == 12]
    for number, name in enumerate(store.conversations(), 1):
        events = {one.sequence: one.event for one in store.read(name.name)}
        for *_, kind, turn, attempt, meta, body, extra, _, owner, sequence in rows:
            if owner == number:
                row = Row(kind, turn, attempt, meta, body, extra)
                assert encode(events[sequence]) == row
    store.close()


def test_a_store_of_any_format_is_gone_on_with_and_nothing_in_it_changes(
    golden: Path,
) -> None:
    before = _entries(golden)
    store = SQLiteStore(golden)
    read = {name: _told(store, name) for name in NAMES}
    for name in NAMES:
        journal = store.open(name)
        assert list(map(repr, journal.entries())) == read[name]
        append_now(journal, [RequestSent(9, 1)])
    store.fork("every kind", "of today", 5)
    store.close()

    assert _format(golden) == NEWEST
    after = _entries(golden)
    assert [row for row in before if row in after] == before
    store = SQLiteStore(golden)  # with its anchors and hashes checked
    for name in NAMES:
        end = repr(Entry(len(read[name]) + 1, RequestSent(9, 1)))
        assert _told(store, name) == [*read[name], end]
        append_now(store.open(name), [RequestSent(9, 2)])
    store.close()


@pytest.mark.anyio
async def test_the_engine_goes_on_with_a_conversation_of_any_format(
    golden: Path, tmp_path: Path
) -> None:
    """The question that was put then is answered now, in the conversation of then."""
    world = World(tmp_path).script("Four.", "Five.", "Six.")
    async with world.open("talk", store=golden) as chat:
        assert chat.turn is not None
        (question,) = chat.turn.awaiting
        assert (await chat.approve(question.id)).text == "Four."
        assert world.ran == ["ask b"]
        assert (await chat.send("5")).text == "Five."
    async with world.open("branch", store=golden) as chat:
        assert (await chat.send("4")).text == "Six."


# The upgrade, while others have the file open.


def _lease(path: Path, holder: Owner, expires: float) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "UPDATE lease SET state = 'held', host = ?, pid = ?, started = ?, boot = ?,"
            " expires = ? WHERE conversation = 1",
            (holder.host, holder.pid, holder.started, holder.boot, expires),
        )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


HERE = Owner.current()
NOW = 2e9
FAR = Owner("far", 7, "1", "b")


@pytest.mark.parametrize("version", OLD)
@pytest.mark.parametrize(
    ("holder", "expires"),
    [
        (Owner(HERE.host, os.getppid(), "", HERE.boot), 0.0),  # alive, long idle
        (FAR, NOW + 299.0),  # whom only time can tell about
    ],
)
def test_a_store_is_not_upgraded_under_an_older_turnlatch_that_writes(
    version: int, holder: Owner, expires: float, path: Path
) -> None:
    _lease(_golden(version, path), holder, expires)
    before = path.read_bytes()
    store = SQLiteStore(path, clock=lambda: NOW)

    for _ in range(2):
        with pytest.raises(ConversationBusyError, match=f"{holder} writes to it"):
            store.open("left")
        with pytest.raises(ConversationBusyError, match="older turnlatch"):
            store.fork("talk", "new", 1)
    assert len(store.read("talk")) > 0
    store.close()

    assert path.read_bytes() == before


@pytest.mark.parametrize("version", OLD)
def test_an_older_lease_of_a_clock_that_was_ahead_is_over_in_time(
    version: int, path: Path
) -> None:
    _lease(_golden(version, path), FAR, NOW * 2)
    now = NOW
    store = SQLiteStore(path, clock=lambda: now)
    with pytest.raises(ConversationBusyError, match=f"{FAR} writes to it"):
        store.open("left")
    now += FORMATS[version].lasts

    assert store.open("left").sequence > 0
    store.close()


@pytest.mark.parametrize("version", OLD)
def test_an_older_turnlatch_that_has_the_file_open_writes_nothing_into_the_new_one(
    version: int, path: Path
) -> None:
    """What it asks before an append, and how it takes a lease: statements of then."""
    older = sqlite3.connect(_golden(version, path), isolation_level=None)
    holds = (
        "SELECT 1 FROM lease WHERE conversation = 5 AND epoch = 1 AND state = 'held'"
    )
    assert older.execute(holds).fetchone() == (1,)
    store = SQLiteStore(path)
    store.open("talk")
    after = _entries(path)

    assert older.execute(holds).fetchone() is None
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        older.execute(
            "INSERT OR REPLACE INTO lease (conversation, state, epoch, host, pid,"
            " started, boot, expires) VALUES (5, 'held', 2, 'h', 1, '', '', 1.0)"
        )
    older.close()
    assert _entries(path) == after
    store.close()


def test_a_newer_turnlatch_that_upgraded_an_open_file_is_noticed(path: Path) -> None:
    store = SQLiteStore(path)
    append_now(store.open("notes"), [RequestSent(1, 1)])
    newer = sqlite3.connect(path, isolation_level=None)
    newer.execute("UPDATE lease SET state = 'free'")
    newer.execute("PRAGMA user_version = 99")

    with pytest.raises(JournalVersionError, match="newer turnlatch"):
        store.open("other")
    with pytest.raises(JournalVersionError, match="newer turnlatch"):
        store.fork("notes", "other", 1)
    with pytest.raises(JournalVersionError, match="newer turnlatch"):
        store.conversations()
    newer.close()
    store.close()


# The upgrade, broken off.


class _Broken(sqlite3.Connection):
    """Fails before the nth statement of a transaction that writes."""

    left = 0

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if self.in_transaction and sql != "ROLLBACK":
            _Broken.left -= 1
            if not _Broken.left:
                error = sqlite3.OperationalError("planted")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
        return super().execute(sql, *arguments)


def _breaking(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, factory=_Broken)


@pytest.mark.parametrize("version", OLD)
def test_an_upgrade_that_fails_at_any_statement_has_changed_nothing(
    version: int, path: Path
) -> None:
    before, failed, at = _entries(_golden(version, path)), 0, 0
    while _format(path) == version:
        at += 1
        _Broken.left = 0
        store = SQLiteStore(path, connect=_breaking)
        list(store.read("talk"))
        _Broken.left = at
        try:
            store.open("talk")
        except JournalFullError:
            failed += 1
            assert _entries(path) == before
        _Broken.left = 0
        store.close()
    assert failed > 15
    assert _entries(path) == before


def _in_parts(connection: sqlite3.Connection, *rest: Any) -> None:
    """The planted bug: an upgrade that commits between its steps."""
    formats._from_1(connection, *rest)  # pyright: ignore[reportPrivateUsage]
    connection.execute("COMMIT")
    connection.execute("BEGIN IMMEDIATE")


def test_an_upgrade_in_parts_is_seen(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = attrs.evolve(FORMATS[1], upgrade=_in_parts)
    monkeypatch.setattr(schema, "FORMATS", {**FORMATS, 1: broken})

    with pytest.raises((AssertionError, JournalError)):
        test_an_upgrade_that_fails_at_any_statement_has_changed_nothing(1, path)


# What is not read.


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (
            NEWEST + 1,
            f"was written by a newer turnlatch (format {NEWEST + 1}); this one reads"
            f" formats {OLDEST} to {NEWEST}; upgrade turnlatch; the file was not touched",
        ),
        (
            OLDEST - 1,
            f"has format {OLDEST - 1}, which is older than what this turnlatch reads; this"
            f" one reads formats {OLDEST} to {NEWEST}; open it with the turnlatch that"
            " wrote it, or restore it from a backup; the file was not touched",
        ),
    ],
)
def test_newer_and_older_files_are_refused_with_different_errors(
    version: int, said: str, path: Path
) -> None:
    connection = sqlite3.connect(_golden(NEWEST, path), isolation_level=None)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = path.read_bytes()

    for use in (SQLiteStore, list_readonly):
        with pytest.raises(JournalVersionError) as raised:
            use(path)
        assert str(raised.value).endswith(said)
    assert path.read_bytes() == before


def test_unknown_kind_of_entry_needs_no_new_schema(path: Path) -> None:
    """The store can grow: that is what the golden store of format 1 could not."""
    store = SQLiteStore(_golden(NEWEST, path))
    journal = store.open("talk")
    end = journal.sequence
    append_now(journal, [RequestSent(9, 1)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(
        "UPDATE entry SET kind = 'of_tomorrow' WHERE sequence = ?", (end + 1,)
    )
    other.close()
    store.close()

    store = SQLiteStore(path)
    assert len(store.read("left")) > 0
    with pytest.raises(JournalError, match="entry"):
        store.read("talk")
    store.close()
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        sqlite3.connect(_golden(1, path)).execute(
            "UPDATE entry SET kind = 'of_tomorrow'"
        )


def test_the_head_file_is_the_same_before_and_after(path: Path) -> None:
    store = SQLiteStore(_golden(OLDEST, path))
    store.open("branch")
    store.close()
    connection = sqlite3.connect(path)
    id_ = schema.store_id(connection, "the store")
    connection.close()
    head, notices = open_head(f"{path}-head", id_, accept_loss=False)

    assert head is not None
    assert notices == ()
    assert len(head.everything()) == len(NAMES)
    head.close()

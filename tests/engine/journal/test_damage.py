"""A damaged record is refused; it is never read as something else or as something less.

Every check runs with planted damage. What is compared is content: a flipped bit that
changes no entry (a free page, a slack byte) may pass, one that does may not.
"""

import os
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

import pytest
from tests.around import append_now

from turnlatch.errors import (
    JournalCorruptError,
    JournalError,
    JournalVersionError,
    UnknownConversationError,
)
from turnlatch.journal import SQLiteStore, chain, codec
from turnlatch.journal.formats import FORMATS, NEWEST
from turnlatch.journal.tail_anchor import AnchorFile
from turnlatch.ports import Entry
from turnlatch_states.machine.events import Event, RequestSent

NAMES = ("notes", "branch")


class Child(Protocol):
    """A real process, as `conftest.py` makes it."""

    def hear(self) -> str: ...
    def say(self, line: str) -> None: ...
    def signal(self, number: int) -> None: ...
    def wait(self) -> None: ...


def _fill(store: SQLiteStore, events: tuple[Event, ...]) -> None:
    journal = store.open("notes")
    append_now(journal, events[:4])
    append_now(journal, events[4:])
    store.fork("notes", "branch", 5)
    append_now(store.open("branch"), [RequestSent(3, number) for number in range(1, 4)])


def _contents(path: Path) -> dict[str, list[Entry]]:
    store = SQLiteStore(path)
    try:
        return {name: list(store.read(name)) for name in NAMES}
    finally:
        store.close()


@pytest.fixture
def full(path: Path, events: tuple[Event, ...]) -> Path:
    """A closed store with two conversations, one a fork."""
    store = SQLiteStore(path)
    _fill(store, events)
    store.close()
    return path


@pytest.fixture
def killed(path: Path, events: tuple[Event, ...], child: Callable[..., Child]) -> Path:
    """The same, left behind by a process that was killed: all of it is in the log."""

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        _fill(SQLiteStore(path), events)
        say("full")
        hear()

    one = child(work)
    assert one.hear() == "full"
    one.signal(signal.SIGKILL)
    one.wait()
    assert (path.parent / "chat.db-wal").stat().st_size > 4096
    return path


def _copies(source: Path, folder: Path) -> Iterator[Path]:
    """Fresh copies of a store and the files beside it, one after another."""
    while True:
        target = Path(mkdtemp(dir=folder))
        for one in source.parent.glob("chat.db*"):
            if not one.name.endswith("-shm"):
                shutil.copy(one, target / one.name)
        yield target / "chat.db"
        shutil.rmtree(target)


def _verdict(path: Path, expected: dict[str, list[Entry]]) -> str:
    """same, refused, or silent: the one that must not be."""
    try:
        found = _contents(path)
    except JournalError:
        return "refused"
    return "same" if found == expected else "silent"


def test_flipped_bits_in_the_database_are_never_read_as_something_else(
    full: Path, tmp_path: Path
) -> None:
    expected = _contents(full)
    raw = full.read_bytes()
    copies = _copies(full, tmp_path)
    verdicts: list[str] = []
    used = [offset for offset in range(len(raw)) if raw[offset]]
    for index, offset in enumerate(used[:: max(1, len(used) // 500)]):
        copy = next(copies)
        spoiled = bytearray(raw)
        spoiled[offset] ^= 1 << index % 8
        copy.write_bytes(spoiled)
        verdicts.append(_verdict(copy, expected))

    assert verdicts.count("silent") == 0
    assert verdicts.count("refused") > 100


def test_flipped_bits_in_the_log_are_never_a_shorter_record(
    killed: Path, tmp_path: Path
) -> None:
    """SQLite drops every commit after such a bit, and says nothing."""
    log = killed.parent / "chat.db-wal"
    raw = log.read_bytes()
    copies = _copies(killed, tmp_path)
    expected = _contents(next(copies))
    refused = 0
    for offset in range(40, len(raw), max(1, len(raw) // 120)):
        copy = next(copies)
        spoiled = bytearray(raw)
        spoiled[offset] ^= 0x10
        (copy.parent / log.name).write_bytes(spoiled)
        verdict = _verdict(copy, expected)
        assert verdict != "silent", offset
        refused += verdict == "refused"

    assert refused > 50


def _read_nothing(head: AnchorFile, conversation: int) -> None:
    """A head file that is not asked."""


def test_without_the_anchor_the_log_would_lose_entries_in_silence(
    killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: the check above sees what the anchor is for."""
    monkeypatch.setattr(AnchorFile, "read", _read_nothing)
    log = killed.parent / "chat.db-wal"
    raw = log.read_bytes()
    copies = _copies(killed, tmp_path)
    expected = _contents(next(copies))
    verdicts: set[str] = set()
    for offset in range(len(raw) // 2, len(raw), len(raw) // 40):
        copy = next(copies)
        spoiled = bytearray(raw)
        spoiled[offset] ^= 0x10
        (copy.parent / log.name).write_bytes(spoiled)
        verdicts.add(_verdict(copy, expected))

    assert "silent" in verdicts


def test_cut_files_are_never_a_shorter_record(killed: Path, tmp_path: Path) -> None:
    for name in ("chat.db", "chat.db-wal"):
        source = killed.parent / name
        size = source.stat().st_size
        copies = _copies(killed, tmp_path)
        expected = _contents(next(copies))
        for keep in sorted({0, 1, 100, 512, *range(0, size, max(512, size // 40))}):
            copy = next(copies)
            os.truncate(copy.parent / name, keep)
            assert _verdict(copy, expected) != "silent", (name, keep)


@pytest.mark.parametrize("name", ["chat.db", "chat.db-wal"])
def test_removed_file_is_not_an_empty_store(killed: Path, name: str) -> None:
    (killed.parent / name).unlink()

    with pytest.raises(JournalError, match=r"truncated|exist"):
        _contents(killed)


def test_log_of_an_earlier_time_is_refused(
    path: Path, events: tuple[Event, ...], child: Callable[..., Child]
) -> None:
    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        journal = SQLiteStore(path).open("notes")
        for event in events:
            append_now(journal, [event])
            say("appended")
            hear()

    one = child(work)
    for number in range(len(events)):
        assert one.hear() == "appended"
        if number == 3:
            shutil.copy(f"{path}-wal", f"{path}-old")
        one.say("go on")
    one.wait()
    # A child that ends without closing leaves its log like one that was killed.
    if not os.path.exists(f"{path}-wal"):
        pytest.fail("the child closed its store")
    shutil.copy(f"{path}-old", f"{path}-wal")

    for _ in range(2):
        with pytest.raises(JournalCorruptError, match="anchor says 8, record ends at"):
            SQLiteStore(path)
    assert Path(f"{path}-wal").read_bytes() == Path(f"{path}-old").read_bytes()


_CHANGES = {
    "last entry removed": "DELETE FROM entry WHERE key = (SELECT max(key) FROM entry)",
    "entry removed": "DELETE FROM entry WHERE sequence = 3",
    "first entry removed": "DELETE FROM entry WHERE sequence = 1",
    "entry inherited removed": "DELETE FROM entry WHERE sequence = 5",
    "all removed": "DELETE FROM entry",
    "body": "UPDATE entry SET body = CAST(body || x'20' AS BLOB) WHERE sequence = 2",
    "kind": "UPDATE entry SET kind = 'compaction_sent' WHERE sequence = 3",
    "turn": "UPDATE entry SET turn = turn + 1 WHERE sequence = 3",
    "attempt": "UPDATE entry SET attempt = 7 WHERE sequence = 3",
    "meta": "UPDATE entry SET meta = x'7B7D' WHERE sequence = 6",
    "moved between columns": "UPDATE entry SET extra = body, body = x'' WHERE kind = 'turn_opened'",
    "epoch": "UPDATE entry SET epoch = 9 WHERE sequence = 3",
    "hash of the last": "UPDATE entry SET hash = zeroblob(32) WHERE sequence = 8",
    "swapped": "UPDATE entry SET key = CASE sequence WHEN 3 THEN key + 100 ELSE key END",
    "conversation renamed": "UPDATE conversation SET name = 'other' WHERE id = 1",
    "names swapped": "UPDATE conversation SET parent = NULL, fork_sequence = NULL, fork_hash = NULL",
    "forked elsewhere": "UPDATE conversation SET fork_sequence = 4 WHERE id = 2",
    "forked later": "UPDATE conversation SET fork_sequence = 6 WHERE id = 2",
    "fork hash": "UPDATE conversation SET fork_hash = zeroblob(32) WHERE id = 2",
}


@pytest.mark.parametrize("statement", _CHANGES.values(), ids=_CHANGES.keys())
def test_record_changed_with_plain_sql_is_refused(full: Path, statement: str) -> None:
    connection = sqlite3.connect(full, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(statement)
    connection.close()

    with pytest.raises((JournalCorruptError, UnknownConversationError)):
        _contents(full)
    store = SQLiteStore(full)
    before = store.conversations()
    with pytest.raises(JournalCorruptError):  # and it is not begun anew either
        [store.open(name) for name in NAMES]
    assert [one.entries for one in store.conversations()] == [
        one.entries for one in before
    ]
    store.close()


def test_conversation_whose_row_is_gone_is_not_left_out_in_silence(full: Path) -> None:
    connection = sqlite3.connect(full, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("DELETE FROM conversation WHERE id = 2")
    connection.close()
    store = SQLiteStore(full)

    with pytest.raises(JournalCorruptError, match="knows conversation 2"):
        store.conversations()
    with pytest.raises(JournalCorruptError, match="knows this conversation"):
        store.read("branch")
    assert len(store.read("notes")) > 0  # what is there is not held up
    store.close()
    for accept_loss in (True, False):  # what was accepted once is not said again
        store = SQLiteStore(full, accept_loss=accept_loss)
        assert [one.name for one in store.conversations()] == ["notes"]
        store.close()


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM conversation WHERE id = 1", "was forked off is missing"),
        ("UPDATE conversation SET parent = 2 WHERE id = 2", "contradicts itself"),
        ("UPDATE conversation SET parent = 0 WHERE id = 2", "contradicts itself"),
        (
            "UPDATE conversation SET fork_sequence = 0 WHERE id = 2",
            "contradicts itself",
        ),
    ],
)
def test_fork_whose_row_makes_no_sense_is_refused(
    full: Path, statement: str, problem: str
) -> None:
    connection = sqlite3.connect(full, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute(statement)
    connection.close()
    store = SQLiteStore(full)

    with pytest.raises(JournalCorruptError, match=problem):
        store.read("branch")
    store.close()


def test_name_that_the_index_finds_in_another_row_is_refused(full: Path) -> None:
    """The index and its table are two copies of a name; a flipped bit changes one."""
    raw = full.read_bytes()
    told: list[str] = []
    for found in re.finditer(b"notes", raw):
        full.write_bytes(raw[: found.start()] + b"nites" + raw[found.end() :])
        store = SQLiteStore(full)
        with pytest.raises(JournalCorruptError) as raised:
            store.read("notes")
        told.append(raised.value.problem)
        store.close()
    assert len(told) == 2
    assert "its row says 'nites'" in told


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM store",
        "INSERT INTO store (id) VALUES (randomblob(16))",
        "UPDATE store SET id = randomblob(15)",
        "UPDATE store SET id = NULL",
    ],
)
def test_store_without_its_own_id_is_refused(full: Path, statement: str) -> None:
    connection = sqlite3.connect(full, isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE store (id)' WHERE name = 'store'"
    )
    connection.close()
    connection = sqlite3.connect(full, isolation_level=None)
    connection.execute(statement)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_schema SET sql = ? WHERE name = 'store'",
        (FORMATS[NEWEST].schema["store"],),  # as it was
    )
    connection.close()

    with pytest.raises(JournalCorruptError, match="id is damaged"):
        SQLiteStore(full)


@pytest.mark.parametrize(
    ("kind", "meta"), [("turn_opened", 31522), ("turn_opened" * 9, b"")]
)
def test_entry_whose_columns_are_of_other_types_is_damaged(
    kind: str, meta: object
) -> None:
    """What a flipped bit in the header of its row makes of it; its hash is empty then."""
    row: Any = ((1 << 32) + 1, 1, 0, kind, 1, 0, meta, b"", b"", b"")

    with pytest.raises(JournalCorruptError, match="not what its hash says"):
        chain.diagnose([row], chain.genesis("notes"), 0, "conversation 'notes'")


def test_error_names_conversation_and_entry(full: Path) -> None:
    connection = sqlite3.connect(full, isolation_level=None)
    connection.execute("UPDATE entry SET turn = 2 WHERE sequence = 4")
    connection.close()
    store = SQLiteStore(full)

    with pytest.raises(JournalCorruptError) as raised:
        store.read("notes")
    store.close()

    assert raised.value.where == "conversation 'notes'"
    assert "entry 4 (turn_failed)" in raised.value.problem
    assert "backup" in raised.value.remedy


def test_entry_of_an_unknown_kind_is_of_a_newer_turnlatch(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hash is right, so nothing is damaged: this turnlatch cannot read it."""
    monkeypatch.delitem(chain._FORMS, "turn_failed")  # pyright: ignore[reportPrivateUsage] - a turnlatch without it
    readers = {k: v for k, v in codec.READERS.items() if k != "turn_failed"}
    monkeypatch.setattr(chain, "READERS", readers)
    store = SQLiteStore(full)

    with pytest.raises(JournalVersionError, match=r"entry 4 is of kind 'turn_failed'"):
        store.read("notes")
    store.close()


def test_intact_entry_with_wrong_facts_is_refused(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody recomputed the hashes: the codec is strict by itself."""
    connection = sqlite3.connect(full, isolation_level=None)
    rows = connection.execute(
        "SELECT epoch, at_ms, kind, turn, attempt, meta, body, extra FROM entry"
        " WHERE conversation = 1 ORDER BY key"
    ).fetchall()
    previous = chain.genesis("notes")
    for number, (epoch, at_ms, *row) in enumerate(rows, 1):
        if number == 4:
            row[3] = row[3].replace(b"529", b'"529"')
        previous = chain.link(previous, epoch, at_ms, codec.Row(*row))
        connection.execute(
            "UPDATE entry SET meta = ?, hash = ? WHERE key = ?",
            (row[3], previous, (1 << 32) + number),
        )
    connection.close()
    os.unlink(f"{full}-head")
    store = SQLiteStore(full)

    with pytest.raises(JournalCorruptError, match=r"entry 4 .*\$\.fault\.status"):
        store.read("notes")
    store.close()


def test_rewritten_history_is_refused(
    full: Path, path: Path, tmp_path: Path, events: tuple[Event, ...]
) -> None:
    """Its chain is in order; the anchor still knows the other one."""
    connection = sqlite3.connect(full, isolation_level=None)
    connection.execute("DELETE FROM entry WHERE conversation = 1 AND sequence > 5")
    previous, epoch = connection.execute(
        "SELECT hash, epoch FROM entry WHERE key = ?", ((1 << 32) + 5,)
    ).fetchone()
    for number in range(6, 9):
        row = codec.encode(RequestSent(5, number))
        previous = chain.link(previous, epoch, 0, row)
        connection.execute(
            "INSERT INTO entry"
            " (key, epoch, at_ms, kind, turn, attempt, meta, body, extra, hash)"
            " VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?)",
            ((1 << 32) + number, epoch, *row, previous),
        )
    connection.close()
    store = SQLiteStore(full)

    with pytest.raises(JournalCorruptError, match="entry 8 is not the one"):
        store.read("notes")
    store.close()


# The anchor.


def _lose_last(full: Path) -> None:
    connection = sqlite3.connect(full, isolation_level=None)
    connection.execute("DELETE FROM entry WHERE conversation = 1 AND sequence > 6")
    connection.close()


def test_accepted_loss_goes_on_from_what_is_left(
    full: Path, events: tuple[Event, ...]
) -> None:
    _lose_last(full)

    store = SQLiteStore(full, accept_loss=True)
    journal = store.open("notes")
    assert [one.event for one in journal.entries()] == list(events[:6])
    append_now(journal, [RequestSent(8, 1)])
    store.close()

    assert [one.event for one in _contents(full)["notes"]][6:] == [RequestSent(8, 1)]


def test_missing_head_file_is_recreated_and_reported(full: Path) -> None:
    os.unlink(f"{full}-head")
    store = SQLiteStore(full)
    assert any("created again" in notice for notice in store.notices)
    store.open("notes")
    store.close()
    _lose_last(full)

    with pytest.raises(JournalCorruptError, match="truncated"):
        _contents(full)


@pytest.mark.parametrize("offset", [0, 16, 40, 64, 80, 110])
def test_damaged_head_file_does_not_stand_in_the_way(full: Path, offset: int) -> None:
    expected = _contents(full)
    head = full.with_name("chat.db-head")
    raw = bytearray(head.read_bytes())
    raw[offset] ^= 0xFF
    head.write_bytes(raw)

    assert _contents(full) == expected


def test_anchor_that_is_behind_says_nothing(
    full: Path, events: tuple[Event, ...]
) -> None:
    """What a crash between the commit and the anchor leaves."""
    head = full.with_name("chat.db-head")
    raw = head.read_bytes()
    store = SQLiteStore(full)
    append_now(store.open("notes"), [RequestSent(2, 1)])
    store.close()
    head.write_bytes(raw)

    assert len(_contents(full)["notes"]) == len(events) + 1


def test_removed_database_is_not_silently_replaced(full: Path) -> None:
    full.unlink()

    with pytest.raises(JournalCorruptError, match="not in the database"):
        SQLiteStore(full)
    store = SQLiteStore(full, accept_loss=True)
    assert list(store.conversations()) == []
    store.close()
    SQLiteStore(full).close()


def test_database_of_another_store_is_refused(
    full: Path, tmp_path: Path, events: tuple[Event, ...]
) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "chat.db"
    store = SQLiteStore(other)
    _fill(store, events)
    store.close()
    shutil.copy(other, full)

    with pytest.raises(JournalCorruptError, match="head file"):
        SQLiteStore(full)


def test_bytes_written_for_a_turn_do_not_depend_on_the_history(path: Path) -> None:
    store = SQLiteStore(path, synchronous="NORMAL")
    journal = store.open("notes")
    log = Path(f"{path}-wal")
    connection = store._database.connection  # pyright: ignore[reportPrivateUsage] - to look at its log
    grown: list[int] = []
    for _ in range(8):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(20):
            append_now(journal, [RequestSent(1, number), RequestSent(2, number)])
        grown.append(log.stat().st_size)
        append_now(journal, [RequestSent(3, number) for number in range(400)])
    store.close()

    assert max(grown[1:]) <= 1.5 * min(grown[1:])

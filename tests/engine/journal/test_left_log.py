"""A store with a log beside it, left by a process that lives or was killed: what is
refused stays as it is, what is sound is used, and nobody else is disturbed."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.around import append_now
from tests.engine.journal.left import bytes_of, copied

from turnlatch.errors import JournalCorruptError
from turnlatch.journal import SQLiteStore
from turnlatch.journal import tail_anchor as anchor
from turnlatch.journal.database import connect
from turnlatch.journal.tail_anchor import name_digest
from turnlatch_states.machine.events import Event, RequestSent, TurnOpened


class Child(Protocol):
    """A real process, as `conftest.py` makes it."""

    def hear(self) -> str: ...
    def say(self, line: str) -> None: ...
    def wait(self) -> None: ...


Start = Callable[..., Child]

# Refusals of one conversation.


@pytest.fixture
def crashed(path: Path, events: tuple[Event, ...]) -> Path:
    """The copy of a living store."""
    store = SQLiteStore(path)
    append_now(store.open("notes"), events)
    folder = copied(path.parent, path.parent / "crashed")
    store.close()
    return folder


def _rewritten(path: Path, events: tuple[Event, ...], target: Path) -> Path:
    """The copy of a living store whose log has a sound frame with an unsound entry."""
    made: list[sqlite3.Connection] = []

    def connecting(uri: str) -> sqlite3.Connection:
        made.append(connect(uri))
        return made[-1]

    store = SQLiteStore(path, connect=connecting)
    append_now(store.open("notes"), events)
    made[0].execute("UPDATE entry SET turn = turn + 1 WHERE sequence = 3")
    copied(path.parent, target)
    store.close()
    return target


def test_hashes_that_do_not_add_up_leave_the_log(
    path: Path, events: tuple[Event, ...], tmp_path: Path
) -> None:
    """The end of the record is there, so the store opens; the conversation does not,
    however often it is tried, and takes no lease."""
    folder = _rewritten(path, events, tmp_path / "crashed")
    before = bytes_of(folder)
    store = SQLiteStore(folder / "chat.db")
    for _ in range(2):
        with pytest.raises(JournalCorruptError, match="entry 3"):
            store.open("notes")
        with pytest.raises(JournalCorruptError, match="entry 3"):
            store.read("notes")
    store.close()
    store.close()

    assert before["chat.db-wal"]
    assert bytes_of(folder) == before


def test_program_that_ends_with_the_refusal_leaves_the_log(
    path: Path, events: tuple[Event, ...], tmp_path: Path
) -> None:
    """Nobody closed the store: Python does, when it ends."""
    folder = _rewritten(path, events, tmp_path / "crashed")
    before = bytes_of(folder)
    program = (
        "import sys; from turnlatch.journal import SQLiteStore;"
        "store = SQLiteStore(sys.argv[1]); store.read('notes')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder / "chat.db")],
        check=False,
        capture_output=True,
        text=True,
    )

    assert "JournalCorruptError" in done.stderr
    assert bytes_of(folder) == before


def test_refused_conversation_of_a_store_without_a_log_is_not_written_to(
    path: Path, events: tuple[Event, ...]
) -> None:
    store = SQLiteStore(path)
    append_now(store.open("notes"), events)
    append_now(store.open("other"), events)
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DELETE FROM entry WHERE sequence > 6 AND conversation = 1")
    connection.close()
    before = bytes_of(path.parent)
    store = SQLiteStore(path)  # no log was left: other conversations are not held up
    with pytest.raises(JournalCorruptError, match="truncated"):
        store.open("notes")
    store.close()
    assert bytes_of(path.parent) == before

    store = SQLiteStore(path)
    with pytest.raises(JournalCorruptError, match="truncated"):
        store.open("notes")
    assert store.open("other").sequence == len(events)
    store.close()


def test_closing_after_a_refusal_keeps_what_others_wrote(
    path: Path, events: tuple[Event, ...]
) -> None:
    store = SQLiteStore(path)
    append_now(store.open("notes"), events)
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE entry SET turn = turn + 1 WHERE sequence = 3")
    connection.close()
    store = SQLiteStore(path)
    other = store.open("other")
    append_now(other, [RequestSent(1, 1)])
    with pytest.raises(JournalCorruptError):
        store.read("notes")
    append_now(other, [RequestSent(1, 2)])
    store.close()
    assert bytes_of(path.parent)["chat.db-wal"]

    store = SQLiteStore(path)
    assert store.open("other").sequence == 2
    store.close()
    assert not bytes_of(path.parent)["chat.db-wal"]


# What is refused as a whole, and how to get in all the same.


def _torn(folder: Path) -> None:
    log = folder / "chat.db-wal"
    log.write_bytes(log.read_bytes()[:-2000])


def test_accepted_loss_lets_the_user_in(crashed: Path) -> None:
    _torn(crashed)
    with pytest.raises(JournalCorruptError, match="accept_loss"):
        SQLiteStore(crashed / "chat.db")

    store = SQLiteStore(crashed / "chat.db", accept_loss=True)
    journal = store.open("notes")
    assert journal.sequence == 0
    append_now(journal, [RequestSent(1, 1)])
    store.close()
    store = SQLiteStore(crashed / "chat.db")
    assert [one.event for one in store.read("notes")] == [RequestSent(1, 1)]
    store.close()


def test_log_that_was_emptied_is_refused_every_time(crashed: Path) -> None:
    log = crashed / "chat.db-wal"
    good = log.read_bytes()
    log.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(JournalCorruptError, match="truncated"):
            SQLiteStore(crashed / "chat.db")
        assert log.read_bytes() == b""
    log.write_bytes(good)

    SQLiteStore(crashed / "chat.db").close()
    assert not log.exists()


def test_missing_conversation_is_reported_as_missing(
    crashed: Path, events: tuple[Event, ...]
) -> None:
    head, _ = anchor.open_head(
        str(crashed / "chat.db-head"), _store_id(crashed), accept_loss=False
    )
    assert head is not None
    head.write(7, name_digest("gone"), 3, bytes(32))
    head.close()
    before = bytes_of(crashed)

    with pytest.raises(JournalCorruptError, match="knows conversation 7") as raised:
        SQLiteStore(crashed / "chat.db")

    assert raised.value.where.endswith("chat.db")
    assert bytes_of(crashed) == before


def _store_id(folder: Path) -> bytes:
    return (folder / "chat.db-head").read_bytes()[16:32]


def test_fork_without_further_entries_is_whole(
    path: Path, events: tuple[Event, ...], tmp_path: Path
) -> None:
    """What was noted of them is their parent's entry, or their parent's parent's."""
    store = SQLiteStore(path)
    append_now(store.open("notes"), events)
    store.fork("notes", "branch", 5)
    store.fork("branch", "twig", 3)
    folder = copied(path.parent, tmp_path / "crashed")
    store.close()

    store = SQLiteStore(folder / "chat.db")
    assert [one.entries for one in store.conversations()] == [len(events), 5, 3]
    assert [store.open(name).sequence for name in ("twig", "branch")] == [3, 5]
    store.close()


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("headed", [True, False])
def test_log_without_its_database_is_kept(
    crashed: Path, events: tuple[Event, ...], *, empty: bool, headed: bool
) -> None:
    """SQLite removes the log of an empty database as soon as it looks at it."""
    main, head = crashed / "chat.db", crashed / "chat.db-head"
    good, anchors = main.read_bytes(), head.read_bytes()
    main.unlink()
    if empty:
        main.touch()
    if not headed:
        head.unlink()
    before = bytes_of(crashed)
    names = sorted(one.name for one in crashed.iterdir())

    with pytest.raises(JournalCorruptError, match=r"not in the database|still there"):
        SQLiteStore(main)
    assert bytes_of(crashed) == before
    assert sorted(one.name for one in crashed.iterdir()) == names
    main.write_bytes(good)
    head.write_bytes(anchors)
    store = SQLiteStore(main)
    assert len(store.read("notes")) == len(events)
    store.close()


def test_loss_of_the_database_can_be_accepted(crashed: Path) -> None:
    (crashed / "chat.db").unlink()

    store = SQLiteStore(crashed / "chat.db", accept_loss=True)
    assert list(store.conversations()) == []
    store.close()


# Other processes.


def test_living_writer_is_neither_mistaken_nor_disturbed(
    path: Path, child: Start
) -> None:
    """It appends all the while: what is noted is read before what is recorded."""

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        store = SQLiteStore(path, synchronous="NORMAL")
        journal = store.open("notes")
        append_now(journal, [RequestSent(1, 1)])
        say("begun")
        for number in range(2, 1500):
            append_now(
                journal, [TurnOpened(number, b"x" * 300), RequestSent(number, 1)]
            )
        say("done")
        hear()
        append_now(journal, [RequestSent(9999, 1)])
        store.close()
        say(str(journal.sequence))

    writer = child(work)
    assert writer.hear() == "begun"
    for _ in range(60):
        store = SQLiteStore(path, synchronous="NORMAL")
        assert len(store.read("notes")) > 0
        store.close()
    assert writer.hear() == "done"
    writer.say("go on")
    last = int(writer.hear())
    store = SQLiteStore(path)
    assert len(store.read("notes")) == last == 2998
    store.close()


def test_further_writers_do_not_disturb_a_living_one(path: Path, child: Start) -> None:
    """Each of them finds a log that somebody else began, and writes it again first."""

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        store = SQLiteStore(path, synchronous="NORMAL")
        journal = store.open("notes")
        append_now(journal, [RequestSent(1, 1)])
        say("begun")
        for number in range(2, 600):
            append_now(
                journal, [TurnOpened(number, b"x" * 300), RequestSent(number, 1)]
            )
        say(str(journal.sequence))
        store.close()

    writer = child(work)
    assert writer.hear() == "begun"
    for number in range(1, 31):
        store = SQLiteStore(path, synchronous="NORMAL")
        journal = store.open("other")
        append_now(journal, [RequestSent(number, 1)])
        assert journal.sequence == number
        store.close()
    last = int(writer.hear())
    writer.wait()
    store = SQLiteStore(path)
    notes = [one.event for one in store.read("notes")]
    other = [one.event for one in store.read("other")]
    store.close()

    assert len(notes) == last == 1197
    assert notes[-1] == RequestSent(599, 1)
    assert other == [RequestSent(number, 1) for number in range(1, 31)]


def test_refused_writer_leaves_the_living_writer_its_locks(
    path: Path, child: Start
) -> None:
    """Here the process that refuses has had two connections to the file at once."""

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        store = SQLiteStore(path)
        journal = store.open("notes")
        append_now(journal, [RequestSent(1, 1)])
        say("begun")
        while hear():
            append_now(journal, [RequestSent(1, 2)])
            say(str(journal.sequence))

    writer = child(work)
    assert writer.hear() == "begun"
    head = path.with_name("chat.db-head")
    good = head.read_bytes()
    left, _ = anchor.open_head(str(head), good[16:32], accept_loss=False)
    assert left is not None
    left.write(1, name_digest("notes"), 9, bytes(32))
    for number in range(2, 5):
        left.write(1, name_digest("notes"), 9, bytes(32))
        with pytest.raises(JournalCorruptError, match="anchor says 9"):
            SQLiteStore(path)
        writer.say("append")
        assert writer.hear() == str(number)
    left.close()

    store = SQLiteStore(path)
    assert len(store.read("notes")) == 4
    store.close()
    assert path.with_name("chat.db-wal").exists()


def test_entries_that_came_between_the_reading_and_the_lease_are_seen(
    path: Path, child: Start
) -> None:
    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        store = SQLiteStore(path)
        journal = store.open("notes")
        append_now(journal, [RequestSent(1, 1)])
        say("held")
        hear()
        append_now(journal, [RequestSent(1, 2)])
        store.close()
        say("given back")

    holder = child(work)
    assert holder.hear() == "held"
    asked: list[str] = []

    class Slow(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql == "BEGIN IMMEDIATE" and not asked:
                holder.say("append")
                asked.append(holder.hear())
            return super().execute(sql, *arguments)

    def make(uri: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, isolation_level=None, factory=Slow)

    store = SQLiteStore(path, connect=make)
    journal = store.open("notes")
    assert asked == ["given back"]
    assert journal.sequence == len(journal.entries()) == 2
    append_now(journal, [RequestSent(1, 3)])
    assert len(store.read("notes")) == 3
    store.close()

"""A handle whose store fails, or holds something else than the handle remembers."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from tests.around import append_now
from tests.engine.journal.test_faults import Made, failing

from turnlatch.errors import (
    JournalCorruptError,
    JournalError,
    StoreLockedError,
)
from turnlatch.journal import SQLiteStore, chain, codec, handle, schema
from turnlatch.journal.lock_waiting import at_once
from turnlatch.journal.strict import CodecError, structure
from turnlatch_states.machine.events import Event, RequestSent, TurnOpened
from turnlatch_states.request.profile import Profile


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


def test_entries_that_cannot_be_read_are_an_error_and_are_there_later(
    faulty: SQLiteStore, made: Made, events: tuple[Event, ...]
) -> None:
    journal = faulty.open("notes")
    append_now(journal, events, wait=0)
    made.fail("SELECT epoch", "before", failing(sqlite3.SQLITE_IOERR))

    with pytest.raises(JournalError):
        journal.entries()
    assert [one.event for one in journal.entries()] == list(events)


def test_entry_that_another_program_added_is_not_taken_for_ones_own(
    path: Path, events: tuple[Event, ...]
) -> None:
    """Its hash is right: the other program computed it."""
    store = SQLiteStore(path)
    journal = store.open("notes")
    append_now(journal, events[:2], wait=0)
    connection = sqlite3.connect(path, isolation_level=None)
    (key, digest) = connection.execute(
        "SELECT key, hash FROM entry ORDER BY key DESC LIMIT 1"
    ).fetchone()
    row = codec.encode(RequestSent(1, 1))
    digest = chain.link(digest, 1, 0, row)
    connection.execute(
        "INSERT INTO entry (key, epoch, at_ms, kind, turn, attempt, meta, body, extra,"
        " hash) VALUES (?, 1, 0, ?, ?, ?, ?, ?, ?, ?)",
        (key + 1, *row, digest),
    )
    connection.close()

    with pytest.raises(JournalCorruptError, match="changed under us"):
        journal.entries(1)
    with pytest.raises(JournalError) as raised:
        append_now(journal, [RequestSent(1, 1)], wait=0)
    assert raised.value.outcome_unknown
    store.close()


def test_entry_that_is_gone_is_missed_by_what_comes_after_it(
    path: Path, events: tuple[Event, ...]
) -> None:
    store = SQLiteStore(path)
    journal = store.open("notes")
    append_now(journal, events, wait=0)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DELETE FROM entry WHERE sequence = 3")
    connection.close()

    with pytest.raises(JournalCorruptError, match="entry 3 is missing"):
        journal.entries(3)
    store.close()


def test_entries_that_are_intact_one_by_one_and_not_together_are_damaged() -> None:
    with pytest.raises(JournalCorruptError, match="hashes do not add up"):
        chain.diagnose([], chain.genesis("notes"), 0, "conversation 'notes'")


def test_conversation_that_used_up_its_numbers_takes_no_more(
    faulty: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "SEQUENCE_MAX", 2)
    journal = faulty.open("notes")
    append_now(journal, [TurnOpened(1, b""), RequestSent(1, 1)], wait=0)

    with pytest.raises(JournalError, match="has no more numbers"):
        append_now(journal, [RequestSent(1, 2)], wait=0)
    assert journal.sequence == 2


def test_log_that_cannot_be_forced_to_disk_is_built_upon_by_no_append(
    faulty: SQLiteStore, made: Made
) -> None:
    first, second = faulty.open("first"), faulty.open("second")
    append_now(first, [RequestSent(1, 1)], wait=0)
    made.fail("COMMIT", "before", failing(sqlite3.SQLITE_BUSY))
    with pytest.raises(JournalError):
        append_now(first, [RequestSent(1, 2)], wait=0)
    made.fail("BEGIN IMMEDIATE", "before", failing(sqlite3.SQLITE_IOERR))

    with pytest.raises(JournalError) as raised:
        append_now(second, [RequestSent(1, 1)], wait=0)
    assert not raised.value.outcome_unknown
    append_now(second, [RequestSent(1, 1)], wait=0)
    assert [one.event for one in faulty.read("second")] == [RequestSent(1, 1)]


def test_interrupt_after_everything_was_done_leaves_it_done(
    faulty: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = faulty.open("notes")
    advance = handle.SQLiteJournal._advance  # pyright: ignore[reportPrivateUsage] - where the interrupt comes

    def interrupted(self: handle.SQLiteJournal, last: int, head: bytes) -> None:
        advance(self, last, head)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(handle.SQLiteJournal, "_advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            append_now(journal, [RequestSent(1, 1)], wait=0)
    append_now(journal, [RequestSent(1, 2)], wait=0)

    assert [one.event for one in journal.entries()] == [
        RequestSent(1, 1),
        RequestSent(1, 2),
    ]


@pytest.mark.parametrize("waits", [True, False])
def test_lease_that_a_lock_kept_from_being_given_back_is_given_back_later(
    path: Path, waits: bool
) -> None:
    store = SQLiteStore(path, wait=0)
    journal = store.open("notes")
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    if waits:
        journal.close()  # says nothing; the next writer finds out
    else:
        with at_once(), pytest.raises(StoreLockedError):
            journal.close()
    locker.execute("ROLLBACK")
    (held,) = locker.execute("SELECT state FROM lease").fetchone()
    journal.close()
    (then,) = locker.execute("SELECT state FROM lease").fetchone()
    locker.close()
    store.close()

    assert (held, then) == ("held", "held" if waits else "free")


def test_opening_that_fails_when_the_lease_is_taken_gives_it_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Thread) -> None:
        raise RuntimeError("can't start new thread")

    store = SQLiteStore(path, renew=True)
    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refused)
        with pytest.raises(RuntimeError):
            store.open("notes")
    other = sqlite3.connect(path, isolation_level=None)
    assert other.execute("SELECT state FROM lease").fetchall() == [("free",)]
    other.close()

    store.open("notes").close()
    store.close()


def test_store_whose_file_was_replaced_is_not_opened_again(
    faulty: SQLiteStore, made: Made, tmp_path: Path
) -> None:
    journal = faulty.open("notes")
    append_now(journal, [RequestSent(1, 1)], wait=0)
    copy = tmp_path / "copy"
    shutil.copy(faulty.path, copy)
    os.replace(copy, faulty.path)
    made.fail("COMMIT", "before", failing(sqlite3.SQLITE_IOERR))

    with pytest.raises(JournalError) as raised:
        append_now(journal, [RequestSent(1, 2)], wait=0)
    assert raised.value.outcome_unknown
    with pytest.raises(JournalError, match="is not the file any more"):
        faulty.read("notes")


def test_transaction_that_sqlite_ended_by_itself_is_not_ended_twice() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with schema.reading(connection):
        connection.execute("ROLLBACK")
    with schema.reading(connection):
        assert connection.in_transaction
    assert not connection.in_transaction
    connection.close()


def test_facts_of_another_type_than_an_object_are_refused() -> None:
    with pytest.raises(CodecError) as raised:
        structure("opened", [], Profile)  # type: ignore[arg-type]
    assert (raised.value.path, raised.value.problem) == (
        "$",
        "expected an object, found list",
    )

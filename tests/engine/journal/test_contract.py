"""Our stores beyond the conformance suite: edges, and the words of their refusals."""

import gc
import sqlite3
from collections.abc import Sequence
from typing import Any, cast

import pytest
from tests.around import append_now

from turnlatch.errors import (
    ConversationBusyError,
    JournalError,
    UnknownConversationError,
)
from turnlatch.journal import MemoryStore, SQLiteStore
from turnlatch.ports import Entry, Store
from turnlatch_states.machine.events import Event, RequestSent


def _events(entries: Sequence[Entry]) -> list[Event]:
    return [entry.event for entry in entries]


def test_the_refusals_of_a_store_say_what_is_wrong(
    store: Store, events: tuple[Event, ...]
) -> None:
    """Which acts are refused, and that they change nothing, is the suite's."""
    journal = store.open("notes")
    wrong = RequestSent(cast("Any", "1"), 1)
    with pytest.raises(JournalError, match=r"turn.*nothing was appended"):
        append_now(journal, [*events, wrong])
    append_now(journal, events)
    with pytest.raises(ConversationBusyError, match="'notes'"):
        store.open("notes")
    with pytest.raises(UnknownConversationError, match="'nobody'"):
        store.read("nobody")
    with pytest.raises(JournalError, match="name"):
        store.open("")
    with pytest.raises(JournalError, match="no entry 9"):
        store.fork("notes", "branch", 9)
    with pytest.raises(JournalError, match="exists"):
        store.fork("notes", "notes", 1)
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        append_now(journal, [RequestSent(1, 1)])
    with pytest.raises(JournalError, match="closed"):
        journal.entries()
    store.close()
    with pytest.raises(JournalError, match="closed"):
        store.read("notes")


def test_handle_that_was_dropped_does_not_block(store: Store) -> None:
    journal = store.open("notes")
    append_now(journal, [RequestSent(1, 1)])
    del journal
    gc.collect()

    assert store.open("notes").sequence == 1


def test_forks_of_forks_are_resolved(store: Store, events: tuple[Event, ...]) -> None:
    append_now(store.open("a"), events)
    store.fork("a", "b", 6)
    append_now(store.open("b"), [RequestSent(7, 1), RequestSent(8, 1)])
    store.fork("b", "below", 7)
    store.fork("b", "above", 4)
    store.fork("b", "at", 6)
    store.fork("above", "again", 2)
    append_now(store.open("again"), [RequestSent(3, 3)])
    store.fork("again", "last", 3)

    assert _events(store.read("below")) == [*events[:6], RequestSent(7, 1)]
    assert _events(store.read("above")) == list(events[:4])
    assert _events(store.read("at")) == list(events[:6])
    assert _events(store.read("again")) == [*events[:2], RequestSent(3, 3)]
    assert _events(store.read("last")) == [*events[:2], RequestSent(3, 3)]
    journal = store.open("below")
    for after in range(8):
        found = [entry.sequence for entry in journal.entries(after)]
        assert found == list(range(after + 1, 8))


def test_listing_names_the_writer_of_each_conversation(
    store: Store, events: tuple[Event, ...]
) -> None:
    journal = store.open("z")
    append_now(journal, events)
    store.fork("z", "a", 2)
    journal.close()
    again = store.open("z")

    first, second = store.conversations()

    assert (first.name, first.entries, first.parent, first.epoch) == ("z", 8, None, 2)
    assert first.holder
    assert (second.name, second.entries, second.parent) == ("a", 2, "z")
    assert (second.holder, second.epoch) == (None, 0)
    again.close()
    assert store.conversations()[0].holder is None


def test_a_holder_is_seen_without_reading_the_record(
    store: SQLiteStore | MemoryStore, events: tuple[Event, ...]
) -> None:
    with pytest.raises(UnknownConversationError):
        store.holder("notes")
    journal = store.open("notes")
    append_now(journal, events)
    listed = {one.name: one.holder for one in store.conversations()}

    assert store.holder("notes") == listed["notes"] is not None
    journal.close()
    assert store.holder("notes") is None


def test_a_store_in_memory_lives_as_long_as_its_last_handle() -> None:
    store = MemoryStore()
    connection = store._database.connection  # pyright: ignore[reportPrivateUsage] - is it closed?
    journal = store.open("notes")
    del store
    gc.collect()
    append_now(journal, [RequestSent(1, 1)])
    assert len(journal.entries()) == 1

    del journal
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")

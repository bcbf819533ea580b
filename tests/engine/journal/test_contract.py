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


@pytest.mark.parametrize("after", [-1, 0, 1, 4, 7, 8, 9])
def test_entries_after_a_sequence_are_the_rest(
    store: Store, events: tuple[Event, ...], after: int
) -> None:
    journal = store.open("notes")
    append_now(journal, events)

    assert _events(journal.entries(after)) == list(events[max(after, 0) :])


def test_event_that_cannot_be_recorded_leaves_nothing_of_its_batch(
    store: Store, events: tuple[Event, ...]
) -> None:
    journal = store.open("notes")
    wrong = RequestSent(cast("Any", "1"), 1)

    with pytest.raises(JournalError, match=r"turn.*nothing was appended") as raised:
        append_now(journal, [*events, wrong])
    assert not raised.value.outcome_unknown
    assert journal.sequence == 0

    append_now(journal, events)
    assert _events(journal.entries()) == list(events)


def test_second_handle_is_refused_and_the_first_still_works(store: Store) -> None:
    journal = store.open("notes")

    with pytest.raises(ConversationBusyError, match="'notes'"):
        store.open("notes")
    append_now(journal, [RequestSent(1, 1)])

    assert len(store.read("notes")) == 1


def test_closed_handle_appends_nothing_and_says_so(store: Store) -> None:
    journal = store.open("notes")
    journal.close()
    journal.close()

    with pytest.raises(JournalError, match="closed"):
        append_now(journal, [RequestSent(1, 1)])
    with pytest.raises(JournalError, match="closed"):
        journal.entries()
    assert list(store.read("notes")) == []


def test_handle_that_was_dropped_does_not_block(store: Store) -> None:
    journal = store.open("notes")
    append_now(journal, [RequestSent(1, 1)])
    del journal
    gc.collect()

    assert store.open("notes").sequence == 1


def test_closed_store_closes_its_handles(store: Store) -> None:
    journal = store.open("notes")
    store.close()
    store.close()

    with pytest.raises(JournalError, match="closed"):
        append_now(journal, [RequestSent(1, 1)])
    with pytest.raises(JournalError, match="closed"):
        store.open("notes")
    with pytest.raises(JournalError, match="closed"):
        store.read("notes")


def test_unknown_conversation_is_not_made_by_reading(store: Store) -> None:
    with pytest.raises(UnknownConversationError, match="'nobody'"):
        store.read("nobody")
    with pytest.raises(UnknownConversationError):
        store.fork("nobody", "fork", 1)

    assert list(store.conversations()) == []


@pytest.mark.parametrize(
    "name", ["", "a\0b", "\ud800", "x" * 201, cast("str", 5), cast("str", None)]
)
def test_illegal_conversation_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(JournalError, match="name"):
        store.open(name)
    with pytest.raises(JournalError, match="name"):
        store.read(name)


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


@pytest.mark.parametrize("sequence", [-1, 0, 9, 2**40])
def test_fork_at_no_entry_is_refused(
    store: Store, events: tuple[Event, ...], sequence: int
) -> None:
    append_now(store.open("notes"), events)

    with pytest.raises(JournalError, match=f"no entry {sequence}"):
        store.fork("notes", "branch", sequence)
    assert [one.name for one in store.conversations()] == ["notes"]


def test_fork_onto_a_name_that_exists_is_refused(
    store: Store, events: tuple[Event, ...]
) -> None:
    append_now(store.open("notes"), events)

    with pytest.raises(JournalError, match="exists"):
        store.fork("notes", "notes", 1)


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

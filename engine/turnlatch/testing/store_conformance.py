"""The promises of `turnlatch.ports.Store` and `Journal`, as tests to inherit."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any, Final

from turnlatch.errors import (
    ConversationBusyError,
    JournalError,
    SettingsError,
    UnknownConversationError,
)
from turnlatch.ports import Entry, Journal, Store
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import (
    CallClosed,
    CallStarted,
    ConversationOpened,
    Event,
    Forked,
    ReplyConfirmed,
    RequestSent,
    TurnFailed,
    TurnOpened,
)
from turnlatch_states.request.profile import Profile

RECORDED: Final[tuple[Event, ...]] = (
    ConversationOpened(Profile("claude-sonnet-5-5", 1024, (("system", b'"Be kind"'),))),
    TurnOpened(1, b'{"type":"text","text":"hello"}', key="k-1"),
    RequestSent(1, 1),
    TurnFailed(1, 1, Fault(FaultKind.TRANSIENT, "overloaded", status=529)),
    RequestSent(1, 2),
    ReplyConfirmed(
        1, 2, Reply(b'{"type":"text","text":"\\ud83d hi"}', b'{"id": "msg_1" }')
    ),
    CallStarted(1, "toolu_1", "key-1"),
    CallClosed(1, "toolu_1", Closing.RESULT, b'{"type":"tool_result"}', b"\0\xffraw"),
)
"""Eight events of one conversation, of seven kinds, with bytes that are not text."""


def events_of(entries: Sequence[Entry]) -> list[Event]:
    """The events of entries, in order."""
    return [entry.event for entry in entries]


def same(found: object, expected: object, told: str) -> None:
    """Fail unless two values are equal.

    Raises:
        AssertionError: They are not.
    """
    if found != expected:
        raise AssertionError(f"{told}: expected {expected!r}, found {found!r}")


def refused(
    kind: type[JournalError], act: Callable[[], object], told: str
) -> JournalError:
    """The error that an act is refused with.

    Raises:
        AssertionError: It is not refused, or with an error of another class.
    """
    try:
        act()
    except kind as error:
        return error
    except Exception as error:
        name = type(error).__name__
        raise AssertionError(
            f"{told}: expected {kind.__name__}, found {name}: {error}"
        ) from error
    raise AssertionError(f"{told}: expected {kind.__name__}, and it was done")


class StoreConformance:
    """The promises of every store. Inherit it in a test module, and say how to make one:

        class TestMyStore(StoreConformance):
            def make_store(self):
                return MyStore(new_empty_database())

            def reopen_store(self, store):
                store.close()
                return MyStore(store.database)

    pytest collects the tests by their names; no fixture and no plugin is needed.
    """

    def make_store(self) -> Store:
        """A new, empty store; called once for each test."""
        raise SettingsError(
            "make_store",
            f"{type(self).__name__} does not say how to make a store",
            "define make_store(self), which returns a new, empty store",
        )

    def reopen_store(self, store: Store) -> Store:
        """Close the store, and open what it has stored, as another process would.

        The default returns the store as it is, for one in memory.
        """
        return store

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run one append to its end; override it for another event loop."""
        asyncio.run(work)

    @contextlib.contextmanager
    def stored(self) -> Generator[Store]:
        """A new store, closed at the end."""
        store = self.make_store()
        try:
            yield store
        finally:
            store.close()

    def append(self, journal: Journal, *events: Event) -> None:
        """Append events in one batch."""
        self.run(journal.append(events))

    def conversation(self, store: Store, name: str, *events: Event) -> None:
        """Make a conversation with these events, written one by one, and let go of it."""
        journal = store.open(name)
        for event in events:
            self.append(journal, event)
        journal.close()

    # One conversation.

    def test_a_new_conversation_is_empty(self) -> None:
        """A new conversation is empty."""
        with self.stored() as store:
            journal = store.open("notes")
            same(journal.name, "notes", "the name")
            same(journal.sequence, 0, "the sequence of a new conversation")
            same(list(journal.entries()), [], "its entries")

    def test_events_come_back_in_order_and_equal(self) -> None:
        """Events come back in order and equal."""
        with self.stored() as store:
            journal = store.open("notes")
            self.append(journal, *RECORDED)
            same(events_of(journal.entries()), [*RECORDED], "the entries")
            same(events_of(store.read("notes")), [*RECORDED], "the entries as read")

    def test_entries_are_numbered_from_one_without_gaps(self) -> None:
        """Entries are numbered from one without gaps."""
        with self.stored() as store:
            journal = store.open("notes")
            self.append(journal, *RECORDED[:2])
            self.append(journal, RECORDED[2])
            same(journal.sequence, 3, "the sequence after three events")
            for entries in (journal.entries(), store.read("notes")):
                same([one.sequence for one in entries], [1, 2, 3], "the numbers")

    def test_entries_after_a_sequence_are_the_rest(self) -> None:
        """Entries after a sequence are the rest."""
        with self.stored() as store:
            journal = store.open("notes")
            for event in RECORDED[:4]:
                self.append(journal, event)
            for after in range(1, 6):
                found = events_of(journal.entries(after))
                same(found, [*RECORDED[after:4]], f"the entries after {after}")

    def test_appended_events_are_durable_when_append_returns(self) -> None:
        """No close comes between the append and the reader, or the next process."""
        with self.stored() as store:
            self.append(store.open("notes"), *RECORDED[:2])
            same(events_of(store.read("notes")), [*RECORDED[:2]], "the entries as read")
            again = self.reopen_store(store)
            try:
                found = events_of(again.read("notes"))
                same(
                    found, [*RECORDED[:2]], "the entries once the store is opened again"
                )
            finally:
                again.close()

    def test_an_append_is_all_or_nothing(self) -> None:
        """An append is all or nothing."""
        with self.stored() as store:
            journal = store.open("notes")
            turn: Any = "not a number"
            batch = (*RECORDED[:2], RequestSent(turn, 1))
            error = refused(
                JournalError,
                lambda: self.append(journal, *batch),
                "a batch with an event that cannot be recorded",
            )
            same(error.outcome_unknown, False, "whether the outcome is unknown")
            same(journal.sequence, 0, "the sequence after a refused batch")
            same(list(journal.entries()), [], "the entries after a refused batch")
            self.append(journal, RECORDED[0])
            same(events_of(store.read("notes")), [RECORDED[0]], "the next append")

    def test_appending_nothing_changes_nothing(self) -> None:
        """Appending nothing changes nothing."""
        with self.stored() as store:
            journal = store.open("notes")
            self.append(journal)
            same(journal.sequence, 0, "the sequence after an append of nothing")

    def test_a_conversation_that_is_opened_again_goes_on(self) -> None:
        """A conversation that is opened again goes on."""
        with self.stored() as store:
            self.conversation(store, "notes", *RECORDED[:2])
            journal = store.open("notes")
            same(journal.sequence, 2, "the sequence of a conversation with two entries")
            self.append(journal, RECORDED[2])
            same(events_of(journal.entries()), [*RECORDED[:3]], "the entries")

    # Writers.

    def test_a_second_writer_is_refused_and_the_first_goes_on(self) -> None:
        """A second writer is refused and the first goes on."""
        with self.stored() as store:
            journal = store.open("notes")
            told = "a second writer of the same conversation"
            refused(ConversationBusyError, lambda: store.open("notes"), told)
            self.append(journal, RECORDED[0])
            same(len(store.read("notes")), 1, "the number of entries")

    def test_a_closed_journal_is_refused(self) -> None:
        """A closed journal is refused."""
        with self.stored() as store:
            journal = store.open("notes")
            journal.close()
            journal.close()
            refused(
                JournalError,
                lambda: self.append(journal, RECORDED[0]),
                "an append to a closed journal",
            )
            same(list(store.read("notes")), [], "the entries")

    def test_a_closed_store_is_refused_and_its_journals_are_closed(self) -> None:
        """A closed store is refused and its journals are closed."""
        with self.stored() as store:
            journal = store.open("notes")
            store.close()
            store.close()
            refused(
                JournalError,
                lambda: self.append(journal, RECORDED[0]),
                "an append to a journal of a closed store",
            )
            refused(JournalError, lambda: store.open("notes"), "open, once closed")
            refused(JournalError, lambda: store.read("notes"), "read, once closed")

    # Names.

    def test_an_unknown_conversation_is_not_made_by_reading(self) -> None:
        """An unknown conversation is not made by reading."""
        with self.stored() as store:
            told = "a conversation that does not exist"
            refused(UnknownConversationError, lambda: store.read("nothing"), told)
            same(list(store.conversations()), [], "the conversations")

    def test_a_name_that_cannot_be_one_is_refused(self) -> None:
        """A name that cannot be one is refused."""
        given: tuple[Any, ...] = ("", "a\0b", "\ud800", "x" * 201, 5, None)
        with self.stored() as store:
            for name in given:
                told = f"the name {name!r}"
                refused(JournalError, partial(store.open, name), told)
                refused(JournalError, partial(store.read, name), told)

    def test_any_other_text_is_a_name(self) -> None:
        """Any other text is a name."""
        given = ("../../x", "%2e%2e", "CON", "a/b", "ä", "Ä", "\n", "x" * 200, "'--")
        with self.stored() as store:
            for name in given:
                self.conversation(store, name, RECORDED[0])
            found = sorted(one.name for one in store.conversations())
            same(found, sorted(given), "the conversations")

    # Forks.

    def test_a_fork_begins_with_the_first_entries_of_its_parent(self) -> None:
        """A fork begins with the first entries of its parent."""
        with self.stored() as store:
            self.conversation(store, "notes", *RECORDED[:4])
            store.fork("notes", "branch", 2)
            same(events_of(store.read("branch")), [*RECORDED[:2]], "the fork")

    def test_a_fork_and_its_parent_go_their_own_ways(self) -> None:
        """A fork and its parent go their own ways."""
        with self.stored() as store:
            parent = store.open("notes")
            self.append(parent, RECORDED[0])
            store.fork("notes", "branch", 1)
            self.append(parent, RECORDED[1])
            self.append(store.open("branch"), Forked("notes", 1))
            same(
                events_of(store.read("branch")),
                [RECORDED[0], Forked("notes", 1)],
                "the fork after both were written to",
            )
            same(events_of(store.read("notes")), [*RECORDED[:2]], "the parent")

    def test_a_fork_of_a_fork_has_what_both_inherit(self) -> None:
        """A fork of a fork has what both inherit."""
        with self.stored() as store:
            self.conversation(store, "a", *RECORDED[:2])
            store.fork("a", "b", 2)
            self.conversation(store, "b", RECORDED[2])
            store.fork("b", "c", 3)
            same(events_of(store.read("c")), [*RECORDED[:3]], "the fork of a fork")

    def test_a_fork_at_no_entry_is_refused(self) -> None:
        """A fork at no entry is refused."""
        with self.stored() as store:
            self.conversation(store, "notes", *RECORDED[:2])
            for at in (-1, 0, 3, 2**40):
                act = partial(store.fork, "notes", "branch", at)
                refused(JournalError, act, f"a fork at entry {at} of 2")
            same([one.name for one in store.conversations()], ["notes"], "the list")

    def test_a_fork_of_nothing_is_refused(self) -> None:
        """A fork of nothing is refused."""
        with self.stored() as store:
            refused(
                UnknownConversationError,
                lambda: store.fork("nothing", "branch", 1),
                "a fork of a conversation that does not exist",
            )

    def test_a_fork_onto_a_name_that_exists_is_refused(self) -> None:
        """A fork onto a name that exists is refused."""
        with self.stored() as store:
            self.conversation(store, "notes", *RECORDED[:2])
            self.conversation(store, "other", RECORDED[2])
            act = partial(store.fork, "notes", "other", 1)
            refused(JournalError, act, "a fork onto another conversation")
            same(events_of(store.read("other")), [RECORDED[2]], "the other one")

    # The list.

    def test_conversations_are_listed_oldest_first_with_their_entries(self) -> None:
        """Conversations are listed oldest first with their entries."""
        with self.stored() as store:
            self.conversation(store, "z", *RECORDED[:3])
            store.fork("z", "a", 3)
            found = [
                (one.name, one.entries, one.parent) for one in store.conversations()
            ]
            same(found, [("z", 3, None), ("a", 3, "z")], "the list")

    def test_the_list_shows_who_writes_and_counts_the_writers(self) -> None:
        """The list shows who writes and counts the writers."""
        with self.stored() as store:
            self.conversation(store, "notes", RECORDED[0])
            journal = store.open("notes")
            (held,) = store.conversations()
            same(held.epoch, 2, "the epoch of the second writer")
            same(bool(held.holder), True, "whether the holder of a lease is shown")
            journal.close()
            (free,) = store.conversations()
            same(free.holder, None, "the holder of a conversation that is free")

"""Stores that break one promise each."""

from collections.abc import Sequence

from tests.engine.testing.listed import ListedJournal, ListedStore, Record

from turnlatch.ports import Entries, Entry, Listing
from turnlatch.testing.conformance import StoreConformance
from turnlatch_states.machine.events import Event, RequestSent


class Nameless(ListedJournal):
    @property
    def name(self) -> str:
        return "a conversation"


class OutOfOrder(ListedJournal):
    async def append(self, events: Sequence[Event]) -> None:
        mixed = [*events[:-2], *events[-2:][::-1]] if len(events) > 3 else events
        await super().append(mixed)


class WrongSequence(ListedJournal):
    def entries(self, after: int = 0) -> Sequence[Entry]:
        return Entries([one.event for one in super().entries(after)], after + 7)


class OneTooMany(ListedJournal):
    def entries(self, after: int = 0) -> Sequence[Entry]:
        return super().entries(max(after - 1, 0))


class Torn(ListedJournal):
    async def append(self, events: Sequence[Event]) -> None:
        self.check()
        for event in events:
            self.encoded(event)
            self.record.own.append(event)


class Padding(ListedJournal):
    async def append(self, events: Sequence[Event]) -> None:
        await super().append(events or [RequestSent(1, 1)])


class StartsAgain(ListedJournal):
    """It counts only what it has written itself."""

    @property
    def sequence(self) -> int:
        return 0 if self.record.epoch > 1 else super().sequence


class WritesWhenClosed(ListedJournal):
    def check(self) -> None:
        if self.store.closed:
            super().check()


class TwoWriters(ListedStore):
    def take(self, record: Record) -> None:
        pass


class NeverCloses(ListedStore):
    def close(self) -> None:
        pass


class MadeByReading(ListedStore):
    def found(self, name: str) -> Record:
        if name == "nothing" and name not in self.records:
            self.open(name).close()
        return super().found(name)

    def fork(self, parent: str, name: str, sequence: int) -> None:
        ListedStore.found(self, parent)
        super().fork(parent, name, sequence)


class AnyName(ListedStore):
    def check_name(self, name: object) -> None:
        if name != "":
            super().check_name(name)


class OneCase(ListedStore):
    def key(self, name: str) -> str:
        return name.lower()


class CopiesAll(ListedStore):
    """A fork that copies its parent, whatever entry it is to end at."""

    def fork(self, parent: str, name: str, sequence: int) -> None:
        super().fork(parent, name, sequence)
        self.records[name].inherited = self.records[parent].events


class SharedLater(ListedStore):
    """A fork that goes on with its parent."""

    def fork(self, parent: str, name: str, sequence: int) -> None:
        super().fork(parent, name, sequence)
        before = self.records[parent]
        if sequence == len(before.events) and before.parent is None:
            self.records[name].inherited = before.own


class ForgetsGrandparents(ListedStore):
    def fork(self, parent: str, name: str, sequence: int) -> None:
        super().fork(parent, name, sequence)
        own = self.records[parent].own
        if self.records[parent].parent is not None:
            self.records[name].inherited = list(own)


class ForksAnywhere(ListedStore):
    def fork(self, parent: str, name: str, sequence: int) -> None:
        size = len(self.found(parent).events)
        super().fork(parent, name, min(max(sequence, 1), size))


class ForksNothing(ListedStore):
    def fork(self, parent: str, name: str, sequence: int) -> None:
        if parent in self.records:
            super().fork(parent, name, sequence)


class Overwrites(ListedStore):
    def fork(self, parent: str, name: str, sequence: int) -> None:
        self.records.pop(name, None)
        super().fork(parent, name, sequence)


class ByName(ListedStore):
    def conversations(self) -> Sequence[Listing]:
        return sorted(super().conversations(), key=lambda one: one.name)


class UncountedWriters(ListedStore):
    def conversations(self) -> Sequence[Listing]:
        listed = super().conversations()
        return [
            Listing(one.name, one.entries, one.parent, one.holder) for one in listed
        ]


class LosesTheLast(StoreConformance):
    """Opened again, it has lost the last entry."""

    def make_store(self) -> ListedStore:
        return ListedStore()

    def reopen_store(self, store: object) -> ListedStore:
        assert isinstance(store, ListedStore)
        store.close()
        for record in store.records.values():
            record.own = record.own[:-1]
        return ListedStore(store.records)


def suite(made: type[ListedStore] | type[ListedJournal]) -> type[StoreConformance]:
    """The conformance of a store, or of one whose journals are these."""

    class Listed(StoreConformance):
        def make_store(self) -> ListedStore:
            if issubclass(made, ListedStore):
                return made()
            store = ListedStore()
            store.journal = made
            return store

        def reopen_store(self, store: object) -> ListedStore:
            assert isinstance(store, ListedStore)
            store.close()
            return ListedStore(store.records)

    return Listed


PLANTED: dict[str, type[StoreConformance]] = {
    "a_new_conversation_is_empty": suite(Nameless),
    "events_come_back_in_order_and_equal": suite(OutOfOrder),
    "entries_are_numbered_from_one_without_gaps": suite(WrongSequence),
    "entries_after_a_sequence_are_the_rest": suite(OneTooMany),
    "appended_events_are_durable_when_append_returns": LosesTheLast,
    "an_append_is_all_or_nothing": suite(Torn),
    "appending_nothing_changes_nothing": suite(Padding),
    "a_conversation_that_is_opened_again_goes_on": suite(StartsAgain),
    "a_second_writer_is_refused_and_the_first_goes_on": suite(TwoWriters),
    "a_closed_journal_is_refused": suite(WritesWhenClosed),
    "a_closed_store_is_refused_and_its_journals_are_closed": suite(NeverCloses),
    "an_unknown_conversation_is_not_made_by_reading": suite(MadeByReading),
    "a_name_that_cannot_be_one_is_refused": suite(AnyName),
    "any_other_text_is_a_name": suite(OneCase),
    "a_fork_begins_with_the_first_entries_of_its_parent": suite(CopiesAll),
    "a_fork_and_its_parent_go_their_own_ways": suite(SharedLater),
    "a_fork_of_a_fork_has_what_both_inherit": suite(ForgetsGrandparents),
    "a_fork_at_no_entry_is_refused": suite(ForksAnywhere),
    "a_fork_of_nothing_is_refused": suite(ForksNothing),
    "a_fork_onto_a_name_that_exists_is_refused": suite(Overwrites),
    "conversations_are_listed_oldest_first_with_their_entries": suite(ByName),
    "the_list_shows_who_writes_and_counts_the_writers": suite(UncountedWriters),
}
"""By check, the store that fails exactly it."""

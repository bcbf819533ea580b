"""A store as somebody else would write it: lists in memory. Planted ones break a promise."""

from collections.abc import Sequence

import attrs

from turnlatch.errors import (
    ConversationBusyError,
    JournalError,
    UnknownConversationError,
)
from turnlatch.journal.codec import encode
from turnlatch.journal.strict import CodecError
from turnlatch.ports import Entries, Entry, Listing
from turnlatch_states.machine.events import Event


@attrs.define
class Record:
    """One conversation: what it inherits and what it has itself."""

    name: str
    inherited: list[Event]
    own: list[Event] = attrs.field(factory=list[Event])
    parent: str | None = None
    epoch: int = 0
    held: bool = False

    @property
    def events(self) -> list[Event]:
        """All of them."""
        return self.inherited + self.own


class ListedJournal:
    """A handle of one conversation."""

    def __init__(self, store: "ListedStore", record: Record) -> None:
        self.store = store
        self.record = record
        self.closed = False

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def sequence(self) -> int:
        return len(self.record.events)

    def check(self) -> None:
        if self.closed or self.store.closed:
            raise JournalError(self.name, "the journal is closed", "open it again")

    async def append(self, events: Sequence[Event]) -> None:
        self.check()
        for event in events:
            self.encoded(event)
        self.record.own += events

    def encoded(self, event: Event) -> None:
        try:
            encode(event)
        except CodecError as error:
            raise JournalError(self.name, str(error), "change the event") from error

    def entries(self, after: int = 0) -> Sequence[Entry]:
        self.check()
        return Entries(self.record.events[after:], after)

    def close(self) -> None:
        self.closed = True
        self.record.held = False


class ListedStore:
    """The store; it has the records of another one if it is opened again."""

    journal: type[ListedJournal] = ListedJournal

    def __init__(self, records: dict[str, Record] | None = None) -> None:
        self.records = {} if records is None else records
        self.closed = False

    def check(self, name: str) -> None:
        if self.closed:
            raise JournalError("lists", "the store is closed", "open it again")
        self.check_name(name)

    def check_name(self, name: object) -> None:
        wrong = not isinstance(name, str) or not 0 < len(name) <= 200
        if wrong or "\0" in str(name) or "\ud800" in str(name):
            raise JournalError("lists", f"the name {name!r} cannot be one", "change it")

    def key(self, name: str) -> str:
        return name

    def open(self, name: str) -> ListedJournal:
        self.check(name)
        record = self.records.setdefault(self.key(name), Record(name, []))
        self.take(record)
        record.epoch += 1
        record.held = True
        return self.journal(self, record)

    def take(self, record: Record) -> None:
        if record.held:
            raise ConversationBusyError(
                record.name, "it is written", "close that handle"
            )

    def found(self, name: str) -> Record:
        self.check(name)
        if self.key(name) not in self.records:
            raise UnknownConversationError(name, "no such conversation", "open it")
        return self.records[self.key(name)]

    def read(self, name: str) -> Sequence[Entry]:
        return Entries(self.found(name).events)

    def fork(self, parent: str, name: str, sequence: int) -> None:
        events = self.found(parent).events
        if name in self.records:
            raise JournalError(name, "it exists", "give another name")
        if not 1 <= sequence <= len(events):
            raise JournalError(parent, f"no entry {sequence}", "give one it has")
        self.records[name] = Record(name, events[:sequence], parent=parent)

    def conversations(self) -> Sequence[Listing]:
        return [
            Listing(
                one.name,
                len(one.events),
                one.parent,
                "this process" if one.held else None,
                one.epoch,
            )
            for one in self.records.values()
        ]

    def close(self) -> None:
        self.closed = True

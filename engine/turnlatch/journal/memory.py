"""A store in memory: nothing is durable, everything else is as on disk.

It is the verified fake of the SQLite store: one suite of tests holds for both. Events
are kept as the rows they would be on disk, so what cannot be stored there is refused
here as well, and what is read back was decoded.
"""

import time
from collections.abc import Callable, Sequence
from threading import RLock
from typing import TypeAlias, final
from weakref import ReferenceType, ref

import attrs

from turnlatch.errors import (
    ConversationBusyError,
    JournalError,
    UnknownConversationError,
)
from turnlatch.journal.codec import Row, decode
from turnlatch.journal.writer import Writer, checked_name, encoded, place
from turnlatch.options import CLOCK
from turnlatch.ports import Entry, Listing
from turnlatch_states.api.reply import simulated
from turnlatch_states.machine.events import Event

Clock: TypeAlias = Callable[[], float]
"""Seconds since the epoch."""


@final
@attrs.define(eq=False)
class _Record:
    """One conversation: the rows of its own, after those of its parent."""

    name: str
    parent: "_Record | None" = None
    inherited: int = 0
    rows: list[Row] = attrs.field(factory=list[Row])
    epoch: int = 0
    used: float | None = None
    holder: "ReferenceType[MemoryJournal] | None" = None

    @property
    def sequence(self) -> int:
        return self.inherited + len(self.rows)

    @property
    def busy(self) -> bool:
        journal = self.holder() if self.holder is not None else None
        return journal is not None and journal.held

    @property
    def turns(self) -> int:
        numbers = (row.turn for row in reversed(self.until(self.sequence)))
        return next((number for number in numbers if number), 0)

    @property
    def simulated(self) -> bool:
        confirmed = ("reply_confirmed", "compaction_confirmed")
        return any(
            row.kind in confirmed and simulated(row.meta)
            for row in self.until(self.sequence)
        )

    def until(self, sequence: int) -> list[Row]:
        above = [] if self.parent is None else self.parent.until(self.inherited)
        return (above + self.rows)[:sequence]

    def entries(self, after: int = 0) -> list[Entry]:
        rows = self.until(self.sequence)
        return [
            Entry(sequence, decode(row))
            for sequence, row in enumerate(rows, 1)
            if sequence > after
        ]


@final
class MemoryJournal:
    """The record of one conversation, as long as its store lives. See `Journal`."""

    def __init__(self, record: _Record, lock: RLock, clock: Clock) -> None:
        self._record = record
        self._clock = clock
        self._lock = lock
        self._writer = Writer(place(record.name))
        self._writer.fire("acquire")

    @property
    def name(self) -> str:
        """The conversation it belongs to."""
        return self._record.name

    @property
    def sequence(self) -> int:
        """Sequence of the last entry; 0 for a conversation that is new."""
        return self._record.sequence

    @property
    def state(self) -> str:
        """Where the handle stands in the writer machine: free, held or lost."""
        return self._writer.state

    @property
    def held(self) -> bool:
        """True while this handle may append."""
        return self._writer.held

    def append(self, events: Sequence[Event]) -> None:
        """Keep events, all or none, in order.

        Raises:
            JournalError: An event cannot be recorded, or the handle is closed.
        """
        rows = encoded(events, place(self.name))
        with self._lock:
            self._writer.fire("append")
            self._record.rows.extend(rows)
            if rows:
                self._record.used = self._clock()

    def entries(self, after: int = 0) -> Sequence[Entry]:
        """What is recorded after that sequence, a fork's inherited entries included.

        Raises:
            JournalError: The handle is closed.
        """
        with self._lock:
            if not self._writer.held:
                raise _closed(place(self.name))
            return self._record.entries(after)

    def close(self) -> None:
        """Give the conversation back. Idempotent."""
        with self._lock:
            if self._writer.held:
                self._writer.fire("release")


@final
class MemoryStore:
    """Journals in memory, for tests and for conversations nobody has to find again.

    Leases hold between the handles of one store. Everything is gone with the store.

    Args:
        clock: Seconds since the epoch; says when a conversation was last used.
    """

    def __init__(self, *, clock: Clock = time.time) -> None:
        CLOCK.demand("clock", clock)
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._lock = RLock()
        self._closed = False

    def open(self, name: str) -> MemoryJournal:
        """Take the writer's lease on a conversation, new or old.

        Raises:
            ConversationBusyError: Another handle holds it.
            JournalError: The name is no name, or the store is closed.
        """
        with self._lock:
            self._check()
            record = self._records.get(checked_name(name)) or _Record(name)
            if record.busy:
                raise ConversationBusyError(
                    place(name), "this process writes it already", "close that handle"
                )
            journal = MemoryJournal(record, self._lock, self._clock)
            record.epoch += 1
            record.holder = ref(journal)
            self._records[name] = record
            return journal

    def read(self, name: str) -> Sequence[Entry]:
        """All entries of a conversation, without taking its lease.

        Raises:
            UnknownConversationError: No conversation of that name.
            JournalError: The name is no name, or the store is closed.
        """
        with self._lock:
            self._check()
            return self._find(name).entries()

    def fork(self, parent: str, name: str, sequence: int) -> None:
        """Make `name` begin as the first `sequence` entries of `parent`, by reference.

        Raises:
            UnknownConversationError: No conversation `parent`.
            JournalError: `name` exists, or `parent` has no such entry.
        """
        with self._lock:
            self._check()
            above = self._find(parent)
            if checked_name(name) in self._records:
                raise JournalError(place(name), "exists", "give the fork another name")
            if not 1 <= sequence <= above.sequence:
                raise JournalError(
                    place(parent),
                    f"has no entry {sequence}",
                    f"fork at 1 to {above.sequence}",
                )
            self._records[name] = _Record(name, above, sequence)

    def conversations(self) -> Sequence[Listing]:
        """Every conversation, oldest first.

        Raises:
            JournalError: The store is closed.
        """
        with self._lock:
            self._check()
            return [
                Listing(
                    record.name,
                    record.sequence,
                    record.parent.name if record.parent is not None else None,
                    "this process" if record.busy else None,
                    record.epoch,
                    turns=record.turns,
                    used=record.used,
                    simulated=record.simulated,
                )
                for record in self._records.values()
            ]

    def close(self) -> None:
        """Close every handle; what was recorded is gone. Idempotent."""
        with self._lock:
            self._closed = True
            for record in self._records.values():
                journal = record.holder() if record.holder is not None else None
                if journal is not None:
                    journal.close()
            self._records.clear()

    def _check(self) -> None:
        if self._closed:
            raise _closed("memory store")

    def _find(self, name: str) -> _Record:
        record = self._records.get(checked_name(name))
        if record is None:
            raise UnknownConversationError(
                place(name), "does not exist", "open() it to begin it"
            )
        return record


def _closed(where: str) -> JournalError:
    return JournalError(where, "is closed", "open it again")

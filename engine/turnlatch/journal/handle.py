"""The handle on one conversation in a SQLite store: every append goes through here.

An append is one transaction: the epoch is checked, every event is inserted with its
hash, and it commits, in one call that nothing can cancel half way. After an exception from
the commit the handle reads back whether the entries are there; it never assumes.
"""

import sqlite3
from collections.abc import Callable, Sequence
from sqlite3 import Connection
from typing import TypeAlias, TypeVar, final

from turnlatch.errors import (
    JournalCorruptError,
    JournalError,
    LeaseLostError,
    StoreLockedError,
)
from turnlatch.journal import lease, records
from turnlatch.journal.chain import REMEDY, SEQUENCE_MAX, Stored, link
from turnlatch.journal.codec import Row
from turnlatch.journal.connection import SharedConnection
from turnlatch.journal.lock_waiting import is_at_once, waited
from turnlatch.journal.owner import Until
from turnlatch.journal.records import ConversationRow, RecordRows
from turnlatch.journal.sqlite_errors import SQLiteTrouble, primary, translate
from turnlatch.journal.tail_anchor import name_digest
from turnlatch.journal.writer import Writer, encoded, lost, place
from turnlatch.ports import Entries, Entry
from turnlatch_states.machine.events import Event

Clock: TypeAlias = Callable[[], float]
"""Seconds since the epoch."""

_INSERT = (
    "INSERT INTO entry"
    " (key, epoch, at_ms, kind, turn, attempt, meta, body, extra, hash)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@final
class SQLiteJournal:
    """The durable record of one conversation, held by this handle. See `Journal`.

    Made by `SQLiteStore.open`. Threads may share it; the store's lock serialises them.
    """

    def __init__(
        self,
        database: SharedConnection,
        conversation: ConversationRow,
        epoch: int,
        writer: Writer,
        record: RecordRows,
        now: Callable[[], Until],
        wait: float,
    ) -> None:
        self._database = database
        self._conversation = conversation
        self._where = place(conversation.name)
        self._name_digest = name_digest(conversation.name)
        self._epoch = epoch
        self._writer = writer
        self._now = now
        self._wait = wait
        self._renewed = now()
        self._sequence = conversation.begins
        if record.entries:
            self._sequence = record.entries[-1].sequence
        self._hash = record.hash
        # The record was read and checked to open it: the first reader gets that.
        self._loaded: Entries | None = record.entries
        self._certain = True
        self._owed = False  # its lease, to the store

    @property
    def name(self) -> str:
        """The conversation it belongs to."""
        return self._conversation.name

    @property
    def sequence(self) -> int:
        """Sequence of the last entry; 0 for a conversation that is new."""
        return self._sequence

    @property
    def state(self) -> str:
        """Where the handle stands in the writer machine: free, held or lost."""
        return self._writer.state

    async def append(self, events: Sequence[Event]) -> None:
        """Make events durable, all or none, in order, before it returns.

        It commits in place and never suspends; `send(None)` runs it to its end where
        there is no event loop.

        Raises:
            LeaseLostError: A newer writer holds the conversation; nothing was appended,
                now or ever again by this handle.
            JournalFullError: There is no room; nothing was appended, and the same
                events may be appended again.
            StoreLockedError: Another process has the store locked; likewise. This method
                does not wait for the lock.
            JournalError: Nothing was appended, and the same events may be appended
                again; or the outcome is unknown (`outcome_unknown`), and the handle
                refuses everything until the conversation is opened again.
        """
        rows = encoded(events, self._where)
        with self._database.alone, self._database as connection:
            self._writer.fire("append")
            if not self._certain:
                raise self._unknown()
            if not rows:
                return
            if self._database.lost_its_log():
                self._certain = False
                raise self._unknown()
            self._settle_log()
            stored = self._stamp(rows)
            last, head = self._sequence + len(rows), stored[-1][-1]
            committing = self._certain = False
            try:
                connection.execute("BEGIN IMMEDIATE")
                self._fence(connection)
                connection.executemany(_INSERT, stored)
                committing = True
                connection.execute("COMMIT")
                self._advance(last, head)
            except LeaseLostError as error:
                self._settle(error, committing, last, head)
                self._writer.fire("lose")
                raise
            except _NotTheHeadError as error:
                self._rolled_back()  # and the handle stays in doubt
                raise self._unknown() from error
            except SQLiteTrouble as error:
                if not self._settle(error, committing, last, head):
                    raise translate(error, self._where, self._database.where) from error
            except BaseException as error:
                # An interrupt. It goes on its way once memory agrees with the record.
                self._settle(error, committing, last, head)
                raise
            self._anchor()

    def entries(self, after: int = 0) -> Sequence[Entry]:
        """The entries after a sequence, a fork's inherited entries included. Their hash
        chain is checked.

        Raises:
            JournalCorruptError: The record contradicts its hashes.
            JournalError: It cannot be read, or the handle is closed or in doubt.
        """
        return waited(lambda: self._entries(after), self._wait)

    def _entries(self, after: int) -> Sequence[Entry]:
        with self._database.alone, self._database as connection:
            if not self._writer.held:
                self._writer.fire("append")  # the table refuses, and says why
            if not self._certain:
                raise self._unknown()
            loaded, self._loaded = self._loaded, None
            if loaded is not None and after <= 0:
                return loaded
            if after >= self._sequence:
                return []
            try:
                record = records.load(connection, self._conversation, max(after, 0))
            except SQLiteTrouble as error:
                raise translate(error, self._where, self._database.where) from error
            if record.hash != self._hash:
                raise JournalCorruptError(
                    self._where, f"entry {self._sequence} changed under us", REMEDY
                )
            return record.entries

    def close(self) -> None:
        """Give the conversation back. Idempotent.

        Raises:
            StoreLockedError: Only under `lock_waiting.at_once`, if another process has
                locked the store: the handle is closed, and its lease not
                given back. `close` tries that again.
        """
        if self._writer.held:
            self._owed = True
            self._writer.fire("release")
            self._loaded = None
        if not self._owed:
            return
        try:
            waited(self._give_back, self._wait)
        except StoreLockedError:
            if is_at_once():
                raise
        except (JournalError, *SQLiteTrouble):
            pass  # the next writer finds a lease that stays dead or expired
        self._owed = False

    def _give_back(self) -> None:
        with self._database.alone, self._database as connection:
            try:
                transact(connection, self._release)
            except SQLiteTrouble as error:
                raise translate(error, self._where, self._database.where) from error

    def _release(self, connection: Connection) -> None:
        lease.release(connection, self._conversation.id, self._epoch)

    def _settle_log(self) -> None:
        try:
            self._database.settle_log()
        except SQLiteTrouble as error:
            raise translate(error, self._where, self._database.where) from error

    def _stamp(self, rows: list[Row]) -> list[Stored]:
        if self._sequence + len(rows) > SEQUENCE_MAX:
            raise JournalError(self._where, "has no more numbers", "fork it")
        epoch, digest = self._epoch, self._hash
        at_ms = max(int(self._now().wall * 1000), 0)
        stored: list[Stored] = []
        first = self._conversation.base + self._sequence + 1
        for key, row in enumerate(rows, first):
            digest = link(digest, epoch, at_ms, row)
            kind, turn, attempt, meta, body, extra = row
            told = (kind, turn, attempt, meta, body, extra)
            stored.append((key, epoch, at_ms, *told, digest))
        return stored

    def _fence(self, connection: Connection) -> None:
        conversation = self._conversation.id
        if not lease.holds(connection, conversation, self._epoch):
            raise lost(self._where)
        if records.head(connection, self._conversation) != (self._sequence, self._hash):
            # No other handle writes under this epoch: this handle's memory is wrong.
            raise _NotTheHeadError
        now = self._now()
        if lease.is_due(self._renewed, now):
            lease.renew(connection, conversation, self._epoch, now)
            self._renewed = now

    def _advance(self, last: int, head: bytes) -> None:
        self._sequence = last
        self._hash = head
        self._loaded = None
        self._certain = True

    def _anchor(self) -> None:
        head = self._database.head
        if head is not None:
            head.write(
                self._conversation.id, self._name_digest, self._sequence, self._hash
            )

    def _settle(
        self, error: BaseException, committing: bool, last: int, head: bytes
    ) -> bool:
        """Find out what an exception in `append` means: True if it was committed.

        Until that is found out the handle is in doubt, also if this is interrupted.

        Args:
            error: The exception.
            committing: Whether COMMIT was reached.
            last: Sequence of the last entry, had it all gone well.
            head: Hash of that entry.

        Raises:
            JournalError: It cannot be found out (`outcome_unknown`).
        """
        if self._certain:  # it came after everything was done
            return True
        try:
            # Before COMMIT a rollback is all there is to know. After it only another
            # connection tells the truth: this one may show what never reached the disk.
            if committing or not self._rolled_back():
                self._rolled_back()
                self._database.reopen()
                if self._is_done(error, last, head):
                    self._advance(last, head)
                    return True
        except (JournalError, *SQLiteTrouble):
            raise self._unknown() from error
        self._certain = True
        return False

    def _rolled_back(self) -> bool:
        try:
            if self._database.connection.in_transaction:
                self._database.connection.execute("ROLLBACK")
        except SQLiteTrouble:
            return False
        return True

    def _is_done(self, error: BaseException, last: int, head: bytes) -> bool:
        connection = self._database.connection
        # All or none: the last entry speaks for the others. Its hash covers the epoch,
        # so it cannot be another writer's.
        if records.stored_hash(connection, self._conversation, last) != head:
            return False
        if primary(error) == sqlite3.SQLITE_IOERR:
            # The disk refused something: what can be read may be in memory only.
            self._database.settle_log()
        return True

    def _unknown(self) -> JournalError:
        return JournalError(
            self._where,
            "what was appended last may or may not be recorded: a commit failed or was"
            " interrupted, or the store's log was removed",
            "open the conversation again to see which; this handle does nothing more",
            outcome_unknown=True,
        )


class _NotTheHeadError(Exception):
    """The record does not end with the entry that an append would follow."""


Result = TypeVar("Result")


def transact(connection: Connection, work: Callable[[Connection], Result]) -> Result:
    """Do some work in one transaction: all of it or nothing."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result

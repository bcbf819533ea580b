"""A store in one SQLite file: durable, checked when it is read, one writer each."""

import gc
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from sqlite3 import Connection
from typing import Final, final, get_args
from weakref import WeakSet

from turnlatch.errors import (
    ConversationBusyError,
    JournalCorruptError,
    JournalError,
    StoreLockedError,
)
from turnlatch.journal import lease, records, schema
from turnlatch.journal import tail_anchor as anchor
from turnlatch.journal.connection import SharedConnection
from turnlatch.journal.database import Connect, Database, Synchronous, connect
from turnlatch.journal.formats import FORMATS
from turnlatch.journal.handle import Clock, Result, SQLiteJournal, transact
from turnlatch.journal.listing import holder_of, listings
from turnlatch.journal.lock_waiting import WAIT_SECONDS, waited
from turnlatch.journal.owner import Owner, Until, is_gone, is_over, may_write
from turnlatch.journal.records import ConversationRow, RecordRows
from turnlatch.journal.renewing import HeldLease
from turnlatch.journal.sqlite_errors import SQLiteTrouble, translate
from turnlatch.journal.tail_anchor import Anchor, name_digest
from turnlatch.journal.writer import Writer, checked_name, place
from turnlatch.options import CLOCK, PATH, SECONDS_MAX
from turnlatch.ports import Entry, Listing
from turnlatch_states.api.checks import (
    Allowed,
    flag,
    hook,
    instance,
    number,
    one_of,
    optional,
)

_COLLECTIONS: Final = 2
"""A handle that was dropped may be in a cycle with what used it, and that with a coroutine
that an event loop left behind: ending that is one collection, the handle the next."""


_OPTIONS: Final[Mapping[str, Allowed]] = {
    "path": PATH,
    "synchronous": one_of(get_args(Synchronous)),
    "clock": CLOCK,
    "uptime": CLOCK,
    "owner": optional(instance(Owner, "an Owner(...)")),
    "connect": hook("a function that opens a connection to a database URI"),
    "accept_loss": flag(),
    "renew": flag(),
    "wait": number(most=SECONDS_MAX),
}


def _demand(**given: object) -> None:
    for name, value in given.items():
        _OPTIONS[name].demand(name, value)


class StoreOfConnection:
    """The store's methods, for any SQLite connection."""

    def __init__(
        self,
        where: str,
        database: SharedConnection,
        owner: Owner,
        *,
        clock: Clock,
        uptime: Clock = time.monotonic,
        accept_loss: bool = False,
        renew: bool = False,
        wait: float = 0.0,
    ) -> None:
        """Not for callers. `where` names the store in errors; `SQLiteStore` documents the rest."""
        self._where = where
        self._database = database
        self._owner = owner
        self._clock = clock
        self._uptime = uptime
        self._accept_loss = accept_loss
        self._renew = renew
        self._wait = wait
        self._closed = False
        self._journals: WeakSet[SQLiteJournal] = WeakSet()
        self._taken: dict[int, int] = {}

    @property
    def notices(self) -> tuple[str, ...]:
        """Notices to the user about this file and this SQLite, one line each."""
        return self._database.notices

    def open(self, name: str) -> SQLiteJournal:
        """Take the writer's lease on a conversation, new or old, and check its record.

        Raises:
            ConversationBusyError: Somebody alive holds it.
            JournalCorruptError: Its record contradicts its hashes, or is shorter than
                it was.
            JournalError: The name is not allowed, or the store cannot be written to.
        """
        checked_name(name)
        return waited(lambda: self._open(name), self._wait)

    def _open(self, name: str) -> SQLiteJournal:
        with self._use(place(name)) as connection:
            _demand_unlocked(connection)
            self._database.settle_log()
            # Read before anything is changed: what is refused here stays as it is.
            old = records.find(connection, name)
            record = None if old is None else self._load(connection, old)
            conversation, epoch = self._unheld(
                connection, lambda connection: self._take(connection, name)
            )
            writer = Writer(place(name))
            try:
                # From here on no other writer can append; until here one may have.
                if record is None or not records.ends_with(
                    connection, conversation, record
                ):
                    record = self._load(connection, conversation)
                self._note_end(conversation, record)
                writer.fire("acquire")
                journal = SQLiteJournal(
                    self._database,
                    conversation,
                    epoch,
                    writer,
                    record,
                    self._now,
                    self._wait,
                )
                held = HeldLease(conversation.id, epoch, self._now)
                self._database.held[writer] = held
                if self._renew:
                    self._database.begin_renewing()
                self._journals.add(journal)
                self._taken[conversation.id] = epoch
            except BaseException:
                with suppress(*SQLiteTrouble):
                    transact(
                        connection,
                        lambda connection: lease.release(
                            connection, conversation.id, epoch
                        ),
                    )
                if writer.held:
                    writer.fire("release")
                raise
            return journal

    def read(self, name: str) -> Sequence[Entry]:
        """All entries of a conversation, checked, without taking its lease; works on a
        file that cannot be written to.

        Raises:
            UnknownConversationError: No conversation of that name.
            JournalCorruptError: Its record contradicts its hashes, is shorter than it
                was, or is gone.
            JournalError: The store cannot be read.
        """
        checked_name(name)

        def read() -> Sequence[Entry]:
            with self._use(place(name)) as connection:
                return self._load(connection, self._known(connection, name)).entries

        return waited(read, self._wait)

    def fork(self, parent: str, name: str, sequence: int) -> None:
        """Make `name` begin as the first `sequence` entries of `parent`, by reference:
        nothing is copied, and what `parent` appends later is not seen.

        Raises:
            UnknownConversationError: No conversation `parent`.
            JournalError: `name` exists, or `parent` has no such entry.
        """
        checked_name(parent)
        checked_name(name)

        def fork() -> None:
            with self._use(place(name)) as connection:
                _demand_unlocked(connection)
                above = self._known(connection, parent)
                root = self._root(connection, above, sequence)
                self._database.settle_log()
                made = self._unheld(
                    connection,
                    lambda connection: self._fork(
                        connection, above, name, sequence, root
                    ),
                )
                self._note(made, made.begins, made.root)

        waited(fork, self._wait)

    def holder(self, name: str) -> str | None:
        """The live process that holds a conversation's lease, in words; None if it is free.

        One row is read, and nothing of the record, however long that is.

        Raises:
            UnknownConversationError: The store has no conversation of that name.
            JournalError: The store cannot be read.
        """
        checked_name(name)

        def looked() -> str | None:
            with self._use(place(name)) as connection:
                number = self._known(connection, name).id
                return holder_of(connection, number, self._gone)

        return waited(looked, self._wait)

    def conversations(self) -> Sequence[Listing]:
        """Every conversation, oldest first.

        Raises:
            JournalCorruptError: One that the head file knows is not there.
            JournalError: The store cannot be read.
        """

        def listed() -> Sequence[Listing]:
            with self._use(self._where) as connection:
                head = None if self._accept_loss else self._database.head
                noted = [] if head is None else head.everything()  # as in `_load`
                there = [number for number, _ in noted]
                return listings(connection, self._gone, there, self._where)

        return waited(listed, self._wait)

    def close(self) -> None:
        """Close every handle and give back the file. Idempotent."""
        if self._closed:
            return
        for journal in tuple(self._journals):
            with suppress(StoreLockedError):  # its lease is found dead, or over
                journal.close()
        # A handle that was dropped unclosed still has its lease in the file, where other
        # processes would believe it for as long as this one lives.
        with (
            suppress(JournalError, *SQLiteTrouble),
            self._database.alone,
            self._database as connection,
        ):
            left = [one for one in self._taken.items() if lease.holds(connection, *one)]
            if left:
                transact(connection, lambda connection: _release(connection, left))
        self._closed = True
        self._database.release()

    @contextmanager
    def _use(self, where: str) -> Generator[Connection]:
        if self._closed:
            raise JournalError(self._where, "is closed", "open it again")
        with self._database.alone, self._database as connection:
            try:
                yield connection
            except SQLiteTrouble as error:
                raise translate(error, where, self._database.where) from error

    def _unheld(
        self, connection: Connection, work: Callable[[Connection], Result]
    ) -> Result:
        """Do what a holder may stand in the way of, in one transaction.

        However far in the future the lease of one that is dead ends, by a clock that was
        wrong, it is not in the way for longer than a lease lasts from now on.
        """
        try:
            return transact(connection, work)
        except ConversationBusyError:
            with suppress(*SQLiteTrouble):
                transact(connection, self._shorten)
            raise

    def _shorten(self, connection: Connection) -> None:
        _, version = schema.identity(connection)
        lease.shorten(connection, FORMATS[version].lasts, self._now())

    def _upgrade(self, connection: Connection) -> None:
        schema.upgrade(
            connection,
            lambda holder, expires: may_write(
                holder, self._owner, self._clock() >= expires
            ),
            self._where,
        )

    def _take(self, connection: Connection, name: str) -> tuple[ConversationRow, int]:
        self._upgrade(connection)
        conversation = records.find(connection, name)
        if conversation is None:
            self._refuse_forgotten(name)
            conversation = records.create(connection, name)
        number = conversation.id
        for _ in range(_COLLECTIONS):
            if self._database.holds(number):
                gc.collect()
        epoch = lease.acquire(
            connection,
            number,
            name,
            self._owner,
            self._now(),
            lambda epoch, holder, until: self._gone(number, epoch, holder, until),
        )
        return conversation, epoch

    def _now(self) -> Until:
        return Until(self._clock(), self._uptime())

    def _gone(self, number: int, epoch: int, holder: Owner, until: Until) -> bool:
        if holder == self._owner:
            # This process: it lives, but the handle may have been dropped unclosed.
            return not self._database.holds(number)
        over = is_over(until, self._now(), holder, self._owner)
        return is_gone(holder, self._owner, over)

    def _load(
        self, connection: Connection, conversation: ConversationRow
    ) -> RecordRows:
        # The anchor first: another process may append between the two readings, and an
        # anchor that was read first can never be ahead of an intact record.
        head = self._database.head
        noted = head.read(conversation.id) if head is not None else None
        record = records.load(connection, conversation)
        sequence = record.entries[-1].sequence if record.entries else 0
        if not self._accept_loss and noted is not None:
            found = records.stored_hash(connection, conversation, noted.sequence)
            anchor.check(noted, sequence, found, place(conversation.name))
        return record

    def _note_end(self, conversation: ConversationRow, record: RecordRows) -> None:
        # Only by who holds the lease: a note of somebody else's could be late, and take
        # the place of one for an entry that was appended since.
        head = self._database.head
        if head is not None and record.entries and not self._database.doubtful:
            sequence = record.entries[-1].sequence
            if head.read(conversation.id) != Anchor(sequence, record.hash):
                self._note(conversation, sequence, record.hash)

    def _known(self, connection: Connection, name: str) -> ConversationRow:
        if records.find(connection, name) is None:
            self._refuse_forgotten(name)
        return records.known(connection, name)

    def _note(
        self, conversation: ConversationRow, sequence: int, digest: bytes
    ) -> None:
        head = self._database.head
        if head is not None:
            name = name_digest(conversation.name)
            head.write(conversation.id, name, sequence, digest)

    def _refuse_forgotten(self, name: str) -> None:
        head = self._database.head
        if head is None or self._accept_loss or not head.knows(name_digest(name)):
            return
        raise JournalCorruptError(
            place(name),
            "journal was truncated: the head file knows this conversation, the record"
            " does not",
            "restore the store from a backup, or open it with accept_loss=True to start"
            " the conversation again; nothing was changed",
        )

    def _root(
        self, connection: Connection, parent: ConversationRow, sequence: int
    ) -> bytes:
        """The hash of the entry to fork at, computed from everything before it."""
        end = records.last(connection, parent)
        if not 1 <= sequence <= end:
            raise JournalError(
                place(parent.name), f"has no entry {sequence}", f"fork at 1 to {end}"
            )
        return records.load(connection, parent, until=sequence).hash

    def _fork(
        self,
        connection: Connection,
        parent: ConversationRow,
        name: str,
        sequence: int,
        root: bytes,
    ) -> ConversationRow:
        self._upgrade(connection)
        if records.find(connection, name) is not None:
            raise JournalError(place(name), "exists", "give the fork another name")
        self._refuse_forgotten(name)
        return records.fork(connection, parent, name, sequence, root)


@final
class SQLiteStore(StoreOfConnection):
    """Journals in one SQLite file, which nothing else may open while it is in use.

    Stores of one process that name the same file share one connection to it. The file is
    made if it does not exist, readable by this user alone; next to it SQLite keeps
    `-wal` and `-shm`, and the store keeps `-head`, which lets it detect a record that
    became shorter.

    Attributes:
        path: The file, as it was given.

    Args:
        path: The file; its folder must exist, on a local file system.
        synchronous: "FULL": what was appended survives a power cut. "NORMAL": faster;
            it survives a killed process, and a power cut may take the newest entries.
        clock: Seconds since the epoch: when entries are appended, and until when a lease
            lasts for who does not share `uptime`.
        uptime: Seconds since the host was booted: until when a lease lasts.
        owner: Who takes leases; this process if not given.
        wait: How long each operation but an append waits while another process has the
            store locked, in seconds. The thread stands still meanwhile; a conversation
            does not use this, and waits without holding up its event loop.
        renew: Renew leases in the background, while conversations are held. Without it
            only appends do, and a holder that is idle for long is succeeded.
        connect: Opens the connection to a database URI; for tests that need a
            connection that fails.
        accept_loss: Go on although the record is shorter than the `-head` file says, or
            is another one. Lost entries stay lost; the anchors are reset.

    Raises:
        SettingsError: An argument is of the wrong type; nothing was opened.
        JournalVersionError: The file is a newer turnlatch's, somebody else's database, or
            none. It was not touched.
        JournalCorruptError: The file is damaged; or the `-head` file knows a store that
            is gone; or a process that is living or was killed left a `-wal`, and some
            conversation is shorter than the `-head` file says. The bytes of a refused
            store's three files stay unchanged.
        StoreLockedError: Another process kept it locked all the time; also raised by
            every method.
        JournalError: The file cannot be used: no permission, no WAL on its file system,
            open in this process with another `synchronous`, opened before a fork.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "FULL",
        clock: Clock = time.time,
        uptime: Clock = time.monotonic,
        owner: Owner | None = None,
        connect: Connect = connect,
        accept_loss: bool = False,
        renew: bool = True,
        wait: float = WAIT_SECONDS,
    ) -> None:
        _demand(
            path=path,
            synchronous=synchronous,
            clock=clock,
            uptime=uptime,
            owner=owner,
            connect=connect,
            accept_loss=accept_loss,
            renew=renew,
            wait=wait,
        )
        self.path = os.fspath(path)
        super().__init__(
            self.path,
            waited(
                lambda: Database.acquire(self.path, synchronous, connect, accept_loss),
                wait,
            ),
            owner or Owner.current(),
            clock=clock,
            uptime=uptime,
            accept_loss=accept_loss,
            renew=renew,
            wait=wait,
        )


def _demand_unlocked(connection: Connection) -> None:
    """Find out whether another process writes, before a long record is read in vain."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")


def _release(connection: Connection, leases: list[tuple[int, int]]) -> None:
    for conversation, epoch in leases:
        lease.release(connection, conversation, epoch)

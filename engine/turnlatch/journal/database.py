"""The one connection a process has to a store's file, and how it is opened.

Rules of this file:

* A process opens a store's file once, through SQLite, and in no other way. POSIX locks
  belong to the process: closing any other descriptor of the file would silently drop
  SQLite's, and another process could then remove the write-ahead log under us.
* A connection is not used in a forked child, which would share the file's locks.
  A second connection of SQLite's own shares these locks, and `_close` makes one.
* Nothing is written to a file before it is known to be a store of this version, and,
  if a write-ahead log was left next to it, to hold every entry that was noted.
* A store that was refused is left as it is, its log included. SQLite reads a log up to
  the first frame that is damaged and then writes over the rest, which may be all that
  there is of some entries.
"""

import atexit
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection
from threading import RLock
from typing import Final, Literal, TypeAlias, final

from turnlatch.errors import JournalCorruptError, JournalError, JournalVersionError
from turnlatch.journal import lease, records, schema
from turnlatch.journal.connection import SharedConnection
from turnlatch.journal.paths import checked_path, make_file, who_else
from turnlatch.journal.renewing import Renewer, renew
from turnlatch.journal.sqlite_errors import SQLiteTrouble, translate
from turnlatch.journal.tail_anchor import is_used, open_head, refuse_foreign
from turnlatch.journal.wal_recovery import (
    refuse_widowed,
    size_of,
    was_being_made,
    write_again,
)

Synchronous: TypeAlias = Literal["FULL", "NORMAL"]
"""FULL: an acknowledged append survives a power cut. NORMAL: only a killed process."""

Connect: TypeAlias = Callable[[str], Connection]
"""Opens a connection to the database of a URI."""

_SQLITE_MIN: Final = (3, 37, 0)  # STRICT tables
_PROBES: Final = 5
_RENEW_AGAIN_SECONDS: Final = 0.25  # after what was in the way of it

_SYNCHRONOUS: Final = {
    "FULL": "PRAGMA synchronous = FULL",
    "NORMAL": "PRAGMA synchronous = NORMAL",
}

_SETTINGS: Final = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    # A log that is soon written over again needs no new blocks from the file system:
    # syncing it was measured to cost a fifth less than syncing one that grows.
    "PRAGMA wal_autocheckpoint = 64",
    # On macOS a plain fsync leaves the data in the drive's cache.
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
)


def demand_sqlite(where: str) -> None:
    """Refuse a SQLite that is too old for the tables of a store.

    Raises:
        JournalError: It is.
    """
    if sqlite3.sqlite_version_info < _SQLITE_MIN:
        raise JournalError(
            where,
            f"SQLite {sqlite3.sqlite_version} is too old for it",
            "use a Python whose SQLite is 3.37 or newer",
        )


def connect(uri: str) -> Connection:
    """A connection as a store wants it: no implicit transactions, any thread (the store
    holds a lock around every use), and no wait for another process (see `patience`)."""
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )


_open: dict[tuple[int, int], "Database"] = {}
_open_lock = RLock()


def _after_fork() -> None:
    # Another thread of the parent may have held it.
    global _open_lock
    _open_lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@final
class Database(SharedConnection):
    """A store's file, open. Made by `acquire`, shared by the stores of one process.

    Attributes:
        renewer: Renews the leases of what is held.
    """

    def __init__(
        self, path: str, synchronous: Synchronous, open_: Connect, accept_loss: bool
    ) -> None:
        super().__init__(path)
        self.renewer = Renewer(self._renew)
        self.notices = (*who_else(path), *_library_notices())
        self._synchronous: Synchronous = synchronous
        self._connect = open_
        self._pid = os.getpid()
        self._users = 0
        self._key = _key(path)
        self._broken = False
        self._refused = False
        self._log = f"{path}-wal"
        self._log_key: tuple[int, int] | None = None
        # By a process that lives, or by one that was killed.
        self._left = self.doubtful = os.path.exists(self._log)
        self.connection = self._fresh()
        try:
            self._prepare(accept_loss)
            if self.head is not None and accept_loss:
                self.head.keep(records.numbers(self.connection))
            elif self.head is not None and self._left:
                records.demand(self.connection, self.head.everything(), path)
            self._log_key = _identity(self._log)
        except BaseException:
            self._refused = True
            self._close()
            raise

    @classmethod
    def acquire(
        cls, path: str, synchronous: Synchronous, open_: Connect, accept_loss: bool
    ) -> "Database":
        """The open file at a path: the one this process has, or a new one.

        Raises:
            JournalError: It cannot be used; see `SQLiteStore`.
        """
        demand_sqlite(path)
        with _open_lock:
            real = checked_path(path)
            found = _open.get(_key(real)) if os.path.exists(real) else None
            if found is None:
                who_else(real)
                if not accept_loss:
                    refuse_widowed(real)
                make_file(real)
                _probe(real)
                try:
                    found = cls(real, synchronous, open_, accept_loss)
                except SQLiteTrouble as error:
                    raise translate(error, path, real) from error
                _open[found._key] = found
            found._refuse_fork()
            if found._synchronous != synchronous:
                raise JournalError(
                    path,
                    f"is open in this process with synchronous={found._synchronous}",
                    "open it with the same setting, or close the other store first",
                )
            found._users += 1
            return found

    def release(self) -> None:
        """Give back one `acquire`; the last one closes the file."""
        if self._pid != os.getpid():
            return  # the parent's to close, and its threads may hold the locks
        with _open_lock, self._lock:
            self._users -= 1
            if self._users:
                return
            _open.pop(self._key, None)
            atexit.unregister(self._end)
            self.renewer.end()
            self._close()

    @property
    def alone(self) -> RLock:
        """The lock for every use.

        Raises:
            JournalError: In a forked child, where a thread of the parent may hold it.
        """
        self._refuse_fork()
        return self._lock

    def __enter__(self) -> Connection:
        """The connection, in no transaction.

        Raises:
            JournalError: The connection was lost and cannot be made again.
        """
        if self._broken:
            self.reopen()
        return super().__enter__()

    def __exit__(
        self, _: object, error: BaseException | None, traceback: object
    ) -> None:
        if isinstance(error, JournalCorruptError):
            self._refuse()

    def begin_renewing(self) -> None:
        """Renew in the background what is held, for other processes to see."""
        self.renewer.begin()

    def _renew(self) -> float | None:
        """Renew the lease of everything that is held; in how many seconds again, None if
        nothing is held."""
        with suppress(JournalError, *SQLiteTrouble), self.alone, self as connection:
            holding = self._holding() if self._users else []
            if not holding:
                self.renewer.end()
                return None
            if _identity(self._log) == self._log_key:
                self.settle_log()
                renew(connection, holding)
            # otherwise the next append finds out why
            return lease.RENEW_SECONDS
        return _RENEW_AGAIN_SECONDS

    def lost_its_log(self) -> bool:
        """True if SQLite still writes to a write-ahead log that was replaced.

        That happens if other code in this process opened and closed the store's file,
        which drops SQLite's locks, and another process then removed the log on closing.
        Entries that were only in the log are then gone.
        """
        if _identity(self._log) == self._log_key:
            return False
        self._broken = True
        return True

    def settle_log(self) -> None:
        """Force a log to disk before anything builds on it, if another process began the
        log or if it was read again.

        Raises:
            JournalError: The disk does not do that.
            sqlite3.Error: The log cannot be held.
        """
        if self.doubtful:
            write_again(self.connection, self._log)
            self.doubtful = False

    def _refuse_fork(self) -> None:
        if self._pid != os.getpid():
            raise JournalError(
                self.where,
                "was opened before this process was forked off; using it here could"
                " damage it",
                "open the store after forking, and only where the parent does not have"
                " it open, or start processes with `spawn`",
            )

    def reopen(self) -> None:
        """Replace the connection, after an error that leaves it in doubt.

        Raises:
            JournalError: The file cannot be opened any more, or is another one.
        """
        self._broken = self.doubtful = True
        self._put_down(self.connection, refused=self._refused)
        if not os.path.exists(self.where) or _key(self.where) != self._key:
            raise JournalError(
                self.where,
                "is not the file any more that was opened",
                "put it back, then open the store again",
            )
        try:
            self.connection = self._fresh()
            self._demand_wal()
            # A statement that reads makes SQLite open its log.
            self.connection.execute("SELECT id FROM store").fetchone()
        except SQLiteTrouble as error:
            translated = translate(error, self.where, self.where)
            if isinstance(translated, JournalCorruptError):
                self._refuse()
            raise translated from error
        self._log_key = _identity(self._log)
        self._broken = False

    def _refuse(self) -> None:
        """Leave the log where it is from now on."""
        if not self._refused:
            self._refused = True
            # Python closes what is still open when it ends, and would not ask.
            atexit.register(self._end)

    def _end(self) -> None:
        if self._pid == os.getpid():
            self._close()

    def _close(self) -> None:
        # SQLite writes the log back now. If that outlived a part of the log itself, the
        # rest of the log would lie over it after a power cut.
        if not self._refused:
            with suppress(JournalError, *SQLiteTrouble):
                self.settle_log()
        self._put_down(self.connection, refused=self._refused)
        if self.head is not None:
            self.head.close()

    def _put_down(self, connection: Connection, *, refused: bool) -> None:
        # An empty log is one that SQLite made just now, unless it was there before.
        keep_log = refused and (self._left or size_of(self._log) > 0)
        _close(connection, self.where, keep_log=keep_log)

    def _fresh(self) -> Connection:
        connection = self._connect(_uri(self.where, "mode=rw"))
        try:
            for setting in _SETTINGS:
                connection.execute(setting)
            connection.execute(_SYNCHRONOUS[self._synchronous])
        except BaseException:
            self._put_down(connection, refused=True)
            raise
        return connection

    def _prepare(self, accept_loss: bool) -> None:
        head_path = f"{self.where}-head"
        fresh = self._named(schema.is_new)
        if fresh and not accept_loss and is_used(head_path):
            fresh = self._named(schema.is_new)  # another process may have made both
            if fresh:
                refuse_foreign(head_path)
        self._demand_wal()
        if fresh:
            self._create()
        store_id = schema.store_id(self.connection, self.where)
        known = self.connection.execute("SELECT 1 FROM entry LIMIT 1").fetchone()
        lacking = known is not None and not os.path.exists(head_path)
        self.head, notices = open_head(head_path, store_id, accept_loss=accept_loss)
        if lacking and self.head is not None:
            notices = (
                *notices,
                f"head file {head_path} was missing and was created again: a journal that"
                " was truncated before now is not detected",
            )
        self.notices += notices

    def _named(self, question: Callable[[Connection], bool]) -> bool:
        try:
            return question(self.connection)
        except JournalVersionError as error:
            raise JournalVersionError(
                self.where, error.problem, error.remedy
            ) from error.__cause__

    def _demand_wal(self) -> None:
        (mode,) = self.connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise JournalError(
                self.where,
                f"its file system gives SQLite journal mode {mode!r}, not WAL",
                "put the store on a local file system",
            )

    def _create(self) -> None:
        # Always synced, whatever the store's own setting: a head file must never
        # outlive the database it was made for.
        execute = self.connection.execute
        execute(_SYNCHRONOUS["FULL"])
        execute("BEGIN IMMEDIATE")
        try:
            if self._named(schema.is_new):  # another process may have been faster
                schema.create(self.connection, os.urandom(16))
            execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                execute("ROLLBACK")
            raise
        execute(_SYNCHRONOUS[self._synchronous])


def _identity(path: str) -> tuple[int, int] | None:
    try:
        return _key(path)
    except FileNotFoundError:
        return None


def _key(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _uri(path: str, query: str) -> str:
    return f"{Path(path).as_uri()}?{query}"


def _close(connection: Connection, path: str, *, keep_log: bool) -> None:
    """Close a connection, and see to it that the log stays, if that is asked for.

    SQLite writes the log back into the database and removes it when the last connection
    is closed that can write. One that only reads does neither, and while it is there the
    other one is not the last.
    """
    guard: Connection | None = None
    with suppress(*SQLiteTrouble):
        if keep_log:
            guard = connect(_uri(path, "mode=ro"))
            guard.execute("SELECT 1 FROM sqlite_schema").fetchone()
    for one in (connection, guard):
        with suppress(*SQLiteTrouble):
            if one is not None:
                one.close()


def _probe(path: str) -> None:
    """Refuse a foreign file without changing it or leaving files next to it."""
    if os.stat(path).st_size == 0:
        return
    left = _PROBES
    while True:
        left -= 1
        try:
            connection = connect(_uri(path, "mode=ro&immutable=1"))
            try:
                found = schema.header(connection)
            finally:
                connection.close()
            # A store's first commits may still stand in its log alone: then this is an
            # empty database, and the real connection will tell.
            return None if found is None else schema.refuse(*found, path)
        except SQLiteTrouble as error:
            # Somebody is writing a log back into it, or was killed doing that: read
            # without it this makes no sense, and the real connection will tell. Without
            # a log somebody has just finished that, or it is damaged: look again.
            if size_of(f"{path}-wal") or was_being_made(path):
                return
            if not left:
                raise translate(error, path, path) from error


def _library_notices() -> tuple[str, ...]:
    if not (3, 7, 0) <= sqlite3.sqlite_version_info < (3, 51, 3):
        return ()
    return (
        f"SQLite {sqlite3.sqlite_version} can damage a database when two connections"
        " write and checkpoint at the same moment (fixed in 3.51.3); turnlatch uses one"
        " connection a process, so keep to one process a store where you can",
    )

"""Files that a killed process, a power cut or a failing disk left next to a database."""

import errno
import os
import sys
from sqlite3 import Connection
from typing import Final

from turnlatch.errors import JournalCorruptError, JournalError
from turnlatch.journal.tail_anchor import FLAGS, is_used, refuse_foreign

_DATABASE_MIN: Final = 512  # bytes, one page; SQLite takes a file of one for empty
_JOURNAL_MAGIC: Final = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
_JOURNAL_HEAD: Final = 20  # bytes: magic, how many pages are kept, a number, the size
_PIECE: Final = 1 << 20


def size_of(path: str) -> int:
    """The size of a file; 0 if it is missing or not visible."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def refuse_widowed(path: str) -> None:
    """Refuse a log or a head file whose database is gone or empty, and touch nothing:
    SQLite removes the log of an empty database as soon as it looks at it.

    Raises:
        JournalCorruptError: There is one.
    """
    if size_of(path) >= _DATABASE_MIN:
        return
    logged, used = size_of(f"{path}-wal") > 0, is_used(f"{path}-head")
    if size_of(path) >= _DATABASE_MIN:  # another process has made them all since
        return
    if used:
        refuse_foreign(f"{path}-head")
    if logged:
        raise JournalCorruptError(
            path,
            "the database is empty or gone, but its log is still there",
            "put the database back next to it; if it was removed on purpose, remove"
            f" {path}-wal too or open the store with accept_loss=True",
        )


def was_being_made(path: str) -> bool:
    """True if SQLite's rollback journal says that there was no page before.

    A power cut can then leave a first page of which some sectors were never written.
    The file is not a database, and never held anything: SQLite rolls it back as soon as
    a connection that may write runs any statement.
    """
    try:
        descriptor = os.open(f"{path}-journal", os.O_RDONLY | FLAGS)
    except OSError:
        return False
    try:
        head = os.read(descriptor, _JOURNAL_HEAD)
    finally:
        os.close(descriptor)
    whole = len(head) == _JOURNAL_HEAD
    return whole and head.startswith(_JOURNAL_MAGIC) and head.endswith(bytes(4))


def write_again(connection: Connection, log: str) -> None:
    """Write a log over itself and sync it.

    The disk may have reported a failed sync to the process that wrote it. The kernel then
    treats data that is only in memory as written: SQLite reads it from there, every later
    sync reports success, and a power cut loses it and everything appended after it.
    Writing it again syncs it again.

    Args:
        connection: A connection outside any transaction. During this one no other
            connection writes to the log or resets it.
        log: The log's path. It carries no locks, so it may be opened and closed.

    Raises:
        JournalError: The disk does not do it.
        sqlite3.Error: Somebody else is writing for too long.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        _rewrite(log)
    except OSError as error:
        raise JournalError(
            log,
            f"cannot be brought to the disk ({error.strerror})",
            "check the disk, then open the store again",
        ) from error
    finally:
        connection.execute("ROLLBACK")


def _rewrite(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | FLAGS)
    try:
        at = 0
        while piece := os.read(descriptor, _PIECE):
            os.lseek(descriptor, at, os.SEEK_SET)
            if os.write(descriptor, piece) != len(piece):
                raise OSError(errno.EIO, "a short write")
            at += len(piece)
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

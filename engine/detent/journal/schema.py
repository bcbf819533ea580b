"""The check that a file is a store of a format that is known, and nothing else.

A file is only used if its application id, its version and the text of every table,
index, trigger and view in it are those of one of `FORMATS`. A newer store, somebody
else's database or one with a trigger slipped in is refused before anything is written.
"""

from collections.abc import Generator
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Final

from detent.errors import JournalCorruptError, JournalVersionError
from detent.journal.chain import REMEDY
from detent.journal.formats import FORMATS, NEWEST, OLDEST, MayWrite

APPLICATION_ID: Final = 0x64746E74
"""The bytes `dtnt`, in the header of every store."""

VERSION: Final = NEWEST
"""The format of what is written."""

_NAME_IT = f"PRAGMA application_id = {APPLICATION_ID}"
_STAMP_IT = f"PRAGMA user_version = {VERSION}"

_SCHEMA = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL OR type != 'index'"


def is_new(connection: Connection) -> bool:
    """True for a file nobody has written anything to; a store that was killed while it
    was being made is one of those.

    Raises:
        JournalVersionError: There is something, and it is no store that can be read.
        sqlite3.Error: It cannot be read.
    """
    where = "the file"
    # In one transaction: what another process makes meanwhile is seen whole or not.
    with reading(connection):
        application, version = identity(connection)
        found = dict(connection.execute(_SCHEMA).fetchall())
    if not (application or version or found):
        return True
    refuse(application, version, where)
    # Statistics that somebody's ANALYZE left are harmless; anything else is not ours.
    found = {n: s for n, s in found.items() if not str(n).startswith("sqlite_stat")}
    expected = FORMATS[version].schema
    if found != expected:
        strange = sorted(
            str(name)
            for name in found.keys() | expected.keys()
            if found.get(name) != expected.get(name)
        )
        raise JournalVersionError(
            where,
            f"its schema is not detent's: see {', '.join(strange)}",
            "use a file that only detent writes to; this one was not touched",
        )
    return False


@contextmanager
def reading(connection: Connection) -> Generator[None]:
    """See one state of the database in several statements; a transaction that the
    caller began is used as it is."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:  # SQLite ends some that fail by itself
            connection.execute("ROLLBACK")


def header(connection: Connection) -> tuple[int, int] | None:
    """The application id and the version of a database; None for an empty one."""
    with reading(connection):
        found = identity(connection)
        tables = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    return found if any(found) or tables is not None else None


def identity(connection: Connection) -> tuple[int, int]:
    """The application id and the version in the file's header."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(application), int(version)


def store_id(connection: Connection, where: str) -> bytes:
    """What tells this store from every other, since it was made.

    Raises:
        JournalCorruptError: It is no id any more.
    """
    # What is declared in the schema holds for what is written, not for what rots.
    match connection.execute("SELECT id FROM store").fetchall():
        case [(bytes() as found,)] if len(found) == 16:
            return found
        case _:
            raise JournalCorruptError(where, "the store's own id is damaged", REMEDY)


def refuse(application: int, version: int, where: str) -> None:
    """Refuse a file by its header, unless it is a store of a format that is known.

    Raises:
        JournalVersionError: It is somebody else's, or of another format.
    """
    if application != APPLICATION_ID:
        raise JournalVersionError(
            where,
            "is a database, but not a detent store",
            "give the path of a store, or of a file that does not exist yet",
        )
    if version in FORMATS:
        return
    reads = f"this one reads formats {OLDEST} to {NEWEST}"
    if version > NEWEST:
        raise JournalVersionError(
            where,
            f"was written by a newer detent (format {version}); {reads}",
            "upgrade detent; the file was not touched",
        )
    raise JournalVersionError(
        where,
        f"has format {version}, which is older than what this detent reads; {reads}",
        "open it with the detent that wrote it, or restore it from a backup; the file"
        " was not touched",
    )


def create(connection: Connection, store_id: bytes) -> None:
    """Make the tables, in one transaction that the caller began."""
    for text in FORMATS[NEWEST].tables:
        connection.execute(text)
    connection.execute("INSERT INTO store (id) VALUES (?)", (store_id,))
    connection.execute(_NAME_IT)
    connection.execute(_STAMP_IT)


def upgrade(connection: Connection, may_write: MayWrite, where: str) -> None:
    """Make a store one of the newest format, in a transaction that the caller began and
    in which it writes more: all of it or nothing.

    Args:
        connection: The store's.
        may_write: Whether the holder of a lease of an older format may still write.
        where: The store, for errors.

    Raises:
        ConversationBusyError: A process that has the store open with an older detent
            still writes to it.
        JournalVersionError: A newer detent has upgraded it since it was opened.
    """
    application, version = identity(connection)
    refuse(application, version, where)
    for older in range(version, NEWEST):
        step = FORMATS[older].upgrade
        if step is not None:
            step(connection, may_write)
    if version != NEWEST:
        connection.execute(_STAMP_IT)

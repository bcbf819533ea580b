"""The check that a file is a store of a format that is known, and nothing else.

A file is only used if its application id, its version and every row of its schema (the
type, name, table and text of each table, index, trigger and view) are those of one of
`FORMATS`. A newer store, somebody else's database or one with a trigger slipped in, under
whatever name, is refused before anything is written; and looking at it takes a bounded
number of steps.
"""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Final

from turnlatch.errors import JournalCorruptError, JournalVersionError
from turnlatch.journal.chain import REMEDY
from turnlatch.journal.formats import FORMATS, NEWEST, OLDEST, MayWrite, SchemaRow

APPLICATION_ID: Final = 0x64746E74
"""The bytes `dtnt`, in the header of every store."""

VERSION: Final = NEWEST
"""The format of what is written."""

_NAME_IT = f"PRAGMA application_id = {APPLICATION_ID}"
_STAMP_IT = f"PRAGMA user_version = {VERSION}"

ROWS_MAX: Final = 64
"""Rows of a schema that are looked at; a store has far fewer."""

STEPS_MAX: Final = 200_000
"""Steps of SQLite's machine that a look at an unknown file may take."""

_STEPS: Final = 1000

_SCHEMA = f"SELECT type, name, tbl_name, sql FROM sqlite_schema LIMIT {ROWS_MAX}"

_STATISTICS: Final[frozenset[SchemaRow]] = frozenset(
    ("table", name, name, f"CREATE TABLE {name}({columns})")
    for name, columns in (
        ("sqlite_stat1", "tbl,idx,stat"),
        ("sqlite_stat4", "tbl,idx,neq,nlt,ndlt,sample"),
    )
)
"""Tables that an ANALYZE leaves, which are harmless."""


def is_new(connection: Connection) -> bool:
    """True for an empty file; a store whose process was killed while making it is one.

    Raises:
        JournalVersionError: The file is not empty, and not a readable store.
        sqlite3.Error: It cannot be read.
    """
    where = "the file"
    # In one transaction: what another process makes meanwhile is seen whole or not.
    with limited(connection), reading(connection):
        application, version = identity(connection)
        found = Counter[SchemaRow](connection.execute(_SCHEMA).fetchall())
    if not (application or version or found):
        return True
    refuse(application, version, where)
    for row in _STATISTICS:
        if found[row] <= 1:
            del found[row]
    expected = FORMATS[version].rows
    if found != expected:
        differing = (found - expected) + (expected - found)
        strange = sorted({f"{row[0]} {row[1]}"[:80] for row in differing})
        raise JournalVersionError(
            where,
            f"its schema is not turnlatch's: see {', '.join(strange)}",
            "use a file that only turnlatch writes to; this one was not touched",
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


@contextmanager
def limited(connection: Connection) -> Generator[None]:
    """Interrupt what takes more than `STEPS_MAX` steps of SQLite's machine."""
    left = STEPS_MAX // _STEPS

    def step() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    connection.set_progress_handler(step, min(_STEPS, max(STEPS_MAX, 1)))
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)


def header(connection: Connection) -> tuple[int, int] | None:
    """The application id and the version of a database; None for an empty one."""
    with limited(connection), reading(connection):
        found = identity(connection)
        tables = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    return found if any(found) or tables is not None else None


def identity(connection: Connection) -> tuple[int, int]:
    """The application id and the version in the file's header."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(application), int(version)


def store_id(connection: Connection, where: str) -> bytes:
    """The unique id of this store, made with it.

    Raises:
        JournalCorruptError: The stored value is not an id.
    """
    # The schema's checks apply to writes, not to bytes that rot.
    match connection.execute("SELECT id FROM store LIMIT 2").fetchall():
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
            "is a database, but not a turnlatch store",
            "give the path of a store, or of a file that does not exist yet",
        )
    if version in FORMATS:
        return
    reads = f"this one reads formats {OLDEST} to {NEWEST}"
    if version > NEWEST:
        raise JournalVersionError(
            where,
            f"was written by a newer turnlatch (format {version}); {reads}",
            "upgrade turnlatch; the file was not touched",
        )
    raise JournalVersionError(
        where,
        f"has format {version}, which is older than what this turnlatch reads; {reads}",
        "open it with the turnlatch that wrote it, or restore it from a backup; the file"
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
        ConversationBusyError: A process that has the store open with an older turnlatch
            still writes to it.
        JournalVersionError: A newer turnlatch has upgraded it since it was opened.
    """
    application, version = identity(connection)
    refuse(application, version, where)
    for older in range(version, NEWEST):
        step = FORMATS[older].upgrade
        if step is not None:
            step(connection, may_write)
    if version != NEWEST:
        connection.execute(_STAMP_IT)

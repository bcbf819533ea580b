"""The tables of a store, and the check that a file has exactly these.

A file is only used if its application id, its version and the text of every table,
index, trigger and view in it are what is written here. A newer store, somebody else's
database or one with a trigger slipped in is refused before anything is written.
"""

from collections.abc import Generator
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Final

from detent.errors import JournalCorruptError, JournalVersionError
from detent.journal.chain import REMEDY, SEQUENCE_BITS, SEQUENCE_MAX
from detent.journal.codec import FORMAT, KINDS
from detent_states.writer import WriterState

APPLICATION_ID: Final = 0x64746E74
"""The bytes `dtnt`, in the header of every store."""

VERSION: Final = FORMAT
"""Version of the tables and of what is written in them."""

_KINDS = ", ".join(f"'{kind}'" for kind in KINDS)
_LEASES = f"'{WriterState.FREE.value}', '{WriterState.HELD.value}'"

# `entry` is one tree in the order of conversation and sequence: a conversation is read
# in one sweep, and an append touches the end of its range and no second index. The key
# is unique by being the primary key; conversation and sequence are computed from it.
_TABLES: Final = (
    """\
CREATE TABLE store (
  id BLOB NOT NULL CHECK (length(id) = 16)
) STRICT""",
    """\
CREATE TABLE conversation (
  id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 2147483647),
  name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
  parent INTEGER REFERENCES conversation (id) CHECK (parent < id),
  fork_sequence INTEGER CHECK (fork_sequence >= 1),
  fork_hash BLOB CHECK (length(fork_hash) = 32),
  CHECK ((parent IS NULL) = (fork_sequence IS NULL)),
  CHECK ((parent IS NULL) = (fork_hash IS NULL))
) STRICT""",
    f"""\
CREATE TABLE lease (
  conversation INTEGER PRIMARY KEY REFERENCES conversation (id),
  state TEXT NOT NULL CHECK (state IN ({_LEASES})),
  epoch INTEGER NOT NULL CHECK (epoch >= 1),
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  started TEXT NOT NULL,
  boot TEXT NOT NULL,
  expires REAL NOT NULL
) STRICT""",
    f"""\
CREATE TABLE entry (
  key INTEGER PRIMARY KEY,
  epoch INTEGER NOT NULL CHECK (epoch >= 1),
  at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
  kind TEXT NOT NULL CHECK (kind IN ({_KINDS})),
  turn INTEGER NOT NULL CHECK (turn >= 0),
  attempt INTEGER NOT NULL CHECK (attempt >= 0),
  meta BLOB NOT NULL,
  body BLOB NOT NULL,
  extra BLOB NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  conversation INTEGER NOT NULL GENERATED ALWAYS AS (key >> {SEQUENCE_BITS}) VIRTUAL
    REFERENCES conversation (id),
  sequence INTEGER NOT NULL GENERATED ALWAYS AS (key & {SEQUENCE_MAX}) VIRTUAL
    CHECK (sequence >= 1)
) STRICT""",
    """\
CREATE VIEW journal AS
  SELECT c.name AS conversation, e.sequence, e.epoch,
    strftime('%Y-%m-%dT%H:%M:%fZ', e.at_ms / 1000.0, 'unixepoch') AS at,
    e.kind, e.turn, e.attempt,
    CAST(e.meta AS TEXT) AS meta, CAST(e.body AS TEXT) AS body,
    CAST(e.extra AS TEXT) AS extra, lower(hex(e.hash)) AS hash
  FROM entry AS e JOIN conversation AS c ON c.id = e.conversation
  ORDER BY e.key""",
)

_STAMPS: Final = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)

_EXPECTED = {text.split()[2]: text for text in _TABLES}

_SCHEMA = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL OR type != 'index'"


def is_new(connection: Connection) -> bool:
    """True for a file nobody has written anything to; a store that was killed while it
    was being made is one of those.

    Raises:
        JournalVersionError: There is something, and it is no store of this version.
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
    if found != _EXPECTED:
        strange = sorted(
            str(name)
            for name in found.keys() | _EXPECTED.keys()
            if found.get(name) != _EXPECTED.get(name)
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
    """Refuse a file by its header.

    Raises:
        JournalVersionError: It is somebody else's, or a newer detent's.
    """
    if application != APPLICATION_ID:
        raise JournalVersionError(
            where,
            "is a database, but not a detent store",
            "give the path of a store, or of a file that does not exist yet",
        )
    if version != VERSION:
        raise JournalVersionError(
            where,
            f"has version {version}; this detent reads version {VERSION}",
            "use the detent that wrote it, or a newer one; it was not touched",
        )


def create(connection: Connection, store_id: bytes) -> None:
    """Make the tables, in one transaction that the caller began."""
    for text in _TABLES:
        connection.execute(text)
    connection.execute("INSERT INTO store (id) VALUES (?)", (store_id,))
    for stamp in _STAMPS:
        connection.execute(stamp)

"""The formats of a store: what each one's tables are, and how it becomes the next one.

A store says its format in its header (SQLite's `user_version`). Every format that was
released stands in `FORMATS`, with the text of its tables. A store of an older one is read
as it is. The first writer that takes a conversation in it upgrades it to the newest format,
in the transaction that takes the lease; `upgrade` does that, one format after another.

How a new format is made: leave what is here as it is, raise `codec.FORMAT`, add a line to
`FORMATS` and a step from the one before it (None where the tables stay the same and only
the number changes, because a kind or a field of an event is new), and add its golden
files to the tests.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from sqlite3 import Connection
from typing import Final, final

import attrs

from turnlatch.errors import ConversationBusyError
from turnlatch.journal.chain import SEQUENCE_BITS, SEQUENCE_MAX
from turnlatch.journal.lease import LEASE_SECONDS
from turnlatch.journal.owner import Owner

_STORE = """\
CREATE TABLE store (
  id BLOB NOT NULL CHECK (length(id) = 16)
) STRICT"""

_CONVERSATION = """\
CREATE TABLE conversation (
  id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 2147483647),
  name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
  parent INTEGER REFERENCES conversation (id) CHECK (parent < id),
  fork_sequence INTEGER CHECK (fork_sequence >= 1),
  fork_hash BLOB CHECK (length(fork_hash) = 32),
  CHECK ((parent IS NULL) = (fork_sequence IS NULL)),
  CHECK ((parent IS NULL) = (fork_hash IS NULL))
) STRICT"""

_LEASE_1 = """\
CREATE TABLE lease (
  conversation INTEGER PRIMARY KEY REFERENCES conversation (id),
  state TEXT NOT NULL CHECK (state IN ('free', 'held')),
  epoch INTEGER NOT NULL CHECK (epoch >= 1),
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  started TEXT NOT NULL,
  boot TEXT NOT NULL,
  expires REAL NOT NULL
) STRICT"""

# `namespace` tells apart two processes with one number in two containers. `expires` is
# seconds since the epoch, `expires_up` the same moment on the host's own count since it
# was booted, which no setting of a clock moves. Without defaults: a process that has the
# file open with an older turnlatch cannot write a lease any more.
_LEASE = """\
CREATE TABLE lease (
  conversation INTEGER PRIMARY KEY REFERENCES conversation (id),
  state TEXT NOT NULL CHECK (state IN ('free', 'held')),
  epoch INTEGER NOT NULL CHECK (epoch >= 1),
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  started TEXT NOT NULL,
  boot TEXT NOT NULL,
  namespace TEXT NOT NULL,
  expires REAL NOT NULL,
  expires_up REAL NOT NULL
) STRICT"""

# `entry` is one tree in the order of conversation and sequence: a conversation is read
# in one sweep, and an append touches the end of its range and no second index. The key
# is unique by being the primary key; conversation and sequence are computed from it.
# Which kinds there are is the codec's to say: a table that lists them cannot grow.
_ENTRY_OF = """\
CREATE TABLE entry (
  key INTEGER PRIMARY KEY,
  epoch INTEGER NOT NULL CHECK (epoch >= 1),
  at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
  kind TEXT NOT NULL CHECK ({kind}),
  turn INTEGER NOT NULL CHECK (turn >= 0),
  attempt INTEGER NOT NULL CHECK (attempt >= 0),
  meta BLOB NOT NULL,
  body BLOB NOT NULL,
  extra BLOB NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  conversation INTEGER NOT NULL GENERATED ALWAYS AS (key >> {bits}) VIRTUAL
    REFERENCES conversation (id),
  sequence INTEGER NOT NULL GENERATED ALWAYS AS (key & {last}) VIRTUAL
    CHECK (sequence >= 1)
) STRICT"""

_KINDS_1 = (
    "'conversation_opened', 'profile_changed', 'forked', 'turn_opened',"
    " 'request_sent', 'reply_confirmed', 'turn_failed', 'retry_scheduled',"
    " 'retry_cancelled', 'turn_retried', 'steered', 'call_asked', 'call_approved',"
    " 'call_denied', 'call_started', 'call_lost', 'call_closed', 'turn_continued',"
    " 'compaction_sent', 'compaction_confirmed', 'remedy_chosen', 'probed',"
    " 'turn_suspended', 'pinned', 'turn_abandoned', 'rewound'"
)


def _entry(kind: str) -> str:
    return _ENTRY_OF.format(kind=kind, bits=SEQUENCE_BITS, last=SEQUENCE_MAX)


_ENTRY_1 = _entry(f"kind IN ({_KINDS_1})")
_ENTRY = _entry("length(kind) BETWEEN 1 AND 32")

_JOURNAL = """\
CREATE VIEW journal AS
  SELECT c.name AS conversation, e.sequence, e.epoch,
    strftime('%Y-%m-%dT%H:%M:%fZ', e.at_ms / 1000.0, 'unixepoch') AS at,
    e.kind, e.turn, e.attempt,
    CAST(e.meta AS TEXT) AS meta, CAST(e.body AS TEXT) AS body,
    CAST(e.extra AS TEXT) AS extra, lower(hex(e.hash)) AS hash
  FROM entry AS e JOIN conversation AS c ON c.id = e.conversation
  ORDER BY e.key"""

_ENTRY_COLUMNS = "key, epoch, at_ms, kind, turn, attempt, meta, body, extra, hash"

MayWrite = Callable[[Owner, float], bool]
"""Whether the holder (who, until when) of a lease of format 1 may still write."""


def _from_1(connection: Connection, may_write: MayWrite) -> None:
    """The list of kinds leaves `entry`; `lease` says more about who holds it.

    An entry's key, hash and everything that is hashed are copied as they are. A turnlatch of
    that time does not renew a lease while it is idle, and would go on appending to the
    new tables: one that lives is not upgraded away under, and the lease of one that is
    dead ends here.
    """
    held = connection.execute(
        "SELECT host, pid, started, boot, expires FROM lease WHERE state = 'held'"
    ).fetchall()
    for host, pid, started, boot, expires in held:
        holder = Owner(host, pid, started, boot)
        if may_write(holder, expires):
            raise ConversationBusyError(
                "the store",
                f"{holder} writes to it with an older turnlatch (format 1)",
                "close it there, or end that process, and open this again, which"
                " upgrades the store; a holder on another host is waited for until 300"
                " seconds after its last append. Nothing was changed",
            )
    for statement in (
        "DROP VIEW journal",  # or the renaming would rewrite it
        "ALTER TABLE entry RENAME TO entry_1",
        _ENTRY,
        f"INSERT INTO entry ({_ENTRY_COLUMNS})"
        f" SELECT {_ENTRY_COLUMNS} FROM entry_1 ORDER BY key",
        "DROP TABLE entry_1",
        "ALTER TABLE lease RENAME TO lease_1",
        _LEASE,
        "INSERT INTO lease SELECT conversation, 'free', epoch, host, pid, started, boot,"
        " '', expires, 0.0 FROM lease_1",
        "DROP TABLE lease_1",
        _JOURNAL,
    ):
        connection.execute(statement)


SchemaRow = tuple[object, object, object, object]
"""Type, name, table and text of a thing in a database, as `sqlite_schema` has them."""

_UNIQUE_NAME: SchemaRow = (
    "index",
    "sqlite_autoindex_conversation_1",
    "conversation",
    None,
)
"""The index that SQLite makes by itself for a name that is unique."""


@final
@attrs.frozen
class Format:
    """One format of a store.

    Attributes:
        tables: The text of each table and view.
        lease: The columns of `lease AS l` that say who holds it and until when, for a
            reader of any format.
        lasts: How many seconds a lease lasts that is not renewed.
        upgrade: Makes a store of this format one of the next, in a transaction that the
            caller began; None if only the number changes. Raises ConversationBusyError
            where somebody alive would be in the way.
    """

    tables: tuple[str, ...]
    lease: str
    lasts: float
    upgrade: Callable[[Connection, MayWrite], None] | None = None

    @property
    def schema(self) -> dict[str, str]:
        """The tables by name."""
        return {text.split()[2]: text for text in self.tables}

    @property
    def rows(self) -> Counter[SchemaRow]:
        """Every row of `sqlite_schema`."""
        made: list[SchemaRow] = [
            (text.split()[1].lower(), name, name, text)
            for name, text in self.schema.items()
        ]
        return Counter([_UNIQUE_NAME, *made])


_HOLDER = "l.host, l.pid, l.started, l.boot"

FORMATS: Final[Mapping[int, Format]] = {
    1: Format(
        (_STORE, _CONVERSATION, _LEASE_1, _ENTRY_1, _JOURNAL),
        f"{_HOLDER}, '' AS namespace, l.expires, NULL AS expires_up",
        300.0,
        _from_1,
    ),
    2: Format(
        (_STORE, _CONVERSATION, _LEASE, _ENTRY, _JOURNAL),
        f"{_HOLDER}, l.namespace, l.expires, l.expires_up",
        LEASE_SECONDS,
    ),
}
"""Every format that this turnlatch reads, the newest last."""

OLDEST: Final = min(FORMATS)
"""The oldest format that is read."""

NEWEST: Final = max(FORMATS)
"""The format that is written."""

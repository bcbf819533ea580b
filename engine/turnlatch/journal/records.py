"""What is read from a store: conversations, and entries in the order of their chain."""

from collections.abc import Iterable
from contextlib import closing
from sqlite3 import Connection
from typing import final

import attrs

from turnlatch.errors import JournalCorruptError, UnknownConversationError
from turnlatch.journal.chain import (
    REMEDY,
    SEQUENCE_BITS,
    SEQUENCE_MAX,
    DamageError,
    diagnose,
    genesis,
    verify_chain,
)
from turnlatch.journal.tail_anchor import Anchor, check
from turnlatch.journal.writer import place
from turnlatch.ports import Entries
from turnlatch_states.machine.events import Event


@final
@attrs.frozen
class ConversationRow:
    """A conversation's row.

    Attributes:
        id: Its number in the store.
        name: Its name.
        parent: The number of the conversation it was forked off, if it was.
        begins: Sequence it was forked at: its own entries come after this; else 0.
        root: The hash its own entries continue.
    """

    id: int
    name: str
    parent: int | None
    begins: int
    root: bytes

    @property
    def base(self) -> int:
        """The key before that of its first possible entry."""
        return self.id << SEQUENCE_BITS


@final
@attrs.frozen
class RecordRows:
    """The rows of a conversation.

    Attributes:
        entries: Its entries, inherited ones included.
        hash: The hash of the last entry; the root's hash without entries.
    """

    entries: Entries
    hash: bytes


def find(connection: Connection, name: str) -> ConversationRow | None:
    """The conversation of that name, or None."""
    # SQLite would take the name from the index that finds it; the row tells its own.
    found = connection.execute(
        "SELECT id, name, parent, fork_sequence, fork_hash FROM conversation"
        " WHERE id = (SELECT id FROM conversation WHERE name = ?)",
        (name,),
    ).fetchone()
    return None if found is None else _made(found, name)


def known(connection: Connection, name: str) -> ConversationRow:
    """The conversation of that name.

    Raises:
        UnknownConversationError: The store has no conversation of that name.
    """
    found = find(connection, name)
    if found is None:
        raise UnknownConversationError(
            place(name), "does not exist", "open() it to begin it"
        )
    return found


def _of_id(connection: Connection, number: int, name: str) -> ConversationRow:
    found = connection.execute(_BY_ID, (number,)).fetchone()
    if found is None:
        raise _damaged(name, "the conversation it was forked off is missing")
    return _made(found, None)


def _made(
    row: tuple[int, str, int | None, int, bytes], name: str | None
) -> ConversationRow:
    number, found, parent, sequence, digest = row
    if name is not None and found != name:  # the index and its table disagree
        raise _damaged(name, f"its row says {found!r}")
    if parent is None:
        return ConversationRow(number, found, None, 0, genesis(found))
    if not 1 <= parent < number or not 1 <= sequence <= SEQUENCE_MAX:
        raise _damaged(found, "its row contradicts itself")
    return ConversationRow(number, found, parent, sequence, digest)


def _damaged(name: str, problem: str) -> JournalCorruptError:
    return JournalCorruptError(place(name), problem, REMEDY)


def create(connection: Connection, name: str) -> ConversationRow:
    """Make a conversation, in a transaction that the caller began."""
    number = _next_id(connection)
    connection.execute(
        "INSERT INTO conversation (id, name) VALUES (?, ?)", (number, name)
    )
    return ConversationRow(number, name, None, 0, genesis(name))


def fork(
    connection: Connection,
    parent: ConversationRow,
    name: str,
    sequence: int,
    root: bytes,
) -> ConversationRow:
    """Make a fork, in a transaction that the caller began."""
    number = _next_id(connection)
    connection.execute(
        "INSERT INTO conversation (id, name, parent, fork_sequence, fork_hash)"
        " VALUES (?, ?, ?, ?, ?)",
        (number, name, parent.id, sequence, root),
    )
    return ConversationRow(number, name, parent.id, sequence, root)


def _next_id(connection: Connection) -> int:
    (last,) = connection.execute("SELECT max(id) FROM conversation").fetchone()
    return (last or 0) + 1


def last(connection: Connection, conversation: ConversationRow) -> int:
    """Sequence of the last entry, inherited ones included."""
    found = connection.execute(
        "SELECT key FROM entry WHERE key > ? AND key <= ? ORDER BY key DESC LIMIT 1",
        (conversation.base, conversation.base + SEQUENCE_MAX),
    ).fetchone()
    return conversation.begins if found is None else int(found[0]) & SEQUENCE_MAX


def head(connection: Connection, conversation: ConversationRow) -> tuple[int, bytes]:
    """Sequence and stored hash of the last entry, inherited ones included."""
    base = conversation.base
    found = connection.execute(
        "SELECT key, hash FROM entry WHERE key > ? AND key <= ?"
        " ORDER BY key DESC LIMIT 1",
        (base, base + SEQUENCE_MAX),
    ).fetchone()
    if found is None:
        return conversation.begins, conversation.root
    return int(found[0]) & SEQUENCE_MAX, found[1]


def stored_hash(
    connection: Connection, conversation: ConversationRow, sequence: int
) -> bytes | None:
    """The stored hash of one entry, inherited or own; None if there is no such entry."""
    owner = conversation
    while owner.parent is not None and sequence <= owner.begins:
        if sequence == owner.begins:
            return owner.root
        owner = _of_id(connection, owner.parent, conversation.name)
    found = connection.execute(_HASH, (owner.base + sequence,)).fetchone()
    return None if found is None else found[0]


def ends_with(
    connection: Connection, conversation: ConversationRow, record: RecordRows
) -> bool:
    """True if a record that was loaded is still all there is."""
    if not record.entries:
        return False
    end = record.entries[-1].sequence
    if last(connection, conversation) != end:
        return False
    return stored_hash(connection, conversation, end) == record.hash


def numbers(connection: Connection) -> set[int]:
    """The numbers of all conversations."""
    return {row[0] for row in connection.execute("SELECT id FROM conversation")}


def demand(
    connection: Connection, anchors: Iterable[tuple[int, Anchor]], where: str
) -> None:
    """See that every conversation has the entry that was noted as its last.

    Args:
        connection: The store's; it is left in a transaction where this raises.
        anchors: Conversations by number, each with what was noted before this asks.
        where: The store, for errors.

    Raises:
        JournalCorruptError: An entry that was noted is missing, or another one.
    """
    connection.execute("BEGIN")  # one for all takes less than half the time
    for number, noted in anchors:
        key = (number << SEQUENCE_BITS) + noted.sequence
        found = connection.execute(_HASH, (key,)).fetchone()
        if found is not None and found[0] == noted.hash:
            continue
        row = connection.execute(_BY_ID, (number,)).fetchone()
        if row is None:
            raise _forgotten(number, where)
        # A fork without new entries; or a truncated record, which this detects.
        one = _made(row, None)
        digest = stored_hash(connection, one, noted.sequence)
        check(noted, last(connection, one), digest, place(one.name))
    connection.execute("COMMIT")


def demand_listed(
    noted: Iterable[int], listed: Iterable[tuple[object, ...]], where: str
) -> None:
    """See that a listing has every conversation that was noted before it was made.

    Args:
        noted: Their numbers.
        listed: Rows that begin with a number.
        where: The store, for errors.

    Raises:
        JournalCorruptError: One is missing.
    """
    there = {row[0] for row in listed}
    for number in noted:
        if number not in there:
            raise _forgotten(number, where)


def _forgotten(number: int, where: str) -> JournalCorruptError:
    return JournalCorruptError(
        where,
        f"journal was truncated: the head file knows conversation {number}, the record"
        " does not",
        "restore the store from a backup, or open it with accept_loss=True to go on from"
        " what is left; nothing was changed",
    )


def load(
    connection: Connection,
    conversation: ConversationRow,
    after: int = 0,
    until: int = SEQUENCE_MAX,
) -> RecordRows:
    """Read, check and decode the entries after a sequence, up to and including another.

    Raises:
        JournalCorruptError: The record contradicts its hashes.
        JournalVersionError: An entry is of a kind that is not known here.
        sqlite3.Error: It cannot be read.
    """
    parts = [
        (one, end)
        for one, end in _lineage(connection, conversation, until)
        if end > after
    ]
    previous = parts[0][0].root
    if after > parts[0][0].begins:
        stored = stored_hash(connection, conversation, after)
        if stored is None:
            raise _damaged(conversation.name, f"entry {after} is missing")
        previous = stored
    events: list[Event] = []
    for one, end in parts:
        start = after + len(events)
        if start == one.begins and previous != one.root:
            raise _damaged(
                conversation.name,
                f"entry {start} is not the one that {one.name!r} was forked at",
            )
        span = (one.base + start, one.base + end)
        try:
            # Closed, or a traceback would keep it, and it the connection, from closing.
            with closing(connection.execute(_LOAD, span)) as rows:
                found, digest = verify_chain(rows, previous)
            _compare(connection, one, start + len(found), previous, digest)
        except DamageError:
            with closing(connection.execute(_LOAD_ALL, span)) as all_:
                diagnose(all_, previous, start, place(conversation.name))
        previous = digest
        events = events + found if events else found
        if one is not conversation and after + len(events) != end:
            raise _damaged(
                conversation.name, f"an entry it inherited from {one.name!r} is missing"
            )
    return RecordRows(Entries(events, after), previous)


def _compare(
    connection: Connection,
    one: ConversationRow,
    sequence: int,
    root: bytes,
    digest: bytes,
) -> None:
    """Compare a computed hash with the stored one, where there are entries at all."""
    if digest == root:
        return
    found = connection.execute(_HASH, (one.base + sequence,)).fetchone()
    if found is None or found[0] != digest:
        raise DamageError


_BY_ID = (
    "SELECT id, name, parent, fork_sequence, fork_hash FROM conversation WHERE id = ?"
)

_HASH = "SELECT hash FROM entry WHERE key = ?"

_LOAD = (
    "SELECT epoch, at_ms, kind, turn, attempt, meta, body, extra FROM entry"
    " WHERE key > ? AND key <= ? ORDER BY key"
)

_LOAD_ALL = (
    "SELECT key, epoch, at_ms, kind, turn, attempt, meta, body, extra, hash"
    " FROM entry"
    " WHERE key > ? AND key <= ? ORDER BY key"
)


def _lineage(
    connection: Connection, conversation: ConversationRow, until: int
) -> list[tuple[ConversationRow, int]]:
    """The conversations that its entries belong to, oldest first, each with the last
    sequence it gives."""
    one, parts = conversation, [(conversation, until)]
    while one.parent is not None:
        until = min(until, one.begins)
        one = _of_id(connection, one.parent, conversation.name)
        # A fork taken before the point where its parent was itself forked off has
        # nothing of that parent's own.
        if until > one.begins:
            parts.append((one, until))
    return parts[::-1]

"""The hash chain over a conversation's entries, and the loop that walks it.

SQLite does not notice a flipped bit in what it stores. Each entry therefore carries the
SHA-256 of the entry before it and of everything it says itself, with lengths, so no two
different entries hash the same text. A conversation's chain begins at its name, a
fork's at the hash of the entry it was forked off.
"""

from collections.abc import Iterable
from hashlib import sha256
from struct import Struct
from struct import error as StructError
from typing import Final, NoReturn, TypeAlias

from turnlatch.errors import JournalCorruptError, JournalVersionError
from turnlatch.journal.codec import KINDS, READERS, Row, decode
from turnlatch.journal.strict import CodecError
from turnlatch_states.machine.events import Event

SEQUENCE_BITS: Final = 32
"""An entry's key is its conversation's number and, in these bits, its sequence."""

SEQUENCE_MAX: Final = 2**SEQUENCE_BITS - 1
"""Most entries a conversation can have."""

KIND_BYTES_MAX: Final = 32
"""Longest kind; a kind is hashed padded to this."""

Stored: TypeAlias = tuple[int, int, int, str, int, int, bytes, bytes, bytes, bytes]
"""key, epoch, at_ms, kind, turn, attempt, meta, body, extra, hash: an entry as it is stored."""

Loaded: TypeAlias = tuple[int, int, str, int, int, bytes, bytes, bytes]
"""The same without key and hash: what has to be read of an entry that is intact."""

_FRAME = Struct(f">32s{KIND_BYTES_MAX}sQQQQQQQ")
_PADDED = {kind: kind.encode().ljust(KIND_BYTES_MAX, b"\0") for kind in KINDS}
_FORMS = {kind: (_PADDED[kind], READERS[kind]) for kind in KINDS}

REMEDY: Final = (
    "nothing was changed; restore the store from a backup, or read what is left with"
    " plain SQL from the view `journal`"
)
"""What to do about a record that contradicts itself."""


class DamageError(Exception):
    """Entries are not what was written; never leaves this package."""


def genesis(name: str) -> bytes:
    """The hash that the chain of a conversation starts from."""
    return sha256(b"detent journal 1\0" + name.encode()).digest()


def link(previous: bytes, epoch: int, at_ms: int, row: Row) -> bytes:
    """The hash of an entry.

    Args:
        previous: The hash of the entry before it.
        epoch: The epoch of the writer that appends it.
        at_ms: When it is appended, in milliseconds since the epoch of Unix.
        row: The entry.
    """
    kind, turn, attempt, meta, body, extra = row
    frame = _FRAME.pack(
        previous,
        _padded(kind),
        epoch,
        at_ms,
        turn,
        attempt,
        len(meta),
        len(body),
        len(extra),
    )
    return sha256(frame + meta + body + extra).digest()


def _padded(kind: str) -> bytes:
    found = _PADDED.get(kind)
    if found is None:
        found = kind.encode().ljust(KIND_BYTES_MAX, b"\0")
        if len(found) > KIND_BYTES_MAX:
            raise TypeError("kind is too long")
    return found


def verify_chain(rows: Iterable[Loaded], previous: bytes) -> tuple[list[Event], bytes]:
    """Decode entries and compute their chain, in one pass and as fast as it goes.

    Nothing that it returns may be used before the hash was compared with the stored
    one. One comparison at the end is enough: each hash covers the one before it.

    Args:
        rows: The entries, in order.
        previous: The hash they continue.

    Returns:
        Their events, and the hash of the last one.

    Raises:
        DamageError: An entry cannot be read; `diagnose` knows which and why.
    """
    events: list[Event] = []
    add, pack, forms, hash_of = events.append, _FRAME.pack, _FORMS, sha256
    try:
        for epoch, at_ms, kind, turn, attempt, meta, body, extra in rows:
            padded, read = forms[kind]
            frame = pack(
                previous,
                padded,
                epoch,
                at_ms,
                turn,
                attempt,
                len(meta),
                len(body),
                len(extra),
            )
            previous = hash_of(frame + meta + body + extra).digest()
            add(read(turn, attempt, meta, body, extra))
    except (CodecError, KeyError, StructError, TypeError) as error:
        # TypeError and StructError: a value of a type that no turnlatch ever wrote.
        raise DamageError(str(error)) from error
    return events, previous


def diagnose(
    rows: Iterable[Stored], previous: bytes, sequence: int, where: str
) -> NoReturn:
    """Say what is wrong with entries that `verify_chain` failed on.

    Args:
        rows: The same entries, with their keys and stored hashes.
        previous: As for `verify_chain`.
        sequence: The sequence they continue.
        where: The conversation.

    Raises:
        JournalCorruptError: An entry is missing, is not what its hash says, or cannot be
            read; or each is intact by itself and they are not the whole.
        JournalVersionError: An entry is intact but of an unknown kind.
    """
    for key, epoch, at_ms, kind, turn, attempt, meta, body, extra, stored in rows:
        sequence += 1
        if key & SEQUENCE_MAX != sequence:
            problem = (
                f"entry {sequence} is missing; after it comes {key & SEQUENCE_MAX}"
            )
            raise JournalCorruptError(where, problem, REMEDY)
        row = Row(kind, turn, attempt, meta, body, extra)
        try:
            found = link(previous, epoch, at_ms, row)
        except (AttributeError, StructError, TypeError):
            found = None  # a value of another type; the stored hash may be another too
        if found is None or found != stored:
            problem = f"entry {sequence} ({kind}) is not what its hash says"
            raise JournalCorruptError(where, problem, REMEDY)
        previous = stored
        if kind not in READERS:
            raise JournalVersionError(
                where,
                f"entry {sequence} is of kind {kind!r}, which this turnlatch does not know",
                "use the turnlatch that wrote it, or a newer one; nothing was changed",
            )
        try:
            decode(row)
        except CodecError as error:
            problem = f"entry {sequence} ({error})"
            raise JournalCorruptError(where, problem, REMEDY) from None
    raise JournalCorruptError(where, "its hashes do not add up", REMEDY)

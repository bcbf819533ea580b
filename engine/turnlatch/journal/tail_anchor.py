"""The tail anchor: a lower bound on the record's contents, kept outside the record.

A flipped bit in SQLite's write-ahead log makes SQLite drop every later commit silently, and
a chain that ends early is still a chain. So the sequence and hash of each conversation's
last entry are also kept in a file next to the database, `<database>-head`, one fixed slot
for each conversation, written after each commit.

It is written after the commit and is not synced. After a crash between the two it may
therefore be behind the record, which is harmless. It can only be ahead of the record if the
record lost acknowledged entries.
"""

import os
from binascii import crc32
from collections.abc import Container
from contextlib import suppress
from hashlib import sha256
from struct import Struct
from typing import Final, NoReturn, final

import attrs

from turnlatch.errors import JournalCorruptError, JournalError

_MAGIC: Final = b"detent head 1\n\0\0"
_HEADER = Struct(">16s16sI28x")  # magic, store id, checksum of both
_SLOT = Struct(">Q32s12sI8x")  # sequence, hash, name digest, checksum of the three
_CHECKED: Final = 52
_SIZE: Final = 64
_PIECE: Final = 1 << 16
_BLANK_MAX: Final = 1 << 24  # bytes: slots of a quarter of a million conversations
# 64 bytes at a multiple of 64 never straddle a sector, so a slot is old or new.


@final
@attrs.frozen
class Anchor:
    """The contents of one slot.

    Attributes:
        sequence: Sequence of an entry that was durable.
        hash: The entry's hash.
    """

    sequence: int
    hash: bytes


@final
class AnchorFile:
    """The open head file of one store."""

    def __init__(self, descriptor: int, *, writable: bool) -> None:
        self._descriptor: int | None = descriptor
        self._writable = writable

    def read(self, conversation: int) -> Anchor | None:
        """The anchor of a conversation; None if its slot is empty or unreadable."""
        if self._descriptor is None:
            return None
        raw = _pread(self._descriptor, _SIZE, conversation * _SIZE)
        if len(raw) < _SIZE:
            return None
        sequence, digest, _, checksum = _SLOT.unpack(raw)
        if not sequence or crc32(raw[:_CHECKED]) != checksum:
            return None
        return Anchor(sequence, digest)

    def everything(self) -> list[tuple[int, Anchor]]:
        """Every anchor that can be read, each with its conversation."""
        if self._descriptor is None:
            return []
        slots = os.fstat(self._descriptor).st_size // _SIZE
        found = ((number, self.read(number)) for number in range(1, slots))
        return [(number, anchor) for number, anchor in found if anchor is not None]

    def write(
        self, conversation: int, name: bytes, sequence: int, hash_: bytes
    ) -> bool:
        """Note the last entry of a conversation; False if that was not possible.

        Args:
            conversation: Its number.
            name: Its name's digest, see `name_digest`.
            sequence: Sequence of its last entry.
            hash_: Hash of its last entry.
        """
        if self._descriptor is None or not self._writable:
            return False
        raw = _SLOT.pack(sequence, hash_, name, 0)[:_CHECKED]
        raw = _SLOT.pack(sequence, hash_, name, crc32(raw))
        try:
            return _pwrite(self._descriptor, raw, conversation * _SIZE) == _SIZE
        except OSError:
            # The entries are committed. A missing anchor is a weaker guard, not a loss.
            return False

    def keep(self, conversations: Container[int]) -> None:
        """Forget all conversations but these: the loss of the others was accepted."""
        for number, _ in self.everything():
            if number not in conversations and self._descriptor is not None:
                with suppress(OSError):
                    _pwrite(self._descriptor, bytes(_SIZE), number * _SIZE)

    def knows(self, name: bytes) -> bool:
        """True if some slot is for a conversation with that name's digest."""
        if self._descriptor is None:
            return False
        size = os.fstat(self._descriptor).st_size
        return name in _pread(self._descriptor, size, 0)

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def name_digest(name: str) -> bytes:
    """A name, as slots hold it."""
    return sha256(name.encode()).digest()[:12]


def open_head(
    path: str, store_id: bytes, *, accept_loss: bool
) -> tuple[AnchorFile | None, tuple[str, ...]]:
    """Open the head file of a store that exists, and make it where it is missing.

    Args:
        path: Where the head file is.
        store_id: The id of this store; a head file of another store is refused.
        accept_loss: Reset a head file that belongs to another store.

    Returns:
        The file (None where it can be neither read nor made) and what to tell the user.

    Raises:
        JournalCorruptError: It belongs to another store.
        JournalError: It is not a head file; it was not touched.
    """
    try:
        descriptor, writable = _open(path)
        try:
            notices = _begun(descriptor, path, store_id, writable, accept_loss)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        problem = f"head file {path} cannot be used ({error.strerror})"
        return None, (f"{problem}: a truncated journal would not be noticed",)
    return AnchorFile(descriptor, writable=writable), notices


def _begun(
    descriptor: int, path: str, store_id: bytes, writable: bool, accept_loss: bool
) -> tuple[str, ...]:
    """Check that a head file belongs to this store, or reset it; returns notices."""
    header = _header(store_id)
    found = _pread(descriptor, _SIZE, 0)
    if found == header:
        return ()
    if not (header.startswith(found) or _ours(descriptor, found, store_id)):
        raise JournalError(
            path,
            "has the name of the store's head file, but is not a head file",
            "move it away; it was not touched",
        )
    if len(found) < _SIZE:
        # New, or being made by another process at this moment: what that one writes is
        # the same, and what it has written behind it has to stay.
        if writable:
            _pwrite(descriptor, header, 0)
        return ()
    notices: tuple[str, ...] = ()
    if os.fstat(descriptor).st_size > _SIZE:
        if _whole(found) and not accept_loss:
            refuse_foreign(path)
        what = "another store's" if _whole(found) else "damaged"
        notices = (f"head file {path} was {what}; it was reset",)
    if writable:
        os.ftruncate(descriptor, 0)
        _pwrite(descriptor, header, 0)
    return notices


def _ours(descriptor: int, header: bytes, store_id: bytes) -> bool:
    """True for a head file of any store, whichever part of it is damaged."""
    if header[:16] == _MAGIC or header[16:32] == store_id:
        return True
    if _blank(descriptor):
        return True  # it is not synced: a power cut can leave all of it unwritten
    slots = os.fstat(descriptor).st_size // _SIZE
    raws = (_pread(descriptor, _SIZE, at * _SIZE) for at in range(1, slots))
    return any(
        len(raw) == _SIZE
        and raw[0:8] != bytes(8)
        and _SLOT.unpack(raw)[3] == crc32(raw[:_CHECKED])
        for raw in raws
    )


def _blank(descriptor: int) -> bool:
    """True for a file of nothing but zeros, of a size that a head file can have."""
    size = os.fstat(descriptor).st_size
    if size > _BLANK_MAX:
        return False
    return not any(any(_pread(descriptor, _PIECE, at)) for at in range(0, size, _PIECE))


def is_used(path: str) -> bool:
    """True if there is a head file, and it knows conversations."""
    try:
        descriptor = os.open(path, os.O_RDONLY | FLAGS)
    except OSError:
        return False
    try:
        header = _pread(descriptor, _SIZE, 0)
        used = os.fstat(descriptor).st_size > _SIZE
    finally:
        os.close(descriptor)
    return used and _whole(header)


def check(
    anchor: Anchor | None, sequence: int, hash_: bytes | None, where: str
) -> None:
    """Compare a conversation's record with its anchor.

    Args:
        anchor: The anchor, read before the record was.
        sequence: Sequence of the record's last entry.
        hash_: Hash of the record's entry at the anchor's sequence, if there is one.
        where: The conversation, for errors.

    Raises:
        JournalCorruptError: The record is shorter than it was, or another one.
    """
    if anchor is None:
        return
    if anchor.sequence > sequence:
        raise JournalCorruptError(
            where,
            f"journal was truncated: anchor says {anchor.sequence}, record ends at"
            f" {sequence}",
            "restore the store from a backup, or open it with accept_loss=True to go on"
            " from what is left; nothing was changed",
        )
    if anchor.hash != hash_:
        raise JournalCorruptError(
            where,
            f"entry {anchor.sequence} is not the one that was recorded",
            "restore the store from a backup, or open it with accept_loss=True to trust"
            " what is there; nothing was changed",
        )


def refuse_foreign(path: str) -> NoReturn:
    """Refuse a head file that is used, but not by the database next to it.

    Raises:
        JournalCorruptError: Always.
    """
    raise JournalCorruptError(
        path,
        "journal was truncated: this head file knows conversations of a store that is"
        " not in the database next to it",
        "restore the database from a backup; if it was removed on purpose, remove this"
        " file too or open the store with accept_loss=True",
    )


def _header(store_id: bytes) -> bytes:
    return _HEADER.pack(_MAGIC, store_id, crc32(_MAGIC + store_id))


def _whole(header: bytes) -> bool:
    return len(header) == _SIZE and header == _header(header[16:32])


FLAGS: Final = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe would wait for somebody
)
"""Flags for opening any file next to a database."""


def _open(path: str) -> tuple[int, bool]:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | FLAGS, 0o600), True
    except OSError:
        return os.open(path, os.O_RDONLY | FLAGS), False


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows; callers hold the store's lock
    return os.read(descriptor, size)


def _pwrite(descriptor: int, raw: bytes, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, raw, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.write(descriptor, raw)

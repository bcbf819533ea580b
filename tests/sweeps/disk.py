"""What a disk may hold when the power goes: the files of a store, told from a log.

The model is a cache over a disk, in sectors of 512 bytes that are written whole or not at
all. Until a file is synced, each of its sectors on the disk may be any of the versions
since the last sync, each independently of the others, and its size may be any of the
sizes. What is made and unmade in the folder reaches the disk in its order, some time
before the folder is synced. A sync that failed leaves its sectors as they may be for
good: the kernel takes them for clean, and writes them again only if they change again.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias, final

import attrs
from tests.sweeps.shim import FOLDER, Kind, Op

SECTOR: Final = 512

Pick: TypeAlias = Callable[[int], int]
"""Of so many versions, oldest first, the one that is on the disk."""


@final
class File:
    """One file: what the kernel shows of it, and what may be on the disk."""

    def __init__(self) -> None:
        self.shown = bytearray()
        self._disk = bytearray()
        self._size = 0
        self._sizes: list[int] = []
        self._dirty: dict[int, list[bytes]] = {}
        self._given_up: dict[int, list[bytes]] = {}

    def write(self, at: int, data: bytes) -> None:
        """Change what is shown; the disk hears of it some time."""
        end = at + len(data)
        if end > len(self.shown):
            self.shown.extend(bytes(end - len(self.shown)))
            self._sizes.append(end)
        self.shown[at:end] = data
        self._touch(range(at // SECTOR, -(-end // SECTOR)))

    def cut(self, size: int) -> None:
        """Make it that long."""
        touched = range(size // SECTOR, -(-len(self.shown) // SECTOR))
        self.shown[size:] = bytes(max(size - len(self.shown), 0))
        self._sizes.append(size)
        self._touch(touched)

    def _touch(self, sectors: Iterable[int]) -> None:
        for one in sectors:
            now = bytes(self.shown[one * SECTOR : (one + 1) * SECTOR])
            version = now.ljust(SECTOR, b"\0")
            self._dirty.setdefault(one, []).append(version)

    def sync(self, *, failed: bool) -> None:
        """Have all of it on the disk; or not, and never hear of it again."""
        if failed:
            for one, versions in self._dirty.items():
                self._given_up.setdefault(one, []).extend(versions)
        else:
            for one, versions in self._dirty.items():
                gap = one * SECTOR - len(self._disk)
                self._disk.extend(bytes(max(gap, 0)))
                self._disk[one * SECTOR : (one + 1) * SECTOR] = versions[-1]
                self._given_up.pop(one, None)
            self._size, self._sizes = len(self.shown), []
        self._dirty = {}

    def image(self, pick: Pick) -> bytes:
        """One of the things that the disk may hold."""
        sizes = [self._size, *self._sizes]
        size = sizes[pick(len(sizes))]
        made = self._disk[:size].ljust(size, b"\0")
        for one in sorted(self._dirty.keys() | self._given_up.keys()):
            place = slice(one * SECTOR, (one + 1) * SECTOR)
            versions = [
                self._disk[place].ljust(SECTOR, b"\0"),
                *self._given_up.get(one, ()),
                *self._dirty.get(one, ()),
            ]
            made[place] = versions[pick(len(versions))]
        return bytes(made[:size])


@final
class Disk:
    """The files of a store and the folder they are in, one operation after another."""

    def __init__(self) -> None:
        self.shown: dict[int, File] = {}
        self._entries: dict[int, File] = {}
        self._changes: list[tuple[int, File | None]] = []

    def take(self, op: Op) -> None:
        """Do what an operation did."""
        if op.file == FOLDER:
            if not op.failed:
                self._entries, self._changes = dict(self.shown), []
            return
        match op.kind:
            case Kind.CREATE:
                self.shown[op.file] = File()
                self._changes.append((op.file, self.shown[op.file]))
            case Kind.UNLINK:
                del self.shown[op.file]
                self._changes.append((op.file, None))
            case Kind.WRITE:
                self.shown[op.file].write(op.at, op.data)
            case Kind.TRUNCATE:
                self.shown[op.file].cut(op.at)
            case Kind.SYNC:
                self.shown[op.file].sync(failed=op.failed)
            case _:
                pass

    def kept(self) -> dict[int, bytes]:
        """The files if everything reached the disk."""
        return {tail: bytes(file.shown) for tail, file in self.shown.items()}

    def bare(self) -> dict[int, bytes]:
        """The files if nothing did that did not have to."""
        return {tail: file.image(_oldest) for tail, file in self._entries.items()}

    def drawn(self, dice: random.Random) -> dict[int, bytes]:
        """The files if some of it did."""
        entries = dict(self._entries)
        for tail, file in self._changes[: dice.randint(0, len(self._changes))]:
            entries.pop(tail, None)
            if file is not None:
                entries[tail] = file
        return {tail: file.image(_some(dice)) for tail, file in entries.items()}


def _oldest(_: int) -> int:
    return 0


def _some(dice: random.Random) -> Pick:
    """All of a file, none of it, or each sector as the dice fall."""
    newest = dice.choice((0.0, 0.2, 0.5, 0.8, 1.0))

    def pick(versions: int) -> int:
        if dice.random() < newest:
            return versions - 1
        return 0 if newest in (0.0, 1.0) else dice.randrange(versions)

    return pick


@final
@attrs.frozen
class Image:
    """What a power cut may leave.

    Attributes:
        files: The files.
        said: How many lines of notes were written before.
        number: The operation before which the power went, counted with the marks.
    """

    files: dict[int, bytes]
    said: int
    number: int


def images(ops: Iterable[Op], draws: int, seed: int, first: int = 0) -> Iterator[Image]:
    """The images of every moment between two syncs: nothing, all, and draws.

    Just before a sync the most is unsure; the draws are taken there, and one of them at
    some moment of the stretch before it. None is made of a moment before the first
    operation that is asked for.
    """
    disk, said, dice = Disk(), 0, random.Random(seed)
    since, middle, number = 0, -1, -1
    for number, op in enumerate(ops):
        if op.kind is Kind.MARK:
            said = op.at
            continue
        since += 1
        asked = number >= first
        if op.kind is Kind.SYNC:
            if asked:
                yield Image(disk.bare(), said, number)
                yield Image(disk.kept(), said, number)
                for _ in range(draws):
                    yield Image(disk.drawn(dice), said, number)
            since, middle = 0, dice.randint(1, 8)
        elif asked and since == middle:
            yield Image(disk.drawn(dice), said, number)
        disk.take(op)
    yield Image(disk.bare(), said, number + 1)
    yield Image(disk.kept(), said, number + 1)


def after_failure(ops: Iterable[Op]) -> Iterator[Image]:
    """From a failed sync on, whenever something was said: what has to be on the disk."""
    disk, failed = Disk(), False
    for number, op in enumerate(ops):
        if op.kind is Kind.MARK and failed:
            yield Image(disk.bare(), op.at, number)
        failed = failed or (op.kind is Kind.SYNC and op.failed)
        disk.take(op)

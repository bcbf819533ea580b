"""Bits that flip, pages that go astray, files that are cut: what is damaged is refused
with a typed error, or the damage changed nothing that is read. Nothing becomes something
else, or less, in silence; and a store that is refused as a whole keeps its bytes.

`tests/engine/journal/test_damage.py` takes samples of flips in the database and its log.
This goes on: in the full run every byte of the database and the head file that is no
zero and every twelfth of the log, cuts at every sector, sectors that are blank or astray,
and pages of an earlier time.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import pytest
from tests.sweeps import held
from tests.sweeps.shim import TAILS, Mode, Plan
from tests.sweeps.sweep import Sweep, Tally, spread
from tests.sweeps.work import Author, Contents, Worker

from turnlatch.errors import JournalError
from turnlatch.journal import SQLiteStore
from turnlatch.journal.tail_anchor import AnchorFile

Tallies = Callable[[str], Tally]
Files: TypeAlias = dict[str, bytes]
Damage: TypeAlias = Iterator[tuple[str, bytes]]

HEAD: Final = TAILS.index("-head")
PAGE: Final = 4096
SECTOR: Final = 512


def small() -> Author:
    """A script that fits into a dozen pages: two conversations and a fork."""
    author = Author()
    author.turn("notes", calls=2)
    author.turn("other", size=300)
    author.fork("notes", "branch")
    author.turn("branch", size=5_000)
    return author


def files(store: Path) -> Files:
    """What stands in a store's files, by their tails."""
    found = {tail: Path(f"{store}{tail}") for tail in TAILS}
    return {tail: one.read_bytes() for tail, one in found.items() if one.exists()}


def put(store: Path, there: Files) -> None:
    """Have a store's files be these, and no others."""
    for tail in (*TAILS, "-shm"):
        path = Path(f"{store}{tail}")
        if tail in there:
            path.write_bytes(there[tail])
        else:
            path.unlink(missing_ok=True)


def closed(store: Path, author: Author, upto: int | None = None) -> Files:
    """A store that was closed, after so many steps."""
    put(store, {})
    with_notes: list[str] = []
    worker = Worker(lambda: SQLiteStore(store), with_notes.append)
    assert worker.run(author.steps[:upto])
    return files(store)


def verdict(store: Path, there: Files, expected: Contents) -> str:
    """same, refused, or silent: the one that must not be."""
    put(store, there)
    try:
        opened = SQLiteStore(store)
    except JournalError:
        kept = files(store)
        changed = [tail for tail, data in there.items() if kept.get(tail, b"") != data]
        return f"refused, and changed {changed}" if changed else "refused"
    try:
        found = held.contents(opened)
    except JournalError:
        return "refused"
    finally:
        opened.close()
    return "same" if held.rows(found) == held.rows(expected) else "silent"


def spoil(
    store: Path, there: Files, tail: str, damages: Damage, expected: Contents, to: Tally
) -> None:
    """Do every damage to one file of a store, and count what becomes of it."""
    for what, data in damages:
        found = verdict(store, {**there, tail: data}, expected)
        assert found in ("same", "refused"), (
            f"{tail or 'the database'}: {what}: {found}"
        )
        to.add("damaged")
        to.add({"same": "read the same", "refused": "refused"}[found])


@pytest.fixture(scope="module")
def store(sweep: Sweep) -> Path:
    """Where the damaged stores are."""
    sweep.store.parent.mkdir(parents=True, exist_ok=True)
    return sweep.store


@pytest.fixture(scope="module")
def sound(store: Path) -> Files:
    """A store that was closed: all of it is in the database."""
    return closed(store, small())


@pytest.fixture(scope="module")
def crashed(sweep: Sweep) -> tuple[Files, Contents]:
    """A store whose process was killed when its last append had just been noted: the
    most of it is in the log."""
    noted = (at for at, op in enumerate(sweep.ops(), 1) if op.file == HEAD)
    at = next(at + 1 for at in noted if at > 180)
    ended = sweep.run(Plan(Mode.KILL, at))
    there = files(sweep.store)
    sweep.check(ended)
    put(sweep.store, there)
    opened = SQLiteStore(sweep.store)
    found = held.contents(opened)
    opened.close()
    return there, found


def flips(data: bytes, points: list[int]) -> Damage:
    """One bit of a byte at a time."""
    for number, at in enumerate(points):
        spoiled = bytearray(data)
        spoiled[at] ^= 1 << number % 8
        yield f"bit {number % 8} of byte {at}", bytes(spoiled)


def chosen(sweep: Sweep, data: bytes, fast: int, dense: int) -> list[int]:
    """The bytes to spoil: so many; in full those that say something, and some zeros."""
    used = [at for at, byte in enumerate(data) if byte]
    if not sweep.full:
        return spread(used, fast)
    zeros = [at for at, byte in enumerate(data) if not byte]
    return used[::dense] + zeros[:: 16 * dense]


def cuts(sweep: Sweep, data: bytes) -> Damage:
    """The file, shorter: at every sector, and a byte before and after."""
    sizes = [*range(0, len(data), SECTOR)]
    if not sweep.full:
        sizes = spread(sizes, 12)
    for size in sorted({max(one + by, 0) for one in sizes for by in (-1, 0, 1)}):
        if size < len(data):
            yield f"cut to {size}", data[:size]


def blanks(sweep: Sweep, data: bytes) -> Damage:
    """A sector of zeros, and a sector that stands where another should."""
    starts = [at for at in range(0, len(data), SECTOR) if any(data[at : at + SECTOR])]
    if not sweep.full:
        starts = spread(starts, 12)
    for at in starts:
        for what, piece in (("zeros", bytes(SECTOR)), ("astray", data[:SECTOR])):
            end = min(at + SECTOR, len(data))
            yield f"{what} at {at}", data[:at] + piece[: end - at] + data[end:]


def test_bytes_of_the_database(
    sweep: Sweep, store: Path, sound: Files, tally: Tallies
) -> None:
    count, expected = tally("rot in the database"), small().contents
    data = sound[""]
    for damages in (
        flips(data, chosen(sweep, data, 60, 1)),
        cuts(sweep, data),
        blanks(sweep, data),
    ):
        spoil(store, sound, "", damages, expected, count)

    assert count.counts["refused"] > 20


def test_bytes_of_the_log(
    sweep: Sweep, store: Path, crashed: tuple[Files, Contents], tally: Tallies
) -> None:
    count, (there, expected) = tally("rot in the log"), crashed
    data = there["-wal"]
    for damages in (
        flips(data, chosen(sweep, data, 60, 12)),
        cuts(sweep, data),
        blanks(sweep, data),
    ):
        spoil(store, there, "-wal", damages, expected, count)

    assert count.counts["refused"] > 20


@pytest.mark.parametrize("log", [False, True], ids=["closed", "killed"])
def test_bytes_of_the_head_file(
    sweep: Sweep,
    store: Path,
    sound: Files,
    crashed: tuple[Files, Contents],
    tally: Tallies,
    *,
    log: bool,
) -> None:
    """It guards the record and is no part of it: what it says wrong loses nothing."""
    count = tally(f"rot in the head file, {'killed' if log else 'closed'}")
    there, expected = crashed if log else (sound, small().contents)
    data = there["-head"]
    every = [*range(len(data))]
    for damages in (
        flips(data, every if sweep.full else spread(every, 60)),
        cuts(sweep, data),
        blanks(sweep, data),
    ):
        spoil(store, there, "-head", damages, expected, count)


def test_a_page_of_an_earlier_time(store: Path, sound: Files, tally: Tallies) -> None:
    """A write that the disk lost: the page is sound, and of yesterday."""
    count, author = tally("stale pages"), small()
    pages = range(0, len(sound[""]), PAGE)
    for upto in range(1, len(author.steps)):
        earlier = closed(store, author, upto)[""]
        # Another store's id is another store: these are this one's pages in all else.
        stale = (
            (f"page {at // PAGE + 1} after {upto} steps", earlier[at : at + PAGE], at)
            for at in pages
            if at < len(earlier)
        )
        damages = (
            (what, sound[""][:at] + page + sound[""][at + PAGE :])
            for what, page, at in stale
        )
        spoil(store, sound, "", damages, author.contents, count)

    assert count.counts["refused"] > 20


def _no_anchor(head: AnchorFile, conversation: int) -> None:
    """A head file that is not asked."""


def test_a_shorter_record_is_seen(
    store: Path,
    crashed: tuple[Files, Contents],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted bug: a store that does not ask its head file reads a log that is cut
    as a record that is shorter."""
    monkeypatch.setattr(AnchorFile, "read", _no_anchor)
    there, expected = crashed
    cut = {**there, "-wal": there["-wal"][:-PAGE]}

    assert verdict(store, cut, expected) == "silent"

"""What is refused is not made worse: every byte stays where it was, the write-ahead log
included, and once the byte that was wrong is right again, everything is there again.

SQLite reads a log up to the first frame that is damaged, writes over the rest with the
next commit, and writes back and removes the log when the last connection closes. All of
that would be silent, and the end of the evidence."""

import shutil
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tests.around import append_now
from tests.engine.journal.left import bytes_of, copied
from tests.part import WHOLE

from turnlatch.errors import JournalError
from turnlatch.journal import SQLiteStore, database, records
from turnlatch_states.machine.events import Event, RequestSent, TurnOpened

NAMES = ("notes", "other", "branch")


def _write(store: SQLiteStore, after: Callable[[], None]) -> None:
    """Three conversations, one a fork, that take turns; the log is checkpointed and
    begun again several times."""
    journals = [store.open(name) for name in NAMES[:2]]
    append_now(journals[0], [RequestSent(1, number) for number in range(1, 6)])
    store.fork("notes", "branch", 4)
    journals.append(store.open("branch"))
    after()
    for number in range(1, 61):
        journal = journals[number * number % 7 % 3]
        said = b"x" * (number * 211 % 2500)
        append_now(journal, [TurnOpened(number, said), RequestSent(number, 1)])
        after()


@pytest.fixture
def moments(tmp_path: Path) -> list[Path]:
    """What a kill leaves, after every append of a store's life."""
    folder = tmp_path / "living"
    folder.mkdir()
    store = SQLiteStore(folder / "chat.db", synchronous="NORMAL")
    found: list[Path] = []

    def look() -> None:
        found.append(copied(folder, tmp_path / f"state-{len(found)}"))

    _write(store, look)
    store.close()
    return found


def _checkpoints(moments: list[Path]) -> list[int]:
    """The moments when a log was just written back."""
    mains = [(one / "chat.db").read_bytes() for one in moments]
    return [at for at in range(1, len(mains)) if mains[at] != mains[at - 1]]


@pytest.fixture
def states(moments: list[Path]) -> list[Path]:
    """Four of them: all of a young store in its log, an older store with a log that has
    a stale end, a log that was just written back, one that was just begun again."""
    one, two, three, *_ = _checkpoints(moments)
    return [moments[at] for at in (one - 2, two + 5, three, three + 1)]


def _contents(folder: Path) -> dict[str, list[Event]]:
    store = SQLiteStore(folder / "chat.db")
    try:
        return {name: [one.event for one in store.read(name)] for name in NAMES}
    finally:
        store.close()


def _written(folder: Path) -> dict[str, list[Event]]:
    """The same, after something was written to every conversation."""
    store = SQLiteStore(folder / "chat.db", synchronous="NORMAL")
    try:
        found: dict[str, list[Event]] = {}
        for name in NAMES:
            journal = store.open(name)
            found[name] = [one.event for one in journal.entries()]
            append_now(journal, [RequestSent(99, 1)])
        return found
    finally:
        store.close()


Damage = Callable[[bytes], bytes]
Use = Callable[[Path], dict[str, list[Event]]]


def _verdict(state: Path, name: str, damage: Damage, use: Use) -> str:
    """whole or refused; anything else is what must not be."""
    folder = copied(state, state.parent / "spoiled")
    try:
        return _judged(folder, name, damage, use, _contents_of_copy(state))
    finally:
        shutil.rmtree(folder)


_CACHE: dict[Path, dict[str, list[Event]]] = {}


def _contents_of_copy(state: Path) -> dict[str, list[Event]]:
    if state not in _CACHE:
        folder = copied(state, state.parent / "intact")
        _CACHE[state] = _contents(folder)
        shutil.rmtree(folder)
    return _CACHE[state]


def _judged(
    folder: Path, name: str, damage: Damage, use: Use, expected: dict[str, list[Event]]
) -> str:
    good = (folder / name).read_bytes()
    (folder / name).write_bytes(damage(good))
    before = bytes_of(folder)
    try:
        found = use(folder)
    except JournalError:
        pass
    else:
        return "whole" if found == expected else "silent"
    if bytes_of(folder) != before:
        return "made worse"
    (folder / name).write_bytes(good)
    return "refused" if _contents(folder) == expected else "lost"


def _flip(offset: int) -> Damage:
    def flipped(raw: bytes) -> bytes:
        spoiled = bytearray(raw)
        spoiled[offset] ^= 1 << offset % 8
        return bytes(spoiled)

    return flipped


def _cut(keep: int) -> Damage:
    return lambda raw: raw[:keep]


def _verdicts(
    states: Iterable[Path], name: str, damage: Callable[[int], Damage], count: int
) -> list[str]:
    found: list[str] = []
    for state in states:
        size = (state / name).stat().st_size
        places = {0, 5, 9, 14, 18, 24, *range(31, size, max(1, size // count))}
        for place in sorted(places):
            use = _contents if place % 2 else _written
            found.append(_verdict(state, name, damage(place), use))
    return found


@pytest.mark.parametrize("damage", [_flip, _cut])
def test_damaged_log_is_whole_or_refused_and_kept(
    states: list[Path], damage: Callable[[int], Damage]
) -> None:
    verdicts = _verdicts(states, "chat.db-wal", damage, 40 if WHOLE else 20)

    assert set(verdicts) == {"whole", "refused"}
    assert verdicts.count("refused") > len(verdicts) // 2


def test_damaged_database_with_its_log_is_whole_or_refused_and_kept(
    states: list[Path],
) -> None:
    """Written to, a store may be whole as far as it was asked: what one conversation
    says is not looked at when another one is opened. So it is read."""
    verdicts: list[str] = []
    for state in states[1:]:
        raw = (state / "chat.db").read_bytes()
        used = [offset for offset in range(len(raw)) if raw[offset]]
        flips = [16, 18, 19, 24, 28, *used[:: len(used) // (50 if WHOLE else 25)]]
        cuts = (0, 1, 100, 511, 512, 4096, len(raw) // 2, len(raw) - 1)
        verdicts += [
            _verdict(state, "chat.db", damage, _contents)
            for damage in (*map(_flip, flips), *map(_cut, cuts))
        ]

    assert set(verdicts) == {"whole", "refused"}
    assert verdicts.count("refused") > len(verdicts) // 10


def test_kill_in_the_middle_of_writing_the_log_back_loses_nothing(
    moments: list[Path], tmp_path: Path
) -> None:
    """Pages are written back in order: the first already says how many there will be."""
    odd = 0
    for at in _checkpoints(moments):
        before = (moments[at - 1] / "chat.db").read_bytes()
        after = (moments[at] / "chat.db").read_bytes()
        odd += len(after) > len(before)
        for pages in range(1, 4):
            folder = copied(moments[at], tmp_path / f"killed-{at}-{pages}")
            half = after[: pages * 4096] + before[pages * 4096 :]
            (folder / "chat.db").write_bytes(half)
            assert _written(folder) == _contents_of_copy(moments[at])
    assert odd > 2


# Planted bugs.


def _removing(connection: sqlite3.Connection, path: str, *, keep_log: bool) -> None:
    connection.close()


def _demand_nothing(*_: object) -> None:
    """A store that opens whatever the log says."""


def test_without_the_guard_the_log_would_be_removed(
    states: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_close", _removing)

    assert "made worse" in _verdicts(states[:1], "chat.db-wal", _flip, 20)


def test_without_the_demand_one_conversation_would_write_over_another(
    states: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "demand", _demand_nothing)

    found = _verdicts(states[:2], "chat.db-wal", _flip, 20)
    assert set(found) & {"made worse", "lost"}

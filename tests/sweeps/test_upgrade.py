"""A store of an older format, opened by a writer that is killed, torn, failed or cut off
from the power anywhere: it is a whole store of the old format or of the new one, with
every entry that it had, and the next writer goes on."""

import errno
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from tests.around import append_now
from tests.sweeps.disk import images
from tests.sweeps.shim import FOLDER, TAILS, Kind, Mode, Op, Plan, logged
from tests.sweeps.sweep import Sweep, Tally, spread

from turnlatch.journal import SQLiteStore
from turnlatch.journal.formats import FORMATS, NEWEST, OLDEST
from turnlatch_states.machine.events import RequestSent

Tallies = Callable[[str], Tally]

GOLDEN: Final = Path(__file__).parents[1] / "engine" / "journal" / "golden"
OLD: Final = {
    tail: (GOLDEN / f"v{OLDEST}.db{end}").read_bytes()
    for tail, end in enumerate(TAILS)
    if end in ("", "-head")
}
"""The files of the oldest store there is, as a sweep has them."""

ON_DISK: Final = [
    op
    for tail, data in OLD.items()
    for op in (
        Op(Kind.CREATE, tail, False, 0, b""),
        Op(Kind.WRITE, tail, False, 0, data),
        Op(Kind.SYNC, tail, False, 0, b""),
    )
] + [Op(Kind.SYNC, FOLDER, False, 0, b"")]
"""How they came there."""


def _ask(path: Path, question: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


ENTRIES: Final = (
    "SELECT key, epoch, at_ms, kind, turn, attempt, meta, body, extra, hash,"
    " conversation, sequence FROM entry ORDER BY key"
)


def _check(sweep: Sweep, files: Mapping[int, bytes] | None = None) -> int:
    """Hold what is left to what was there; the format that it has."""
    sweep.put(files or sweep.files())
    before = _ask(GOLDEN / f"v{OLDEST}.db", ENTRIES)
    store = SQLiteStore(sweep.store)
    for one in store.conversations():
        store.read(one.name)
    store.close()
    ((version,),) = _ask(sweep.store, "PRAGMA user_version")
    tables = dict(_ask(sweep.store, "SELECT name, sql FROM sqlite_schema"))
    assert version in FORMATS
    assert {n: s for n, s in tables.items() if s} == FORMATS[version].schema
    assert _ask(sweep.store, ENTRIES) == before, "an entry is gone or another one"
    store = SQLiteStore(sweep.store)
    names = [one.name for one in store.conversations()]
    for name in names:
        append_now(store.open(name), [RequestSent(9, 1)])
    store.close()
    assert _ask(sweep.store, "PRAGMA user_version") == [(NEWEST,)]
    added = [row for row in _ask(sweep.store, ENTRIES) if row not in before]
    assert len(added) == len(names)
    return int(version)


def _ops(sweep: Sweep, bug: str = "") -> list[Op]:
    """What a writer does that is left alone."""
    sweep.put(OLD)
    sweep.log.unlink(missing_ok=True)
    ended = sweep.go_on(Plan(log=str(sweep.log)), work="again", bug=bug)
    assert ended.lines == ("done",), ended.lines
    return [op for op in logged(sweep.log) if op.kind is not Kind.MARK]


def _broken(sweep: Sweep, few: int, bug: str = "") -> dict[int, int]:
    """Writers that are killed before an operation or torn in a write; how many left a
    store of each format."""
    points = [
        (at, mode)
        for at, op in enumerate(_ops(sweep, bug), 1)
        for mode in (Mode.KILL, Mode.TEAR)
        if mode is Mode.KILL or op.kind is Kind.WRITE
    ]
    found: dict[int, int] = {}
    for at, mode in points if sweep.full else spread(points, few):
        sweep.put(OLD)
        assert sweep.go_on(Plan(mode, at), work="again", bug=bug).killed
        version = _check(sweep)
        found[version] = found.get(version, 0) + 1
    return found


def test_killed_or_torn_while_it_upgrades(sweep: Sweep, tally: Tallies) -> None:
    count = tally("killed or torn while it upgrades")
    for version, number in _broken(sweep, 20).items():
        count.add("points", number)
        count.add(f"left in format {version}", number)

    assert {f"left in format {one}" for one in FORMATS} <= count.counts.keys()


def test_failed_while_it_upgrades(sweep: Sweep, tally: Tallies) -> None:
    count = tally("failed while it upgrades")
    points = range(1, len(_ops(sweep)) + 1)
    for at in points if sweep.full else spread(points, 10):
        for error in (errno.ENOSPC, errno.EIO):
            sweep.put(OLD)
            sweep.go_on(Plan(Mode.FAIL, at, error=error), work="again")
            _check(sweep)
            count.add("points")


def test_cut_off_from_the_power_while_it_upgrades(sweep: Sweep, tally: Tallies) -> None:
    count = tally("cut off from the power while it upgrades")
    found = list(images([*ON_DISK, *_ops(sweep)], 12, 3, len(ON_DISK)))
    for image in found if sweep.full else spread(found, 20):
        count.add("images")
        count.add(f"left in format {_check(sweep, image.files)}")


def test_an_upgrade_in_parts_is_seen(sweep: Sweep) -> None:
    """The planted bug: one that commits before it has said the new format."""
    with pytest.raises(Exception, match=r"schema|format|entry"):
        _broken(sweep, 60, "half an upgrade")

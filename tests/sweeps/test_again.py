"""Broken off a second time, while the next process puts in order what the first one left:
recovery is work like any other, and loses nothing either.

The second victim opens what the first one left, and takes every conversation and gives
it back, or only looks. What the first one said still holds when it is broken off.
"""

import errno
from collections.abc import Callable, Iterator

import pytest
from tests.sweeps import held
from tests.sweeps.bench import Bench, Tally, spread
from tests.sweeps.disk import images
from tests.sweeps.shim import FOR_GOOD, Kind, Mode, Op, Plan, logged
from tests.sweeps.work import Notes
from tests.sweeps.workshop import Ended

from turnlatch.errors import JournalCorruptError

Tallies = Callable[[str], Tally]


def killed(bench: Bench, few: int) -> Iterator[Ended]:
    """Victims that were killed in the middle of the work; what is left is on the bench."""
    for at in bench.points(few) if not bench.full else bench.points(0)[20::40]:
        bench.log.unlink(missing_ok=True)
        yield bench.run(Plan(Mode.KILL, at, log=str(bench.log)))


def unsynced(bench: Bench, few: int) -> Iterator[Ended]:
    """Victims that gave up because no sync succeeded any more; the latest first, which
    have the most to lose."""
    points = bench.points(few, Kind.SYNC)[::-1]
    for at in points[::4] if bench.full else points:
        bench.log.unlink(missing_ok=True)
        kinds, error = Kind.SYNC, errno.EIO
        plan = Plan(Mode.FAIL, at, kinds, error, FOR_GOOD, log=str(bench.log))
        yield bench.run(plan)


def recovered(bench: Bench, work: str, bug: str = "") -> list[Op]:
    """What a second victim does to the store that is on the bench, after the first's."""
    before = len(list(logged(bench.log)))
    ended = bench.go_on(Plan(log=str(bench.log)), work=work, bug=bug)
    assert ended.lines == ("done",), ended.lines
    return list(logged(bench.log))[before:]


def test_killed_or_torn_while_it_recovers(bench: Bench, tally: Tallies) -> None:
    count = tally("killed or torn while it recovers")
    for crashed in killed(bench, 4):
        there, notes = bench.files(), Notes.of(crashed.lines)
        ops = [op for op in recovered(bench, "again") if op.kind is not Kind.MARK]
        points = [
            (at, mode)
            for at, op in enumerate(ops, 1)
            for mode in (Mode.KILL, Mode.TEAR)
            if mode is Mode.KILL or op.kind is Kind.WRITE
        ]
        for at, mode in points if bench.full else spread(points, 5):
            bench.put(there)
            assert bench.go_on(Plan(mode, at), work="again").killed
            held.check(bench.store, notes)
            count.add("points")


def cut(bench: Bench, crashed: Ended, work: str, count: Tally, bug: str = "") -> None:
    """Have the power go while a second victim works, or when it has closed the store:
    what the first had not synced may still not be on the disk."""
    notes = Notes.of(crashed.lines)
    start = sum(op.kind is not Kind.MARK for op in logged(bench.log))
    recovered(bench, work, bug)
    both = [op for op in logged(bench.log) if op.kind is not Kind.MARK]
    found = list(images(both, 12, 2, start))
    for image in found if bench.full else spread(found, 12):
        bench.put(image.files)
        count.add("images")
        held.check(bench.store, notes)


@pytest.mark.parametrize("work", ["again", "look"])
@pytest.mark.parametrize("crash", [killed, unsynced])
def test_the_power_goes_while_it_recovers(
    bench: Bench,
    tally: Tallies,
    crash: Callable[[Bench, int], Iterator[Ended]],
    work: str,
) -> None:
    count = tally(f"power cut in recovery ({work}) of what was {crash.__name__}")
    for crashed in crash(bench, 4):
        cut(bench, crashed, work, count)


def cut_everywhere(bench: Bench, bug: str) -> None:
    """Cut the power over victims with a bug until a checker says a word."""
    for crashed in unsynced(bench, 40):
        for work in ("again", "look"):
            cut(bench, crashed, work, Tally(bug), bug)


def test_a_log_that_is_trusted_by_the_next_process_is_seen(bench: Bench) -> None:
    """The planted bug: what can be read of a log is taken for what is on the disk."""
    with pytest.raises((AssertionError, JournalCorruptError)):
        cut_everywhere(bench, "trusting")

"""Broken off a second time, while the next process puts in order what the first one left:
recovery is work like any other, and loses nothing either.

The second process opens what the first one left, and takes every conversation and gives
it back, or only looks. What the first one said still holds when it is broken off.
"""

import errno
from collections.abc import Callable, Iterator

import pytest
from tests.sweeps import held
from tests.sweeps.disk import images
from tests.sweeps.fork_server import Ended
from tests.sweeps.shim import FOR_GOOD, Kind, Mode, Op, Plan, logged
from tests.sweeps.sweep import Sweep, Tally, spread
from tests.sweeps.work import Notes

from turnlatch.errors import JournalCorruptError

Tallies = Callable[[str], Tally]


def killed(sweep: Sweep, few: int) -> Iterator[Ended]:
    """Processes that were killed in the middle of the work; the store is as they left it."""
    for at in sweep.points(few) if not sweep.full else sweep.points(0)[20::40]:
        sweep.log.unlink(missing_ok=True)
        yield sweep.run(Plan(Mode.KILL, at, log=str(sweep.log)))


def unsynced(sweep: Sweep, few: int) -> Iterator[Ended]:
    """Processes that gave up because no sync succeeded any more; the latest first, which
    have the most to lose."""
    points = sweep.points(few, Kind.SYNC)[::-1]
    for at in points[::4] if sweep.full else points:
        sweep.log.unlink(missing_ok=True)
        kinds, error = Kind.SYNC, errno.EIO
        plan = Plan(Mode.FAIL, at, kinds, error, FOR_GOOD, log=str(sweep.log))
        yield sweep.run(plan)


def recovered(sweep: Sweep, work: str, bug: str = "") -> list[Op]:
    """What a second process does to the store that the first one left."""
    before = len(list(logged(sweep.log)))
    ended = sweep.go_on(Plan(log=str(sweep.log)), work=work, bug=bug)
    assert ended.lines == ("done",), ended.lines
    return list(logged(sweep.log))[before:]


def test_killed_or_torn_while_it_recovers(sweep: Sweep, tally: Tallies) -> None:
    count = tally("killed or torn while it recovers")
    for crashed in killed(sweep, 4):
        there, notes = sweep.files(), Notes.of(crashed.lines)
        ops = [op for op in recovered(sweep, "again") if op.kind is not Kind.MARK]
        points = [
            (at, mode)
            for at, op in enumerate(ops, 1)
            for mode in (Mode.KILL, Mode.TEAR)
            if mode is Mode.KILL or op.kind is Kind.WRITE
        ]
        for at, mode in points if sweep.full else spread(points, 5):
            sweep.put(there)
            assert sweep.go_on(Plan(mode, at), work="again").killed
            held.check(sweep.store, notes)
            count.add("points")


def cut(sweep: Sweep, crashed: Ended, work: str, count: Tally, bug: str = "") -> None:
    """Have the power go while a second process works, or when it has closed the store:
    what the first had not synced may still not be on the disk."""
    notes = Notes.of(crashed.lines)
    start = sum(op.kind is not Kind.MARK for op in logged(sweep.log))
    recovered(sweep, work, bug)
    both = [op for op in logged(sweep.log) if op.kind is not Kind.MARK]
    found = list(images(both, 12, 2, start))
    for image in found if sweep.full else spread(found, 12):
        sweep.put(image.files)
        count.add("images")
        held.check(sweep.store, notes)


@pytest.mark.parametrize("work", ["again", "look"])
@pytest.mark.parametrize("crash", [killed, unsynced])
def test_the_power_goes_while_it_recovers(
    sweep: Sweep,
    tally: Tallies,
    crash: Callable[[Sweep, int], Iterator[Ended]],
    work: str,
) -> None:
    count = tally(f"power cut in recovery ({work}) of what was {crash.__name__}")
    for crashed in crash(sweep, 4):
        cut(sweep, crashed, work, count)


def cut_everywhere(sweep: Sweep, bug: str) -> None:
    """Cut the power over processes with a bug until a checker says a word."""
    for crashed in unsynced(sweep, 40):
        for work in ("again", "look"):
            cut(sweep, crashed, work, Tally(bug), bug)


def test_a_log_that_is_trusted_by_the_next_process_is_seen(sweep: Sweep) -> None:
    """The planted bug: what can be read of a log is taken for what is on the disk."""
    with pytest.raises((AssertionError, JournalCorruptError)):
        cut_everywhere(sweep, "trusting")

"""Broken off a second time, while the next process puts in order what the first one left:
recovery is work like any other, and loses nothing either.

The second victim opens a store that a kill left, takes every conversation and gives it
back. What the first one said still holds when it is broken off.
"""

from collections.abc import Callable, Iterator
from itertools import chain

import attrs
from tests.sweeps import held
from tests.sweeps.bench import Bench, Tally, spread
from tests.sweeps.disk import images
from tests.sweeps.shim import Kind, Mode, Op, Plan, logged
from tests.sweeps.work import Notes
from tests.sweeps.workshop import Ended

Tallies = Callable[[str], Tally]


@attrs.frozen
class Crashed:
    """A store that a kill left.

    Attributes:
        ended: What the victim said.
        ops: What it did, with its marks.
    """

    ended: Ended
    ops: list[Op]


def crashes(bench: Bench, few: int) -> Iterator[Crashed]:
    """Stores that were left in the middle of the work; each is on the bench."""
    for at in bench.points(few) if not bench.full else bench.points(0)[20::40]:
        bench.log.unlink(missing_ok=True)
        ended = bench.run(Plan(Mode.KILL, at, log=str(bench.log)))
        yield Crashed(ended, list(logged(bench.log)))


def recovered(bench: Bench) -> list[Op]:
    """What a second victim does to the store that is on the bench."""
    bench.log.unlink(missing_ok=True)
    ended = bench.go_on(Plan(log=str(bench.log)), work="again")
    assert ended.lines == ("done",), ended.lines
    return [op for op in logged(bench.log) if op.kind is not Kind.MARK]


def test_killed_or_torn_while_it_recovers(bench: Bench, tally: Tallies) -> None:
    count = tally("killed or torn while it recovers")
    for crashed in crashes(bench, 4):
        there = bench.files()
        notes = Notes.of(crashed.ended.lines)
        ops = recovered(bench)
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


def test_the_power_goes_while_it_recovers(bench: Bench, tally: Tallies) -> None:
    """What the first victim had not synced may still not be on the disk."""
    count = tally("power cut while it recovers")
    for crashed in crashes(bench, 3):
        notes = Notes.of(crashed.ended.lines)
        ops = recovered(bench)
        start = sum(op.kind is not Kind.MARK for op in crashed.ops)
        both = (op for op in chain(crashed.ops, ops) if op.kind is not Kind.MARK)
        found = [one for one in images(both, 6, 2) if one.number >= start]
        for image in found if bench.full else spread(found, 6):
            bench.put(image.files)
            held.check(bench.store, notes)
            count.add("images")

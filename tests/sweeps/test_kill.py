"""Killed before any operation, or in the middle of any write: nothing acknowledged is
lost, nothing is there by half, and the store goes on.

A killed process loses nothing that it gave to the kernel, so this is about order: what
stands in the files at each moment has to be a record.
"""

from collections.abc import Callable

import pytest
from tests.sweeps import held
from tests.sweeps.shim import ANY, Kind, Mode, Plan
from tests.sweeps.sweep import Sweep, Tally

Tallies = Callable[[str], Tally]


def test_killed_before_every_operation(sweep: Sweep, tally: Tallies) -> None:
    count = tally("killed before an operation")
    for at in sweep.points(12, rare=True):
        ended = sweep.run(Plan(Mode.KILL, at))
        assert ended.killed
        notes = sweep.check(ended)
        count.add("points")
        count.add("steps acknowledged and there", notes.sure)


def test_torn_in_the_middle_of_every_write(sweep: Sweep, tally: Tallies) -> None:
    count = tally("torn in a write")
    for at in sweep.points(20, Kind.WRITE):
        ended = sweep.run(Plan(Mode.TEAR, at))
        assert ended.killed
        notes = sweep.check(ended)
        count.add("points")
        count.add("steps acknowledged and there", notes.sure)


def test_the_script_goes_everywhere(sweep: Sweep) -> None:
    """Points at which nothing happens would be points that are not asked for."""
    ops = sweep.ops()
    begun = [op for op in ops if (op.kind, op.file, op.at) == (Kind.WRITE, 1, 0)]
    written_back = [op for op in ops if (op.kind, op.file) == (Kind.SYNC, 0)]

    assert all(any(op.kind is kind for op in ops) for kind in ANY)
    assert {op.file for op in ops} == {0, 1, 2, 3, 4}
    assert len(begun) >= 4  # a new log, and one that is written over
    assert len(written_back) >= 5


def killed_everywhere(sweep: Sweep, bug: str) -> None:
    """Kill processes with a bug until a checker says a word."""
    for at in range(60, 120):
        sweep.check(sweep.run(Plan(Mode.KILL, at), bug=bug))


@pytest.mark.parametrize("bug", ["early", "split"])
def test_an_append_that_lies_is_seen(sweep: Sweep, bug: str) -> None:
    """The planted bugs: one acknowledges before it commits, one commits in parts."""
    with pytest.raises(held.LostError if bug == "early" else held.StrangeError):
        killed_everywhere(sweep, bug)

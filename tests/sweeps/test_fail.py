"""A disk that fails at any operation, once, for a while or for good: only typed errors,
nothing acknowledged is lost, nothing that was refused is there.

What failed once is done when it is tried again, without another process. A write that
fails has written half of its data before.
"""

import errno
from collections.abc import Callable

import pytest
from tests.sweeps.shim import ANY, FOR_GOOD, GROWING, Kind, Mode, Plan
from tests.sweeps.sweep import Sweep, Tally

Tallies = Callable[[str], Tally]

TROUBLES = {
    "I/O error": (errno.EIO, ANY),
    "full disk": (errno.ENOSPC, GROWING),
    "failed sync": (errno.EIO, Kind.SYNC),
}


@pytest.mark.parametrize(
    "lasting", [0, 2, FOR_GOOD], ids=["once", "thrice", "for good"]
)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_every_operation_may_fail(
    sweep: Sweep, tally: Tallies, trouble: str, lasting: int
) -> None:
    error, kinds = TROUBLES[trouble]
    words = {0: "once", 2: "thrice"}.get(lasting, "for good")
    count = tally(f"{trouble}, {words}")
    for at in sweep.points(6, kinds, rare=not lasting):
        ended = sweep.run(Plan(Mode.FAIL, at, kinds, error, lasting, half=True))
        assert not ended.killed
        notes = sweep.check(ended)
        assert notes.ended == "done" or lasting
        count.add("points")
        count.add("errors", len(notes.errors))
        count.add("done all the same", notes.ended == "done")


def failed_everywhere(sweep: Sweep, bug: str) -> None:
    """Fail syncs of processes with a bug until a checker says a word."""
    for at in sweep.points(9, Kind.SYNC)[4:]:
        sweep.check(sweep.run(Plan(Mode.FAIL, at, Kind.SYNC, errno.EIO), bug=bug))


def test_a_failed_commit_that_is_taken_for_one_that_was_made_is_seen(
    sweep: Sweep,
) -> None:
    """The planted bug."""
    with pytest.raises(AssertionError):
        failed_everywhere(sweep, "hopeful")

"""Conversations that are killed at any durable write, or whose disk fails there: the next
process has what was acknowledged, is not stuck, and does nothing twice."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.sweeps import chats_held
from tests.sweeps.fork_server import Ended, ForkServer
from tests.sweeps.shim import ANY, FOR_GOOD, Kind, Mode, Plan
from tests.sweeps.sweep import Sweep, Tally

Tallies = Callable[[str], Tally]


@pytest.fixture(scope="module")
def chats(folder: Path, library: Path, full: bool) -> Iterator[Sweep]:
    """A place for processes that converse."""
    fork_server = ForkServer(library, "chat")
    yield Sweep(folder, fork_server, full=full)
    fork_server.close()


def left(sweep: Sweep, plan: Plan, count: Tally, bug: str = "") -> Ended:
    """Break one off, and ask everything of what is left."""
    ended = sweep.run(plan, bug=bug)
    assert not any(line.startswith("broke") for line in ended.lines), ended.lines[-1]
    retry = bool(plan.at % 2)
    count.add("points")
    count.add(
        "effects, none of them twice",
        chats_held.check(sweep.store, sweep.ledger, ended.lines, retry=retry),
    )
    return ended


def test_killed_before_every_operation(chats: Sweep, tally: Tallies) -> None:
    count = tally("conversation killed before an operation")
    for at in chats.points(10):
        assert left(chats, Plan(Mode.KILL, at), count).killed


def test_torn_in_the_middle_of_every_write(chats: Sweep, tally: Tallies) -> None:
    count = tally("conversation torn in a write")
    for at in chats.points(5, Kind.WRITE):
        assert left(chats, Plan(Mode.TEAR, at), count).killed


@pytest.mark.parametrize("lasting", [0, FOR_GOOD], ids=["once", "for good"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["I/O", "full"])
def test_every_operation_may_fail(
    chats: Sweep, tally: Tallies, error: int, lasting: int
) -> None:
    what = "I/O error" if error == errno.EIO else "full disk"
    count = tally(f"conversation, {what}, {'for good' if lasting else 'once'}")
    for at in chats.points(4):
        plan = Plan(Mode.FAIL, at, ANY, error, lasting, half=True)
        assert not left(chats, plan, count).killed


def test_the_script_has_everything_in_it(chats: Sweep) -> None:
    """A process that is left alone: five effects, none of them twice."""
    count = Tally("alone")
    ended = left(chats, Plan(), count)

    assert ended.count == len(chats.ops())
    assert ended.lines[-1] == "done"
    assert count.counts["effects, none of them twice"] == 5


def killed_everywhere(sweep: Sweep, bug: str) -> None:
    """Kill processes with a bug until a checker says a word."""
    for at in range(60, 140):
        left(sweep, Plan(Mode.KILL, at), Tally(bug), bug)


def test_an_effect_before_its_intent_is_seen(chats: Sweep) -> None:
    """The planted bug: that a call starts is on record after it started."""
    with pytest.raises(AssertionError, match="no record that it was begun"):
        killed_everywhere(chats, "late")

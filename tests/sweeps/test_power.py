"""A power cut at any moment: with synchronous=FULL nothing acknowledged is lost, whatever
part of what was not synced reached the disk, in whatever order, in sectors.

The images are worked out in `disk.py` from a log of what a process did.
"""

import errno
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from tests.part import one_in
from tests.sweeps import held
from tests.sweeps.disk import Disk, Image, after_failure, images
from tests.sweeps.fork_server import Ended
from tests.sweeps.shim import FOLDER, TAILS, Kind, Mode, Op, Plan, logged
from tests.sweeps.sweep import Sweep, Tally, spread
from tests.sweeps.work import Notes

Tallies = Callable[[str], Tally]

SEED = 1


def cut(sweep: Sweep, ended: Ended, found: Iterable[Image], count: Tally) -> None:
    """Open every image, and count what is lost."""
    for image in found:
        notes = Notes.of(ended.lines[: image.said])
        sweep.put(image.files)
        count.add("images")
        try:
            held.check(sweep.store, notes)
        except held.LostError:
            count.add("lost")
        count.add("steps acknowledged before", notes.sure)


def drawn(sweep: Sweep, ops: list[Op], draws: int) -> Iterable[Image]:
    """Images of a log: all the moments, or a part of them."""
    if sweep.full:
        return images(ops, draws, SEED)
    return spread(list(images(ops, 2, SEED)), 60)


def test_nothing_acknowledged_is_lost(sweep: Sweep, tally: Tallies) -> None:
    count = tally("power cut, FULL")
    ended, ops = sweep.counted()
    cut(sweep, ended, drawn(sweep, ops, 20), count)

    assert "lost" not in count.counts
    count.add("lost", 0)


@pytest.mark.parametrize(
    "more", [{"synchronous": "NORMAL"}, {"bug": "unsynced"}], ids=["NORMAL", "OFF"]
)
def test_losses_are_seen(sweep: Sweep, tally: Tallies, more: dict[str, Any]) -> None:
    """What NORMAL does not promise, and a store that never syncs: the planted bug."""
    count = tally(f"power cut, {more.get('synchronous', 'a store that never syncs')}")
    ended, ops = sweep.counted(**more)
    cut(sweep, ended, list(images(ops, 4, 3))[:60], count)

    assert count.counts["lost"] > 0


def failing(sweep: Sweep) -> list[int]:
    """The syncs of files. SQLite does not look at what becomes of a folder's."""
    ops = sweep.ops()
    first = [at for at, op in enumerate(ops, 1) if op.kind is Kind.SYNC][:8]
    found = sorted({*first, *sweep.points(4, Kind.SYNC)})
    return [at for at in found if ops[at - 1].file != FOLDER]


def cut_after_failures(
    sweep: Sweep, count: Tally, at: int, lasting: int, bug: str = ""
) -> None:
    """Have some syncs fail, and the power go at moments after something was said."""
    sweep.log.unlink(missing_ok=True)
    plan = Plan(Mode.FAIL, at, Kind.SYNC, errno.EIO, lasting, log=str(sweep.log))
    ended = sweep.run(plan, bug=bug)
    found = [
        image
        for image in after_failure(logged(sweep.log))
        if image.said <= len(ended.lines)
        and ended.lines[image.said - 1].startswith("sure")
    ]
    few = found[:4] + found[4::6] if sweep.full else found[:2]
    cut(sweep, ended, [*few, *found[-1:]], count)


@pytest.mark.parametrize("lasting", range(4))
def test_a_sync_that_failed_is_not_trusted_later(
    sweep: Sweep, tally: Tallies, lasting: int
) -> None:
    """The kernel takes what it could not sync for clean: nothing that was acknowledged
    afterwards may need it."""
    count = tally(f"power cut after {lasting + 1} failed syncs")
    for at in one_in(2, failing(sweep), lasting):
        cut_after_failures(sweep, count, at, lasting)

    assert "lost" not in count.counts
    count.add("lost", 0)


@pytest.mark.parametrize(("bug", "lasting"), [("trusting", 0), ("checkpointing", 1)])
def test_a_log_that_is_trusted_after_a_failed_sync_is_seen(
    sweep: Sweep, bug: str, lasting: int
) -> None:
    """The planted bugs: nothing is done about it, or it is only written back."""
    count = Tally(bug)
    for at in failing(sweep):
        cut_after_failures(sweep, count, at, lasting, bug)
        if "lost" in count.counts:
            return
    pytest.fail("nothing was lost")


@pytest.mark.parametrize("at", [120, 330, 520])
def test_the_model_of_the_disk_agrees_with_the_kernel(sweep: Sweep, at: int) -> None:
    """What the shim logged, done again, gives the very files: it misses nothing."""
    sweep.log.unlink(missing_ok=True)
    sweep.run(Plan(Mode.KILL, at, log=str(sweep.log)))
    disk = Disk()
    for op in logged(sweep.log):
        disk.take(op)

    files = {TAILS[tail]: data for tail, data in disk.kept().items()}
    name = sweep.store.name
    assert files == {
        one.name.removeprefix(name): one.read_bytes()
        for one in sweep.store.parent.iterdir()
        if not one.name.endswith("-shm")
    }

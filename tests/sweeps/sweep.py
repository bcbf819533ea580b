"""A sweep breaks the same work off at one point after another, and checks what is left.

    def test_killed(sweep: Sweep, tally: Callable[[str], Tally]) -> None:
        count = tally("kill")
        for at in sweep.points(60):                     # operations on files, from 1
            ended = sweep.run(Plan(Mode.KILL, at))      # a real process, killed there
            sweep.check(ended)                          # the store holds what was confirmed
            count.add("points")

The work is in `work.py` (the journal alone) and `chats.py` (a whole conversation), what must
hold afterwards in `held.py` and `chats_held.py`.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, final

import attrs
from tests.sweeps import held
from tests.sweeps.fork_server import Ended, ForkServer
from tests.sweeps.shim import ANY, COUNTED, FOLDER, TAILS, Kind, Op, Plan, logged
from tests.sweeps.work import Notes

RARE: Final = Kind.CREATE | Kind.TRUNCATE | Kind.UNLINK


@final
class Sweep:
    """A folder, and the processes that work in it, one after the other.

    Args:
        folder: Where stores are made; in memory, where there is such a place.
        fork_server: Who makes the processes.
        full: Whether every point is asked for, or a part of them.
    """

    def __init__(self, folder: Path, fork_server: ForkServer, *, full: bool) -> None:
        self.folder = folder
        self.full = full
        self._workshop = fork_server
        self._ops: list[Op] = []

    @property
    def log(self) -> Path:
        """Where a process's log goes that is asked for one."""
        return self.folder / "log"

    @property
    def ledger(self) -> Path:
        """What the tools of a process write down; it begins empty."""
        return self.folder / "ledger"

    @property
    def store(self) -> Path:
        """The store that the current process works on."""
        return self.folder / "work" / "chat.db"

    def run(self, plan: Plan = COUNTED, **more: Any) -> Ended:
        """Have a process work on a store that is new."""
        self._clear()
        self.ledger.unlink(missing_ok=True)
        return self.go_on(plan, **more)

    def go_on(self, plan: Plan = COUNTED, **more: Any) -> Ended:
        """Have a process work on the store that is there."""
        given = {"ledger": str(self.ledger), **more}
        return self._workshop.run(self.store, plan, **given)

    def files(self) -> dict[int, bytes]:
        """What stands in the store's files."""
        found = {tail: Path(f"{self.store}{TAILS[tail]}") for tail in range(FOLDER)}
        return {tail: one.read_bytes() for tail, one in found.items() if one.exists()}

    def put(self, files: Mapping[int, bytes]) -> None:
        """Have the store's files be these."""
        self._clear()
        for tail, data in files.items():
            Path(f"{self.store}{TAILS[tail]}").write_bytes(data)

    def _clear(self) -> None:
        shutil.rmtree(self.store.parent, ignore_errors=True)
        self.store.parent.mkdir(parents=True)

    def check(self, ended: Ended) -> Notes:
        """Ask everything of the store that a process left."""
        notes = Notes.of(ended.lines)
        assert not notes.ended.startswith("broke"), notes.ended
        held.check(self.store, notes)
        return notes

    def counted(self, **more: Any) -> tuple[Ended, list[Op]]:
        """A process that comes to its end, and what it did, with its marks."""
        self.log.unlink(missing_ok=True)
        ended = self.run(Plan(log=str(self.log)), **more)
        return ended, list(logged(self.log))

    def ops(self) -> list[Op]:
        """What a process does that is left alone; the points are their numbers from 1."""
        if not self._ops:
            _, ops = self.counted()
            self._ops = [op for op in ops if op.kind is not Kind.MARK]
        return self._ops

    def points(self, fast: int, kinds: Kind = ANY, *, rare: bool = False) -> list[int]:
        """The points of these kinds: all of them, or so many, and perhaps the rare."""
        found = [at for at, op in enumerate(self.ops(), 1) if op.kind & kinds]
        if self.full:
            return found
        few = [at for at in found if rare and self._rare(self.ops()[at - 1])]
        return sorted({*few, *spread(found, fast)})

    def _rare(self, op: Op) -> bool:
        return bool(op.kind & RARE) or op.file == FOLDER


T = TypeVar("T")


def spread(points: Sequence[T], count: int) -> list[T]:
    """So many of the points, evenly."""
    step = max(len(points) / max(count, 1), 1)
    return [points[int(one * step)] for one in range(int(len(points) / step))]


@final
@attrs.define
class Tally:
    """What a sweep counts, and the line that it prints."""

    name: str
    counts: dict[str, int] = attrs.field(factory=dict[str, int])

    def add(self, what: str, number: int = 1) -> None:
        """Count something."""
        self.counts[what] = self.counts.get(what, 0) + number

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {what}" for what, number in self.counts.items())
        return f"{self.name}: {counts}"

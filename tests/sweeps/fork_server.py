"""A fork server: a process that has imported everything, and forks one child for each point.

`python -m tests.sweeps.fork_server` is that process, with the shim preloaded. It reads an
order a line, forks, arms the shim on the order's store, does the work and says how the
child ended. A child costs a few milliseconds that way, and not the imports.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NoReturn, TypeAlias, final

import attrs
from tests.sweeps import planted, shim
from tests.sweeps.shim import COUNTED, Plan
from tests.sweeps.work import SCRIPT, Worker, lines_of, speaker, sqlite

from turnlatch.journal import lease

ROOT: Final = Path(__file__).parents[2]
HEAVY: Final = ("anthropic", "httpx2", "pydantic")


@final
@attrs.frozen
class Order:
    """What one process is to do.

    Attributes:
        store: The path of its store.
        notes: The path of its notes.
        plan: Where it is broken off.
        synchronous: The store's setting.
        work: "journal", "again", "look" or "chat".
        bug: The name of a planted bug, or nothing.
        ledger: The file in which the tools of a chat write what they did.
    """

    store: str
    notes: str
    plan: Plan = COUNTED
    synchronous: str = "FULL"
    work: str = "journal"
    bug: str = ""
    ledger: str = ""


@final
@attrs.frozen
class Ended:
    """How a process ended.

    Attributes:
        killed: True if the shim killed it, False if it came to its own end.
        count: How many operations it did, if it came to its end.
        lines: What it said.
    """

    killed: bool
    count: int
    lines: tuple[str, ...]


Job: TypeAlias = Callable[[Order, Callable[[str], None]], str]


def _journal(order: Order, say: Callable[[str], None]) -> str:
    worker = Worker(lambda: sqlite(order.store, order.synchronous), say)
    return "done" if worker.run(SCRIPT) else "gave up"


def _again(order: Order, _: Callable[[str], None]) -> str:
    store = sqlite(order.store, order.synchronous)
    for one in store.conversations():
        store.open(one.name)
    store.close()
    return "done"


def _look(order: Order, _: Callable[[str], None]) -> str:
    store = sqlite(order.store, order.synchronous)
    for one in store.conversations():
        store.read(one.name)
    store.close()
    return "done"


def alone(order: Order, job: Job = _journal) -> None:
    """Do the work of one child, in this process."""
    planted.plant(order.bug)
    # The same operations in the same order, however long they take here.
    setattr(lease, "RENEW_SECONDS", inf)  # noqa: B010 - it is final for everybody else
    say = speaker(order.notes, shim.mark)
    log = -1
    if order.plan.log:
        log = os.open(order.plan.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    shim.arm(order.store, order.plan, log)
    try:
        ended = job(order, say)
    except BaseException:  # noqa: BLE001 - whatever it is, the checker hears of it
        ended = "broke: " + traceback.format_exc().replace("\n", " / ")
    say(ended)
    say(f"count {shim.count()}")


def _child(order: Order, job: Job) -> NoReturn:
    status = 1
    try:
        alone(order, job)
        status = 0
    finally:
        os._exit(status)


def serve(jobs: dict[str, Job]) -> None:
    """Fork a child for each order, until standard input ends."""
    loaded = [name for name in HEAVY if name in sys.modules]
    sys.stdout.write(json.dumps(loaded) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        plan: Any = Plan(**asked.pop("plan"))
        order = Order(plan=plan, **asked)
        pid = os.fork()
        if not pid:
            _child(order, jobs[order.work])
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


@final
class ForkServer:
    """The warm process, from outside.

    Attributes:
        loaded: The heavy modules that it has imported.
    """

    def __init__(self, library: Path, work: str = "journal") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.sweeps.fork_server", work],
            cwd=ROOT,
            env={**os.environ, "LD_PRELOAD": str(library)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.work = work
        self.loaded: list[str] = json.loads(self._hear())

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the fork server is gone"
        return line

    def run(self, store: Path, plan: Plan = COUNTED, **more: Any) -> Ended:
        """Have a process work on a store, whose notes are put beside its folder."""
        notes = store.parent.with_name(store.parent.name + ".notes")
        given = {"work": self.work, **more}
        order = Order(str(store), str(notes), plan, **given)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(attrs.asdict(order)) + "\n")
        self._process.stdin.flush()
        status = int(self._hear())
        lines = list(lines_of(notes.read_text())) if notes.exists() else []
        notes.unlink(missing_ok=True)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, (status, lines)
            return Ended(True, 0, tuple(lines))
        assert os.WEXITSTATUS(status) == 0, (status, lines)
        count = int(lines.pop().removeprefix("count "))
        return Ended(False, count, tuple(lines))

    def close(self) -> None:
        """End it."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()


def _chat() -> Job:
    """The work of a process that converses, with everything imported that it needs."""
    from tests.sweeps.chats import converse  # the SDK, a second of imports

    with TemporaryDirectory() as folder:
        converse(f"{folder}/chat.db", f"{folder}/ledger", "", lambda _: None)
    return lambda order, say: converse(order.store, order.ledger, order.bug, say)


def main() -> None:
    """Be the warm process."""
    jobs: dict[str, Job] = {"journal": _journal, "again": _again, "look": _look}
    if sys.argv[1] == "chat":
        jobs["chat"] = _chat()
    serve(jobs)


if __name__ == "__main__":
    main()

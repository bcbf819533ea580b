"""Processes that write one store, and whoever stops, continues and kills them.

Nothing waits for a clock. A process says one line before and one after each operation;
after so many lines, drawn from the seed, something is done to one of them. How far the
processes got by then is the machine's choice, and the checker holds for all of it.
"""

import contextlib
import os
import random
import select
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import attrs
from tests.around import append_now
from tests.sweeps.writers_history import (
    ACKNOWLEDGED,
    History,
    event,
    id_of,
    operations,
    problems,
    recorded,
    whole,
)

from turnlatch.errors import JournalError, LeaseLostError
from turnlatch.journal import SQLiteStore, lease, sqlite
from turnlatch.journal.handle import SQLiteJournal
from turnlatch.journal.owner import Owner

CONVERSATIONS: Final = ("red", "green", "blue")

SECONDS_A_BYTE: Final = 0.002
"""The processes' clock is the length of their history: a lease of 12 seconds is over
after some fifty lines without an append, however fast the machine is."""

Plant: TypeAlias = Callable[[], None]
"""Breaks the build, in the process that calls it."""


# Broken builds.


def sound() -> None:
    """The build as it is."""


def unfenced() -> None:
    """Nobody asks for the epoch, an append goes wherever the record ends by now, and
    whoever holds a lease may be taken for dead."""

    def always(connection: object, conversation: int, epoch: int) -> bool:
        return True

    real = SQLiteJournal.append

    async def append(self: SQLiteJournal, events: Any) -> None:
        inner = self._database  # pyright: ignore[reportPrivateUsage]
        with inner.alone, inner as connection:
            base = self._conversation.base  # pyright: ignore[reportPrivateUsage]
            found = connection.execute(
                "SELECT key, hash FROM entry WHERE key BETWEEN ? AND ?"
                " ORDER BY key DESC LIMIT 1",
                (base, base + 0xFFFFFFFF),
            ).fetchone()
        if found is not None:
            self._sequence = found[0] & 0xFFFFFFFF  # pyright: ignore[reportPrivateUsage]
            self._hash = found[1]  # pyright: ignore[reportPrivateUsage]
        await real(self, events)

    grabbing()
    setattr(lease, "holds", always)  # noqa: B010 - a function, for type checkers
    setattr(SQLiteJournal, "append", append)  # noqa: B010 - the same


def same_epoch() -> None:
    """Whoever takes a lease over goes on under the epoch of the one before."""
    real = lease.acquire

    def acquire(connection: Any, conversation: int, *more: Any) -> int:
        epoch = real(connection, conversation, *more)
        connection.execute(
            "UPDATE lease SET epoch = 1 WHERE conversation = ?", (conversation,)
        )
        return min(epoch, 1)

    setattr(lease, "acquire", acquire)  # noqa: B010 - a function, for type checkers


def grabbing() -> None:
    """Everybody who holds a lease is taken for dead. The fence alone makes this safe."""

    def gone(*_: object) -> bool:
        return True

    setattr(sqlite, "is_gone", gone)  # noqa: B010 - a function, for type checkers


# One process.


@final
class Worker:
    """Draws operations from a seed, does them, and writes down how each went.

    Attributes:
        history: Where that is written down.
    """

    def __init__(
        self, folder: Path, number: int, seed: int, wake: int | None = None
    ) -> None:
        self._path = folder / "chat.db"
        self._log = folder / "history.jsonl"
        self.history = History(self._log, number, wake)
        self._number = number
        self._chance = random.Random(f"{seed} {number}")
        self._made = 0
        self._store: SQLiteStore | None = None
        self._held: dict[str, tuple[SQLiteJournal, int]] = {}
        # Half of them look as if they ran elsewhere: nobody can see whether they live.
        far = Owner(f"host {number}", os.getpid(), "1", "boot")
        self._owner = far if self._chance.random() < 0.35 else None

    def _now(self) -> float:
        return os.stat(self._log).st_size * SECONDS_A_BYTE

    def run(self, operations_max: int) -> None:
        """Do so many operations, and close what is open, or leave it, as drawn."""
        for _ in range(operations_max):
            self.one()
        if self._store is not None and self._chance.random() < 0.5:
            self.leave()

    def one(self) -> None:
        """Draw an operation and do it."""
        if self._store is None:
            self.enter()
            return
        name = self._chance.choice(CONVERSATIONS)
        draw = self._chance.random()
        if draw < 0.12:
            self.read(name)
        elif draw < 0.16:
            self.leave()
        elif name not in self._held:
            self.open(name)
        elif draw < 0.24:
            self.close(name)
        else:
            self.append(name)

    def enter(self) -> None:
        """Open the store."""
        with self._tell("store"):
            self._store = SQLiteStore(
                self._path,
                synchronous="NORMAL",
                clock=self._now,
                owner=self._owner,
                wait=0.005,
                renew=False,
            )
            self.history.ok()

    def leave(self) -> None:
        """Close the store, whatever is held."""
        assert self._store is not None
        with self._tell("leave"):
            self._held.clear()
            self._store.close()
            self._store = None
            self.history.ok()

    def open(self, name: str) -> None:
        """Take a conversation."""
        assert self._store is not None
        with self._tell("open", c=name):
            journal = self._store.open(name)
            epoch = journal._epoch  # pyright: ignore[reportPrivateUsage]
            self._held[name] = journal, epoch
            self.history.ok(epoch=epoch, sequence=journal.sequence)

    def append(self, name: str) -> None:
        """Append one to three events to what is held."""
        journal, epoch = self._held[name]
        ids: list[str] = []
        for _ in range(self._chance.randint(1, 3)):
            self._made += 1
            ids.append(f"{self._number}-{self._made}")
        with self._tell("append", c=name, ids=ids, epoch=epoch):
            append_now(journal, [event(self._made, id_) for id_ in ids], wait=0.005)
            self.history.ok()

    def read(self, name: str) -> None:
        """Read a conversation, held or not."""
        assert self._store is not None
        with self._tell("read", c=name):
            entries = self._store.read(name)
            self.history.ok(ids=[id_of(entry.event) for entry in entries])

    def close(self, name: str) -> None:
        """Give a conversation back."""
        with self._tell("close", c=name):
            journal, _ = self._held.pop(name)
            journal.close()
            self.history.ok()

    @contextlib.contextmanager
    def _tell(self, do: str, **more: Any) -> Generator[None]:
        self.history.invoke(do, **more)
        try:
            yield
        except JournalError as error:
            if error.outcome_unknown:
                self.history.info(error)
            else:
                self.history.fail(error)
            if error.outcome_unknown or isinstance(error, LeaseLostError):
                self._held.pop(more.get("c", ""), None)


def forked(work: Callable[[], None]) -> int:
    """A process that does some work and ends; its number. What it ends on, where that is
    no error of ours, is written to the history that is in `History.mine`."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - written down, for the checker
        assert History.mine is not None
        History.mine.crash(error)
    finally:
        os._exit(0)


# All of them.


@final
@attrs.frozen
class Course:
    """How one run goes.

    Attributes:
        seed: What everything is drawn from.
        appends: How many are acknowledged before no process is started any more.
        plant: What the processes break in themselves.
    """

    seed: int
    appends: int
    plant: Plant = sound


@final
@attrs.define
class Outcome:
    """How one run went.

    Attributes:
        found: What the checker said.
        counts: How often what happened.
    """

    found: list[str]
    counts: dict[str, int]


@final
@attrs.define(eq=False)
class Running:
    """One process that was started.

    Attributes:
        pid: Its number in the system.
        ear: Where it says a byte for each line of its history; at its end when it ended.
        lines: Lines of others to go until it is continued; None for one that runs.
    """

    pid: int
    ear: int
    lines: int | None = None


@final
class Warden:
    """Starts processes, and stops, continues and kills them.

    Attributes:
        killed: How many were killed.
        paused: How often one was stopped.
    """

    def __init__(self, folder: Path, course: Course) -> None:
        self._folder = folder
        self._course = course
        self._chance = random.Random(course.seed)
        self._alive: list[Running] = []
        self._started = self._acknowledged = 0
        self.killed = self.paused = 0

    @property
    def _more(self) -> bool:
        return self._acknowledged < self._course.appends

    def run(self) -> None:
        """Until so many appends were acknowledged, and every process has ended."""
        together = self._chance.randint(2, 6)
        due = self._chance.randint(3, 25)
        try:
            while self._more or self._alive:
                while self._more and len(self._alive) < together:
                    self._start()
                if all(one.lines is not None for one in self._alive):
                    self._continue(self._alive[0])
                due -= self._listen()
                if due <= 0:
                    due = self._chance.randint(3, 25)
                    self._meddle()
        finally:
            for one in list(self._alive):
                os.kill(one.pid, signal.SIGKILL)
                self._collect(one)

    def _start(self) -> None:
        self._started += 1
        number, share = self._started, self._chance.randint(10, 60)
        assert number < 10 * self._course.appends, "they get nowhere"
        ear, mouth = os.pipe()

        def work() -> None:
            self._course.plant()
            Worker(self._folder, number, self._course.seed, mouth).run(share)

        pid = forked(work)
        os.close(mouth)  # the only one that can still say something is the process
        self._alive.append(Running(pid, ear))

    def _listen(self) -> int:
        """Wait until somebody says something; how many lines were written."""
        heard = 0
        by_ear = {one.ear: one for one in self._alive}
        ready, _, _ = select.select(list(by_ear), [], [])
        for ear in ready:
            said = os.read(ear, 4)
            heard += len(said)
            self._acknowledged += said.count(ACKNOWLEDGED)
            if not said:
                self._collect(by_ear[ear])
        for one in self._alive:
            if one.lines is not None:
                one.lines -= heard
                if one.lines <= 0:
                    self._continue(one)
        return heard

    def _meddle(self) -> None:
        running = [one for one in self._alive if one.lines is None]
        if not running:
            return
        one = self._chance.choice(running)
        if (self.killed * 4) < self.paused:
            os.kill(one.pid, signal.SIGKILL)
            self._collect(one)
            self.killed += 1
            return
        os.kill(one.pid, signal.SIGSTOP)
        one.lines = self._chance.choice([5, 20, 60, 120])
        self.paused += 1

    def _continue(self, one: Running) -> None:
        one.lines = None
        os.kill(one.pid, signal.SIGCONT)

    def _collect(self, one: Running) -> int:
        self._alive.remove(one)
        os.close(one.ear)
        _, status = os.waitpid(one.pid, 0)
        return os.waitstatus_to_exitcode(status)


def verdict(folder: Path) -> Outcome:
    """What the checker says of a folder's history and record."""
    lines, cut = whole((folder / "history.jsonl").read_text(encoding="utf-8"))
    ops = operations(lines)
    record, wrong = recorded(folder / "chat.db")
    appends = [op for op in ops if op.do == "append"]
    taken = [op for op in ops if op.do == "open" and op.ended == "ok"]
    counts = {
        "processes": len({op.process for op in ops}),
        "operations": len(ops),
        "acknowledged appends": sum(op.ended == "ok" for op in appends),
        "lines cut off": cut,
        "in doubt": sum(op.ended in ("", "info") for op in appends),
        "leases taken": len(taken),
        "late appends refused": sum(op.error == "LeaseLostError" for op in ops),
        "refused as busy": sum(op.error == "ConversationBusyError" for op in ops),
        "entries": sum(len(lines_) for lines_ in record.values()),
    }
    return Outcome([*wrong, *problems(ops, record)], counts)


def play(folder: Path, course: Course) -> Outcome:
    """One run, checked."""
    folder.mkdir(exist_ok=True)
    (folder / "history.jsonl").touch()
    warden = Warden(folder, course)
    warden.run()
    found = verdict(folder)
    if found.counts["lines cut off"] > warden.killed:
        found.found.append("error: more lines are cut off than processes were killed")
    found.counts |= {"killed": warden.killed, "stopped": warden.paused}
    return found

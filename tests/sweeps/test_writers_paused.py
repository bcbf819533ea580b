"""A writer stops before each statement of its work in turn; another takes over, writes,
and the first one wakes up.

It stops itself with SIGSTOP, so the place is exact and nothing depends on timing. The
other one is on another host, as far as it can see, and the lease is long over."""

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any, Final

import attrs
from tests.around import append_now
from tests.sweeps.writers_history import History, event
from tests.sweeps.writers_process import (
    Outcome,
    Plant,
    forked,
    sound,
    unfenced,
    verdict,
)

from turnlatch.errors import JournalError
from turnlatch.journal import SQLiteStore, lease
from turnlatch.journal.handle import SQLiteJournal
from turnlatch.journal.owner import Owner

NAME: Final = "notes"


class Pause:
    """Stops this process before the nth statement from when it is switched on."""

    def __init__(self, nth: int) -> None:
        self._nth = nth
        self._count = 0
        self.on = False

    def step(self) -> None:
        """A statement is about to be executed."""
        self._count += self.on
        if self.on and self._count == self._nth:
            os.kill(os.getpid(), signal.SIGSTOP)

    def connect(self, uri: str) -> sqlite3.Connection:
        """A connection whose statements are counted."""
        pause = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                pause.step()
                return sqlite3.Connection.execute(self, sql, *arguments)

            def executemany(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                pause.step()
                return sqlite3.Connection.executemany(self, sql, *arguments)

        return sqlite3.connect(uri, uri=True, isolation_level=None, factory=Connection)


class Writer:
    """One of the two, and what it writes down."""

    def __init__(self, folder: Path, number: int, store: SQLiteStore) -> None:
        self._history = History(folder / "history.jsonl", number)
        self._number = number
        self._store = store
        self._journal: SQLiteJournal | None = None
        self._made = 0

    def open(self) -> bool:
        """Take the conversation; False if that was refused."""
        self._history.invoke("open", c=NAME)
        try:
            self._journal = self._store.open(NAME)
        except JournalError as error:
            self._history.fail(error)
            return False
        epoch = self._journal._epoch  # pyright: ignore[reportPrivateUsage]
        self._history.ok(epoch=epoch, sequence=self._journal.sequence)
        return True

    def append(self) -> bool:
        """Append two events; False if that was refused."""
        assert self._journal is not None
        epoch = self._journal._epoch  # pyright: ignore[reportPrivateUsage]
        self._made += 2
        ids = [f"{self._number}-{self._made + more}" for more in range(2)]
        self._history.invoke("append", c=NAME, ids=ids, epoch=epoch)
        try:
            append_now(
                self._journal, [event(self._made, id_) for id_ in ids], wait=0.005
            )
        except JournalError as error:
            (self._history.info if error.outcome_unknown else self._history.fail)(error)
            return False
        self._history.ok()
        return True

    def close(self) -> None:
        """Give the conversation back, and the store."""
        self._history.invoke("close", c=NAME)
        if self._journal is not None:
            self._journal.close()
        self._store.close()
        self._history.ok()


def _sleeper(folder: Path, nth: int, plant: Plant) -> None:
    """Takes, appends twice, gives back; stops somewhere in it."""
    plant()
    pause = Pause(nth)
    store = SQLiteStore(
        folder / "chat.db",
        synchronous="NORMAL",
        clock=lambda: 0.0,
        owner=Owner("far", 1, "1", "boot"),
        connect=pause.connect,
    )
    writer = Writer(folder, 1, store)
    pause.on = True
    if writer.open() and writer.append():
        writer.append()
    writer.close()


def _round(folder: Path, nth: int, plant: Plant) -> tuple[Outcome, bool, bool]:
    """Let it stop before its nth statement: what the checker says, whether it stopped,
    and whether the lease was taken over then."""
    folder.mkdir()
    (folder / "history.jsonl").touch()
    pid = forked(lambda: _sleeper(folder, nth, plant))
    _, status = os.waitpid(pid, os.WUNTRACED)
    stopped = os.WIFSTOPPED(status)
    store = SQLiteStore(
        folder / "chat.db",
        synchronous="NORMAL",
        clock=lambda: 1e12,
        owner=Owner("near", 1, "1", "boot"),
        wait=0.005,
    )
    other = Writer(folder, 2, store)
    took = other.open()
    if took:
        assert other.append()
    if stopped:
        os.kill(pid, signal.SIGCONT)
        os.waitpid(pid, 0)
    late: list[str] = []
    if not took and not other.open():
        late.append("held: nobody holds it, and it was refused")
    elif not other.append() or store.conversations()[0].holder != "process 1 on near":
        late.append("taken: what the first one did late took the lease away")
    other.close()
    outcome = verdict(folder)
    return attrs.evolve(outcome, found=late + outcome.found), stopped, took


def _sweep(folder: Path, plant: Plant) -> tuple[int, int, list[str]]:
    """Every statement: how many there were, at how many the lease was taken over, and
    what the checker found."""
    found: list[str] = []
    nth = taken = 0
    while True:
        nth += 1
        outcome, stopped, took = _round(folder / str(nth), nth, plant)
        found += outcome.found
        if not stopped:
            return nth - 1, taken, found
        taken += took


def test_a_writer_that_stops_anywhere_writes_nothing_late(tmp_path: Path) -> None:
    statements, taken, found = _sweep(tmp_path, sound)

    sys.stdout.write(f"{statements} places to stop at, taken over at {taken}\n")
    assert found == []
    assert statements > 15
    assert taken > 5


def test_without_the_fence_it_does(tmp_path: Path) -> None:
    """The planted bug: nobody asks for the epoch."""
    _, _, found = _sweep(tmp_path, unfenced)

    assert {one.split()[0] for one in found} >= {"late:", "backwards:"}


def _careless_release() -> None:
    def release(connection: Any, conversation: int, epoch: int) -> None:
        connection.execute(
            "UPDATE lease SET state = 'free' WHERE conversation = ?", (conversation,)
        )

    setattr(lease, "release", release)  # noqa: B010 - a function, for type checkers


def test_a_late_close_that_asks_nothing_is_noticed(tmp_path: Path) -> None:
    """The planted bug: a handle gives back what is not its own any more."""
    _, _, found = _sweep(tmp_path, _careless_release)

    assert "taken:" in {one.split()[0] for one in found}

"""Another process that does something whole between two steps of ours.

A step is what the world can see of us: a call of the system or of SQLite. It is counted
where the interpreter calls it, so nothing of the code under test is replaced.
"""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

from tests.around import append_now

from turnlatch.errors import JournalError
from turnlatch.journal import (
    SQLiteStore,
    database,
    handle,
    lease,
    listing,
    records,
    schema,
    sqlite,
)
from turnlatch.journal import (
    tail_anchor as anchor,
)
from turnlatch_states.machine.events import RequestSent


class Child(Protocol):
    """A real process, as `conftest.py` makes it."""

    pid: int

    def hear(self) -> str: ...
    def say(self, line: str) -> None: ...
    def signal(self, number: int) -> None: ...
    def wait(self) -> None: ...


Start = Callable[..., Child]
Say = Callable[[str], None]
Hear = Callable[[], str]

CALLS: Final = frozenset(
    [
        "stat",
        "open",
        "close",
        "read",
        "write",
        "pread",
        "pwrite",
        "ftruncate",
        "fstat",
        "unlink",
        "replace",
        "connect",
        "execute",
        "executemany",
        "fetchone",
        "fetchall",
    ]
)
"""The calls, by name, that touch files."""

OURS: Final = {
    module.__file__
    for module in (anchor, database, handle, lease, listing, records, schema, sqlite)
}

HOLDS_IT: Final = frozenset({"_create", "create", "is_new", "identity", "reading"})
"""Where an opening keeps others out for a moment: its transactions."""


class Steps:
    """Does something before the nth step of what runs inside.

    Attributes:
        count: Steps that were seen.
        where: The function that the nth stands in.
        call: What it calls.
        refused: How often the other process was told to wait there.
    """

    def __init__(self, nth: int, act: Callable[[], None]) -> None:
        self.count = self.refused = 0
        self.where = self.call = ""
        self._nth = nth
        self._act = act

    def __enter__(self) -> "Steps":
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    @property
    def excludes(self) -> bool:
        """True if the nth step is inside a transaction, or inside a statement."""
        return self.where in HOLDS_IT or self.call.startswith("fetch")

    def _see(self, frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call" or called.__name__ not in CALLS or not _ours(frame):
            return
        self.count += 1
        if self.count == self._nth:
            self.where, self.call = frame.f_code.co_name, called.__name__
            sys.setprofile(None)
            self._act()
            sys.setprofile(self._see)


def _ours(frame: FrameType | None) -> bool:
    """True for a call of ours, also through the standard library."""
    callers: list[str] = []
    while frame is not None and len(callers) < 4:
        callers.append(frame.f_code.co_filename)
        frame = frame.f_back
    return not OURS.isdisjoint(callers)


# The other process.


def _impatient(uri: str) -> sqlite3.Connection:
    """Refused at once where it would have to wait for us, who wait for it."""
    return sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)


_held: list[object] = []


def _write(path: str, *, hold: bool = False) -> SQLiteStore:
    store = SQLiteStore(path, synchronous="NORMAL", connect=_impatient, wait=0)
    try:
        journal = store.open("theirs")
        append_now(journal, [RequestSent(1, journal.sequence + 1)], wait=0)
        if hold:
            _held.append(journal)
        else:
            journal.close()
    except BaseException:
        store.close()
        raise
    return store


def _killed(path: str) -> None:
    """Write, and die with the store open."""
    pid = os.fork()
    if not pid:
        try:
            _write(path)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        raise JournalError(path, "the child was refused", "try again")


def serve(say: Say, hear: Hear) -> None:
    """Does what it is told, one word and a path a line, and says how that went."""
    kept: SQLiteStore | None = None
    while line := hear():
        word, path = line.split(" ", 1)
        try:
            if word == "close" and kept is not None:
                kept.close()
                kept = None
            elif word == "write":
                _write(path).close()
            elif word in ("keep", "hold"):
                kept = _write(path, hold=word == "hold")
            elif word == "die":
                _killed(path)
            elif word == "append" and kept is not None:
                journal = kept.open("theirs")
                append_now(journal, [RequestSent(1, journal.sequence + 1)], wait=0)
                journal.close()
            say("done")
        except JournalError as error:
            say(f"refused {error}")


class Peer:
    """The other process, as the test talks to it.

    Attributes:
        acknowledged: What it wrote in this round and was acknowledged.
        refused: What it was told where it had to wait.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self.acknowledged = 0
        self.refused: list[str] = []

    def does(self, word: str, path: Path) -> None:
        """Have it do something, and wait until that is done."""
        self._child.say(f"{word} {path}")
        said = self._child.hear()
        if said != "done":
            self.refused.append(said)
        elif word != "close":
            self.acknowledged += 1

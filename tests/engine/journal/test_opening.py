"""Whatever another process does between any two steps of ours, both are served.

A step is what the world can see of us: a call of the system or of SQLite. Before step n,
for every n until the work has no more steps, a real process does something whole: makes
the store, writes to it, closes it, dies with it open."""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

import pytest

from detent.errors import ConversationBusyError, JournalError
from detent.journal import (
    SQLiteStore,
    anchor,
    database,
    handle,
    lease,
    records,
    schema,
    sqlite,
)
from detent_states.events import RequestSent


class Child(Protocol):
    """A real process, as `conftest.py` makes it."""

    pid: int

    def hear(self) -> str: ...
    def say(self, line: str) -> None: ...
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
    for module in (anchor, database, handle, lease, records, schema, sqlite)
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
    store = SQLiteStore(path, synchronous="NORMAL", connect=_impatient)
    try:
        journal = store.open("theirs")
        journal.append([RequestSent(1, journal.sequence + 1)])
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


def _peer(say: Say, hear: Hear) -> None:
    """Does what it is told, one word and a path a line, and says how that went."""
    setattr(database, "_SWITCHES_MAX", 1)  # noqa: B010 - a constant, for type checkers
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
                journal.append([RequestSent(1, journal.sequence + 1)])
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


@pytest.fixture
def peer(child: Start) -> Peer:
    """A real process that has nothing open."""
    return Peer(child(_peer))


SCENES: Final = {
    "it makes the store and closes it": ((), ("write",), ()),
    "it makes the store and keeps it": ((), ("keep",), ("close",)),
    "it makes the store and dies": ((), ("die",), ()),
    "it writes to a store that was closed": (("write",), ("write",), ()),
    "it writes to a store that a dead process left": (("die",), ("write",), ()),
    "it dies writing to a store that a dead one left": (("die",), ("die",), ()),
    "it appends and closes what it had open": (("keep",), ("append", "close"), ()),
    "it appends to what it has open": (("keep",), ("append",), ("close",)),
}
"""What it does before our opening, before the nth step of it, and afterwards."""


def _anchored(store: SQLiteStore) -> int:
    """How many conversations the head file knows."""
    head = store._database.head  # pyright: ignore[reportPrivateUsage]
    assert head is not None
    return len(head.everything())


def _round(scene: str, path: Path, nth: int, peer: Peer) -> Steps:
    """Open with the peer acting before the nth step; nobody may lose anything."""
    before, between, after = SCENES[scene]
    peer.acknowledged, peer.refused = 0, []
    for word in before:
        peer.does(word, path)
    assert not peer.refused

    def act() -> None:
        for word in between:
            peer.does(word, path)

    with Steps(nth, act) as steps:
        store = SQLiteStore(path, synchronous="NORMAL")
    assert not peer.refused or steps.excludes, (steps.where, peer.refused)
    assert not [one for one in store.notices if "head file" in one]
    if peer.acknowledged:
        # First: reading the conversation would set its anchor again.
        assert _anchored(store) == 1, "the other's anchor was lost"
        assert len(store.read("theirs")) == peer.acknowledged
    store.open("ours").append([RequestSent(1, 1)])
    for word in after:
        peer.does(word, path)
    store.close()
    steps.refused, peer.refused = len(peer.refused), []
    peer.does("write", path)
    assert not peer.refused
    store = SQLiteStore(path, synchronous="NORMAL")
    assert len(store.read("theirs")) == peer.acknowledged
    assert len(store.read("ours")) == 1
    assert _anchored(store) == 2
    store.close()
    return steps


def _sweep(scene: str, folder: Path, peer: Peer) -> tuple[int, int]:
    """Every step of an opening; how many there were, and where the peer had to wait."""
    nth = waited = 0
    while True:
        nth += 1
        steps = _round(scene, folder / f"{nth}.db", nth, peer)
        waited += steps.refused > 0
        if steps.count < nth:
            return nth - 1, waited


@pytest.mark.parametrize("scene", SCENES)
def test_another_process_between_any_two_steps_of_an_opening(
    scene: str, tmp_path: Path, peer: Peer, record_property: Callable[..., None]
) -> None:
    steps, waited = _sweep(scene, tmp_path, peer)

    record_property("steps", steps)
    sys.stdout.write(f"{scene}: {steps} steps, at {waited} of them it had to wait\n")
    assert steps > 40


def _reading_apart(connection: object) -> AbstractContextManager[None]:
    return nullcontext()


def _begun_anew(descriptor: int, raw: bytes, offset: int) -> int:
    if not offset:
        os.ftruncate(descriptor, 0)
    return os.pwrite(descriptor, raw, offset)


@pytest.mark.parametrize(
    ("module", "name", "bug", "scene"),
    [
        (schema, "reading", _reading_apart, "it makes the store and closes it"),
        (database, "_PROBES", 1, "it writes to a store that a dead process left"),
        (anchor, "_pwrite", _begun_anew, "it makes the store and keeps it"),
    ],
    ids=["header and schema read apart", "looked once", "head file begun anew"],
)
def test_each_race_that_was_found_is_found_again(
    module: object,
    name: str,
    bug: object,
    scene: str,
    tmp_path: Path,
    peer: Peer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted bugs: what each guard is for."""
    monkeypatch.setattr(module, name, bug)

    with pytest.raises((AssertionError, JournalError)):
        _sweep(scene, tmp_path, peer)


# The store is open; a conversation is taken, written and given back.


OUR_TWO: Final = [RequestSent(2, 1), RequestSent(2, 2)]


def _take(path: Path, nth: int, word: str, peer: Peer) -> tuple[Steps, bool]:
    """Take what the peer wants too; whoever was acknowledged is in the record."""
    peer.acknowledged, peer.refused = 0, []
    peer.does("write", path)
    store = SQLiteStore(path, synchronous="NORMAL")
    ours = 0
    with Steps(nth, lambda: peer.does(word, path)) as steps:
        try:
            journal = store.open("theirs")
            for event in OUR_TWO:
                journal.append([event])
                ours += 1
            journal.close()
        except ConversationBusyError:
            assert word == "hold", "it gave the conversation back before it said so"
    found = [one.event for one in store.read("theirs")]
    assert [one for one in found if one in OUR_TWO] == OUR_TWO[:ours]
    assert len(found) == ours + peer.acknowledged
    (listing,) = store.conversations()
    assert listing.entries == len(found)
    store.close()
    steps.refused = len(peer.refused)
    peer.does("close", path)
    store = SQLiteStore(path, synchronous="NORMAL")
    assert len(store.open("theirs").entries()) == len(found)
    store.close()
    return steps, ours > 0


@pytest.mark.parametrize("word", ["write", "hold"])
def test_another_process_between_any_two_steps_of_a_writer(
    word: str, tmp_path: Path, peer: Peer
) -> None:
    """It takes the same conversation: one of us is told to wait, and nobody writes into
    what the other holds."""
    nth = refused = theirs = 0
    while True:
        nth += 1
        steps, written = _take(tmp_path / f"{nth}.db", nth, word, peer)
        refused += steps.refused
        theirs += not written
        if steps.count < nth:
            break

    sys.stdout.write(
        f"{word}: {nth - 1} steps, at {refused} the other one had to wait,"
        f" at {theirs} we had to\n"
    )
    assert steps.count > 25
    assert refused > 15
    assert (theirs > 3) == (word == "hold")


def test_only_who_holds_a_conversation_notes_its_end(path: Path) -> None:
    """A reader's note could come late, and take the place of a newer one."""
    head = Path(f"{path}-head")
    store = SQLiteStore(path)
    store.open("notes").append([RequestSent(1, 1)])
    store.close()
    noted = head.read_bytes()
    head.write_bytes(noted[:64])
    store = SQLiteStore(path)

    assert len(store.read("notes")) == 1
    assert head.read_bytes() == noted[:64]
    store.open("notes")
    assert head.read_bytes() == noted
    store.close()

"""Whatever another process does between any two steps of ours, both are served.

A step is what the world can see of us: a call of the system or of SQLite. Before step n,
for every n until the work has no more steps, a real process does something whole: makes
the store, writes to it, closes it, dies with it open."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

import pytest
from tests.around import append_now
from tests.engine.journal.interleaved import Child, Peer, Steps, serve
from tests.part import WHOLE

from turnlatch.errors import ConversationBusyError, JournalError
from turnlatch.journal import SQLiteStore, database, schema
from turnlatch.journal import tail_anchor as anchor
from turnlatch_states.machine.events import RequestSent


@pytest.fixture
def peer(child: Callable[..., Child]) -> Peer:
    """A real process that has nothing open."""
    return Peer(child(serve))


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
    append_now(store.open("ours"), [RequestSent(1, 1)])
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


def _sweep(scene: str, folder: Path, peer: Peer, apart: int = 1) -> tuple[int, int]:
    """Every step of an opening, or one in so many, each scene beginning at another; how
    many there were, and where the peer had to wait."""
    nth, waited = list(SCENES).index(scene) % apart + 1 - apart, 0
    while True:
        nth += apart
        steps = _round(scene, folder / f"{nth}.db", nth, peer)
        waited += steps.refused > 0
        if steps.count < nth:
            return steps.count, waited


@pytest.mark.parametrize("scene", SCENES)
def test_another_process_between_any_two_steps_of_an_opening(
    scene: str, tmp_path: Path, peer: Peer, record_property: Callable[..., None]
) -> None:
    steps, waited = _sweep(scene, tmp_path, peer, 1 if WHOLE else 3)

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
                append_now(journal, [event])
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
    refused = theirs = 0
    apart = 1 if WHOLE else 2
    nth = 1 - apart
    while True:
        nth += apart
        steps, written = _take(tmp_path / f"{nth}.db", nth, word, peer)
        refused += steps.refused
        theirs += not written
        if steps.count < nth:
            break

    sys.stdout.write(
        f"{word}: {steps.count} steps, at {refused} the other one had to wait,"
        f" at {theirs} we had to\n"
    )
    assert steps.count > 25
    assert refused * apart > 15
    assert (theirs * apart > 3) == (word == "hold")


def test_only_who_holds_a_conversation_notes_its_end(path: Path) -> None:
    """A reader's note could come late, and take the place of a newer one."""
    head = Path(f"{path}-head")
    store = SQLiteStore(path)
    append_now(store.open("notes"), [RequestSent(1, 1)])
    store.close()
    noted = head.read_bytes()
    head.write_bytes(noted[:64])
    store = SQLiteStore(path)

    assert len(store.read("notes")) == 1
    assert head.read_bytes() == noted[:64]
    store.open("notes")
    assert head.read_bytes() == noted
    store.close()

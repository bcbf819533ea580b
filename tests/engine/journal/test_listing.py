"""What a store holds can be seen without holding, making or changing anything."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp

import attrs
import pytest
from tests.around import append_now
from tests.engine.journal.interleaved import Child, Peer, Steps, serve

from turnlatch.errors import JournalCorruptError, JournalError, JournalVersionError
from turnlatch.journal import MemoryStore, SQLiteStore, listing
from turnlatch.journal.lease import LEASE_SECONDS
from turnlatch.journal.listing import last_used_first, list_readonly
from turnlatch.journal.owner import Owner
from turnlatch.ports import Store
from turnlatch_states.machine.events import Event, RequestSent

Start = Callable[..., Child]
HERE = Owner.current()


def seen(folder: Path) -> dict[str, bytes]:
    """Every file, with what stands in it; SQLite's shared memory by name only."""
    return {
        one.name: b"" if one.name.endswith("-shm") else one.read_bytes()
        for one in folder.iterdir()
    }


@pytest.mark.parametrize("sort", ["memory", "sqlite"])
def test_listing_has_the_time_and_number_of_turns(
    path: Path, sort: str, events: tuple[Event, ...]
) -> None:
    now = [1000.0]

    def clock() -> float:
        return now[0]

    store: Store
    store = (
        MemoryStore(clock=clock) if sort == "memory" else SQLiteStore(path, clock=clock)
    )
    journal = store.open("a")
    append_now(journal, events)
    now[0] = 2000.5
    append_now(store.open("b"), [RequestSent(7, 1), *events[:1]])
    now[0] = 3000.0
    append_now(journal, [])  # which is no use
    store.fork("b", "of b", 1)
    store.fork("of b", "of that", 1)
    store.fork("a", "before any turn", 1)
    store.open("empty").close()

    found = {one.name: (one.turns, one.used) for one in store.conversations()}
    assert found == {
        "a": (1, 1000.0),
        "b": (7, 2000.5),
        "of b": (7, None),
        "of that": (7, None),
        "before any turn": (0, None),
        "empty": (0, None),
    }
    ordered = [one.name for one in last_used_first(store.conversations())]
    assert ordered == ["b", "a", "empty", "before any turn", "of that", "of b"]
    store.close()


def made(path: Path, events: tuple[Event, ...]) -> SQLiteStore:
    store = SQLiteStore(path)
    append_now(store.open("notes"), events)
    store.fork("notes", "branch", 3)
    return store


def test_a_closed_store_is_seen_and_left_as_it_is(
    path: Path, events: tuple[Event, ...]
) -> None:
    store = made(path, events)
    told = [attrs.evolve(one, left=None) for one in store.conversations()]
    store.close()
    before = seen(path.parent)

    assert list(list_readonly(path)) == told
    assert seen(path.parent) == before
    assert sorted(before) == ["chat.db", "chat.db-head"]


def test_a_store_in_use_is_seen_with_who_holds_what(path: Path, child: Start) -> None:
    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        store = SQLiteStore(path)
        append_now(store.open("notes"), [RequestSent(1, 1)])
        say("held")
        hear()
        store.close()
        say("closed")

    holder = child(work)
    assert holder.hear() == "held"
    before = seen(path.parent)

    (one,) = list_readonly(path)
    assert (one.holder, one.left) == (f"process {holder.pid} on {HERE.host}", None)
    assert one.entries == 1  # it stands in the log alone
    assert seen(path.parent) == before
    holder.say("close")
    assert holder.hear() == "closed"
    assert list_readonly(path)[0].holder is None


def test_dead_holder_is_listed_and_its_log_left(path: Path, child: Start) -> None:
    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        store = SQLiteStore(path)
        append_now(store.open("notes"), [RequestSent(1, 1)])
        say("held")
        hear()

    holder = child(work)
    assert holder.hear() == "held"
    holder.signal(signal.SIGKILL)
    holder.wait()
    before = seen(path.parent)
    assert before["chat.db-wal"]

    (one,) = list_readonly(path)
    assert (one.holder, one.left) == (None, f"process {holder.pid} on {HERE.host}")
    assert one.entries == 1
    assert seen(path.parent) == before


def test_a_holder_elsewhere_is_believed_until_its_lease_is_over(path: Path) -> None:
    store = SQLiteStore(path, clock=lambda: 0.0, owner=Owner("far", 7, "1", "b"))
    journal = store.open("notes")

    (held,) = list_readonly(path, clock=lambda: LEASE_SECONDS - 1)
    (over,) = list_readonly(path, clock=lambda: LEASE_SECONDS + 1)
    assert (held.holder, held.left) == ("process 7 on far", None)
    assert (over.holder, over.left) == (None, "process 7 on far")
    journal.close()
    store.close()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that another user can reach."""
    folder = Path(mkdtemp())
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


def test_listing_marks_a_store_that_cannot_be_written(
    shared: Path, child: Start, events: tuple[Event, ...]
) -> None:
    """Neither the files nor their folder."""
    made(shared / "chat.db", events).close()
    for file in shared.iterdir():
        file.chmod(0o444)
    shared.chmod(0o555)
    before = seen(shared)

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        say(str([(one.name, one.entries) for one in list_readonly(shared / "chat.db")]))

    said = child(work, uid=65534).hear()
    assert said == f"[('notes', {len(events)}), ('branch', 3)]"
    assert seen(shared) == before


def test_file_that_is_not_a_store_is_refused_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no store"):
        list_readonly(tmp_path / "none.db")
    with pytest.raises(JournalError, match="there is no store"):
        list_readonly(tmp_path)
    (tmp_path / "text").write_text("No database, and long enough to be one. " * 40)
    with pytest.raises(JournalVersionError, match="not a database"):
        list_readonly(tmp_path / "text")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE mine (x)")
    with pytest.raises(
        JournalVersionError, match=r"other\.db: .*not a turnlatch store"
    ):
        list_readonly(tmp_path / "other.db")
    (tmp_path / "empty.db").touch()
    assert list(list_readonly(tmp_path / "empty.db")) == []
    assert sorted(os.listdir(tmp_path)) == ["empty.db", "other.db", "text"]


def test_a_damaged_store_is_refused_and_left_as_it_is(
    path: Path, events: tuple[Event, ...]
) -> None:
    made(path, events).close()
    os.truncate(path, path.stat().st_size - 4096)
    before = seen(path.parent)

    with pytest.raises(JournalCorruptError):
        list_readonly(path)
    assert seen(path.parent) == before


# Between any two steps of it.


@pytest.fixture
def peer(child: Start) -> Peer:
    """A real process that has nothing open."""
    return Peer(child(serve))


SCENES = {
    "it writes to a store that was closed": (("write",), ("write",)),
    "it writes to a store and keeps it": (("write",), ("keep",)),
    "it dies with a store": (("write",), ("die",)),
    "it closes a store": (("keep",), ("append", "close")),
    "it writes to what a dead process left": (("die",), ("write",)),
}


def _sweep(scene: str, folder: Path, peer: Peer) -> int:
    """Look at a store while the peer acts before each step of that; how many steps."""
    before, between = SCENES[scene]
    nth = 0
    while True:
        nth += 1
        path = folder / f"{nth}.db"
        peer.acknowledged, peer.refused = 0, []
        for word in before:
            peer.does(word, path)

        def act(path: Path = path) -> None:
            for word in between:
                peer.does(word, path)

        with Steps(nth, act) as steps:
            (one,) = list_readonly(path)
        assert not peer.refused
        assert (one.name, one.parent) == ("theirs", None)
        assert one.entries in (1, peer.acknowledged)
        peer.does("close", path)
        store = SQLiteStore(path)
        assert len(store.open("theirs").entries()) == peer.acknowledged
        store.close()
        if steps.count < nth:
            return nth - 1


@pytest.mark.parametrize("scene", SCENES)
def test_another_process_between_any_two_steps_of_a_look(
    scene: str, tmp_path: Path, peer: Peer
) -> None:
    assert _sweep(scene, tmp_path, peer) > 15


@pytest.mark.parametrize(
    "scene", ["it writes to a store and keeps it", "it dies with a store"]
)
def test_a_look_that_is_not_repeated_is_noticed(
    scene: str, tmp_path: Path, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: what was read without a lock is refused at once."""
    monkeypatch.setattr(listing, "_LOOKS", 1)

    with pytest.raises(JournalError):
        _sweep(scene, tmp_path, peer)

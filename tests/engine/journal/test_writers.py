"""One writer at a time, among real processes that are really killed and stopped."""

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from detent.errors import ConversationBusyError, JournalError, LeaseLostError
from detent.journal import SQLiteStore, lease
from detent.journal.handle import SQLiteJournal
from detent.journal.owner import Owner
from detent_states.events import RequestSent, TurnOpened
from detent_states.writer import WriterState


class Child(Protocol):
    """A real process, as `conftest.py` makes it."""

    pid: int

    def hear(self) -> str: ...
    def rest(self) -> list[str]: ...
    def say(self, line: str) -> None: ...
    def signal(self, number: int) -> None: ...
    def wait(self) -> None: ...


Start = Callable[..., Child]


def _holder(path: Path) -> Callable[[Callable[[str], None], Callable[[], str]], None]:
    """A process that takes the lease, and appends whenever it is told to."""

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        store = SQLiteStore(path)
        journal = store.open("notes")
        say("held")
        while hear():
            try:
                journal.append([RequestSent(1, os.getpid())])
                say(f"appended {journal.sequence}")
            except JournalError as error:
                say(f"{type(error).__name__} {journal.state}")

    return work


def test_second_process_is_refused_and_told_who_holds(path: Path, child: Start) -> None:
    holder = child(_holder(path))
    assert holder.hear() == "held"
    store = SQLiteStore(path)

    with pytest.raises(ConversationBusyError, match=f"process {holder.pid} on"):
        store.open("notes")
    assert (
        store.conversations()[0].holder
        == str(Owner("", holder.pid, "", "")) + os.uname().nodename
    )
    holder.say("append")
    assert holder.hear() == "appended 1"
    assert len(store.read("notes")) == 1
    store.close()


@pytest.mark.parametrize("collected", [True, False])
def test_killed_holder_is_replaced_at_once(
    path: Path, child: Start, collected: bool
) -> None:
    """Also while the dead process was not collected yet and still has its number."""
    holder = child(_holder(path))
    assert holder.hear() == "held"
    holder.say("append")
    assert holder.hear() == "appended 1"
    holder.signal(signal.SIGKILL)
    if collected:
        holder.wait()
    else:
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    store = SQLiteStore(path)

    journal = store.open("notes")
    assert journal.sequence == 1
    journal.append([RequestSent(2, 1)])
    assert store.conversations()[0].epoch == 2
    store.close()


def _stolen(path: Path) -> SQLiteStore:
    """A store that takes the holder for dead: a clock that jumped, on another host."""
    return SQLiteStore(
        path, clock=lambda: 1e12, owner=Owner("elsewhere", 1, "1", "boot")
    )


def _late_append(path: Path, child: Start, work: object) -> tuple[str, int]:
    """What a stopped holder's append says when it wakes up after a take-over."""
    holder = child(work)
    assert holder.hear() == "held"
    holder.signal(signal.SIGSTOP)
    store = _stolen(path)
    journal = store.open("notes")
    journal.append([RequestSent(2, 2)])
    holder.say("append")
    holder.signal(signal.SIGCONT)
    said = holder.hear()
    holder.say("append")
    again = holder.hear()
    found = len(store.read("notes"))
    store.close()
    assert said.split()[0] == again.split()[0]
    return again, found


def test_stopped_holder_that_wakes_up_late_is_refused_for_good(
    path: Path, child: Start
) -> None:
    said, found = _late_append(path, child, _holder(path))

    assert said == f"LeaseLostError {WriterState.LOST.value}"
    assert found == 1


def _always(connection: object, conversation: int, epoch: int) -> bool:
    return True


def _catch_up(journal: SQLiteJournal) -> None:
    """Let a handle go on from whatever the record's end is: nobody may do that."""
    connection = journal._database.connection  # pyright: ignore[reportPrivateUsage]
    key, digest = connection.execute(
        "SELECT key, hash FROM entry ORDER BY key DESC LIMIT 1"
    ).fetchone()
    journal._sequence = key & 0xFFFFFFFF  # pyright: ignore[reportPrivateUsage]
    journal._hash = digest  # pyright: ignore[reportPrivateUsage]


def test_without_the_fence_the_late_append_gets_through(
    path: Path, child: Start
) -> None:
    """The planted bug: what the test above would see if nothing asked for the epoch.

    Its sequence is taken and its hash is old, so this zombie first looks where the
    record ends by now, as a careless implementation would."""

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        lease.holds = _always
        store = SQLiteStore(path)
        journal = store.open("notes")
        say("held")
        while hear():
            _catch_up(journal)
            journal.append([RequestSent(1, os.getpid())])
            say(f"appended {journal.sequence}")

    said, found = _late_append(path, child, work)

    assert said == "appended 3"
    assert found > 1


def test_lost_handle_says_so_in_every_way(path: Path) -> None:
    store = SQLiteStore(path, clock=lambda: 0.0, owner=Owner("here", 1, "1", "boot"))
    journal = store.open("notes")
    journal.append([RequestSent(1, 1)])
    thief = _stolen(path)
    taken = thief.open("notes")
    taken.append([RequestSent(2, 1)])

    for _ in range(2):
        with pytest.raises(LeaseLostError, match="newer writer"):
            journal.append([RequestSent(1, 2)])
        with pytest.raises(LeaseLostError):
            journal.entries()
    assert journal.state == WriterState.LOST.value
    journal.close()

    assert store.conversations()[0].holder == "process 1 on elsewhere"
    taken.append([RequestSent(2, 2)])
    assert [entry.sequence for entry in taken.entries()] == [1, 2, 3]
    store.close()
    thief.close()


def test_released_lease_is_not_released_again_by_a_lost_handle(path: Path) -> None:
    store = SQLiteStore(path, clock=lambda: 0.0, owner=Owner("here", 1, "1", "boot"))
    journal = store.open("notes")
    thief = _stolen(path)
    taken = thief.open("notes")
    journal.close()  # it does not know yet

    assert store.conversations()[0].holder == "process 1 on elsewhere"
    taken.append([RequestSent(1, 1)])
    store.close()
    thief.close()


ME = Owner.current()


@pytest.mark.parametrize(
    ("holder", "taken"),
    [
        (Owner(ME.host, 2**22 + 5, "1", ME.boot), True),  # nobody has this number
        (Owner(ME.host, os.getppid(), "1", ME.boot), True),  # the number is used again
        (Owner(ME.host, os.getppid(), "", ME.boot), False),  # nothing to compare
        (Owner(ME.host, os.getppid(), "1", "earlier boot"), True),
        (Owner("elsewhere", os.getppid(), "1", ME.boot), False),
        (Owner("elsewhere", 2**22 + 5, "1", "other boot"), False),
        (Owner(ME.host, 1, "", ME.boot), False),  # there, whoever it belongs to
    ],
)
def test_holder_is_dead_or_alive(path: Path, holder: Owner, taken: bool) -> None:
    store = SQLiteStore(path, clock=lambda: 0.0, owner=holder)
    store.open("notes").append([RequestSent(1, 1)])
    other = SQLiteStore(path, clock=lambda: 1.0)

    if taken:
        assert other.open("notes").sequence == 1
    else:
        with pytest.raises(ConversationBusyError):
            other.open("notes")
    other.close()
    store.close()


def test_holder_on_another_host_is_waited_for_until_its_lease_expires(
    path: Path,
) -> None:
    now = [1000.0]
    far = SQLiteStore(path, clock=lambda: now[0], owner=Owner("far", 1, "1", "b"))
    journal = far.open("notes")
    near = SQLiteStore(path, clock=lambda: now[0])
    now[0] += lease.LEASE_SECONDS * 0.6
    journal.append([RequestSent(1, 1)])  # which renews it
    now[0] += lease.LEASE_SECONDS * 0.6
    with pytest.raises(ConversationBusyError):
        near.open("notes")
    now[0] += lease.LEASE_SECONDS

    assert near.open("notes").sequence == 1
    near.close()
    far.close()


# Processes and threads.


def test_store_is_refused_in_a_forked_child(path: Path, child: Start) -> None:
    store = SQLiteStore(path)
    journal = store.open("notes")

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        for use in (
            lambda: journal.append([RequestSent(1, 1)]),
            journal.entries,
            lambda: store.read("notes"),
            lambda: SQLiteStore(path),
        ):
            try:
                use()
                say("used")
            except JournalError as error:
                say(str("forked" in error.problem))
        journal.close()
        store.close()
        say("closed")

    one = child(work)
    assert [one.hear() for _ in range(5)] == ["True"] * 4 + ["closed"]
    one.wait()
    journal.append([RequestSent(1, 1)])
    assert len(store.read("notes")) == 1
    store.close()


def test_threads_may_share_a_store(path: Path) -> None:
    store = SQLiteStore(path, synchronous="NORMAL")
    journal = store.open("shared")
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            own = store.open(f"own {number}")
            for attempt in range(20):
                own.append([RequestSent(number, attempt)])
                journal.append([RequestSent(number, attempt), RequestSent(number, 99)])
                store.read("shared")
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(store.read("shared")) == 4 * 20 * 2
    assert [one.entries for one in store.conversations()[1:]] == [20] * 4
    store.close()


def test_two_processes_make_one_store_at_the_same_time(
    path: Path, child: Start
) -> None:
    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        hear()
        store = SQLiteStore(path)
        journal = store.open(f"from {os.getpid()}")
        for attempt in range(10):
            journal.append([RequestSent(1, attempt)])
        store.close()
        say("done")

    both = [child(work), child(work), child(work)]
    for one in both:
        one.say("go")
    assert [one.hear() for one in both] == ["done"] * 3
    store = SQLiteStore(path)
    assert [one.entries for one in store.conversations()] == [10] * 3
    for listing in store.conversations():
        assert len(store.read(listing.name)) == 10
    store.close()


def test_acknowledged_entries_survive_kill_9_anywhere(path: Path, child: Start) -> None:
    """Thirty processes write one record, each killed after a drawn number of
    acknowledgements, somewhere in the append after it."""
    chance = random.Random(20261121)
    acknowledged = 0

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        store = SQLiteStore(path)
        journal = store.open("notes")
        say(f"open {journal.sequence}")
        while True:
            number = journal.sequence + 1
            size = number * 37 % 3000
            journal.append([TurnOpened(number, b"x" * size), RequestSent(number, 1)])
            say(f"done {journal.sequence}")

    for _ in range(30):
        one = child(work)
        lines = [one.hear() for _ in range(1 + chance.randrange(6))]
        one.signal(signal.SIGKILL)
        lines += one.rest()
        one.wait()
        numbers = [int(line.split()[1]) for line in lines]
        # What was not acknowledged may be there too, as one whole append.
        assert numbers[0] in (acknowledged, acknowledged + 2)
        acknowledged = numbers[-1]
        store = SQLiteStore(path)
        assert len(store.read("notes")) in (acknowledged, acknowledged + 2)
        store.close()

    assert acknowledged > 60

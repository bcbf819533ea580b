"""One writer at a time, among real processes that are really killed and stopped."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from attrs import evolve
from tests.around import append_now

from turnlatch.errors import ConversationBusyError, JournalError, LeaseLostError
from turnlatch.journal import SQLiteStore, database, lease
from turnlatch.journal.handle import SQLiteJournal
from turnlatch.journal.owner import Owner
from turnlatch_states.machine.events import RequestSent, TurnOpened
from turnlatch_states.machine.writer import WriterState


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
                append_now(journal, [RequestSent(1, os.getpid())])
                say(f"appended {journal.sequence}")
            except JournalError as error:
                say(f"{type(error).__name__} {journal.state}")

    return work


def renewing(store: SQLiteStore) -> Callable[[], float | None]:
    """What the thread of a store's database calls."""
    shared = store._database  # pyright: ignore[reportPrivateUsage] - see above
    assert isinstance(shared, database.Database)
    return shared._renew  # pyright: ignore[reportPrivateUsage] - see above


def test_second_process_is_refused_with_the_name_of_the_holder(
    path: Path, child: Start
) -> None:
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
    append_now(journal, [RequestSent(2, 1)])
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
    append_now(journal, [RequestSent(2, 2)])
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
            append_now(journal, [RequestSent(1, os.getpid())])
            say(f"appended {journal.sequence}")

    said, found = _late_append(path, child, work)

    assert said == "appended 3"
    assert found > 1


def test_lost_handle_says_so_in_every_way(path: Path) -> None:
    store = SQLiteStore(path, clock=lambda: 0.0, owner=Owner("here", 1, "1", "boot"))
    journal = store.open("notes")
    append_now(journal, [RequestSent(1, 1)])
    thief = _stolen(path)
    taken = thief.open("notes")
    append_now(taken, [RequestSent(2, 1)])

    for _ in range(2):
        with pytest.raises(LeaseLostError, match="newer writer"):
            append_now(journal, [RequestSent(1, 2)])
        with pytest.raises(LeaseLostError):
            journal.entries()
    assert journal.state == WriterState.LOST.value
    journal.close()

    assert store.conversations()[0].holder == "process 1 on elsewhere"
    append_now(taken, [RequestSent(2, 2)])
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
    append_now(taken, [RequestSent(1, 1)])
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
        # Namespaces of process numbers are known: what counts is whether they are shared.
        (evolve(ME, pid=2**22 + 5, started="1"), True),
        (evolve(ME, pid=os.getppid(), started="1"), True),
        (evolve(ME, pid=os.getppid(), started=""), False),
        (evolve(ME, pid=2**22 + 5, host="renamed"), True),
        (evolve(ME, pid=2**22 + 5, namespace="another"), False),
        (evolve(ME, pid=2**22 + 5, boot="another"), False),
    ],
)
def test_holder_is_dead_or_alive(path: Path, holder: Owner, taken: bool) -> None:
    store = SQLiteStore(path, clock=lambda: 0.0, owner=holder)
    append_now(store.open("notes"), [RequestSent(1, 1)])
    other = SQLiteStore(path, clock=lambda: 1.0)

    if taken:
        assert other.open("notes").sequence == 1
    else:
        with pytest.raises(ConversationBusyError):
            other.open("notes")
    other.close()
    store.close()


# Leases: a holder renews, or is succeeded.


class Times:
    """The clocks of one host, which move when they are told to."""

    def __init__(self) -> None:
        self.wall = 1000.0
        self.up = 50.0

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.up += seconds

    def store(self, path: Path, owner: Owner, *, renew: bool = False) -> SQLiteStore:
        """A store whose process is that one."""
        return SQLiteStore(
            path,
            owner=owner,
            clock=lambda: self.wall,
            uptime=lambda: self.up,
            renew=renew,
        )


OTHER = evolve(ME, pid=1, started="7", namespace="of another container")
"""Another container's first process: same host name, same boot."""

FAR = Owner("far", 1, "1", "another boot")


@pytest.mark.parametrize(
    "holder", [OTHER, FAR, evolve(ME, pid=os.getppid(), started="")]
)
def test_an_idle_holder_that_renews_is_never_succeeded_and_one_that_stalls_is(
    path: Path, holder: Owner
) -> None:
    """By time, whoever it is: also one whose process still lives on this very host."""
    times = Times()
    first, second = times.store(path, holder), times.store(path, ME)
    journal = first.open("notes")
    renew = renewing(first)
    for _ in range(10):
        times.pass_(lease.LEASE_SECONDS * 0.9)
        assert renew()
        with pytest.raises(ConversationBusyError, match=f"{holder} writes it"):
            second.open("notes")
    times.pass_(lease.LEASE_SECONDS * 0.6)
    append_now(journal, [RequestSent(1, 1)])  # which renews it as well
    times.pass_(lease.LEASE_SECONDS * 0.6)
    with pytest.raises(ConversationBusyError) as raised:
        second.open("notes")
    assert raised.value.seconds == pytest.approx(lease.LEASE_SECONDS * 0.4)
    assert "its lease is over in 5 s" in str(raised.value)

    times.pass_(lease.LEASE_SECONDS * 0.5)
    taken = second.open("notes")
    append_now(taken, [RequestSent(2, 1)])
    with pytest.raises(LeaseLostError):
        append_now(journal, [RequestSent(1, 2)])
    times.pass_(lease.LEASE_SECONDS * 0.9)
    assert renew()  # the new one's, not its own
    assert len(taken.entries()) == 2
    first.close()
    second.close()


def test_changed_clock_takes_no_lease_from_a_process_on_the_same_host(
    path: Path,
) -> None:
    times = Times()
    first, second = times.store(path, OTHER), times.store(path, ME)
    first.open("notes")
    for moved in (1e6, -1e9):
        times.wall += moved
        with pytest.raises(ConversationBusyError):
            second.open("notes")
    times.up += lease.LEASE_SECONDS

    assert second.open("notes").sequence == 0
    first.close()
    second.close()


@pytest.mark.parametrize("holder", [FAR, evolve(ME, boot="the one before")])
def test_a_dead_holder_whose_clock_was_ahead_is_succeeded_in_time(
    path: Path, holder: Owner
) -> None:
    """A host that was booted with a wrong clock, and then with the right one."""
    times = Times()
    times.wall += 1e9
    times.store(path, holder).open("notes")
    times.wall -= 1e9
    second = times.store(path, ME)
    with pytest.raises(ConversationBusyError, match="is over in 12 s") as raised:
        second.open("notes")
    assert raised.value.seconds == lease.LEASE_SECONDS
    times.pass_(lease.LEASE_SECONDS)

    assert second.open("notes").sequence == 0
    second.close()


def test_a_living_holder_whose_clock_is_ahead_is_not_succeeded(path: Path) -> None:
    times, ahead = Times(), Times()
    ahead.wall += 1e9
    first, second = ahead.store(path, FAR), times.store(path, ME)
    journal = first.open("notes")
    renew = renewing(first)
    for _ in range(5):
        with pytest.raises(ConversationBusyError):
            second.open("notes")
        for one in (times, ahead):
            one.pass_(lease.LEASE_SECONDS * 0.9)
        assert renew()
        for one in (times, ahead):
            one.pass_(lease.LEASE_SECONDS * 0.9)

    append_now(journal, [RequestSent(1, 1)])
    first.close()
    second.close()


def test_an_idle_holder_is_renewed_for_in_the_background(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread itself: it renews while something is held, and ends with that."""
    asked, work = threading.Semaphore(0), database.Database._renew  # pyright: ignore[reportPrivateUsage]
    times = Times()

    def renew(self: database.Database) -> float | None:
        held = work(self)
        asked.release()
        return held

    monkeypatch.setattr(database.Database, "_renew", renew)
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.001)
    first, second = times.store(path, OTHER, renew=True), times.store(path, ME)
    journal = first.open("notes")
    for _ in range(5):
        times.pass_(lease.LEASE_SECONDS * 0.9)
        for _ in range(2):  # one that was begun before now, and one after
            assert asked.acquire(timeout=60)
        with pytest.raises(ConversationBusyError):
            second.open("notes")
    journal.close()
    for thread in threading.enumerate():
        if "turnlatch" in thread.name:
            thread.join(60)
    assert not [one for one in threading.enumerate() if "turnlatch" in one.name]
    append_now(second.open("notes"), [RequestSent(1, 1)])
    first.close()
    second.close()


def test_without_renewal_an_idle_holder_is_robbed(path: Path) -> None:
    """The planted bug: what the first of these would see."""
    times = Times()
    first, second = times.store(path, OTHER), times.store(path, ME)
    first.open("notes")
    times.pass_(lease.LEASE_SECONDS * 1.1)

    assert second.open("notes").sequence == 0
    first.close()
    second.close()


_TALKS = """
import sys
from turnlatch.journal import SQLiteStore
from turnlatch_states.machine.events import RequestSent
store = SQLiteStore(sys.argv[1])
journal = store.open("notes")
print("held", flush=True)
for line in sys.stdin:
    try:
        append = journal.append([RequestSent(1, 1)])
        try:
            append.send(None)
        except StopIteration:
            print("appended", flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""


def _container(path: Path) -> subprocess.Popen[str]:
    """A process that is number 1 of a namespace of its own, and holds `notes`."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return subprocess.Popen(
        [*unshare, sys.executable, "-c", _TALKS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def containers() -> None:
    """Skips where a process cannot have a namespace of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    asked = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("this user may not make namespaces of process numbers")


@pytest.mark.usefixtures("containers")
def test_process_1_of_another_container_is_not_taken_for_process_1_of_this_one(
    path: Path,
) -> None:
    """It lives, and is believed; it is killed, and is succeeded when its lease is over,
    which nobody waits for here: the asker's clock is ahead."""
    ahead = [0.0]
    with _container(path) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        store = SQLiteStore(path, uptime=lambda: time.monotonic() + ahead[0])
        with pytest.raises(ConversationBusyError, match="process 1 on"):
            store.open("notes")
        holder.stdin.write("append\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "appended\n"
        holder.kill()
        holder.wait()
        with pytest.raises(ConversationBusyError, match="its lease is over in"):
            store.open("notes")
        ahead[0] = lease.LEASE_SECONDS
        assert store.open("notes").sequence == 1
        store.close()


@pytest.mark.usefixtures("containers")
def test_a_container_that_stalled_is_succeeded_and_appends_nothing_late(
    path: Path,
) -> None:
    with _container(path) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        inside = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text()
        os.kill(int(inside), signal.SIGSTOP)
        store = SQLiteStore(path, uptime=lambda: time.monotonic() + lease.LEASE_SECONDS)
        journal = store.open("notes")
        append_now(journal, [RequestSent(2, 1)])
        os.kill(int(inside), signal.SIGCONT)
        holder.stdin.write("append\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "LeaseLostError\n"
        assert len(store.read("notes")) == 1
        store.close()
        holder.kill()


# Processes and threads.


def test_store_is_refused_in_a_forked_child(path: Path, child: Start) -> None:
    store = SQLiteStore(path)
    journal = store.open("notes")

    def work(say: Callable[[str], None], hear: Callable[[], str]) -> None:
        for use in (
            lambda: append_now(journal, [RequestSent(1, 1)]),
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
    append_now(journal, [RequestSent(1, 1)])
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
                append_now(own, [RequestSent(number, attempt)])
                append_now(
                    journal, [RequestSent(number, attempt), RequestSent(number, 99)]
                )
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
            append_now(journal, [RequestSent(1, attempt)])
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
            append_now(
                journal, [TurnOpened(number, b"x" * size), RequestSent(number, 1)]
            )
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

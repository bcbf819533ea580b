"""An absurd number from a server or in a file leaves every command able to work."""

import json
from pathlib import Path

import anyio
import pytest
from tests.around import append_now
from tests.engine.cli.test_chat import Chat, batch
from tests.engine.cli.test_list import told, turnlatch

from turnlatch import Conversation
from turnlatch.journal import SQLiteStore
from turnlatch.simulator import Scripted, Simulator
from turnlatch.simulator.transport import simulated_client
from turnlatch_states.api.faults import Fault
from turnlatch_states.machine.events import (
    CallAsked,
    Event,
    RetryScheduled,
    TurnSuspended,
)

ABSURD = 1e300
FIELDS: dict[type[object], tuple[str, ...]] = {
    RetryScheduled: ("wait_seconds", "due"),
    TurnSuspended: ("until",),
    CallAsked: ("expires",),
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "turnlatch"
    folder.mkdir(mode=0o700)
    return folder / "chat.db"


@pytest.mark.parametrize("hint", ["1e18", "9" * 18])
def test_a_chat_survives_what_a_server_asks_it_to_wait(
    tmp_path: Path, hint: str
) -> None:
    """It is durable, so the next start meets it, too."""
    faults = f"429 retry-after={hint}"
    first = batch(tmp_path, "hello\n", "notes", "--faults", faults)
    then = batch(tmp_path, "hello again\n", "notes", "--sim")

    assert (first.returncode, then.returncode) == (1, 0)
    for one in (first, then):
        assert b"Traceback" not in one.stderr
    assert b"suspended" in first.stderr
    assert b"/retry after 2" in then.stderr
    with Chat(tmp_path, "notes", "--sim") as chat:
        chat.say("and now")
        chat.expect("confirmed")


def spoil(events: list[Event]) -> None:
    """Make them what a turnlatch wrote that bounded nothing."""
    for event in events:
        for name in FIELDS.get(type(event), ()):
            object.__setattr__(event, name, ABSURD)
        if isinstance(fault := getattr(event, "fault", None), Fault):
            object.__setattr__(fault, "retry_after", ABSURD)


def test_a_store_that_holds_absurd_numbers_opens(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from turnlatch.journal.handle import SQLiteJournal

    real = SQLiteJournal.append

    async def append(self: SQLiteJournal, events: list[Event]) -> None:
        spoil(events)
        await real(self, events)

    async def fail() -> None:
        client = simulated_client(
            Simulator(Scripted(["Hello"]), faults="429 retry-after=200")
        )
        async with Conversation.open("notes", store=store, client=client) as chat:
            assert (await chat.send("hello")).suspended is not None

    with monkeypatch.context() as patched:
        patched.setattr(SQLiteJournal, "append", append)
        anyio.run(fail)
    held = SQLiteStore(store)
    held.close()  # takes its log in
    assert store.read_bytes().count(b"1e+300") == 2

    with Chat(tmp_path, "notes", "--sim") as chat:
        for command, shown in (
            ("/state", "failed"),
            ("/why", "429"),
            ("again", "✓ conf"),
        ):
            chat.say(command)
            chat.expect(shown)
        chat.say("/quit")
        assert chat.left() == 0
        assert "Traceback" not in chat.text


@pytest.mark.parametrize("now", [1e12, 9e15])
def test_a_store_with_an_absurd_time_is_listed(
    tmp_path: Path, store: Path, now: float
) -> None:
    opened = SQLiteStore(store, clock=lambda: now)
    append_now(opened.open("notes"), [RetryScheduled(1, 1, 1.0, 1.0)])
    opened.close()

    (one,) = told(tmp_path)

    assert one["used"].startswith("9999-12-3")
    assert turnlatch(tmp_path).returncode == 0
    json.dumps(one)

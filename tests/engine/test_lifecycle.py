"""Resuming, forking, rewinding, compacting and approving: the life of a conversation."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.harness.world import World

from turnlatch import (
    FaultKind,
    JournalCorruptError,
    JournalError,
    JournalVersionError,
    RetryPolicy,
    TurnState,
)
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio


async def test_a_new_process_finds_the_confirmed_prefix_byte_for_byte(
    world: World,
) -> None:
    looks = reply("Two.", call("look", path="a"))
    world.script("One.", looks, "Three.", "Four.")
    async with world.open() as chat:
        await chat.send("1")
        await chat.send("2")
        wires, usage, snapshot = chat.history.wires(), chat.usage, chat.snapshot
    async with world.open() as chat:
        assert chat.history.wires() == wires
        assert chat.usage == usage
        assert chat.snapshot == snapshot
        await chat.send("3")
    assert world.bodies[-1]["tools"] == world.bodies[0]["tools"]


async def test_settings_are_restored_and_only_what_is_given_changes(
    world: World,
) -> None:
    world.script("One.", "Two.", "Three.")
    async with world.open(
        model="claude-opus-5",
        system="Be brief.",
        settings={"metadata": {"user_id": "u"}},
    ) as chat:
        await chat.send("1")
    async with world.open(tools=None) as chat:
        await chat.send("2")
    async with world.open(tools=None, system="Be long.") as chat:
        await chat.send("3")

    first, second, third = world.bodies
    assert {**second, "messages": 0, "diagnostics": 0} == {
        **first,
        "messages": 0,
        "diagnostics": 0,
    }
    assert third["system"][0]["text"] == "Be long."
    assert third["model"] == "claude-opus-5"
    assert third["metadata"] == {"user_id": "u"}


@pytest.mark.parametrize(
    "fault",
    [
        "stall forever on compaction",
        "529 forever on compaction",
        "empty 200 forever on compaction",
        "cut 50% eof forever on compaction",
    ],
)
async def test_a_compaction_that_fails_for_good_costs_nothing(
    world: World, fault: str
) -> None:
    told = 'stall forever body="Answer with the summary only"'
    world.script("One.", "Two.", faults=f"{fault}, {told}")
    async with world.open(retry=RetryPolicy(attempts_max=3)) as chat:
        await chat.send("1")
        before = chat.snapshot
        turn = await chat.compact()
        assert turn.state is TurnState.FAILED
        assert turn.requests <= 6, "three each: by the server, and told"
        assert chat.snapshot.bases == before.bases
        assert chat.history == before.history
        assert chat.usage == before.usage
        after = await chat.send("2")
    assert after.text == "Two."


async def test_a_fork_outlives_the_conversation_it_came_from(world: World) -> None:
    world.script("One.", "Two.")
    for store in (world.store, None):
        async with world.open("p", store=store) as chat:
            await chat.send("1")
            other = chat.fork("q")
            await other.__aenter__()
        assert (await other.send("2")).state is TurnState.CONFIRMED
        await other.close()
        world.script("One.", "Two.")


async def test_a_conversation_can_be_entered_again(world: World) -> None:
    world.script("One.", "Two.")
    chat = world.open()
    async with chat:
        await chat.send("1")
    async with chat:
        assert [h async for h in chat.stream("2")]
        assert len(chat.history) == 2


async def test_exception_of_a_port_fails_the_turn_and_is_reported(
    world: World,
) -> None:
    class Broken:
        async def send(self, request: object, report: object) -> None:
            raise ZeroDivisionError("of all things")

        async def count(self, request: object) -> int:
            return 1

        async def aclose(self) -> None:
            pass

    async with world.open(client=Broken()) as chat:
        with pytest.raises(ZeroDivisionError):
            await chat.send("1")
        assert chat.turn is not None
        assert chat.turn.fault is not None
        assert chat.turn.fault.kind is FaultKind.LOCAL
        assert "of all things" in chat.turn.fault.message
    world.script("One.")
    async with world.open() as chat:
        assert (await chat.send("1")).text == "One."


GOOD = "good.db"


def no_folder(folder: Path) -> Path:
    return folder / "missing" / "chat.db"


def a_folder(folder: Path) -> Path:
    return folder


def garbage(folder: Path) -> Path:
    path = folder / "garbage.db"
    path.write_bytes(b"this is no database" * 300)
    return path


def newer(folder: Path) -> Path:
    return spoiled(folder, "PRAGMA user_version = 99")


def damaged(folder: Path) -> Path:
    return spoiled(folder, "UPDATE entry SET body = x'7b7d' WHERE kind = 'turn_opened'")


def shortened(folder: Path) -> Path:
    last = "(SELECT max(key) FROM entry)"
    return spoiled(folder, f"DELETE FROM entry WHERE key = {last}")


def spoiled(folder: Path, statement: str) -> Path:
    path = folder / GOOD
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def record(path: Path) -> object:
    """What a file records; who asked last for the lease is not part of it."""
    if not path.is_file():
        return None
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT * FROM entry").fetchall()
    except sqlite3.DatabaseError:
        return path.read_bytes()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (no_folder, JournalError, "check that its folder exists"),
        (a_folder, JournalError, "is not a regular file"),
        (garbage, JournalVersionError, "is not a database"),
        (newer, JournalVersionError, "upgrade turnlatch; the file was not"),
        (damaged, JournalCorruptError, "is not what its hash says"),
        (shortened, JournalCorruptError, "journal was truncated"),
    ],
)
@pytest.mark.spoils_journals("a file is damaged")
async def test_a_store_that_must_not_be_used_is_refused_and_not_touched(
    world: World, make: Callable[[Path], Path], kind: type[JournalError], says: str
) -> None:
    world.script("One.")
    async with world.open(store=world.folder / GOOD) as chat:
        await chat.send("1")
    path = make(world.folder)
    before = record(path)

    with pytest.raises(kind, match=says):
        async with world.open(store=path):
            pass

    assert record(path) == before
    assert len(world.bodies) == 1

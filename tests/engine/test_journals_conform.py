"""The fixture that judges the journals of a test sees them, and sees what is wrong."""

from collections.abc import Sequence

import pytest
from tests.harness import journals
from tests.harness.world import World

from turnlatch.journal import MemoryStore, SQLiteStore
from turnlatch.ports import Store
from turnlatch.testing import CrashableStore
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.spoils_journals("an entry is planted that the tables refuse"),
]

ILLEGAL: Sequence[Event] = (ev.TurnContinued(1),)


async def spoiled(store: Store) -> None:
    """Append behind the engine's back what cannot have happened."""
    journal = store.open("a")
    await journal.append(ILLEGAL)
    journal.close()


def lose(world: World) -> None:
    world.store.unlink()


def found() -> list[str]:
    return list(journals.contradictions())


async def test_a_spoilt_file_is_seen_and_a_whole_one_is_not(world: World) -> None:
    async with world.script("Hello.").open() as chat:
        await chat.send("Hi")
    assert found() == []
    store = SQLiteStore(world.store)
    await spoiled(store)
    store.close()
    assert "illegal_event" in found()[0]
    lose(world)
    assert found() == []


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "crashable"])
async def test_a_spoilt_store_in_memory_is_seen_before_and_after_it_is_closed(
    world: World, wrapped: bool
) -> None:
    memory = MemoryStore()
    store = CrashableStore(memory) if wrapped else memory
    async with world.script("Hello.").open(store=store) as chat:
        await chat.send("Hi")
    await spoiled(store)
    assert "illegal_event" in found()[0]
    if not wrapped:
        store.close()
        assert "illegal_event" in found()[0]


async def test_a_record_that_cannot_be_read_is_seen(world: World) -> None:
    async with world.script("Hello.").open() as chat:
        await chat.send("Hi")
    world.store.write_bytes(b"not a database at all" * 99)
    assert "cannot be read" in found()[0]

"""A damaged database is noticed when it is opened, named, and not written to; nothing
shorter and nothing else is read instead, and another copy goes on as if nothing had been.

Stores lost their newest commits when a file was copied without its log, came back with
pages of something else, or were written on until nothing could be saved:

- https://github.com/NousResearch/hermes-agent/issues/101064
- https://github.com/NousResearch/hermes-agent/issues/98077
- https://github.com/NousResearch/hermes-agent/issues/55305
"""

import sqlite3

import pytest
from tests.harness.processes import child_processes
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only, beside

from turnlatch import Conversation, JournalError
from turnlatch.journal import SQLiteStore
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


async def talked(scenario: Scenario) -> Conversation:
    """An open conversation of two turns."""
    scenario.script("One.", call("look", path="a"), "Two.")
    chat = await scenario.open().__aenter__()
    await chat.send("1")
    await chat.send("2")
    return chat


async def test_a_copy_without_its_log_is_refused_and_left_alone(
    scenario: Scenario,
) -> None:
    chat = await talked(scenario)
    copy = scenario.copied("without its log")
    beside(copy, "-wal").unlink()
    before = copy.read_bytes()
    with pytest.raises(JournalError):
        async with scenario.again("a", copy):
            pass
    assert copy.read_bytes() == before
    await scenario.finish(chat, ended=CONFIRMED, effects={"look a": 1}, budget=3)


@pytest.mark.spoils_journals("bytes of a file are flipped")
async def test_flipped_bytes_are_refused_or_change_nothing_and_never_written_over(
    scenario: Scenario,
) -> None:
    chat = await talked(scenario)
    expected = chat.history.wires()
    await chat.close()
    raw = scenario.store.read_bytes()
    folder = scenario.folder / "flipped"
    folder.mkdir()
    copy = folder / scenario.store.name
    head = beside(scenario.store, "-head").read_bytes()
    used = [offset for offset in range(len(raw)) if raw[offset]]
    refused = 0
    for offset in used[:: len(used) // 60]:
        spoiled = bytearray(raw)
        spoiled[offset] ^= 0x10
        for one in folder.iterdir():
            one.unlink()
        copy.write_bytes(spoiled)
        beside(copy, "-head").write_bytes(head)
        try:
            async with scenario.again("a", copy) as again:
                assert again.history.wires() == expected
        except JournalError:
            refused += 1
    assert refused > 30
    async with scenario.open() as chat:
        await scenario.finish(chat, ended=CONFIRMED, effects={"look a": 1}, budget=3)


async def test_the_first_sign_of_damage_stops_the_writing(scenario: Scenario) -> None:
    """Somebody changes the record of a conversation that is open."""
    chat = await talked(scenario)
    await chat.close()
    good = scenario.store.read_bytes()
    file = sqlite3.connect(scenario.store)
    with file:
        file.execute("UPDATE entry SET body = x'7b7d' WHERE kind = 'reply_confirmed'")
        rows = file.execute("SELECT * FROM entry").fetchall()
    file.close()
    for _ in range(2):
        with pytest.raises(JournalError):
            async with scenario.open():
                pass
    file = sqlite3.connect(scenario.store)
    assert file.execute("SELECT * FROM entry").fetchall() == rows
    file.close()
    scenario.store.write_bytes(good)
    async with scenario.open() as chat:
        await scenario.finish(chat, ended=CONFIRMED, effects={"look a": 1}, budget=3)


@asyncio_only
async def test_store_open_in_another_process_can_still_be_read(
    scenario: Scenario,
) -> None:
    """Reading takes no lease: an export works while somebody else is writing."""
    scenario.script("One.", "Two.")
    with child_processes(scenario) as children:
        writer = children.start("before ReplyConfirmed 2", "1", "2")
        writer.until("now")
        store = SQLiteStore(scenario.store)
        kinds = [type(entry.event).__name__ for entry in store.read("a")]
        store.close()
        assert kinds.count("ReplyConfirmed") == 1
        writer.kill()
    async with scenario.open() as chat:
        await chat.retry()
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3, unheard=[2])

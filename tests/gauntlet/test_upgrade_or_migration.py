"""Whoever cannot read a conversation leaves it exactly as it is: an older turnlatch refuses a
newer file, reading writes nothing, and what is refused today is whole for the next one.

New versions hid old conversations, rewrote them on the way to showing them, or dropped
the records they did not know:

- https://github.com/microsoft/vscode/issues/324959
- https://github.com/NousResearch/hermes-agent/issues/79531
- https://github.com/QwenLM/qwen-code/issues/11489
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import JournalError
from turnlatch.journal import SQLiteStore
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


def a_newer_version(file: sqlite3.Connection) -> None:
    file.execute("PRAGMA user_version = 99")


def another_table(file: sqlite3.Connection) -> None:
    file.execute("CREATE TABLE of_tomorrow (x)")


def a_member_of_tomorrow(file: sqlite3.Connection) -> None:
    """A field that this version does not know, in an entry it does know."""
    file.execute(
        "UPDATE entry SET meta = x'7b226f665f746f6d6f72726f77223a317d'"
        " WHERE kind = 'turn_opened'"
    )


CHANGES = (a_newer_version, another_table, a_member_of_tomorrow)


@pytest.mark.parametrize("change", CHANGES)
async def test_store_of_a_newer_version_is_refused_and_left_unchanged(
    scenario: Scenario, change: Callable[[sqlite3.Connection], None]
) -> None:
    scenario.script("One.", call("act", what="a"), "Two.")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
    good = scenario.store.read_bytes()
    file = sqlite3.connect(scenario.store)
    with file:
        change(file)
    file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.close()
    newer = rows(scenario.store)

    for _ in range(2):
        with pytest.raises(JournalError):
            async with scenario.open():
                pass
    assert rows(scenario.store) == newer
    assert len(scenario.requests) == 3

    scenario.store.write_bytes(good)  # the newer version is back, so to speak
    async with scenario.open() as chat:
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)


def rows(path: Path) -> list[object]:
    """Everything that a file says, its version included."""
    file = sqlite3.connect(path)
    found: list[object] = file.execute("SELECT * FROM entry ORDER BY key").fetchall()
    found += file.execute("SELECT name, sql FROM sqlite_schema").fetchall()
    found += file.execute("PRAGMA user_version").fetchall()
    file.close()
    return found


async def test_reading_writes_nothing(scenario: Scenario) -> None:
    scenario.script("One.", call("act", what="a"), "Two.")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
        wires = chat.history.wires()
    before, said = scenario.store.read_bytes(), rows(scenario.store)
    for _ in range(3):
        store = SQLiteStore(scenario.store)
        assert len(store.conversations()) == 1
        events = [type(entry.event).__name__ for entry in store.read("a")]
        assert events.count("ReplyConfirmed") == len(wires)
        store.close()
    assert scenario.store.read_bytes() == before
    assert rows(scenario.store) == said
    async with scenario.open() as chat:
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)

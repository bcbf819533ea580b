"""Nothing is deleted that nobody asked to delete: no age of a file, no opening, no other
conversation, no rewinding and no summary takes a confirmed word away.

Start-up clean-up removed conversations by the age of their files, which a copy, a backup
or a moved disk had set, or which nobody had touched because they were only read:

- https://github.com/anthropics/claude-code/issues/85466
- https://github.com/anthropics/claude-code/issues/62250
- https://github.com/anthropics/claude-code/issues/59248
"""

import os
import sqlite3
from typing import Any

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch.journal import SQLiteStore

pytestmark = pytest.mark.anyio

FORTY_DAYS = 40 * 24 * 3600


def age(scenario: Scenario) -> None:
    """Make every file forty days old."""
    for one in scenario.folder.iterdir():
        then = one.stat().st_mtime - FORTY_DAYS
        os.utime(one, (then, then))


def entries(scenario: Scenario) -> list[Any]:
    file = sqlite3.connect(scenario.store)
    rows = file.execute("SELECT key, kind, meta, body, hash FROM entry ORDER BY key")
    found = rows.fetchall()
    file.close()
    return found


async def test_starting_up_removes_nothing_however_old_it_looks(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Two.", "Other.")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
    async with scenario.open("other") as chat:
        await chat.send("other")
    before = entries(scenario)
    for _ in range(3):
        age(scenario)
        scenario.clock = type(scenario.clock)(scenario.clock.now() + FORTY_DAYS)
        store = SQLiteStore(scenario.store)
        assert [one.name for one in store.conversations()][:2] == ["a", "other"]
        store.close()
        async with scenario.open("new one"):
            pass
    assert entries(scenario)[: len(before)] == before
    age(scenario)
    async with scenario.open() as chat:
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, history=[1, 2]
        )


async def test_hidden_history_is_still_recorded(scenario: Scenario) -> None:
    scenario.script("One.", "Two.", "Three.", "Never committed.")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
        await chat.rewind()
        await chat.compact()
        await chat.send("3")
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=4, history=[1, 4], summary=3
        )
    said = str(entries(scenario))
    assert all(text in said for text in ("One.", "Two.", "Three."))

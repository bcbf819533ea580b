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
from tests.gauntlet.course import CONFIRMED, Course

from turnlatch.journal import SQLiteStore

pytestmark = pytest.mark.anyio

FORTY_DAYS = 40 * 24 * 3600


def age(course: Course) -> None:
    """Make every file forty days old."""
    for one in course.folder.iterdir():
        then = one.stat().st_mtime - FORTY_DAYS
        os.utime(one, (then, then))


def entries(course: Course) -> list[Any]:
    file = sqlite3.connect(course.store)
    rows = file.execute("SELECT key, kind, meta, body, hash FROM entry ORDER BY key")
    found = rows.fetchall()
    file.close()
    return found


async def test_starting_up_removes_nothing_however_old_it_looks(course: Course) -> None:
    course.script("One.", "Two.", "Other.")
    async with course.open() as chat:
        await chat.send("1")
        await chat.send("2")
    async with course.open("other") as chat:
        await chat.send("other")
    before = entries(course)
    for _ in range(3):
        age(course)
        course.clock = type(course.clock)(course.clock.now() + FORTY_DAYS)
        store = SQLiteStore(course.store)
        assert [one.name for one in store.conversations()][:2] == ["a", "other"]
        store.close()
        async with course.open("new one"):
            pass
    assert entries(course)[: len(before)] == before
    age(course)
    async with course.open() as chat:
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=3, history=[1, 2])


async def test_what_is_no_longer_shown_is_still_on_record(course: Course) -> None:
    course.script("One.", "Two.", "Three.", "Never committed.")
    async with course.open() as chat:
        await chat.send("1")
        await chat.send("2")
        await chat.rewind()
        await chat.compact()
        await chat.send("3")
        await course.finish(
            chat, ended=CONFIRMED, effects={}, budget=4, history=[1, 4], summary=3
        )
    said = str(entries(course))
    assert all(text in said for text in ("One.", "Two.", "Three."))

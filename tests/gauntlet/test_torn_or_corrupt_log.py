"""A record is loaded whole, as far as it was acknowledged, or refused and left alone.

Session files were lost to half a line, two fused lines, a tail of NULs, an empty file
after a crash, and to readers that took a good file for a bad one and began a new one over
it. Here an append is one transaction, each entry is chained to the one before it, and
what cannot be read is never written to:

- https://github.com/can1357/oh-my-pi/issues/8596
- https://github.com/anthropics/claude-code/issues/49876
- https://github.com/github/copilot-cli/issues/4098
"""

import sqlite3

import pytest
from tests.gauntlet.course import CONFIRMED, Course, asyncio_only, beside
from tests.gauntlet.processes import kill_at

from turnlatch import JournalError, JournalFullError
from turnlatch.journal import SQLiteStore
from turnlatch.journal.database import connect
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


@asyncio_only
@pytest.mark.parametrize(
    ("point", "unheard"),
    [
        ("before TurnOpened 2", ()),
        ("after TurnOpened 2", ()),
        ("before ReplyConfirmed 2", (2,)),
        ("after ReplyConfirmed 2", ()),
    ],
)
async def test_killed_around_an_append_the_confirmed_prefix_is_there(
    course: Course, point: str, unheard: tuple[int, ...]
) -> None:
    course.script("One.", "Two.")
    kill_at(course, point, "first", "second")
    async with course.open() as chat:
        await chat.send("third")
        await course.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, unheard=unheard
        )


async def test_a_log_torn_at_any_byte_is_whole_or_refused(course: Course) -> None:
    """The write-ahead log of a living store, cut in many places: with the note of where
    the record ended beside it, nothing shorter is taken for the whole."""
    course.script("One.", call("look", path="a"), "Two.")
    async with course.open() as chat:
        await chat.send("1")
        await chat.send("2")
        torn = course.copied("torn")
        log = beside(torn, "-wal")
        whole, main = log.read_bytes(), torn.read_bytes()
        wires = chat.history.wires()
        refused = 0
        for cut in range(0, len(whole) + 1, max(1, len(whole) // 40)):
            torn.write_bytes(main)
            log.write_bytes(whole[:cut])
            try:
                async with course.again("a", torn) as again:
                    assert again.history.wires() == wires
            except JournalError:
                refused += 1
        assert refused > 20
        await course.finish(chat, ended=CONFIRMED, effects={"look a": 1}, budget=3)


async def test_what_is_refused_is_not_made_worse(course: Course) -> None:
    """One byte of the write-ahead log of a crashed process is wrong. Opening it is
    refused; when the byte is right again, all of it is there again."""
    course.script("One.", "Two.")
    async with course.open() as chat:
        await chat.send("1")
        await chat.send("2")
        wires = chat.history.wires()
        spoiled = course.copied("spoiled")
        log = beside(spoiled, "-wal")
        good = log.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 1
        log.write_bytes(bad)
        with pytest.raises(JournalError):
            async with course.again("a", spoiled):
                pass
        assert log.exists(), "a refused store lost its log"
        assert log.read_bytes() == bytes(bad), "a refused store was written to"
        log.write_bytes(good)
        async with course.again("a", spoiled) as again:
            assert again.history.wires() == wires
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=2)


@pytest.mark.parametrize("bytes_", [b"", b"\0" * 8192, b'{"type":"user"}\n' * 500])
async def test_a_file_of_nothing_or_of_noise_is_refused_and_left_alone(
    course: Course, bytes_: bytes
) -> None:
    course.script("One.")
    async with course.open() as chat:
        await chat.send("1")
        await chat.close()
        good = course.store.read_bytes()
        course.store.write_bytes(bytes_)
        with pytest.raises(JournalError):
            async with course.open():
                pass
        assert course.store.read_bytes() == bytes_
        course.store.write_bytes(good)
    async with course.open() as chat:
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=1)


async def test_a_full_disk_refuses_the_input_and_loses_nothing(course: Course) -> None:
    course.script("One.", "Two.")
    made: list[sqlite3.Connection] = []

    def connecting(uri: str) -> sqlite3.Connection:
        made.append(connect(uri))
        return made[-1]

    store = SQLiteStore(course.store, connect=connecting)
    async with course.open(store=store) as chat:
        await chat.send("1")
        (pages,) = made[-1].execute("PRAGMA page_count").fetchone()
        made[-1].execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(JournalFullError):
            await chat.send("x" * 50_000)
        assert len(course.requests) == 1, "what is not on record does not leave"
        made[-1].execute("PRAGMA max_page_count = 1000000")
        await chat.send("2")
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=2)
    store.close()


async def test_a_full_disk_refuses_what_is_said_and_it_can_be_said_again(
    course: Course,
) -> None:
    """With the same key: what was refused was not said."""
    course.script(call("hang", what="a"), "I see.")
    made: list[sqlite3.Connection] = []

    def connecting(uri: str) -> sqlite3.Connection:
        made.append(connect(uri))
        return made[-1]

    store = SQLiteStore(course.store, connect=connecting)
    word = "x" * 50_000
    async with course.open(store=store) as chat:

        async def say() -> None:
            (pages,) = made[-1].execute("PRAGMA page_count").fetchone()
            made[-1].execute(f"PRAGMA max_page_count = {pages + 2}")
            with pytest.raises(JournalFullError):
                await chat.steer(word, key="k")
            assert chat.snapshot.said == ()
            made[-1].execute("PRAGMA max_page_count = 1000000")
            await chat.steer(word, key="k")
            await chat.interrupt()

        await course.while_it_hangs(chat, "Go", say)
        await chat.retry()
        assert [one.get("text") for one in course.said(2)] == [None, word]
        await course.finish(chat, ended=CONFIRMED, effects={"hang a": 1}, budget=2)
    store.close()

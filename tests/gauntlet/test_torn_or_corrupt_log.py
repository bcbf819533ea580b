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
from tests.harness.processes import kill_at
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only, beside

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
    scenario: Scenario, point: str, unheard: tuple[int, ...]
) -> None:
    scenario.script("One.", "Two.")
    kill_at(scenario, point, "first", "second")
    async with scenario.open() as chat:
        await chat.send("third")
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, unheard=unheard
        )


async def test_a_log_torn_at_any_byte_is_whole_or_refused(scenario: Scenario) -> None:
    """The write-ahead log of a living store, cut in many places: with the note of where
    the record ended beside it, nothing shorter is taken for the whole."""
    scenario.script("One.", call("look", path="a"), "Two.")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
        torn = scenario.copied("torn")
        log = beside(torn, "-wal")
        whole, main = log.read_bytes(), torn.read_bytes()
        wires = chat.history.wires()
        refused = 0
        for cut in range(0, len(whole) + 1, max(1, len(whole) // 40)):
            torn.write_bytes(main)
            log.write_bytes(whole[:cut])
            try:
                async with scenario.again("a", torn) as again:
                    assert again.history.wires() == wires
            except JournalError:
                refused += 1
        assert refused > 20
        await scenario.finish(chat, ended=CONFIRMED, effects={"look a": 1}, budget=3)


async def test_refused_store_is_not_changed(scenario: Scenario) -> None:
    """One byte of the write-ahead log of a crashed process is wrong. Opening it is
    refused; when the byte is right again, all of it is there again."""
    scenario.script("One.", "Two.")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
        wires = chat.history.wires()
        spoiled = scenario.copied("spoiled")
        log = beside(spoiled, "-wal")
        good = log.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 1
        log.write_bytes(bad)
        with pytest.raises(JournalError):
            async with scenario.again("a", spoiled):
                pass
        assert log.exists(), "a refused store lost its log"
        assert log.read_bytes() == bytes(bad), "a refused store was written to"
        log.write_bytes(good)
        async with scenario.again("a", spoiled) as again:
            assert again.history.wires() == wires
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


@pytest.mark.parametrize("bytes_", [b"", b"\0" * 8192, b'{"type":"user"}\n' * 500])
async def test_a_file_of_nothing_or_of_noise_is_refused_and_left_alone(
    scenario: Scenario, bytes_: bytes
) -> None:
    scenario.script("One.")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.close()
        good = scenario.store.read_bytes()
        scenario.store.write_bytes(bytes_)
        with pytest.raises(JournalError):
            async with scenario.open():
                pass
        assert scenario.store.read_bytes() == bytes_
        scenario.store.write_bytes(good)
    async with scenario.open() as chat:
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=1)


async def test_a_full_disk_refuses_the_input_and_loses_nothing(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Two.")
    made: list[sqlite3.Connection] = []

    def connecting(uri: str) -> sqlite3.Connection:
        made.append(connect(uri))
        return made[-1]

    store = SQLiteStore(scenario.store, connect=connecting)
    async with scenario.open(store=store) as chat:
        await chat.send("1")
        (pages,) = made[-1].execute("PRAGMA page_count").fetchone()
        made[-1].execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(JournalFullError):
            await chat.send("x" * 50_000)
        assert len(scenario.requests) == 1, "what is not on record does not leave"
        made[-1].execute("PRAGMA max_page_count = 1000000")
        await chat.send("2")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)
    store.close()


async def test_message_refused_by_a_full_disk_can_be_sent_again(
    scenario: Scenario,
) -> None:
    """With the same key: what was refused was not said."""
    scenario.script(call("hang", what="a"), "I see.")
    made: list[sqlite3.Connection] = []

    def connecting(uri: str) -> sqlite3.Connection:
        made.append(connect(uri))
        return made[-1]

    store = SQLiteStore(scenario.store, connect=connecting)
    word = "x" * 50_000
    async with scenario.open(store=store) as chat:

        async def say() -> None:
            (pages,) = made[-1].execute("PRAGMA page_count").fetchone()
            made[-1].execute(f"PRAGMA max_page_count = {pages + 2}")
            with pytest.raises(JournalFullError):
                await chat.steer(word, key="k")
            assert chat.snapshot.said == ()
            made[-1].execute("PRAGMA max_page_count = 1000000")
            await chat.steer(word, key="k")
            await chat.interrupt()

        await scenario.while_it_hangs(chat, "Go", say)
        await chat.retry()
        assert [one.get("text") for one in scenario.said(2)] == [None, word]
        await scenario.finish(chat, ended=CONFIRMED, effects={"hang a": 1}, budget=2)
    store.close()

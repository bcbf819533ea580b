"""What is resumed is what was confirmed: the same exchanges, in the same order, and with
them the same bytes of the next request; or it is an error, never a shorter history.

Clients that rebuild a conversation from linked messages lose it to a dangling parent, a
second child, an entry of another kind in the chain, or a head that lags behind. Here the
head is the end of one chained record, and a link that does not hold is refused:

- https://github.com/anthropics/claude-code/issues/58554
- https://github.com/OpenHands/software-agent-sdk/issues/4487
- https://github.com/anthropics/claude-code/issues/35024
"""

import re
import shutil
import sqlite3
from collections.abc import Callable

import pytest
from tests.harness.processes import kill_at
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only, beside

from turnlatch import JournalCorruptError
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


async def test_a_branched_and_interrupted_past_is_resumed_as_it_was(
    scenario: Scenario,
) -> None:
    scenario.script(
        "One.",
        call("look", path="a"),
        "Two.",
        "A second child of one.",
        "Three.",
        faults="529 @3, 401 @6",
    )
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
        await chat.rewind()
    async with scenario.open() as chat:
        await chat.send("2 again")
        await chat.send("refused")
    async with scenario.open() as chat:
        await chat.send("3")
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"look a": 1},
            budget=7,
            history=[1, 5, 7],
        )


async def test_ids_given_twice_by_the_service_are_distinguished(
    scenario: Scenario,
) -> None:
    def gateway(piece: bytes) -> bytes:
        return re.sub(rb"msg_\w+", b"msg_always_the_same", piece)

    scenario.script("One.", "Two.", "Three.", gateway=gateway)
    async with scenario.open() as chat:
        for text in ("1", "2", "3"):
            await chat.send(text)
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)


@asyncio_only
@pytest.mark.parametrize(
    ("point", "exchanges"),
    [("before ReplyConfirmed 2", 1), ("after ReplyConfirmed 2", 2)],
)
async def test_kill_around_the_record_of_a_reply_leaves_it_whole_or_absent(
    scenario: Scenario, point: str, exchanges: int
) -> None:
    scenario.script("One.", "Two.")
    kill_at(scenario, point, "1", "2")
    async with scenario.open() as chat:
        assert len(chat.history) == exchanges
        turn = await chat.send("2", key="2")
        assert turn.text in ("Two.", chat.history[-1].reply.text)
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=3,
            unheard=[2] if exchanges == 1 else (),
        )


async def test_killed_between_the_record_and_its_head_nothing_is_missing(
    scenario: Scenario,
) -> None:
    """The note of where the record ends is written after it, and may be behind."""
    scenario.script("One.", "Two.")
    head = beside(scenario.store, "-head")
    async with scenario.open() as chat:
        await chat.send("1")
    behind = head.read_bytes()
    async with scenario.open() as chat:
        await chat.send("2")
    assert head.read_bytes() != behind
    head.write_bytes(behind)
    async with scenario.open() as chat:
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


def a_link_is_gone(file: sqlite3.Connection) -> None:
    middle = "(SELECT key FROM entry ORDER BY key LIMIT 1 OFFSET 2)"
    file.execute(f"DELETE FROM entry WHERE key = {middle}")


def two_entries_have_changed_places(file: sqlite3.Connection) -> None:
    one, two = file.execute("SELECT key FROM entry ORDER BY key LIMIT 2 OFFSET 2")
    for old, new in ((one, (1,)), (two, one), ((1,), two)):
        file.execute("UPDATE entry SET key = ? WHERE key = ?", (*new, *old))


def the_end_is_gone(file: sqlite3.Connection) -> None:
    file.execute("DELETE FROM entry WHERE key = (SELECT max(key) FROM entry)")


@pytest.mark.parametrize(
    "spoil", [a_link_is_gone, two_entries_have_changed_places, the_end_is_gone]
)
async def test_a_chain_that_does_not_hold_is_refused_and_not_shortened(
    scenario: Scenario, spoil: Callable[[sqlite3.Connection], None]
) -> None:
    scenario.script("One.", "Two.")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
    folder = scenario.folder / "spoiled"
    folder.mkdir()
    for name in ("chat.db", "chat.db-head"):
        shutil.copy(scenario.folder / name, folder / name)
    spoiled = folder / "chat.db"
    file = sqlite3.connect(spoiled)
    with file:
        spoil(file)
    before = file.execute("SELECT * FROM entry").fetchall()
    file.close()

    with pytest.raises(JournalCorruptError):
        async with scenario.open(store=spoiled):
            pass

    file = sqlite3.connect(spoiled)
    assert file.execute("SELECT * FROM entry").fetchall() == before
    file.close()
    async with scenario.open() as chat:
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)

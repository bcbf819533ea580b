"""One input is one turn, however often it is handed in: the caller's key names the turn,
and an answer that got lost is looked up, not asked for by a second turn.

A time-out whose request had landed, a click that came twice or a message that was
delivered again became two turns, with everything in them done twice:

- https://github.com/anthropics/anthropic-sdk-java/issues/370
- https://github.com/AltimateAI/altimate-code/issues/1222
- https://github.com/OpenHands/OpenHands/issues/9595
"""

import sqlite3

import anyio
import pytest
from tests.harness.processes import kill_at
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch import JournalFullError, Turn
from turnlatch.journal import SQLiteStore
from turnlatch.journal.database import connect
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


async def test_the_same_key_from_two_tabs_is_one_turn(scenario: Scenario) -> None:
    scenario.script(call("act", what="a"), "Done.")
    async with scenario.open() as chat:
        turns: list[Turn] = []

        async def tab() -> None:
            turns.append(await chat.send("Go", key="click"))

        async with anyio.create_task_group() as group:
            group.start_soon(tab)
            group.start_soon(tab)
        assert turns[0] == turns[1]
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=2)


async def test_a_caller_that_gave_up_and_comes_again_gets_one_turn(
    scenario: Scenario,
) -> None:
    """The reply is made and nobody waits for it any more; then the same comes again."""
    late: list[anyio.CancelScope] = []

    async def slow(_: float) -> None:
        late[-1].cancel()
        await anyio.sleep_forever()

    scenario.script("Too late for anybody.", "Done.", faults="slow headers 6s @1")
    async with scenario.open(client=scenario.client(sleep=slow)) as chat:
        with anyio.CancelScope() as scope:
            late.append(scope)
            await chat.send("Go", key="k")
        assert scope.cancelled_caught
        turn = await chat.send("Go", key="k")
        assert (turn.number, turn.text) == (1, "Done.")
        assert scenario.said(1) == scenario.said(2)
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2, unheard=[1])


async def test_a_confirmed_turn_is_given_again_without_a_request(
    scenario: Scenario,
) -> None:
    scenario.script(call("act", what="a"), "Done.", "Other.")
    async with scenario.open() as chat:
        first = await chat.send("Go", key="k")
        await chat.send("Other", key="o")
    async with scenario.open() as chat:
        again = await chat.send("Go", key="k")
        assert (again.number, again.text) == (first.number, "Done.")
        assert len(scenario.requests) == 3
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)


@asyncio_only
@pytest.mark.parametrize(
    ("point", "requests"),
    [
        ("after TurnOpened", 1),
        ("before ReplyConfirmed", 2),
        ("after ReplyConfirmed", 1),
    ],
)
async def test_delivered_again_after_a_crash_it_is_the_same_turn(
    scenario: Scenario, point: str, requests: int
) -> None:
    scenario.script("One.", "One, said again.")
    kill_at(scenario, point, "first")
    async with scenario.open() as chat:
        turn = await chat.send("first", key="first")
        assert turn.state is CONFIRMED
        assert turn.number == 1
        assert len(scenario.requests) == requests
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=requests,
            unheard=[1] if requests == 2 else (),
        )


async def test_same_message_without_a_key_is_sent_twice(scenario: Scenario) -> None:
    """The other side: nobody may guess that equal words are one input."""
    scenario.script("One.", "Two.")
    async with scenario.open() as chat:
        await chat.send("Again")
        await chat.send("Again")
        assert len(chat.history) == 2
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_message_with_one_key_is_sent_once_by_any_process(
    scenario: Scenario,
) -> None:
    """Said twice at once, again after a restart, and again when they were answered."""
    scenario.script(call("hang", what="a"), "I see.")
    async with scenario.open() as chat:

        async def say() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(2):
                    group.start_soon(lambda: chat.steer("leave it", key="click"))
            await chat.interrupt()

        await scenario.while_it_hangs(chat, "Go", say)
    async with scenario.open() as chat:
        await chat.steer("leave it", key="click")
        await chat.retry()
        await chat.steer("leave it", key="click")
        assert [one.get("text") for one in scenario.said(2)] == [None, "leave it"]
        await scenario.finish(chat, ended=CONFIRMED, effects={"hang a": 1}, budget=2)


async def test_an_input_that_the_disk_refused_is_not_taken_for_the_one_after_it(
    scenario: Scenario,
) -> None:
    """The number of the turn that never was is given again; its key names no turn, also
    where something was said in between with a key of its own."""
    scenario.script("One.", "Two.", "Three.")
    made: list[sqlite3.Connection] = []

    def connecting(uri: str) -> sqlite3.Connection:
        made.append(connect(uri))
        return made[-1]

    store, long = SQLiteStore(scenario.store, connect=connecting), "x" * 50_000
    async with scenario.open(store=store) as chat:
        await chat.send("1")
        (pages,) = made[-1].execute("PRAGMA page_count").fetchone()
        made[-1].execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(JournalFullError):
            await chat.send(long, key="refused")
        made[-1].execute("PRAGMA max_page_count = 1000000")
        await chat.steer("by the way", key="word")
        await chat.send("2", key="next")
        turn = await chat.send(long, key="refused")
        assert (turn.number, turn.text) == (3, "Three.")
        assert (await chat.send("2", key="next")).text == "Two."
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)
    store.close()

"""One writer at a time, proved by a token that every append shows: whoever was replaced
writes nothing any more, however late it wakes up, and is told so by name.

Two processes, or two turns, that write one conversation tear its chain or answer each
other's calls; a lock alone does not help against a writer that slept past it:

- https://github.com/NousResearch/hermes-agent/issues/64934
- https://github.com/arcee-ai/nac/issues/146
- https://github.com/QwenLM/qwen-code/issues/7164
"""

import signal
import sqlite3

import anyio
import pytest
from tests.harness.processes import child_processes
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch import Conversation, ConversationBusyError, LeaseLostError, tool
from turnlatch.journal import SQLiteStore
from turnlatch.journal.owner import Owner
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


def take_over(scenario: Scenario) -> None:
    """Take the lease of somebody alive, as a host would whose clock has jumped."""
    thief = SQLiteStore(
        scenario.store, clock=lambda: 1e12, owner=Owner("elsewhere", 1, "1", "boot")
    )
    thief.open("a").close()
    thief.close()


@asyncio_only
async def test_a_writer_that_wakes_up_too_late_appends_nothing(
    scenario: Scenario,
) -> None:
    scenario.script("Too late.", "In time.")
    with child_processes(scenario) as children:
        sleeper = children.start("before ReplyConfirmed", "first")
        sleeper.until("now")
        sleeper.signal(signal.SIGSTOP)
        take_over(scenario)
        async with scenario.open() as chat:
            await chat.send("second")
            sleeper.signal(signal.SIGCONT)
            sleeper.go()
            assert sleeper.hear() == LeaseLostError.__name__
            await scenario.finish(
                chat, ended=CONFIRMED, effects={}, budget=2, unheard=[1]
            )


@asyncio_only
async def test_a_writer_that_wakes_up_too_late_starts_no_tool(
    scenario: Scenario,
) -> None:
    scenario.script(call("act", what="late"), "In time.")
    with child_processes(scenario) as children:
        sleeper = children.start("before CallStarted", "first")
        sleeper.until("now")
        sleeper.signal(signal.SIGSTOP)
        take_over(scenario)
        async with scenario.open() as chat:
            await chat.send("second")
            sleeper.signal(signal.SIGCONT)
            sleeper.go()
            assert sleeper.hear() == LeaseLostError.__name__
            await scenario.finish(
                chat, ended=CONFIRMED, effects={}, budget=2, unheard=[1]
            )


@asyncio_only
async def test_a_second_process_is_refused_before_it_costs_anything(
    scenario: Scenario,
) -> None:
    scenario.script("One.")
    with child_processes(scenario) as children:
        async with scenario.open() as chat:
            await chat.send("1")
            other = children.start("", "mine")
            assert other.hear() == ConversationBusyError.__name__
            assert len(scenario.requests) == 1
            await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=1)
    file = sqlite3.connect(scenario.store)
    said = str(file.execute("SELECT CAST(body AS TEXT) FROM entry").fetchall())
    file.close()
    assert "mine" not in said


async def test_two_turns_at_once_are_one_after_the_other(scenario: Scenario) -> None:
    scenario.script(call("act", what="a"), "One.", call("act", what="b"), "Two.")
    async with scenario.open() as chat:
        async with anyio.create_task_group() as group:
            for text in ("left", "right"):
                group.start_soon(chat.send, text)
        turns = [one.turn for one in chat.history]
        assert turns == sorted(turns)
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"act a": 1, "act b": 1}, budget=4
        )


async def test_concurrent_messages_are_each_sent_once_and_in_order(
    scenario: Scenario,
) -> None:
    """Two turns queue, and a third tab speaks into whichever runs."""
    said: list[str] = []
    chats: list[Conversation] = []
    scenario.script(call("work"), "One.", call("work"), "Two.")

    async def say(word: str) -> None:
        await chats[0].steer(word, key=word)
        said.append(word)

    @tool(effect="safe")
    async def work() -> str:
        """Work, while others speak."""
        before = len(said)
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(say, f"word {before + number}")
        return "worked"

    async with scenario.open(tools=[work]) as chat:
        chats.append(chat)
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "left")
            group.start_soon(chat.send, "right")
    async with scenario.open(tools=[work]) as chat:
        found = [
            block["text"]
            for message in chat.messages
            for block in message["content"]
            if block.get("text", "").startswith("word")
        ]
        assert len(said) == 6
        assert found == said
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=4)


@asyncio_only
async def test_a_writer_that_wakes_up_too_late_says_nothing(scenario: Scenario) -> None:
    """What it was about to say was acknowledged to nobody, and is not there."""
    scenario.script(call("act", what="late"), "In time.")
    with child_processes(scenario) as children:
        sleeper = children.start("before Steered", "first", steers=["too late"])
        sleeper.until("now")
        sleeper.signal(signal.SIGSTOP)
        take_over(scenario)
        async with scenario.open() as chat:
            await chat.send("second")
            sleeper.signal(signal.SIGCONT)
            sleeper.go()
            assert sleeper.hear() == LeaseLostError.__name__
            assert b"too late" not in b"".join(one.raw for one in scenario.requests)
            await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)

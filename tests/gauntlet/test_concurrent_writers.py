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
from tests.gauntlet.course import CONFIRMED, Course, asyncio_only
from tests.gauntlet.processes import victims

from turnlatch import Conversation, ConversationBusyError, LeaseLostError, tool
from turnlatch.journal import SQLiteStore
from turnlatch.journal.owner import Owner
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


def take_over(course: Course) -> None:
    """Take the lease of somebody alive, as a host would whose clock has jumped."""
    thief = SQLiteStore(
        course.store, clock=lambda: 1e12, owner=Owner("elsewhere", 1, "1", "boot")
    )
    thief.open("a").close()
    thief.close()


@asyncio_only
async def test_a_writer_that_wakes_up_too_late_appends_nothing(course: Course) -> None:
    course.script("Too late.", "In time.")
    with victims(course) as children:
        sleeper = children.start("before ReplyConfirmed", "first")
        sleeper.until("now")
        sleeper.signal(signal.SIGSTOP)
        take_over(course)
        async with course.open() as chat:
            await chat.send("second")
            sleeper.signal(signal.SIGCONT)
            sleeper.go()
            assert sleeper.hear() == LeaseLostError.__name__
            await course.finish(
                chat, ended=CONFIRMED, effects={}, budget=2, unheard=[1]
            )


@asyncio_only
async def test_a_writer_that_wakes_up_too_late_starts_no_tool(course: Course) -> None:
    course.script(call("act", what="late"), "In time.")
    with victims(course) as children:
        sleeper = children.start("before CallStarted", "first")
        sleeper.until("now")
        sleeper.signal(signal.SIGSTOP)
        take_over(course)
        async with course.open() as chat:
            await chat.send("second")
            sleeper.signal(signal.SIGCONT)
            sleeper.go()
            assert sleeper.hear() == LeaseLostError.__name__
            await course.finish(
                chat, ended=CONFIRMED, effects={}, budget=2, unheard=[1]
            )


@asyncio_only
async def test_a_second_process_is_refused_before_it_costs_anything(
    course: Course,
) -> None:
    course.script("One.")
    with victims(course) as children:
        async with course.open() as chat:
            await chat.send("1")
            other = children.start("", "mine")
            assert other.hear() == ConversationBusyError.__name__
            assert len(course.requests) == 1
            await course.finish(chat, ended=CONFIRMED, effects={}, budget=1)
    file = sqlite3.connect(course.store)
    said = str(file.execute("SELECT CAST(body AS TEXT) FROM entry").fetchall())
    file.close()
    assert "mine" not in said


async def test_two_turns_at_once_are_one_after_the_other(course: Course) -> None:
    course.script(call("act", what="a"), "One.", call("act", what="b"), "Two.")
    async with course.open() as chat:
        async with anyio.create_task_group() as group:
            for text in ("left", "right"):
                group.start_soon(chat.send, text)
        turns = [one.turn for one in chat.history]
        assert turns == sorted(turns)
        await course.finish(
            chat, ended=CONFIRMED, effects={"act a": 1, "act b": 1}, budget=4
        )


async def test_tabs_that_speak_at_once_are_all_heard_once_and_in_order(
    course: Course,
) -> None:
    """Two turns queue, and a third tab speaks into whichever runs."""
    said: list[str] = []
    chats: list[Conversation] = []
    course.script(call("work"), "One.", call("work"), "Two.")

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

    async with course.open(tools=[work]) as chat:
        chats.append(chat)
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "left")
            group.start_soon(chat.send, "right")
    async with course.open(tools=[work]) as chat:
        found = [
            block["text"]
            for message in chat.messages
            for block in message["content"]
            if block.get("text", "").startswith("word")
        ]
        assert len(said) == 6
        assert found == said
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=4)


@asyncio_only
async def test_a_writer_that_wakes_up_too_late_says_nothing(course: Course) -> None:
    """What it was about to say was acknowledged to nobody, and is not there."""
    course.script(call("act", what="late"), "In time.")
    with victims(course) as children:
        sleeper = children.start("before Steered", "first", steers=["too late"])
        sleeper.until("now")
        sleeper.signal(signal.SIGSTOP)
        take_over(course)
        async with course.open() as chat:
            await chat.send("second")
            sleeper.signal(signal.SIGCONT)
            sleeper.go()
            assert sleeper.hear() == LeaseLostError.__name__
            assert b"too late" not in b"".join(one.raw for one in course.requests)
            await course.finish(chat, ended=CONFIRMED, effects={}, budget=2)

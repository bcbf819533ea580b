"""What is said while a turn runs is said once, in order, whatever happens meanwhile."""

from typing import Any

import anyio
import pytest
from tests.harness.published import moved_to, recorded
from tests.harness.world import World

from turnlatch import (
    Conversation,
    Steered,
    StreamEvent,
    Tool,
    TurnState,
    tool,
)
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


def users(world: World) -> list[list[str]]:
    """What the last request says in its user messages: texts, results as `=`."""
    return [
        [str(block.get("text", "=")) for block in message["content"]]
        for message in world.bodies[-1]["messages"]
        if message["role"] == "user"
    ]


def talker(chat: list[Conversation], *texts: str) -> Tool:
    """A tool during whose run the user goes on talking."""

    @tool(effect="safe")
    async def work() -> str:
        """Work while the user talks."""
        for text in texts:
            assert await chat[0].steer(text)
        return "worked"

    return work


async def test_steered_messages_follow_the_results_in_their_order(
    world: World,
) -> None:
    chats: list[Conversation] = []
    world.script(call("work"), "Noted.")
    async with world.open(tools=[talker(chats, "and this", "and that")]) as chat:
        chats.append(chat)
        turn = await chat.send("Go")

        assert turn.text == "Noted."
        assert users(world) == [["Go"], ["=", "and this", "and that"]]
        assert chat.snapshot.said == ()


async def test_message_steered_during_the_last_reply_continues_the_turn(
    world: World,
) -> None:
    world.script("One.", "Two.")
    async with world.open() as chat:
        stream = chat.stream("Go")
        seen: list[StreamEvent] = []
        async for event in stream:
            if moved_to(event, TurnState.SENT) and not recorded(seen, Steered):
                assert await chat.steer("and this")
            seen.append(event)
        turn = await stream.turn()

        assert [r.text for r in turn.replies] == ["One.", "Two."]
        assert users(world) == [["Go"], ["and this"]]
        assert [b"and this" in one.content for one in recorded(seen, Steered)] == [True]


async def test_a_failed_request_delivers_nothing_and_the_next_one_all(
    world: World,
) -> None:
    chats: list[Conversation] = []
    world.script(call("work"), "Noted.", faults="529 @2 times 2")
    async with world.open(tools=[talker(chats, "and this")]) as chat:
        chats.append(chat)
        turn = await chat.send("Go")

        assert turn.state is TurnState.CONFIRMED
        assert users(world) == [["Go"], ["=", "and this"]]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("go_on", ["retry", "send"])
async def test_steered_message_survives_an_interrupt_and_a_restart(
    world: World, restart: bool, go_on: str
) -> None:
    chats: list[Conversation] = []

    @tool(effect="safe")
    async def work() -> str:
        """Work until it is stopped."""
        await chats[0].steer("and this")
        await chats[0].interrupt()
        await anyio.sleep_forever()
        return ""

    world.script(call("work"), "Noted.")
    async with world.open(tools=[work]) as chat:
        chats.append(chat)
        turn = await chat.send("Go")
        assert turn.state is TurnState.FAILED
        if not restart:
            await _go_on(chat, go_on)
    if restart:
        async with world.open(tools=[work]) as chat:
            await _go_on(chat, go_on)

    last = [["=", "and this"]] if go_on == "retry" else [["=", "and this", "More"]]
    assert users(world) == [["Go"], *last]


async def _go_on(chat: Conversation, how: str) -> None:
    turn = await (chat.retry() if how == "retry" else chat.send("More"))
    assert turn.text == "Noted."
    assert chat.snapshot.said == ()


async def test_the_same_key_says_it_once_also_after_a_restart(world: World) -> None:
    world.script("One.")
    async with world.open() as chat:
        await chat.steer("and this", key="k")
        await chat.steer("and this", key="k")
    async with world.open() as chat:
        await chat.steer("and this", key="k")
        await chat.send("Go")
        await chat.steer("and this", key="k")

        assert users(world) == [["and this", "Go"]]
        assert chat.snapshot.said == ()


async def test_blocks_can_be_steered_and_a_wrong_one_changes_nothing(
    world: World,
) -> None:
    from turnlatch import SettingsError

    world.script("One.")
    wrong: Any = 7
    async with world.open() as chat:
        with pytest.raises(SettingsError):
            await chat.steer(wrong)
        await chat.steer([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])
        await chat.send("Go")

        assert users(world) == [["a", "b", "Go"]]

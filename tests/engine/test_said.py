"""What the user said in a turn is readable, whatever became of the turn."""

from typing import Any

import anyio
import pytest
from tests.harness.world import World

from turnlatch import (
    Conversation,
    Cursor,
    RetryPolicy,
    TurnEnded,
    TurnState,
    sync,
    tool,
)
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)

IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
}

NEVER = RetryPolicy(attempts_max=1)


def text(words: str) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": words}


MESSAGE = [text("look at this:  \U0001f600\u200d\t"), IMAGE, text("\u202eand that\r\n")]


async def again(world: World, **options: Any) -> list[dict[str, Any]]:
    """What the last turn of the conversation holds once it was opened again."""
    async with world.open(**options) as chat:
        assert chat.turn is not None
        return chat.turn.said


@pytest.mark.parametrize("then", ["", "retry", "abandon", "rewind", "retry abandon"])
async def test_a_message_that_failed_is_kept_as_it_was_given(
    world: World, then: str
) -> None:
    world.script("First.", faults="529 @2, 529 @3")
    async with world.open(retry=NEVER) as chat:
        await chat.send("first")
        turn = await chat.send(MESSAGE)
        assert turn.state is TurnState.FAILED
        assert turn.said == MESSAGE
        for method in then.split():
            await getattr(chat, method)()
        assert chat.turn is not None
        assert chat.turn.said == MESSAGE
        assert chat.turn.waiting == []
        turn.said[0]["text"] = "changed"
        assert turn.said == MESSAGE

    assert await again(world) == MESSAGE


async def test_a_message_that_was_answered_at_last_is_kept(world: World) -> None:
    world.script("Done.", faults="529 @1")
    async with world.open(retry=NEVER) as chat:
        assert (await chat.send(MESSAGE, key="k")).state is TurnState.FAILED
        assert (await chat.retry()).said == MESSAGE
        await chat.send("next")
        assert (await chat.send(MESSAGE, key="k")).said == MESSAGE  # by its key


async def test_a_message_that_fails_behind_calls_is_kept_without_their_results(
    world: World,
) -> None:
    world.script(call("act", what="x"), "Done.", faults="529 @2")
    async with world.open(retry=NEVER) as chat:
        turn = await chat.send(MESSAGE, key="k")
        assert turn.state is TurnState.FAILED
        assert turn.said == MESSAGE
        await chat.retry()
        await chat.send("next")
        assert (await chat.send(MESSAGE, key="k")).said == MESSAGE


async def _interrupted(chat: Conversation) -> None:
    await chat.steer([text("and this"), IMAGE])
    await chat.interrupt()


async def test_steered_message_of_a_stopped_turn_is_kept(
    world: World,
) -> None:
    """It goes along with the next message by itself, which `waiting` says."""
    chats: list[Conversation] = []

    @tool
    async def stop() -> str:
        """Stop the turn."""
        await _interrupted(chats[0])
        await anyio.sleep_forever()
        return ""

    world.script(call("stop"), "Done.")
    async with world.open(tools=[stop]) as chat:
        chats.append(chat)
        turn = await chat.send(MESSAGE)
        added = [text("and this"), IMAGE]
        assert turn.state is TurnState.FAILED
        assert turn.said == [*MESSAGE, *added]
        assert turn.waiting == added
        assert await again_beside(chat) == [*MESSAGE, *added]
        nextly = await chat.send("next")
        assert nextly.said == [*added, text("next")]
        assert nextly.waiting == []


async def again_beside(chat: Conversation) -> list[dict[str, Any]]:
    """What a reader is told again of the last turn that ended."""
    told: list[dict[str, Any]] = []
    watch = chat.watch(Cursor())
    while True:
        with anyio.move_on_after(0):
            async for event in watch:
                if isinstance(event, TurnEnded):
                    told = event.turn.said
        return told


async def test_steered_message_of_a_failed_turn_is_kept(
    world: World,
) -> None:
    """It was taken along by `retry`, and may be what is refused."""
    world.script("Done.", faults="529 @1, 529 @2")
    async with world.open(retry=NEVER) as chat:
        await chat.send("first")
        await chat.steer("and this")
        assert chat.turn is not None
        assert chat.turn.waiting == [text("and this")]
        turn = await chat.retry()
        assert turn.said == [text("first"), text("and this")]
        assert turn.waiting == []

    assert await again(world) == [text("first"), text("and this")]


async def test_a_message_that_was_taken_back_in_the_line_is_kept(world: World) -> None:
    world.script("First.", "Second.")
    async with world.open() as chat, chat._lock:  # pyright: ignore[reportPrivateUsage] - another turn
        async with chat.stream(MESSAGE) as stream:
            pass
        turn = await stream.turn()

    assert turn.number == 0
    assert turn.said == MESSAGE


async def test_earlier_failed_turn_is_published_again_with_its_message(
    world: World,
) -> None:
    world.script("Done.", faults="529 @1")
    async with world.open(retry=NEVER) as chat:
        await chat.send(MESSAGE)
        await chat.send("next")
    async with world.open() as chat:
        watch = chat.watch(Cursor())
        ends = [h.turn.said for h in [await anext(watch) for _ in range(8)]
                if isinstance(h, TurnEnded)]  # fmt: skip

    assert ends[0] == MESSAGE


def test_the_sync_twin_has_it_too(world: World) -> None:
    world.script("Done.", faults="529 @1")
    client = world.client()

    def opened() -> sync.Conversation:
        return sync.Conversation.open(
            "a", store=world.store, client=client, retry=NEVER
        )

    with opened() as chat:
        assert chat.send(MESSAGE).said == MESSAGE
    with opened() as chat:
        assert chat.turn is not None
        assert chat.turn.said == MESSAGE

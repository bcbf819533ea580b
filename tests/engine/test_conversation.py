"""The turn loop as people use it, on the real SDK and the strict simulator."""

from typing import Any

import anyio
import pytest
from tests.harness.published import has_call, recorded, texts
from tests.harness.world import World, cancelled_once_started, mentions

from turnlatch import (
    CallState,
    Closing,
    ConversationBusyError,
    ConversationClosedError,
    FaultKind,
    NotNowError,
    RetryScheduled,
    SettingsError,
    StreamEvent,
    TurnEnded,
    TurnFailedError,
    TurnState,
)
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio


async def test_a_turn_is_confirmed_and_is_history(world: World) -> None:
    world.script("Hello, you.")
    async with world.open() as chat:
        turn = await chat.send("Hello")

    assert turn.state is TurnState.CONFIRMED
    assert turn.text == "Hello, you."
    assert [m.trigger for m in turn.path] == ["send", "confirm"]
    assert turn.requests == 1
    assert turn.usage.input > 0


async def test_calls_of_one_reply_run_together_and_are_answered_together(
    world: World,
) -> None:
    world.script(reply("See.", call("look", path="a"), call("act", what="b")), "Done.")
    async with world.open() as chat:
        turn = await chat.send("Go")

        assert [(c.name, c.closing) for c in turn.calls] == [
            ("look", Closing.RESULT),
            ("act", Closing.RESULT),
        ]
        answers = chat.messages[2]["content"]
        assert [b["type"] for b in answers] == ["tool_result", "tool_result"]
        assert [b["tool_use_id"] for b in answers] == [c.id for c in turn.calls]
    assert sorted(world.ran) == ["act b", "look a"]
    assert [m.trigger for m in turn.path] == [
        "send",
        "confirm",
        "answer",
        "send",
        "confirm",
    ]


async def test_permanently_refused_input_is_rolled_back_and_the_next_one_works(
    world: World,
) -> None:
    world.script("One.", "Three.", faults='400 message="No." body="poison" forever')
    async with world.open() as chat:
        await chat.send("1")
        before = chat.history.wires()
        turn = await chat.send("poison")
        assert turn.state is TurnState.FAILED
        assert turn.requests == 1, "a definite 4xx is never sent again unchanged"
        assert chat.history.wires() == before
        with pytest.raises(TurnFailedError, match="history keeps its 1 confirmed"):
            turn.raise_for_failure()
        after = await chat.send("3")

    assert after.text == "Three."
    assert not mentions(world.bodies[-1], "poison")


@pytest.mark.parametrize("cut", ["clean", "eof", "reset"])
@pytest.mark.parametrize("after", range(1, 12))
async def test_a_stream_cut_anywhere_is_an_attempt_and_never_history(
    world: World, cut: str, after: int
) -> None:
    world.script(
        reply("Let me see.", call("act", what="it")),
        "Done.",
        "Done.",
        faults=f"cut {after} {cut} @1",
    )
    async with world.open() as chat:
        stream = chat.stream("Go")
        async for _ in stream:
            pass
        turn = await stream.turn()

        assert turn.state is TurnState.CONFIRMED
        assert chat.check() == ()
    assert world.ran.count("act it") <= 1


async def test_an_interrupt_keeps_finished_work_and_closes_the_rest_truthfully(
    world: World,
) -> None:
    world.script(reply(call("act", what="a"), call("hang", what="b")), "On we go.")
    async with world.open() as chat:

        async def stop() -> None:
            async for event in chat.watch(chat.cursor):
                if has_call(event, CallState.CLOSED):
                    await chat.interrupt()
                    return

        async with anyio.create_task_group() as group:
            group.start_soon(stop)
            await chat.send("Go")

        turn = chat.turn
        assert turn is not None
        assert turn.state is TurnState.FAILED
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.CANCELLED
        assert [c.closing for c in turn.calls] == [Closing.RESULT, Closing.UNKNOWN]
        after = await chat.send("And now?")
    assert after.state is TurnState.CONFIRMED
    assert [b["type"] for b in world.bodies[-1]["messages"][-1]["content"]] == [
        "tool_result",
        "tool_result",
        "text",
    ]


async def test_cancelling_the_caller_rolls_the_turn_back(world: World) -> None:
    world.script(call("hang", what="a"), "On we go.")
    async with world.open() as chat:
        assert await cancelled_once_started(chat, "Go")
        assert chat.state is TurnState.FAILED
        again = await chat.retry()

    assert again.state is TurnState.CONFIRMED
    assert again.calls[0].closing is Closing.UNKNOWN


async def test_blank_input_is_refused_before_it_costs_anything(world: World) -> None:
    world.script("Hello.")
    async with world.open() as chat:
        with pytest.raises(SettingsError, match="R6"):
            await chat.send("   ")
        await chat.send("Hello")
    assert len(world.bodies) == 1


@pytest.mark.parametrize("content", [7, None, b"x", [], ["x"], {"type": "text"}])
async def test_value_that_is_not_content_is_refused(world: World, content: Any) -> None:
    async with world.open() as chat:
        with pytest.raises(SettingsError, match="is not user content"):
            await chat.send(content)
        assert chat.state is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": ""}, "model: '' is not allowed"),
        ({"max_tokens": 0.5}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"settings": {"temperature": 1}}, "temperature: Extra inputs"),
        ({"settings": {"messages": []}}, "settings cannot hold it"),
        ({"settings": {"metadata": object()}}, "JSON cannot represent it"),
        ({"tools": [print]}, "is not a tool"),
        ({"store": 7}, "store: 7 is not allowed"),
        ({"client": 7}, "client: 7 is not allowed"),
    ],
)
async def test_unusable_settings_are_refused_when_opening(
    world: World, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        async with world.open(**options):
            pass
    async with world.open() as chat:
        assert (await chat.send("Hello")).state is TurnState.CONFIRMED


async def test_a_second_opener_is_refused_before_money_is_spent(world: World) -> None:
    world.script("Hello.")
    async with world.open() as chat:
        with pytest.raises(ConversationBusyError):
            async with world.open():
                pass
        await chat.send("Hello")
    async with world.open() as chat:
        assert len(chat.history) == 1


async def test_a_conversation_that_is_not_open_says_so_and_how_to_enter_it(
    world: World,
) -> None:
    chat = world.open()
    for _ in range(2):
        with pytest.raises(ConversationClosedError, match=r"never entered.*async with"):
            await chat.send("Hello")
        with pytest.raises(ConversationClosedError):
            _ = chat.history
        async with chat:
            assert (await chat.send("Hello")).state is TurnState.CONFIRMED


async def test_an_open_conversation_that_is_entered_again_is_not_called_closed(
    world: World,
) -> None:
    async with world.open() as chat:
        with pytest.raises(NotNowError, match=r"is already open; close\(\) it first"):
            await chat.__aenter__()
        assert (await chat.send("Hello")).state is TurnState.CONFIRMED


async def test_two_sends_at_once_are_two_turns_in_order(world: World) -> None:
    world.script("One.", "Two.", "Three.", "Four.")
    async with world.open() as chat, anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(chat.send, f"message {number}")
    async with world.open() as chat:
        said = [m["content"][0]["text"] for m in chat.messages if m["role"] == "user"]
    assert sorted(said) == [f"message {n}" for n in range(4)]


async def test_the_next_request_is_checked_by_the_strict_rules(world: World) -> None:
    async with world.open() as chat:
        await chat.send("Hello")
        assert chat.check() == ()


async def test_the_turn_draws_its_own_path(world: World) -> None:
    async with world.open() as chat:
        assert "pending" in chat.diagram()
        await chat.send("Hello")
        assert "confirmed" in chat.diagram("mermaid")


async def test_a_long_reply_is_streamed_even_by_send(world: World) -> None:
    async with world.open(max_tokens=32_000) as chat:
        turn = await chat.send("Hello")
    assert turn.state is TurnState.CONFIRMED
    assert world.bodies[0]["stream"] is True


async def test_interrupted_wait_is_reported_as_cancelled_and_keeps_the_input(
    world: World,
) -> None:
    world.script("One.", faults="429 retry-after=60 @1")

    async with world.open(clock=None) as chat:
        stream = chat.stream("1")
        async for event in stream:
            if recorded([event], RetryScheduled):
                await chat.interrupt()
        turn = await stream.turn()

        assert turn.state is TurnState.FAILED
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.CANCELLED
        again = await chat.retry()
    assert again.text == "One."


async def test_a_watched_turn_is_still_streamed_when_it_is_retried(
    world: World,
) -> None:
    world.script("One.", faults='400 message="No." @1')
    async with world.open() as chat:
        await chat.stream("1").turn()
        cursor = chat.cursor
        await chat.retry()
        seen: list[StreamEvent] = []
        async for event in chat.watch(cursor):
            seen.append(event)
            if isinstance(event, TurnEnded):
                break
    assert texts(seen) == ["One."]

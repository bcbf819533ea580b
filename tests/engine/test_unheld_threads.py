"""Behind a server that holds no thread, nothing is confirmed that the model answered
without having seen the conversation."""

from typing import Any

import pytest
from tests.harness.gateway import COUNTS, Gateway, behind
from tests.harness.world import World

from turnlatch import Conversation, Remedy, TurnState
from turnlatch.simulator import Scripted, Seeded, Simulator, call
from turnlatch.simulator.tokens import count_request

pytestmark = pytest.mark.anyio

TURNS = 4


async def said(chat: Conversation, words: str, *, stream: bool) -> Any:
    """One message, streamed or not."""
    return await (chat.stream(words).turn() if stream else chat.send(words))


def opening(body: dict[str, Any]) -> str:
    """The first words that a backend was shown."""
    return str(body["messages"][0]["content"][0]["text"])


@pytest.mark.parametrize("threads", ["on", "auto"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("counts", COUNTS)
async def test_the_model_has_seen_everything_that_a_confirmed_reply_answers(
    world: World, counts: str, stream: bool, threads: str
) -> None:
    world.script(*(f"Answer {number}." for number in range(TURNS * 2)))
    gateway = Gateway(world.simulator, counts=COUNTS[counts])
    client = behind(world, gateway)
    async with world.open(client=client, threads=threads) as chat:
        for number in range(TURNS):
            turn = await said(chat, f"Message {number}.", stream=stream)
            assert turn.state is TurnState.CONFIRMED
            assert opening(gateway.passed[-1]) == "Message 0."
            assert len(gateway.passed[-1]["messages"]) == 2 * number + 1
        # At the most one reply is paid for in vain, and it is told.
        assert len(gateway.passed) - TURNS == chat.lost.replies <= 1
        assert chat.check() == ()
    async with world.open(client=client) as again:
        lost = again.lost
        await said(again, "And now?", stream=stream)
        assert opening(gateway.passed[-1]) == "Message 0."
        assert again.lost == lost, "it is remembered"


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_turn_continues_with_the_whole_conversation(
    world: World, stream: bool
) -> None:
    # A backend that takes results without their calls, as some do.
    answers = Scripted([call("act", what="a"), "Unheld.", "Did it."], then=Seeded(0))
    off = frozenset({"R8", "R9"})
    world.simulator = Simulator(answers, rules_off=off, clock=world.clock.now)
    gateway = Gateway(world.simulator)
    async with world.open(client=behind(world, gateway), threads="on") as chat:
        turn = await said(chat, "Do a.", stream=stream)

        assert turn.text == "Did it."
        assert turn.remedies == (Remedy.UNTHREAD,)
        assert world.ran == ["act a"]
        assert chat.lost.replies == 1
        assert chat.lost.input_tokens == count_request(gateway.passed[1])
    assert len(gateway.passed[1]["messages"]) == 1


async def test_another_client_is_asked_for_threads_again(world: World) -> None:
    world.script(*(f"Answer {number}." for number in range(9)))
    gateway = Gateway(world.simulator)
    async with world.open(client=behind(world, gateway), threads="auto") as chat:
        for number in range(3):
            await chat.send(f"Message {number}.")
        assert chat.snapshot.thread.unproved
        await chat.configure(client=world.client())
        before = len(world.bodies)
        for number in range(3, 6):
            turn = await chat.send(f"Message {number}.")
            assert turn.remedies == ()
        kinds = [body.get("thread", {}).get("type") for body in world.bodies[before:]]
        assert kinds == ["create", "continue", "continue"]


async def test_a_server_that_holds_the_thread_is_continued_message_after_message(
    world: World,
) -> None:
    """Long messages, tools and thinking too: no false alarm, and nothing is lost."""
    world.script(
        "One.",
        call("look", path="a"),
        call("look", path="b"),
        "Two.",
        "Three.",
        "Four. " * 200,
        "Five.",
    )
    thinking = {"type": "adaptive"}
    async with world.open(threads="on", settings={"thinking": thinking}) as chat:
        for words in ("1", "2", "3 " * 40, "4", "5"):
            turn = await chat.send(words)
            assert turn.remedies == ()
        assert chat.lost.replies == 0
        kinds = [body["thread"]["type"] for body in world.bodies]
        assert kinds == ["create", *["continue"] * 6]


async def test_a_message_longer_than_the_conversation_makes_a_new_thread(
    world: World,
) -> None:
    """Its count could not show that there is a copy; and there is little to save."""
    world.script(*(f"Answer {number}." for number in range(9)))
    async with world.open(threads="auto") as chat:
        for words in ("short", "long " * 2_000, "short", "long " * 20_000, "short"):
            turn = await chat.send(words)
            assert turn.remedies == ()
        kinds = [body["thread"]["type"] for body in world.bodies]
        assert kinds == ["create", "create", "continue", "create", "continue"]


@pytest.mark.parametrize(
    "fault",
    [
        '400 message="messages.0.content.0.text: no" on thread forever',
        '400 message="nobody knows" on thread forever',
        "413 on thread forever",
        '400 message="prompt is too long: 9000 tokens > 8000 maximum" on thread forever',
    ],
)
@pytest.mark.parametrize("threads", ["on", "auto"])
async def test_whatever_a_continuation_is_refused_for_costs_no_part_of_the_history(
    world: World, fault: str, threads: str
) -> None:
    world.script(*(f"Answer {number}." for number in range(9)), faults=fault)
    async with world.open(threads=threads) as chat:
        for number in range(5):
            turn = await chat.send(f"Message {number}.")
            assert turn.state is TurnState.CONFIRMED
            assert set(turn.remedies) <= {Remedy.REPLAY}
            assert chat.snapshot.view.ops == ()
            assert opening(world.bodies[-1]) == "Message 0."


async def test_a_server_that_knows_no_threads_and_does_not_say_so_is_answered(
    world: World,
) -> None:
    """A definite no to the field, in words that nobody knows."""
    unknown = '400 message="Unknown parameter" body="\\"thread\\"" forever'
    world.script("One.", "Two.", "Three.", faults=unknown)
    async with world.open(threads="auto") as chat:
        first = await chat.send("1")
        second = await chat.send("2")

        assert first.remedies == (Remedy.UNTHREAD,)
        assert (first.text, second.text) == ("One.", "Two.")
        assert second.remedies == (), "it is remembered"

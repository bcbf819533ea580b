"""What was refused for what is in it is known again, wherever it appears: it costs a turn
once, and no turn after that."""

import json
import random
from typing import Any

import pytest
from tests.harness.media import Block, image, png, words
from tests.harness.world import World

from turnlatch import FaultKind, Remedy, Tool, TurnState, tool
from turnlatch.simulator import (
    Answer,
    ClientCall,
    Scripted,
    Seeded,
    Simulator,
    Text,
    call,
)

pytestmark = pytest.mark.anyio

BAD, GOOD = image(png(31, 31)), image(png(20, 20))
SENT = json.dumps(BAD["source"]["data"])[1:40]
ODD = f'400 message="Could not process image" body="{SENT}" forever'
NOTE = "[Left out: the service refuse"


def gives(*blocks: Block) -> Tool:
    """A tool that gives these blocks whenever it is called."""

    @tool(effect="safe")
    async def shoot() -> list[Block]:
        """Take a picture."""
        return list(blocks)

    return shoot


class Looks:
    """Takes a picture for every message, and then says what it saw."""

    def answer(self, request: Any, rng: random.Random, /) -> Answer:
        del rng
        last = request["messages"][-1]["content"]
        seen = any(block["type"] == "tool_result" for block in last)
        return Answer((Text("I see."),) if seen else (ClientCall("shoot"),))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("blocks", [(BAD,), (words("Here."), BAD)])
async def test_a_tool_that_gives_the_same_bad_picture_costs_one_turn(
    world: World, blocks: tuple[Block, ...]
) -> None:
    """The refusal names no place: the search finds it once, and it is known by then."""
    world.simulator = Simulator(Looks(), clock=world.clock.now)
    world.simulator.inject(ODD)
    async with world.open(tools=[gives(*blocks)]) as chat:
        turns = [await chat.send(f"Look {number}") for number in range(6)]

        assert [turn.state for turn in turns[1:]] == [TurnState.CONFIRMED] * 5
        assert [turn.text for turn in turns[2:]] == ["I see."] * 4
        assert [turn.requests for turn in turns[2:]] == [2] * 4
        known = chat.snapshot.known_bad
    async with world.open(tools=[gives(*blocks)]) as again:
        assert again.snapshot.known_bad == known != frozenset()
        turn = await again.send("Look again")
        assert (turn.text, turn.requests) == ("I see.", 2), "and after a reload"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_check_sees_an_engine_that_forgets(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: what was refused is known by its place only."""

    def forgets(_: object) -> None:
        """Nothing is known."""

    monkeypatch.setattr("turnlatch_states.effects.next_effect.without_known", forgets)
    world.simulator = Simulator(Looks(), clock=world.clock.now)
    world.simulator.inject(ODD)
    async with world.open(tools=[gives(BAD)]) as chat:
        turns = [await chat.send(f"Look {number}") for number in range(4)]

    assert TurnState.FAILED in [turn.state for turn in turns[1:]]


PATHS = "messages.0.content.0,messages.2.content.0.tool_result.content.0"
MANY = (
    "400 code=image_dimensions_too_large message="
    '"At least one of the image dimensions exceeds 2000 pixels" '
)


@pytest.mark.parametrize("stream", [False, True])
async def test_everything_that_is_named_at_once_is_noted_at_once(
    world: World, stream: bool
) -> None:
    world.script(call("shoot"), "One.", "Two.")
    async with world.open(tools=[gives(GOOD, words("Here."), BAD)]) as chat:
        await chat.send([BAD, {"type": "text", "text": "Look"}])
        paths = f"{PATHS},messages.2.content.0.tool_result.content.2"
        world.simulator.inject(f'{MANY} paths="{paths}" times 1')
        turn = await (chat.stream("2").turn() if stream else chat.send("2"))

        assert turn.state is TurnState.CONFIRMED
        assert turn.remedies == (Remedy.STUB,)
        assert turn.requests == 2
        first, _, result = world.bodies[-1]["messages"][:3]
        assert NOTE in first["content"][0]["text"]
        assert first["content"][1]["text"] == "Look"
        kinds = [one["type"] for one in result["content"][0]["content"]]
        assert kinds == ["text", "text", "text"]
        assert result["content"][0]["content"][1] == words("Here.")


async def test_known_refusal_is_kept_over_a_retry(world: World) -> None:
    """Two refusals, each naming one picture; then the budget of the turn is over, and
    whoever asks again need not find out once more."""
    world.script(call("shoot"), "Done.")
    one, two = "messages.2.content.0.content.0", "messages.2.content.0.content.1"
    async with world.open(tools=[gives(BAD, GOOD)]) as chat:
        world.simulator.inject(f'400 message="{one}: bad" @2')
        world.simulator.inject(f'400 message="{two}: bad" @3')
        world.simulator.inject("401 @4")
        stopped = await chat.send("Look")
        assert stopped.state is TurnState.FAILED
        turn = await chat.retry()

        assert turn.text == "Done."
        assert len(world.bodies) == 5
        result = world.bodies[-1]["messages"][2]["content"][0]
        assert all(NOTE in part["text"] for part in result["content"])


async def test_the_users_own_is_never_replaced_and_costs_nothing_twice(
    world: World,
) -> None:
    """It fails and names the block; said again, at once; asked for, it is sent."""
    world.script("Fine.", "Done.")
    named = f'400 message="messages.0.content.1: bad" body="{SENT}" times 1'
    said = [{"type": "text", "text": "Look"}, BAD]
    async with world.open(tools=[]) as chat:
        world.simulator.inject(named)
        first = await chat.send(said)
        assert first.state is TurnState.FAILED
        assert len(world.bodies) == 1
        again = await chat.send(said)
        assert again.state is TurnState.FAILED
        assert again.fault is not None
        assert again.fault.kind is FaultKind.BLOCK
        assert again.fault.path == "messages.0.content.1"
        assert "messages.0.content.1" in again.fault.message
        assert len(world.bodies) == 1, "nothing was sent"
        asked = await chat.retry()
        assert asked.state is TurnState.CONFIRMED
        assert world.bodies[-1]["messages"][0]["content"][1]["type"] == "image"
        other = await chat.send("Something else")
        assert other.state is TurnState.CONFIRMED


async def test_another_picture_is_not_taken_for_it(world: World) -> None:
    world.simulator = Simulator(
        Scripted([call("shoot"), "One.", call("good"), "Two."], then=Seeded(0)),
        clock=world.clock.now,
    )

    @tool(effect="safe")
    async def good() -> list[Block]:
        """Take another picture."""
        return [GOOD]

    world.simulator.inject('400 message="messages.2.content.0.content.0: bad" @2')
    async with world.open(tools=[gives(BAD), good]) as chat:
        await chat.send("Look")
        turn = await chat.send("Look again")

        assert turn.remedies == ()
        assert world.bodies[-1]["messages"][-1]["content"][0]["content"] == [GOOD]

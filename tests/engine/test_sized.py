"""A length that is refused in words that nobody knows is told from a part by trials: it
costs the message that discovers it, and no other."""

import pytest
from tests.engine.test_other_words import WINDOW, between
from tests.harness.world import World

from turnlatch import Remedy, TurnState
from turnlatch.simulator import Seeded, Simulator
from turnlatch_states.request.view import Hide

pytestmark = pytest.mark.anyio

UNKNOWN = "the request could not be processed"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_length_in_unknown_words_is_found_and_learnt(world: World) -> None:
    server, client = between(world, lambda _p, _r: UNKNOWN)
    async with world.open(client=client, tools=[]) as chat:
        turns = [await chat.send(f"{n} " + "word " * 1_000) for n in range(30)]

        failed = [n for n, turn in enumerate(turns) if turn.state is TurnState.FAILED]
        assert len(failed) == 1, "once proves nothing"
        found = turns[failed[0] + 1]
        assert found.remedies[0] is Remedy.MAKE_ROOM
        window = chat.snapshot.window
        assert window is not None
        assert WINDOW <= window <= WINDOW * 1.25
        assert chat.snapshot.base is not None
        hidden = [op for op in chat.snapshot.view.ops if isinstance(op, Hide)]
        assert hidden == [], "nothing is left out for it"
        before = server.refused
        assert [turn.requests <= 2 for turn in turns[failed[0] + 2 :]] == [True] * (
            28 - failed[0]
        )
        assert server.refused == before
    async with world.open(client=client, tools=[]) as again:
        assert again.snapshot.window == window, "and after a reload"
    world.simulator = Simulator(Seeded(0))  # what was refused on purpose is no slip


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_part_that_is_refused_is_still_a_part(world: World) -> None:
    """Planted, as it were: without another part of that size it is refused as before."""
    world.script(*(f"Answer {n}. " + "word " * 50 for n in range(12)))
    async with world.open(tools=[]) as chat:
        for words in ("one", "poison", "three", "four"):
            await chat.send(f"{words} " + "word " * 100)
        world.simulator.inject(f'400 message="{UNKNOWN}" body=poison forever')
        first = await chat.send("five")
        second = await chat.send("six")

        assert first.state is TurnState.FAILED
        assert second.state is TurnState.CONFIRMED
        assert second.remedies == (Remedy.BISECT,)
        assert chat.snapshot.window is None
        assert "poison" not in str(world.bodies[-1])
        assert "three" in str(world.bodies[-1])

"""What counts as time of a turn, and what asking again grants."""

import anyio
import pytest
from tests.harness.world import World

from turnlatch import Conversation, FaultKind, Limits, TurnState, tool
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio

MINUTE = Limits(seconds_per_turn_max=60)


@pytest.mark.parametrize("decision", ["approve", "deny", "approve after a restart"])
async def test_a_person_may_take_any_time_to_decide(
    world: World, decision: str
) -> None:
    world.script(call("ask", what="a"), "Done.")
    async with world.open(limits=MINUTE) as chat:
        waiting = (await chat.send("Go")).awaiting[0]
        await world.clock.sleep(3600)
        if not decision.endswith("restart"):
            decide = chat.deny if decision == "deny" else chat.approve
            assert (await decide(waiting.id)).text == "Done."
            return
    await world.clock.sleep(3600)
    async with world.open(limits=MINUTE) as chat:
        assert (await chat.approve(waiting.id)).text == "Done."


async def test_the_work_before_and_after_the_decision_counts_together(
    world: World,
) -> None:
    @tool(effect="safe")
    async def work(seconds: int) -> str:
        """Work for some time."""
        await world.clock.sleep(seconds)
        return "worked"

    world.script(
        call("work", seconds=40),
        call("ask", what="a"),
        call("work", seconds=40),
        "Done.",
    )
    async with world.open(limits=MINUTE, tools=[work, *world.tools()]) as chat:
        waiting = (await chat.send("Go")).awaiting[0]
        await world.clock.sleep(3600)
        turn = await chat.approve(waiting.id)
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.BUDGET
        turn = await chat.retry()
        assert turn.text == "Done.", turn.fault


@pytest.mark.parametrize("set_to", [0.0, 4_000_000_000.0])
async def test_a_clock_that_is_set_meanwhile_bounds_nothing(
    world: World, set_to: float
) -> None:
    @tool(effect="safe")
    async def work() -> str:
        """Have the machine's clock set while it works."""
        world.clock.set(set_to)
        return "worked"

    world.script(call("work"), "Done.")
    async with world.open(limits=MINUTE, tools=[work]) as chat:
        assert (await chat.send("Go")).text == "Done."


async def test_a_clock_that_is_set_back_frees_no_turn_of_its_bound(
    world: World,
) -> None:
    @tool(effect="safe")
    async def work() -> str:
        """Work too long, and have the clock set back."""
        await world.clock.sleep(61)
        world.clock.set(0.0)
        return "worked"

    world.script(call("work"), "Done.")
    async with world.open(limits=MINUTE, tools=[work]) as chat:
        turn = await chat.send("Go")
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.BUDGET


async def _interrupted_in(chat: Conversation, inside: anyio.Event) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(chat.compact)
        await inside.wait()
        assert await chat.interrupt()


async def test_asking_again_grants_all_the_time_even_where_nothing_was_sent(
    world: World,
) -> None:
    """The turn was stopped before its first request, and its time was over."""
    inside = anyio.Event()

    async def hook(plan: object) -> None:
        if not inside.is_set():
            inside.set()
            await anyio.sleep_forever()

    world.script("Hello.")
    async with world.open(limits=MINUTE, before_compaction=hook) as chat:
        await chat.send("Hi")
        await _interrupted_in(chat, inside)
        await world.clock.sleep(100)
        turn = await chat.retry()
        assert turn.state is TurnState.CONFIRMED, turn.fault


async def test_every_time_it_is_asked_it_grants_as_much_again(world: World) -> None:
    @tool(effect="safe")
    async def work(n: int) -> str:
        """Work for longer than a turn may."""
        await world.clock.sleep(61)
        return str(n)

    world.script(*(call("work", n=n) for n in range(3)), "Done.")
    async with world.open(limits=MINUTE, tools=[work]) as chat:
        turn = await chat.send("Go")
        for _ in range(2):
            assert turn.fault is not None
            assert turn.fault.kind is FaultKind.BUDGET
            turn = await chat.retry()
        turn = await chat.retry()
        assert turn.text == "Done."

"""Calls between the model and the world: approved, bounded, never mixed up."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from tests.harness.published import recorded
from tests.harness.world import World

from turnlatch import Closing, FaultKind, Limits, ToolCall, TurnState, tool
from turnlatch.journal import SQLiteStore
from turnlatch.simulator import call, reply
from turnlatch_states.machine.events import CallClosed, CallStarted, Event

pytestmark = pytest.mark.anyio


def events(world: World) -> list[Event]:
    """Everything the journal records."""
    store = SQLiteStore(world.store)
    try:
        return [entry.event for entry in store.read("a")]
    finally:
        store.close()


def named(asked: ToolCall) -> bool:
    return asked.name == "guarded"


def never(_: ToolCall) -> bool:
    return False


async def later_yes(asked: ToolCall) -> bool:
    await anyio.lowlevel.checkpoint()
    return asked.input == {"what": "a"}


def breaks(asked: ToolCall) -> bool:
    raise KeyError(asked.name)


@pytest.mark.parametrize(
    ("approve", "closing", "says"),
    [
        (named, Closing.RESULT, "did a"),
        (later_yes, Closing.RESULT, "did a"),
        (never, Closing.DENIED, "Denied: the tool's approval said no"),
        (breaks, Closing.DENIED, "the approval itself failed: 'guarded'"),
    ],
)
async def test_a_predicate_decides_and_one_that_fails_says_no(
    world: World, approve: Callable[[ToolCall], Any], closing: Closing, says: str
) -> None:
    @tool(effect="ask", approve=approve)
    async def guarded(what: str) -> str:
        """Do something guarded."""
        return f"did {what}"

    world.script(call("guarded", what="a"), "Fine.")
    async with world.open(tools=[guarded]) as chat:
        turn = await chat.send("Go")

    assert turn.state is TurnState.CONFIRMED
    assert turn.calls[0].closing is closing
    assert says in json.loads(turn.calls[0].result)["content"]


async def test_no_more_calls_run_at_once_than_allowed_and_all_of_them_run(
    world: World,
) -> None:
    running = most = 0

    @tool(effect="safe")
    async def count(number: int) -> str:
        """Count who runs."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        running -= 1
        return str(number)

    world.script(reply(*[call("count", number=n) for n in range(7)]), "Done.")
    async with world.open(tools=[count], limits=Limits(calls_parallel_max=2)) as chat:
        events = [h async for h in chat.stream("Go")]
        turn = chat.turn

    assert most == 2
    assert turn is not None
    said = [json.loads(c.result)["content"] for c in turn.calls]
    assert said == [str(n) for n in range(7)], "results stand in the order of the calls"
    assert len(recorded(events, CallStarted)) == 7


@pytest.mark.parametrize("at_once", [1, 2, 8])
async def test_calls_begin_in_the_order_of_the_reply(
    world: World, at_once: int
) -> None:
    """Trio begins a batch of tasks from the front or from the back, by a coin."""
    began: list[int] = []

    @tool(effect="safe")
    async def note(number: int) -> str:
        """Note that it began."""
        began.append(number)
        await anyio.lowlevel.checkpoint()
        return str(number)

    asks = reply(*[call("note", number=n) for n in range(10)])
    world.script(*(asks, "Done.") * 8)
    limits = Limits(calls_parallel_max=at_once)
    async with world.open(tools=[note], limits=limits) as chat:
        for _ in range(8):
            turn = await chat.send("Go")
            said = [json.loads(one.result)["content"] for one in turn.calls]
            assert said == [str(n) for n in range(10)]

    assert began == list(range(10)) * 8


async def test_one_at_a_time_each_call_ends_before_the_next_begins(
    world: World,
) -> None:
    noted: list[str] = []

    @tool
    def plain(number: int) -> str:
        """Run in a thread."""
        noted.append(f"{number} begins")
        noted.append(f"{number} ends")
        return "done"

    @tool
    async def waits(number: int) -> str:
        """Wait a while, the first ones longest."""
        noted.append(f"{number} begins")
        for _ in range(9 - number):
            await anyio.lowlevel.checkpoint()
        noted.append(f"{number} ends")
        return "done"

    names = ("waits", "plain") * 4
    world.script(
        reply(*[call(name, number=n) for n, name in enumerate(names)]), "Done."
    )
    limits = Limits(calls_parallel_max=1)
    async with world.open(tools=[plain, waits], limits=limits) as chat:
        await chat.send("Go")

    assert noted == [f"{n} {what}" for n in range(8) for what in ("begins", "ends")]


async def test_the_same_call_has_the_same_key_and_another_has_another(
    world: World,
) -> None:
    keys: list[str] = []

    @tool
    async def pay(amount: int, idempotency_key: str) -> str:
        """Pay."""
        keys.append(idempotency_key)
        return "paid"

    world.script(reply(call("pay", amount=1), call("pay", amount=1)), "Done.")
    async with world.open(tools=[pay]) as chat:
        turn = await chat.send("Go")
    recorded = [e.key for e in events(world) if isinstance(e, CallStarted)]

    assert len(set(keys)) == 2
    assert sorted(keys) == sorted(recorded)
    assert turn.calls[0].name == "pay"


async def test_a_huge_result_is_cut_for_the_model_and_kept_in_the_journal(
    world: World,
) -> None:
    @tool(effect="safe", max_output=100)
    async def flood() -> str:
        """Say far too much."""
        return "x" * 5000

    world.script(call("flood"), "Much.")
    async with world.open(tools=[flood]) as chat:
        await chat.send("Go")
    outputs = [e.output for e in events(world) if isinstance(e, CallClosed)]

    assert len(json.dumps(world.bodies[-1])) < 3000
    assert outputs == [b"x" * 5000]


async def test_a_retry_that_makes_no_sense_is_refused(world: World) -> None:
    from turnlatch import IllegalEventError

    world.script("One.", faults='400 message="No." @2')
    async with world.open() as chat:
        for impossible in (chat.retry, chat.abandon):
            with pytest.raises(IllegalEventError):
                await impossible()
        await chat.send("1")
        for impossible in (chat.retry, chat.abandon):
            with pytest.raises(IllegalEventError):
                await impossible()
        failed = await chat.send("2")
        assert failed.fault is not None
        assert failed.fault.kind is FaultKind.INVALID
        await chat.abandon()
        with pytest.raises(IllegalEventError):
            await chat.retry()
        assert len(chat.history) == 1

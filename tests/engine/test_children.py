"""A child's work is its own: durable before it is told, and never done twice."""

import json
from typing import Any

import anyio
import pytest
from tests.around import append_now
from tests.harness.world import World

from turnlatch import (
    Closing,
    Limits,
    NoRunningCallError,
    RetryPolicy,
    RunningCall,
    ToolDefinitionError,
    TurnState,
    child_tool,
    running_call,
    tool,
)
from turnlatch.journal import SQLiteStore
from turnlatch.simulator import call, reply
from turnlatch_states.machine.events import (
    CallClosed,
    CallStarted,
    Event,
    ReplyConfirmed,
)

pytestmark = pytest.mark.anyio

DELEGATES = call("delegate", task="count the stars")
ACTS = reply("First this.", call("act", what="a"))


def delegate(world: World, **options: Any) -> Any:
    """A tool that has a child do a task."""
    given: dict[str, Any] = {
        "tools": world.tools(),
        "system": "You count.",
        **options,
    }
    return child_tool("delegate", "Have somebody count.", **given)


def read(world: World) -> dict[str, list[Event]]:
    """Everything in the store, by conversation."""
    store = SQLiteStore(world.store)
    try:
        names = [one.name for one in store.conversations()]
        return {name: [e.event for e in store.read(name)] for name in names}
    finally:
        store.close()


async def test_last_reply_of_a_subagent_is_the_result_and_its_journal_is_separate(
    world: World,
) -> None:
    world.script(DELEGATES, ACTS, "Seven.", "Seven stars.")
    async with world.open(tools=[delegate(world)], model="claude-opus-5") as chat:
        turn = await chat.send("Go")

        assert turn.text == "Seven stars."
        assert json.loads(turn.calls[0].result)["content"] == "Seven."
    assert world.ran == ["act a"]
    (parent, mine), (child, own) = read(world).items()
    (started,) = (e for e in mine if isinstance(e, CallStarted))
    assert (parent, child) == ("a", f"delegate {started.key}")
    assert sum(isinstance(e, ReplyConfirmed) for e in own) == 2
    told = world.bodies[1]
    assert told["model"] == "claude-opus-5", "the parent's"
    assert told["system"][0]["text"] == "You count."
    assert told["messages"][0]["content"][0]["text"] == "count the stars"


STOPS: dict[str, tuple[str, dict[str, Any], str]] = {
    "overloaded": ("529 @3-9", {"retry": RetryPolicy(attempts_max=2)}, "529"),
    "refused": ("403 @3", {}, "403"),
    "out of requests": ("", {"limits": Limits(requests_per_turn_max=1)}, "1 requests"),
}


@pytest.mark.parametrize("stop", STOPS)
async def test_a_failure_says_why_and_what_was_done(world: World, stop: str) -> None:
    faults, options, why = STOPS[stop]
    world.script(DELEGATES, ACTS, *["I see."] * 9, faults=faults.replace("3-9", "3-4"))
    async with world.open(tools=[delegate(world, **options)]) as chat:
        turn = await chat.send("Go")

        assert turn.calls[0].closing is Closing.ERROR
        told = json.loads(turn.calls[0].result)["content"]
        for word in (why, "act: result", "First this.", "kept in conversation"):
            assert word in told
        assert turn.state is TurnState.CONFIRMED
    assert world.ran == ["act a"]


async def test_one_that_waits_for_a_person_is_not_taken_for_done(world: World) -> None:
    world.script(DELEGATES, call("ask", what="a"), "I see.", "Asked.")
    async with world.open(tools=[delegate(world)]) as chat:
        turn = await chat.send("Go")

        told = json.loads(turn.calls[0].result)["content"]
        assert "a person has to decide about ask" in told
        name = next(name for name in read(world) if name != "a")
        async with world.open(name) as child:
            assert child.turn is not None
            turn = await child.approve(child.turn.awaiting[0].id)
            assert turn.text == "Asked."
    assert world.ran == ["ask a"]


async def test_one_that_takes_too_long_is_stopped_and_its_work_is_kept(
    world: World,
) -> None:
    both = reply(ACTS, call("hang", what="b"))
    world.script(DELEGATES, both, "I see.", "Done.")
    async with world.open(tools=[delegate(world, timeout=0.2)]) as chat:
        turn = await chat.send("Go")

        told = json.loads(turn.calls[0].result)["content"]
        assert "it took over 0.2 s" in told
        assert "act: result" in told
        assert "hang: outcome unknown" in told
        assert turn.state is TurnState.CONFIRMED


async def cut_in_the_child(world: World) -> None:
    """A store as a process leaves it that is killed in the child's second request."""
    world.script(DELEGATES, ACTS, "Seven.", "Seven stars.", "Eight.", "Eight stars.")
    async with world.open(tools=[delegate(world)]) as chat:
        await chat.send("Go")
    records = read(world)
    for tail in ("", "-wal", "-shm", "-head"):
        world.store.with_name(world.store.name + tail).unlink(missing_ok=True)
    store = SQLiteStore(world.store)
    for name, events in records.items():
        last = CallStarted if name == "a" else CallClosed
        end = next(i for i, e in enumerate(events) if isinstance(e, last))
        journal = store.open(name)
        append_now(journal, events[: end + 1])
        journal.close()
    store.close()
    world.ran.clear()


async def test_after_a_crash_the_same_child_goes_on_and_does_nothing_twice(
    world: World,
) -> None:
    await cut_in_the_child(world)
    async with world.open(tools=[delegate(world)]) as chat:
        turn = await chat.retry()

        assert turn.text == "Eight stars."
        assert json.loads(turn.calls[0].result)["content"] == "Eight."
    assert world.ran == []
    assert len(read(world)) == 2


async def test_after_a_crash_another_message_tells_what_is_known_and_does_nothing(
    world: World,
) -> None:
    await cut_in_the_child(world)
    async with world.open(tools=[delegate(world)]) as chat:
        turn = await chat.send("Never mind")

        assert turn.text == "Eight."
        (result, _) = world.bodies[-1]["messages"][-1]["content"]
        assert "act: result" in result["content"]
        assert "Stopped before it was done" in result["content"]
    assert world.ran == []


async def test_two_at_once_are_two_children(world: World) -> None:
    two = reply(call("delegate", task="one"), call("delegate", task="two"))
    world.script(two)
    async with world.open(tools=[delegate(world, tools=[])]) as chat:
        turn = await chat.send("Go")

        assert [c.closing for c in turn.calls] == [Closing.RESULT] * 2
    assert len(read(world)) == 3


async def test_a_parent_that_is_stopped_stops_its_child(world: World) -> None:
    world.script(DELEGATES, call("hang", what="b"), "I see.")
    async with world.open(tools=[delegate(world)]) as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "Go")
            while not world.ran:
                await anyio.lowlevel.checkpoint()
            await chat.interrupt()
        assert chat.state is TurnState.FAILED
        turn = await chat.send("And?")
        assert turn.state is TurnState.CONFIRMED
    name = next(name for name in read(world) if name != "a")
    async with world.open(name) as child:  # nobody holds it any more
        assert child.state is TurnState.FAILED


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_tool_can_ask_what_it_runs_for(world: World, threaded: bool) -> None:
    found: list[RunningCall] = []

    @tool(effect="safe", name="ask_around")
    async def asynchronous() -> str:
        """Ask around."""
        found.append(running_call())
        return "asked"

    @tool(effect="safe", name="ask_around")
    def plain() -> str:
        """Ask around."""
        found.append(running_call())
        return "asked"

    world.script(call("ask_around"), "Good.")
    async with world.open(tools=[plain if threaded else asynchronous]) as chat:
        turn = await chat.send("Go")
    started = [e for e in read(world)["a"] if isinstance(e, CallStarted)]

    (one,) = found
    assert (one.conversation, one.turn, one.call) == ("a", 1, turn.calls[0].id)
    assert one.key == started[0].key
    with pytest.raises(NoRunningCallError):
        running_call()


def test_subagent_that_cannot_be_opened_is_refused_when_it_is_declared() -> None:
    with pytest.raises(TypeError):
        child_tool("delegate", "Have somebody do it.", colour="blue")
    with pytest.raises(ToolDefinitionError):
        child_tool("no name", "Have somebody do it.")

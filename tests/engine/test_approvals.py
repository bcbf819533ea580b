"""A yes is for exactly one call, counts once, and waits for nobody for ever."""

from typing import Any

import pytest
from tests.around import append_now
from tests.harness.world import World

from turnlatch import (
    ApprovalError,
    CallState,
    IllegalEventError,
    SettingsError,
    Tool,
    ToolCall,
    TurnState,
    tool,
)
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio


async def test_a_yes_that_is_given_twice_runs_it_once(world: World) -> None:
    world.script(reply(call("ask", what="a"), call("ask", what="b")), "Done.")
    async with world.open() as chat:
        turn = await chat.send("Go")
        first, second = (c.id for c in turn.awaiting)
        await chat.approve(first)
        with pytest.raises(IllegalEventError):
            await chat.approve(first)
        with pytest.raises(IllegalEventError):
            await chat.deny(first)
        assert world.ran == []
        await chat.approve(second)

    assert sorted(world.ran) == ["ask a", "ask b"]


def other_ask(world: World) -> Tool:
    """A tool of the same name that would do something else."""

    @tool(effect="ask", name="ask")
    async def ask(what: str, everywhere: bool = True) -> str:
        """Do something a person decides."""
        world.ran.append(f"other ask {what}")
        return "done everywhere"

    return ask


async def test_question_about_a_changed_call_is_asked_again(world: World) -> None:
    world.script(call("ask", what="a"), "Done.")
    async with world.open() as chat:
        turn = await chat.send("Go")
        (shown,) = turn.awaiting
    async with world.open(tools=[other_ask(world)]) as chat:
        with pytest.raises(ApprovalError, match="has changed since it was shown"):
            await chat.approve(shown.id)
        assert world.ran == []
        assert chat.turn is not None
        (waiting,) = chat.turn.awaiting
        assert waiting.digest != shown.digest
        with pytest.raises(ApprovalError, match="has changed since it was shown"):
            await chat.approve(shown.id, digest=shown.digest)
        turn = await chat.approve(waiting.id, digest=waiting.digest)

        assert turn.text == "Done."
    assert world.ran == ["other ask a"]


async def test_a_yes_is_void_where_the_call_changed_before_it_started(
    world: World,
) -> None:
    """Two calls wait; one is said yes to, and then the process ends."""
    world.script(reply(call("ask", what="a"), call("ask", what="b")), "Done.")
    async with world.open() as chat:
        turn = await chat.send("Go")
        first, second = turn.awaiting
        await chat.approve(first.id)
    tools = [other_ask(world)]
    async with world.open(tools=tools) as chat:
        turn = await chat.deny(second.id)

        assert world.ran == []
        assert [c.id for c in turn.awaiting] == [first.id]
        await chat.approve(first.id)
    assert world.ran == ["other ask a"]


def only_small(asked: ToolCall) -> bool | None:
    """A rule that leaves what it does not know to a person."""
    return True if asked.input["amount"] < 10 else None


async def test_a_rule_can_leave_a_call_to_a_person(world: World) -> None:
    paid: list[int] = []

    @tool(approve=only_small)
    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    world.script(reply(call("pay", amount=1), call("pay", amount=99)), "Paid.")
    async with world.open(tools=[pay]) as chat:
        turn = await chat.send("Go")

        assert paid == [1]
        assert [c.input for c in turn.awaiting] == [{"amount": 99}]
        assert turn.awaiting[0].state is CallState.ASKED
        turn = await chat.approve(turn.awaiting[0].id)
        assert turn.state is TurnState.CONFIRMED
    assert paid == [1, 99]


async def test_call_that_only_waits_for_a_retry_is_not_a_question(world: World) -> None:
    """What was never started, and needs no yes, is not shown as if it did."""
    from turnlatch.journal import SQLiteStore
    from turnlatch_states.machine.events import ReplyConfirmed

    world.script(call("act", what="a"), "Done.", "Done.")
    async with world.open("whole") as chat:
        await chat.send("Go")
    store = SQLiteStore(world.store)
    events: list[Any] = [entry.event for entry in store.read("whole")]
    cut = next(i for i, e in enumerate(events) if isinstance(e, ReplyConfirmed))
    append_now(store.open("cut"), events[: cut + 1])
    store.close()
    world.ran.clear()
    async with world.open("cut") as chat:
        assert chat.turn is not None
        assert chat.turn.awaiting == ()
        turn = await chat.retry()

        assert turn.text == "Done."
    assert world.ran == ["act a"]


@pytest.mark.parametrize("reason", [None, 5, b"no"])
async def test_reason_that_is_not_text_is_refused_and_the_call_still_waits(
    world: World, reason: Any
) -> None:
    world.script(reply(call("ask", what="a")), "Done.")
    async with world.open() as chat:
        turn = await chat.send("go")
        with pytest.raises(SettingsError):
            await chat.deny(turn.awaiting[0].id, reason)

        assert chat.turn is not None
        assert chat.turn.awaiting == turn.awaiting
        assert (await chat.deny(turn.awaiting[0].id)).text == "Done."

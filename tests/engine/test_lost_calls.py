"""Calls whose end nobody saw: found out about where possible, and never made up."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from tests.around import append_now
from tests.harness.world import World, mentions

from turnlatch import (
    CallState,
    Closing,
    Conversation,
    CorrectableToolError,
    FaultKind,
    Limits,
    Reconciled,
    TerminalToolError,
    Tool,
    Turn,
    TurnState,
    tool,
)
from turnlatch.journal import SQLiteStore
from turnlatch.simulator import call, reply
from turnlatch_states.machine.events import (
    CallClosed,
    CallStarted,
    ConversationOpened,
    Event,
)

pytestmark = pytest.mark.anyio


def recorded(world: World, name: str = "a") -> list[Event]:
    """Everything the journal records of a conversation."""
    store = SQLiteStore(world.store)
    try:
        return [entry.event for entry in store.read(name)]
    finally:
        store.close()


async def killed_in_the_call(world: World, tools: list[Tool], **options: Any) -> str:
    """A conversation as a process leaves it that is killed while its call runs.

    It is the record of a whole turn, cut behind the start of its first call.
    """
    async with world.open("whole", tools=tools, **options) as chat:
        await chat.send("Go")
    events = recorded(world, "whole")
    cut = next(i for i, e in enumerate(events) if isinstance(e, CallStarted))
    store = SQLiteStore(world.store)
    journal = store.open("cut")
    assert isinstance(events[0], ConversationOpened)
    append_now(journal, events[: cut + 1])
    store.close()
    world.ran.clear()
    return "cut"


def payment(world: World, reconcile: Callable[[str], Any] | None) -> Tool:
    @tool(effect="once", reconcile=reconcile)
    async def pay(amount: int, idempotency_key: str) -> str:
        """Pay."""
        world.ran.append(f"pay {amount} {idempotency_key}")
        return "paid"

    return pay


def says(chat: Conversation) -> str:
    turn = chat.turn
    assert turn is not None
    return str(json.loads(turn.calls[0].result)["content"])


async def test_reconciled_outcome_is_the_result_and_the_call_does_not_run_again(
    world: World,
) -> None:
    keys: list[str] = []

    async def ask_the_bank(key: str) -> str:
        keys.append(key)
        return "paid before"

    pay = payment(world, ask_the_bank)
    world.script(call("pay", amount=1), "Paid.", "Good.")
    name = await killed_in_the_call(world, [pay])
    async with world.open(name, tools=[pay]) as chat:
        assert chat.turn is not None
        assert chat.turn.calls[0].state is CallState.UNKNOWN
        turn = await chat.retry()

        assert turn.state is TurnState.CONFIRMED
        assert says(chat) == "paid before"
        assert turn.calls[0].closing is Closing.RESULT
    assert world.ran == []
    started = [e.key for e in recorded(world, name) if isinstance(e, CallStarted)]
    assert keys == started


def never_was(_: str) -> Reconciled:
    return Reconciled.NOT_DONE


def cannot_tell(_: str) -> Reconciled:
    return Reconciled.UNKNOWN


def is_down(_: str) -> str:
    raise ConnectionError("the bank is closed")


def was_refused(_: str) -> str:
    raise CorrectableToolError("no such account")


def hands_back(answer: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same, by a plain function that hands back what has to be awaited."""

    async def later(key: str) -> object:
        return answer(key)

    def hand_back(key: str) -> object:
        return later(key)

    hand_back.__name__ = f"hands back what {answer.__name__}"
    return hand_back


def was_paid(_: str) -> str:
    return "paid before"


def has_no_words(_: str) -> object:
    return object()


def finds_nothing(_: str) -> None:
    return None


async def cancels_itself(_: str) -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("reconcile", "closing", "told"),
    [
        (hands_back(never_was), Closing.NOT_EXECUTED, "Not executed"),
        (hands_back(cannot_tell), Closing.UNKNOWN, "outcome unknown"),
        (hands_back(is_down), Closing.UNKNOWN, "outcome unknown"),
        (hands_back(was_refused), Closing.ERROR, "no such account"),
        (hands_back(was_paid), Closing.RESULT, "paid before"),
        (has_no_words, Closing.UNKNOWN, "outcome unknown"),
        (finds_nothing, Closing.UNKNOWN, "outcome unknown"),
        (cancels_itself, Closing.UNKNOWN, "outcome unknown"),
        (never_was, Closing.NOT_EXECUTED, "Not executed"),
        (cannot_tell, Closing.UNKNOWN, "outcome unknown"),
        (is_down, Closing.UNKNOWN, "outcome unknown"),
        (was_refused, Closing.ERROR, "no such account"),
        (None, Closing.UNKNOWN, "outcome unknown"),
    ],
)
@pytest.mark.parametrize("go_on", ["retry", "send"])
async def test_call_without_recorded_end_is_reported_as_reconcile_knows_it(
    world: World,
    reconcile: Callable[[str], Any] | None,
    closing: Closing,
    told: str,
    go_on: str,
) -> None:
    pay = payment(world, reconcile)
    world.script(call("pay", amount=1), "Paid.", "Good.")
    name = await killed_in_the_call(world, [pay])
    async with world.open(name, tools=[pay]) as chat:
        turn = await (chat.retry() if go_on == "retry" else chat.send("And now?"))

        assert turn.state is TurnState.CONFIRMED
    closed = [e for e in recorded(world, name) if isinstance(e, CallClosed)]
    assert world.ran == []
    assert mentions(world.bodies[-1], told)
    assert [e.closing for e in closed] == [closing]


async def test_a_call_that_is_safe_now_and_was_not_then_is_not_made_again(
    world: World,
) -> None:
    @tool(effect="once")
    async def look(path: str) -> str:
        """Look at something."""
        return path

    world.script(call("look", path="a"), "Seen.", "I see.")
    name = await killed_in_the_call(world, [look])
    async with world.open(name) as chat:
        await chat.retry()

        assert "outcome unknown" in says(chat)
    assert world.ran == []


async def test_a_call_past_its_time_is_asked_about_too(world: World) -> None:
    @tool(timeout=0.5, reconcile=lambda key: f"done as {len(key)}")
    async def slow() -> str:
        """Be slow."""
        await anyio.sleep_forever()
        return ""

    world.script(call("slow"), "Good.")
    async with world.open(tools=[slow]) as chat:
        turn = await chat.send("Go")

        assert turn.calls[0].closing is Closing.RESULT
        assert says(chat) == "done as 32"


async def test_correctable_failure_is_sent_word_for_word(world: World) -> None:
    @tool
    async def pay(amount: int) -> str:
        """Pay."""
        raise CorrectableToolError(f"{amount} is more than the limit of 5")

    world.script(call("pay", amount=9), "Less then.")
    async with world.open(tools=[pay]) as chat:
        turn = await chat.send("Go")

        assert says(chat) == "9 is more than the limit of 5"
        assert turn.calls[0].closing is Closing.ERROR
        assert turn.text == "Less then."


async def test_a_terminal_failure_stops_the_turn_once_its_calls_have_ended(
    world: World,
) -> None:
    @tool
    async def log_in() -> str:
        """Log in."""
        raise TerminalToolError("the account is locked")

    tools = [*world.tools(), log_in]
    world.script(reply(call("log_in"), call("act", what="a")), "I see.")
    async with world.open(tools=tools) as chat:
        turn = await chat.send("Go")

        assert turn.state is TurnState.FAILED
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.TOOL
        assert "the account is locked" in turn.fault.message
        assert [c.closing for c in turn.calls] == [Closing.ERROR, Closing.RESULT]
        assert len(world.bodies) == 1

        again = await chat.retry()
        assert again.text == "I see."
        assert mentions(world.bodies[-1], "the account is locked")


async def test_same_call_with_the_same_result_is_bounded(
    world: World,
) -> None:
    world.script(*[call("look", path="a")] * 5, "Enough.")  # told once, then let again
    async with world.open(limits=Limits(repeats_max=3)) as chat:
        turn = await chat.send("Go")

        assert turn.text == "Enough."
        assert world.ran == ["look a"] * 4
        assert turn.calls[3].closing is Closing.NOT_EXECUTED
        assert "3 times in a row" in json.loads(turn.calls[3].result)["content"]


async def test_the_same_call_with_another_result_each_time_goes_on(
    world: World,
) -> None:
    @tool(effect="safe")
    async def poll() -> str:
        """Ask whether it is done."""
        world.ran.append("poll")
        return f"{len(world.ran)} of 6"

    world.script(*[call("poll")] * 6, "Done.")
    async with world.open(tools=[poll], limits=Limits(repeats_max=2)) as chat:
        await chat.send("Go")

    assert len(world.ran) == 6


async def test_a_turn_runs_no_more_calls_than_it_may(world: World) -> None:
    answers = [call("act", what=str(n)) for n in range(4)]
    world.script(reply(*answers[:3]), answers[3], "Enough.")
    async with world.open(limits=Limits(calls_per_turn_max=2)) as chat:
        turn = await chat.send("Go")

        assert sorted(world.ran) == ["act 0", "act 1"]
        assert [c.closing for c in turn.calls] == [Closing.RESULT] * 2 + [
            Closing.NOT_EXECUTED
        ] * 2


async def test_a_result_takes_no_more_than_its_share_of_the_room_that_is_left(
    world: World,
) -> None:
    @tool(effect="safe")
    async def flood() -> str:
        """Say far too much."""
        return "x" * 60_000

    world.script(reply(call("flood"), call("flood")), "Much.")
    from turnlatch import CompactionPolicy

    policy = CompactionPolicy(window=12_000)
    async with world.open(tools=[flood], compaction=policy, max_tokens=500) as chat:
        turn = await chat.send("Go")

        assert turn.state is TurnState.CONFIRMED
        assert all(len(c.result) < 7_000 for c in turn.calls)
    outputs = [e.output for e in recorded(world) if isinstance(e, CallClosed)]
    assert outputs == [b"x" * 60_000] * 2


class Unspeakable:
    """Something that cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def cannot_be_shown(_: str) -> Unspeakable:
    return Unspeakable()


def leaves(_: str) -> str:
    raise SystemExit(3)


@pytest.mark.parametrize("reconcile", [cannot_be_shown, leaves])
@pytest.mark.parametrize("go_on", ["retry", "send"])
async def test_unusable_answer_of_reconcile_leaves_the_outcome_unknown(
    world: World, reconcile: Callable[[str], Any], go_on: str
) -> None:
    pay = payment(world, reconcile)
    world.script(call("pay", amount=1), "Paid.", "I see.")
    name = await killed_in_the_call(world, [pay])
    async with world.open(name, tools=[pay]) as chat:
        turn = await (chat.retry() if go_on == "retry" else chat.send("And now?"))

        assert turn.state is TurnState.CONFIRMED
        assert mentions(world.bodies[-1], "outcome unknown")


@pytest.mark.parametrize("stop", ["interrupt", "close"])
async def test_interrupted_reconcile_keeps_the_input_staged(
    world: World, stop: str
) -> None:
    asked = anyio.Event()

    async def for_ever(_: str) -> str:
        asked.set()
        await anyio.sleep_forever()
        return ""

    pay = payment(world, for_ever)
    world.script(call("pay", amount=1), "Paid.", "Good.", "Good.")
    name = await killed_in_the_call(world, [pay])
    found: list[Turn] = []
    with anyio.fail_after(20):
        async with world.open(name, tools=[pay]) as chat:

            async def say() -> None:
                found.append(await chat.send("And now?"))

            async with anyio.create_task_group() as group:
                group.start_soon(say)
                await asked.wait()
                if stop == "interrupt":
                    assert await chat.interrupt()
                else:
                    await chat.close()
        async with world.open(name, tools=[pay]) as chat:
            assert chat.turn == found[0]
            assert found[0].fault is not None
            assert found[0].fault.kind is FaultKind.CANCELLED
            turn = await chat.retry()

            assert turn.text == "Good."
            told = json.dumps(world.bodies[-1])
            assert "outcome unknown" in told
            assert "And now?" in told
    assert world.ran == []

"""Rules and hooks are the caller's code: asked for a bounded time, and never in the way."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from tests.harness.world import World

from turnlatch import (
    CallState,
    Closing,
    CompactionPlan,
    FaultKind,
    Limits,
    ToolCall,
    TurnState,
    tool,
)
from turnlatch.runtime.loop import CallReports, Driver
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio

GUARD_SECONDS = 30
"""Far longer than anything here takes: a hang fails instead of hanging."""


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    """Lets go of every thread that hangs, once the test is over."""
    event = threading.Event()
    yield event
    event.set()


async def never(_: object) -> bool:
    await anyio.sleep_forever()
    return True


def hands_back_never(asked: object) -> object:
    return never(asked)


async def deaf(_: object) -> bool:
    with anyio.CancelScope(shield=True), anyio.move_on_after(0.1):
        await anyio.sleep_forever()
    return True


async def cancels_itself(_: object) -> bool:
    raise asyncio.CancelledError


async def runs_out_of_time(_: object) -> bool:
    with anyio.fail_after(0):
        await anyio.sleep_forever()
    return True


async def later_no(_: object) -> bool:
    return False


async def later_yes(_: object) -> bool:
    return True


def hangs(let_go: threading.Event) -> Callable[[object], bool]:
    def hang(_: object) -> bool:
        return let_go.wait(GUARD_SECONDS)

    return hang


def says_yes(_: object) -> str:
    return "yes"


def says_one(_: object) -> int:
    return 1


def hands_back_no(asked: object) -> object:
    return later_no(asked)


def hands_back_yes(asked: object) -> object:
    return later_yes(asked)


def leaves(_: object) -> bool:
    raise SystemExit(3)


RULES: dict[str, tuple[Any, Closing, str]] = {
    "never answers": (never, Closing.DENIED, "no answer within 0.02 s"),
    "hands back what never answers": (
        hands_back_never,
        Closing.DENIED,
        "no answer within 0.02 s",
    ),
    "does not listen": (deaf, Closing.DENIED, "no answer within 0.02 s"),
    "cancels itself": (
        cancels_itself,
        Closing.DENIED,
        "cancelled by something it awaited",
    ),
    "runs out of its own time": (runs_out_of_time, Closing.DENIED, "TimeoutError"),
    "says yes in words": (says_yes, Closing.DENIED, "neither yes nor no, but str"),
    "says one": (says_one, Closing.DENIED, "neither yes nor no, but int"),
    "hands back a no": (hands_back_no, Closing.DENIED, "said no"),
    "hands back a yes": (hands_back_yes, Closing.RESULT, "paid"),
    "leaves": (leaves, Closing.DENIED, "failed: 3"),
}


@pytest.mark.parametrize("rule", RULES)
async def test_call_that_no_rule_allows_does_not_run(world: World, rule: str) -> None:
    approve, closing, says = RULES[rule]

    @tool(effect="once", approve=approve, timeout=0.02, grace=0.01)
    async def pay(amount: int) -> str:
        """Pay."""
        world.ran.append("pay")
        return "paid"

    world.script(call("pay", amount=1), "I see.")
    with anyio.fail_after(GUARD_SECONDS):
        async with world.open(tools=[pay]) as chat:
            turn = await chat.send("Go")

    assert turn.state is TurnState.CONFIRMED
    assert turn.calls[0].closing is closing
    assert says in json.loads(turn.calls[0].result)["content"]
    assert world.ran == (["pay"] if closing is Closing.RESULT else [])


async def test_a_rule_that_blocks_its_thread_is_a_no_and_the_loop_goes_on(
    world: World, let_go: threading.Event
) -> None:
    @tool(effect="once", approve=hangs(let_go), timeout=0.02, grace=0.01)
    async def pay(amount: int) -> str:
        """Pay."""
        world.ran.append("pay")
        return "paid"

    world.script(call("pay", amount=1), "I see.")
    with anyio.fail_after(GUARD_SECONDS):
        async with world.open(tools=[pay]) as chat:
            turn = await chat.send("Go")

    assert turn.calls[0].closing is Closing.DENIED
    assert world.ran == []


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("stop", ["interrupt", "cancel"])
async def test_a_turn_is_stopped_while_a_rule_is_asked(
    world: World, let_go: threading.Event, stop: str, blocks: bool
) -> None:
    begun = threading.Event()

    async def rule(_: ToolCall) -> bool:
        begun.set()
        await anyio.sleep_forever()
        return True

    def blocking(_: ToolCall) -> bool:
        begun.set()
        return let_go.wait(GUARD_SECONDS)

    @tool(effect="once", approve=blocking if blocks else rule, timeout=600)
    async def pay(amount: int) -> str:
        """Pay."""
        world.ran.append("pay")
        return "paid"

    world.script(call("pay", amount=1), "I see.")
    with anyio.fail_after(GUARD_SECONDS):
        async with world.open(tools=[pay]) as chat:
            async with anyio.create_task_group() as group:
                group.start_soon(chat.send, "Go")
                while not begun.is_set():
                    await anyio.lowlevel.checkpoint()
                if stop == "interrupt":
                    await chat.interrupt()
                else:
                    group.cancel_scope.cancel()
            assert chat.turn is not None
            assert chat.turn.fault is not None
            assert chat.turn.fault.kind is FaultKind.CANCELLED
            assert [c.closing for c in chat.turn.calls] == [Closing.NOT_EXECUTED]
            assert chat.turn.calls[0].state is CallState.CLOSED
    assert world.ran == []


HOOKS: dict[str, Any] = {
    "never answers": never,
    "hands back what never answers": hands_back_never,
    "does not listen": deaf,
    "cancels itself": cancels_itself,
    "runs out of its own time": runs_out_of_time,
    "answers with a number": says_one,
}


@pytest.mark.parametrize("which", ["before_compaction", "after_compaction"])
@pytest.mark.parametrize("hook", HOOKS)
async def test_a_hook_that_does_not_answer_is_as_none(
    world: World,
    hook: str,
    which: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from turnlatch.runtime import perform

    monkeypatch.setattr(perform, "_GRACE_SECONDS", 0.01)
    world.script("One.", "Two.")
    options: dict[str, Any] = {which: HOOKS[hook]}
    limits = Limits(hook_seconds_max=0.02)
    with anyio.fail_after(GUARD_SECONDS), caplog.at_level(logging.ERROR, "turnlatch"):
        async with world.open(limits=limits, **options) as chat:
            await chat.send("1")
            turn = await chat.compact()

            assert turn.state is TurnState.CONFIRMED
            assert chat.snapshot.base is not None
    told = [one for one in caplog.records if "hook" in one.getMessage()]
    assert bool(told) is (which == "before_compaction" or "number" not in hook)


@pytest.mark.parametrize("text", ["Keep \ud800 it.", "Keep it." * 2049], ids=len)
async def test_no_text_of_a_hook_makes_a_request_that_the_api_refuses(
    world: World, text: str
) -> None:
    def says(_: object) -> str:
        return text

    world.script("One.", "Two.")
    async with world.open(before_compaction=says) as chat:
        await chat.send("1")
        turn = await chat.compact()

    assert turn.state is TurnState.CONFIRMED


async def test_a_hook_that_blocks_its_thread_is_as_none(
    world: World, let_go: threading.Event
) -> None:
    world.script("One.", "Two.")
    limits = Limits(hook_seconds_max=0.02)
    with anyio.fail_after(GUARD_SECONDS):
        async with world.open(limits=limits, before_compaction=hangs(let_go)) as chat:
            await chat.send("1")
            turn = await chat.compact()

    assert turn.state is TurnState.CONFIRMED


async def test_awaitable_result_of_a_hook_is_awaited(world: World) -> None:
    plans: list[CompactionPlan] = []

    async def ask(plan: CompactionPlan) -> bool:
        plans.append(plan)
        return False

    def hands_back(plan: CompactionPlan) -> object:
        return ask(plan)

    world.script("One.", "Two.")
    async with world.open(before_compaction=hands_back) as chat:
        await chat.send("1")
        turn = await chat.compact()

    assert len(plans) == 1
    assert turn.fault is not None
    assert "said no" in turn.fault.message


async def unsaved_between_steps(world: World) -> int:
    """How often the event loop ran while an event was not saved, over a conversation
    with a fault, a rule, a summary, and calls alone and in parallel."""
    found = 0

    @tool(effect="once")
    async def pay(n: int) -> str:
        """Pay."""
        for _ in range(n):
            await anyio.lowlevel.checkpoint()
        return "paid"

    @tool(effect="once", approve=later_yes)
    def check(n: int) -> str:
        """Check."""
        return "checked"

    both = reply(call("pay", n=1), call("check", n=1), call("pay", n=3))
    world.script(
        call("pay", n=1), "One.", call("check", n=1), "Two.", both, faults="529 @2"
    )
    chat = world.open(tools=[pay, check])
    over = anyio.Event()

    async def watch(driver: Driver) -> None:
        nonlocal found
        while not over.is_set():
            await anyio.lowlevel.checkpoint()
            found += driver.unsaved > 0

    async with chat, anyio.create_task_group() as group:
        driver = chat._driver  # pyright: ignore[reportPrivateUsage] - seen from outside
        assert driver is not None
        group.start_soon(watch, driver)
        for text in ("1", "2", "3"):
            assert (await chat.send(text)).state is TurnState.CONFIRMED
        await chat.compact()
        over.set()
    return found


async def test_nothing_is_awaited_while_an_event_is_unsaved(world: World) -> None:
    with anyio.fail_after(GUARD_SECONDS):
        assert await unsaved_between_steps(world) == 0


async def test_the_check_sees_an_end_that_is_left_for_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a call that runs beside others leaves its end to the next request."""
    end = CallReports.end

    async def hasty(*given: Any, **named: Any) -> None:
        await end(*given, **{**named, "alone": True})

    monkeypatch.setattr(CallReports, "end", hasty)
    with anyio.fail_after(GUARD_SECONDS):
        assert await unsaved_between_steps(world) > 0

"""An interruption takes back what was not confirmed and nothing else: the steps that were
finished stay, the input stays, and no message is made up for either side.

Stopping, an error late in a turn, or a terminal that closed threw away whole turns with
the work of their tools, or the words the user had typed, or left invented ones behind:

- https://github.com/griffinwork40/agent-afk/issues/762
- https://github.com/NousResearch/hermes-agent/pull/50004
- https://github.com/tidyverse/ellmer/issues/643
"""

import json
import signal
from typing import Any

import anyio
import pytest
from tests.harness.processes import child_processes
from tests.harness.published import is_text, moved_to
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only, for_ever

from turnlatch import Conversation, FaultKind, RetryPolicy, TurnState, tool
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio

STEPS = tuple(call("act", what=str(step)) for step in range(1, 5))
DONE = {f"act {step}": 1 for step in range(1, 5)}


async def stopped_at_the_first_word(chat: Conversation, text: str) -> None:
    """Say something, and stop the turn when its reply begins to arrive."""
    async with chat.stream(text) as stream:
        async for event in stream:
            if is_text(event):
                await chat.interrupt()


async def test_stopped_in_the_fifth_step_the_first_four_stay(
    scenario: Scenario,
) -> None:
    scenario.script(*STEPS, call("hang", what="5"), "On we go.")
    async with scenario.open() as chat:
        await scenario.while_it_hangs(chat, "Do five things", chat.interrupt)
    async with scenario.open() as chat:
        assert len(chat.history) == 5
        told = json.dumps(chat.messages)
        assert told.count("Do five things") == 1
        assert [f"did {step}" in told for step in range(1, 5)] == [True] * 4
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        await scenario.finish(
            chat, ended=CONFIRMED, effects={**DONE, "hang 5": 1}, budget=6
        )


async def test_retries_used_up_in_the_fifth_step_the_first_four_stay(
    scenario: Scenario,
) -> None:
    scenario.script(*STEPS, "Done.", faults="529 @5-7")
    async with scenario.open(retry=RetryPolicy(attempts_max=3)) as chat:
        await chat.send("Do four things")
    async with scenario.open(retry=RetryPolicy(attempts_max=3)) as chat:
        assert len(chat.history) == 4
        assert chat.turn is not None
        assert chat.turn.fault is not None
        assert chat.turn.fault.kind is FaultKind.TRANSIENT
        turn = await chat.retry()
        assert turn.text == "Done."
        assert turn.requests == 8
        await scenario.finish(chat, ended=CONFIRMED, effects=DONE, budget=8)


async def test_stopped_before_the_first_reply_the_input_stays(
    scenario: Scenario,
) -> None:
    scenario.script("A long reply that stops.", "Done.", faults="cut 4 stall @1")
    async with scenario.open(client=scenario.client(sleep=for_ever)) as chat:
        await stopped_at_the_first_word(chat, "Please")
    async with scenario.open() as chat:
        assert len(chat.history) == 0
        turn = await chat.retry()
        assert turn.text == "Done."
        assert scenario.said(1) == scenario.said(2)
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_nothing_is_made_up_when_a_stopped_turn_is_left(
    scenario: Scenario,
) -> None:
    scenario.script("A long reply that stops.", "Done.", faults="cut 4 stall @1")
    async with scenario.open(client=scenario.client(sleep=for_ever)) as chat:
        await stopped_at_the_first_word(chat, "Please")
        await scenario.finish(chat, ended=FaultKind.CANCELLED, effects={}, budget=1)
    body = scenario.requests[1].body
    assert body is not None
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]}
    ]


@asyncio_only
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
async def test_a_terminal_that_closes_takes_no_finished_step_along(
    scenario: Scenario, number: int
) -> None:
    scenario.script(*STEPS, "Done.")
    with child_processes(scenario) as children:
        child = children.start("after RequestSent 5", "Do four things", stream=True)
        child.until("now")
        child.signal(number)
        assert child.hear() == ""
    async with scenario.open() as chat:
        assert len(chat.history) == 4
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        await scenario.finish(chat, ended=CONFIRMED, effects=DONE, budget=5)


# What is said while a turn runs.

TWO_WORDS: tuple[str, ...] = ("not the first one", "and be quick")


def texts(scenario: Scenario, request: int) -> list[str]:
    """What the user says in a request, without results."""
    body: Any = scenario.requests[request - 1].body
    return [
        block["text"]
        for message in body["messages"]
        if message["role"] == "user"
        for block in message["content"]
        if block["type"] == "text"
    ]


@asyncio_only
@pytest.mark.parametrize(
    ("point", "said", "go_on"),
    [
        ("before Steered", 0, "send"),  # nobody was told that it was said
        ("after Steered", 1, "retry"),
        ("after Steered 2", 2, "send"),
        ("after CallClosed", 2, "key"),
        ("after RequestSent 2", 2, "retry"),
        ("before ReplyConfirmed 2", 2, "send"),
        ("after ReplyConfirmed 2", 2, "key"),
    ],
)
async def test_steered_messages_are_sent_once_and_in_order_after_a_kill_anywhere(
    scenario: Scenario, point: str, said: int, go_on: str
) -> None:
    scenario.script(call("act", what="a"), "Very well.")
    with child_processes(scenario) as children:
        child = children.start(point, "first", steers=TWO_WORDS)
        child.until("now")
        child.kill()
    words, ran = list(TWO_WORDS[:said]), "Steered" not in point
    async with scenario.open() as chat:
        for word in words:
            await chat.steer(word, key=word)  # the caller is not sure, and says so
        match go_on:
            case "send":
                await chat.send("second")
                words.append("second")
            case "key":
                await chat.send("first", key="first")
            case _:
                await chat.retry()
        assert chat.snapshot.said == ()
        assert texts(scenario, len(scenario.requests)) == ["first", *words]
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"act a": 1} if ran else {},
            budget=3,
            unheard=[2] if point.startswith("before Reply") else (),
        )


@pytest.mark.parametrize("go_on", ["retry", "send", "restart"])
async def test_steered_messages_are_sent_once_and_in_order_after_repeated_interrupts(
    scenario: Scenario, go_on: str
) -> None:
    """Each attempt is stopped by whoever has just said something more."""
    scenario.script("A long reply that stops.", faults="cut 4 stall @1-3")
    client = scenario.client(sleep=for_ever)
    async with scenario.open(client=client) as chat:
        await stopped_at_the_first_word(chat, "Please")
        for word in TWO_WORDS:
            cursor = chat.cursor
            async with anyio.create_task_group() as group:
                group.start_soon(chat.retry)
                async for event in chat.watch(cursor):
                    if moved_to(event, TurnState.SENT):
                        assert await chat.steer(word)
                        await chat.interrupt()
                        break
        assert len(chat.snapshot.said) == 2
        if go_on == "retry":
            await chat.retry()
        elif go_on == "send":
            await chat.send("On we go")
    async with scenario.open() as chat:
        if go_on == "restart":
            await chat.retry()
        kept = ["Please"] if go_on != "send" else []
        more = ["On we go"] if go_on == "send" else []
        assert texts(scenario, 4) == [*kept, *TWO_WORDS, *more]
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=4)


async def test_message_steered_into_a_stopped_tool_follows_its_result(
    scenario: Scenario,
) -> None:
    scenario.script(call("hang", what="a"), "I see.")
    async with scenario.open() as chat:

        async def say_and_stop() -> None:
            await chat.steer("leave it")
            await chat.interrupt()

        await scenario.while_it_hangs(chat, "Go", say_and_stop)
        await chat.retry()
        result, text = scenario.said(2)
        assert "outcome unknown" in result["content"]
        assert text["text"] == "leave it"
        await scenario.finish(chat, ended=CONFIRMED, effects={"hang a": 1}, budget=2)


async def test_the_end_of_a_tool_that_was_left_to_itself_comes_too_late(
    scenario: Scenario,
) -> None:
    """It hears nothing, and ends when the conversation is two turns further."""
    let_go, over = anyio.Event(), anyio.Event()

    @tool(grace=0.01)
    async def deaf(what: str) -> str:
        """Hear nothing."""
        scenario.begun.set()
        with anyio.CancelScope(shield=True):
            await let_go.wait()
        scenario.note(f"deaf {what}")
        over.set()
        return "done after all"

    scenario.script(call("deaf", what="a"), "I see.")
    async with scenario.open(tools=[*scenario.tools(), deaf]) as chat:
        await scenario.while_it_hangs(chat, "Go", chat.interrupt)
        await chat.send("And?")
        before = chat.snapshot
        let_go.set()
        await over.wait()
        await anyio.wait_all_tasks_blocked()
        assert chat.snapshot is before
        assert "outcome unknown" in scenario.said(2)[0]["content"]
        await scenario.finish(chat, ended=CONFIRMED, effects={"deaf a": 1}, budget=2)
    assert "done after all" not in str([one.raw for one in scenario.requests])

"""Several calls of one reply stay one message, and their results are one message too: all
of them, in the order of the calls, before anything else that the user says.

Replies that were split so that each call had its own answer, results that came in two
messages, and words typed meanwhile that got between them were all refused ("tool_use ids
were found without tool_result blocks immediately after"):

- https://github.com/MoonshotAI/kosong/issues/45
- https://github.com/agentscope-ai/agentscope/issues/1892
- https://github.com/apify/tester-mcp-client/issues/12
"""

from typing import Any

import anyio
import pytest
from tests.harness.published import has_call
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import CallState, Tool, tool
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio

THREE = reply("Three at once.", *[call("wait", turn=n) for n in range(3)])


def waiting(scenario: Scenario, ended: list[anyio.Event], begun: anyio.Event) -> Tool:
    """A tool whose calls end in the opposite order, once somebody has spoken."""

    @tool(effect="safe")
    async def wait(turn: int) -> str:
        """Wait for the call after this one."""
        begun.set()
        await ended[turn + 1].wait()
        scenario.note(f"wait {turn}")
        ended[turn].set()
        return f"result {turn}"

    return wait


async def test_results_of_calls_that_end_in_any_order_stand_in_the_order_of_the_calls(
    scenario: Scenario,
) -> None:
    scenario.script(THREE, "All done.", "And that too.")
    ended = [anyio.Event() for _ in range(4)]
    begun = anyio.Event()
    async with scenario.open(tools=[waiting(scenario, ended, begun)]) as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "Go")
            await begun.wait()
            group.start_soon(chat.send, "Typed in between")
            ended[3].set()
        order = [line.split()[1] for line in scenario.ledger.read_text().splitlines()]
        assert order == ["2", "1", "0"]
        check(scenario)
        assert [one["text"] for one in scenario.said(3)] == ["Typed in between"]
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={f"wait {n}": 1 for n in range(3)},
            budget=3,
        )


def check(scenario: Scenario) -> None:
    body: Any = scenario.requests[1].body
    assistant, user = body["messages"][-2:]
    assert assistant["role"] == "assistant"
    calls = [one["id"] for one in assistant["content"] if one["type"] == "tool_use"]
    assert len(calls) == 3, "one reply stays one message"
    assert [one["type"] for one in user["content"]] == ["tool_result"] * 3
    assert [one["tool_use_id"] for one in user["content"]] == calls
    assert [one["content"] for one in user["content"]] == [
        f"result {n}" for n in range(3)
    ]


async def test_words_that_come_instead_of_an_approval_stand_behind_the_results(
    scenario: Scenario,
) -> None:
    scenario.script(
        reply(call("act", what="a"), call("ask", what="b"), call("look", path="c")),
        "Fine.",
    )
    async with scenario.open() as chat:
        await chat.send("Go")
        await chat.send("Never mind b")
        said = scenario.said(2)
        assert [one["type"] for one in said] == [*["tool_result"] * 3, "text"]
        assert [one.get("is_error", False) for one in said] == [
            False,
            True,
            False,
            False,
        ]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"act a": 1, "look c": 1}, budget=2
        )


async def test_messages_steered_during_calls_follow_all_of_their_results(
    scenario: Scenario,
) -> None:
    scenario.script(THREE, "All done.")
    ended = [anyio.Event() for _ in range(4)]
    begun = anyio.Event()
    async with scenario.open(tools=[waiting(scenario, ended, begun)]) as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "Go")
            await begun.wait()
            assert await chat.steer("said first")
            ended[3].set()
            await ended[1].wait()
            await chat.steer("said when some had ended")
        said = scenario.said(2)
        assert [one["type"] for one in said] == [*["tool_result"] * 3, *["text"] * 2]
        assert [one["content"] for one in said[:3]] == [f"result {n}" for n in range(3)]
        assert [one["text"] for one in said[3:]] == [
            "said first",
            "said when some had ended",
        ]
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={f"wait {n}": 1 for n in range(3)},
            budget=2,
        )


async def test_results_of_many_kinds_of_ends_stand_in_the_order_of_the_calls(
    scenario: Scenario,
) -> None:
    """One came, one failed, one was found out, one was lost, one was refused, one was
    cancelled with its turn."""
    left = anyio.Event()

    @tool(timeout=0.3, grace=0.01, reconcile=lambda _: "found out")
    async def lost(what: str) -> str:
        """Begin, and never tell."""
        scenario.note(f"lost {what}")
        await anyio.sleep_forever()
        return ""

    @tool
    async def last(what: str) -> str:
        """Begin, and be stopped."""
        scenario.note(f"last {what}")
        left.set()
        await anyio.sleep_forever()
        return ""

    @tool(approve=lambda _: False)
    async def never(what: str) -> str:
        """Nobody wants it."""
        return what

    calls = ("last", "nobody", "lost", "never", "act", "ask")
    scenario.script(reply(*[call(name, what="a") for name in calls]), "I see.")
    tools = [*scenario.tools(), lost, last, never]
    async with scenario.open(tools=tools) as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "Go")
            await left.wait()
            async for event in chat.watch():
                if has_call(event, CallState.CLOSED):
                    found = chat.turn
                    assert found is not None
                    if sum(one.closing is not None for one in found.calls) == 4:
                        break
            await chat.interrupt()
        await chat.send("And?")
        *results, text = scenario.said(2)
        assert [str(one["content"]).split(",")[0] for one in results] == [
            "Interrupted",
            "There is no tool named 'nobody' here.",
            "found out",
            "Denied: the tool's approval said no",
            "did a",
            "Not executed: the turn was stopped before this call started.",
        ]
        assert text["text"] == "And?"
        effects = {"lost a": 1, "last a": 1, "act a": 1}
        await scenario.finish(chat, ended=CONFIRMED, effects=effects, budget=2)

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
from tests.gauntlet.course import CONFIRMED, Course

from detent import Tool, tool
from detent.simulator import call, reply

pytestmark = pytest.mark.anyio

THREE = reply("Three at once.", *[call("wait", turn=n) for n in range(3)])


def waiting(course: Course, ended: list[anyio.Event], begun: anyio.Event) -> Tool:
    """A tool whose calls end in the opposite order, once somebody has spoken."""

    @tool(effect="safe")
    async def wait(turn: int) -> str:
        """Wait for the call after this one."""
        begun.set()
        await ended[turn + 1].wait()
        course.note(f"wait {turn}")
        ended[turn].set()
        return f"result {turn}"

    return wait


async def test_results_of_calls_that_end_in_any_order_stand_in_the_order_of_the_calls(
    course: Course,
) -> None:
    course.script(THREE, "All done.", "And that too.")
    ended = [anyio.Event() for _ in range(4)]
    begun = anyio.Event()
    async with course.open(tools=[waiting(course, ended, begun)]) as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "Go")
            await begun.wait()
            group.start_soon(chat.send, "Typed in between")
            ended[3].set()
        order = [line.split()[1] for line in course.ledger.read_text().splitlines()]
        assert order == ["2", "1", "0"]
        check(course)
        assert [one["text"] for one in course.said(3)] == ["Typed in between"]
        await course.finish(
            chat,
            ended=CONFIRMED,
            effects={f"wait {n}": 1 for n in range(3)},
            budget=3,
        )


def check(course: Course) -> None:
    body: Any = course.requests[1].body
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
    course: Course,
) -> None:
    course.script(
        reply(call("act", what="a"), call("ask", what="b"), call("look", path="c")),
        "Fine.",
    )
    async with course.open() as chat:
        await chat.send("Go")
        await chat.send("Never mind b")
        said = course.said(2)
        assert [one["type"] for one in said] == [*["tool_result"] * 3, "text"]
        assert [one.get("is_error", False) for one in said] == [
            False,
            True,
            False,
            False,
        ]
        await course.finish(
            chat, ended=CONFIRMED, effects={"act a": 1, "look c": 1}, budget=2
        )

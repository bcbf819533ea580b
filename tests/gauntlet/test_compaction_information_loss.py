"""A summary stands for what was said and for nothing else: the instructions, the tools,
what is pinned, the request that is being worked on, calls with their results, and what
somebody still has to decide are no part of it and are all there behind it.

Agents forgot their task, their instructions and the work of their children when the
context was summarised, or stopped because nobody remembered that an answer was owed:

- https://github.com/openai/openai-agents-python/pull/3827
- https://github.com/openclaw/openclaw/issues/116015
- https://github.com/openai/codex/issues/38931
"""

import json
from contextlib import suppress
from typing import Any

import pytest
from tests.harness.scenario import CONFIRMED, Scenario
from tests.harness.world import mentions

from turnlatch import (
    CompactionDone,
    CompactionPlan,
    CompactionPolicy,
    Conversation,
    IllegalEventError,
    RetryPolicy,
    Tool,
    tool,
)
from turnlatch.simulator import Answer, call, reply, think

pytestmark = pytest.mark.anyio

SYSTEM = "You are a gardener. Never water the cactus."
PINNED = "The user wants exactly three tulips, in this order: red, white, red."
TASKS = "[x] dig\n[ ] plant\n[ ] water"
TASK = "Now plant them, please."
TALK = ["Tulips: " + "and more tulips " * 40, "Roses: " + "and more roses " * 40]
PLANTS = reply(
    think("Two at once."),
    "I send two helpers.",
    call("helper", task="plant red"),
    call("helper", task="plant white"),
)
UNSIGNED = "400 forever on compaction"
"""The service makes no summary, so that one in words has to do."""


def helper(scenario: Scenario) -> Tool:
    """A child that does a part of the work."""

    @tool(effect="once", name="helper")
    async def work(task: str) -> str:
        """Have a helper do it."""
        scenario.note(f"helper {task}")
        return f"{task}: done, 12 cm deep"

    return work


def opened(scenario: Scenario, **options: Any) -> Conversation:
    """A gardener with helpers."""
    tools = [*scenario.tools(), helper(scenario)]
    return scenario.open(tools=tools, system=SYSTEM, max_tokens=2048, **options)


def body(scenario: Scenario, request: int = 0) -> dict[str, Any]:
    """A request, parsed; the last one."""
    return dict(scenario.requests[request - 1].body or {})


def in_words(scenario: Scenario) -> list[int]:
    """The requests for a summary in words that were answered."""
    return [
        number
        for number, one in enumerate(scenario.requests, start=1)
        if "[Record]" in one.raw.decode() and one.status == 200
    ]


def texts(message: dict[str, Any]) -> list[str]:
    """What the text blocks of a message say."""
    return [block["text"] for block in message["content"] if block["type"] == "text"]


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "in words"])
async def test_in_the_middle_of_a_turn_everything_alive_is_carried_over(
    scenario: Scenario, signed: bool
) -> None:
    words: list[Answer | str] = [] if signed else ["What was said, in short."]
    faults = "413 @4" if signed else f"413 @4, {UNSIGNED}"
    scenario.script(
        *TALK, PLANTS, *words, "All planted.", faults=faults, summaries=["In short."]
    )
    async with opened(scenario) as chat:
        await chat.pin("order", PINNED)
        await chat.pin("tasks", TASKS)
        for one in TALK:
            await chat.send(one)
        turn = await chat.send(TASK)
        assert turn.text == "All planted.", "the turn goes on to its end"
        before, after = body(scenario, 3), body(scenario)
        for name in ("system", "tools", "max_tokens", "model"):
            assert after[name] == before[name]
        told = json.dumps(after["messages"])
        assert json.dumps(PINNED)[1:-1] in told
        assert json.dumps(TASKS)[1:-1] in told
        assert "and more tulips" not in told, "the summary stands for it"
        task, calls, given = after["messages"][-3:]
        assert texts(task) == [TASK]
        asked = [one["id"] for one in calls["content"] if one["type"] == "tool_use"]
        assert [one["tool_use_id"] for one in given["content"]] == asked
        assert [one["content"] for one in given["content"]] == [
            "plant red: done, 12 cm deep",
            "plant white: done, 12 cm deep",
        ]
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"helper plant red": 1, "helper plant white": 1},
            budget=7,
            unheard=in_words(scenario),
            verbatim=False,
        )


async def test_before_a_turn_the_request_itself_is_carried_over(
    scenario: Scenario,
) -> None:
    scenario.script(*TALK, "Yes.")
    async with opened(scenario, compaction=CompactionPolicy(window=1200)) as chat:
        for one in TALK:
            await chat.send(one)
        await chat.send(TASK)
        assert chat.snapshot.base is not None
        assert texts(body(scenario)["messages"][-1]) == [TASK]
        (asked,) = [n for n in range(1, 5) if "compaction" in body(scenario, n)]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=4, summary=asked
        )


async def test_behind_any_number_of_summaries_everything_can_still_be_read(
    scenario: Scenario,
) -> None:
    scenario.script(*TALK, *TALK)
    async with opened(scenario) as chat:
        for _ in range(2):
            for one in TALK:
                await chat.send(one)
            await chat.compact()
        assert [base.covers for base in chat.snapshot.bases] == [2, 4]
        said = [texts(message) for message in chat.messages]
        assert said == [[one] for text in (*TALK, *TALK) for one in (text, text)]
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=6, summary=6)


async def test_partial_summary_gets_the_text_of_those_before_it(
    scenario: Scenario,
) -> None:
    pieces = ("First the tulips.", "First the tulips, then the roses.")
    scenario.script(
        *TALK, *pieces, "Yes.", faults=f"limit context_window=500 @3+, {UNSIGNED}"
    )
    async with opened(scenario) as chat:
        for one in TALK:
            await chat.send(one)
        await chat.send(TASK)
        first, second = in_words(scenario)
        assert mentions(body(scenario, second), pieces[0])
        assert mentions(body(scenario)["messages"][0], pieces[1])
        assert first < second
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=10,
            unheard=in_words(scenario),
            verbatim=False,
        )


async def test_newest_pin_of_a_name_outlives_the_process(
    scenario: Scenario,
) -> None:
    scenario.script(*TALK)
    async with opened(scenario) as chat:
        await chat.pin("order", "Two tulips.")
        await chat.pin("gone", "Never mind this.")
    async with opened(scenario) as chat:
        await chat.pin("order", PINNED)
        await chat.unpin("gone")
        for one in TALK:
            await chat.send(one)
        await chat.compact()
        await chat.pin("late", "This comes with the next summary.")
        await chat.send(TASK)
        told = json.dumps(body(scenario)["messages"])
        assert PINNED in told
        assert "Two tulips" not in told
        assert "Never mind" not in told
        await chat.compact()
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=5, verbatim=False
        )
    told = json.dumps(body(scenario, 6)["messages"])
    assert PINNED in told
    assert "with the next summary" in told


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "in words"])
async def test_hook_before_compaction_adds_to_the_instructions(
    scenario: Scenario, signed: bool
) -> None:
    plans: list[CompactionPlan] = []
    done: list[CompactionDone] = []

    def before(plan: CompactionPlan) -> str:
        plans.append(plan)
        return "Keep every colour."

    scenario.script(*TALK, "Red, white, red.", faults="" if signed else UNSIGNED)
    async with opened(
        scenario, before_compaction=before, after_compaction=done.append
    ) as chat:
        for one in TALK:
            await chat.send(one)
        await chat.compact()
        asked = len(scenario.requests)
        assert mentions(body(scenario, asked), "Keep every colour.")
        assert [(one.covers, one.of) for one in plans] == [(2, 2)] * len(plans)
        assert len(done) == 1
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=4,
            unheard=in_words(scenario),
            verbatim=False,
        )


async def test_a_decision_that_is_owed_is_still_owed_behind_a_summary(
    scenario: Scenario,
) -> None:
    scenario.script(*TALK, call("ask", what="dig"), "Dug.", faults="413 @4")
    async with opened(scenario) as chat:
        for one in TALK:
            await chat.send(one)
        turn = await chat.send(TASK)
        turn = await chat.approve(turn.awaiting[0].id)
        assert turn.text == "Dug."
        assert chat.snapshot.base is not None
        assert mentions(body(scenario)["messages"][-1], "did dig")
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"ask dig": 1}, budget=6, verbatim=False
        )


async def test_asking_for_a_summary_does_not_take_a_decision_from_anybody(
    scenario: Scenario,
) -> None:
    """It may be refused, because a call is open; the call stays to be decided."""
    scenario.script(*TALK, call("ask", what="dig"), "Dug.")
    async with opened(scenario) as chat:
        for one in TALK:
            await chat.send(one)
        turn = await chat.send(TASK)
        with suppress(IllegalEventError):
            await chat.compact()
        turn = await chat.approve(turn.awaiting[0].id)
        assert turn.text == "Dug."
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"ask dig": 1}, budget=6, verbatim=False
        )


async def test_asking_for_a_summary_does_not_forget_that_an_answer_is_owed(
    scenario: Scenario,
) -> None:
    """What was said last was not answered; it still can be."""
    scenario.script(*TALK, "Planted.", faults="529 @3")
    async with opened(scenario, retry=RetryPolicy(attempts_max=1)) as chat:
        for one in TALK:
            await chat.send(one)
        failed = await chat.send(TASK)
        assert failed.fault is not None
        with suppress(IllegalEventError):
            await chat.compact()
        turn = await chat.retry()
        assert turn.text == "Planted."
        assert texts(body(scenario)["messages"][-1]) == [TASK]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=6, verbatim=False
        )

"""A call and its results are left behind together or not at all, whatever makes the
conversation shorter: a summary, a cut, a note in the place of a turn, a step back.

Trimming by count or by size cut between a call and its results, and the results that
were left over made the service refuse every later request ("unexpected `tool_use_id`
found in `tool_result` blocks"):

- https://github.com/openclaw/openclaw/pull/16095
- https://github.com/spring-projects/spring-ai/issues/5940
- https://github.com/MoonshotAI/kimi-code/pull/1308
"""

import json
from typing import Any

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import CompactionPolicy, FaultKind
from turnlatch.simulator import Answer, call, reply, think

pytestmark = pytest.mark.anyio

TURNS = 6
"""Turns of two requests each: the calls, and what follows from their results."""

FIRST = 2 * TURNS + 1
"""The first request of the turn after them; the next one owes two results."""


def both(turn: int) -> Answer:
    """Two calls at once."""
    return reply(
        think("I need both."),
        f"Round {turn}.",
        call("look", path=f"{turn}a"),
        call("look", path=f"{turn}b"),
    )


ROUNDS = [
    one for turn in range(TURNS + 1) for one in (both(turn), f"Done with {turn}.")
]
RAN = {f"look {turn}{side}": 1 for turn in range(TURNS + 1) for side in "ab"}


def check_pairs(scenario: Scenario) -> None:
    """Every result stands right behind its call, and every call before its result."""
    for request in scenario.requests:
        body: Any = request.body
        asked: list[str] = []
        for message in body["messages"]:
            blocks: list[dict[str, Any]] = message["content"]
            given = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
            assert given == asked
            asked = [b["id"] for b in blocks if b["type"] == "tool_use"]
        assert asked == [] or "compaction" in body


def in_words(scenario: Scenario) -> list[int]:
    """The requests for a summary that the service did not sign."""
    return [
        number
        for number, one in enumerate(scenario.requests, start=1)
        if "tools" not in (one.body or {}) and one.status == 200
    ]


@pytest.mark.parametrize(
    "refusal",
    ["413", '400 message="prompt is too long: 213462 tokens > 200000 maximum"'],
    ids=["bytes", "tokens"],
)
async def test_too_long_in_the_middle_of_calls_is_mended_by_one_summary(
    scenario: Scenario, refusal: str
) -> None:
    scenario.script(*ROUNDS, faults=f"{refusal} @{FIRST + 1}")
    async with scenario.open() as chat:
        for turn in range(TURNS + 1):
            await chat.send(f"Do {turn}")
        body: Any = scenario.requests[-1].body
        summary, asked, calls, given = body["messages"]
        assert [one["type"] for one in summary["content"]] == ["compaction"]
        assert asked["content"] == [{"type": "text", "text": f"Do {TURNS}"}]
        assert json.dumps(calls).count('"tool_use"') == 2
        assert json.dumps(given).count('"tool_result"') == 2
        check_pairs(scenario)
        await scenario.finish(
            chat, ended=CONFIRMED, effects=RAN, budget=FIRST + 3, verbatim=False
        )


@pytest.mark.parametrize("window", range(310, 560, 35))
async def test_wherever_a_cut_falls_it_falls_between_turns(
    scenario: Scenario, window: int
) -> None:
    """No summary is to be had, so the oldest turns are left out."""
    scenario.script(*ROUNDS, faults=f"limit context_window={window} @{FIRST + 1}+")
    policy = CompactionPolicy(per_turn_max=0)
    async with scenario.open(compaction=policy) as chat:
        for turn in range(TURNS + 1):
            await chat.send(f"Do {turn}")
        check_pairs(scenario)
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects=RAN,
            budget=FIRST + 5,
            verbatim=False,
            patience=3,
        )
    check_pairs(scenario)


@pytest.mark.parametrize("window", range(300, 560, 65))
async def test_wherever_a_piece_ends_that_is_summarised_it_ends_between_turns(
    scenario: Scenario, window: int
) -> None:
    scenario.script(*ROUNDS, faults=f"limit context_window={window} @{FIRST + 1}+")
    async with scenario.open() as chat:
        for turn in range(TURNS + 1):
            await chat.send(f"Do {turn}")
        check_pairs(scenario)
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects=RAN,
            budget=FIRST + 20,
            verbatim=False,
            unheard=in_words(scenario),
            patience=3,
        )
    check_pairs(scenario)


async def test_the_late_result_of_a_call_that_was_taken_back_goes_with_it(
    scenario: Scenario,
) -> None:
    scenario.script("Hello.", call("hang", what="a"), "On we go.")
    async with scenario.open() as chat:
        await chat.send("1")
        await scenario.cancelled_while_it_hangs(chat, "Go")
        assert len(chat.history) == 2
        await chat.rewind(turns=1)
        await scenario.finish(
            chat,
            ended=FaultKind.CANCELLED,
            effects={"hang a": 1},
            budget=2,
            history=[1],
        )
    check_pairs(scenario)
    assert [one["type"] for one in scenario.said(3)] == ["text"]


async def test_a_step_back_behind_a_cut_parts_no_pair_either(
    scenario: Scenario,
) -> None:
    scenario.script(
        *ROUNDS,
        faults=f"limit context_window=300 @{FIRST + 1}+,"
        f" limit context_window=100000 @{FIRST + 4}+",
    )
    policy = CompactionPolicy(per_turn_max=0)
    async with scenario.open(compaction=policy) as chat:
        for turn in range(TURNS + 1):
            await chat.send(f"Do {turn}")
        assert chat.snapshot.view.reach > 0
        for _ in range(3):
            await chat.rewind(turns=2)
            assert chat.check() == ()
        await chat.send("Begin again")
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects=RAN,
            budget=FIRST + 6,
            verbatim=False,
            history=[1, 2, len(scenario.requests)],
        )
    check_pairs(scenario)

"""Making room comes to an end: a summary that wins nothing is not used, a few of those in
a row are the last ones, and where no summary can help none is made. Then something
stronger is done, or the turn fails with a reason.

Conversations were summarised again and again, at every message and without an end,
because the instructions alone were over the mark, because the summary was as long as what
it stood for, or because nobody remembered that it had not helped the last time:

- https://github.com/anomalyco/opencode/issues/27924
- https://github.com/docker/docker-agent/pull/2235
- https://github.com/anthropics/claude-code/issues/89281
"""

from typing import Any

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import CompactionPolicy, Conversation, FaultKind
from turnlatch.simulator import Answer, text

pytestmark = pytest.mark.anyio

TURNS = 12
LINE = "and so on, " * 30
LONG = text("on and on " * 800)
"""A summary that is longer than anything that was said."""

TIGHT = CompactionPolicy(window=1400)
FAILED_MAX = 5
"""Summaries that may fail in a row: three of the service's, two more in words."""


def summaries(scenario: Scenario) -> list[int]:
    """The requests for summaries of either kind."""
    return [
        number
        for number, one in enumerate(scenario.requests, start=1)
        if "compaction" in (one.body or {}) or "[Record]" in one.raw.decode()
    ]


def answered(scenario: Scenario) -> list[int]:
    """Those of them in words that were answered."""
    return [
        number
        for number in summaries(scenario)
        if "compaction" not in (scenario.requests[number - 1].body or {})
        and scenario.requests[number - 1].status == 200
    ]


async def leave(scenario: Scenario, chat: Conversation, **more: Any) -> None:
    """The end of every scenario here."""
    given: dict[str, Any] = {"ended": CONFIRMED, "patience": 1, **more}
    await scenario.finish(
        chat,
        effects={},
        budget=TURNS + 10,
        unheard=answered(scenario),
        verbatim=False,
        **given,
    )


@pytest.mark.parametrize("processes", [1, TURNS], ids=["one process", "many"])
@pytest.mark.parametrize("summary", [LONG, Answer(), text(" ")], ids=["long", "", " "])
async def test_summaries_that_win_nothing_are_soon_not_asked_for_any_more(
    scenario: Scenario, summary: Answer, processes: int
) -> None:
    """Not in this turn, not in the next, and not in the next process either."""
    scenario.script(
        *[f"Yes, {turn}. {LINE}" for turn in range(TURNS)],
        summaries=[summary] * 20,
        faults='529 forever body="[Record]"',
    )
    said = 0
    while said < TURNS:
        async with scenario.open(compaction=TIGHT) as chat:
            for _ in range(TURNS // processes):
                turn = await chat.send(f"Well, {said}. {LINE}")
                assert turn.state is CONFIRMED
                said += 1
    assert 3 <= len(summaries(scenario)) <= FAILED_MAX + 2, "a few were tried"
    assert all(one < TURNS + 4 for one in summaries(scenario)), "and early"
    async with scenario.open(compaction=TIGHT) as chat:
        await leave(scenario, chat)


@pytest.mark.parametrize("share", [0.5, 0.82, 0.95])
async def test_instructions_that_fill_the_window_cause_no_summary(
    scenario: Scenario, share: float
) -> None:
    """A summary of next to nothing makes no room; there has to be something to win."""
    window = 4000
    scenario.script(*[f"Yes, {turn}." for turn in range(TURNS)])
    async with scenario.open(
        system="rule " * int(window * share * 0.8),
        compaction=CompactionPolicy(window=window),
    ) as chat:
        for turn in range(TURNS):
            await chat.send(f"Well, {turn}.")
        assert len(summaries(scenario)) <= 1
        await leave(scenario, chat)


async def test_instructions_that_do_not_fit_at_all_fail_with_a_reason(
    scenario: Scenario,
) -> None:
    scenario.script(
        "One.",
        "Two.",
        "Three.",
        faults="limit context_window=900 @3+",
    )
    async with scenario.open(system="rule " * 1000) as chat:
        await chat.send("1")
        await chat.send("2")
        turn = await chat.send("3")
        assert turn.requests <= 8
        scenario.simulator.inject("limit context_window=100000 @1+")
        await leave(scenario, chat, ended=FaultKind.TOO_LONG)


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_one_turn_asks_for_so_many_summaries_and_no_more(
    scenario: Scenario, most: int
) -> None:
    """Then the oldest turns are left out instead."""
    scenario.script(
        *[f"Yes, {turn}. {LINE}" for turn in range(TURNS)],
        faults=f"limit context_window=800 @{TURNS + 1}+, 400 forever on compaction",
    )
    async with scenario.open(compaction=CompactionPolicy(per_turn_max=most)) as chat:
        for number in range(TURNS):
            await chat.send(f"Well, {number}. {LINE}")
        turn = await chat.send("And now?")
        assert turn.state is CONFIRMED
        assert len(summaries(scenario)) == most
        await leave(scenario, chat)


async def test_a_growing_conversation_is_summarised_once_in_a_while(
    scenario: Scenario,
) -> None:
    scenario.script(*[f"Yes, {turn}. {LINE}" for turn in range(TURNS)])
    async with scenario.open(compaction=TIGHT) as chat:
        for turn in range(TURNS):
            await chat.send(f"Well, {turn}. {LINE}")
        assert 1 <= len(summaries(scenario)) <= TURNS // 2
        await leave(scenario, chat, patience=2)


async def test_requested_summary_is_tried_again(
    scenario: Scenario,
) -> None:
    scenario.script(
        *[f"Yes, {turn}. {LINE}" for turn in range(TURNS)],
        summaries=[LONG] * 5 + ["In short."],
        faults='529 times 20 body="[Record]"',
    )
    async with scenario.open(compaction=TIGHT) as chat:
        for turn in range(TURNS):
            await chat.send(f"Well, {turn}. {LINE}")
        before = len(summaries(scenario))
        while (await chat.compact()).fault is not None:
            pass
        assert len(summaries(scenario)) > before
        assert chat.snapshot.futile == 0
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=TURNS + 30,
            summary=len(scenario.requests),
        )

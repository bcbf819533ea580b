"""How full the window is follows from what the service counted, held against the bytes
that were sent: a count that is missing, too large or too small is no reason to run over
it, and what a refusal says of a limit is kept.

Counters that added totals up, missed the cached part or trusted zeros made clients
compact never, at once, or too late, and asked for more tokens than there was room:

- https://github.com/anthropics/claude-code/issues/30276
- https://github.com/anthropics/claude-code/issues/82863
- https://github.com/CommandCodeAI/command-code/issues/756
"""

from typing import Any

import attrs
import pytest
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch import (
    CompactionPolicy,
    Conversation,
    FaultKind,
    Limits,
    Price,
    Remedy,
    RetryPolicy,
)
from turnlatch.simulator import Answer, ApiLimits, call, reply
from turnlatch_states.api.reply import Usage

pytestmark = pytest.mark.anyio

WINDOW = 1500
TURNS = 24
WORDS = "word " * 60

COUNTS: dict[str, dict[str, object] | None] = {
    "true": None,
    "missing": {
        "input_tokens": None,
        "output_tokens": None,
        "cache_read_input_tokens": None,
        "cache_creation_input_tokens": None,
    },
    "zero": {
        "input_tokens": 0,
        "output_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
    },
    "below zero": {
        "input_tokens": -9,
        "output_tokens": -9,
        "cache_read_input_tokens": -9,
        "cache_creation_input_tokens": -9,
    },
    "no numbers": {
        "input_tokens": "many",
        "output_tokens": [1],
        "cache_read_input_tokens": True,
        "cache_creation_input_tokens": 1.5,
    },
    "enormous": {"input_tokens": 10**9},
}
LITTLE: dict[str, object] = {
    "input_tokens": 3,
    "cache_read_input_tokens": None,
    "cache_creation_input_tokens": None,
}
"""What a gateway says that knows of no cache: the part that was not cached."""


def small(scenario: Scenario, usage: dict[str, object] | None) -> Conversation:
    """A conversation in a small window, whose replies say that usage."""
    scenario.script(
        *[reply(f"Answer. {WORDS}", usage=usage) for _ in range(TURNS * 2)],
        limits=ApiLimits(context_window=WINDOW),
    )
    policy = CompactionPolicy(window=WINDOW)
    return scenario.open(max_tokens=200, tools=[], compaction=policy)


def refused(scenario: Scenario) -> int:
    """How many requests were longer than the window."""
    return len(scenario.simulator.unscripted_rejections())


async def closed(scenario: Scenario, chat: Conversation, **how: Any) -> None:
    """Finish without another look at how full the window is."""
    numbers = attrs.evolve(ApiLimits(), context_window=None)
    scenario.simulator.change(limits=numbers)
    await scenario.finish(
        chat,
        ended=CONFIRMED,
        effects={},
        budget=TURNS * 3,
        verbatim=False,
        patience=2,
        **how,
    )


@asyncio_only
@pytest.mark.parametrize("counts", COUNTS)
async def test_whatever_is_counted_the_window_is_not_run_over(
    scenario: Scenario, counts: str
) -> None:
    async with small(scenario, COUNTS[counts]) as chat:
        for number in range(TURNS):
            turn = await chat.send(f"{number} {WORDS}")
            assert turn.state is CONFIRMED
        assert refused(scenario) == 0, "each summary came in time"
        assert len(chat.snapshot.bases) <= TURNS // 2, "and none without need"
        assert chat.snapshot.bases
        summaries = {base.message_id for base in chat.snapshot.bases}
        assert not summaries & {one.message_id for one in chat.history}
        await closed(scenario, chat)


@asyncio_only
async def test_a_count_that_is_too_small_is_corrected_by_the_first_refusal(
    scenario: Scenario,
) -> None:
    async with small(scenario, LITTLE) as chat:
        for number in range(TURNS):
            turn = await chat.send(f"{number} {WORDS}")
            assert turn.state is CONFIRMED
        assert refused(scenario) <= 1
        await closed(scenario, chat, illegal=refused(scenario))


@asyncio_only
async def test_reported_context_window_is_remembered(scenario: Scenario) -> None:
    """The model's row says a million; the service takes less, and says how much."""
    scenario.script(
        *[reply(f"Answer. {WORDS}") for _ in range(TURNS * 2)],
        faults=f"limit context_window={WINDOW} @2+",
    )
    async with scenario.open(max_tokens=200, tools=[]) as chat:
        while not any(one.status == 400 for one in scenario.requests):
            await chat.send(WORDS)
        first = len([one for one in scenario.requests if one.status == 400])
        assert chat.snapshot.window == WINDOW
    async with scenario.open(max_tokens=200, tools=[]) as chat:
        for number in range(TURNS):
            await chat.send(f"{number} {WORDS}")
        again = len([one for one in scenario.requests if one.status == 400])
        assert again == first, "it is not run into a second time"
        scenario.simulator.inject("limit context_window=1000000 @1+")
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=TURNS * 3,
            verbatim=False,
            patience=2,
        )


OVER = (
    '400 message="input length and `max_tokens` exceed context limit: 190000 + 16384'
    ' > 200000, decrease input length or `max_tokens` and try again"'
    r' body="\"max_tokens\":16384" forever @2+'
)
CAPPED = (
    '400 message="max_tokens: 16384 > 8192, which is the maximum allowed number of'
    ' output tokens for this model" body="\\"max_tokens\\":16384" forever @2+'
)


@pytest.mark.parametrize(("fault", "left"), [(OVER, 10_000), (CAPPED, 8192)])
async def test_a_reply_that_does_not_fit_is_asked_for_as_long_as_it_may_be(
    scenario: Scenario, fault: str, left: int
) -> None:
    scenario.script("One.", "Two.", faults=fault)
    async with scenario.open(max_tokens=16_384) as chat:
        await chat.send("1")
        turn = await chat.send("2")
        assert (turn.text, turn.remedies) == ("Two.", (Remedy.CLAMP,))
        body: Any = scenario.requests[2].body
        assert body["max_tokens"] == left
        await chat.configure(max_tokens=left)
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)


async def test_reported_limit_of_the_reply_is_remembered(scenario: Scenario) -> None:
    """It is the same for every request to come, and each of them knew it."""
    scenario.script("One.", call("look", path="a"), "Two.", "Three.", faults=CAPPED)
    async with scenario.open(max_tokens=16_384) as chat:
        await chat.send("1")
        await chat.send("2")
        turn = await chat.send("3")
        assert turn.requests == 1
        assert [one.status for one in scenario.requests].count(400) == 1
        await scenario.finish(chat, ended=CONFIRMED, effects={"look a": 1}, budget=5)


def counted(chat: Conversation) -> Usage:
    """What the replies of the history say they cost, added up."""
    total = Usage()
    for one in chat.history:
        total += one.reply.usage
    return total


@pytest.mark.parametrize("how", ["whole", "stream"])
async def test_usage_of_a_turn_is_the_usage_of_its_confirmed_replies(
    scenario: Scenario, how: str
) -> None:
    """Totals in a stream replace what was said before, and an attempt costs nothing
    that anybody could know."""
    lost = ["Lost."] if how == "stream" else []
    answers: list[Answer | str] = [call("look", path="a"), *lost, "One.", "Two."]
    scenario.script(*answers, faults="529 @2" + ", cut 4 reset @3" * len(lost))
    async with scenario.open(retry=RetryPolicy()) as chat:
        first = await (chat.send("1") if how == "whole" else chat.stream("1").turn())
        second = await chat.send("2")
        bodies = [one.usage for one in (*first.replies, *second.replies)]
        assert first.usage + second.usage == chat.usage == counted(chat)
        assert len(bodies) == 3
        output = sum(one.output for one in bodies)
        assert output == chat.usage.output > 0
        await scenario.finish(chat, ended=CONFIRMED, effects={"look a": 1}, budget=5)


async def test_a_summary_is_paid_for_once_and_counted_once(scenario: Scenario) -> None:
    scenario.script("One.", "Two.")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
        before = chat.usage
        turn = await chat.compact()
        assert turn.usage.output > 0
        assert chat.usage == before + turn.usage
        used = chat.usage
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, history=(1, 2), summary=3
        )
    async with scenario.again("a", scenario.store) as again:
        assert again.usage == used + again.history[2].reply.usage


@pytest.mark.parametrize(
    "limits",
    [
        Limits(tokens_per_turn_max=2000),
        Limits(dollars_per_turn_max=0.01, price=Price(5.0, 25.0, 0.5, 6.25)),
    ],
    ids=["tokens", "dollars"],
)
async def test_a_turn_stops_at_what_it_may_cost_and_may_be_granted_more(
    scenario: Scenario, limits: Limits
) -> None:
    steps = [reply(WORDS, call("look", path=str(step))) for step in range(6)]
    scenario.script(*steps, "Done.")
    async with scenario.open(limits=limits) as chat:
        turn = await chat.send(WORDS)
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.BUDGET
        cost = turn.usage
        assert 0 < turn.requests < 7
        while turn.fault is not None:
            turn = await chat.retry()
        assert (turn.number, turn.text, turn.requests) == (1, "Done.", 7)
        assert turn.usage.context > cost.context
        ran = {f"look {step}": 1 for step in range(6)}
        await scenario.finish(chat, ended=CONFIRMED, effects=ran, budget=7)

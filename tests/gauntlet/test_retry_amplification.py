"""One layer retries, and it counts: so many requests and no more, whatever the SDK, the
engine and the caller would each have liked to try again.

Retries of the SDK times those of the client times those of its supervisor made dozens of
requests of one turn while the service said that it was overloaded:

- https://github.com/NousResearch/hermes-agent/pull/53918
- https://github.com/HKUDS/nanobot/pull/2759
- https://github.com/10-X-eng/vibecad/issues/177
"""

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import FaultKind, Limits, RetryPolicy
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("fault", ["529", "500", "429", "reset", "cut 3 eof"])
@pytest.mark.parametrize("attempts", [1, 3, 8])
async def test_permanent_overload_costs_exactly_the_attempts_of_the_policy(
    scenario: Scenario, fault: str, attempts: int
) -> None:
    """The SDK's client is as it comes, with retries of its own."""
    answers = ["Never seen."] * attempts if fault.startswith("cut") else []
    scenario.script(*answers, faults=f"{fault} @1-{attempts}")
    async with scenario.open(retry=RetryPolicy(attempts_max=attempts)) as chat:
        turn = await chat.stream("1").turn()
        assert len(scenario.requests) == turn.requests == attempts
        headers = [dict(one.headers) for one in scenario.requests]
        assert {one.get("x-stainless-retry-count", "0") for one in headers} == {"0"}
        await scenario.finish(
            chat, ended=FaultKind.TRANSIENT, effects={}, budget=attempts
        )


async def test_whether_it_is_the_service_or_the_conversation_is_asked_after_each_wait(
    scenario: Scenario,
) -> None:
    """With a history there is a doubt: from the fourth failure on, one short request is
    sent beside each, behind the same wait, and no more."""
    scenario.script("One.", faults="529 @2-14")
    async with scenario.open(retry=RetryPolicy(attempts_max=8)) as chat:
        await chat.send("1")
        turn = await chat.send("2")
        assert (turn.requests, turn.trials) == (8, 5)
        assert len(scenario.requests) - 1 == turn.requests + turn.trials
        assert len(scenario.clock.slept) == 12, "each but the first waits its turn"
        await scenario.finish(chat, ended=FaultKind.TRANSIENT, effects={}, budget=15)


async def test_every_more_is_asked_for(scenario: Scenario) -> None:
    scenario.script(faults="529 @1-6")
    async with scenario.open(retry=RetryPolicy(attempts_max=3)) as chat:
        await chat.send("1")
        assert len(scenario.requests) == 3
        turn = await chat.retry()
        assert len(scenario.requests) == turn.requests == 6
        await scenario.finish(chat, ended=FaultKind.TRANSIENT, effects={}, budget=6)


async def test_requests_of_a_turn_are_bounded_over_all_its_steps(
    scenario: Scenario,
) -> None:
    """Each step is fine alone; the sum is what is paid."""
    steps = [call("look", path=str(step)) for step in range(3)]
    scenario.script(*steps, faults="529 every 2 @1-8")
    async with scenario.open(limits=Limits(requests_per_turn_max=5)) as chat:
        turn = await chat.send("Go")
        assert turn.requests == 5
        ran = {f"look {step}": 1 for step in range(3)}
        await scenario.finish(
            chat, ended=FaultKind.BUDGET, effects=ran, budget=5, patience=2
        )


async def test_a_wait_is_as_long_as_the_service_asks_and_one_at_a_time(
    scenario: Scenario,
) -> None:
    scenario.script("One.", faults="429 retry-after=7 @1, 529 retry-after=3 @2")
    async with scenario.open() as chat:
        await chat.send("1")
        first, second = scenario.clock.slept
        assert 7 <= first < 10
        assert 3 <= second < 6
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)

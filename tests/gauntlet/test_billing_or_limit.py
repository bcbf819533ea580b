"""A turn that nobody pays for waits like one without credentials: nothing is deleted,
nothing goes round in retries, no clock has to run out, and it goes on when it may.

A plan's limit ended sessions whose work could not be reached any more, or was waited out
in a loop that nothing could leave:

- https://github.com/warpdotdev/warp/issues/12314
- https://github.com/kunchenguid/gnhf/issues/101
"""

import pytest
from tests.harness.published import recorded
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import FaultKind, Limits, RetryPolicy, Turn, TurnSuspended
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio

CREDIT = (
    "Your credit balance is too low to access the Anthropic API. Please go to Plans &"
    " Billing to upgrade or purchase credits."
)
LIMIT = "You have reached your specified API usage limits. You will regain access soon."
TIER = "You have reached your API usage limits: your organization has crossed its limit"

BILLS = {
    "no credit": f'400 message="{CREDIT}"',
    "no credit, wrapped": f'400 message="upstream said: {CREDIT}"',
    "payment": "402",
    "of another type": '400 type=billing_error message="no"',
    "a limit of one's own": f'400 message="{LIMIT}"',
    "a limit of a plan": f'429 message="{TIER}"',
    "a limit of a plan, and a hint": f'429 retry-after=30 message="{TIER}"',
    "a spend limit": '400 code=enforced_spend_limit_reached message="no"',
    "a contract": '403 code=contract_spend_limit_reached message="no"',
    "in a stream": "error billing_error after 2",
    "in a stream, by its words": f'error invalid_request_error after 2 message="{CREDIT}"',
}


def waits(turn: Turn, kind: FaultKind = FaultKind.BILLING) -> None:
    """Hold a turn to waiting, with no time at which that is over."""
    assert turn.fault is not None
    assert turn.fault.kind is kind
    assert turn.suspended is not None
    assert turn.suspended.until is None


@pytest.mark.parametrize("bill", BILLS)
async def test_a_turn_that_is_not_paid_for_waits_and_goes_on(
    scenario: Scenario, bill: str
) -> None:
    fault = BILLS[bill]
    answers = ["Never heard."] if fault.startswith("error") else []
    scenario.script(call("act", what="a"), *answers, "Done.", faults=f"{fault} @2")
    async with scenario.open() as chat:
        turn = await chat.stream("Go").turn()
        waits(turn)
        assert turn.requests == 2, "it is asked once"
        assert scenario.clock.slept == [], "and no clock is waited for"
        assert [block["type"] for block in scenario.said(2)] == ["tool_result"]
        turn = await chat.retry()
        assert (turn.number, turn.text, turn.requests) == (1, "Done.", 3)
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)


async def test_unpaid_account_stays_suspended_over_every_retry(
    scenario: Scenario,
) -> None:
    scenario.script(call("act", what="a"), "Done.", faults="402 @2-5")
    async with scenario.open() as chat:
        waits(await chat.send("Go"))
        before = chat.history.wires()
        for _ in range(3):
            waits(await chat.retry())
            assert chat.history.wires() == before
        await scenario.finish(
            chat, ended=FaultKind.BILLING, effects={"act a": 1}, budget=5
        )


async def test_the_next_process_finds_the_turn_as_it_waits(scenario: Scenario) -> None:
    scenario.script(call("act", what="a"), "Done.", faults="402 @2")
    async with scenario.open() as chat:
        waits(await chat.send("Go"))
        before = chat.snapshot
    await scenario.clock.sleep(86_400)
    async with scenario.open() as chat:
        assert chat.snapshot == before
        assert chat.turn is not None
        waits(chat.turn)
        turn = await chat.retry()
        assert turn.text == "Done."
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)


@pytest.mark.parametrize("status", [429, 529])
async def test_a_limit_that_lasts_longer_than_a_caller_waits_says_until_when(
    scenario: Scenario, status: int
) -> None:
    """The turn comes back at once, with the time; asking earlier is allowed."""
    scenario.script(
        call("act", what="a"), "Done.", faults=f"{status} retry-after=7200 @2"
    )
    async with scenario.open() as chat:
        start = scenario.clock.now()
        watch = chat.stream("Go")
        told = recorded([one async for one in watch], TurnSuspended)
        turn = await watch.turn()
        assert turn.fault is not None
        assert turn.suspended is not None
        assert turn.suspended.until == start + 7200
        assert scenario.clock.slept == []
        assert [one.until for one in told] == [start + 7200], (
            "and whoever watches is told"
        )
        turn = await chat.retry()
        assert (turn.number, turn.text) == (1, "Done.")
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)


async def test_a_wait_that_would_outlast_the_turn_is_a_limit_too(
    scenario: Scenario,
) -> None:
    scenario.script(call("act", what="a"), "Done.", faults="429 retry-after=100 @2")
    async with scenario.open(limits=Limits(seconds_per_turn_max=60)) as chat:
        turn = await chat.send("Go")
        assert turn.suspended is not None
        assert turn.suspended.until is not None
        assert scenario.clock.slept == []
        turn = await chat.retry()
        assert turn.text == "Done."
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)


async def test_passing_request_limit_is_not_a_billing_fault(scenario: Scenario) -> None:
    scenario.script("Done.", faults="429 retry-after=2 @1-2")
    async with scenario.open(retry=RetryPolicy(attempts_max=3)) as chat:
        turn = await chat.send("Go")
        assert turn.suspended is None
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)

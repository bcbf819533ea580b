"""A body that met a definite no is not sent again by anything that runs by itself: each
step behind it is another request, there are few of them, and then it is an error.

Retries, fallbacks, supervisors and auto-continue sent the same refused request again,
hundreds of times:

- https://github.com/paperclipai/paperclip/issues/6324
- https://github.com/anthropics/claude-code/issues/92611
- https://github.com/Lexus2016/hermes-agent-evolution/issues/366
"""

import pytest
from tests.harness.scenario import Scenario

from turnlatch import FaultKind, RetryPolicy
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio

RETRY = RetryPolicy(attempts_max=4)
PATIENT = 8

# What is said for ever, what it is, and how many requests a message may cost: the first
# time nothing is suspected, and from the second on what is ours to change is changed.
NOES: dict[str, tuple[str, FaultKind, int, int]] = {
    "no": ('400 message="no"', FaultKind.INVALID, 1, 5),
    "not found": ("404", FaultKind.INVALID, 1, 5),
    "not processable": ("422", FaultKind.INVALID, 1, 5),
    "of tomorrow": ("418", FaultKind.INVALID, 1, 5),
    "a block": (
        '400 message="messages.0.content.0.text: not this"',
        FaultKind.BLOCK,
        6,
        6,
    ),
    "a block of nobody": (
        '400 message="messages.99.content.0: not this"',
        FaultKind.BLOCK,
        1,
        6,
    ),
    "our prompt": ('400 message="system.0.text: not this"', FaultKind.BLOCK, 1, 1),
    "thoughts": (
        '400 message="messages.1.content.0: Invalid `signature` in `thinking` block"',
        FaultKind.THINKING,
        5,
        5,
    ),
    "a field": ('400 message="metadata: no"', FaultKind.OPTIONAL_FIELD, 2, 5),
    "too long": (
        '400 message="prompt is too long"',
        FaultKind.TOO_LONG,
        PATIENT,
        PATIENT,
    ),
    "too large": ("413", FaultKind.TOO_LONG, PATIENT, PATIENT),
    # The second is something short: does it fail at everything, or at this?
    "a page": ("html 400", FaultKind.INVALID, 1, 2),
    "a page that is gone": ("html 404", FaultKind.INVALID, 1, 2),
    "who": ("401", FaultKind.AUTH, 1, 2),
    "what for": ("402", FaultKind.BILLING, 1, 2),
    "a model": ('404 message="model: m"', FaultKind.MODEL_GONE, 1, 2),
    "do not": ('529 x-should-retry="false"', FaultKind.TRANSIENT, 1, 2),
}


@pytest.mark.parametrize("no", NOES)
async def test_permanent_refusal_is_tried_in_few_forms_and_never_twice(
    scenario: Scenario, no: str
) -> None:
    said, kind, first, second = NOES[no]
    scenario.script(
        call("look", path="a"), "One.", faults=f"{said} forever @3+ until t=1000"
    )
    async with scenario.open(retry=RETRY) as chat:
        await chat.send("1")
        for most in (first, second):
            before = len(scenario.requests)
            turn = await chat.send("2")
            asked = [one.raw for one in scenario.requests[before:]]
            assert turn.fault is not None
            assert turn.fault.kind is kind
            assert len(asked) == len(set(asked)), "the very same was asked again"
            assert len(asked) <= most
            passing = kind is FaultKind.TRANSIENT or said.startswith("html")
            waits = 1 if passing else 0  # before something short
            assert len(scenario.clock.slept) <= waits, "and nothing was waited for"
        await scenario.clock.sleep(1000)
        await scenario.finish(
            chat,
            ended=kind,
            effects={"look a": 1},
            budget=2 + first + second,
            history=(1, 2),
        )


async def test_permanently_refused_summary_is_requested_in_two_ways(
    scenario: Scenario,
) -> None:
    scenario.script("One.", faults='400 message="no" forever @2+ until t=1000')
    async with scenario.open() as chat:
        await chat.send("1")
        turn = await chat.compact()
        asked = [one.raw for one in scenario.requests[1:]]
        assert len(asked) == len(set(asked)) == turn.requests == 2
        await scenario.clock.sleep(1000)
        await scenario.finish(
            chat, ended=FaultKind.INVALID, effects={}, budget=3, history=(1,)
        )


async def test_asking_again_in_so_many_words_is_one_request_each_time(
    scenario: Scenario,
) -> None:
    """A caller may know better; nothing is asked behind his back."""
    scenario.script("One.", faults="401 @2-5")
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
        for times in range(2, 5):
            turn = await chat.retry()
            assert turn.requests == times
        await scenario.finish(chat, ended=FaultKind.AUTH, effects={}, budget=5)


async def test_reopened_conversation_sends_no_request_by_itself(
    scenario: Scenario,
) -> None:
    scenario.script("One.", faults='400 message="no" @2')
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
    for _ in range(3):
        async with scenario.open() as chat:
            assert len(scenario.requests) == 2
    async with scenario.open() as chat:
        await scenario.finish(chat, ended=FaultKind.INVALID, effects={}, budget=2)

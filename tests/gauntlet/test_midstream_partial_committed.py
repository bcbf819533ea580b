"""What was shown is not history: a stream that breaks is an attempt, whatever of it was
on the screen, and the next attempt starts from where the last reply was confirmed.

A client that stores the pieces it has seen sends half a reply back as if it were whole,
with half a call in it, or with a signature that was cut:

- https://github.com/anomalyco/opencode/issues/26170
- https://github.com/earendil-works/pi/issues/5538
- https://github.com/SamSaffron/term-llm/pull/955
"""

import pytest
from tests.harness.published import texts
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import FaultKind, RetryPolicy
from turnlatch.simulator import call, reply, think

pytestmark = pytest.mark.anyio

ENDINGS = (
    "error overloaded_error after 6",
    "cut 6 clean",
    "cut 6 eof",
    "cut 6 reset",
    "cut 60% eof",
    "malformed json",
)
LONG = "This is a reply of some length, of which a part will be on the screen. " * 4


@pytest.mark.parametrize("fault", ENDINGS)
async def test_two_deltas_and_a_break_are_an_attempt(
    scenario: Scenario, fault: str
) -> None:
    scenario.script("One.", LONG, "Two.", faults=f"{fault} @2")
    async with scenario.open() as chat:
        await chat.stream("1").turn()
        before = chat.history.wires()
        stream = chat.stream("2")
        shown = texts([event async for event in stream])
        turn = await stream.turn()
        assert len(shown) > 2
        assert chat.history.wires()[:1] == before
        assert turn.text == "Two."
        assert turn.requests == 2
        assert scenario.said(2) == scenario.said(3)
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)
    assert "on the screen" not in str(scenario.requests[-1].body)


@pytest.mark.parametrize("fault", ENDINGS)
async def test_a_break_that_stays_leaves_the_history_as_it_was(
    scenario: Scenario, fault: str
) -> None:
    scenario.script("One.", LONG, LONG, faults=f"{fault} @2-3")
    async with scenario.open(retry=RetryPolicy(attempts_max=2)) as chat:
        await chat.stream("1").turn()
        await chat.stream("2").turn()
        assert len(chat.history) == 1
        await scenario.finish(chat, ended=FaultKind.TRANSIENT, effects={}, budget=3)


@pytest.mark.parametrize("events", range(1, 15))
async def test_half_a_thought_and_half_a_call_are_neither_kept_nor_run(
    scenario: Scenario, events: int
) -> None:
    whole = reply(think("I should act."), "Now.", call("act", what="it"))
    scenario.script(whole, whole, "Done.", faults=f"cut {events} reset @1")
    async with scenario.open(
        max_tokens=4096, settings={"thinking": {"type": "adaptive"}}
    ) as chat:
        turn = await chat.stream("Go").turn()
        assert turn.state is CONFIRMED
        assert turn.requests == 3
        await scenario.finish(chat, ended=CONFIRMED, effects={"act it": 1}, budget=3)

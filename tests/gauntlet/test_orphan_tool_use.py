"""A call and its result are one pair: whatever stops a turn, no request leaves in which
a call of the assistant has no result, and a result that nobody saw is told as unknown.

An assistant message with an unanswered call makes the service refuse every later request
("`tool_use` ids were found without `tool_result` blocks"), so one interrupted tool ends
the conversation for good:

- https://github.com/anthropics/claude-code/issues/8763
- https://github.com/anomalyco/opencode/issues/10616
- https://github.com/github/copilot-cli/issues/3366
"""

import pytest
from tests.harness.processes import kill_at
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch import Closing, FaultKind
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio

TWO = reply(call("hang", what="a"), call("act", what="b"))


@asyncio_only
async def test_killed_after_one_of_two_calls_both_travel_with_a_result(
    scenario: Scenario,
) -> None:
    scenario.script(TWO, "I see.")
    kill_at(scenario, "after CallClosed", "first")
    async with scenario.open() as chat:
        turn = await chat.send("hi")
        assert turn.state is CONFIRMED
        lost, done, text = scenario.said(2)
        assert (done["content"], done.get("is_error")) == ("did b", None)
        assert "outcome unknown" in lost["content"]
        assert lost["is_error"] is True
        assert text == {"type": "text", "text": "hi"}
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"hang a": 1, "act b": 1}, budget=2
        )


@asyncio_only
@pytest.mark.parametrize(
    ("point", "ran", "says"),
    [
        ("after ReplyConfirmed", 0, "outcome unknown"),
        ("after CallStarted", 0, "outcome unknown"),
        ("after act", 1, "outcome unknown"),
        ("after CallClosed", 1, "did a"),
        ("before TurnContinued", 1, "outcome unknown"),
        ("after RequestSent 2", 1, "did a"),
    ],
)
async def test_killed_anywhere_in_a_call_the_next_message_answers_it(
    scenario: Scenario, point: str, ran: int, says: str
) -> None:
    scenario.script(call("act", what="a"), "Done.")
    kill_at(scenario, point, "first")
    async with scenario.open() as chat:
        await chat.send("hi")
        result, text = scenario.said(2)
        assert result["type"] == "tool_result"
        assert says in str(result["content"])
        assert text["text"] == "hi"
        effects = {"act a": ran} if ran else {}
        await scenario.finish(chat, ended=CONFIRMED, effects=effects, budget=2)


@asyncio_only
async def test_kill_before_the_reply_is_recorded_leaves_no_call(
    scenario: Scenario,
) -> None:
    """A reply and the intents of its calls are one record: neither is there alone."""
    scenario.script(call("act", what="a"), "Done.")
    kill_at(scenario, "before CallStarted", "first")
    async with scenario.open() as chat:
        await chat.send("hi")
        assert [one["type"] for one in scenario.said(2)] == ["text"]
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2, unheard=[1])


async def test_cancelled_in_a_call_the_pair_is_closed(scenario: Scenario) -> None:
    scenario.script(call("hang", what="a"), "On we go.")
    async with scenario.open() as chat:
        await scenario.cancelled_while_it_hangs(chat, "Go")
        turn = chat.turn
        assert turn is not None
        assert [one.closing for one in turn.calls] == [Closing.UNKNOWN]
        await scenario.finish(
            chat, ended=FaultKind.CANCELLED, effects={"hang a": 1}, budget=1
        )
    result, _ = scenario.said(2)
    assert "outcome unknown" in result["content"]

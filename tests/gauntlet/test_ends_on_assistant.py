"""A request is made only where an answer is owed, so its last message is the user's, and
what the assistant said goes back as it was said.

Interrupted turns, replies of nothing but thinking and clocks that ran backwards made
requests that end on the assistant, which the service refuses ("must end with a user
message"), or in white space, which it refuses as well:

- https://github.com/vercel/eve/issues/1839
- https://github.com/cloudflare/agents/pull/1618
- https://github.com/tailcallhq/forgecode/issues/1872
"""

from typing import Any

import pytest
from tests.harness.published import is_text
from tests.harness.scenario import CONFIRMED, Scenario, for_ever

from turnlatch import FaultKind
from turnlatch.simulator import Answer, call, refuse, reply, text, think

pytestmark = pytest.mark.anyio

THINKING: dict[str, Any] = {"settings": {"thinking": {"type": "adaptive"}}}


def check_ends(scenario: Scenario) -> None:
    for request in scenario.requests:
        assert request.body is not None
        messages: Any = request.body["messages"]
        assert messages[-1]["role"] == "user"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        reply(think("Nothing to say.")),
        text("Said, with white space behind it. \n\n"),
        text("Cut off", stop_reason="max_tokens"),
        text("Paused", stop_reason="pause_turn"),
        text("Stopped", stop_reason="stop_sequence"),
        text("Odd", stop_reason="a_reason_of_tomorrow"),
        Answer(),
    ],
    ids=["thinking only", "space", "max_tokens", "pause", "stop", "odd", "nothing"],
)
async def test_whatever_a_reply_ends_on_the_next_request_ends_on_the_user(
    scenario: Scenario, answer: Answer, stream: bool
) -> None:
    scenario.script(answer, "Two.")
    async with scenario.open(**THINKING) as chat:
        turn = await (chat.stream("1").turn() if stream else chat.send("1"))
        assert turn.state is CONFIRMED
        await chat.send("2")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)
    check_ends(scenario)


async def test_a_turn_that_is_stopped_between_two_others_leaves_no_half(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Stopped.", refuse(), "Two.", faults="cut 4 stall @2")
    async with scenario.open(client=scenario.client(sleep=for_ever)) as chat:
        await chat.send("1")
        async with chat.stream("stopped") as stream:
            async for event in stream:
                if is_text(event):
                    await chat.interrupt()
        await chat.stream("declined").turn()
        await chat.send("2")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=4)
    check_ends(scenario)


async def test_a_call_that_is_cut_off_is_answered_before_anybody_else_speaks(
    scenario: Scenario,
) -> None:
    cut = reply(call("act", what="a"), stop_reason="max_tokens")
    scenario.script(cut, cut, "I see.")
    async with scenario.open() as chat:
        await chat.send("1")
        assert [one["type"] for one in scenario.said(3)] == ["tool_result"]
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3, unheard=[1])
    check_ends(scenario)


class Backwards:
    """A clock that somebody keeps putting back."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def now(self) -> float:
        self.seconds -= 3600.0
        return self.seconds

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        del seconds


async def test_time_that_runs_backwards_changes_no_order(scenario: Scenario) -> None:
    scenario.script("One.", "Two.", "Three.", faults="529 @2")
    async with scenario.open(clock=Backwards()) as chat:
        for number in ("1", "2", "3"):
            await chat.send(number)
        said = [message["content"][0]["text"] for message in chat.messages]
        assert said == ["1", "One.", "2", "Two.", "3", "Three."]
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=4)
    check_ends(scenario)


async def test_a_declined_request_is_not_answered_for_the_model(
    scenario: Scenario,
) -> None:
    scenario.script("One.", refuse("cyber", "Not this."))
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.send("2")
        await scenario.finish(chat, ended=FaultKind.REFUSAL, effects={}, budget=2)
    check_ends(scenario)

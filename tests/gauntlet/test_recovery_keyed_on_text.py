"""What is done about a fault follows from its status, its type, its code and from where the
turn stands. Words are a hint: with others, around them or instead of them the same
conversation goes on, the second time at the latest.

Recoveries were there and did not fire, because the message came from another endpoint,
through a proxy, in a stream, or was worded anew:

- https://github.com/openclaw/openclaw/issues/88020
- https://github.com/NousResearch/hermes-agent/issues/69078
- https://github.com/Yeachan-Heo/gajae-code/issues/731
"""

import json
from typing import Any

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import FaultKind, RetryPolicy
from turnlatch.simulator import call, reply, think

pytestmark = pytest.mark.anyio


def wrapped(said: str) -> str:
    """What a proxy makes of an error: its own words, and the envelope as text."""
    inner = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": said},
    }
    return f"litellm.BadRequestError: AnthropicException - {json.dumps(inner)}"


def ways(said: str, status: int = 400) -> dict[str, str]:
    """The same refusal as five services would say it, as faults."""
    plain, proxied = json.dumps(said), json.dumps(wrapped(said))
    event = f"error invalid_request_error after 1 message={plain}"
    return {
        "as it is": f"{status} message={plain}",
        "in a stream": event,
        "in a proxy's words": f"{status} message={proxied}",
        "without a type": f"{status} type=None message={plain}",
        "in other words": f'{status} message="Bad Request"',
        "on a page": f"html {status}",
    }


UNKNOWN = {"in other words", "on a page"}
"""What says nothing at all is believed the second time only: the first time it may be an
outage, a filter, or what was just said."""

PAGE = "on a page"
"""What the service does not even say itself is believed for as long as it lasts only."""


async def goes_on(
    scenario: Scenario,
    fault: str,
    answers: list[Any],
    way: str,
    first: str,
    **options: Any,
) -> None:
    """Say three things, of which the second meets the fault, whatever it is called."""
    lost = 2 if fault.startswith("error") else 0
    scenario.script(*answers, *["Never heard."] * lost, faults=fault)
    async with scenario.open(**options) as chat:
        turn = await chat.send(first)
        assert turn.state is CONFIRMED
        turn = await chat.stream("2").turn()
        if way in UNKNOWN:
            assert turn.fault is not None
            assert turn.remedies == (), "nothing is repaired on the first"
            turn = await chat.stream("2").turn()
        assert turn.state is CONFIRMED, turn.fault
        asked = [one.raw for one in scenario.requests]
        if way != PAGE:
            assert len(set(asked)) >= len(asked) - 1, "no request was made for nothing"
        turn = await chat.send("3")
        assert turn.requests <= (2 if way == PAGE else 1), "and it is not met again"
        ran = {"look a": 1} if scenario.ran else {}
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects=ran,
            budget=20 if way == PAGE else 14,
            patience=2 if way == PAGE else 1,
            verbatim=False,
        )


OPTIONAL = "diagnostics.previous_message_id: must be the `id` from a prior response"


@pytest.mark.parametrize("way", ways(""))
async def test_an_optional_field_is_left_out_however_it_is_refused(
    scenario: Scenario, way: str
) -> None:
    when = r' body="\"previous_message_id\":\"msg_" forever'
    await goes_on(scenario, ways(OPTIONAL)[way] + when, ["One."], way, "1")


BLOCK = "messages.0.content.0.text: these words are not taken any more"


@pytest.mark.parametrize("way", ways(""))
async def test_a_block_of_the_past_is_left_out_however_it_is_refused(
    scenario: Scenario, way: str
) -> None:
    when = ' body="old words" forever @2+'
    await goes_on(scenario, ways(BLOCK)[way] + when, ["One."], way, "old words")


@pytest.mark.parametrize("way", ways(""))
@pytest.mark.parametrize(
    "said",
    [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
    ],
    ids=["prompt", "input and reply"],
)
async def test_request_that_is_too_long_is_shortened_for_every_wording(
    scenario: Scenario, said: str, way: str
) -> None:
    when = ' body="old words" forever @3+'
    answers = [call("look", path="a"), "One."]
    await goes_on(scenario, ways(said)[way] + when, answers, way, "old words")


@pytest.mark.parametrize(
    "fault", ["413", "html 413", "error request_too_large after 1"]
)
async def test_request_that_is_too_large_is_made_smaller_without_any_wording(
    scenario: Scenario, fault: str
) -> None:
    when = ' body="old words" forever @2+'
    await goes_on(scenario, fault + when, ["One."], "by status", "old words")


@pytest.mark.parametrize("way", ways(""))
async def test_a_thought_that_is_refused_is_left_out_however_it_is_refused(
    scenario: Scenario, way: str
) -> None:
    said = "messages.1.content.0: Invalid `signature` in `thinking` block"
    fault = ways(said)[way] + r' body="\"signature\"" forever @2+'
    answers = [reply(think("hm"), "One.")]
    settings = {"thinking": {"type": "adaptive"}}
    await goes_on(scenario, fault, answers, way, "1", settings=settings)


@pytest.mark.parametrize("way", ways(""))
async def test_a_summary_that_is_not_taken_is_left_out_however_it_is_refused(
    scenario: Scenario, way: str
) -> None:
    said = "messages.0.content.0: Invalid `signature` in `compaction` block"
    when = r' body="\"type\":\"compaction\"" forever @3+'
    scenario.script("One.", faults=ways(said)[way] + when)
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.compact()
        await chat.stream("2").turn()
        turn = await chat.stream("3").turn()
        assert turn.state is CONFIRMED
        sent: Any = scenario.requests[-1].body
        assert len(sent["messages"]) >= 3, "what it stood for is shown again"
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=20 if way == PAGE else 14,
            patience=2 if way == PAGE else 1,
            verbatim=False,
        )


PASSING = {
    "overloaded": "529",
    "overloaded, in other words": '529 type=weird message="come back"',
    "overloaded, on a page": "html 529",
    "a page of a gateway": "html 502",
    "an error of somebody else": "520",
    "too many, without a type": '429 type=error message="slow down"',
    "late": "408",
    "in a stream": "error overloaded_error after 2",
    "in a stream, of tomorrow": "error weird_error after 2",
    "nothing": "empty 200",
    "no JSON": "malformed json",
    "half of it": "truncated json",
    "an error that names a block": '500 message="messages.0.content.0: internal"',
}


@pytest.mark.parametrize("fault", PASSING)
async def test_passing_fault_is_waited_out_for_every_wording(
    scenario: Scenario, fault: str
) -> None:
    said = PASSING[fault]
    lost = said.startswith(("error", "malformed", "truncated"))
    scenario.script(*["Never heard."] * lost, "One.", faults=f"{said} @1")
    async with scenario.open() as chat:
        turn = await chat.stream("1").turn()
        assert (turn.text, turn.requests, turn.remedies) == ("One.", 2, ())
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


@pytest.mark.parametrize(
    "said",
    ["Overloaded", "rate limit exceeded, try again in 2 s", "timeout", "529", "500"],
)
async def test_definite_refusal_is_not_waited_out_for_any_wording(
    scenario: Scenario, said: str
) -> None:
    scenario.script("One.", faults=f'400 message="{said}" @1')
    async with scenario.open(retry=RetryPolicy(attempts_max=5)) as chat:
        turn = await chat.send("1")
        assert turn.requests == 1
        assert scenario.clock.slept == []
        await scenario.finish(chat, ended=FaultKind.INVALID, effects={}, budget=1)

"""A call runs on arguments that came whole, in a reply that ended as a call, and on nothing
else: what was cut off or is no strict JSON object is told to the model, never guessed at.

Arguments cut by the token limit were completed by a lenient parser and run on half a
path, or were stored and made every later request a 400:

- https://github.com/ahwurm/localharness/issues/77
- https://github.com/MiniMax-AI/cli/issues/235
- https://github.com/mastra-ai/mastra/pull/19043
"""

import json
from typing import Any

import pytest
from tests.harness.recorder import Gateway
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import Closing, Conversation, Remedy, Turn
from turnlatch.simulator import Answer, Raw, call, reply

pytestmark = pytest.mark.anyio

ACT = reply("Well.", call("act", what="a"))


def writing(arguments: str, reason: str | None = None) -> Gateway:
    """A service whose model writes these arguments, at its first call of a stream.

    Args:
        arguments: What stands in place of the whole input.
        reason: What the reply says to have stopped for; None for what it stopped for.
    """
    events = {"left": arguments, "open": True}

    def write(data: bytes) -> bytes:
        head, _, told = data.decode().partition("\ndata: ")
        if not events["open"] or not told:
            return data
        event: dict[str, Any] = json.loads(told)
        if event.get("delta", {}).get("type") == "input_json_delta":
            event["delta"]["partial_json"], events["left"] = events["left"], ""
        elif event["type"] == "message_delta":
            events["open"] = False
            event["delta"]["stop_reason"] = reason or event["delta"]["stop_reason"]
        return f"{head}\ndata: {json.dumps(event)}\n\n".encode()

    return write


async def said(chat: Conversation, how: str) -> Turn:
    """The turn of one message, asked for in one piece or as a stream."""
    return await (chat.send("1") if how == "whole" else chat.stream("1").turn())


READ_BY_SOME = {
    "not a number": '{"what": "a", "size": NaN}',
    "infinite": '{"what": "a", "size": Infinity}',
    "out of range": '{"what": "a", "size": 1e999}',
    "said twice": '{"what": "a", "what": "b"}',
    "a list": '["a"]',
    "a text": '"a"',
}
BROKEN = {
    **READ_BY_SOME,
    "cut": '{"what": "/tm',
    "cut before a value": '{"what": ',
    "something behind": '{"what": "a"} and so on',
    "two": '{"what": "a"}{"what": "b"}',
    "a comma too many": '{"what": "a",}',
    "no quotes": "{what: a}",
    "null": "null",
    "a raw line break": '{"what": "a\nb"}',
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_arguments_that_are_not_a_strict_object_run_nothing_and_are_reported(
    scenario: Scenario, broken: str
) -> None:
    scenario.script(ACT, "I see.", gateway=writing(BROKEN[broken]))
    async with scenario.open() as chat:
        turn = await chat.stream("1").turn()
        assert turn.text == "I see."
        (one,) = turn.calls
        assert (one.closing, one.input) == (Closing.ERROR, None)
        (result,) = scenario.said(2)
        assert result["is_error"] is True
        assert "Not executed" in result["content"], "and why it was not"
        assert scenario.requests[1].status == 200, "and it can be sent back"
        kept: tuple[int, ...] = (1, 2)
        if broken in READ_BY_SOME:
            # The recorder's own parser is one of those, so the record is held apart.
            async with scenario.again("a", scenario.copied("apart")) as again:
                assert again.snapshot == chat.snapshot
            await chat.rewind()
            kept = ()
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2, history=kept)


CUT = {
    "in a string": '{"what": "/tm',
    "but whole, as it seems": '{"what": "a"}',
    "at its start": "{",
    "not a number": '{"what": NaN',
}


@pytest.mark.parametrize("cut", CUT)
async def test_a_call_that_hit_the_limit_is_asked_for_again_with_more_room(
    scenario: Scenario, cut: str
) -> None:
    scenario.script(ACT, ACT, "Done.", gateway=writing(CUT[cut], "max_tokens"))
    async with scenario.open(max_tokens=500) as chat:
        turn = await chat.stream("1").turn()
        assert turn.remedies == (Remedy.RAISE,)
        bodies: list[Any] = [one.body for one in scenario.requests]
        assert [one["max_tokens"] for one in bodies] == [500, 2000, 500]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"act a": 1}, budget=3, history=(2, 3)
        )


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("first", [{}, {"what": "/tm"}, {"what": "a", "more": 1}])
async def test_a_call_that_hits_every_limit_is_closed_as_cut_off(
    scenario: Scenario, first: dict[str, Any], how: str
) -> None:
    """Shortened arguments may well be whole ones of another call: none of them runs."""
    short = reply("Well.", call("act", **first), stop_reason="max_tokens")
    scenario.script(short, short, "I see.")
    async with scenario.open(max_tokens=500) as chat:
        turn = await said(chat, how)
        assert [one.closing for one in turn.calls] == [Closing.CUT_OFF]
        (result,) = scenario.said(3)
        assert "not executed" in result["content"]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, history=(2, 3)
        )


async def test_highest_limit_is_not_raised(
    scenario: Scenario,
) -> None:
    short = reply(call("act", what="/tm"), stop_reason="max_tokens")
    scenario.script(short, "I see.")
    async with scenario.open(max_tokens=128_000) as chat:
        turn = await chat.send("1")
        assert turn.remedies == ()
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


@pytest.mark.parametrize("how", ["whole", "stream"])
async def test_a_limit_in_the_second_call_spares_the_first_as_well(
    scenario: Scenario, how: str
) -> None:
    """A reply that was cut off did not end as a call, whatever stands at its start."""
    both = reply(call("act", what="a"), call("act", what="b"))
    short = reply(both, stop_reason="max_tokens")
    scenario.script(short, both, "Done.")
    async with scenario.open(max_tokens=500) as chat:
        await said(chat, how)
        ran = {"act a": 1, "act b": 1}
        await scenario.finish(
            chat, ended=CONFIRMED, effects=ran, budget=3, history=(2, 3)
        )


@pytest.mark.parametrize("how", ["whole", "stream"])
async def test_a_simulated_limit_cuts_a_call_and_nothing_of_it_runs(
    scenario: Scenario, how: str
) -> None:
    """The service cuts by itself, and holds back what is not complete."""
    scenario.script(*[reply(call("act", what="a" * 400))] * 2, "Done.")
    async with scenario.open(max_tokens=50) as chat:
        await said(chat, how)
        ran = {"act " + "a" * 400: 1}
        await scenario.finish(
            chat, ended=CONFIRMED, effects=ran, budget=3, history=(2, 3)
        )


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("given", [None, [], "a", 7], ids=repr)
async def test_input_that_is_not_an_object_runs_nothing_and_may_be_sent_back(
    scenario: Scenario, given: object, how: str
) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "act", "input": given}
    scenario.script(Answer((Raw(block),)), "I see.")
    async with scenario.open() as chat:
        turn = await said(chat, how)
        assert [one.closing for one in turn.calls] == [Closing.ERROR]
        body: Any = scenario.requests[1].body
        assert body["messages"][1]["content"][0]["input"] == {}
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=2, verbatim=False
        )

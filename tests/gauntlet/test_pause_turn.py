"""A pause is no end: what the server has begun goes back as it came, with the same tools,
until it is done; a bound, a fault or a stop in between costs nothing that was confirmed.

A paused turn was taken for a finished one, so that the answer was half a search, or was
sent back with something in it, and refused:

- https://github.com/anthropics/anthropic-sdk-typescript/pull/906
- https://github.com/dust-tt/dust/pull/28390
- https://github.com/gsd-build/gsd-2/pull/2870
"""

from typing import Any

import attrs
import pytest
from tests.harness.scenario import CONFIRMED, Scenario
from tests.harness.world import World

from turnlatch import Conversation, FaultKind, Limits, Remedy, tool
from turnlatch.simulator import (
    Answer,
    call,
    reply,
    server_call,
    server_result,
    think,
)

pytestmark = pytest.mark.anyio

URL = "https://example.org/news"
SEARCH = reply("Searching.", server_call("web_search", query="news"))
MORE = reply(server_result(URL), server_call("web_search", query="more"))
FOUND = reply(server_result(URL), "It rains.")


@tool
async def web_search(query: str) -> str:
    """Never run here: the service runs it."""
    raise AssertionError(query)


OFFERED = attrs.evolve(
    web_search, definition={"type": "web_search_20250305", "name": "web_search"}
)


def opened(scenario: Scenario, **options: Any) -> Conversation:
    """A conversation in which the service may search."""
    return scenario.open(tools=[*scenario.tools(), OFFERED], **options)


def body(scenario: Scenario, number: int) -> dict[str, Any]:
    """A request, parsed."""
    return dict(scenario.requests[number - 1].body or {})


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("pauses", [1, 3])
async def test_a_pause_goes_back_unchanged_and_it_is_one_turn(
    scenario: Scenario, pauses: int, how: str
) -> None:
    scenario.script(SEARCH, *[MORE] * (pauses - 1), FOUND)
    async with opened(scenario) as chat:
        turn = await (
            chat.send("News?") if how == "whole" else chat.stream("News?").turn()
        )
        assert turn.requests == len(turn.replies) == pauses + 1
        assert turn.text == "It rains."
        for number in range(2, pauses + 2):
            before, now = body(scenario, number - 1), body(scenario, number)
            *kept, last = now.pop("messages")
            assert kept == before.pop("messages")
            assert last["role"] == "assistant", "nothing is put behind it"
            assert last["content"] == list(turn.replies[number - 2].blocks)
            for changing in (before, now):
                changing.pop("diagnostics")
            assert now == before, "the same tools and settings"
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=pauses + 1)


async def test_a_thought_before_the_pause_goes_back_with_it(scenario: Scenario) -> None:
    scenario.script(reply(think("hm"), SEARCH), FOUND)
    async with opened(scenario) as chat:
        await chat.send("News?")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_a_call_of_ours_in_a_paused_reply_is_run_and_answered_alone(
    scenario: Scenario,
) -> None:
    scenario.script(
        reply(SEARCH, call("act", what="a"), stop_reason="pause_turn"), FOUND
    )
    async with opened(scenario) as chat:
        await chat.send("News?")
        assert [block["type"] for block in scenario.said(2)] == ["tool_result"]
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=2)


async def test_a_pause_that_never_ends_costs_what_a_turn_may_and_not_the_conversation(
    scenario: Scenario,
) -> None:
    scenario.script("One.", SEARCH, *[MORE] * 3)
    async with opened(scenario, limits=Limits(requests_per_turn_max=4)) as chat:
        await chat.send("1")
        turn = await chat.send("News?")
        assert turn.requests == len(turn.replies) == 4
        await scenario.finish(
            chat, ended=FaultKind.BUDGET, effects={}, budget=5, verbatim=False
        )
        assert turn.replies[-1].stop_reason == "pause_turn"


async def test_more_may_be_granted_and_the_same_turn_goes_on(
    scenario: Scenario,
) -> None:
    scenario.script(SEARCH, *[MORE] * 3, FOUND)
    async with opened(scenario, limits=Limits(requests_per_turn_max=2)) as chat:
        turn = await chat.send("News?")
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.BUDGET
        for _ in range(2):
            turn = await chat.retry()
        assert (turn.number, turn.text, turn.requests) == (1, "It rains.", 5)
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=5)


@pytest.mark.parametrize(
    "fault", ["529 @2", "reset @2", "500 @2-3", "truncated json @2", "401 @2"]
)
async def test_a_fault_in_the_middle_does_not_end_it(
    scenario: Scenario, fault: str
) -> None:
    answers: list[Answer | str] = [SEARCH, FOUND]
    if "json" in fault:
        answers.insert(1, FOUND)
    scenario.script(*answers, faults=fault)
    async with opened(scenario) as chat:
        turn = await chat.send("News?")
        if turn.fault is not None:
            turn = await chat.retry()
        assert (turn.number, turn.text) == (1, "It rains.")
        again = [one.raw for one in scenario.requests[1:]]
        assert len(set(again)) == 1, "it is the same request"
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=4)


async def test_reopened_conversation_continues_its_paused_turn(
    scenario: Scenario,
) -> None:
    scenario.script(SEARCH, FOUND, faults="401 @2")
    async with opened(scenario) as chat:
        turn = await chat.send("News?")
        assert turn.fault is not None
    async with opened(scenario) as chat:
        turn = await chat.retry()
        assert (turn.number, turn.text) == (1, "It rains.")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)


async def test_another_message_leaves_out_what_was_never_finished(
    scenario: Scenario,
) -> None:
    scenario.script(SEARCH, "Never mind it is.", faults="401 @2")
    async with opened(scenario) as chat:
        await chat.send("News?")
        turn = await chat.send("Never mind.")
        assert turn.remedies == (Remedy.CLOSE,)
        said = body(scenario, 3)["messages"][1]["content"]
        assert [block["type"] for block in said] == ["text"]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, verbatim=False
        )


async def test_a_pause_on_a_server_thread_goes_on_without_a_message(
    scenario: Scenario,
) -> None:
    """The recorder reads the last message of a request, so those without any go past it."""
    scenario.script(SEARCH, MORE, FOUND)
    past = World.client(scenario)
    async with opened(scenario, name="b", client=past, threads="on") as chat:
        turn = await chat.send("News?")
        assert turn.text == "It rains."
        assert [body(scenario, n)["messages"] for n in (2, 3)] == [[], []]
        await chat.configure(threads="off")
        after = await chat.send("Thanks.")
        assert (after.state, after.requests) == (CONFIRMED, 1)
        said = [message["role"] for message in body(scenario, 4)["messages"]]
        assert said == ["user", "assistant", "assistant", "assistant", "user"]
    async with opened(scenario) as chat:
        await scenario.finish(chat, ended=None, effects={}, budget=4, history=())


async def test_a_pause_whose_thread_is_gone_goes_on_all_the_same(
    scenario: Scenario,
) -> None:
    scenario.script(SEARCH, FOUND, faults="expire threads @2")
    async with opened(scenario, threads="on") as chat:
        turn = await chat.send("News?")
        assert turn.text == "It rains."
        assert turn.remedies == (Remedy.REPLAY,)
        await chat.configure(threads="off")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)

"""Another model, or another way to it, takes over the open turn as it stands: every call
with its result, every tool run once, and the thoughts that only the first model can read
are in nobody's way.

Fallbacks dropped the calls of a half-done turn, began it again from the start, or sent
the second model what only the first one takes:

- https://github.com/MervinPraison/PraisonAI/pull/4757
- https://github.com/sudoprivacy/sudocode/pull/176
"""

import itertools
from typing import Any

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import Conversation, FaultKind, RetryPolicy, SettingsError, tool
from turnlatch.simulator import Answer, Raw, call, reply, think

pytestmark = pytest.mark.anyio

FIRST, SECOND = "claude-sonnet-5-5", "claude-haiku-4-5"
STEPS = [reply(think("hm"), "So.", call("act", what=name)) for name in ("a", "b", "c")]
RAN = {"act a": 1, "act b": 1, "act c": 1}
RETRY = RetryPolicy(attempts_max=3)

DOWN = {
    "overloaded": (f"529 model={FIRST} forever @4+", 6, FaultKind.TRANSIENT),
    "gone": (
        f'404 message="model: {FIRST}" model={FIRST} forever @4+',
        4,
        FaultKind.MODEL_GONE,
    ),
    "not allowed": (f"403 model={FIRST} forever @4+", 4, FaultKind.AUTH),
    "no credit": (f"402 model={FIRST} forever @4+", 4, FaultKind.BILLING),
}


def body(scenario: Scenario, number: int) -> dict[str, Any]:
    """A request, parsed."""
    return dict(scenario.requests[number - 1].body or {})


def pairs(scenario: Scenario, number: int) -> list[str]:
    """The calls of a request that stand before their one result, by id."""
    messages = body(scenario, number)["messages"]
    found: list[str] = []
    for before, after in itertools.pairwise(messages):
        calls = [b["id"] for b in before["content"] if b["type"] == "tool_use"]
        results = [
            b["tool_use_id"] for b in after["content"] if b["type"] == "tool_result"
        ]
        assert calls == results
        found += calls
    return found


@pytest.mark.parametrize("down", DOWN)
async def test_another_model_finishes_the_turn_that_the_first_one_began(
    scenario: Scenario, down: str
) -> None:
    faults, requests, kind = DOWN[down]
    scenario.script(*STEPS, "Done.", faults=faults)
    async with scenario.open(model=FIRST, retry=RETRY) as chat:
        turn = await chat.send("Go")
        assert turn.fault is not None
        assert (turn.fault.kind, turn.requests) == (kind, requests)
        await chat.configure(model=SECOND)
        turn = await chat.retry()
        assert (turn.number, turn.text) == (1, "Done.")
        asked = len(scenario.requests)
        assert asked == requests + 1, "it goes on, and does not begin again"
        assert body(scenario, asked)["model"] == SECOND
        assert pairs(scenario, asked) == [one.id for one in turn.calls]
        await scenario.finish(chat, ended=CONFIRMED, effects=RAN, budget=asked)


async def test_the_first_model_may_take_over_again(scenario: Scenario) -> None:
    """The thoughts of both stand in the record, and neither minds the other's."""
    scenario.script(
        *STEPS, reply(think("well"), "Done."), "Two.", faults=f"529 model={FIRST} @4-6"
    )
    thinking: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    async with scenario.open(model=FIRST, retry=RETRY) as chat:
        await chat.send("Go")
        await chat.configure(model=SECOND, settings=thinking)
        turn = await chat.retry()
        assert turn.text == "Done."
        await chat.configure(model=FIRST, settings={})
        turn = await chat.send("And?")
        assert (turn.text, turn.requests) == ("Two.", 1)
        await scenario.finish(chat, ended=CONFIRMED, effects=RAN, budget=8)


async def test_settings_that_the_second_model_refuses_are_reported_and_not_applied(
    scenario: Scenario,
) -> None:
    scenario.script(*STEPS, "Done.", faults=f"529 model={FIRST} forever @4+")
    adaptive = {"thinking": {"type": "adaptive"}}
    async with scenario.open(model=FIRST, retry=RETRY, settings=adaptive) as chat:
        await chat.send("Go")
        before = chat.snapshot
        with pytest.raises(SettingsError):
            await chat.configure(model=SECOND)
        assert chat.snapshot is before
        await chat.configure(model=SECOND, settings={})
        turn = await chat.retry()
        assert (turn.number, turn.text) == (1, "Done.")
        await scenario.finish(chat, ended=CONFIRMED, effects=RAN, budget=7)


async def test_the_next_process_may_choose_the_other_model(scenario: Scenario) -> None:
    scenario.script(*STEPS, "Done.", faults=f"529 model={FIRST} forever @4+")
    async with scenario.open(model=FIRST, retry=RETRY) as chat:
        await chat.send("Go")
    async with scenario.open(model=SECOND, retry=RETRY) as chat:
        turn = await chat.retry()
        assert (turn.number, turn.text) == (1, "Done.")
        assert len(pairs(scenario, 7)) == 3
        await scenario.finish(chat, ended=CONFIRMED, effects=RAN, budget=7)


async def test_a_copy_that_the_first_model_continued_is_not_needed(
    scenario: Scenario,
) -> None:
    scenario.script(*STEPS, "Done.", faults=f"529 model={FIRST} forever @4+")
    async with scenario.open(model=FIRST, retry=RETRY, threads="on") as chat:
        await chat.send("Go")
        await chat.configure(model=SECOND)
        turn = await chat.retry()
        assert turn.text == "Done."
        assert body(scenario, 7)["thread"] == {"type": "create"}
        assert len(pairs(scenario, 7)) == 3
        await chat.configure(threads="off")
        await scenario.finish(chat, ended=CONFIRMED, effects=RAN, budget=7)


async def test_another_way_to_the_same_model_finishes_the_turn(
    scenario: Scenario,
) -> None:
    scenario.script(*STEPS, "Done.", faults="503 @4-6")
    async with scenario.open(retry=RETRY) as chat:
        await chat.send("Go")
        await chat.configure(client=scenario.client())
        turn = await chat.retry()
        assert (turn.number, turn.text) == (1, "Done.")
        assert scenario.requests[3].raw == scenario.requests[6].raw
        await scenario.finish(chat, ended=CONFIRMED, effects=RAN, budget=7)


async def test_a_call_that_waits_for_a_person_is_not_asked_for_again(
    scenario: Scenario,
) -> None:
    scenario.script(call("ask", what="a"), "Done.", faults=f"529 model={FIRST} @2-4")
    async with scenario.open(model=FIRST, retry=RETRY) as chat:
        turn = await chat.send("Go")
        await chat.configure(model=SECOND)
        turn = await chat.approve(turn.awaiting[0].id)
        assert (turn.text, turn.requests) == ("Done.", 2)
        assert body(scenario, 2)["model"] == SECOND
        await scenario.finish(chat, ended=CONFIRMED, effects={"ask a": 1}, budget=2)


async def test_a_fallback_of_the_service_itself_keeps_the_calls(
    scenario: Scenario,
) -> None:
    """The service says in the reply that another model wrote it; it is a reply."""
    told: dict[str, Any] = {
        "type": "fallback",
        "from": {"model": FIRST},
        "to": {"model": SECOND},
        "trigger": {"type": "refusal", "category": None},
    }
    scenario.script(Answer((Raw(told), *STEPS[0].parts[1:])), "Done.")
    betas = ["server-side-fallback-2026-07-01"]
    settings = {"fallbacks": [{"model": SECOND}]}
    async with scenario.open(model=FIRST, betas=betas, settings=settings) as chat:
        turn = await chat.send("Go")
        assert turn.text == "Done."
        assert len(pairs(scenario, 2)) == 1
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=2)


async def test_second_model_gets_the_messages_of_the_first_one(
    scenario: Scenario,
) -> None:
    """It was never answered, so it was never delivered."""
    chats: list[Conversation] = []

    @tool
    async def act(what: str) -> str:
        """Do something that counts, while the user speaks."""
        scenario.note(f"act {what}")
        await chats[-1].steer(f"after {what}")
        return f"did {what}"

    scenario.script(*STEPS, "Done.", faults=f"529 model={FIRST} forever @4+")
    async with scenario.open(model=FIRST, retry=RETRY, tools=[act]) as chat:
        chats.append(chat)
        turn = await chat.send("Go")
        assert turn.fault is not None
        assert len(chat.snapshot.said) == 1, "the first two were answered"
    async with scenario.open(model=SECOND, retry=RETRY, tools=[act]) as chat:
        turn = await chat.retry()
        assert (turn.number, turn.text) == (1, "Done.")
        texts = [one["text"] for n in (2, 3, 7) for one in scenario.said(n)[1:]]
        assert texts == ["after a", "after b", "after c"]
        assert len(pairs(scenario, 7)) == 3
        await scenario.finish(chat, ended=CONFIRMED, effects=RAN, budget=7)

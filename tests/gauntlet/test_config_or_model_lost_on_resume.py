"""What a conversation was set to is part of its record: a next process that sets nothing
asks for the same, and a model that is gone is a named failure and a choice, never a loss.

Resumed sessions came back with another model, without their betas, tools or prompt, or
could not be opened any more because the model in them had been retired:

- https://github.com/kirodotdev/Kiro/issues/7175
- https://github.com/anthropics/claude-code/issues/61068
- https://github.com/anomalyco/opencode/issues/42781
"""

from typing import Any

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import FaultKind
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio

SET: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 2048,
    "system": [{"type": "text", "text": "Be brief."}],
    "betas": ["compact-2026-09-04"],
    "settings": {"metadata": {"user_id": "u"}, "stop_sequences": ["STOP"]},
    "diagnostics": False,
}


def asked(scenario: Scenario, number: int) -> tuple[dict[str, Any], str | None]:
    """A request without its messages, and its betas."""
    request = scenario.requests[number - 1]
    assert request.body is not None
    body = {name: value for name, value in request.body.items() if name != "messages"}
    return body, dict(request.headers).get("anthropic-beta")


async def test_reopened_conversation_sends_the_journaled_settings(
    scenario: Scenario,
) -> None:
    scenario.script("One.", call("act", what="a"), "Two.")
    async with scenario.open(**SET) as chat:
        await chat.send("1")
    async with scenario.open() as chat:
        await chat.send("2")
    assert asked(scenario, 1) == asked(scenario, 2) == asked(scenario, 3)
    body, betas = asked(scenario, 3)
    assert body["model"] == "claude-opus-5"
    assert [tool["name"] for tool in body["tools"]] == ["look", "act", "ask", "hang"]
    assert betas is not None
    assert "compact-2026-09-04" in betas
    async with scenario.open(tools=None) as chat:
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)
    assert asked(scenario, 4) == asked(scenario, 1)


async def test_retired_model_is_reported_and_a_successor_continues(
    scenario: Scenario,
) -> None:
    gone = '404 message="model: claude-opus-5" model=claude-opus-5 forever @2+'
    scenario.script("One.", "Two.", faults=gone)
    async with scenario.open(model="claude-opus-5") as chat:
        await chat.send("1")
    async with scenario.open() as chat:
        turn = await chat.send("2")
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.MODEL_GONE
        assert turn.requests == 1, "the same request is not tried again"
        assert len(chat.history) == 1
    async with scenario.open(model="claude-sonnet-5-5") as chat:
        turn = await chat.retry()
        assert turn.text == "Two."
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)


async def test_only_what_is_given_changes(scenario: Scenario) -> None:
    scenario.script("One.", "Two.")
    async with scenario.open(**SET) as chat:
        await chat.send("1")
    async with scenario.open(system="Be long.") as chat:
        await chat.send("2")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)
    (first, betas), (second, later) = asked(scenario, 1), asked(scenario, 2)
    assert "Be long." in str(second.pop("system"))
    assert "Be brief." in str(first.pop("system"))
    assert (second, later) == (first, betas)

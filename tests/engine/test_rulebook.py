"""Settings are held to the rules of the server that requests go to, at its version."""

from typing import Any

import anthropic
import httpx2
import pytest

from turnlatch import Conversation, SettingsError, TurnState
from turnlatch.rulebook import Rulebook, rulebook
from turnlatch.simulator import Simulator
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch_states.api.rules import RULES, VERSION_2026

pytestmark = pytest.mark.anyio

OLD = "2023-06-01"
ELSEWHERE = "http://127.0.0.1:9"


def client(simulator: Simulator | None = None, **options: Any) -> Any:
    transport = SimulatorTransport(simulator or Simulator())
    return anthropic.AsyncAnthropic(
        api_key="k",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport),
        **options,
    )


def older(simulator: Simulator | None = None) -> Any:
    return client(simulator, default_headers={"anthropic-version": OLD})


def test_a_client_tells_its_version_and_its_base_url() -> None:
    assert rulebook(client(), None) == Rulebook(VERSION_2026, own=True)
    assert rulebook(older(), None) == Rulebook(OLD, own=True)
    upper = client(default_headers={"Anthropic-Version": OLD})
    assert rulebook(upper, None).version == OLD
    assert not rulebook(client(base_url=ELSEWHERE), None).own
    assert not rulebook(client(base_url="https://api.anthropic.com.example"), None).own
    assert rulebook(object(), None) == Rulebook()


def test_without_a_client_the_environment_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert rulebook(None, None) == Rulebook()
    assert not rulebook(None, ELSEWHERE).own
    assert rulebook(None, "https://api.anthropic.com/").own
    assert not rulebook(None, "http://[").own
    headers = f"x-one: 1\nAnthropic-Version: {OLD}"
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", headers)
    assert rulebook(None, None).version == OLD
    monkeypatch.setenv("ANTHROPIC_BASE_URL", ELSEWHERE)
    assert not rulebook(None, None).own


async def test_field_of_the_clients_version_is_a_setting_and_is_sent() -> None:
    simulator = Simulator()
    async with Conversation.open(
        "a",
        client=older(simulator),
        model="claude-sonnet-4-5",
        settings={"temperature": 0.2},
    ) as chat:
        turn = await chat.send("Hello")
        assert chat.check() == ()

    assert turn.state is TurnState.CONFIRMED
    assert simulator.log[0].body is not None
    assert simulator.log[0].body["temperature"] == 0.2


@pytest.mark.parametrize(
    ("version", "model", "says"),
    [
        (VERSION_2026, "claude-sonnet-4-5", "Extra inputs are not permitted"),
        (OLD, "claude-opus-5", "`temperature` is deprecated for this model."),
    ],
)
async def test_field_of_another_version_is_refused_with_the_version(
    version: str, model: str, says: str
) -> None:
    made = client(default_headers={"anthropic-version": version})
    with pytest.raises(SettingsError, match=says) as caught:
        async with Conversation.open(
            "a", client=made, model=model, settings={"temperature": 0.2}
        ):
            pytest.fail("it is open")

    assert f"anthropic-version {version}" in str(caught.value)


async def test_another_server_says_itself_which_fields_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    settings = {"temperature": 0, "guided_json": {}, "thinking": {"type": "deep"}}
    async with Conversation.open("a", base_url=ELSEWHERE, settings=settings) as chat:
        assert chat.check() == ()
        await chat.configure(settings={"top_k": 3})
        with pytest.raises(SettingsError, match="top_k"):
            await chat.configure(settings={"top_k": 3}, client=client())


async def test_the_format_itself_holds_everywhere() -> None:
    for wrong in ({"stop_sequences": [" "]}, {"tool_choice": {"type": "tool"}}):
        served = anthropic.AsyncAnthropic(api_key="test", base_url=ELSEWHERE)
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            async with Conversation.open("a", client=served, settings=wrong):
                pytest.fail("it is open")


def test_two_rules_are_of_one_service_and_no_more() -> None:
    body: dict[str, Any] = {
        "model": "claude-opus-5",
        "max_tokens": 0.5,
        "messages": [],
        "x": 1,
    }

    here = {each.rule for each in Rulebook().findings(body, frozenset())}
    there = {each.rule for each in Rulebook(own=False).findings(body, frozenset())}

    assert here - there == {"R1"}
    assert {rule.id for rule in RULES} >= here

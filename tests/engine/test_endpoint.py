"""Where requests go: what was given, what the SDK finds, or the simulator, if asked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest

from detent import (
    Conversation,
    DetentError,
    NoCredentialsError,
    SettingsError,
    TurnState,
    sync,
)
from detent.endpoint import choose_endpoint, demand_credentials, is_set_up
from detent.journal import MemoryStore
from detent.loading import load
from detent_states import events as ev
from detent_states.profile import Profile

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The SDK looks for profiles in the home folder, too."""
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_credentials_nothing_is_opened_and_nothing_is_invented(
    tmp_path: Path,
) -> None:
    store = tmp_path / "chat.db"
    asked: list[dict[str, Any]] = [{}, {"base_url": "http://127.0.0.1:9"}]
    for given in asked:
        with (
            pytest.raises(NoCredentialsError) as caught,
            sync.Conversation.open("a", store=store, **given),
        ):
            pytest.fail("it is open")

        assert isinstance(caught.value, DetentError)
        for said in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "client="):
            assert said in str(caught.value)
        assert 'client="simulator"' in str(caught.value)


async def test_the_simulator_answers_where_it_is_asked_for() -> None:
    async with Conversation.open("a", client="simulator") as chat:
        turn = await chat.send("Hello")
        assert (chat.live, chat.endpoint) == (False, "simulator")
    assert turn.state is TurnState.CONFIRMED

    with pytest.raises(SettingsError, match=r"give .*'simulator'"):
        choose_endpoint("simulater", None, 1.0, 1.0)


def test_the_simulator_answers_without_an_event_loop_too() -> None:
    with sync.Conversation.open("a", client="simulator") as chat:
        assert chat.send("Hello").state is TurnState.CONFIRMED
        assert not chat.live


def profile(home: Path) -> dict[str, str]:
    """A profile on disk, as the SDK's own tools write it."""
    for folder, content in (
        (
            "configs",
            {"authentication": {"type": "user_oauth"}, "base_url": "https://a.invalid"},
        ),
        ("credentials", {"access_token": "t"}),
    ):
        path = home / ".config" / "anthropic" / folder / "mine.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
        path.chmod(0o600)
    return {"ANTHROPIC_PROFILE": "mine"}


def workload(_: Path) -> dict[str, str]:
    """A workload that has an identity of its own."""
    return {
        "ANTHROPIC_FEDERATION_RULE_ID": "rule",
        "ANTHROPIC_ORGANIZATION_ID": "org",
        "ANTHROPIC_IDENTITY_TOKEN": "token",
    }


@pytest.mark.parametrize(
    "made",
    [
        lambda _: {"ANTHROPIC_API_KEY": "sk-ant-test"},
        lambda _: {"ANTHROPIC_AUTH_TOKEN": "token"},
        lambda _: {"ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer token"},
        lambda _: {"ANTHROPIC_CUSTOM_HEADERS": "X-Api-Key: key"},
        lambda _: {"ANTHROPIC_API_KEY": "", "ANTHROPIC_AUTH_TOKEN": "token"},
        profile,
        workload,
    ],
    ids=["key", "token", "bearer", "header", "empty-key", "profile", "workload"],
)
def test_every_way_to_credentials_that_the_sdk_has_counts(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    made: Callable[[Path], dict[str, str]],
) -> None:
    for name, value in made(tmp_path).items():
        monkeypatch.setenv(name, value)

    demand_credentials()
    assert is_set_up()


@pytest.mark.parametrize(
    ("environment", "set_up"),
    [
        ({}, False),
        ({"ANTHROPIC_API_KEY": ""}, False),
        ({"ANTHROPIC_BASE_URL": ""}, False),
        ({"ANTHROPIC_CUSTOM_HEADERS": "X-Api-Key: "}, False),
        # What is set and cannot be used is no reason to invent answers.
        ({"ANTHROPIC_API_KEY": " \n"}, True),
        ({"ANTHROPIC_API_KEY": " ", "ANTHROPIC_AUTH_TOKEN": "token"}, True),
        ({"ANTHROPIC_PROFILE": "nobody"}, True),
        ({"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}, True),
    ],
)
def test_what_is_empty_or_cannot_be_used_is_no_credential(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], set_up: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(NoCredentialsError):
        demand_credentials()
    assert is_set_up() is set_up


def test_a_client_that_can_send_nothing_is_refused_when_it_is_given() -> None:
    omitted: Any = {"Authorization": anthropic.Omit()}
    demand_credentials(anthropic.AsyncAnthropic(api_key="k"))
    demand_credentials(anthropic.AsyncAnthropic(default_headers=omitted))

    for empty in (None, "", " "):
        with pytest.raises(NoCredentialsError):
            demand_credentials(anthropic.AsyncAnthropic(api_key=empty))


def test_an_empty_base_url_in_the_environment_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from detent.model import SdkModel

    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "")
    model: Any = SdkModel()
    model._ready()

    assert model._client.base_url.host == "api.anthropic.com"


def test_a_client_and_a_base_url_contradict_each_other() -> None:
    client = anthropic.AsyncAnthropic(api_key="k")
    with pytest.raises(SettingsError, match="a client was given too"):
        choose_endpoint(client, "http://127.0.0.1:1", 1.0, 1.0)


async def test_a_server_that_is_not_there_fails_the_turn_and_keeps_the_input() -> None:
    from detent import RetryPolicy

    async with Conversation.open(
        "a",
        client=anthropic.AsyncAnthropic(api_key="k", base_url="http://127.0.0.1:9"),
        retry=RetryPolicy(attempts_max=1),
    ) as chat:
        turn = await chat.send("Hello")
        assert turn.fault is not None
        assert not turn.fault.outcome_unknown
        assert chat.snapshot.turn is not None
        assert b"Hello" in chat.snapshot.turn.content


def test_a_record_of_what_cannot_have_happened_is_refused() -> None:
    from detent import JournalCorruptError

    journal = MemoryStore().open("a")
    journal.append([ev.ConversationOpened(Profile("m", 9)), ev.RequestSent(1, 1)])

    with pytest.raises(JournalCorruptError, match="what cannot have happened"):
        load(journal.entries())

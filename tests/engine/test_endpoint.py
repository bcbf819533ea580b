"""Where requests go: what was given, what the SDK finds, or the simulator, said aloud."""

import logging

import anthropic
import pytest

from detent import Conversation, SettingsError, TurnState
from detent.endpoint import choose_endpoint, has_credentials
from detent.journal import MemoryStore
from detent.loading import load
from detent_states import events as ev
from detent_states.profile import Profile

pytestmark = pytest.mark.anyio


async def test_without_credentials_the_simulator_answers_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "detent"):
        async with Conversation.open("a") as chat:
            turn = await chat.send("Hello")

    assert turn.state is TurnState.CONFIRMED
    assert not chat.live
    assert chat.endpoint == "simulator"
    assert "built-in simulator" in caplog.text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ANTHROPIC_API_KEY", "sk-ant-test"),
        ("ANTHROPIC_AUTH_TOKEN", "token"),
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:1"),
    ],
)
def test_what_the_sdk_would_find_counts(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    assert not has_credentials()
    monkeypatch.setenv(variable, value)
    assert has_credentials()


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

"""Where requests go: what was given, what the SDK finds, or the simulator, if asked."""

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from tests.around import append_now

from turnlatch import (
    Conversation,
    NoCredentialsError,
    SettingsError,
    TurnlatchError,
    TurnState,
    sync,
)
from turnlatch.journal import MemoryStore, SQLiteStore
from turnlatch.journal.listing import list_readonly
from turnlatch.runtime.endpoint import choose_endpoint, demand_credentials, is_set_up
from turnlatch.runtime.resume import load
from turnlatch.simulator import Simulator
from turnlatch.simulator.server import run_in_thread
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch_states.machine import events as ev
from turnlatch_states.request.profile import Profile

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

        assert isinstance(caught.value, TurnlatchError)
        for said in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "client="):
            assert said in str(caught.value)
        assert 'client="simulator"' in str(caught.value)
        assert list(tmp_path.iterdir()) == [], "no store was made either"


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


def exported(**variables: str) -> Callable[[Path], dict[str, str]]:
    """Variables that need no file."""
    return lambda _: variables


@pytest.mark.parametrize(
    "made",
    [
        exported(ANTHROPIC_API_KEY="sk-ant-test"),
        exported(ANTHROPIC_AUTH_TOKEN="token"),
        exported(ANTHROPIC_CUSTOM_HEADERS="Authorization: Bearer token"),
        exported(ANTHROPIC_CUSTOM_HEADERS="X-Api-Key: key"),
        exported(ANTHROPIC_API_KEY="", ANTHROPIC_AUTH_TOKEN="token"),
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
def test_empty_or_unusable_value_is_not_a_credential(
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANTHROPIC_BASE_URL", "nope"),
        ("ANTHROPIC_BASE_URL", "user:marker@host"),
        ("ANTHROPIC_BASE_URL", "http://marker.invalid"),
        ("ANTHROPIC_BASE_URL", "https://user:marker@host:port"),
        ("HTTPS_PROXY", "http://user:marker@host:port"),
        ("http_proxy", "user:marker@host:port"),
        ("ALL_PROXY", "marker://host"),
        ("all_proxy", "socks5://marker.invalid:1"),
    ],
)
def test_unusable_environment_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)  # as where it is not installed
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        choose_endpoint(None, None, 600, 90)

    assert caught.value.setting == name
    assert "marker" not in "".join(traceback.format_exception(caught.value))
    assert is_set_up()


def test_usable_proxy_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")

    assert choose_endpoint(None, None, 600, 90).live


def test_empty_base_url_in_the_environment_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from turnlatch.sdk import SdkModel

    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "")
    model: Any = SdkModel()
    model._ready()

    assert model._client.base_url.host == "api.anthropic.com"


def test_a_client_and_a_base_url_contradict_each_other() -> None:
    client = anthropic.AsyncAnthropic(api_key="k")
    with pytest.raises(SettingsError, match="a client was given, too"):
        choose_endpoint(client, "http://127.0.0.1:1", 1.0, 1.0)


async def test_a_server_that_is_not_there_fails_the_turn_and_keeps_the_input() -> None:
    from turnlatch import RetryPolicy

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
    from turnlatch import JournalCorruptError

    journal = MemoryStore().open("a")
    append_now(journal, [ev.ConversationOpened(Profile("m", 9)), ev.RequestSent(1, 1)])

    with pytest.raises(JournalCorruptError, match="what cannot have happened"):
        load(journal.entries())


# Who answered is told by the record.


def real() -> anthropic.AsyncAnthropic:
    """A client of a server whose answers are not the simulator's."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        message = {
            "id": "msg_01R",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5-5",
            "content": [{"type": "text", "text": "Yes."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        return httpx2.Response(200, json=message)

    transport = httpx2.MockTransport(answer)
    http = httpx2.AsyncClient(transport=transport)
    return anthropic.AsyncAnthropic(api_key="k", http_client=http)


async def test_the_record_says_for_good_that_answers_were_made_up(
    tmp_path: Path,
) -> None:
    path = tmp_path / "chat.db"
    for store in (MemoryStore(), path):
        async with Conversation.open("a", store=store, client="simulator") as chat:
            assert not chat.simulated  # nothing was said yet
            assert (await chat.send("Hello")).simulated
            fork = chat.fork("b")
            await chat.rewind()
            assert chat.simulated
        async with fork:
            assert fork.simulated
        async with Conversation.open("c", store=store, client=real()) as chat:
            assert not (await chat.send("Hello")).simulated
            assert not chat.simulated
        async with Conversation.open("a", store=store, client="simulator") as chat:
            assert chat.simulated

        opened = SQLiteStore(store) if isinstance(store, Path) else store
        listed = {one.name: one.simulated for one in opened.conversations()}
        assert listed == {"a": True, "b": True, "c": False}
        opened.close()
    assert [one.simulated for one in list_readonly(path)] == [True, True, False]


async def test_a_summary_that_was_made_up_counts() -> None:
    store = MemoryStore()
    async with Conversation.open("a", store=store, client=real()) as chat:
        await chat.send("Hello")
        await chat.configure(
            client=anthropic.AsyncAnthropic(
                api_key="k",
                http_client=httpx2.AsyncClient(
                    transport=SimulatorTransport(Simulator())
                ),
            )
        )
        assert not chat.simulated
        await chat.compact()
        assert chat.simulated
    assert store.conversations()[0].simulated


async def test_simulated_answers_are_marked_behind_any_number_of_others() -> None:
    store = MemoryStore()
    transport = SimulatorTransport(Simulator())
    mine = anthropic.AsyncAnthropic(
        api_key="k", http_client=httpx2.AsyncClient(transport=transport)
    )
    for client, times in ((mine, 2), (real(), 3)):
        async with Conversation.open("a", store=store, client=client) as chat:
            for _ in range(times):
                await chat.send("Hello")

    async with Conversation.open("a", store=store, client=real()) as chat:
        assert chat.simulated
        told = [one.reply.simulated for one in chat.history]
        assert told == [True, True, False, False, False]
    assert store.conversations()[0].simulated


def test_simulator_behind_a_base_url_is_recognised_by_its_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "any")
    with (
        run_in_thread(Simulator()) as server,
        sync.Conversation.open("a", base_url=server.base_url) as chat,
    ):
        assert chat.live  # as far as can be seen
        assert chat.send("Hello").simulated
        assert chat.simulated


async def test_the_api_does_not_go_on_with_what_was_made_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore()
    async with Conversation.open("a", store=store, client="simulator") as chat:
        await chat.send("Hello")
    before = store.read("a")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test")

    with pytest.raises(SettingsError, match="answers that the simulator invented"):
        async with Conversation.open("a", store=store):
            pytest.fail("it is open")

    assert store.read("a") == before
    async with Conversation.open("b", store=store):
        pass  # one that has no such answers is open to it


async def test_the_simulator_adds_nothing_to_what_it_did_not_make_up() -> None:
    store = MemoryStore()
    async with Conversation.open("a", store=store, client=real()) as chat:
        await chat.send("Hello")
        with pytest.raises(SettingsError, match="has real answers"):
            await chat.configure(client="simulator")
        assert (await chat.send("Are you there?")).text == "Yes."
        assert not chat.simulated

    with pytest.raises(SettingsError, match="has real answers"):
        async with Conversation.open("a", store=store, client="simulator"):
            pytest.fail("it is open")

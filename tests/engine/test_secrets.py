"""A password in a URL and a key are shown nowhere, and nothing that holds one leaves."""

import copy
import json
import logging
import os
import pickle
import traceback
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import anthropic
import attrs
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import warm

import turnlatch
from turnlatch import Conversation, Limits, RetryPolicy, SettingsError, sync, tool
from turnlatch.journal import SQLiteStore
from turnlatch.runtime.endpoint import Endpoint
from turnlatch.runtime.environment import World
from turnlatch.sdk import SdkModel
from turnlatch.sdk.failures import from_status
from turnlatch.simulator import Scripted, Simulator, parse_faults, run_in_thread
from turnlatch.testing import SeededIds, VirtualClock
from turnlatch.urls import HoldsClient, shown_text, shown_url

pytestmark = pytest.mark.anyio

MARKER: Final = "hunter7marker"
KEY: Final = "sk-marker-of-a-key"
HEADER: Final = "Basic " + b64encode(f"user:{MARKER}".encode()).decode()
SECRETS: Final = (MARKER, KEY, HEADER.split()[1])

FAULTS: Final = {
    "none": "",
    "credentials": "401 @1",
    "overloaded": "529 @1",
    "refused": "400 @1",
    "cut off": "cut 2 eof @1",
    "a page": "html 502 @1",
}


def leaks(told: object) -> list[str]:
    """Which secrets are in what was told."""
    return [one for one in SECRETS if one in str(told)]


def with_user(url: str) -> str:
    return url.replace("://", f"://user:{MARKER}@")


async def told(tmp_path: Path, **options: Any) -> list[str]:
    """All that can be seen of a conversation and its store."""
    found: list[object] = []
    store = tmp_path / "chat.db"
    chat = Conversation.open(
        "a", store=store, clock=VirtualClock(), ids=SeededIds(), **options
    )
    async with chat:
        async with chat.stream("Go") as stream:
            found += [one async for one in stream]
            turn = await stream.turn()
        try:
            turn.raise_for_failure()
        except turnlatch.TurnlatchError as error:
            found += traceback.format_exception(error)
        found += [turn, turn.fault, chat, chat.endpoint, chat.snapshot, chat.profile]
        found += [chat.messages, chat.check(), chat.diagram("text")]
    found += [path.read_bytes() for path in list(tmp_path.iterdir())]  # noqa: ASYNC240
    return [f"{one} {one!r}" for one in found]


@pytest.mark.parametrize("whose", ["a base URL", "a client"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_password_in_a_base_url_is_shown_nowhere(
    fault: str,
    whose: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    # The name and password take the place of what the SDK would say itself.
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", f"x-api-key: {KEY}")
    simulator = Simulator(Scripted(["Fine."]), faults=parse_faults(FAULTS[fault]))
    caplog.set_level(logging.DEBUG)
    with run_in_thread(simulator) as server:
        url = with_user(server.base_url)
        if whose == "a client":
            async with anthropic.AsyncAnthropic(base_url=url) as client:
                found = await told(tmp_path, client=client)
        else:
            found = await told(tmp_path, base_url=url)

    assert [one for one in found if leaks(one)] == []
    assert leaks(caplog.text) == []
    assert server.base_url in caplog.text, "the transport logs where it sends"
    headers = [dict(exchange.headers) for exchange in simulator.log]
    assert {one.get("authorization") for one in headers} == {HEADER}, "it is sent"
    answered = any(one.status == 200 for one in simulator.log)
    assert answered is (fault not in ("credentials", "refused"))


def as_it_is(client: object) -> object:
    """Planted: the client sends as it was given."""
    return client


async def test_the_check_sees_a_password_in_a_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnlatch.sdk.sdk_model._with_plain_url", as_it_is)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with run_in_thread(Simulator(Scripted(["Fine."]))) as server:
        await told(tmp_path, base_url=with_user(server.base_url))

    assert leaks(caplog.text) == [MARKER]


async def test_the_check_sees_a_password_in_a_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnlatch.runtime.endpoint.shown_url", as_it_is)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with run_in_thread(Simulator(Scripted(["Fine."]))) as server:
        found = await told(tmp_path, base_url=with_user(server.base_url))

    assert [one for one in found if leaks(one)] != []


def test_password_in_a_redirect_is_not_shown() -> None:
    to = {"location": f"https://user:{MARKER}@host.invalid/a?token={KEY}"}
    fault = from_status(302, None, to, 0.0)

    assert fault.message.startswith("redirected to https://host.invalid/a;")


async def test_password_in_a_base_url_is_not_shown_when_no_server_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with run_in_thread(Simulator()) as server:
        url = with_user(server.base_url)
    retry = RetryPolicy(attempts_max=2)
    found = await told(tmp_path, base_url=url, retry=retry)

    assert [one for one in found if leaks(one)] == []
    assert leaks(caplog.text) == []
    assert any(f"({server.base_url})" in one for one in found), "it is named without it"


async def test_password_in_the_error_of_a_client_hook_is_not_shown(
    tmp_path: Path,
) -> None:
    async def refuse(response: httpx2.Response) -> None:
        raise httpx2.HTTPStatusError(
            f"404 for url 'https://user:{MARKER}@token.invalid/?key={KEY}'",
            request=response.request,
            response=httpx2.Response(404),
        )

    with run_in_thread(Simulator(Scripted(["Fine."]))) as server:
        hooks = {"response": [refuse]}
        async with anthropic.AsyncAnthropic(
            api_key=KEY,
            base_url=server.base_url,
            http_client=httpx2.AsyncClient(event_hooks=hooks),
        ) as client:
            chat = Conversation.open("a", store=tmp_path / "chat.db", client=client)
            async with chat:
                turn = await chat.send("Go")

    assert turn.fault is not None
    assert "https://token.invalid" in turn.fault.message
    assert leaks(f"{turn!r}") == []
    assert leaks((tmp_path / "chat.db").read_bytes()) == []


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{MARKER}@",
        f"https://user:{MARKER}@[bad",
        f"https://user:{MARKER}/x@host",
        f"http://user:{MARKER}@example.invalid",
        f"https://example.invalid/?api_key={MARKER}",
        f"https://example.invalid/#{MARKER}",
        f"https://user:{MARKER}@host:99999999",
    ],
)
@pytest.mark.parametrize("where", ["option", "environment"])
async def test_password_in_a_refused_url_is_not_shown(
    url: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
    options: dict[str, Any] = {"base_url": url}
    if where == "environment":
        monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
        options = {"retry": RetryPolicy(attempts_max=1)}
    try:
        found: object = await told(tmp_path, **options)
    except SettingsError as error:
        found = [*traceback.format_exception(error), repr(error), error.given]
    else:
        assert where == "environment", "an option is refused at once"

    assert leaks(found) == []


def test_password_is_not_shown_by_the_command(tmp_path: Path) -> None:
    with run_in_thread(Simulator(Scripted(["Fine."]))) as server:
        done = warm.run(
            [
                *("-m", "turnlatch", "chat", "notes"),
                *("--store", str(tmp_path / "chat.db")),
                *("--base-url", with_user(server.base_url)),
            ],
            input=b"Go\n",
            env={
                **os.environ,
                "ANTHROPIC_API_KEY": KEY,
                "ANTHROPIC_CUSTOM_HEADERS": f"x-api-key: {KEY}",
            },
            timeout=120,
        )

    told = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, told
    assert server.base_url in told
    assert leaks(told) == []


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
    st.sampled_from(["key", "access_token", "sig", "X-Amz-Signature", "q"]),
)
def test_a_url_is_shown_without_what_may_be_secret(word: str, name: str) -> None:
    secret = f"<{word}>".replace("<", "S-").replace(">", "-S")
    urls = [
        f"https://{secret}@host.invalid/a",
        f"https://user:{secret}@host.invalid:8443/a/",
        f"https://host.invalid/a?{name}={secret}&b=1",
        f"https://host.invalid/a#{name}={secret}",
        f"http://[::1]:80/?{name}={secret}",
    ]
    for url in urls:
        assert secret not in shown_url(url)
        assert secret not in shown_text(f"GET {url}: refused")
        assert "://" in shown_text(f"GET {url}: refused")


def test_a_url_that_has_nothing_secret_is_shown_whole() -> None:
    text = "see https://docs.invalid/en/api/errors, or http://127.0.0.1:80/a"

    assert shown_text(text) == text


WAYS: Final[dict[str, Callable[[Any], object]]] = {
    "pickle": pickle.dumps,
    "an old pickle": lambda one: pickle.dumps(one, 0),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "repr": repr,
    "str": str,
    "fields": lambda one: str(cast("object", getattr(one, "__dict__", one))),
    "asdict": lambda one: str(cast("object", attrs.asdict(one))),
    "json": lambda one: json.dumps(one, default=repr),
}


async def holders(tmp_path: Path) -> dict[str, object]:
    """Objects of every kind that a caller can hold, around a client with a key."""
    client = anthropic.AsyncAnthropic(
        api_key=KEY, base_url=f"https://u:{MARKER}@h.invalid"
    )
    store = SQLiteStore(tmp_path / "chat.db")
    chat = Conversation.open("a", store=store, client=client)
    found: dict[str, object] = {
        "a port": SdkModel(client),
        "a port with a key": SdkModel(
            api_key=KEY, base_url=f"https://u:{MARKER}@h.invalid"
        ),
        "a closed conversation": Conversation.open("b", client=client),
        "a sync conversation": sync.Conversation.open("c", client=client),
        "limits": Limits(),
        "a policy": RetryPolicy(),
    }
    async with chat:
        driver = chat._driver  # pyright: ignore[reportPrivateUsage] - it holds the rest
        assert driver is not None
        stream = chat.stream("Go")
        found |= {
            "a conversation": chat,
            "an endpoint": chat._endpoint,  # pyright: ignore[reportPrivateUsage]
            "a driver": driver,
            "a world": driver.world,
            "a journal": driver.world.journal,
            "a store": store,
            "a fork": chat.fork("f"),
            "a stream": stream,
            "a watch": chat.watch(),
            "a snapshot": chat.snapshot,
            "a profile": chat.profile,
            "a tool": tool(holders),
        }
    await client.close()
    return found


async def test_holder_of_a_key_reveals_it_to_no_converter(tmp_path: Path) -> None:
    assert taken_apart(await holders(tmp_path), WAYS) == []


def test_the_check_sees_what_is_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(HoldsClient, "__reduce_ex__")
    port = {"a port": SdkModel(api_key=KEY)}

    assert taken_apart(port, {"copy": copy.copy}) == ["a port: copy"]
    assert taken_apart({"a key": KEY}, {"pickle": pickle.dumps}) == ["a key: pickle"]


def taken_apart(
    things: Mapping[str, object], ways: Mapping[str, Callable[[Any], object]]
) -> list[str]:
    """What gives a secret or a client away, and how."""
    leaked: list[str] = []
    for name, one in things.items():
        for way, take in ways.items():
            try:
                taken = take(one)
            except Exception as error:  # noqa: BLE001 - to refuse is right, with whatever
                taken = str(error)
            if leaks(taken) or (way in ("copy", "deepcopy") and holds(taken)):
                leaked.append(f"{name}: {way}")
    return leaked


def holds(taken: object) -> bool:
    """True if a copy holds a client."""
    return isinstance(taken, HoldsClient | anthropic.AsyncAnthropic)


@pytest.mark.parametrize(
    "kind",
    [Conversation, sync.Conversation, SdkModel, Endpoint, World],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_object_with_a_client_says_why_it_is_not_pickled(
    kind: type[HoldsClient],
) -> None:
    one = kind.__new__(kind)

    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds a client, and so credentials"):
            take(one)

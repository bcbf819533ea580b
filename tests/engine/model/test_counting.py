"""Counting: what is judged is byte for byte what would be sent, and nothing else is."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, get_type_hints

import anthropic
import httpx2
import pytest
from anthropic.types import message_count_tokens_params as general
from anthropic.types.beta import message_count_tokens_params as beta
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.model.wire import BODY, Part, Server, ask, client

from turnlatch.ports import RequestFailedError
from turnlatch.sdk import ReplyLimits, SdkModel
from turnlatch.sdk.counting import COUNTED, count_body, counted
from turnlatch.sdk.sealing import ErrorEnvelopeError, IncompleteReplyError
from turnlatch.simulator import (
    Scripted,
    Simulator,
    Thinking,
    call,
    reply,
    serve,
)
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch_states.api.faults import Fault, FaultKind

pytestmark = pytest.mark.anyio

JSON = "application/json"
HEADERS = frozenset({"betas", "user_profile_id", "workspace_id"})
"""Parameters of the SDK that travel as headers."""


def uncounted(accepted: frozenset[str]) -> set[str]:
    """What the endpoint takes by the SDK's account and would not be sent, or the reverse."""
    known = {
        *get_type_hints(general.MessageCountTokensParams),
        *get_type_hints(beta.MessageCountTokensParams),
    }
    return (known - HEADERS) ^ accepted


def test_whatever_the_endpoint_takes_is_counted() -> None:
    assert uncounted(COUNTED) == set()


@pytest.mark.parametrize("name", sorted(COUNTED))
def test_forgotten_member_is_noticed(name: str) -> None:
    assert uncounted(COUNTED - {name}) == {name}
    assert uncounted(COUNTED | {"max_" + name}) == {"max_" + name}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m"}', b'{"model":"m"}'),
        (
            b'{ "model" : "m" , "x":1,"messages":[ {"a" : 1.10} , "\\u00e9\xc3\xa9" ]}\n',
            b'{"model":"m","messages":[ {"a" : 1.10} , "\\u00e9\xc3\xa9" ]}',
        ),
        (b'{"max_tokens":1,"stream":true}', b"{}"),
        (b'{"m\\u006fdel":"m"}', b'{"m\\u006fdel":"m"}'),
        (b'{"messages":["max_tokens",{"stream":1}]}',) * 2,
    ],
)
def test_members_stay_as_they_are_or_go(body: bytes, expected: bytes) -> None:
    assert count_body(body) == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
names = st.sampled_from([*sorted(COUNTED), "max_tokens", "stream", "metadata", "x"])


@given(st.dictionaries(names, values), st.booleans(), st.sampled_from([None, 1]))
def test_values_are_never_printed_again(
    body: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    def printed(value: object) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, indent=indent)

    try:
        whole = printed(body).encode()
    except UnicodeEncodeError:  # a lone surrogate
        return
    kept = {name: one for name, one in body.items() if name in COUNTED}

    asked = count_body(whole)

    assert json.loads(asked) == kept
    if indent is None:
        bare = "{" + ",".join(f'"{k}":{printed(one)}' for k, one in kept.items()) + "}"
        assert asked == bare.encode()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"{}x", b"\xff{}", b'{"a":1,"a":2}', b'{"a":NaN}']
)
async def test_body_that_cannot_be_read_is_not_sent(body: bytes) -> None:
    server = Server([b"{}"], type_=JSON)

    with pytest.raises(RequestFailedError, match="cannot be counted") as caught:
        await SdkModel(client(server)).count(ask(body=body))

    assert caught.value.fault.kind is FaultKind.LOCAL
    assert not caught.value.fault.outcome_unknown
    assert server.requests == []


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b'{"input_tokens":0}', 0),
        (b' {"new":[],"input_tokens":14, "context_management":null} ', 14),
    ],
)
def test_count_is_read(body: bytes, tokens: int) -> None:
    assert counted(body) == tokens


NO_COUNT = (
    b"",
    b"[]",
    b"14",
    b"{}",
    b'{"input_tokens":null}',
    b'{"input_tokens":"14"}',
    b'{"input_tokens":1.5}',
    b'{"input_tokens":true}',
    b'{"input_tokens":-1}',
    b'{"input_tokens":1',
    b'{"input_tokens":1}}',
    b"<html><title>Gateway</title>",
)


@pytest.mark.parametrize("body", NO_COUNT)
def test_answer_of_another_form_is_not_a_count(body: bytes) -> None:
    with pytest.raises(IncompleteReplyError):
        counted(body)


def test_envelope_in_a_success_is_the_servers_word() -> None:
    with pytest.raises(ErrorEnvelopeError):
        counted(b'{"type":"error","error":{"type":"api_error","message":"no"}}')


async def fault(server: Server, **options: Any) -> Fault:
    with pytest.raises(RequestFailedError) as caught:
        await SdkModel(client(server), **options).count(ask())
    return caught.value.fault


async def test_one_request_leaves_with_the_headers_of_a_message() -> None:
    server = Server([b'{"input_tokens":14}'], type_=JSON)
    model = SdkModel(client(server, default_headers={"anthropic-beta": "mine"}))

    assert await model.count(ask(betas=("a", "b"))) == 14

    (request,) = server.requests
    assert request.url == "https://api.test/prefix/v1/messages/count_tokens"
    assert request.content == b'{"model":"m"}' == count_body(BODY)
    assert request.headers["anthropic-beta"] == "mine,a,b"
    assert request.headers["authorization"] == "Bearer sk-canary"
    assert request.headers["x-stainless-retry-count"] == "0"
    assert server.body.closed


@pytest.mark.parametrize("through_middleware", [True, False])
async def test_count_passes_a_middleware(through_middleware: bool) -> None:
    server = Server([b'{"input_', b'tokens":14}'], type_=JSON)

    async def middleware(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    options = {"middleware": [middleware]} if through_middleware else {}

    assert await SdkModel(client(server, **options)).count(ask()) == 14


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FaultKind.INVALID),
        (401, FaultKind.AUTH),
        (413, FaultKind.TOO_LONG),
        (429, FaultKind.TRANSIENT),
        (529, FaultKind.TRANSIENT),
        (307, FaultKind.INVALID),
    ],
)
async def test_refusals_are_classified_as_those_of_a_message(
    status: int, kind: FaultKind
) -> None:
    server = Server([b"{}"], status, JSON, request_id="req_1", retry_after="7")

    found = await fault(server)

    assert (found.kind, found.status) == (kind, status)
    assert (found.request_id, found.retry_after) == ("req_1", 7)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "parts",
    [
        *([body] for body in NO_COUNT),
        [b'{"input_tokens":1}', httpx2.ReadError("reset")],
        [b'{"input_', OSError("gone")],
    ],
)
async def test_success_without_a_count_is_a_passing_fault(parts: list[Part]) -> None:
    server = Server(parts, type_=JSON, request_id="req_1")

    found = await fault(server)

    assert found.kind is FaultKind.TRANSIENT
    assert found.request_id == "req_1"
    assert found.message
    assert server.body.closed


async def test_stream_is_not_a_count() -> None:
    found = await fault(Server([b'data: {"input_tokens":1}\n\n']))

    assert found.kind is FaultKind.TRANSIENT


async def test_answer_has_bounds() -> None:
    found = await fault(
        Server([b" " * 99], type_=JSON), limits=ReplyLimits(reply_bytes=98)
    )
    assert "larger than 98 bytes" in found.message


async def test_missing_credentials_of_a_count_are_reported() -> None:
    server = Server([])
    with pytest.raises(RequestFailedError) as caught:
        await SdkModel(client(server, api_key=None)).count(ask())

    assert caught.value.fault.kind is FaultKind.AUTH
    assert server.requests == []


# Against the simulator.

BETAS = ("context-management-2025-06-27",)
TOOLS = [
    {
        "name": "look",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
    }
]
ASK: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 4_000,
    "system": "Bé brief.",
    "tools": TOOLS,
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "low"},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["\n\nHuman:"],
    "service_tier": "auto",
    "stream": True,
    "diagnostics": {"previous_message_id": None},
    "messages": [{"role": "user", "content": "hello"}],
}


@asynccontextmanager
async def connected(shell: str, simulator: Simulator) -> AsyncGenerator[Any]:
    """The SDK's client of a simulator; untyped, as its overloads are not under test."""
    if shell == "transport":
        http = httpx2.AsyncClient(transport=SimulatorTransport(simulator))
        async with anthropic.AsyncAnthropic(api_key="k", http_client=http) as one:
            yield one
    else:
        async with (
            serve(simulator) as server,
            anthropic.AsyncAnthropic(api_key="k", base_url=server.base_url) as one,
        ):
            yield one


async def exchanged(model: SdkModel, body: bytes) -> tuple[Any, int]:
    """The reply to a body, parsed, and how long its request was by its own account."""
    got = await model.send(ask(body=body), lambda _: None)
    found = json.loads(got.meta)
    usage = found["usage"]
    length = sum(
        usage.get(f"{kind}input_tokens") or 0
        for kind in ("", "cache_creation_", "cache_read_")
    )
    return json.loads(b"[" + got.content + b"]"), length


class TestAgainstTheSimulator:
    """Whatever was answered can be counted, and its count is what it took."""

    @pytest.fixture(params=["transport", "loopback"])
    def shell(self, request: pytest.FixtureRequest) -> str:
        shell: str = request.param
        return shell

    @pytest.fixture
    def anyio_backend(self, shell: str) -> str:
        """The loopback server is one of asyncio."""
        return "asyncio"

    async def test_count_is_what_the_message_takes(self, shell: str) -> None:
        simulator = Simulator(
            Scripted([reply(Thinking("hm"), "Reading.", call("look", path="é")), "42."])
        )
        messages: list[Any] = list(ASK["messages"])
        async with connected(shell, simulator) as sdk:
            model = SdkModel(sdk)
            for _ in range(2):
                body = json.dumps({**ASK, "messages": messages}, ensure_ascii=False)
                counts = await model.count(ask(body=body.encode()))
                content, length = await exchanged(model, body.encode())
                assert counts == length > 0
                used = [one["id"] for one in content if one["type"] == "tool_use"]
                results = [
                    {"type": "tool_result", "tool_use_id": one, "content": "4 C"}
                    for one in used
                ]
                messages += [
                    {"role": "assistant", "content": content},
                    {"role": "user", "content": [*results]},
                ]

        assert simulator.unscripted_rejections() == ()
        asked, sent, *_ = simulator.log
        assert (asked.path, sent.path) == ("/v1/messages/count_tokens", "/v1/messages")
        assert asked.raw == count_body(sent.raw)

    async def test_body_as_it_is_would_be_refused(self, shell: str) -> None:
        """The simulator sees what should have been left out."""
        body = json.dumps(ASK).encode()
        async with connected(shell, Simulator()) as sdk:
            with pytest.raises(anthropic.BadRequestError, match="Extra inputs"):
                await sdk.post(
                    "/v1/messages/count_tokens", cast_to=httpx2.Response, content=body
                )

    async def test_count_of_an_illegal_request_is_refused(self, shell: str) -> None:
        body = json.dumps({**ASK, "messages": []}).encode()
        async with connected(shell, Simulator()) as sdk:
            faults: list[Fault] = []
            for attempt in (SdkModel(sdk).count, sent_by(SdkModel(sdk))):
                with pytest.raises(RequestFailedError) as caught:
                    await attempt(ask(body=body))
                faults.append(caught.value.fault)

        of_count, of_message = faults
        assert (of_count.status, of_count.kind) == (of_message.status, of_message.kind)
        assert of_count.message == of_message.message

    async def test_faults_of_the_endpoint_are_faults(self, shell: str) -> None:
        simulator = Simulator(
            faults="529 retry-after=3 on count_tokens times 1,"
            " html 502 on count_tokens times 1, eof on count_tokens times 1,"
            " empty 200 on count_tokens times 1"
        )
        body = json.dumps(ASK).encode()
        faults: list[Fault] = []
        async with connected(shell, simulator) as sdk:
            model = SdkModel(sdk)
            for _ in range(4):
                with pytest.raises(RequestFailedError) as caught:
                    await model.count(ask(body=body))
                faults.append(caught.value.fault)
            assert await model.count(ask(body=body)) > 0

        assert [one.kind for one in faults] == [FaultKind.TRANSIENT] * 4
        assert [one.status for one in faults] == [529, 502, None, 200]
        assert faults[0].retry_after == 3


def sent_by(model: SdkModel) -> Any:
    async def send(request: Any) -> Any:
        return await model.send(request, lambda _: None)

    return send

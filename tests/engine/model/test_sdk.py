"""The model port at the wire: the SDK's real client over a scripted transport."""

import gzip
import json
import subprocess
import sys
from typing import Any

import anthropic
import anyio
import httpx2
import pytest
from tests.engine.model.wire import (
    BACKENDS,
    BODY,
    CLOSED,
    COMMENT,
    PING,
    SSE,
    START,
    STOP,
    WHOLE,
    WORD,
    Part,
    Pulse,
    Server,
    Silence,
    ask,
    client,
    ignore,
)

from turnlatch.errors import SettingsError
from turnlatch.ports import Delta, RequestFailedError, TextDelta
from turnlatch.sdk import ReplyLimits, SdkModel
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply

pytestmark = pytest.mark.anyio


async def send(server: Server, stream: bool = True, **options: Any) -> Reply:
    return await SdkModel(client(server), **options).send(ask(stream), ignore)


async def fault(server: Server, stream: bool = True, **options: Any) -> Fault:
    with pytest.raises(RequestFailedError) as caught:
        await send(server, stream, **options)
    return caught.value.fault


async def test_body_leaves_byte_for_byte_in_one_attempt() -> None:
    server = Server([WHOLE], type_="application/json")

    await SdkModel(client(server)).send(ask(False, ("a", "b")), ignore)

    (request,) = server.requests
    assert request.content == BODY
    assert request.url == "https://api.test/prefix/v1/messages"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer sk-canary"
    assert request.headers["x-stainless-retry-count"] == "0"
    assert request.headers["anthropic-beta"] == "a,b"


async def test_betas_are_added_to_the_clients_own() -> None:
    server = Server([WHOLE], type_="application/json")
    own = client(server, default_headers={"Anthropic-Beta": "mine, b"})
    model = SdkModel(own)

    await model.send(ask(False, ("b", "c")), ignore)
    await model.send(ask(False), ignore)

    sent = [request.headers["anthropic-beta"] for request in server.requests]
    assert sent == ["mine,b,c", "mine, b"]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 529])
async def test_client_that_would_retry_does_not(status: int) -> None:
    server = Server([b"{}"], status, "application/json", x_should_retry="true")

    found = await fault(server)

    assert found.kind is FaultKind.TRANSIENT
    assert found.status == status
    (request,) = server.requests
    assert request.headers["x-stainless-retry-count"] == "0"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    server = Server([], status, None, location="https://evil.test/v1/messages")

    found = await fault(server)

    assert found.kind is FaultKind.INVALID
    assert "https://evil.test" in found.message
    assert len(server.requests) == 1


async def test_missing_credentials_are_a_fault_with_a_remedy() -> None:
    server = Server([WHOLE])
    model = SdkModel(client(server, api_key=None))

    with pytest.raises(RequestFailedError) as caught:
        await model.send(ask(), ignore)

    assert caught.value.fault.kind is FaultKind.AUTH
    assert "ANTHROPIC_API_KEY" in caught.value.fault.message
    assert not caught.value.fault.outcome_unknown
    assert server.requests == []


async def test_key_leaves_unencrypted_to_loopback_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SettingsError, match="give an https URL"):
        SdkModel(api_key="sk-canary", base_url="http://gateway.test")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://gateway.test")
    model = SdkModel(api_key="sk-canary")

    with pytest.raises(RequestFailedError, match="use https") as caught:
        await model.send(ask(), ignore)

    assert caught.value.fault.kind is FaultKind.LOCAL


async def test_client_that_rewrites_bodies_is_refused() -> None:
    class AsyncAnthropicVertex(anthropic.AsyncAnthropic):
        pass

    with pytest.raises(SettingsError, match="AsyncAnthropicGoogleCloud"):
        SdkModel(AsyncAnthropicVertex(api_key="k"))


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(SettingsError, match="set both on the client"):
        SdkModel(client(Server([])), api_key="k")
    with pytest.raises(SettingsError, match="above 0"):
        SdkModel(idle_seconds=0)


async def test_own_client_is_closed_and_a_given_one_is_not() -> None:
    given = client(Server([WHOLE], type_="application/json"))
    model = SdkModel(given)
    await model.send(ask(), ignore)
    await model.aclose()
    assert not given.is_closed()

    own = SdkModel(api_key="k", base_url="http://127.0.0.1:9")
    with pytest.raises(RequestFailedError, match="ConnectError"):
        await own.send(ask(), ignore)
    await own.aclose()


def test_importing_it_imports_no_sdk() -> None:
    code = (
        "import sys, turnlatch.sdk; turnlatch.sdk.SdkModel(); "
        "assert not {'anthropic', 'httpx2', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("through_middleware", [True, False])
async def test_json_answer_is_sealed(stream: bool, through_middleware: bool) -> None:
    server = Server(
        [WHOLE[:9], WHOLE[9:]], type_="application/json", request_id="req_1"
    )

    async def middleware(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    options = {"middleware": [middleware]} if through_middleware else {}
    reply = await SdkModel(client(server, **options)).send(ask(stream), ignore)

    assert reply.content == b' {"type":"text","text":"h\\u0069"} '
    assert reply.request_id == "req_1"
    assert server.body.closed


async def test_error_status_through_middleware_is_a_fault() -> None:
    server = Server([b"{}"], 429, "application/json")

    async def middleware(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    with pytest.raises(RequestFailedError) as caught:
        await SdkModel(client(server, middleware=[middleware])).send(ask(), ignore)

    assert caught.value.fault.status == 429
    assert len(server.requests) == 1


async def test_stream_is_reported_and_sealed() -> None:
    server = Server([START, WORD, WORD, CLOSED, STOP], request_id="req_1")
    said: list[Delta] = []

    reply = await SdkModel(client(server)).send(ask(), said.append)

    assert reply.text == "hihi"
    assert reply.request_id == "req_1"
    assert not reply.inferred
    assert said[1:3] == [TextDelta(0, "hi"), TextDelta(0, "hi")]
    assert server.body.closed


async def test_compressed_answers_are_read() -> None:
    stream = gzip.compress(START + WORD + CLOSED + STOP)

    reply = await send(Server([stream[:50], stream[50:]], content_encoding="gzip"))
    assert reply.text == "hi"

    bomb = gzip.compress(b" " * 2_000_000)
    found = await fault(
        Server([bomb], type_="application/json", content_encoding="gzip"),
        limits=ReplyLimits(reply_bytes=100_000),
    )
    assert "larger than 100000 bytes" in found.message


@pytest.mark.parametrize(
    ("parts", "type_"),
    [
        ([], SSE),
        ([], None),
        ([], "application/json"),
        ([b""], "application/json"),
        ([b"<html><title>Gateway</title>"], "text/html"),
        ([WHOLE[:-9]], "application/json"),
        ([WHOLE[:-9], httpx2.ReadError("reset")], "application/json"),
        ([START, WORD], SSE),
        ([START, WORD, httpx2.RemoteProtocolError("cut")], SSE),
        ([START, WORD, httpx2.ReadTimeout("stalled")], SSE),
        ([START, WORD, OSError("gone")], SSE),
        ([START, CLOSED[:-1]], SSE),
        ([START, b"event: message_stop\ndata: {\n\n"], SSE),
        ([START, START], SSE),
        ([START, b"\xff\n\n"], SSE),
    ],
)
async def test_less_than_a_whole_reply_is_a_fault_with_unknown_outcome(
    parts: list[Part], type_: str | None
) -> None:
    server = Server(parts, type_=type_, request_id="req_1")

    found = await fault(server)

    assert found.kind is FaultKind.TRANSIENT
    assert found.outcome_unknown
    assert found.request_id == "req_1"
    assert found.message
    assert server.body.closed


@pytest.mark.parametrize("tail", [[], [httpx2.ReadError("reset")], [STOP[:-1]]])
async def test_whole_reply_without_its_closing_event_is_inferred(
    tail: list[Part],
) -> None:
    reply = await send(Server([START, WORD, CLOSED, *tail]))

    assert reply.inferred
    assert reply.text == "hi"


async def test_error_event_is_a_fault_of_the_server() -> None:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    data = json.dumps({"type": "error", "error": error, "request_id": "req_b"})
    event = f"event: error\ndata: {data}\n\n".encode()

    found = await fault(Server([START, WORD, event]))

    assert found == await fault(Server([data.encode()], type_="application/json"))
    assert (found.kind, found.status) == (FaultKind.TRANSIENT, 200)
    assert (found.type, found.message) == ("overloaded_error", "Overloaded")
    assert found.request_id == "req_b"
    assert not found.outcome_unknown


async def test_exception_of_the_listener_is_not_a_fault_of_the_request() -> None:
    server = Server([START, WORD, Silence()])

    def listener(delta: Delta) -> None:
        raise LookupError(delta)

    with pytest.raises(LookupError):
        await SdkModel(client(server)).send(ask(), listener)

    assert server.body.closed


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (httpx2.ConnectError("refused"), False),
        (httpx2.ConnectTimeout("slow"), False),
        (httpx2.ReadTimeout("slow"), True),
        (httpx2.RemoteProtocolError("gone"), True),
    ],
)
async def test_outcome_is_unknown_once_the_request_left(
    error: Exception, unknown: bool
) -> None:
    found = await fault(Server([error], 0))

    assert found.kind is FaultKind.TRANSIENT
    assert found.outcome_unknown is unknown


async def test_cancellation_passes_and_closes_the_response() -> None:
    server = Server([START, WORD, Silence()])
    model = SdkModel(client(server))

    with anyio.CancelScope() as scope:

        def cancel(delta: Delta) -> None:
            if isinstance(delta, TextDelta):
                scope.cancel()

        await model.send(ask(), cancel)

    assert scope.cancelled_caught
    assert server.body.closed


class TestInVirtualTime:
    """Hours in an instant, on both event loops."""

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(
        self, request: pytest.FixtureRequest
    ) -> tuple[str, dict[str, Any]]:
        return BACKENDS[request.param]()

    @pytest.mark.parametrize(
        ("tail", "seconds"),
        [
            (Silence(), (60, 68)),  # nothing at all
            (Pulse(PING, 10), (600, 600.1)),  # pings are no silence …
            (Pulse(COMMENT, 10), (600, 600.1)),
            (Pulse(b" ", 59), (600, 600.1)),  # … and no progress
        ],
    )
    async def test_unfinished_stream_ends_in_time(
        self, tail: Part, seconds: tuple[float, float]
    ) -> None:
        begun, server = anyio.current_time(), Server([START, WORD, tail])

        found = await fault(server)

        assert seconds[0] <= anyio.current_time() - begun <= seconds[1] + 1
        assert found.kind is FaultKind.TRANSIENT
        assert found.outcome_unknown
        assert "s" in found.message
        assert server.body.closed

    @pytest.mark.parametrize("tail", [Silence(), Pulse(PING, 0.5), Pulse(COMMENT, 0.1)])
    async def test_whole_reply_waits_only_the_grace_time(self, tail: Part) -> None:
        begun = anyio.current_time()

        reply = await send(Server([START, WORD, 20.0, CLOSED, tail]))

        assert reply.inferred
        assert 22 <= anyio.current_time() - begun <= 23.1

    async def test_finished_reply_does_not_wait_for_the_connection(self) -> None:
        begun = anyio.current_time()

        reply = await send(Server([START, WORD, CLOSED, STOP, Silence()]))

        assert not reply.inferred
        assert anyio.current_time() - begun <= 1.1

    async def test_answer_that_does_not_end_is_given_up(self) -> None:
        begun = anyio.current_time()

        found = await fault(Server([WHOLE[:9], Silence()], type_="application/json"))

        assert "within 600 s" in found.message
        assert 600 <= anyio.current_time() - begun <= 601.1

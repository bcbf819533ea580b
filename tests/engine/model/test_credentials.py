"""Credentials: what was refused is not kept, and new ones need no new connection."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anthropic
import anyio
import anyio.abc
import httpx2
import pytest
from anthropic.lib.credentials import AccessToken
from anthropic.lib.credentials._workload import WorkloadIdentityError
from tests.engine.model.wire import WHOLE, Server, ask, client, ignore

from turnlatch.ports import RequestFailedError
from turnlatch.sdk import SdkModel
from turnlatch.sdk.failures import fault_of
from turnlatch_states.api.faults import Fault, FaultKind

pytestmark = pytest.mark.anyio


class Office:
    """Hands out tokens, and notes when it was told to make a new one."""

    def __init__(self) -> None:
        self.forced: list[bool] = []

    async def __call__(self, *, force_refresh: bool = False) -> AccessToken:
        self.forced.append(force_refresh)
        return AccessToken(token=f"token-{len(self.forced)}", expires_at=None)


async def refused(model: SdkModel) -> Fault:
    with pytest.raises(RequestFailedError) as caught:
        await model.send(ask(), ignore)
    return caught.value.fault


async def test_token_that_was_refused_is_not_sent_again() -> None:
    office, server = Office(), Server([b"{}"], 401, "application/json")
    model = SdkModel(client(server, api_key=None, credentials=office))

    assert (await refused(model)).kind is FaultKind.AUTH
    assert (await refused(model)).kind is FaultKind.AUTH

    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer token-1", "Bearer token-2"]
    assert office.forced == [False, True]


async def test_token_is_kept_as_long_as_it_is_good() -> None:
    office, server = Office(), Server([WHOLE], type_="application/json")
    model = SdkModel(client(server, api_key=None, credentials=office))

    for status in (200, 429, 529, 200):
        server.status = status
        if status == 200:
            await model.send(ask(), ignore)
        else:
            await refused(model)

    assert office.forced == [False]


ENVELOPE = b'{"type":"error","error":{"type":"permission_error","message":"no"}}'


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"{}", FaultKind.AUTH),
        (403, ENVELOPE, FaultKind.AUTH),
        (403, b"{}", FaultKind.TRANSIENT),
        (403, b"<html><body>Blocked</body></html>", FaultKind.TRANSIENT),
        (403, b'{"error":{"message":"no","type":"guardrail"}}', FaultKind.TRANSIENT),
        (407, b"<html></html>", FaultKind.AUTH),
    ],
)
async def test_refused_key_is_a_refused_key_where_the_api_says_so(
    status: int, body: bytes, kind: FaultKind
) -> None:
    """A 403 in other words than the API's is no word about credentials."""
    model = SdkModel(client(Server([body], status, "application/json")))

    assert (await refused(model)).kind is kind


@pytest.mark.parametrize("status", [302, 400, 404, 405, 410, 418, 421, 422, 431, 451])
@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b'{"type":"error","error":{"type":"invalid_request_error"}}', "by the API"),
        (b'{"error":{"message":"no","type":"not_found_error"}}', "by the API"),
        (b'{"detail":"no such model"}', "by a gateway"),
        (b"<html><body>404</body></html>", "by nobody"),
        (b"default backend - 404", "by nobody"),
        (b"", "by nobody"),
    ],
)
async def test_a_refusal_is_definite_where_who_gives_it_has_read_the_request(
    status: int, body: bytes, read: str
) -> None:
    """A page of a router or a proxy says no to whatever comes."""
    fault = await refused(SdkModel(client(Server([body], status, "application/json"))))

    told = read == "by the API" or (read == "by a gateway" and status in (400, 422))
    assert fault.kind is FaultKind.INVALID
    assert (fault.definite, fault.foreign, fault.may_pass) == (told, not told, not told)


def exchange_failed(
    status: int | None = None, cause: Exception | None = None
) -> WorkloadIdentityError:
    error = WorkloadIdentityError("no token", status_code=status)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exchange_failed(), FaultKind.AUTH),
        (exchange_failed(400), FaultKind.AUTH),
        (exchange_failed(401), FaultKind.AUTH),
        (exchange_failed(403), FaultKind.AUTH),
        (exchange_failed(None, KeyError("access_token")), FaultKind.AUTH),
        (exchange_failed(200, ValueError("no JSON")), FaultKind.TRANSIENT),
        (exchange_failed(429), FaultKind.TRANSIENT),
        (exchange_failed(503), FaultKind.TRANSIENT),
        (exchange_failed(None, httpx2.ConnectError("refused")), FaultKind.TRANSIENT),
        (exchange_failed(None, httpx2.ReadTimeout("slow")), FaultKind.TRANSIENT),
    ],
)
async def test_office_that_had_a_bad_moment_may_have_a_better_one(
    error: WorkloadIdentityError, kind: FaultKind
) -> None:
    async def office(*, force_refresh: bool = False) -> AccessToken:
        raise error

    server = Server([WHOLE])
    fault = await refused(SdkModel(client(server, api_key=None, credentials=office)))

    assert fault == fault_of(error, 0.0)
    assert fault.kind is kind
    assert not fault.outcome_unknown  # nothing left
    assert server.requests == []


# A swap while a conversation goes on.

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    % (len(WHOLE), WHOLE)
)


class Peer:
    """Answers every request over a real socket, and notes who asked."""

    def __init__(self) -> None:
        self.connections = 0
        self.keys: list[bytes] = []

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        self.connections += 1
        seen = b""
        async with stream:
            while True:
                try:
                    seen += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                if seen.endswith(b"}"):
                    head = seen.lower().partition(b"authorization: bearer ")[2]
                    self.keys.append(head.partition(b"\r\n")[0])
                    seen = b""
                    await stream.send(ANSWER)


@asynccontextmanager
async def listening(peer: Peer) -> AsyncGenerator[str, None]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, peer.serve)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def test_new_key_goes_over_the_same_connection() -> None:
    peer = Peer()

    async with (
        listening(peer) as url,
        anthropic.AsyncAnthropic(api_key="old", base_url=url) as old,
    ):
        await SdkModel(old).send(ask(), ignore)
        copy = SdkModel(old.with_options(api_key="new"))
        await copy.send(ask(), ignore)
        await copy.aclose()  # not its own: the connection stays
        await SdkModel(old).send(ask(), ignore)

    assert peer.keys == [b"old", b"new", b"old"]
    assert peer.connections == 1


async def test_key_that_is_set_on_the_client_counts_from_the_next_request_on() -> None:
    peer = Peer()

    async with (
        listening(peer) as url,
        anthropic.AsyncAnthropic(api_key="old", base_url=url) as sdk,
    ):
        model = SdkModel(sdk)
        await model.send(ask(), ignore)
        sdk.api_key = "new"
        await model.send(ask(), ignore)

    assert peer.keys == [b"old", b"new"]
    assert peer.connections == 1


async def test_port_that_was_closed_makes_a_new_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = Peer()

    async with listening(peer) as url:
        model = SdkModel(base_url=url)
        for key in ("first", "second"):
            monkeypatch.setenv("ANTHROPIC_API_KEY", key)
            await model.send(ask(), ignore)
            await model.aclose()

    assert peer.keys == [b"first", b"second"]
    assert peer.connections == 2

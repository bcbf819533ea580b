"""The model port over a real socket: what a transport in memory cannot show."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest

from turnlatch.ports import RequestFailedError
from turnlatch.sdk import SdkModel
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.build import Request
from turnlatch_states.request.profile import Purpose

pytestmark = pytest.mark.anyio

BODY = b'{"model":"m","stream":true}'
EVENTS = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1",'
    b'"type":"message","content":[],"stop_reason":null}}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta",'
    b'"delta":{"stop_reason":"end_turn"}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def chunked(parts: Sequence[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


class Peer:
    """Reads one request after another and answers each with the same bytes."""

    def __init__(self, answer: bytes, then_close: bool = False) -> None:
        self.answer = answer
        self.then_close = then_close
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        self.connections += 1
        async with stream:
            seen = b""
            while True:
                try:
                    seen += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                if seen.endswith(BODY):
                    self.requests.append(seen)
                    seen = b""
                    await stream.send(self.answer)
                    if self.then_close:
                        return


@asynccontextmanager
async def listening(
    peer: Peer, key: str = "sk-canary"
) -> AsyncGenerator[SdkModel, None]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, peer.serve)
        model = SdkModel(api_key=key, base_url=f"http://127.0.0.1:{port}")
        try:
            yield model
        finally:
            await model.aclose()
            tasks.cancel_scope.cancel()


async def ask(model: SdkModel) -> Reply:
    return await model.send(
        Request(1, 1, Purpose.MESSAGE, BODY, stream=True), lambda _: None
    )


async def test_connection_is_used_again_after_a_stream() -> None:
    peer = Peer(HEAD + chunked(EVENTS) + b"0\r\n\r\n")

    async with listening(peer) as model:
        for _ in range(3):
            assert (await ask(model)).stop_reason == "end_turn"

    assert peer.connections == 1
    assert len(peer.requests) == 3
    assert all(b"x-stainless-retry-count: 0" in one.lower() for one in peer.requests)


async def test_cut_connection_is_a_fault_before_the_reply_is_whole() -> None:
    async with listening(Peer(HEAD + chunked(EVENTS[:1]), then_close=True)) as model:
        with pytest.raises(RequestFailedError) as caught:
            await ask(model)

    assert caught.value.fault.kind is FaultKind.TRANSIENT
    assert caught.value.fault.outcome_unknown


async def test_cut_connection_after_a_whole_reply_is_not_a_fault() -> None:
    async with listening(Peer(HEAD + chunked(EVENTS[:2]), then_close=True)) as model:
        assert (await ask(model)).inferred


async def test_key_that_cannot_be_sent_is_not_shown() -> None:
    for key in ("sk-canary\n", "sk-canary\0x"):
        peer = Peer(b"")
        async with listening(peer, key) as model:
            with pytest.raises(RequestFailedError) as caught:
                await ask(model)
            assert "canary" not in repr(model)

        assert caught.value.fault.kind is FaultKind.LOCAL
        assert "canary" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert peer.requests == []

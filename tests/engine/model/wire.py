"""A scripted peer for the SDK's real client, and event loops whose time jumps."""

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import anthropic
import anyio
import httpx2
import trio.testing

from turnlatch.ports import Delta
from turnlatch_states.request.build import Request
from turnlatch_states.request.profile import Purpose

BODY = '{"model":"m","x":1.10,"stream":true,"é":"\\u00e9"}'.encode()
WHOLE = (
    b'{"id":"msg_1","type":"message","content":[ {"type":"text","text":"h\\u0069"} ],'
    b'"stop_reason":"end_turn","usage":{"input_tokens":1}}'
)
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1",'
    b'"type":"message","content":[],"stop_reason":null}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
)
WORD = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"hi"}}\n\n'
)
CLOSED = (
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta",'
    b'"delta":{"stop_reason":"end_turn"}}\n\n'
)
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
COMMENT = b": still here\n\n"
SSE = "text/event-stream; charset=utf-8"


class Silence(Exception):
    """In a script: nothing comes any more."""


class Pulse:
    """In a script: these bytes, every so many seconds, for ever."""

    def __init__(self, said: bytes, seconds: float) -> None:
        self.said = said
        self.seconds = seconds


Part = bytes | float | Pulse | Exception  # a number: seconds of silence


class Body(httpx2.AsyncByteStream):
    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            match part:
                case Silence():
                    await anyio.sleep_forever()
                case Exception():
                    raise part
                case float() | int():
                    await anyio.sleep(part)
                case Pulse():
                    while True:
                        await anyio.sleep(part.seconds)
                        yield part.said
                case _:
                    yield part

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()  # closing may be cancelled, too
        self.closed += 1


class Server(httpx2.AsyncBaseTransport):
    """Answers every request alike, if at all, and remembers what came."""

    def __init__(
        self,
        parts: Sequence[Part],
        status: int = 200,
        type_: str | None = SSE,
        headers_after: float = 0.0,
        **headers: str,
    ) -> None:
        self.body = Body(parts)
        self.headers_after = headers_after
        self.given_up = 0  # requests that were cancelled before their headers
        self.status = status
        self.headers = {name.replace("_", "-"): one for name, one in headers.items()}
        self.headers |= {"content-type": type_} if type_ is not None else {}
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        await request.aread()
        if self.body.parts and self.status == 0:
            assert isinstance(self.body.parts[0], Exception)
            raise self.body.parts[0]
        try:
            await anyio.sleep(self.headers_after)
        except anyio.get_cancelled_exc_class():
            self.given_up += 1
            raise
        return httpx2.Response(self.status, headers=self.headers, stream=self.body)


def client(server: Server, **options: Any) -> anthropic.AsyncAnthropic:
    given: dict[str, Any] = {
        "api_key": "sk-canary",
        "base_url": "https://api.test/prefix",
    }
    return anthropic.AsyncAnthropic(
        **(given | options), http_client=httpx2.AsyncClient(transport=server)
    )


def ask(
    stream: bool = True, betas: tuple[str, ...] = (), body: bytes = BODY
) -> Request:
    return Request(1, 1, Purpose.MESSAGE, body, betas, stream)


def ignore(_: Delta) -> None:
    pass


class _Jump(selectors.DefaultSelector):
    """Waits for nothing but other threads: time jumps to the next timer instead."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(timeout if timeout is None else min(timeout, 0.02))
        if not ready and timeout:
            self.skipped += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return super().time() + self._jump.skipped

    def skip(self, seconds: float) -> None:
        """Let time pass while nothing else can."""
        self._jump.skipped += seconds


BACKENDS: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
    "asyncio": lambda: ("asyncio", {"loop_factory": JumpingLoop}),
    "trio": lambda: (
        "trio",
        {"clock": trio.testing.MockClock(autojump_threshold=0.02)},
    ),
}

"""A simulator inside the process: transports for `httpx2`, which the SDK is built on.

    client = simulated_client(simulator)  # an anthropic.AsyncAnthropic without retries

Nothing leaves the process and nothing waits unless `sleep` does. A response that ends
badly raises what the real HTTP stack raises for it: `httpx2.RemoteProtocolError` for a
short body, `httpx2.ReadError` for a reset, `httpx2.ReadTimeout` for a stall.
"""

import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Final, NoReturn, final

import anyio
import httpx2

from turnlatch.simulator.core import Simulator
from turnlatch.simulator.wire import (
    NO_HEADERS,
    ApiRequest,
    ApiResponse,
    Ending,
    as_object,
)

if TYPE_CHECKING:
    import anthropic

_EXTENSIONS: Final = {"http_version": b"HTTP/1.1"}


def simulated_client(
    simulator: Simulator, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
) -> "anthropic.AsyncAnthropic":
    """An SDK client that talks to a simulator, without retries and without a network.

    Args:
        simulator: Who answers.
        sleep: As in `SimulatorTransport`.
    """
    import anthropic

    transport = SimulatorTransport(simulator, sleep=sleep)
    return anthropic.AsyncAnthropic(
        api_key="simulated",
        base_url="http://simulator.invalid",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport),
    )


@final
class SimulatorTransport(httpx2.AsyncBaseTransport):
    """The asynchronous one, under asyncio or trio.

    Args:
        simulator: Who answers.
        sleep: How a delay passes; inject a recorder where no time may pass. A delay
            longer than the request's read timeout raises `httpx2.ReadTimeout` after
            that time, and a stall without such a timeout sleeps for `math.inf`.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._simulator = simulator
        self._sleep = sleep

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request; called by the client."""
        await request.aread()
        response = self._simulator.handle(_api_request(request))
        body = _AsyncBody(self._simulator, response, request, self._sleep)
        try:
            await body.wait(response.delay_seconds)
            if response.status == NO_HEADERS:
                await body.end()
        except BaseException:
            # The client gave up or the connection died: the server is done as well.
            self._simulator.finish(response)
            raise
        return httpx2.Response(
            response.status,
            headers=list(response.headers),
            stream=body,
            extensions=_EXTENSIONS,
            request=request,
        )


@final
class SyncSimulatorTransport(httpx2.BaseTransport):
    """The synchronous one; it may be used from several threads.

    Args:
        simulator: Who answers.
        sleep: As in `SimulatorTransport`.
    """

    def __init__(
        self, simulator: Simulator, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._simulator = simulator
        self._sleep = sleep
        self._lock = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request; called by the client."""
        request.read()
        with self._lock:
            response = self._simulator.handle(_api_request(request))
        body = _Body(self._simulator, response, request, self._sleep, self._lock)
        try:
            body.wait(response.delay_seconds)
            if response.status == NO_HEADERS:
                body.end()
        except BaseException:
            body.close()
            raise
        return httpx2.Response(
            response.status,
            headers=list(response.headers),
            stream=body,
            extensions=_EXTENSIONS,
            request=request,
        )


@final
class _AsyncBody(httpx2.AsyncByteStream):
    def __init__(
        self,
        simulator: Simulator,
        response: ApiResponse,
        request: httpx2.Request,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._simulator = simulator
        self._response = response
        self._request = request
        self._sleep = sleep

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._response.chunks
        for place, chunk in enumerate(chunks):
            await self.wait(chunk.delay_seconds)
            if place == len(chunks) - 1 and self._response.ending == "complete":
                # Before it leaves: who has read the end may send the next request.
                self._simulator.finish(self._response)
            yield chunk.data
        await self.end()

    async def aclose(self) -> None:
        self._simulator.finish(self._response)

    async def wait(self, seconds: float) -> None:
        if not seconds:
            return
        limit = _read_timeout(self._request)
        await self._sleep(min(seconds, limit))
        if seconds > limit:
            _raise_timeout(self._request)

    async def end(self) -> None:
        if self._response.ending == "stall":
            await self._sleep(_read_timeout(self._request))
        _end(self._response, self._request)


@final
class _Body(httpx2.SyncByteStream):
    def __init__(
        self,
        simulator: Simulator,
        response: ApiResponse,
        request: httpx2.Request,
        sleep: Callable[[float], None],
        lock: threading.Lock,
    ) -> None:
        self._simulator = simulator
        self._response = response
        self._request = request
        self._sleep = sleep
        self._lock = lock

    def __iter__(self) -> Iterator[bytes]:
        chunks = self._response.chunks
        for place, chunk in enumerate(chunks):
            self.wait(chunk.delay_seconds)
            if place == len(chunks) - 1 and self._response.ending == "complete":
                self.close()
            yield chunk.data
        self.end()

    def close(self) -> None:
        with self._lock:
            self._simulator.finish(self._response)

    def wait(self, seconds: float) -> None:
        if not seconds:
            return
        limit = _read_timeout(self._request)
        self._sleep(min(seconds, limit))
        if seconds > limit:
            _raise_timeout(self._request)

    def end(self) -> None:
        if self._response.ending == "stall":
            limit = _read_timeout(self._request)
            # `time.sleep` refuses infinity; a day is as good in a test that hangs.
            self._sleep(limit if limit < math.inf else 86_400.0)
        _end(self._response, self._request)


def _api_request(request: httpx2.Request) -> ApiRequest:
    headers = tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1"))
        for name, value in request.headers.raw
    )
    path = request.url.raw_path.decode("ascii")
    return ApiRequest(request.method, path, headers, request.content)


def _read_timeout(request: httpx2.Request) -> float:
    timeouts: object = request.extensions.get("timeout")
    value = (as_object(timeouts) or {}).get("read")
    return float(value) if isinstance(value, int | float) else math.inf


def _raise_timeout(request: httpx2.Request) -> NoReturn:
    raise httpx2.ReadTimeout("The read operation timed out", request=request)


def _end(response: ApiResponse, request: httpx2.Request) -> None:
    """Raise what the real stack raises when a body ends like this."""
    ending: Ending = response.ending
    if ending == "complete":
        return
    if ending == "stall":
        _raise_timeout(request)
    if ending == "reset":
        raise httpx2.ReadError("[Errno 104] Connection reset by peer", request=request)
    if response.status == NO_HEADERS:
        text = "Server disconnected without sending a response."
    elif (announced := response.header("content-length")) is not None:
        received = len(response.body)
        if received == int(announced):
            return
        text = (
            "peer closed connection without sending complete message body (received"
            f" {received} bytes, expected {announced})"
        )
    else:
        text = (
            "peer closed connection without sending complete message body (incomplete"
            " chunked read)"
        )
    raise httpx2.RemoteProtocolError(text, request=request)

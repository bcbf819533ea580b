"""The model port over the `anthropic` SDK: bytes out, one whole reply or one fault in.

The SDK authenticates, signs, routes and sends; it does not encode what leaves, decode
what comes, or retry. The body leaves byte for byte, and the reply is sealed from the
bytes that arrived.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any, Protocol, TypeAlias, cast, final
from urllib.parse import urlsplit

import anyio
import attrs

from detent.model.assembly import Assembly
from detent.model.failures import fault_of, from_status, not_whole, tells_secrets
from detent.model.sealing import NotWholeError, ServerSaidError, seal
from detent.model.sse import Limits, Splitter
from detent.ports import Delta, RequestFailedError
from detent_states.faults import Fault, FaultKind
from detent_states.history import Request
from detent_states.reply import Reply

CLOSE_SECONDS_MAX = 1.0
"""Longest wait for a connection to close; a cancelled turn waits no longer either."""

DRAIN_SECONDS_MAX = 0.05
"""Longest wait, after the closing event, for the end of the stream. It comes at once
from a healthy server, and only a stream that was read to its end gives its connection
back to the pool."""

IDLE_SLACK = 0.125
"""Share of the idle time by which a silence may be longer before it is noticed."""

CONNECT_SECONDS_MAX = 5.0
"""Longest wait for a connection, in a client that is made here."""

_REWRITE_BODY = frozenset({"AsyncAnthropicBedrock", "AsyncAnthropicVertex"})
# These move parts of the body to the URL, so no sealed bytes can pass through them.


class _Response(Protocol):
    """What is used of the SDK's `httpx2.Response`."""

    @property
    def headers(self) -> Any: ...
    @property
    def is_closed(self) -> bool: ...
    @property
    def stream(self) -> Any: ...
    def aiter_bytes(self) -> AsyncGenerator[bytes, None]: ...
    def aiter_raw(self) -> AsyncGenerator[bytes, None]: ...
    async def aclose(self) -> None: ...


class SdkClient(Protocol):
    """Any asynchronous client of the SDK, as far as it is used."""

    @property
    def default_headers(self) -> Any:
        """The headers of every request."""
        ...

    async def close(self) -> None:
        """Give back the connections."""
        ...


_Send: TypeAlias = Callable[[bytes, dict[str, Any]], Any]


@final
class SdkModel:
    """Sends requests through a client of the `anthropic` SDK, one attempt at a time.

    Args:
        client: An asynchronous client of the SDK: `AsyncAnthropic`, or one for a
            platform that takes the API's own bodies (Foundry, AWS, Google Cloud,
            Bedrock Mantle). Not closed here. Without one, an `AsyncAnthropic` is made
            when the first request leaves.
        base_url: Where a client that is made here sends to; https, or loopback.
        api_key: The key of a client that is made here; else the SDK looks for one.
        total_seconds: Longest duration of one attempt, from its start to its reply.
        idle_seconds: Longest silence of a stream that has begun. Pings are no silence;
            `total_seconds` bounds them.
        grace_seconds: How long the closing event of a reply that is whole without it
            is waited for. Pings do not prolong it.
        limits: How much one reply may be.
        now: Seconds since the epoch, to read retry hints that are given as a date.
    """

    def __init__(
        self,
        client: SdkClient | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        total_seconds: float = 600.0,
        idle_seconds: float = 60.0,
        grace_seconds: float = 2.0,
        limits: Limits | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if client is not None and (base_url is not None or api_key is not None):
            raise ValueError("give a client, or base_url and api_key, not both")
        if not min(total_seconds, idle_seconds, grace_seconds) > 0:
            raise ValueError("total, idle and grace seconds must be above 0")
        self._client = client
        self._own = client is None
        self._base_url = base_url
        self._api_key = api_key
        self._total = total_seconds
        self._idle = idle_seconds
        self._grace = grace_seconds
        self._limits = limits if limits is not None else Limits()
        self._now = now
        self._send: _Send | None = None
        self._betas: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<SdkModel over {type(self._client).__name__}>"  # never the key

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        """Send the bytes as they are and return the whole reply.

        Exactly one HTTP request is made, and no redirect is followed.

        Raises:
            RequestFailedError: Anything but a whole reply, with the fault classified.
        """
        attempt = _Attempt(self._limits, self._now, report)
        deadline = anyio.current_time() + self._total
        response: _Response | None = None
        undisturbed = False
        with anyio.CancelScope(deadline=deadline) as scope:
            try:
                response = await self._post(request)
                if attempt.begins_stream(response, request.stream):
                    await self._read(attempt, response, scope)
                else:
                    await attempt.read_whole(response)
                undisturbed = True
            finally:
                if response is not None and not (undisturbed and response.is_closed):
                    await _close(response)
        if scope.cancelled_caught:
            attempt.late = (
                f"nothing came for {self._idle:g} s"
                if scope.deadline < deadline
                else f"there was no reply within {self._total:g} s"
            )
        return attempt.reply()

    async def aclose(self) -> None:
        """Close the client, if it was made here."""
        if self._own and self._client is not None:
            client, self._client, self._send = self._client, None, None
            await client.close()

    async def _post(self, request: Request) -> _Response:
        try:
            if self._send is None:
                self._send = self._bind()
            options: dict[str, Any] = {"max_retries": 0, "follow_redirects": False}
            if request.betas:
                names = dict.fromkeys((*self._betas, *request.betas))
                options["headers"] = {"anthropic-beta": ",".join(names)}
            answer = await self._send(request.body, options)
        except Exception as error:  # noqa: BLE001 # no type of the SDK crosses the port
            failure = error
        else:
            return cast("_Response", answer)
        raise _failed(failure, self._now())

    async def _read(
        self, attempt: "_Attempt", response: _Response, scope: anyio.CancelScope
    ) -> None:
        deadline, now = scope.deadline, anyio.current_time
        splitter, assembly = Splitter(self._limits), attempt.assembly
        endings, rearm_at = 0, 0.0
        chunks = _chunks(response)
        async with aclosing(chunks):
            while not assembly.finished and attempt.fault is None:
                moment = now()
                if assembly.endings != endings and assembly.whole:
                    endings = assembly.endings
                    scope.deadline = min(deadline, moment + self._grace)
                elif moment >= rearm_at and not assembly.whole:
                    # A timer is not set anew for every few bytes: the silence that
                    # is borne may be longer by the share that is saved.
                    slack = self._idle * IDLE_SLACK
                    scope.deadline = min(deadline, moment + self._idle + slack)
                    rearm_at = moment + slack
                chunk = await attempt.next(chunks)
                if chunk is None:
                    return
                attempt.take(splitter, chunk)
            if assembly.finished:
                scope.deadline = min(deadline, now() + DRAIN_SECONDS_MAX)
                while await attempt.next(chunks) is not None:
                    pass

    def _bind(self) -> _Send:
        import anthropic  # here: importing detent must not cost a second
        import httpx2

        if self._client is None:
            self._client = self._make(anthropic, httpx2)
        client: Any = self._client
        for cls in type(client).__mro__:
            if cls.__name__ in _REWRITE_BODY:
                raise RequestFailedError(
                    Fault(
                        FaultKind.LOCAL,
                        f"{cls.__name__} rewrites request bodies, so nothing sealed "
                        "can pass; use AsyncAnthropicBedrockMantle or "
                        "AsyncAnthropicGoogleCloud",
                    )
                )
        own = {k.lower(): v for k, v in dict(client.default_headers).items()}
        betas = own.get("anthropic-beta")
        if isinstance(betas, str):
            self._betas = tuple(name.strip() for name in betas.split(",") if name)
        raw_stream = anthropic.AsyncStream[object]

        async def send(body: bytes, options: dict[str, Any]) -> Any:
            return await client.post(
                "/v1/messages",
                cast_to=httpx2.Response,
                content=body,
                options=options,
                stream=True,
                stream_cls=raw_stream,
            )

        async def send_through_middleware(body: bytes, options: dict[str, Any]) -> Any:
            # A middleware expects the SDK's own response, which costs more to make.
            answer = await client.post(
                "/v1/messages",
                cast_to=object,
                content=body,
                options=options,
                stream=True,
                stream_cls=raw_stream,
            )
            return answer.response

        plain = getattr(client, "_middleware", None) == ()
        return send if plain else send_through_middleware

    def _make(self, anthropic: Any, httpx2: Any) -> SdkClient:
        client = anthropic.AsyncAnthropic(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            timeout=httpx2.Timeout(self._total, connect=CONNECT_SECONDS_MAX),
        )
        url = urlsplit(str(client.base_url))
        if url.scheme != "https" and url.hostname not in _LOOPBACK:
            raise RequestFailedError(
                Fault(
                    FaultKind.LOCAL,
                    f"a key would leave unencrypted to {url.hostname}; use https, or "
                    "give a client to take that on yourself",
                )
            )
        return cast("SdkClient", client)


_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@final
class _Attempt:
    """What one request has brought so far, and what becomes of it.

    Attributes:
        assembly: The reply in the making, for a stream.
        fault: Why there will be no reply, once that is certain.
        late: Which wait ran out, if one did.
    """

    def __init__(
        self,
        limits: Limits,
        now: Callable[[], float],
        report: Callable[[Delta], None],
    ) -> None:
        self.assembly = Assembly(report)
        self.fault: Fault | None = None
        self.late: str | None = None
        self._limits = limits
        self._now = now
        self._request_id: str | None = None
        self._headers: Any = {}
        self._body: bytes | None = None  # a whole body, where the answer is no stream
        self._cut: Exception | None = None  # what ended the reading too early

    def begins_stream(self, response: _Response, asked: bool) -> bool:
        """Whether the answer is a stream of events."""
        self._headers = response.headers
        self._request_id = response.headers.get("request-id")
        type_: str = response.headers.get("content-type") or ""
        return type_.startswith("text/event-stream") or (asked and not type_)

    async def next(self, chunks: AsyncGenerator[bytes, None]) -> bytes | None:
        """The next bytes; None at the end. An end that is none is kept, not raised."""
        try:
            return await chunks.__anext__()
        except StopAsyncIteration:
            return None
        except Exception as error:  # noqa: BLE001 # no type of the SDK crosses the port
            self._cut = error
            return None

    async def read_whole(self, response: _Response) -> None:
        """Read a body that is no stream."""
        parts: list[bytes] = []
        size = 0
        chunks = _chunks(response)
        async with aclosing(chunks):
            while (chunk := await self.next(chunks)) is not None:
                parts.append(chunk)
                size += len(chunk)
                if size > self._limits.reply_bytes:
                    self._refuse(f"it is larger than {self._limits.reply_bytes} bytes")
                    return
        if self._cut is None:
            self._body = b"".join(parts)

    def take(self, splitter: Splitter, chunk: bytes) -> None:
        """Go on with these bytes of a stream."""
        try:
            self.assembly.take(splitter.feed(chunk))
        except NotWholeError as error:
            self._refuse(str(error))
        except ServerSaidError as error:
            self._failed_by_server(error)

    def reply(self) -> Reply:
        """The whole reply.

        Raises:
            RequestFailedError: There is none.
        """
        reply: Reply | None = None
        if self.fault is None and self._body is not None:
            reply = self._sealed(self._body)
        elif self.fault is None and self.assembly.whole:
            reply = self.assembly.reply(self._request_id)
        if reply is not None:
            return reply
        if self.fault is not None:
            raise RequestFailedError(self.fault)
        if self.late is not None:
            raise RequestFailedError(self._lost(self.late))
        if self._cut is not None:
            raise _failed(self._cut, self._now(), self._request_id)
        raise RequestFailedError(
            not_whole("the stream ended before the reply did", self._request_id)
        )

    def _sealed(self, body: bytes) -> Reply | None:
        try:
            return seal(body, self._request_id)
        except NotWholeError as error:
            self._refuse(str(error))
        except ServerSaidError as error:
            self._failed_by_server(error)
        return None

    def _refuse(self, message: str) -> None:
        self.fault = not_whole(message, self._request_id)

    def _failed_by_server(self, error: ServerSaidError) -> None:
        self.fault = from_status(200, error.envelope, self._headers, self._now())

    def _lost(self, message: str) -> Fault:
        return Fault(
            FaultKind.TRANSIENT,
            message,
            request_id=self._request_id,
            outcome_unknown=True,
        )


def _failed(
    error: Exception, now: float, request_id: str | None = None
) -> RequestFailedError:
    if isinstance(error, RequestFailedError):
        return error
    fault = fault_of(error, now)
    if request_id is not None and fault.request_id is None:
        fault = attrs.evolve(fault, request_id=request_id)
    failed = RequestFailedError(fault)
    # The cause is for whoever debugs; one that quotes a header is for nobody.
    failed.__cause__ = None if tells_secrets(error) else error
    return failed


def _chunks(response: _Response) -> AsyncGenerator[bytes, None]:
    # What is not encoded need not pass through a decoder.
    if "content-encoding" in response.headers:
        return response.aiter_bytes()
    return response.aiter_raw()


async def _close(response: _Response) -> None:
    # Shielded, so that a cancelled turn does not leak its connection; bounded, so
    # that a dead peer does not hold up the cancellation. A response that was cancelled
    # while it was read calls itself closed before its stream is: the stream is asked.
    with (
        anyio.move_on_after(CLOSE_SECONDS_MAX, shield=True),
        suppress(Exception),
    ):
        await (response.stream if response.is_closed else response).aclose()

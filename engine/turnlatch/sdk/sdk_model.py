"""The model port over the `anthropic` SDK: bytes out, one whole reply or one fault in.

The SDK authenticates, signs, routes and sends; it does not encode what leaves, decode
what comes, or retry. The body leaves byte for byte, and the reply is sealed from the
bytes that arrived.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, aclosing, suppress
from typing import Any, Protocol, TypeAlias, cast, final
from urllib.parse import urlsplit

import anyio
import attrs

from turnlatch.errors import SettingsError
from turnlatch.options import CLOCK, SECONDS, demand_options
from turnlatch.ports import Delta, RequestFailedError
from turnlatch.rulebook import LOOPBACK
from turnlatch.sdk.attempt import Attempt, Response, chunks_of, failed
from turnlatch.sdk.counting import count_body
from turnlatch.sdk.failures import of_connection
from turnlatch.sdk.sealing import IncompleteReplyError
from turnlatch.sdk.sse import ReplyLimits, Splitter
from turnlatch.tasks import own_cancellation
from turnlatch.urls import HoldsClient, shown_url, without_user
from turnlatch_states.api.checks import instance, optional, text
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.build import Request

CLOSE_SECONDS_MAX = 1.0
"""Longest wait for a connection to close; a cancelled turn waits no longer either."""

DRAIN_SECONDS_MAX = 0.05
"""Longest wait, after the closing event, for the end of the stream. It comes at once
from a healthy server, and only a stream that was read to its end gives its connection
back to the pool."""

IDLE_SLACK = 0.125
"""Share of the idle time by which a silence may be longer before it is noticed."""

UPLOAD_BYTES_PER_SECOND_MIN = 64 * 1024
"""A body is given a second to leave for each so many bytes, before silence counts: on a
slow line a long conversation would otherwise be given up while it still leaves, over and
over."""

CONNECT_SECONDS_MAX = 5.0
"""Longest wait for a connection, in a client that is made here."""

_BASE_URL = "ANTHROPIC_BASE_URL"
_API = "https://api.anthropic.com"
_MESSAGES = "/v1/messages"
_COUNT = "/v1/messages/count_tokens"

_KEY = attrs.evolve(optional(text(1)), secret=True)
_LIMITS = optional(instance(ReplyLimits, "a ReplyLimits(...) of turnlatch.sdk"))


class SdkClient(Protocol):
    """Any asynchronous client of the SDK, as far as it is used."""

    @property
    def default_headers(self) -> Any:
        """The headers of every request."""
        ...

    async def close(self) -> None:
        """Give back the connections."""
        ...


_Send: TypeAlias = Callable[[str, bytes, dict[str, Any]], Any]


@final
class SdkModel(HoldsClient):
    """Sends requests through a client of the `anthropic` SDK, one attempt at a time.

    Args:
        client: An asynchronous client of the SDK: `AsyncAnthropic`, or one for a
            platform that takes the API's own bodies (Foundry, AWS, Google Cloud,
            Bedrock Mantle). Not closed here. Without one, an `AsyncAnthropic` is made
            when the first request leaves.
        base_url: Where a client that is made here sends to; https, or loopback.
        api_key: The key of a client that is made here; else the SDK looks for one.
        total_seconds: Longest duration of one attempt, from its start to its reply.
        idle_seconds: Longest silence of a streamed request: from when it is sent until
            its headers, and between any two pieces. It is noticed up to an eighth
            later. Pings count as data; `total_seconds` bounds them, and is the only
            bound on a request that is not streamed.
        grace_seconds: How long the closing event of a reply that is whole without it
            is waited for. Pings do not prolong it.
        limits: How much one answer may be. The HTTP client of `client` gets a response
            hook, before those that it has, which acts on the requests of this port only:
            what the SDK or another hook reads of a body is bounded, too.
        now: Seconds since the epoch, to read retry hints that are given as a date.

    Raises:
        SettingsError: An argument is of the wrong type or out of its bounds, or the
            client is one that takes no body of bytes.
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
        limits: ReplyLimits | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        demand_options({"client": client, "base_url": base_url})
        if client is not None and (base_url is not None or api_key is not None):
            raise SettingsError(
                "client", "base_url or api_key was given too", "set both on the client"
            )
        _KEY.demand("api_key", api_key)
        SECONDS.demand("total_seconds", total_seconds)
        SECONDS.demand("idle_seconds", idle_seconds)
        SECONDS.demand("grace_seconds", grace_seconds)
        _LIMITS.demand("limits", limits)
        CLOCK.demand("now", now)
        self._client = client
        self._own = client is None
        # In functions, so that no list of fields shows a password or a key.
        self._base_url: Callable[[], str | None] = lambda: base_url
        self._api_key: Callable[[], str | None] = lambda: api_key
        self._total = total_seconds
        self._idle = idle_seconds
        self._grace = grace_seconds
        self._limits = limits if limits is not None else ReplyLimits()
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
        attempt = Attempt(self._limits, self._now, report)
        try:
            await self._exchange(
                attempt, _MESSAGES, request.body, request.betas, stream=request.stream
            )
            return attempt.reply()
        except RequestFailedError as error:
            self._say_where(error)
            raise

    async def count(self, request: Request) -> int:
        """How many input tokens the server counts for a request.

        The count covers the bytes of this request, without the members that have no
        length (see `counting`). So for a request that continues a server's copy only
        the new part is counted, and one for a summary is judged as if it were for a
        reply: count the message that carries the whole conversation.

        Exactly one HTTP request is made, and no redirect is followed. It is not
        streamed, whatever the message is, so `total_seconds` alone bounds it.

        Raises:
            RequestFailedError: Anything but a count, with the fault classified.
        """
        try:
            body = count_body(request.body)
        except IncompleteReplyError as error:
            said = f"the body of the request cannot be counted: {error}"
            raise RequestFailedError(Fault(FaultKind.LOCAL, said)) from None
        attempt = Attempt(self._limits, self._now, _nobody)
        try:
            await self._exchange(attempt, _COUNT, body, request.betas, stream=False)
            return attempt.count()
        except RequestFailedError as error:
            self._say_where(error)
            raise

    async def aclose(self) -> None:
        """Close the client, if it was made here."""
        if self._own and self._client is not None:
            client, self._client, self._send = self._client, None, None
            await client.close()

    async def _exchange(
        self,
        attempt: Attempt,
        path: str,
        body: bytes,
        betas: Sequence[str],
        *,
        stream: bool,
    ) -> None:
        """Make one HTTP request, and read its answer as long as it may take."""
        send = self._ready()
        begun = anyio.current_time()
        deadline = begun + self._total
        first, rearm_at = deadline, 0.0
        if stream:
            # One watch from the start: the wait for the headers is the first silence, and
            # what follows soon is covered by the timer that is set already.
            slack = self._idle * IDLE_SLACK
            upload = len(body) // UPLOAD_BYTES_PER_SECOND_MIN
            first = min(deadline, begun + self._idle + slack + upload)
            rearm_at = 0.0 if upload else begun + slack
        response: Response | None = None
        undisturbed = False
        with anyio.CancelScope(deadline=first) as scope:
            try:
                response = await self._post(send, path, body, betas)
                if attempt.begins_stream(response, stream):
                    await self._read(attempt, response, scope, deadline, rearm_at)
                else:
                    if stream:  # it was asked for, and has no pings to tell silence by
                        scope.deadline = deadline
                    await attempt.read_whole(response)
                undisturbed = True
            finally:
                if response is not None and not (undisturbed and response.is_closed):
                    await _close(response)
        if scope.cancelled_caught:
            attempt.late = self._ran_out(scope.deadline < deadline, response)

    def _say_where(self, error: RequestFailedError) -> None:
        """Name the base URL in what the API itself did not say."""
        fault, cause = error.fault, error.__cause__
        if fault.misshapen or (cause is not None and of_connection(cause)):
            url = shown_url(str(getattr(self._client, "base_url", "")))
            if url:
                error.fault = attrs.evolve(fault, message=f"{fault.message} ({url})")

    def _ran_out(self, silent: bool, response: Response | None) -> str:
        """Which wait ran out, in words."""
        if not silent:
            return f"there was no whole answer within {self._total:g} s"
        if response is None:
            return f"no answer came for {self._idle:g} s after the request"
        return f"the stream was silent for {self._idle:g} s"

    def _ready(self) -> _Send:
        # Before any clock runs: the first time, the SDK is imported here.
        if self._send is None:
            try:
                self._send = self._bind()
            except Exception as error:  # noqa: BLE001 # no type of the SDK crosses the port
                failure = error
            else:
                return self._send
            raise failed(failure, self._now())
        return self._send

    async def _post(
        self, send: _Send, path: str, body: bytes, betas: Sequence[str]
    ) -> Response:
        options: dict[str, Any] = {"max_retries": 0, "follow_redirects": False}
        if betas:
            names = dict.fromkeys((*self._betas, *betas))
            options["headers"] = {"anthropic-beta": ",".join(names)}
        try:
            with own_cancellation(), self._bounded():
                return cast("Response", await send(path, body, options))
        except Exception as error:  # noqa: BLE001 # no type of the SDK crosses the port
            failure = error
        if getattr(failure, "status_code", None) == 401:
            self._forget_token()
        raise failed(failure, self._now())

    def _bounded(self) -> AbstractContextManager[None]:
        from turnlatch.sdk.bounding import bounded  # here: it needs the HTTP library

        return bounded(self._client, self._limits)

    def _forget_token(self) -> None:
        # The SDK drops a token that was refused only where it would retry by itself.
        # It never does here, and would send the same token until that expires.
        cache = getattr(self._client, "_token_cache", None)
        if cache is not None:
            cache.invalidate()

    async def _read(
        self,
        attempt: Attempt,
        response: Response,
        scope: anyio.CancelScope,
        deadline: float,
        rearm_at: float,
    ) -> None:
        now = anyio.current_time
        splitter, assembly = Splitter(self._limits), attempt.assembly
        endings = 0
        chunks = chunks_of(response)
        async with aclosing(chunks):
            while not assembly.finished and attempt.fault is None:
                moment = now()
                if assembly.endings != endings and assembly.whole:
                    endings = assembly.endings
                    scope.deadline = min(deadline, moment + self._grace)
                elif moment >= rearm_at and not assembly.whole:
                    # Resetting the timer for every few bytes is expensive: the allowed
                    # silence may be longer by this share.
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
        import anthropic  # here: importing turnlatch must not cost a second
        import httpx2

        if self._client is None:
            self._client = self._make(anthropic, httpx2)
        client = _with_plain_url(self._client)
        own = {k.lower(): v for k, v in dict(client.default_headers).items()}
        betas = own.get("anthropic-beta")
        names = betas.split(",") if isinstance(betas, str) else ()
        self._betas = tuple(name.strip() for name in names if name)
        raw_stream = anthropic.AsyncStream[object]

        async def send(path: str, body: bytes, options: dict[str, Any]) -> Any:
            return await client.post(
                path,
                cast_to=httpx2.Response,
                content=body,
                options=options,
                stream=True,
                stream_cls=raw_stream,
            )

        async def send_through_middleware(
            path: str, body: bytes, options: dict[str, Any]
        ) -> Any:
            # A middleware expects the SDK's own response, which costs more to make.
            answer = await client.post(
                path,
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
        base_url = self._base_url()
        if base_url is None and not os.environ.get(_BASE_URL, _API).strip():
            base_url = _API  # the SDK takes an empty variable for a URL
        client = anthropic.AsyncAnthropic(
            api_key=self._api_key(),
            base_url=base_url,
            max_retries=0,
            timeout=httpx2.Timeout(self._total, connect=CONNECT_SECONDS_MAX),
        )
        url = urlsplit(str(client.base_url))
        if url.scheme != "https" and url.hostname not in LOOPBACK:
            raise RequestFailedError(
                Fault(
                    FaultKind.LOCAL,
                    f"a key would leave unencrypted to {url.hostname}; use https, or "
                    "give a client to take that on yourself",
                )
            )
        return cast("SdkClient", client)


def _with_plain_url(client: Any) -> Any:
    """The client, or one that sends the name and password of its base URL as the header
    that they come to: then no log and no exception can quote them."""
    url, header = without_user(str(getattr(client, "base_url", "")))
    if not url:
        return client
    return client.with_options(base_url=url, default_headers={"Authorization": header})


def _nobody(_: Delta) -> None:
    """Discards the deltas of a count."""


async def _close(response: Response) -> None:
    # Shielded, so that a cancelled turn does not leak its connection; bounded, so
    # that a dead peer does not hold up the cancellation. A response that was cancelled
    # while it was read calls itself closed before its stream is: the stream is asked.
    with (
        anyio.move_on_after(CLOSE_SECONDS_MAX, shield=True),
        suppress(Exception),
    ):
        await (response.stream if response.is_closed else response).aclose()

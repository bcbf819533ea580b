"""The bodies that others read before turnlatch does, bounded where they come in.

The SDK reads the whole unpacked body of every unsuccessful answer before it raises, and so
may a hook of the caller. Their reads pass through here: a response hook
of the HTTP client puts a bound around the stream of each answer to a request of turnlatch's.
It does nothing for other requests that go through the same client, so the client may be
the caller's own, and it stands before the hooks that are there.

This is imported with the first request, because it needs the HTTP library.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import Any, Final, final

import attrs
import httpx2

from turnlatch.sdk.sealing import TooLargeError
from turnlatch.sdk.sse import ReplyLimits

CHARSET: Final = "utf-8"
"""What the text of a refusal is read in, whatever the answer says: the API writes nothing
else, and what a header may name instead need not be an encoding of text at all."""


@final
@attrs.frozen
class _Bound:
    """The limits of the request in flight.

    Attributes:
        limits: How much its answer may be.
        shared: Others than the SDK read the answer: there are hooks of the caller's.
    """

    limits: ReplyLimits
    shared: bool


_BOUND: ContextVar[_Bound | None] = ContextVar("_BOUND", default=None)


@contextmanager
def bounded(client: Any, limits: ReplyLimits) -> Generator[None, None, None]:
    """Bound the answers to what is sent inside.

    Args:
        client: A client of the SDK. One whose HTTP client is another library's is left as
            it is, and reads refusals whole.
        limits: How much an answer may be.
    """
    http = getattr(client, "_client", None)
    shared = False
    if isinstance(http, httpx2.AsyncClient):
        hooks = http.event_hooks["response"]
        if _hook not in hooks:
            hooks.insert(0, _hook)
        shared = len(hooks) > 1
    token = _BOUND.set(_Bound(limits, shared))
    try:
        yield
    finally:
        _BOUND.reset(token)


async def _hook(response: httpx2.Response) -> None:
    bound = _BOUND.get()
    if bound is None:
        return
    packed = "content-encoding" in response.headers
    if response.is_success and not packed and not bound.shared:
        return  # the one who reads it counts
    response.stream = Bounded(response, bound.limits)
    # The stream yields unpacked bytes.
    response.headers.pop("content-encoding", None)
    if not response.is_success:
        response.encoding = CHARSET


@final
class Bounded(httpx2.AsyncByteStream):
    """The body of an answer, unpacked, and no more of it than the limits allow.

    A refusal is cut at its limit: its status holds its meaning. A larger success raises,
    because the beginning of a reply is not a reply. The limit also counts packed bytes, so
    that a body that unpacks to nothing is bounded, too.

    Attributes:
        over: More came than is allowed, and was left unread.
        most: Most bytes that come out.

    Raises:
        TooLargeError: While iterating: a success is larger than the limits allow.
    """

    def __init__(self, response: httpx2.Response, limits: ReplyLimits) -> None:
        self.over = False
        self._cuts = not response.is_success
        self.most = limits.refusal_bytes if self._cuts else limits.reply_bytes
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        self._stream = stream
        self._packed = httpx2.Response(
            response.status_code, headers=response.headers, stream=_Counted(self)
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self.most
        try:
            async with aclosing(self._packed.aiter_bytes()) as pieces:
                async for piece in pieces:
                    if len(piece) > left:
                        self._exceed()
                        yield piece[:left]
                        return
                    left -= len(piece)
                    yield piece
        except httpx2.DecodingError:
            if not self.over:  # what was cut off here cannot be unpacked to its end
                raise

    async def aclose(self) -> None:
        """Give the connection back, or close it."""
        await self._stream.aclose()

    async def as_it_comes(self) -> AsyncIterator[bytes]:
        """The bytes of the wire, as many as are allowed."""
        left = self.most
        chunks = aiter(self._stream)
        try:
            async for chunk in chunks:
                if len(chunk) > left:
                    self._exceed()
                    yield chunk[:left]
                    return
                left -= len(chunk)
                yield chunk
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    def _exceed(self) -> None:
        if not self._cuts:
            raise TooLargeError(f"it is larger than {self.most} bytes")
        self.over = True


@final
class _Counted(httpx2.AsyncByteStream):
    """The packed side of a `Bounded`."""

    def __init__(self, bounded: Bounded) -> None:
        self._bounded = bounded

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._bounded.as_it_comes()

"""One request: the bytes received so far, and the reply or fault they become.

Reading it and judging it are apart: whatever ends the reading, an end of the stream, a
cut, a wait that ran out, what did come is judged afterwards, in one place. So a reply
that was whole before the connection broke is a reply.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Protocol, TypeVar, final

import attrs

from turnlatch.ports import Delta, RequestFailedError
from turnlatch.sdk.assembly import Assembly
from turnlatch.sdk.counting import counted
from turnlatch.sdk.failures import (
    fault_of,
    from_status,
    name_of,
    not_whole,
    tells_secrets,
)
from turnlatch.sdk.sealing import (
    HOPELESS,
    ErrorEnvelopeError,
    IncompleteReplyError,
    TooLargeError,
    seal,
)
from turnlatch.sdk.sse import ReplyLimits, Splitter
from turnlatch.tasks import own_cancellation
from turnlatch_states.api.faults import DEFINITE, Fault, FaultKind
from turnlatch_states.api.reply import Reply

Read = TypeVar("Read")


class Response(Protocol):
    """What is used of the SDK's `httpx2.Response`."""

    @property
    def headers(self) -> Any:
        """The headers, looked up without regard to case."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether it was read to its end, or given up."""
        ...

    @property
    def is_stream_consumed(self) -> bool:
        """Whether somebody read it before, as a hook of the client may."""
        ...

    @property
    def stream(self) -> Any:
        """The transport's stream."""
        ...

    def aiter_bytes(self) -> AsyncGenerator[bytes, None]:
        """The body, decompressed."""
        ...

    def aiter_raw(self) -> AsyncGenerator[bytes, None]:
        """The body as it came."""
        ...

    async def aclose(self) -> None:
        """Give the connection back, or close it."""
        ...


@final
class Attempt:
    """One request and its answer.

    Attributes:
        assembly: The reply in the making, for a stream.
        fault: Why there will be no answer, once that is certain.
        late: Which wait ran out, if one did.
    """

    def __init__(
        self,
        limits: ReplyLimits,
        now: Callable[[], float],
        report: Callable[[Delta], None],
    ) -> None:
        self.assembly = Assembly(report, limits.blocks)
        self.fault: Fault | None = None
        self.late: str | None = None
        self._limits = limits
        self._now = now
        self._request_id: str | None = None
        self._headers: Any = {}
        self._body: bytes | None = None  # a whole body, if the answer is not a stream
        self._cut: Exception | None = None  # the exception that ended the reading early

    def begins_stream(self, response: Response, asked: bool) -> bool:
        """Whether the answer is a stream of events."""
        self._headers = response.headers
        self._request_id = name_of(response.headers.get("request-id"))
        type_: str = response.headers.get("content-type") or ""
        return type_.startswith("text/event-stream") or (asked and not type_)

    async def next(self, chunks: AsyncGenerator[bytes, None]) -> bytes | None:
        """The next bytes; None at the end. A premature end is kept, not raised."""
        try:
            with own_cancellation():
                return await chunks.__anext__()
        except StopAsyncIteration:
            return None
        except TooLargeError as error:
            self._refuse(error)
            return None
        except Exception as error:  # noqa: BLE001 # no type of the SDK crosses the port
            self._cut = error
            return None

    async def read_whole(self, response: Response) -> None:
        """Read a body that is not a stream."""
        parts: list[bytes] = []
        size = 0
        chunks = chunks_of(response)
        async with aclosing(chunks):
            while (chunk := await self.next(chunks)) is not None:
                parts.append(chunk)
                size += len(chunk)
                if size > self._limits.reply_bytes:
                    most = self._limits.reply_bytes
                    self._refuse(TooLargeError(f"it is larger than {most} bytes"))
                    return
        if self._cut is None and self.fault is None:
            self._body = b"".join(parts)

    def take(self, splitter: Splitter, chunk: bytes) -> None:
        """Go on with these bytes of a stream."""
        try:
            self.assembly.take(splitter.feed(chunk))
        except IncompleteReplyError as error:
            self._refuse(error)
        except ErrorEnvelopeError as error:
            self._failed_by_server(error)

    def reply(self) -> Reply:
        """The whole reply.

        Raises:
            RequestFailedError: None came; holds the classified fault.
        """
        reply: Reply | None = None
        if self.fault is None and self._body is not None:
            reply = self._judged(self._body, self._sealed)
        elif self.fault is None and self.assembly.whole:
            reply = self.assembly.reply(self._request_id)
        if reply is None:
            failure = self._failure("the stream ended before the reply did")
            if failure.fault.kind not in DEFINITE:  # what is refused is not paid for
                used = self.assembly.used
                failure.fault = attrs.evolve(failure.fault, spent=used)
            raise failure
        return reply

    def count(self) -> int:
        """The count of input tokens.

        Raises:
            RequestFailedError: None came; holds the classified fault.
        """
        tokens: int | None = None
        if self.fault is None and self._body is not None:
            tokens = self._judged(self._body, self._counted)
        if tokens is None:
            raise self._failure("the answer is not a count")
        return tokens

    def _sealed(self, body: bytes) -> Reply:
        self._limits.check_containers(body)
        return seal(body, self._request_id, self._limits.blocks)

    def _counted(self, body: bytes) -> int:
        self._limits.check_containers(body)
        return counted(body)

    def _judged(self, body: bytes, read: Callable[[bytes], Read]) -> Read | None:
        try:
            return read(body)
        except IncompleteReplyError as error:
            self._refuse(error)
        except ErrorEnvelopeError as error:
            self._failed_by_server(error)
        return None

    def _failure(self, otherwise: str) -> RequestFailedError:
        """Why there is no answer; what is certain goes before what merely ended."""
        if self.fault is not None:
            return RequestFailedError(self.fault)
        if self.late is not None:
            return RequestFailedError(self._lost(self.late))
        if self._cut is not None:
            return failed(self._cut, self._now(), self._request_id)
        return RequestFailedError(not_whole(otherwise, self._request_id))

    def _refuse(self, error: IncompleteReplyError) -> None:
        fault = not_whole(str(error), self._request_id)
        self.fault = attrs.evolve(fault, misshapen=isinstance(error, HOPELESS))

    def _failed_by_server(self, error: ErrorEnvelopeError) -> None:
        self.fault = from_status(200, error.envelope, self._headers, self._now())

    def _lost(self, message: str) -> Fault:
        return Fault(
            FaultKind.TRANSIENT,
            message,
            request_id=self._request_id,
            outcome_unknown=True,
        )


def failed(
    error: Exception, now: float, request_id: str | None = None
) -> RequestFailedError:
    """The error that a port raises for one of the SDK or its transport.

    Args:
        error: The exception.
        now: Seconds since the epoch, for hints that are given as a date.
        request_id: The server's id, where a header gave one.
    """
    if isinstance(error, RequestFailedError):
        return error
    fault = fault_of(error, now)
    if request_id is not None and fault.request_id is None:
        fault = attrs.evolve(fault, request_id=request_id)
    failure = RequestFailedError(fault)
    # The cause helps debugging, unless it quotes a header with a secret.
    failure.__cause__ = None if tells_secrets(error) else error
    return failure


def chunks_of(response: Response) -> AsyncGenerator[bytes, None]:
    """The body's bytes as they come, decompressed; those that a hook has read already."""
    # A body without encoding need not pass through a decoder.
    if "content-encoding" in response.headers or response.is_stream_consumed:
        return response.aiter_bytes()
    return response.aiter_raw()

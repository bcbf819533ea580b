"""Stopping a conversation just before each of its suspension points.

A coroutine is driven by hand: every time it is about to wait for something, a point is
passed. At a chosen point it is stopped the way a caller can stop it, and it goes on from
there as the event loop lets it. Tools that run for it pass their points in the same
count, so that a stop also comes while they work.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Mapping,
)
from typing import Any, TypeAlias, final

import anyio
import attrs
import httpx2

Stop: TypeAlias = Callable[[], None]


@final
class Points:
    """Counts points, and stops at the chosen ones.

    Args:
        stops: What to do at which point, from 1.
    """

    def __init__(self, stops: Mapping[int, Stop]) -> None:
        self.passed = 0
        self.driving = False
        """A coroutine is being resumed: what it drives itself is counted with it."""
        self._stops = stops

    def next(self) -> None:
        """Pass a point."""
        self.passed += 1
        stop = self._stops.get(self.passed)
        if stop is not None:
            stop()


@final
class Driven:
    """A coroutine whose suspension points are counted.

    Args:
        work: The coroutine.
        points: The count.
    """

    def __init__(self, work: Coroutine[Any, Any, Any], points: Points) -> None:
        self._work = work
        self._points = points

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[Any], Any] = self._work.send
        given: Any = None
        points = self._points
        while True:
            inner, points.driving = points.driving, True
            try:
                waits = resume(given)
            except StopIteration as end:
                return end.value
            finally:
                points.driving = inner
            if not inner:
                points.next()
            resume = self._work.send
            try:
                given = yield waits
            except BaseException as error:  # noqa: BLE001 - the coroutine's to handle
                resume, given = self._work.throw, error


@final
@attrs.frozen
class Outcome:
    """How a driven run went.

    Attributes:
        points: How many suspension points it had.
        cancelled: It was cancelled, and the cancellation came out of it.
    """

    points: int
    cancelled: bool


Work: TypeAlias = Callable[[Points], Coroutine[Any, Any, Any]]


async def by_scope(work: Work, at: frozenset[int], stop: Stop | None) -> Outcome:
    """Cancel the scope around it, as `anyio` and trio do: it stays cancelled.

    Args:
        work: What to run.
        at: The points at which to stop: at the last one by the scope, at those before
            it by `stop`.
        stop: Another way to stop it, for the earlier points.
    """
    scope = anyio.CancelScope()
    points = Points(_chosen(at, scope.cancel, stop))
    with scope:
        await Driven(work(points), points)
    return Outcome(points.passed, scope.cancelled_caught)


async def by_task(work: Work, at: frozenset[int], stop: Stop | None) -> Outcome:
    """Cancel the asyncio task it runs in, each time anew: one exception each, which
    shields do not keep away. Arguments are those of `by_scope`."""
    holder: list[asyncio.Task[Any]] = []

    def cancel() -> None:
        holder[0].cancel()

    points = Points(_chosen(at, cancel, stop or cancel))

    async def run() -> None:
        await Driven(work(points), points)

    task = asyncio.create_task(run())
    holder.append(task)
    try:
        await task
    except asyncio.CancelledError:
        return Outcome(points.passed, True)
    return Outcome(points.passed, False)


def _chosen(at: frozenset[int], last: Stop, before: Stop | None) -> dict[int, Stop]:
    """What happens at which point."""
    found = dict.fromkeys(at, before or last)
    if at:
        found[max(at)] = last
    return found


@final
class Tracked(httpx2.AsyncBaseTransport):
    """A transport that knows which of its responses were not closed yet.

    Args:
        inner: The transport that answers.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner
        self.open = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request; called by the client."""
        response = await self._inner.handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        response.stream = _TrackedStream(stream, self)
        return response


@final
class _TrackedStream(httpx2.AsyncByteStream):
    """A body that tells its transport when it is closed."""

    def __init__(self, inner: httpx2.AsyncByteStream, transport: Tracked) -> None:
        self._inner = inner
        self._transport = transport
        self._closed = False
        transport.open += 1

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            yield piece

    async def aclose(self) -> None:
        """Close it."""
        if not self._closed:
            self._closed = True
            self._transport.open -= 1
        await self._inner.aclose()


Way: TypeAlias = Callable[[Work, frozenset[int], Stop | None], Awaitable[Outcome]]

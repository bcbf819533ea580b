"""What the synchronous twin cannot delegate: entering, closing, waiting and reading.

`turnlatch.sync` is generated: its classes derive from these, and add one method for each
of the async class.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Protocol, Self, TypeVar, final

from turnlatch.conversation import Conversation
from turnlatch.errors import ConversationClosedError, ForkedProcessError, already_open
from turnlatch.runtime.engine_thread import EngineThread
from turnlatch.urls import HoldsClient
from turnlatch.watching.events import StreamEvent
from turnlatch.watching.stream import TurnStream, Watch

_T = TypeVar("_T")


class RunCoroutine(Protocol):
    """Runs a coroutine in the engine's thread; see `EngineThread.run`."""

    def __call__(
        self,
        work: Callable[[], Awaitable[_T]],
        leave: Callable[[], Awaitable[object]] | None = None,
    ) -> _T:
        """Wait for what `work` returns."""
        ...


class ConversationTwin(HoldsClient):
    """The base of `turnlatch.sync.Conversation`."""

    def __init__(self, inner: Conversation) -> None:
        """Not for callers: use `Conversation.open`."""
        self._inner = inner
        self._engine: EngineThread | None = None

    def __enter__(self) -> Self:
        if self._engine is not None:
            self._engine.demand_here()
            raise already_open(self._inner.name)
        self._engine = EngineThread(self._inner.name)
        try:
            self._engine.start()
            self._engine.run(self._inner.__aenter__)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop a running turn, and release the conversation. Idempotent."""
        engine, self._engine = self._engine, None
        if engine is None or engine.forked:
            return
        try:
            engine.run(self._inner.close)
        finally:
            engine.stop()

    def _run(
        self,
        work: Callable[[], Awaitable[_T]],
        leave: Callable[[], Awaitable[object]] | None = None,
    ) -> _T:
        """Run a coroutine in the engine's thread."""
        if self._engine is None:
            raise ConversationClosedError(self._inner.name)
        return self._engine.run(work, leave)

    def _call(self, work: Callable[[], _T]) -> _T:
        """Call a function in the engine's thread."""

        async def called() -> _T:
            return work()

        return self._run(called)


class TurnStreamTwin(Iterator[StreamEvent]):
    """The base of `turnlatch.sync.TurnStream`."""

    def __init__(self, inner: TurnStream, run: RunCoroutine) -> None:
        """Not for callers: use `Conversation.stream`."""
        self._inner = inner
        self._in_thread = run
        self._read = _Reading(inner)

    def __next__(self) -> StreamEvent:
        # A Ctrl-C may also come just before or after the wait.
        try:
            return self._read.next(self._in_thread, self._leave)
        except Exception:
            raise
        except BaseException:
            with suppress(ConversationClosedError, ForkedProcessError):
                self._in_thread(self._leave)
            raise

    def __enter__(self) -> Self:
        self._in_thread(self._inner.__aenter__)
        return self

    def __exit__(self, *error: object) -> None:
        self._in_thread(self._leave)

    def _run(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Run a coroutine in the engine's thread; an interrupt ends the stream."""
        return self._in_thread(work, self._leave)

    async def _leave(self) -> None:
        await self._inner.__aexit__(None, None, None)


class WatchTwin(Iterator[StreamEvent]):
    """The base of `turnlatch.sync.Watch`."""

    def __init__(self, inner: Watch, run: RunCoroutine) -> None:
        """Not for callers: use `Conversation.watch`."""
        self._in_thread = run
        self._read = _Reading(inner)

    def __next__(self) -> StreamEvent:
        return self._read.next(self._in_thread)


@final
class _Reading:
    """Stream events read in the engine's thread and not returned yet.

    An event that was read while the caller's wait was interrupted is returned by the
    next call.
    """

    def __init__(self, inner: TurnStream | Watch) -> None:
        self._inner = inner
        self._read: deque[StreamEvent] = deque()

    def next(
        self, run: RunCoroutine, leave: Callable[[], Awaitable[object]] | None = None
    ) -> StreamEvent:
        run(self._fill, leave)
        if not self._read:
            raise StopIteration
        return self._read.popleft()

    async def _fill(self) -> None:
        if not self._read:
            async for event in self._inner:
                self._read.append(event)
                return

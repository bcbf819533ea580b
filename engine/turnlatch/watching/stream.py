"""Async iterators over a conversation's stream events.

A `Watch` only reads. A `TurnStream` owns one turn: it queues a message, withdraws it if its
turn has not begun, and stops its turn if it has. It never touches another turn.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Self, final
from weakref import ref

import anyio
import attrs

from turnlatch.ports import Journal
from turnlatch.result import Turn
from turnlatch.tasks import spawn
from turnlatch.watching.event_log import EventLog, Reader
from turnlatch.watching.events import Cursor, StreamEvent
from turnlatch.watching.from_journal import read_again

STOPPING_SECONDS: Final = 1.0
"""Seconds that a cancelled caller waits for the turn to stop; the turn stops anyway."""


@final
@attrs.frozen
class Work:
    """The parts of a conversation that the turn of a stream needs.

    Attributes:
        feed: The stream events of the conversation.
        alone: Waits for the conversation's lock, and holds it.
        submit: Opens the turn and runs it until it rests.
        interrupt: Stops the running turn; True if one ran.
        withdrawn: Makes the failed turn for a message that was withdrawn.
    """

    feed: EventLog
    alone: Callable[[], AbstractAsyncContextManager[None]]
    submit: Callable[[], Awaitable[Turn]]
    interrupt: Callable[[], bool]
    withdrawn: Callable[[], Turn]


@final
@attrs.define(eq=False)
class _Place:
    """The reader of a stream, once its turn has begun."""

    reader: Reader | None = None


@final
class _StreamedTurn:
    """The turn of one stream. It runs in its task, whether or not anything watches it."""

    def __init__(self, work: Work, place: _Place) -> None:
        self._work = work
        self._place = ref(place)  # a dropped stream does not keep events in memory
        self._scope = anyio.CancelScope()
        self._begun = False
        self.done = anyio.Event()
        self.turn: Turn | None = None
        self.error: BaseException | None = None
        self.waiting = 0  # number of tasks that wait for the turn

    async def run(self) -> None:
        """Wait for the lock, and run until the turn rests."""
        try:
            with self._scope:
                async with self._work.alone():
                    # If the lock was free, no checkpoint has raised the cancellation yet.
                    if not self._scope.cancel_called:
                        await self._run_turn()
            if self.turn is None:
                self.turn = self._work.withdrawn()
        except BaseException as error:
            self.error = error
            # Waiting tasks raise it. Without one, an exit must be raised here.
            if not isinstance(error, Exception) and not self.waiting:
                raise
        finally:
            self.done.set()
            self._work.feed.wake()

    async def _run_turn(self) -> None:
        self._begun = True
        if (place := self._place()) is not None:
            place.reader = self._work.feed.reader()
            del place
        try:
            self.turn = await self._work.submit()
        finally:
            if (place := self._place()) is not None and place.reader is not None:
                place.reader.stop()

    def stop(self) -> None:
        """Withdraw the message if its turn has not begun; else stop the turn."""
        if not self._begun or not self._work.interrupt():
            self._scope.cancel()

    async def wait(self) -> Turn:
        """The turn, once it rests; raises the error if it failed to run."""
        self.waiting += 1
        try:
            await self.done.wait()
        finally:
            self.waiting -= 1
        if self.error is not None:
            raise self.error
        assert self.turn is not None, "a turn that is done has a result or an error"
        return self.turn

    async def wait_for_news(self) -> None:
        """Wait for the next event, or until the turn is done."""
        self.waiting += 1
        try:
            await self._work.feed.wait()
        finally:
            self.waiting -= 1


@final
class TurnStream:
    """The stream events of one turn, from first to last.

    The stream starts with the first step of `async for`, with `async with`, or with
    `turn()`. Then the message is queued and the turn runs in another task: a watcher that
    pauses or leaves the loop neither delays nor stops it.

    Leaving the `async with` block, in any way, ends the stream's turn. If the turn has
    not begun, because another one still runs, the message is withdrawn: it is neither
    recorded nor sent. If the turn runs, it is stopped as by `interrupt()`, and the block
    waits until it rests. A caller that is cancelled there waits at most one second.

    A stream is iterated once: a second loop continues where the first one stopped. A
    reader that is more than 20,000 events behind gets one `Missed` for the gap.
    """

    def __init__(self, work: Work) -> None:
        """Not for callers: use `Conversation.stream`."""
        self._work = work
        self._place = _Place()
        self._running: _StreamedTurn | None = None
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        running = self._start()
        while not self._over:
            reader = self._place.reader
            event = None if reader is None else reader.next()
            if event is not None:
                return event
            if not running.done.is_set():
                await running.wait_for_news()
                continue
            self._over = True
            if running.error is not None:
                raise running.error
        raise StopAsyncIteration

    async def turn(self) -> Turn:
        """The turn, once it rests; starts the turn if it has not started.

        A withdrawn message gives a failed turn with the number 0, which is not in the
        record.

        Raises:
            TurnlatchError: As `Conversation.send` would have raised.
        """
        return await self._start().wait()

    def _start(self) -> _StreamedTurn:
        if self._running is None:
            self._running = _StreamedTurn(self._work, self._place)
            spawn(self._running.run)
        return self._running

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        running = self._start()
        if running.done.is_set():
            return
        running.stop()
        try:
            await running.done.wait()
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(STOPPING_SECONDS, shield=True):
                await running.done.wait()
            raise


@final
class Watch:
    """All stream events after a cursor, until the conversation is closed.

    A reader that is more than 20,000 events behind gets one `Missed` for the gap, and
    continues after it.
    """

    def __init__(self, feed: EventLog, journal: Journal, after: Cursor | None) -> None:
        """Not for callers: use `Conversation.watch`."""
        self._feed = feed
        self._reader = feed.reader(after)
        self._past: Iterator[StreamEvent] = iter(())
        if after is not None and after < min(feed.start, feed.covered):
            self._past = read_again(journal.entries(), after, feed.covered)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        for event in self._past:
            return event
        while True:
            if (news := self._reader.next()) is not None:
                return news
            if self._feed.closed:
                raise StopAsyncIteration
            await self._feed.wait()

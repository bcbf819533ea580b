"""Watching: async iterators over what happens.

A `Watch` owns nothing: readers come and go. A `TurnStream` owns one turn: it puts a
message in the line, takes it back while its turn has not begun, and stops its turn once it
has. It never touches the turn of anybody else.
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
from turnlatch.watching.event_log import Feed, Reader
from turnlatch.watching.events import Cursor, Happening
from turnlatch.watching.from_journal import retell
from turnlatch_states.api.faults import RetryPolicy

STOPPING_SECONDS: Final = 1.0
"""How long a caller who is cancelled waits for the turn to stop; it stops anyway."""


@final
@attrs.frozen
class Work:
    """What the turn of a stream needs of its conversation.

    Attributes:
        feed: The happenings of the conversation.
        alone: Waits in the line, and has the conversation to itself.
        submit: Opens the turn and runs it until it rests.
        interrupt: Stops the turn that runs; True if one ran.
        withdrawn: The turn that never was, of a message that was taken back.
    """

    feed: Feed
    alone: Callable[[], AbstractAsyncContextManager[None]]
    submit: Callable[[], Awaitable[Turn]]
    interrupt: Callable[[], bool]
    withdrawn: Callable[[], Turn]


@final
@attrs.define(eq=False)
class _Place:
    """Where a stream reads, once its turn has begun."""

    reader: Reader | None = None


@final
class _StreamedTurn:
    """The turn of one stream. It runs beside whoever watches it, and needs nobody."""

    def __init__(self, work: Work, place: _Place) -> None:
        self._work = work
        self._place = ref(place)  # what nobody reads any more is not kept
        self._scope = anyio.CancelScope()
        self._begun = False
        self.done = anyio.Event()
        self.turn: Turn | None = None
        self.error: BaseException | None = None
        self.waiting = 0  # tasks that wait for it

    async def run(self) -> None:
        """Wait in the line, and run until the turn rests."""
        try:
            with self._scope:
                async with self._work.alone():
                    # Nobody may have been in the line, and nothing was awaited since.
                    if not self._scope.cancel_called:
                        await self._run_turn()
            if self.turn is None:
                self.turn = self._work.withdrawn()
        except BaseException as error:
            self.error = error
            # Who waits is told. An exit must be heard also where nobody waits.
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
        """Take the message back if its turn has not begun; else stop the turn."""
        if not self._begun or not self._work.interrupt():
            self._scope.cancel()

    async def wait(self) -> Turn:
        """The turn, once it rests; or what was raised instead."""
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
        """Wait until something happened, or it is done."""
        self.waiting += 1
        try:
            await self._work.feed.wait()
        finally:
            self.waiting -= 1


@final
class TurnStream:
    """One turn, watched from its first happening to its last.

    Nothing happens before watching starts: with the first step of `async for`, with
    `async with`, or with `turn()`. From then on the message waits in the line, and the
    turn runs, beside the watcher: a watcher that pauses or leaves the loop holds nothing
    up and stops nothing.

    Leaving the `async with` block, in whatever way, ends what the stream began. If the
    turn has not begun, because another one still runs, the message is taken back: it was
    not recorded yet and is not sent. If the turn runs, it is stopped as by `interrupt()`,
    and the block waits until it rests. Whoever is cancelled there waits a second at most.

    A stream is iterated once: a second loop goes on where the first one stopped. A reader
    that is more than 20,000 happenings behind is told once what it missed (`Missed`).
    """

    def __init__(self, work: Work) -> None:
        """Not for callers: use `Conversation.stream`."""
        self._work = work
        self._place = _Place()
        self._running: _StreamedTurn | None = None
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Happening:
        running = self._start()
        while not self._over:
            reader = self._place.reader
            happening = None if reader is None else reader.next()
            if happening is not None:
                return happening
            if not running.done.is_set():
                await running.wait_for_news()
                continue
            self._over = True
            if running.error is not None:
                raise running.error
        raise StopAsyncIteration

    async def turn(self) -> Turn:
        """The turn, once it rests; starts it if nobody watched.

        A message that was taken back comes as a turn that failed and has no number (0):
        it is not in the record.

        Raises:
            TurnlatchError: What `Conversation.send` would have raised.
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
    """Everything that happens after a cursor, until the conversation is closed.

    A reader that is more than 20,000 happenings behind is told once what it missed
    (`Missed`), and goes on with what is still there.
    """

    def __init__(
        self, feed: Feed, journal: Journal, after: Cursor | None, policy: RetryPolicy
    ) -> None:
        """Not for callers: use `Conversation.watch`."""
        self._feed = feed
        self._reader = feed.reader(after)
        self._past: Iterator[Happening] = iter(())
        if after is not None and after < min(feed.start, feed.covered):
            self._past = retell(journal.entries(), after, feed.covered, policy)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Happening:
        for told in self._past:
            return told
        while True:
            happening = self._reader.next()
            if happening is not None:
                return happening
            if self._feed.closed:
                raise StopAsyncIteration
            await self._feed.wait()

"""Watching: async iterators over what happens, which own nothing that happens."""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, final

import anyio

from detent.background import spawn
from detent.happenings import Cursor, Feed, Happening, TurnEnded
from detent.narrator import narrate
from detent.ports import Journal
from detent.turn import Turn
from detent_states import events as ev
from detent_states.faults import RetryPolicy
from detent_states.step import begin, step


@final
class TurnStream:
    """One turn, watched from its first happening to its last.

    The turn starts when watching starts. It runs beside the watcher: a watcher that
    pauses, or leaves, holds nothing up.
    """

    def __init__(
        self,
        feed: Feed,
        work: Callable[[], Awaitable[Turn]],
        interrupt: Callable[[], Awaitable[bool]],
    ) -> None:
        """Not for callers: use `Conversation.stream`."""
        self._feed = feed
        self._work = work
        self._interrupt = interrupt
        self._started = False
        self._position: int | None = None
        self._turn: Turn | None = None
        self._error: BaseException | None = None
        self._done = anyio.Event()
        self._over = False

    def begin(self, position: int) -> None:
        """The turn begins now, at this position of the feed."""
        self._position = position

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Happening:
        self._start()
        while True:
            if self._over:
                raise StopAsyncIteration
            if self._position is not None:
                happening = self._feed.at_position(self._position)
                if happening is not None:
                    self._position += 1
                    self._over = isinstance(happening, TurnEnded)
                    return happening
            if self._done.is_set():
                self._over = True
                if self._error is not None:
                    raise self._error
                continue
            await self._feed.wait()

    async def turn(self) -> Turn:
        """The turn, once it rests; starts it if nobody watched.

        Raises:
            DetentError: What `Conversation.send` would have raised.
        """
        self._start()
        await self._done.wait()
        if self._error is not None:
            raise self._error
        assert self._turn is not None, "a turn that is done has a result or an error"
        return self._turn

    def _start(self) -> None:
        if not self._started:
            self._started = True
            spawn(self._run)

    async def _run(self) -> None:
        try:
            self._turn = await self._work()
        except BaseException as error:  # noqa: BLE001 - told to whoever watches
            self._error = error
        finally:
            self._done.set()
            self._feed.wake()

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._done.is_set():
            await self._interrupt()
            with anyio.CancelScope(shield=True):
                await self._done.wait()


@final
class Watch:
    """Everything that happens after a cursor, until the conversation is closed."""

    def __init__(self, feed: Feed, journal: Journal, after: Cursor | None) -> None:
        """Not for callers: use `Conversation.watch`."""
        self._feed = feed
        past: list[Happening] = []
        if after is None:
            position = feed.position
        else:
            if after < feed.start:
                past = _retold(journal, after, feed.start)
            position = feed.position_after(after)
        self._past = iter(past)
        self._position = position

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Happening:
        for told in self._past:
            return told
        while True:
            happening = self._feed.at_position(self._position)
            if happening is not None:
                self._position += 1
                return happening
            if self._feed.closed:
                raise StopAsyncIteration
            await self._feed.wait()


def _retold(journal: Journal, after: Cursor, until: Cursor) -> list[Happening]:
    """The happenings between two cursors, told again from the journal."""
    retold = Feed()
    found: list[Happening] = []
    entries = journal.entries()
    first = entries[0].event
    assert isinstance(first, ev.ConversationOpened)
    snapshot = begin(first)
    for entry in entries[1:]:
        made = step(snapshot, entry.event)
        snapshot = made.snapshot
        at = retold.position
        narrate(retold, entry.sequence, entry.event, made, RetryPolicy())
        for position in range(at, retold.position):
            happening = retold.at_position(position)
            if happening is not None and after < happening.cursor <= until:
                found.append(happening)
    return found

"""The synchronous twin: the same conversation and names, without `await`.

It runs the async engine in a separate thread, so a signal or an exception in the caller's
thread never interrupts the engine midway. A Ctrl-C during a wait stops the caller's turn or
read, and is then raised.

In a forked process every method raises `ForkedProcessError` at once, and `close()` does
nothing: the conversation belongs to the parent. Properties still show the state at the
fork.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

from turnlatch.conversation import Conversation as AsyncConversation
from turnlatch.errors import ConversationClosedError, ForkedProcessError, already_open
from turnlatch.result import Turn
from turnlatch.runtime.engine_thread import EngineThread
from turnlatch.urls import HoldsClient
from turnlatch.watching.events import Cursor, Happening
from turnlatch.watching.stream import TurnStream as AsyncTurnStream
from turnlatch.watching.stream import Watch as AsyncWatch
from turnlatch_states.api.reply import Usage
from turnlatch_states.api.rules import Finding
from turnlatch_states.machine.snapshot import Lost, Snapshot
from turnlatch_states.machine.turn import TurnState
from turnlatch_states.recovery.cache_guard import PrefixChange
from turnlatch_states.request.history import History
from turnlatch_states.request.profile import Profile

if TYPE_CHECKING:
    from turnlatch.diagrams import Format

_T = TypeVar("_T")


@final
class Conversation(HoldsClient):
    """`turnlatch.Conversation` for callers without an event loop.

    Use it as a context manager::

        with Conversation.open("notes", store="chat.db") as chat:
            turn = chat.send("Hello")

    Every method does and raises the same as the async method of that name.
    """

    def __init__(self, inner: AsyncConversation) -> None:
        """Not for callers: use `Conversation.open`."""
        self._inner = inner
        self._engine: EngineThread | None = None

    @classmethod
    def open(cls, name: str, **options: Any) -> "Conversation":
        """A conversation, new or resumed; enter it with `with`.

        Args:
            name: Name in the store.
            **options: The keyword arguments of `turnlatch.Conversation.open`.
        """
        return cls(AsyncConversation.open(name, **options))

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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

    # Turns.

    def send(
        self, content: str | Sequence[Mapping[str, Any]], *, key: str | None = None
    ) -> Turn:
        """Send a message, and run the turn until it rests."""
        return self._run(lambda: self._inner.send(content, key=key))

    def stream(
        self, content: str | Sequence[Mapping[str, Any]], *, key: str | None = None
    ) -> "TurnStream":
        """Send a message, and watch the turn: `for happening in chat.stream(...)`."""

        async def made() -> AsyncTurnStream:
            return self._inner.stream(content, key=key)

        return TurnStream(self._run(made), self._run)

    def retry(self) -> Turn:
        """Continue the turn that stopped: its input is still staged."""
        return self._run(self._inner.retry)

    def abandon(self) -> None:
        """Abandon the failed turn: its text is dropped, its tool results are kept."""
        self._run(self._inner.abandon)

    def interrupt(self) -> bool:
        """Stop the running turn, from any thread; True if a turn was running."""
        return self._run(self._inner.interrupt)

    def compact(self) -> Turn:
        """Replace the context with the server's summary of it, in a separate turn."""
        return self._run(self._inner.compact)

    def approve(self, call: str, *, digest: str | None = None) -> Turn:
        """Approve a call that waits, and continue the turn once every call is decided."""
        return self._run(lambda: self._inner.approve(call, digest=digest))

    def deny(self, call: str, reason: str = "the user said no") -> Turn:
        """Deny a call that waits, and continue the turn once every call is decided."""
        return self._run(lambda: self._inner.deny(call, reason))

    def steer(
        self, content: str | Sequence[Mapping[str, Any]], *, key: str | None = None
    ) -> bool:
        """Add a message to the running turn, from any thread; True if a turn runs."""
        return self._run(lambda: self._inner.steer(content, key=key))

    def configure(self, **settings: Any) -> None:
        """Change settings of an open conversation, from the next request on.

        Args:
            **settings: The keyword arguments of `turnlatch.Conversation.configure`.
        """
        self._run(lambda: self._inner.configure(**settings))

    def pin(self, name: str, text: str) -> None:
        """Keep a text word for word in every later context."""
        self._run(lambda: self._inner.pin(name, text))

    def unpin(self, name: str) -> None:
        """Remove a pinned text; it is no longer sent."""
        self._run(lambda: self._inner.unpin(name))

    # The past.

    def rewind(self, *, turns: int = 1) -> None:
        """Move the head back by whole turns. Nothing is deleted from the journal."""
        self._run(lambda: self._inner.rewind(turns=turns))

    def fork(self, name: str) -> "Conversation":
        """A new conversation that begins with this one's present history, by reference."""

        async def forked() -> AsyncConversation:
            return self._inner.fork(name)

        return Conversation(self._run(forked))

    # Properties: values, read without the engine's thread.

    @property
    def name(self) -> str:
        """The conversation's name in the store."""
        return self._inner.name

    @property
    def state(self) -> TurnState | None:
        """The state of the current turn, or of the last one; None before the first."""
        return self._inner.state

    @property
    def turn(self) -> Turn | None:
        """The current turn, or the last one; None before the first."""
        return self._inner.turn

    @property
    def history(self) -> History:
        """The confirmed exchanges, summarised ones included."""
        return self._inner.history

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The history as a messages array. Each access returns a new copy."""
        return self._inner.messages

    @property
    def usage(self) -> Usage:
        """Usage of all confirmed replies, compactions included."""
        return self._inner.usage

    @property
    def profile(self) -> Profile:
        """The current settings."""
        return self._inner.profile

    @property
    def snapshot(self) -> Snapshot:
        """The whole state of the conversation, as one value."""
        return self._inner.snapshot

    @property
    def live(self) -> bool:
        """False if this conversation was opened with `client="simulator"`."""
        return self._inner.live

    @property
    def simulated(self) -> bool:
        """True if the record has a reply that a simulator invented, here or elsewhere."""
        return self._inner.simulated

    @property
    def endpoint(self) -> str:
        """The destination of requests, in words."""
        return self._inner.endpoint

    @property
    def unsaved(self) -> int:
        """Number of events that happened and are not in the journal yet."""
        return self._inner.unsaved

    @property
    def cursor(self) -> Cursor:
        """The cursor of the newest happening."""
        return self._inner.cursor

    @property
    def lost(self) -> Lost:
        """Replies that were paid for and are not in the history."""
        return self._inner.lost

    @property
    def pins(self) -> dict[str, str]:
        """The pinned texts by name; each summary is sent with them."""
        return self._inner.pins

    @property
    def prefix_change(self) -> PrefixChange | None:
        """The part of the cached prompt prefix that the next request changes; None if it
        changes nothing."""
        return self._inner.prefix_change

    def watch(self, after: Cursor | None = None) -> "Watch":
        """All happenings after a cursor, until the conversation is closed."""

        async def made() -> AsyncWatch:
            return self._inner.watch(after)

        return Watch(self._run(made), self._run)

    def check(self) -> tuple[Finding, ...]:
        """The findings of the API's rules about the next request."""
        return self._inner.check()

    def diagram(self, format: "Format" = "text") -> str:
        """A drawing of the turn machine that marks the rows this turn took."""
        return self._inner.diagram(format)


_Run = Callable[..., Any]


@final
class TurnStream(Iterator[Happening]):
    """The happenings of one turn, from first to last; see `turnlatch.TurnStream`. A Ctrl-C
    during a wait stops the turn that the stream began."""

    def __init__(self, inner: AsyncTurnStream, run: _Run) -> None:
        """Not for callers: use `Conversation.stream`."""
        self._inner = inner
        self._run = run
        self._read = _Reading(inner)

    def __next__(self) -> Happening:
        # A Ctrl-C may also come just before or after the wait.
        try:
            return self._read.next(self._run, self._leave)
        except Exception:
            raise
        except BaseException:
            with suppress(ConversationClosedError, ForkedProcessError):
                self._run(self._leave)
            raise

    def turn(self) -> Turn:
        """The turn, once it rests; starts it if it was not iterated."""
        turn: Turn = self._run(self._inner.turn, self._leave)
        return turn

    def __enter__(self) -> Self:
        self._run(self._inner.__aenter__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run(self._leave)

    async def _leave(self) -> None:
        await self._inner.__aexit__(None, None, None)


@final
class Watch(Iterator[Happening]):
    """All happenings after a cursor; see `turnlatch.Watch`. A Ctrl-C during a wait stops only
    the wait."""

    def __init__(self, inner: AsyncWatch, run: _Run) -> None:
        """Not for callers: use `Conversation.watch`."""
        self._run = run
        self._read = _Reading(inner)

    def __next__(self) -> Happening:
        return self._read.next(self._run)


@final
class _Reading:
    """Happenings read in the engine's thread and not returned yet.

    A happening that was read while the caller's wait was interrupted is returned by the
    next call.
    """

    def __init__(self, inner: AsyncTurnStream | AsyncWatch) -> None:
        self._inner = inner
        self._read: deque[Happening] = deque()

    def next(
        self, run: _Run, leave: Callable[[], Awaitable[object]] | None = None
    ) -> Happening:
        run(self._fill, leave)
        if not self._read:
            raise StopIteration
        return self._read.popleft()

    async def _fill(self) -> None:
        if not self._read:
            async for happening in self._inner:
                self._read.append(happening)
                return

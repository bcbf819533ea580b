"""`Conversation`: the one noun that people use."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, final

import anyio

from detent.checking import findings
from detent.driver import Driver
from detent.endpoint import Endpoint
from detent.errors import ConversationClosedError, SettingsError
from detent.happenings import Cursor, Feed, TurnEnded
from detent.opening import choose_store, size_before, start
from detent.ports import Clock, Ids, Store
from detent.settings import Limits, user_blocks
from detent.stream import TurnStream, Watch
from detent.tools import Tool
from detent.turn import Turn
from detent_states import events as ev
from detent_states.call import CallState
from detent_states.errors import IllegalEventError
from detent_states.faults import RetryPolicy
from detent_states.history import History, Profile, Purpose
from detent_states.reply import Usage
from detent_states.rules import Finding
from detent_states.snapshot import Snapshot
from detent_states.turn import TURN, TurnState

if TYPE_CHECKING:
    from detent.diagrams import Format


@final
class Conversation:
    """A durable conversation with a model, and the loop that keeps it going.

    Use it as an async context manager::

        async with Conversation.open("notes", store="chat.db") as chat:
            turn = await chat.send("Hello")

    One turn runs at a time: a second `send` waits for the first. Every method is safe
    to cancel: what was confirmed stays, what was not is rolled back.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        """Not for callers: use `Conversation.open`."""
        self._name = name
        self._options = options
        self._driver: Driver | None = None
        self._endpoint: Endpoint | None = None
        self._store: Store | None = None
        self._owns_store = False
        # Taken without yielding where nobody holds it: a turn need not wait a round.
        self._lock = anyio.Lock(fast_acquire=True)
        self._feed = Feed()
        self._keys: dict[str, int] = {}
        self._streams = False  # as the turn was begun, so it goes on

    @classmethod
    def open(
        cls,
        name: str,
        *,
        store: "str | Path | Store | None" = None,
        model: str | None = None,
        max_tokens: int | None = None,
        system: str | Sequence[Mapping[str, Any]] | None = None,
        tools: Sequence[Tool] | None = None,
        betas: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        diagnostics: bool | None = None,
        client: object = None,
        base_url: str | None = None,
        timeout: float = 600.0,
        idle_timeout: float = 90.0,
        retry: RetryPolicy | None = None,
        limits: Limits | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> "Conversation":
        """A conversation, new or resumed; enter it with `async with`.

        Settings that are left out are restored from the journal of a conversation
        that exists, and take their defaults in one that does not.

        Args:
            name: Its name in the store: any text of 1 to 200 characters.
            store: Path of an SQLite file, or a `Store`; None keeps it in memory only.
            model: Model id.
            max_tokens: Most tokens one reply may have.
            system: The system prompt.
            tools: Functions decorated with `@tool`.
            betas: Names for the `anthropic-beta` header.
            settings: Further body fields, as the API takes them (`thinking`, …).
            diagnostics: Send `diagnostics.previous_message_id` (default yes).
            client: Any async client of the `anthropic` SDK, or a `Model` port.
            base_url: A compatible base URL, if no client is given.
            timeout: Longest one attempt may take, in seconds.
            idle_timeout: Longest silence within an attempt, in seconds.
            retry: How transient faults are waited out.
            limits: Bounds on one turn.
            clock: Time; the machine's own by default.
            ids: Identity and chance; the machine's own by default.

        Without a client, a base URL and credentials it runs on the simulator, logs a
        warning that says so, and has `live` False.

        Entering raises:
            SettingsError: A setting is unknown, of the wrong type or refused.
            ToolDefinitionError: A tool cannot be offered.
            ConversationBusyError: Somebody alive writes this conversation.
            JournalError: The store cannot be read, or must not be.
        """
        if not isinstance(name, str) or not 0 < len(name) <= 200:  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise SettingsError(
                "name", f"{name!r} is no name", "give 1 to 200 characters"
            )
        options = dict(locals())
        del options["cls"], options["name"]
        return cls(name, options)

    async def __aenter__(self) -> Self:
        if self._driver is not None:
            raise ConversationClosedError(self._name)
        self._feed = Feed()
        self._store, self._owns_store = choose_store(self._options["store"])
        try:
            opened = start(self._store, self._name, self._options, self._feed)
        except BaseException:
            self._close_store()
            raise
        self._driver, self._endpoint, self._keys = opened
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop a running turn, and give the conversation back. Idempotent."""
        driver, self._driver = self._driver, None
        if driver is None:
            return
        driver.interrupt("the conversation was closed")
        with anyio.CancelScope(shield=True):
            async with self._lock:  # the running turn has come to rest
                self._feed.close()
                try:
                    driver.flush()
                finally:
                    driver.world.journal.close()
                    self._close_store()
                    if self._endpoint is not None and self._endpoint.owned:
                        await self._endpoint.model.aclose()

    def _close_store(self) -> None:
        if self._owns_store and self._store is not None:
            self._store.close()

    # Turns.

    async def send(
        self, content: str | Sequence[Mapping[str, Any]], *, key: str | None = None
    ) -> Turn:
        """Say something, and run the turn until it rests.

        The turn comes back as a value, confirmed or failed; a failed turn is not
        raised (see `Turn.raise_for_failure`). A turn that failed before is given up
        by this: its text is dropped, its tool results are kept. A call that waits for
        approval is closed as not executed.

        Args:
            content: Text, or content blocks as the API takes them.
            key: Idempotency key: the same key again gives the same turn, and goes on
                with it if it had failed.

        Raises:
            SettingsError: `content` is no user content.
            ConversationClosedError: The conversation is closed.
            JournalError: The journal failed; nothing that happened is lost.
        """
        blocks = user_blocks(content)
        async with self._lock:
            self._streams = False
            return await self._submit(blocks, key)

    def stream(
        self, content: str | Sequence[Mapping[str, Any]], *, key: str | None = None
    ) -> TurnStream:
        """Say something, and watch the turn: `async for happening in chat.stream(...)`.

        The turn belongs to the conversation, not to its watcher: leaving the loop
        leaves it running, `interrupt()` stops it. As an `async with` block, leaving
        the block stops it too. `await stream.turn()` gives the turn.

        Args and errors are those of `send`; errors are raised while watching.
        """
        blocks = user_blocks(content)

        async def work() -> Turn:
            async with self._lock:
                watch.begin(self._feed.position)
                self._streams = True
                return await self._submit(blocks, key)

        watch = TurnStream(self._feed, work, self.interrupt)
        return watch

    async def retry(self) -> Turn:
        """Go on with the turn that stopped: its input is still staged.

        Raises:
            IllegalEventError: There is no turn to go on with.
        """
        async with self._lock:
            driver = self._open_driver()
            driver.flush()
            turn = driver.snapshot.turn
            if turn is None:
                raise IllegalEventError("turn", "none", "retry", ("send",))
            if turn.state == TurnState.FAILED:
                driver.apply(ev.TurnRetried(turn.number, asked=True))
            elif driver.snapshot.resting:
                raise IllegalEventError(
                    TURN.name, turn.state, "retry", ("send",), "the turn is not done"
                )
            return await self._drive()

    async def abandon(self) -> None:
        """Give up the failed turn: its text is dropped, its tool results are kept.

        Raises:
            IllegalEventError: The turn has not failed.
        """
        async with self._lock:
            driver = self._open_driver()
            driver.flush()
            turn = driver.snapshot.turn
            if turn is None:
                raise IllegalEventError("turn", "none", "abandon", ("send",))
            if not driver.snapshot.resting:
                driver.stop("the turn was abandoned")
            driver.apply(ev.TurnAbandoned(turn.number))
            driver.flush()

    async def interrupt(self) -> bool:
        """Stop the running turn, in whatever state it is; True if one was running.

        Finished work is kept, open calls are closed truthfully, the input stays
        staged. `send` and `stream` return the turn as `failed`.
        """
        return self._open_driver().interrupt("the turn was interrupted")

    async def compact(self) -> Turn:
        """Replace the context by the server's summary of it, in a turn of its own.

        The old context stays in force until a whole, signed summary is confirmed; if
        it fails, nothing has changed. The old history stays readable either way.

        Raises:
            ConversationClosedError, JournalError: As `send`.
        """
        async with self._lock:
            return await self._submit(b"", None)

    async def approve(self, call: str) -> Turn:
        """Say yes to a call that waits, and go on once every call is decided.

        Args:
            call: The `tool_use` id; see `Turn.awaiting`.

        Raises:
            IllegalEventError: No such call waits.
        """
        async with self._lock:
            number = self._awaiting(call)
            return await self._decide(ev.CallApproved(number, call))

    async def deny(self, call: str, reason: str = "the user said no") -> Turn:
        """Say no to a call that waits, and go on once every call is decided.

        Args:
            call: The `tool_use` id; see `Turn.awaiting`.
            reason: What the model is told.

        Raises:
            IllegalEventError: No such call waits.
        """
        async with self._lock:
            number = self._awaiting(call)
            return await self._decide(ev.CallDenied(number, call, reason))

    # The past.

    async def rewind(self, *, turns: int = 1) -> None:
        """Move the head back by whole turns. Nothing is deleted from the journal.

        Args:
            turns: How many confirmed turns to go back.

        Raises:
            IllegalEventError: There are not that many, or a turn is running.
        """
        async with self._lock:
            driver = self._open_driver()
            if not driver.snapshot.resting:
                driver.stop("the conversation was rewound")
            driver.apply(ev.Rewound(size_before(driver.snapshot, turns)))
            driver.flush()

    def fork(self, name: str) -> "Conversation":
        """A new conversation that begins as this one stands, by reference.

        Enter it with `async with`. It has this one's store, tools and client.

        Raises:
            IllegalEventError: A turn is running; a fork has no live rows.
            JournalError: `name` exists.
        """
        driver = self._open_driver()
        driver.flush()
        if driver.running or not driver.snapshot.resting:
            raise IllegalEventError(
                "conversation", str(self.state), "fork", (), "no turn is going on"
            )
        assert self._store is not None
        self._store.fork(self._name, name, driver.world.journal.sequence)
        # A path is opened anew, so that the fork outlives the store of this one.
        given = self._options["store"]
        store = given if isinstance(given, str | Path) else self._store
        return Conversation(name, {**self._options, "store": store})

    # Where it stands.

    @property
    def name(self) -> str:
        """Its name in the store."""
        return self._name

    @property
    def state(self) -> TurnState | None:
        """The state of the current turn, or of the last one; None before the first."""
        state = self._open_driver().snapshot.state
        return None if state is None else TurnState(state)

    @property
    def turn(self) -> Turn | None:
        """The current turn, or the last one; None before the first."""
        return Turn.current(self._open_driver().snapshot)

    @property
    def history(self) -> History:
        """What was confirmed, sealed; summarised exchanges included."""
        return self._open_driver().snapshot.history

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The history as a messages array, parsed anew; changing it changes nothing."""
        found: list[dict[str, Any]] = []
        for wire in self.history.wires():
            found += json.loads(b"[" + wire + b"]")
        return found

    @property
    def usage(self) -> Usage:
        """What everything confirmed has cost, compactions included."""
        return self._open_driver().snapshot.usage

    @property
    def profile(self) -> Profile:
        """The settings in force."""
        return self._open_driver().snapshot.profile

    @property
    def snapshot(self) -> Snapshot:
        """Everything the machine knows of this conversation, as one value."""
        return self._open_driver().snapshot

    @property
    def live(self) -> bool:
        """False if detent fell back on the simulator, for want of credentials."""
        return self._endpoint is not None and self._endpoint.live

    @property
    def endpoint(self) -> str:
        """Where requests go, in words."""
        return "" if self._endpoint is None else self._endpoint.label

    @property
    def unsaved(self) -> int:
        """How many events happened that the journal could not take yet."""
        return self._open_driver().unsaved

    @property
    def cursor(self) -> Cursor:
        """Where the happenings stand now."""
        return self._feed.cursor

    def watch(self, after: Cursor | None = None) -> Watch:
        """Everything that happens after a cursor: `async for h in chat.watch(cursor)`.

        What is no longer in memory comes from the journal, without the pieces of
        replies. It ends when the conversation is closed.
        """
        return Watch(self._feed, self._open_driver().world.journal, after)

    def check(self) -> tuple[Finding, ...]:
        """What the strict rules of the API say about the whole next request."""
        return findings(self._open_driver().snapshot)

    def diagram(self, format: "Format" = "text") -> str:
        """The turn machine, with the rows that this turn took."""
        from detent.diagrams import render

        turn = self._open_driver().snapshot.turn
        if turn is None:
            return render(TURN, format)
        return render(TURN, format, path=turn.path, current=turn.state)

    # Inside.

    def _open_driver(self) -> Driver:
        if self._driver is None:
            raise ConversationClosedError(self._name)
        return self._driver

    async def _submit(self, blocks: bytes, key: str | None) -> Turn:
        """Open a turn and run it, unless its key says it ran already."""
        driver = self._open_driver()
        driver.flush()
        snapshot = driver.snapshot
        last = snapshot.turn
        if key is not None:
            if last is not None and last.key == key and not last.abandoned:
                if snapshot.resting and last.state == TurnState.CONFIRMED:
                    return self._rested(driver)
                if last.state == TurnState.FAILED:
                    driver.apply(ev.TurnRetried(last.number, asked=True))
                return await self._drive()
            if snapshot.history.of_turn(self._keys.get(key, 0)):
                return Turn.confirmed(snapshot, self._keys[key])
        if not snapshot.resting:
            driver.stop("another message came first")
        number = driver.snapshot.turns + 1
        purpose = Purpose.MESSAGE if blocks else Purpose.COMPACTION
        driver.apply(ev.TurnOpened(number, blocks, key, purpose))
        self._name_turn(number, key)
        return await self._drive()

    def _name_turn(self, number: int, key: str | None) -> None:
        """Remember which turn a key opened.

        A turn that the journal could not take never was, and its number is given again:
        the key that came with it, which is then the newest, names nothing any more.
        """
        newest = next(reversed(self._keys), None)
        if newest is not None and self._keys[newest] == number:
            del self._keys[newest]
        if key is not None:
            self._keys.pop(key, None)  # so that it is the newest again
            self._keys[key] = number

    async def _drive(self) -> Turn:
        driver = self._open_driver()
        await driver.run(stream=self._streams)
        return self._rested(driver)

    def _rested(self, driver: Driver) -> Turn:
        turn = Turn.current(driver.snapshot)
        assert turn is not None, "a turn was just run"
        self._feed.publish(TurnEnded(self._feed.next(), turn))
        return turn

    def _awaiting(self, call: str) -> int:
        """The turn in which that call waits for an approval."""
        turn = self.turn
        waiting = () if turn is None else turn.awaiting
        if turn is None or call not in [one.id for one in waiting]:
            raise IllegalEventError("call", "none", call, tuple(c.id for c in waiting))
        return turn.number

    async def _decide(self, event: ev.CallApproved | ev.CallDenied) -> Turn:
        driver = self._open_driver()
        driver.flush()
        driver.apply(event)
        driver.flush()
        turn = driver.snapshot.turn
        assert turn is not None, "a call of it was just decided"
        if any(c.state is CallState.PROPOSED for c in turn.open_calls):
            return self._rested(driver)
        return await self._drive()

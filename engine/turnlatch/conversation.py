"""`Conversation`: opening, turns, rewinding and forking."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import anyio
import attrs

from turnlatch.errors import NotNowError, StoreLockedError, already_open
from turnlatch.hooks import AfterCompaction, BeforeCompaction
from turnlatch.journal.lock_waiting import at_once, patiently
from turnlatch.options import TURNS, Options, conversation_name, demand_options
from turnlatch.ports import Clock, Ids, Store
from turnlatch.runtime.endpoint import Endpoint
from turnlatch.runtime.loop import Driver
from turnlatch.runtime.opening import (
    choose_store,
    endpoint_of,
    in_place,
    size_before,
    start,
)
from turnlatch.sending import Sending
from turnlatch.settings import Limits
from turnlatch.tasks import carried_through
from turnlatch.tools import GivenTools
from turnlatch.watching.event_log import EventLog
from turnlatch_states.api.faults import RetryPolicy
from turnlatch_states.machine import events as ev
from turnlatch_states.recovery.policies import CompactionPolicy
from turnlatch_states.request.profile import Cache, Threads


@final
class Conversation(Sending):
    """A durable conversation with a model.

    Use it as an async context manager::

        async with Conversation.open("notes", store="chat.db") as chat:
            turn = await chat.send("Hello")

    A closed conversation can be entered again; entering an open one raises
    `NotNowError`.

    One turn runs at a time: a second `send` waits for the first. Every method is safe
    to cancel: confirmed exchanges stay, everything else is rolled back.
    """

    def __init__(self, name: str, options: Options) -> None:
        """Not for callers: use `Conversation.open`."""
        self._name = name
        self._options = options
        self._driver: Driver | None = None
        self._endpoint: Endpoint | None = None
        self._store: Store | None = None
        self._owns_store = False
        # A free lock is taken without yielding, which saves a round of the event loop.
        self._lock = anyio.Lock(fast_acquire=True)
        self._feed = EventLog()
        self._keys: dict[str, int] = {}
        self._streams = False  # a resumed turn streams if it began so
        # The parent and sequence of a fork that is not made yet.
        self._forked: tuple[str, int] | None = None

    @classmethod
    def open(
        cls,
        name: str,
        *,
        store: "str | Path | Store | None" = None,
        model: str | None = None,
        max_tokens: int | None = None,
        system: str | Sequence[Mapping[str, Any]] | None = None,
        tools: GivenTools | None = None,
        betas: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        diagnostics: bool | None = None,
        threads: Threads | str | None = None,
        cache: Cache | str | None = None,
        client: object = None,
        base_url: str | None = None,
        timeout: float = 600.0,
        idle_timeout: float = 90.0,
        retry: RetryPolicy | None = None,
        limits: Limits | None = None,
        compaction: CompactionPolicy | None = None,
        before_compaction: BeforeCompaction | None = None,
        after_compaction: AfterCompaction | None = None,
        deps: object = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> "Conversation":
        """A conversation, new or resumed; enter it with `async with`.

        Omitted settings come from the journal, or are the defaults of a new conversation.
        `turnlatch.options.Options` describes every option.

        Args:
            name: Name in the store: any text of 1 to 200 characters.

        Raises:
            SettingsError: An option is of the wrong type or out of its bounds. Entering
                raises it for settings that a rule of the API refuses, and raises:
            NoCredentialsError: No client was given, and the SDK finds no credentials.
            ConversationBusyError: A live process holds this conversation's lease.
            JournalError: The store cannot be read, or is not safe to use.
        """
        given = {n: v for n, v in locals().items() if n not in ("cls", "name")}
        name = conversation_name(name)
        options = Options(**demand_options(given))
        return cls(name, attrs.evolve(options, store=in_place(options.store)))

    async def __aenter__(self) -> Self:
        if self._driver is not None:
            raise already_open(self._name)
        # A bad endpoint is refused before a store is made.
        endpoint = endpoint_of(self._options)
        given = self._options.store
        store, self._owns_store = await patiently(lambda: choose_store(given))
        self._store = store
        try:
            opened = await self._begin(store, endpoint)
        except BaseException:
            self._close_store()
            raise
        self._endpoint = endpoint
        self._driver, self._keys = opened
        return self

    async def _begin(
        self, store: Store, endpoint: Endpoint
    ) -> tuple[Driver, dict[str, int]]:
        if self._forked is not None:
            parent, sequence = self._forked
            await patiently(lambda: store.fork(parent, self._name, sequence))
            self._forked = None
        self._feed = EventLog()
        return await start(store, self._name, self._options, endpoint, self._feed)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop a running turn, and release the conversation. Idempotent.

        Raises:
            InsideTurnError: A tool, hook or rule of the turn called this; use
                `interrupt()` there.
        """
        if self._driver is not None:
            self._demand_outside("close")
        driver, self._driver = self._driver, None
        if driver is None:
            return
        driver.interrupt("the conversation was closed")
        await carried_through(lambda: self._finish(driver))

    async def _finish(self, driver: Driver) -> None:
        """Record what is left, and release the conversation whatever comes of that."""
        try:
            async with self._lock:  # the running turn has come to rest
                await driver.save()
        finally:
            self._feed.close()
            # A lease that stays is later found dead or expired.
            with suppress(StoreLockedError):
                await patiently(driver.world.journal.close)
            self._close_store()
            if self._endpoint is not None and self._endpoint.owned:
                await self._endpoint.model.aclose()

    def _close_store(self) -> None:
        if self._owns_store and self._store is not None:
            with at_once():
                self._store.close()

    # The past.

    async def rewind(self, *, turns: int = 1) -> None:
        """Move the head back by whole turns. Nothing is deleted from the journal.

        Args:
            turns: Number of confirmed turns to go back.

        Raises:
            SettingsError: `turns` is not a whole number, 0 or more.
            NotNowError: The history has fewer turns.
        """
        TURNS.demand("turns", turns)
        async with self._alone("rewind"):
            driver = self._open_driver()
            if not driver.snapshot.resting:
                await driver.halt("the conversation was rewound")
            size = size_before(driver.snapshot, turns)
            await driver.note(lambda: ev.Rewound(size))

    def fork(self, name: str) -> "Conversation":
        """A new conversation that begins with this one's present history, by reference.

        Enter it with `async with`. It shares this one's store, tools and client. If
        another process has locked the store, the fork is made when it is entered.

        Raises:
            SettingsError: The name is not allowed.
            NotNowError: A turn is running or waits for a decision, or something is not
                recorded yet (`unsaved`).
            JournalError: A conversation named `name` exists.
        """
        name = conversation_name(name)
        driver = self._open_driver()
        if driver.running or not driver.snapshot.resting:
            raise NotNowError(
                "fork",
                str(self.state),
                f"cannot fork: turn {driver.snapshot.turns} is not finished",
                "wait for it, or interrupt() it",
            )
        if driver.unsaved:
            raise NotNowError(
                "fork",
                str(self.state),
                f"cannot fork: {driver.unsaved} of its events are not recorded yet",
                "wait for what records them; after a failure of the journal, retry()",
            )
        assert self._store is not None
        forked: tuple[str, int] | None = (self._name, driver.world.journal.sequence)
        with at_once(), suppress(StoreLockedError):
            self._store.fork(self._name, name, driver.world.journal.sequence)
            forked = None
        # A path is opened again, so that the fork outlives this conversation's store.
        given = self._options.store
        store = given if isinstance(given, str | Path) else self._store
        tools = self._options.tools
        options = self._options.without_profile()
        made = Conversation(name, attrs.evolve(options, store=store, tools=tools))
        made._forked = forked
        return made

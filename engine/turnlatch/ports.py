"""The engine's ports: five small protocols without any SDK type.

An implementation of one replaces a part of the outside world: a model behind another
transport, a journal in another database, a clock that a test sets.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, final, overload

import attrs

from turnlatch_states.api.faults import Fault
from turnlatch_states.api.reply import Reply
from turnlatch_states.fsm.errors import TurnlatchError
from turnlatch_states.machine.events import Event
from turnlatch_states.request.build import Request


@final
@attrs.frozen
class BlockOpened:
    """A content block of the reply began.

    Attributes:
        index: The block's index in the reply.
        type: The block's type in the API (`text`, `thinking`, `tool_use`, …).
        name: The tool's name, for a call.
        id: The call's id, for a call.
    """

    index: int
    type: str
    name: str | None = None
    id: str | None = None


@final
@attrs.frozen
class TextDelta:
    """Some text of the reply, for display, not yet history."""

    index: int
    text: str


@final
@attrs.frozen
class ThinkingDelta:
    """Some thinking of the reply, for display, not yet history."""

    index: int
    text: str


@final
@attrs.frozen
class InputDelta:
    """A piece of a call's arguments, as raw JSON. The engine runs nothing from it."""

    index: int
    json: str


@final
@attrs.frozen
class BlockClosed:
    """A content block is complete."""

    index: int


Delta: TypeAlias = BlockOpened | TextDelta | ThinkingDelta | InputDelta | BlockClosed
"""A piece of an arriving reply that a model port reports, for display only."""


class RequestFailedError(TurnlatchError):
    """A request did not bring a whole reply.

    Attributes:
        fault: The classified fault.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault

    def _told(self) -> str:
        return str(self.fault)


class Model(Protocol):
    """The destination of requests. The adapter to the `anthropic` SDK implements this."""

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        """Send the request's bytes unchanged and return the whole reply.

        Args:
            request: The request; `request.body` is sent byte for byte.
            report: Called synchronously for each piece of a streamed reply.

        Raises:
            RequestFailedError: No whole reply came; holds the classified fault.
        """
        ...

    async def count(self, request: Request) -> int:
        """The number of input tokens that the server counts for a request. The server
        validates it like a message, charges nothing and generates nothing.

        Args:
            request: A message request with the whole conversation. Only its body is
                counted.

        Raises:
            RequestFailedError: No count came; holds the classified fault.
        """
        ...

    async def aclose(self) -> None:
        """Close what this port opened."""
        ...


class Clock(Protocol):
    """The engine's source of time."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; this clock is never set and never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; may be cancelled."""
        ...


class Ids(Protocol):
    """The engine's source of unique ids and random numbers."""

    def fresh(self) -> str:
        """A unique name."""
        ...

    def draw(self) -> float:
        """A random number in [0, 1)."""
        ...


@final
@attrs.frozen
class Entry:
    """One journaled event.

    Attributes:
        sequence: The entry's number in the conversation, from 1, without gaps.
        event: The event.
    """

    sequence: int
    event: Event


@final
class Entries(Sequence[Entry]):
    """Consecutive entries, each made on access.

    A loaded conversation has thousands, and most readers need only the events.

    Attributes:
        events: The events, in order.
        before: Sequence of the entry before the first.
    """

    __slots__ = ("before", "events")

    def __init__(self, events: Sequence[Event], before: int = 0) -> None:
        self.events = events
        self.before = before

    def __len__(self) -> int:
        return len(self.events)

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self.events)))]
        at = index + len(self.events) if index < 0 else index
        return Entry(self.before + at + 1, self.events[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)  # pyright: ignore[reportUnknownArgumentType] - any sequence

    __hash__ = None  # type: ignore[assignment] # as Python does for a class with __eq__

    def __repr__(self) -> str:
        return f"<{len(self.events)} entries after {self.before}>"


class Journal(Protocol):
    """The durable record of one conversation, held by one writer."""

    @property
    def name(self) -> str:
        """The name of the conversation."""
        ...

    @property
    def sequence(self) -> int:
        """Sequence of the last entry; 0 for a new conversation."""
        ...

    async def append(self, events: Sequence[Event]) -> None:
        """Make events durable, all or none, in order.

        The engine awaits one append of a conversation at a time, and nothing that the
        events announce is done before it returns. It may suspend. The engine cancels an
        append that takes longer than `turnlatch.journal.lock_waiting.WAIT_SECONDS`, and
        asyncio can cancel one that the engine shields. The outcome then counts as
        unknown: the engine closes this journal, opens the conversation again and reads
        what was recorded, before it appends anything else. An append that was cancelled
        must not take effect once `close` has returned.

        A store without asynchronous work commits in place, like `SQLiteStore`::

            async def append(self, events: Sequence[Event]) -> None:
                self._commit(events)

        Raises:
            StoreLockedError: Another process has locked the store; nothing was appended,
                and the engine tries again. An implementation must not wait for a lock
                here without suspending, because it would block the event loop.
            JournalError: Nothing was appended, or (`outcome_unknown`) the outcome is
                unknown.
        """
        ...

    def entries(self, after: int = 0) -> Sequence[Entry]:
        """The entries after a sequence, a fork's inherited entries included.

        Called also while an append is suspended; it then gives what is durable.
        """
        ...

    def close(self) -> None:
        """Release the conversation's lease. Idempotent."""
        ...


@final
@attrs.frozen
class Listing:
    """One conversation in a store, for lists.

    Attributes:
        name: The conversation's name.
        entries: Number of entries, inherited ones included.
        parent: The parent conversation of a fork; None otherwise.
        holder: The process that holds its lease, in words; None if it is free.
        epoch: The fencing token of the newest writer.
        turns: Number of the last turn, inherited ones included; 0 without turns.
        used: Time of the last append, in seconds since the epoch; None if nothing was
            appended, as in a new fork.
        left: The process that died holding the lease, in words; the next writer takes
            the conversation over. None if no process did.
        simulated: True if the record has a confirmed reply that a simulator invented.
    """

    name: str
    entries: int
    parent: str | None = None
    holder: str | None = None
    epoch: int = 0
    turns: int = 0
    used: float | None = None
    left: str | None = None
    simulated: bool = False


class Store(Protocol):
    """A collection of journals."""

    def open(self, name: str) -> Journal:
        """Take the writer's lease on a conversation, new or old.

        Raises:
            ConversationBusyError: A live process holds the lease.
            JournalError: The store cannot be read, or is not safe to use.
        """
        ...

    def read(self, name: str) -> Sequence[Entry]:
        """All entries of a conversation, without taking its lease; read-only.

        Raises:
            UnknownConversationError: The store has no conversation of that name.
            JournalError: The store cannot be read, or is not safe to use.
        """
        ...

    def fork(self, parent: str, name: str, sequence: int) -> None:
        """Make `name` begin with the first `sequence` entries of `parent`, by reference.

        Raises:
            JournalError: `name` exists, or `parent` has no such entry.
        """
        ...

    def conversations(self) -> Sequence[Listing]:
        """All conversations, oldest first."""
        ...

    def close(self) -> None:
        """Close what the store opened. Idempotent."""
        ...

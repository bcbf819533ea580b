"""The engine's whole outside: five small protocols, no SDK type among them.

Whoever implements one of these can replace that part of the world: a model behind
another transport, a journal in another database, a clock that a test turns by hand.
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
        index: Its place in the reply.
        type: Its type, as the API names it (`text`, `thinking`, `tool_use`, …).
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
    """Some text of the reply. Shown, not yet history."""

    index: int
    text: str


@final
@attrs.frozen
class ThinkingDelta:
    """Some thinking of the reply. Shown, not yet history."""

    index: int
    text: str


@final
@attrs.frozen
class InputDelta:
    """Some of a call's arguments, as raw JSON. Nothing runs on it."""

    index: int
    json: str


@final
@attrs.frozen
class BlockClosed:
    """A content block is whole."""

    index: int


Delta: TypeAlias = BlockOpened | TextDelta | ThinkingDelta | InputDelta | BlockClosed
"""What a model port reports while a reply arrives: for display, never for history."""


class RequestFailedError(TurnlatchError):
    """A request did not bring a whole reply.

    Attributes:
        fault: What happened, as far as anybody can know it.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault

    def _told(self) -> str:
        return str(self.fault)


class Model(Protocol):
    """Where requests go. The adapter to the `anthropic` SDK is one of these."""

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        """Send the bytes as they are and return the whole reply.

        Args:
            request: What to send; `request.body` leaves byte for byte.
            report: Called, without waiting, for each piece of a streamed reply.

        Raises:
            RequestFailedError: Anything but a whole reply, with the fault classified.
        """
        ...

    async def count(self, request: Request) -> int:
        """How many input tokens the server counts for a request, which it validates as
        it would validate the message; free of charge, nothing is generated.

        Args:
            request: What would be sent: a message with the whole conversation. What
                its body does not hold is not counted.

        Raises:
            RequestFailedError: Anything but a count, with the fault classified.
        """
        ...

    async def aclose(self) -> None:
        """Give back what this port opened itself."""
        ...


class Clock(Protocol):
    """Time, as the engine sees it."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; nobody sets this clock, and it never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; may be cancelled."""
        ...


class Ids(Protocol):
    """Identity and chance."""

    def fresh(self) -> str:
        """A name nobody else has."""
        ...

    def draw(self) -> float:
        """A random number in [0, 1)."""
        ...


@final
@attrs.frozen
class Entry:
    """One journaled event.

    Attributes:
        sequence: Its place in the conversation, from 1, without gaps.
        event: What happened.
    """

    sequence: int
    event: Event


@final
class Entries(Sequence[Entry]):
    """Entries without gaps, each made when it is looked at.

    A loaded conversation has thousands, and most readers want their events only.

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
        """The conversation it belongs to."""
        ...

    @property
    def sequence(self) -> int:
        """Sequence of the last entry; 0 for a conversation that is new."""
        ...

    def append(self, events: Sequence[Event]) -> None:
        """Make events durable, all or none, in order. Synchronous on purpose: nothing
        can be cancelled between the reply and the record of it.

        Raises:
            StoreLockedError: Somebody else has the store locked; nothing was appended,
                and it is tried again. A port that can be locked waits for nothing here,
                because all that runs on the event loop would wait with it.
            JournalError: Nothing was appended, or (`outcome_unknown`) nobody can say.
        """
        ...

    def entries(self, after: int = 0) -> Sequence[Entry]:
        """What is recorded after that sequence, a fork's inherited entries included."""
        ...

    def close(self) -> None:
        """Give the conversation back. Idempotent."""
        ...


@final
@attrs.frozen
class Listing:
    """One conversation in a store, for lists.

    Attributes:
        name: Its name.
        entries: How many entries it has, inherited ones included.
        parent: The conversation it was forked off, if it was.
        holder: Who writes it now, in words; None if nobody does.
        epoch: The fencing token of the newest writer.
        turns: The number of its last turn, inherited ones included; 0 for none.
        used: When something was last appended to it, in seconds since the epoch; None
            if nothing was, as in a fork that is new.
        left: Who took it and is gone without giving it back, in words: whoever opens it
            next takes it over. None if nobody did.
        simulated: A confirmed answer in its record was made up by the simulator.
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
    """Where journals live."""

    def open(self, name: str) -> Journal:
        """Take the writer's lease on a conversation, new or old.

        Raises:
            ConversationBusyError: Somebody alive holds it.
            JournalError: The store cannot be read, or must not be.
        """
        ...

    def read(self, name: str) -> Sequence[Entry]:
        """All entries of a conversation, without taking its lease; read-only.

        Raises:
            UnknownConversationError: No conversation of that name.
            JournalError: The store cannot be read, or must not be.
        """
        ...

    def fork(self, parent: str, name: str, sequence: int) -> None:
        """Make `name` begin as the first `sequence` entries of `parent`, by reference.

        Raises:
            JournalError: `name` exists, or `parent` has no such entry.
        """
        ...

    def conversations(self) -> Sequence[Listing]:
        """Every conversation, oldest first."""
        ...

    def close(self) -> None:
        """Give back what the store opened. Idempotent."""
        ...

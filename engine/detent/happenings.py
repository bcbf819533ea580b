"""What a caller can watch: typed events, each with a cursor to come back to.

Happenings are for eyes. Those that mirror a journal entry carry its sequence and can be
had again from the journal; the pieces of a reply that is still arriving live in memory
only, because they are not history.
"""

from bisect import bisect_right
from typing import TypeAlias, final

import anyio
import attrs

from detent.turn import Turn
from detent_states.call import CallState, Closing
from detent_states.faults import Fault
from detent_states.prefix import PrefixChange
from detent_states.remedy import Remedy


@final
@attrs.frozen(order=True)
class Cursor:
    """A place in what happened to a conversation.

    Attributes:
        entry: Sequence of the last journal entry before it.
        part: How many happenings came after that entry.
    """

    entry: int = 0
    part: int = 0

    def __str__(self) -> str:
        return f"{self.entry}.{self.part}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The cursor that was printed as `text`.

        Raises:
            ValueError: It is no cursor.
        """
        entry, _, part = text.partition(".")
        return cls(int(entry), int(part or 0))


@final
@attrs.frozen
class Moved:
    """The turn took a row of its table."""

    cursor: Cursor
    turn: int
    trigger: str
    source: str
    target: str
    fault: Fault | None = None


@final
@attrs.frozen
class BlockBegan:
    """A content block of the reply began to arrive."""

    cursor: Cursor
    turn: int
    attempt: int
    index: int
    type: str
    name: str | None = None


@final
@attrs.frozen
class TextArrived:
    """Some text arrived. Shown, not yet history: a failed attempt takes it back."""

    cursor: Cursor
    turn: int
    attempt: int
    index: int
    text: str


@final
@attrs.frozen
class ThinkingArrived:
    """Some thinking arrived. Shown, not yet history."""

    cursor: Cursor
    turn: int
    attempt: int
    index: int
    text: str


@final
@attrs.frozen
class CallMoved:
    """A tool call took a row of its table.

    Attributes:
        cursor: Where this stands.
        turn: The turn.
        call: The `tool_use` id.
        name: The tool's name.
        state: Where the call stands now.
        closing: How it was closed, once it is.
    """

    cursor: Cursor
    turn: int
    call: str
    name: str
    state: CallState
    closing: Closing | None = None


@final
@attrs.frozen
class Waiting:
    """The failed turn waits and will be tried again by itself.

    Attributes:
        cursor: Where this stands.
        turn: The turn.
        failures: Attempts in a row that failed.
        attempts_max: How many may fail in a row.
        wait_seconds: How long it waits.
        due: When the wait is over, seconds since the epoch.
        fault: What it waits out.
    """

    cursor: Cursor
    turn: int
    failures: int
    attempts_max: int
    wait_seconds: float
    due: float
    fault: Fault | None


@final
@attrs.frozen
class RemedyTried:
    """The next request of the turn will do something otherwise.

    Attributes:
        cursor: Where this stands.
        turn: The turn.
        remedy: Which remedy.
        why: What it is meant to mend.
    """

    cursor: Cursor
    turn: int
    remedy: Remedy
    why: str


@final
@attrs.frozen
class TrialMade:
    """The server was asked something that can have no effect on the conversation, to
    find out what is to blame for a failure.

    Attributes:
        cursor: Where this stands.
        turn: The turn for which it was asked.
        question: What was asked, in words.
        passed: Whether the server took it.
    """

    cursor: Cursor
    turn: int
    question: str
    passed: bool


@final
@attrs.frozen
class Suspended:
    """The failed turn waits for the world; `retry()` goes on with it.

    Attributes:
        cursor: Where this stands.
        turn: The turn.
        why: What it waits for.
        until: When that is over, seconds since the epoch; None if nobody can know.
    """

    cursor: Cursor
    turn: int
    why: str
    until: float | None


@final
@attrs.frozen
class Steered:
    """Something was said while the turn ran; the next request says it, if it may.

    Attributes:
        cursor: Where this stands.
        turn: The turn in which it was said.
        waiting: How many messages wait now.
    """

    cursor: Cursor
    turn: int
    waiting: int


@final
@attrs.frozen
class PrefixChanged:
    """The request that is about to leave cannot be served from the prompt cache.

    Attributes:
        cursor: Where this stands.
        turn: The turn.
        change: Which byte is the first that changed, and why.
    """

    cursor: Cursor
    turn: int
    change: PrefixChange


@final
@attrs.frozen
class TurnEnded:
    """The turn rests; the last happening of a stream."""

    cursor: Cursor
    turn: Turn


Happening: TypeAlias = (
    Moved
    | BlockBegan
    | TextArrived
    | ThinkingArrived
    | CallMoved
    | Waiting
    | RemedyTried
    | TrialMade
    | Suspended
    | Steered
    | PrefixChanged
    | TurnEnded
)

KEPT_MAX = 20_000
"""How many happenings stay in memory; older ones are had again from the journal."""


PARTS_MAX = 1 << 30
"""More happenings than any one entry can be followed by."""


@final
class Feed:
    """The happenings of one conversation since it was opened, for any number of readers.

    Appending never waits for a reader, so a slow or a dead one holds nobody up.

    Attributes:
        cursor: Where it stands.
        start: Everything after this cursor is in memory.
        closed: Nothing more will happen.
    """

    def __init__(self) -> None:
        self._kept: list[Happening] = []
        self._dropped = 0
        self._news: anyio.Event | None = None
        self.cursor = Cursor()
        self.start = Cursor()
        self.closed = False

    def begin(self, entry: int) -> None:
        """Begin after that journal entry: what it meant is told by the journal."""
        self.cursor = Cursor(entry)
        self.start = Cursor(entry, PARTS_MAX)

    def at(self, entry: int) -> Cursor:
        """The cursor of a happening that mirrors a journal entry."""
        if entry > self.cursor.entry:
            self.cursor = Cursor(entry)
            return self.cursor
        return self.next()

    def next(self) -> Cursor:
        """The cursor of a happening that mirrors none."""
        self.cursor = Cursor(self.cursor.entry, self.cursor.part + 1)
        return self.cursor

    def publish(self, happening: Happening) -> None:
        """Add one happening and wake every reader."""
        self._kept.append(happening)
        if len(self._kept) > KEPT_MAX:
            spare = KEPT_MAX // 4
            self.start = self._kept[spare - 1].cursor
            del self._kept[:spare]
            self._dropped += spare
        self.wake()

    def close(self) -> None:
        """Nothing more will happen."""
        self.closed = True
        self.wake()

    def wake(self) -> None:
        """Wake every reader, so that each looks again."""
        if self._news is not None:
            self._news.set()
            self._news = None

    @property
    def position(self) -> int:
        """How many happenings there have been."""
        return self._dropped + len(self._kept)

    def position_after(self, cursor: Cursor) -> int:
        """The position of the first kept happening after `cursor`."""
        return self._dropped + bisect_right(
            self._kept, cursor, key=lambda one: one.cursor
        )

    def at_position(self, position: int) -> Happening | None:
        """The happening at a position, or the oldest kept one; None if none came yet."""
        index = max(position - self._dropped, 0)
        return self._kept[index] if index < len(self._kept) else None

    async def wait(self) -> None:
        """Wait until somebody wakes the readers."""
        if self._news is None:
            self._news = anyio.Event()
        await self._news.wait()

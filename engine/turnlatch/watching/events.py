"""The happenings that a caller can watch: typed values, each with a cursor to resume from.

Happenings are for display. A happening that mirrors a journal entry carries its sequence
and can be read from the journal at any time. The pieces of an arriving reply are not
history: they stay in memory while the reply arrives, and after that only until every
reader has read them.
"""

from typing import Final, TypeAlias, final

import attrs

from turnlatch.result import Turn
from turnlatch_states.api.bounds import bounded_moment, maybe_moment, waited
from turnlatch_states.api.checks import instance, optional
from turnlatch_states.api.faults import Fault
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.recovery.cache_guard import PrefixChange

KEPT_MAX: Final = 20_000
"""Maximum number of happenings kept in memory for slow readers."""

PARTS_MAX: Final = 1_000_000
"""More happenings than arrive between any two entries."""


@final
@attrs.frozen(order=True)
class Cursor:
    """A position in a conversation's happenings: directly after one of them.

    Attributes:
        entry: Sequence of the last journal entry before the position.
        part: Number of the happening since that entry, from 1; 0 before the first. From
            `PARTS_MAX` on, the position is after the pieces of an arrived reply.
    """

    entry: int = 0
    part: int = 0

    def __str__(self) -> str:
        return f"{self.entry}.{self.part}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The cursor that was printed as `text`.

        Raises:
            ValueError: The text is not a cursor.
        """
        entry, _, part = text.partition(".")
        return cls(int(entry), int(part or 0))


CURSOR: Final = optional(instance(Cursor, "a Cursor of a happening"))
"""The values that a cursor parameter accepts."""


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
    """Some text arrived. It is for display, not yet history: a failed attempt voids it.

    Attributes:
        cursor: Position of this happening.
        turn: The turn's number.
        attempt: The attempt's number; a later attempt starts the reply again.
        index: The block's index in the reply.
        text: A piece of the block's text.
        whole: True if `text` is the whole text of a block of a confirmed reply. It
            replaces the pieces of that block that were read before.
    """

    cursor: Cursor
    turn: int
    attempt: int
    index: int
    text: str
    whole: bool = False


@final
@attrs.frozen
class ThinkingArrived:
    """Some thinking arrived, for display, not yet history. Fields as in `TextArrived`."""

    cursor: Cursor
    turn: int
    attempt: int
    index: int
    text: str
    whole: bool = False


@final
@attrs.frozen
class CallMoved:
    """A tool call took a row of its table.

    Attributes:
        cursor: Position of this happening.
        turn: The turn's number.
        call: The `tool_use` id; see `CallReport.id`.
        name: The tool's name.
        state: The call's new state.
        closing: How the call was closed; None while it is open.
        place: The call's place in the record, unique in the conversation.
    """

    cursor: Cursor
    turn: int
    call: str
    name: str
    state: CallState
    closing: Closing | None = None
    place: str = ""


@final
@attrs.frozen
class Waiting:
    """The failed turn waits, and is then retried automatically.

    Attributes:
        cursor: Position of this happening.
        turn: The turn's number.
        failures: Number of failed attempts in a row.
        attempts_max: Maximum number of failed attempts in a row.
        wait_seconds: Length of the wait.
        due: End of the wait, in seconds since the epoch.
        fault: The fault that caused the wait.
    """

    cursor: Cursor
    turn: int
    failures: int
    attempts_max: int
    wait_seconds: float = attrs.field(converter=waited)
    due: float = attrs.field(converter=bounded_moment)
    fault: Fault | None


@final
@attrs.frozen
class RemedyTried:
    """The next request of the turn will differ from the failed one.

    Attributes:
        cursor: Position of this happening.
        turn: The turn's number.
        remedy: The remedy.
        why: The problem that the remedy addresses.
    """

    cursor: Cursor
    turn: int
    remedy: Remedy
    why: str


@final
@attrs.frozen
class TrialMade:
    """A probe request without effect on the conversation was sent, to find the cause of a
    failure.

    Attributes:
        cursor: Position of this happening.
        turn: The turn's number.
        question: The probe, in words.
        passed: True if the server accepted the probe.
    """

    cursor: Cursor
    turn: int
    question: str
    passed: bool


@final
@attrs.frozen
class Suspended:
    """The failed turn waits for an external condition; `retry()` continues it.

    Attributes:
        cursor: Position of this happening.
        turn: The turn's number.
        why: The condition that the turn waits for.
        until: End of the wait, in seconds since the epoch; None if it is unknown.
    """

    cursor: Cursor
    turn: int
    why: str
    until: float | None = attrs.field(converter=maybe_moment)


@final
@attrs.frozen
class Steered:
    """A message was added by `steer()`; the next request that can carry it sends it.

    Attributes:
        cursor: Position of this happening.
        turn: The number of the turn that was running.
        waiting: Number of messages now in the queue.
    """

    cursor: Cursor
    turn: int
    waiting: int


@final
@attrs.frozen
class PrefixChanged:
    """The next request changes the cached prompt prefix, so part of the cache is lost.

    Attributes:
        cursor: Position of this happening.
        turn: The turn's number.
        change: The first changed byte, and the reason.
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


@final
@attrs.frozen
class Missed:
    """This reader fell so far behind that some happenings are no longer in memory.

    One `Missed` replaces each gap. `chat.watch(missed.after)` reads the gap from the
    journal: every move, and the texts of confirmed replies as whole pieces.

    Attributes:
        cursor: Cursor of the last missing happening.
        after: Cursor of the last happening before the gap.
        count: Number of missing happenings.
    """

    cursor: Cursor
    after: Cursor
    count: int


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
    | Missed
)

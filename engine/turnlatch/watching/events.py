"""The stream events that a caller can watch: typed values, each with a cursor to resume from.

A journal entry is carried as it is recorded, and a piece of an arriving reply as the model
port reported it. An entry can be read from the journal at any time. The pieces of an
arriving reply are not history: they stay in memory while the reply arrives, and after that
only until every reader has read them.
"""

from typing import Final, TypeAlias, final

import attrs

from turnlatch.ports import BlockOpened, TextDelta, ThinkingDelta
from turnlatch.result import CallReport, Turn
from turnlatch_states.api.checks import instance, optional
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Call, Move
from turnlatch_states.recovery.cache_guard import PrefixChange

KEPT_MAX: Final = 20_000
"""Maximum number of stream events kept in memory for slow readers."""

PARTS_MAX: Final = 1_000_000
"""More stream events than arrive between any two entries."""


@final
@attrs.frozen(order=True)
class Cursor:
    """A position among a conversation's stream events: directly after one of them.

    Attributes:
        entry: Sequence of the last journal entry before the position.
        part: Number of the stream event since that entry, from 1; 0 directly after the
            entry. From `PARTS_MAX` on, the position is after the pieces of an arrived
            reply.
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


CURSOR: Final = optional(instance(Cursor, "a Cursor of a stream event"))
"""The values that a cursor parameter accepts."""


@final
@attrs.frozen
class Recorded:
    """An event is in the journal, and the conversation stands where the event led it.

    Attributes:
        cursor: Position of this stream event; `cursor.entry` is the entry's sequence.
        turn: Number of the turn after the event; 0 before the first turn.
        event: The event, as it is recorded.
        move: How the turn moved between its five states; None if it did not.
        prefix_change: The part of the cached prompt prefix that the request changes; None
            if it changes nothing, and for other events than `RequestSent`.
    """

    cursor: Cursor
    turn: int
    event: Event
    move: Move | None = None
    prefix_change: PrefixChange | None = None
    _calls: tuple[Call, ...] = attrs.field(default=(), repr=False, alias="calls")

    @property
    def calls(self) -> tuple[CallReport, ...]:
        """The tool calls that the event changed, each as the event left it."""
        return tuple(map(CallReport.of, self._calls))


@final
@attrs.frozen
class Arrived:
    """A piece of a reply arrived. It is for display, not yet history: a failed attempt
    voids it.

    Attributes:
        cursor: Position of this stream event.
        turn: The turn's number.
        attempt: The attempt's number; a later attempt starts the reply again.
        delta: The piece: a block that began, some text of it, or some thinking.
        whole: True if `delta` belongs to a confirmed reply and has the whole text of its
            block. It replaces the pieces of that block that were read before.
    """

    cursor: Cursor
    turn: int
    attempt: int
    delta: BlockOpened | TextDelta | ThinkingDelta
    whole: bool = False


@final
@attrs.frozen
class Progressed:
    """A running call said how far it has come. It is for display: it is not recorded.

    Attributes:
        cursor: Position of this stream event.
        turn: The turn's number.
        call: The `tool_use` id; see `CallReport.id`.
        place: The call's place in the record.
        name: The tool's name.
        text: The report, up to 1,000 characters.
    """

    cursor: Cursor
    turn: int
    call: str
    place: str
    name: str
    text: str


@final
@attrs.frozen
class TurnEnded:
    """The turn rests; the last event of a stream."""

    cursor: Cursor
    turn: Turn


@final
@attrs.frozen
class Missed:
    """This reader fell so far behind that some stream events are no longer in memory.

    One `Missed` replaces each gap. `chat.watch(missed.after)` reads the gap from the
    journal: every entry, and the texts of confirmed replies as whole pieces.

    Attributes:
        cursor: Cursor of the last missing event.
        after: Cursor of the last event before the gap.
        count: Number of missing events.
    """

    cursor: Cursor
    after: Cursor
    count: int


StreamEvent: TypeAlias = Recorded | Arrived | Progressed | TurnEnded | Missed

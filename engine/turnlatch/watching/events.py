"""What a caller can watch: typed events, each with a cursor to come back to.

Happenings are for eyes. Those that mirror a journal entry carry its sequence and can be
told again from the journal at any time. The pieces of a reply that is still arriving are
not history: they are kept in memory while the reply arrives, and after that only for
readers that have not come to them yet.
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
"""How many happenings stay in memory, at most, for readers that are behind."""

PARTS_MAX: Final = 1_000_000
"""More happenings than arrive after any one entry."""


@final
@attrs.frozen(order=True)
class Cursor:
    """A place in what happened to a conversation: right behind one happening.

    Attributes:
        entry: Sequence of the last journal entry before it.
        part: Which happening since that entry it is, from 1; 0 for none yet. From
            `PARTS_MAX` on it stands behind the pieces of a reply that arrived.
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


CURSOR: Final = optional(instance(Cursor, "a Cursor of a happening"))
"""What may be given as a cursor."""


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
    """Some text arrived. Shown, not yet history: a failed attempt takes it back.

    Attributes:
        cursor: Where this stands.
        turn: The turn.
        attempt: The attempt; a later attempt begins the reply anew.
        index: The block's place in the reply.
        text: A piece of the block's text.
        whole: True if `text` is the whole text of a block of a confirmed reply. It
            stands in for the pieces of that block: those that were read before are
            replaced by it, not followed by it.
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
    """Some thinking arrived. Shown, not yet history. The fields are `TextArrived`'s."""

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
        cursor: Where this stands.
        turn: The turn.
        call: The `tool_use` id; see `CallReport.id`.
        name: The tool's name.
        state: Where the call stands now.
        closing: How it was closed, once it is.
        place: Its place in the record, which no other call ever has.
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
    wait_seconds: float = attrs.field(converter=waited)
    due: float = attrs.field(converter=bounded_moment)
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
    until: float | None = attrs.field(converter=maybe_moment)


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


@final
@attrs.frozen
class Missed:
    """This reader fell so far behind that some happenings are not in memory any more.

    It comes once for each gap, in the place of what is missing. What the journal holds
    of it is told again by `chat.watch(missed.after)`: every move, and the texts of
    confirmed replies as whole pieces.

    Attributes:
        cursor: The last happening that is missing; the next one follows it.
        after: Where the gap begins: the cursor of the last happening before it.
        count: How many happenings are missing.
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

"""Everything a conversation remembers: a frozen value, and nothing outside it."""

from functools import cached_property
from typing import final

import attrs

from detent_states.call import CallState, Closing
from detent_states.faults import Fault
from detent_states.history import Base, History, Profile, Purpose
from detent_states.outcome import Outcome
from detent_states.reply import Spent, ToolUse, Usage


@final
@attrs.frozen
class Call:
    """One tool call of the last confirmed reply.

    Attributes:
        use: What the model asked for.
        state: Where the call stands.
        closing: How it was closed, once it is.
        result: Its one `tool_result` block as JSON, once it is closed.
        note: Why it was denied, where it was.
    """

    use: ToolUse
    state: CallState = CallState.PROPOSED
    closing: Closing | None = None
    result: bytes = b""
    note: str = ""


@final
@attrs.frozen
class Move:
    """One executed row of the turn's table."""

    trigger: str
    source: str
    target: str


@final
@attrs.frozen
class Turn:
    """One user input until the reply that needs nothing more from us.

    Attributes:
        number: 1 for the first turn of a conversation.
        state: One of the five states, by name.
        purpose: What the turn is for.
        key: The caller's idempotency key.
        content: The user's blocks, while they are staged; empty once confirmed.
        calls: The calls whose results the next request owes, in the order asked.
        attempt: Requests sent so far; the stamp of the one in flight.
        granted: Requests sent before the caller last asked for more; the turn's budget
            counts from there.
        failures: Attempts in a row that failed.
        fault: Why it failed, while it is failed.
        outcome: What the last confirmed reply asked for.
        due: When a scheduled retry comes, seconds since the epoch; None if none is.
        abandoned: Given up; only the answers live on.
        usage: What this turn cost.
        path: The rows it took, in order.
        done: The calls whose results are confirmed, over the whole turn.
    """

    number: int
    state: str
    purpose: Purpose = Purpose.MESSAGE
    key: str | None = None
    content: bytes = b""
    calls: tuple[Call, ...] = ()
    attempt: int = 0
    granted: int = 0
    failures: int = 0
    fault: Fault | None = None
    outcome: Outcome | None = None
    due: float | None = None
    abandoned: bool = False
    usage: Usage = attrs.field(factory=Usage)
    path: tuple[Move, ...] = ()
    done: tuple[Call, ...] = ()

    @property
    def open_calls(self) -> tuple[Call, ...]:
        """The calls that have no result yet."""
        return tuple(c for c in self.calls if c.state is not CallState.CLOSED)

    @property
    def staged(self) -> bytes:
        """The blocks of the next user message: answers first, then the user's own."""
        parts = [call.result for call in self.calls if call.result]
        if self.content:
            parts.append(self.content)
        return b",".join(parts)

    def call(self, id_: str) -> Call | None:
        """The call with that `tool_use` id."""
        for call in self.calls:
            if call.use.id == id_:
                return call
        return None


@final
@attrs.frozen
class Snapshot:
    """A conversation at one moment.

    Attributes:
        profile: The settings in force.
        history: What was confirmed.
        bases: The summaries that were confirmed, oldest first.
        spent: What everything confirmed has cost; see `usage`.
        turn: The current turn, or the last one; None before the first.
        turns: Number of the last turn that was opened.
    """

    profile: Profile
    history: History = attrs.field(factory=History)
    bases: tuple[Base, ...] = ()
    spent: Spent = attrs.field(factory=Spent)
    turn: Turn | None = None
    turns: int = 0

    @property
    def usage(self) -> Usage:
        """What everything confirmed has cost."""
        return self.spent.total

    @property
    def base(self) -> Base | None:
        """The summary in force."""
        return self.bases[-1] if self.bases else None

    @property
    def state(self) -> str | None:
        """The state of the current turn; None before the first."""
        return None if self.turn is None else self.turn.state

    @cached_property
    def resting(self) -> bool:
        """True if nothing moves by itself and a new turn may be opened."""
        turn = self.turn
        if turn is None:
            return True
        if turn.state == "failed":
            return turn.due is None
        return turn.state == "confirmed" and not turn.open_calls and not owes(turn)


def owes(turn: Turn) -> bool:
    """True if a confirmed turn must still go back to the model."""
    return turn.state == "confirmed" and (
        turn.outcome is Outcome.RESUME or bool(turn.calls)
    )

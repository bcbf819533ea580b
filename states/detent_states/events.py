"""Everything that can happen to a conversation, as past-tense facts.

An event is also a journal entry: the state of a conversation is what `step` makes of its
events in order, live and after a reload alike. The union is closed; its tags on disk
are an API with a version.
"""

from typing import TypeAlias, final

import attrs

from detent_states.call import Closing
from detent_states.faults import Fault
from detent_states.history import Profile, Purpose
from detent_states.reply import Reply


@final
@attrs.frozen
class ConversationOpened:
    """A conversation began, with these settings."""

    profile: Profile


@final
@attrs.frozen
class ProfileChanged:
    """The settings changed; they hold from the next request on."""

    profile: Profile


@final
@attrs.frozen
class Forked:
    """This conversation was forked off `parent`, after its entry `sequence`."""

    parent: str
    sequence: int


@final
@attrs.frozen
class TurnOpened:
    """A turn began.

    Attributes:
        turn: Its number; one more than the last.
        content: The user's blocks as JSON, comma-separated; empty to compact.
        key: The caller's idempotency key, if one was given.
        purpose: What the turn is for.
    """

    turn: int
    content: bytes
    key: str | None = None
    purpose: Purpose = Purpose.MESSAGE


@final
@attrs.frozen
class RequestSent:
    """A legal request for exactly the staged input is about to leave."""

    turn: int
    attempt: int


@final
@attrs.frozen
class ReplyConfirmed:
    """A whole reply arrived for that attempt."""

    turn: int
    attempt: int
    reply: Reply


@final
@attrs.frozen
class TurnFailed:
    """The turn stopped before it was done."""

    turn: int
    attempt: int
    fault: Fault


@final
@attrs.frozen
class RetryScheduled:
    """The failed turn will be tried again by itself.

    Attributes:
        turn: The turn.
        failures: How many attempts in a row have failed.
        wait_seconds: How long it waits.
        due: When the wait is over, seconds since the epoch.
    """

    turn: int
    failures: int
    wait_seconds: float
    due: float


@final
@attrs.frozen
class RetryCancelled:
    """A scheduled retry will not come by itself any more; the turn rests in failed.

    Attributes:
        turn: The turn.
        fault: Why, if something new stopped it; None if it rests for what it waited out.
    """

    turn: int
    fault: Fault | None = None


@final
@attrs.frozen
class TurnRetried:
    """A failed turn goes on.

    Attributes:
        turn: The turn.
        asked: True if the caller asked, False if a scheduled wait is over.
    """

    turn: int
    asked: bool


@final
@attrs.frozen
class CallApproved:
    """Somebody said yes to one call."""

    turn: int
    call: str


@final
@attrs.frozen
class CallDenied:
    """Somebody said no to one call."""

    turn: int
    call: str
    reason: str


@final
@attrs.frozen
class CallStarted:
    """The tool is about to run.

    Attributes:
        turn: The turn.
        call: The `tool_use` id.
        key: The idempotency key the tool is given, stable over every attempt.
    """

    turn: int
    call: str
    key: str


@final
@attrs.frozen
class CallClosed:
    """A call has its one result.

    Attributes:
        turn: The turn.
        call: The `tool_use` id.
        closing: Which truth the result tells.
        result: The `tool_result` block as JSON, exactly as it will be sent.
        output: The tool's whole output where the result had to be cut; else empty.
    """

    turn: int
    call: str
    closing: Closing
    result: bytes
    output: bytes = b""


@final
@attrs.frozen
class TurnContinued:
    """The turn goes back to the model: every call is closed, or the server paused."""

    turn: int


@final
@attrs.frozen
class CompactionSent:
    """A request for a summary is about to leave."""

    turn: int
    attempt: int


@final
@attrs.frozen
class CompactionConfirmed:
    """A whole, signed summary arrived for that attempt; `reply.content` is its block."""

    turn: int
    attempt: int
    reply: Reply


@final
@attrs.frozen
class TurnAbandoned:
    """A failed turn was given up: its text is dropped, its answers are kept."""

    turn: int


@final
@attrs.frozen
class Rewound:
    """The head moved back; nothing was deleted.

    Attributes:
        size: How many exchanges the history has now.
    """

    size: int


Event: TypeAlias = (
    ConversationOpened
    | ProfileChanged
    | Forked
    | TurnOpened
    | RequestSent
    | ReplyConfirmed
    | TurnFailed
    | RetryScheduled
    | RetryCancelled
    | TurnRetried
    | CallApproved
    | CallDenied
    | CallStarted
    | CallClosed
    | TurnContinued
    | CompactionSent
    | CompactionConfirmed
    | TurnAbandoned
    | Rewound
)

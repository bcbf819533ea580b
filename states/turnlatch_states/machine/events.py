"""Everything that can happen to a conversation, as past-tense facts.

An event is also a journal entry: the state of a conversation is what `step` makes of its
events in order, live and after a reload alike. The union is closed; its tags on disk
are an API with a version.
"""

from enum import StrEnum
from typing import TypeAlias, final

import attrs

from turnlatch_states.api.added_fields import added
from turnlatch_states.api.faults import Fault
from turnlatch_states.api.reply import Reply, Usage
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.request.build import Copy
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Profile, Purpose
from turnlatch_states.request.view import View


@final
@attrs.frozen
class ConversationOpened:
    """A conversation began, with these settings.

    Attributes:
        profile: The settings.
        identity: A unique id of this record, which its copies and forks share.
    """

    profile: Profile
    identity: str = added("")


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
        purpose: The purpose of the turn.
    """

    turn: int
    content: bytes
    key: str | None = None
    purpose: Purpose = Purpose.MESSAGE


@final
@attrs.frozen
class RequestSent:
    """A legal request for exactly the staged input is about to leave.

    Attributes:
        turn: The turn.
        attempt: Which request of it, from 1.
        copy: How it uses the server's copy of the conversation.
    """

    turn: int
    attempt: int
    copy: Copy = added(Copy.NONE)


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
        attempts_max: How many attempts in a row may fail; 0 where that is not recorded.
    """

    turn: int
    failures: int
    wait_seconds: float
    due: float
    attempts_max: int = added(0)


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
        results_only: True if steered messages wait for a later request, because the
            service has open work that only results may follow.
    """

    turn: int
    asked: bool
    results_only: bool = added(False)


@final
@attrs.frozen
class Steered:
    """Something was said that the next request will say, if it may.

    Attributes:
        turn: The turn in which it was said; 0 before the first.
        content: The user's blocks as JSON, comma-separated.
        key: The caller's idempotency key, if one was given.
    """

    turn: int
    content: bytes
    key: str | None = None


@final
@attrs.frozen
class CallAsked:
    """A person was asked about one call.

    Attributes:
        turn: The turn.
        call: The call, by its `ToolUse.id`: no other of the last reply has it.
        digest: What exactly is asked about: tool, arguments and place.
        expires: Until when an answer counts, seconds since the epoch; None for always.
        arguments: The arguments as they would run, as JSON, where the types of the tool
            make of them something else than the model wrote; else empty.
    """

    turn: int
    call: str
    digest: str
    expires: float | None = None
    arguments: bytes = b""


@final
@attrs.frozen
class CallApproved:
    """Somebody said yes to one call.

    Attributes:
        turn: The turn.
        call: The call, by its `ToolUse.id`: no other of the last reply has it.
        digest: What exactly was said yes to: as the question said it.
        arguments: The arguments as a rule was shown them, where it said yes without a
            question; see `CallAsked`.
    """

    turn: int
    call: str
    digest: str
    arguments: bytes = b""


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
        call: The call, by its `ToolUse.id`: no other of the last reply has it.
        key: The idempotency key the tool is given, stable over every attempt.
        safe: The tool only reads: started again, nothing happens twice.
    """

    turn: int
    call: str
    key: str
    safe: bool = False


@final
@attrs.frozen
class CallLost:
    """A call was started, and its end was not seen."""

    turn: int
    call: str


@final
@attrs.frozen
class CallClosed:
    """A call has its one result.

    Attributes:
        turn: The turn.
        call: The call, by its `ToolUse.id`: no other of the last reply has it.
        closing: Which truth the result tells.
        result: The `tool_result` block as JSON, as it will be sent; a request that has
            to show the call with another id shows its result with that id, too.
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
    """The turn goes back to the model: every call is closed, or the server paused.

    Attributes:
        turn: The turn.
        results_only: As in `TurnRetried`.
    """

    turn: int
    results_only: bool = added(False)


@final
@attrs.frozen
class CompactionSent:
    """A request for a summary is about to leave.

    Attributes:
        turn: The turn.
        attempt: Which request of it, from 1.
        covers: How many exchanges the summary will stand for.
        method: How it is made.
        instructions: The hook's instructions for it; None if the hook gave none.
    """

    turn: int
    attempt: int
    covers: int
    method: Method = Method.SIGNED
    instructions: str | None = added(None)


@final
@attrs.frozen
class CompactionConfirmed:
    """A whole, usable summary arrived for that attempt."""

    turn: int
    attempt: int
    reply: Reply


@final
@attrs.frozen
class RemedyChosen:
    """How the next request of a turn will differ. Nothing is adopted yet.

    Attributes:
        turn: The turn.
        remedy: Which rung of which ladder.
        why: The problem that it addresses, in words.
        view: How the history will be shown; None to leave that as it was.
        max_tokens: Another limit for the reply; None to leave that as it was.
        passing: The view holds only as long as the trouble does: no definite refusal
            asked for it.
    """

    turn: int
    remedy: Remedy
    why: str
    view: View | None = None
    max_tokens: int | None = None
    passing: bool = added(False)


class Question(StrEnum):
    """The subject of a probe."""

    TRIAL = "trial"
    """The conversation, shown otherwise."""
    SMALL = "small"
    """Something short of the same kind: is the server well?"""
    SEARCH = "search"
    """All trials of a search together: nothing more was sent, and no part was found."""


@final
@attrs.frozen
class Probed:
    """A question was put to the server that can have no effect on the conversation.

    Attributes:
        turn: The turn for which it was asked.
        question: The question, in words.
        passed: Whether the server took it.
        about: The subject.
        fault: The server's refusal, if it did not pass.
        spent: Its usage, as far as that is known; None for nothing.
        counted: It was put to the token counter instead of the model.
        key: What tells a trial from every other, where `passed` is the last word about
            it: it is not made again. Empty everywhere else.
    """

    turn: int
    question: str
    passed: bool
    about: Question = added(Question.TRIAL)
    fault: Fault | None = added(None)
    spent: Usage | None = added(None)
    counted: bool = added(False)
    key: str = added("")


@final
@attrs.frozen
class TurnSuspended:
    """The failed turn waits for the world: credentials, credit, a model, a long wait.

    Attributes:
        turn: The turn.
        why: The condition it waits for, in words.
        until: End of the wait, seconds since the epoch; None if it is unknown.
    """

    turn: int
    why: str
    until: float | None = None


@final
@attrs.frozen
class Pinned:
    """A text that goes along with every later summary, or one that does no longer.

    Attributes:
        name: Its name.
        text: The text; None to let go of it.
    """

    name: str
    text: str | None


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


CallEvent: TypeAlias = (
    CallAsked | CallApproved | CallDenied | CallStarted | CallLost | CallClosed
)
"""Events of one call."""

MoveEvent: TypeAlias = (
    RequestSent
    | ReplyConfirmed
    | TurnFailed
    | TurnRetried
    | TurnContinued
    | CompactionSent
    | CompactionConfirmed
)
"""Events that move a turn between its five states."""

FailedEvent: TypeAlias = (
    RetryScheduled | RetryCancelled | RemedyChosen | Probed | TurnSuspended
)
"""Events of a turn that stays failed for now: what is done about it."""

CallerEvent: TypeAlias = (
    ConversationOpened
    | ProfileChanged
    | Forked
    | TurnOpened
    | Steered
    | Pinned
    | TurnAbandoned
    | Rewound
)
"""Events that the caller asked for."""

Event: TypeAlias = MoveEvent | CallEvent | FailedEvent | CallerEvent

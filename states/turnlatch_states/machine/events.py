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
    """The settings changed; the next request uses them."""

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
        profile: The settings of this turn alone; None for those of the conversation.
    """

    turn: int
    content: bytes
    key: str | None = None
    purpose: Purpose = Purpose.MESSAGE
    profile: Profile | None = added(None)


@final
@attrs.frozen
class RequestSent:
    """A request with the staged input is about to be sent.

    Attributes:
        turn: The turn.
        attempt: Number of the request in this turn, from 1.
        copy: How it uses the server's copy of the conversation.
    """

    turn: int
    attempt: int
    copy: Copy = added(Copy.NONE)


@final
@attrs.frozen
class ReplyConfirmed:
    """A whole reply arrived for that attempt.

    Attributes:
        turn: The turn.
        attempt: Number of the request in this turn, from 1.
        reply: The reply.
        misfit: Why the reply is not the output that the caller asked for, in words for
            the model; empty if it is, or if nothing was asked for.
    """

    turn: int
    attempt: int
    reply: Reply
    misfit: str = added("")


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
    """The failed turn waits, and is then retried automatically.

    Attributes:
        turn: The turn.
        failures: Number of failed attempts in a row.
        wait_seconds: Length of the wait.
        due: End of the wait, in seconds since the epoch.
        attempts_max: Maximum number of failed attempts in a row; 0 in entries that were
            written before this was recorded.
    """

    turn: int
    failures: int
    wait_seconds: float
    due: float
    attempts_max: int = added(0)


@final
@attrs.frozen
class RetryCancelled:
    """The scheduled retry was cancelled; the failed turn rests.

    Attributes:
        turn: The turn.
        fault: The fault that cancelled it; None if the turn rests for its former fault.
    """

    turn: int
    fault: Fault | None = None


@final
@attrs.frozen
class TurnRetried:
    """A failed turn is retried.

    Attributes:
        turn: The turn.
        asked: True if the caller called `retry`; False if a scheduled wait is over.
        results_only: True if steered messages wait for a later request, because the
            service has open work that only results may follow.
    """

    turn: int
    asked: bool
    results_only: bool = added(False)


@final
@attrs.frozen
class Steered:
    """A message was added by `steer`; the next request that can carry it sends it.

    Attributes:
        turn: The turn that was running or done; 0 before the first.
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
        call: The call's `ToolUse.id`, unique in the last reply.
        digest: Digest of the question: tool, arguments and place.
        expires: When the question expires, in seconds since the epoch; None for never.
        arguments: The arguments that would run, as JSON, if the tool's types converted
            the model's; else empty.
    """

    turn: int
    call: str
    digest: str
    expires: float | None = None
    arguments: bytes = b""


@final
@attrs.frozen
class CallApproved:
    """One call was approved, by a person or by a rule.

    Attributes:
        turn: The turn.
        call: The call's `ToolUse.id`, unique in the last reply.
        digest: Digest of the approved call, as in `CallAsked`.
        arguments: The arguments that a rule approved without a question, as in
            `CallAsked`.
    """

    turn: int
    call: str
    digest: str
    arguments: bytes = b""


@final
@attrs.frozen
class CallDenied:
    """One call was denied, by a person or by a rule."""

    turn: int
    call: str
    reason: str


@final
@attrs.frozen
class CallStarted:
    """The tool is about to run.

    Attributes:
        turn: The turn.
        call: The call's `ToolUse.id`, unique in the last reply.
        key: The idempotency key that the tool gets, the same in every attempt.
        safe: True if the tool only reads, so that it may be started again.
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
    """A call was closed with its one result.

    Attributes:
        turn: The turn.
        call: The call's `ToolUse.id`, unique in the last reply.
        closing: How the call was closed.
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
    """A request for a summary is about to be sent.

    Attributes:
        turn: The turn.
        attempt: Number of the request in this turn, from 1.
        covers: How many exchanges the summary will stand for.
        method: How the summary is made.
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
    """The next request of the turn will differ from the failed one.

    Attributes:
        turn: The turn.
        remedy: The remedy.
        why: The problem that the remedy addresses, in words.
        view: How the history will be shown; None for no change.
        max_tokens: Another limit for the reply; None for no change.
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
    """A probe without effect on the conversation was sent, to find the cause of a failure.

    Attributes:
        turn: The turn.
        question: The probe, in words.
        passed: True if the server accepted the probe.
        about: The subject of the probe.
        fault: The server's refusal, if it did not pass.
        spent: Its usage, as far as that is known; None for nothing.
        counted: True if the token counter was asked instead of the model.
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
    """The failed turn waits for an external condition; `retry` continues it.

    Attributes:
        turn: The turn.
        why: The condition that the turn waits for: credentials, credit, a model, a long
            wait.
        until: End of the wait, in seconds since the epoch; None if it is unknown.
    """

    turn: int
    why: str
    until: float | None = None


@final
@attrs.frozen
class Pinned:
    """A text was pinned, or a pin was removed.

    Attributes:
        name: The name of the pin.
        text: The text that goes with every later summary; None to remove the pin.
    """

    name: str
    text: str | None


@final
@attrs.frozen
class TurnAbandoned:
    """The failed turn was abandoned: its text is dropped, its tool results are kept."""

    turn: int


@final
@attrs.frozen
class Rewound:
    """The head moved back; nothing was deleted.

    Attributes:
        size: Number of exchanges in the history now.
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

"""Effects: what the engine is to do next, as frozen values.

An effect carries everything needed to perform it. `announces` holds the events
that are recorded before it is performed; `interpret` turns its answer into events.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, final

import attrs

from turnlatch_states.api.faults import Fault
from turnlatch_states.api.reply import Reply
from turnlatch_states.effects.call_effects import (
    CallEffect,
    CallLimits,
    Read,
    ToolFacts,
)
from turnlatch_states.machine.events import Event, Question
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.recovery.budget import Budget
from turnlatch_states.recovery.decisions import Compact, Decision
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.request.build import Request
from turnlatch_states.request.history import Method


def _refused() -> Mapping[bytes, Fault]:
    return {}


def _counts() -> Mapping[Request, Fault | None]:
    return {}


def _tools() -> Mapping[str, ToolFacts]:
    return {}


def _read() -> Mapping[tuple[str, bool], Read]:
    return {}


@final
@attrs.frozen
class Conditions:
    """The inputs of a decision in addition to the snapshot.

    Attributes:
        policies: The caller's policies for faults and summaries.
        budget: The bounds on the turn, with the prices of its models.
        seconds: How long the turn was at work since the caller last asked for it.
        now: Seconds since the epoch.
        draw: A random number in [0, 1).
        stream: The caller reads the reply as it arrives.
        stream_above_tokens: Replies that may be longer are streamed in any case.
        hooked: The caller wants to be asked before a summary is made.
        refused: Definite refusals since the caller last asked, by `digest`: such a
            request is not sent again.
        counts: What the token counter answered to requests of this attempt: why it
            refused, None where it counted.
        name: The name of the conversation.
        tools: The tools that calls may be of, by name.
        call_limits: The bounds on calls.
        read: The arguments that were read since the turn went on, by the place of the
            call; True for those that a person was shown, False for the model's.
        outputs_max: Replies in a row that may fail to be the output asked for.
    """

    policies: Policies = attrs.field(factory=Policies)
    budget: Budget = attrs.field(factory=Budget)
    seconds: float = 0.0
    now: float = 0.0
    draw: float = 0.0
    stream: bool = False
    stream_above_tokens: int = 0
    hooked: bool = False
    refused: Mapping[bytes, Fault] = attrs.field(factory=_refused)
    counts: Mapping[Request, Fault | None] = attrs.field(factory=_counts)
    name: str = ""
    tools: Mapping[str, ToolFacts] = attrs.field(factory=_tools)
    call_limits: CallLimits = attrs.field(factory=CallLimits)
    read: Mapping[tuple[str, bool], Read] = attrs.field(factory=_read)
    outputs_max: int = 3


@final
@attrs.frozen
class Apply:
    """Record some events; nothing has to be performed for them.

    Attributes:
        announces: The events.
        decision: The decision about a failure that this carries out; None for none.
    """

    announces: tuple[Event, ...]
    decision: Decision | None = None


@final
@attrs.frozen
class Judged:
    """A whole reply, held to the output that the caller asked for.

    Attributes:
        reply: The reply; see `may_be_last`.
        misfit: Why it is not that output, in words for the model; empty if it is.
    """

    reply: Reply
    misfit: str = ""


@final
@attrs.frozen
class Send:
    """Send the request of the current attempt. The answer is a `Judged`, a `Reply` where
    no output was asked for, or a `Fault`.

    Attributes:
        request: The request, byte for byte.
    """

    request: Request
    announces: tuple[Event, ...] = ()
    decision: Decision | None = None


@final
@attrs.frozen
class Sleep:
    """Wait before a failed turn goes on. The answer is None.

    Attributes:
        seconds: How long.
    """

    seconds: float
    announces: tuple[Event, ...] = ()
    decision: Decision | None = None


@final
@attrs.frozen
class Count:
    """Have the tokens of a request counted, which also validates it, free of charge.
    The answer is None; what was counted is among the next `Conditions`.

    Attributes:
        request: The request, byte for byte.
    """

    request: Request
    announces: tuple[Event, ...] = ()
    decision: Decision | None = None


@final
@attrs.frozen
class Probe:
    """Send a request whose reply is not history, to find out what a failure hangs on.
    The answer is a `Reply`, a `Fault`, or, of a count that passed, None.

    Attributes:
        request: The request, byte for byte.
        question: The probe's question, in words.
        about: The kind of question.
        searched: The fault whose cause is searched for.
        shown: The conversation as the request shows it.
        policies: The caller's policies for faults.
        small: True for a short request that does not show the conversation.
        counted: It is put to the token counter instead of the model.
        key: Under which its result is remembered; empty for not at all.
        last: If it fails once more, that counts as refused.
        after: The fault of the same trial a moment before, which may have been
            temporary; None if this does not repeat a trial.
    """

    request: Request
    question: str
    about: Question
    searched: Fault
    shown: Snapshot
    policies: Policies
    small: bool = False
    counted: bool = False
    key: str = ""
    last: bool = False
    after: Fault | None = None
    announces: tuple[Event, ...] = ()
    decision: Decision | None = None


@final
@attrs.frozen
class CompactionPlan:
    """A summary that is about to be asked for.

    Attributes:
        turn: The turn in which this happens.
        covers: How many exchanges it will stand for.
        of: How many exchanges there are.
        method: How it is made: by the server, or told.
        tokens: At most how many tokens the context holds now.
        asked: True if the caller asked for it.
    """

    turn: int
    covers: int
    of: int
    method: Method
    tokens: int
    asked: bool


@final
@attrs.frozen
class CompactionDone:
    """A summary that is in force.

    Attributes:
        plan: The plan of this summary.
        summary: The text of the summary.
        bytes_before: Size of the replaced exchanges, in bytes of a request.
        bytes_after: Size of the summary, in bytes of a request.
    """

    plan: CompactionPlan
    summary: str
    bytes_before: int
    bytes_after: int


Verdict: TypeAlias = bool | str | None
"""Of a hook before a compaction: False to have none, text for other instructions."""


@final
@attrs.frozen
class AskHook:
    """Ask the caller's hook before a summary. The answer is a `Verdict`.

    Attributes:
        plan: The argument of the hook.
        made: The summary to request if the hook agrees.
    """

    plan: CompactionPlan
    made: Compact
    announces: tuple[Event, ...] = ()
    decision: Decision | None = None


@final
@attrs.frozen
class Rest:
    """Do nothing more: the turn is over, or waits for the caller."""

    announces: tuple[Event, ...] = ()
    decision: Decision | None = None


REST: Final = Rest()

Effect: TypeAlias = Apply | Send | Sleep | Count | Probe | AskHook | CallEffect | Rest
"""The engine's next effect."""

Answer: TypeAlias = Any
"""The outcome of performing an effect; each effect documents its type."""

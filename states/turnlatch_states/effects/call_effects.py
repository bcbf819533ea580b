"""Effects on the calls of a reply, and what the decisions about them need to know."""

from collections.abc import Mapping
from typing import Any, TypeAlias, final

import attrs

from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Call
from turnlatch_states.recovery.decisions import Decision


@final
@attrs.frozen
class ToolFacts:
    """The facts about a tool that the decisions about its calls use.

    Attributes:
        effect: The effect of a call on the world: `once`, `safe` or `ask`.
        schema: The schema of its arguments, as the model is given it.
        rule: It has a rule that decides about its calls.
        reconciles: It can find the outcome of a call whose end was not seen.
        approval_seconds: How long a person has to answer; None for no limit.
        runs_code: To read the arguments of a call that is asked about may run code of
            the caller's, which may take its time.
        reports: It may report how far a call has come, which is not recorded.
    """

    effect: str = "once"
    schema: Any = None
    rule: bool = False
    reconciles: bool = False
    approval_seconds: float | None = None
    runs_code: bool = False
    reports: bool = False

    @property
    def asks(self) -> bool:
        """True if a person or a rule decides about each call."""
        return self.rule or self.effect == "ask"


@final
@attrs.frozen
class CallLimits:
    """The bounds on the calls of one turn.

    Attributes:
        per_turn: How many may run; None for no bound.
        repeats: How often in a row the same call may give the same result; None for no
            bound.
        parallel: How many run at the same time.
    """

    per_turn: int | None = None
    repeats: int | None = None
    parallel: int = 8


@final
@attrs.frozen
class Ending:
    """How a call ended.

    Attributes:
        closing: Which truth its result tells.
        result: The `tool_result` block as JSON.
        output: The whole output where the result had to be cut.
        stops: Why the turn cannot go on, where the tool said so; else empty.
    """

    closing: Closing
    result: bytes
    output: bytes = b""
    stops: str = ""


Read: TypeAlias = Mapping[str, Any] | Ending
"""The arguments of a call as they would run; its ending, if they do not fit its tool."""


@final
@attrs.frozen
class CheckArguments:
    """Read the arguments of a call as its tool would. The answer is None; what was read
    is among the next `Conditions`.

    Attributes:
        call: The call.
        shown: Read those that a person was shown instead of the model's.
        runs_code: Code of the caller's may run; otherwise nothing is awaited.
    """

    call: Call
    shown: bool
    runs_code: bool
    announces: tuple[Event, ...] = ()
    decision: Decision | None = None


@final
@attrs.frozen
class Ruling:
    """The answer of a tool's rule about a call.

    Attributes:
        allows: Yes or no; None to leave it to a person.
        why: Why not, if it is a no.
        at: When it answered, in seconds since the epoch.
    """

    allows: bool | None
    why: str
    at: float


@final
@attrs.frozen
class AskRule:
    """Ask the rule of a tool about a call. The answer is a `Ruling`.

    Attributes:
        call: The call.
        arguments: Its arguments as they would run.
    """

    call: Call
    arguments: Mapping[str, Any]
    announces: tuple[Event, ...] = ()
    decision: Decision | None = None


@final
@attrs.frozen
class CallRun:
    """One run of a call, with what its tool is given.

    Attributes:
        turn: The number of its turn.
        call: The call.
        key: Its idempotency key.
        safe: It only reads, and may be run again.
        model: The model that asked for it.
        bytes_max: The longest result that the context has room for.
    """

    turn: int
    call: Call
    key: str
    safe: bool
    model: str
    bytes_max: int


@final
@attrs.frozen
class RunCalls:
    """Run some calls at the same time. Each reports its own start and end while the
    others run; the answer says why the turn cannot go on, empty if it can.

    Attributes:
        starts: The calls, in the order of the reply.
        parallel: How many run at the same time; the starts of the first of them are
            announced.
    """

    starts: tuple[CallRun, ...]
    parallel: int
    announces: tuple[Event, ...] = ()
    decision: Decision | None = None


@final
@attrs.frozen
class Reconcile:
    """Find out how a call ended whose end was not seen. The answer is its `Ending`.

    Attributes:
        run: The run that was lost.
        otherwise: Its ending if that cannot be found out.
    """

    run: CallRun
    otherwise: Ending
    announces: tuple[Event, ...] = ()
    decision: Decision | None = None


CallEffect: TypeAlias = CheckArguments | AskRule | RunCalls | Reconcile
"""An effect on the calls of a reply."""

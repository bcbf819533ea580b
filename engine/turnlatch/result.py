"""The result of a turn, as a value: its state, its replies, its calls and its fault."""

import json
from collections.abc import Mapping
from typing import Any, Generic, cast, final

import attrs
from typing_extensions import TypeVar

from turnlatch.errors import SettingsError, TurnFailedError, TurnNotDoneError
from turnlatch.output import Output
from turnlatch.prices import cost_of
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import copied, parts
from turnlatch_states.api.reply import Charge, Reply, Usage
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Call, Move, Snapshot, Suspension
from turnlatch_states.machine.steering import said_in, still_waiting
from turnlatch_states.machine.turn import Substate, TurnState
from turnlatch_states.recovery.budget import Price
from turnlatch_states.request.profile import Purpose

OutputT = TypeVar("OutputT", default=Any)
"""The type of a turn's output."""


@final
@attrs.frozen
class CallReport:
    """One tool call of a turn.

    Attributes:
        id: The `tool_use` id, unique within its reply; calls of other replies may have
            the same id. If the model repeated an id or left it empty, turnlatch derives
            a unique one.
        name: The tool's name.
        state: The call's state.
        closing: How the call was closed; None while it is open.
        result: The `tool_result` block as JSON; empty while the call is open.
        digest: Digest of the question to a person, for `approve`; empty without one.
        expires: When the question expires, in seconds since the epoch; None for never.
        place: The call's place in the record, unique in the conversation; `approve` and
            `deny` also accept it.
    """

    id: str
    name: str
    _input: Mapping[str, Any] | None = attrs.field(converter=copied)
    state: CallState
    closing: Closing | None
    result: bytes
    digest: str = ""
    expires: float | None = None
    place: str = ""

    @property
    def input(self) -> Mapping[str, Any] | None:
        """The arguments, as a new copy; None if the reply was cut off inside them.

        If a person had to decide, these are the arguments that would run, after the
        tool's types converted the model's.
        """
        return copied(self._input)

    @classmethod
    def of(cls, call: Call) -> "CallReport":
        """The report of one call."""
        use = call.use
        return cls(
            use.id,
            use.name,
            call.input,
            call.state,
            call.closing,
            call.result,
            call.digest,
            call.expires,
            call.place,
        )


def _at_rest(state: TurnState) -> Substate:
    """The part of a state that a turn rests in where no snapshot says more."""
    return Substate.DONE if state is TurnState.CONFIRMED else Substate.RESTING


@final
@attrs.frozen
class Turn(Generic[OutputT]):
    """One turn, as a value.

    Attributes:
        number: 1 for the first turn of a conversation; 0 for a message that was
            withdrawn before its turn began (see `TurnStream`).
        state: `confirmed`, or `failed` with its input still staged.
        substate: Part of that state: `done`, or `asking` for a person; `resting`,
            `suspended`, `abandoned`.
        purpose: The purpose of the turn.
        replies: The confirmed replies of this turn, in order.
        calls: The tool calls of this turn, in the order the model made them.
        usage: Usage of the confirmed replies.
        path: The rows of the turn's table that it took.
        fault: Why the turn failed; None if it did not.
        requests: Number of requests sent, failed ones included.
        exchanges: Number of confirmed exchanges in the history.
        remedies: Remedies tried against faults or a full context, in order.
        suspended: The external condition that the turn waits for, if any.
        trials: Number of probe requests in addition to `requests`; probes have no effect
            on the history.
    """

    number: int
    state: TurnState
    purpose: Purpose
    replies: tuple[Reply, ...]
    calls: tuple[CallReport, ...]
    usage: Usage
    path: tuple[Move, ...]
    fault: Fault | None
    requests: int
    exchanges: int
    remedies: tuple[Remedy, ...] = ()
    suspended: Suspension | None = None
    trials: int = 0
    substate: Substate = attrs.field(
        default=attrs.Factory(lambda turn: _at_rest(turn.state), takes_self=True)
    )
    _said: bytes = attrs.field(default=b"", repr=False, alias="said")
    _waiting: bytes = attrs.field(default=b"", repr=False, alias="waiting")
    _charges: tuple[Charge, ...] = attrs.field(default=(), repr=False, alias="charges")
    _output: Output[OutputT] | None = attrs.field(
        default=None, repr=False, alias="output"
    )
    _price: Price | None = attrs.field(default=None, repr=False, alias="price")

    @property
    def said(self) -> list[dict[str, Any]]:
        """The user's content blocks of this turn, as a new copy.

        They are available for every turn, also for one that failed, was abandoned or was
        rewound. Steered messages follow the turn's own message, delivered or not.
        """
        found: list[dict[str, Any]] = json.loads(b"[%b]" % self._said)
        return found

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """The steered blocks of `said` that are not delivered yet. The next message
        carries them; do not send them again."""
        found: list[dict[str, Any]] = json.loads(b"[%b]" % self._waiting)
        return found

    @property
    def reply(self) -> Reply | None:
        """The last confirmed reply of this turn."""
        return self.replies[-1] if self.replies else None

    @property
    def done(self) -> bool:
        """True if the turn is over and has its answer."""
        return self.state is TurnState.CONFIRMED and self.substate is Substate.DONE

    @property
    def text(self) -> str:
        """The text of the answer: of the last reply of a turn that is done.

        `replies` has the texts of an unfinished turn, which are not an answer.

        Raises:
            TurnFailedError: The turn failed.
            TurnNotDoneError: The turn still runs, or waits for a person.
        """
        reply = self._done().reply
        return "" if reply is None else reply.text

    @property
    def output(self) -> OutputT:
        """The answer as a value of the type that `send(..., output=...)` was given.

        Each access reads the reply again, and returns a new value.

        Raises:
            TurnFailedError, TurnNotDoneError: As for `text`.
            SettingsError: No output was asked for in this process.
            OutputError: The reply does not fit the type: a process that did not know
                the type confirmed it.
        """
        text = self.text
        if self._output is None:
            raise SettingsError(
                "output",
                f"no output was asked for with turn {self.number} in this process",
                "give send(..., output=...); for a turn that another process began, send"
                " the same content with the same key, and output",
            )
        return self._output.read(self.number, text)

    @property
    def cost(self) -> float | None:
        """The cost of the turn in US dollars, as far as the server reported usage.

        Failed attempts, trials and summaries count, too; of an earlier turn only the
        confirmed replies are known. The price is `Limits.price` if one is given, else
        the current list price from `genai-prices`, which is imported then. None if the
        price of a model is unknown.
        """
        return cost_of(self._charges, self._price)

    @property
    def simulated(self) -> bool:
        """True if a simulator invented a reply of this turn."""
        return any(one.simulated for one in self.replies)

    @property
    def cache_miss(self) -> Mapping[str, Any] | None:
        """Why the prompt cache missed on the last reply, if the server said why.

        This is the server's `cache_miss_reason` object (Anthropic docs:
        build-with-claude/cache-diagnosis): its `type`, and the tokens missed.
        """
        told: Any = self.replies[-1].facts.get("diagnostics") if self.replies else None
        if not isinstance(told, dict):
            return None
        reason: Any = cast("dict[str, Any]", told).get("cache_miss_reason")
        if not isinstance(reason, dict):
            return None
        return cast("dict[str, Any]", reason)

    @property
    def awaiting(self) -> tuple[CallReport, ...]:
        """The calls that wait for `approve()` or `deny()`."""
        if self.state is not TurnState.CONFIRMED:
            return ()
        return tuple(c for c in self.calls if c.state is CallState.ASKED)

    def _done(self) -> "Turn[OutputT]":
        """This turn, if it is done."""
        self.raise_for_failure()
        if not self.done:
            waiting = tuple(call.id for call in self.awaiting)
            raise TurnNotDoneError(self.number, str(self.substate), waiting)
        return self

    def raise_for_failure(self) -> "Turn[OutputT]":
        """This turn, if it did not fail.

        Raises:
            TurnFailedError: The turn failed.
        """
        if self.fault is not None:
            raise TurnFailedError(self.number, self.fault, self.exchanges)
        return self

    @classmethod
    def current(cls, snapshot: Snapshot) -> "Turn | None":
        """The current turn of a conversation, or the last one; None before the first."""
        turn = snapshot.turn
        if turn is None:
            return None
        return cls(
            turn.number,
            TurnState(turn.state),
            turn.purpose,
            tuple(one.reply for one in snapshot.history.of_turn(turn.number)),
            tuple(map(CallReport.of, (*turn.done, *turn.calls))),
            turn.usage,
            turn.path,
            turn.fault,
            turn.attempt,
            len(snapshot.history),
            turn.remedies,
            turn.suspended,
            turn.probes,
            Substate(turn.substate),
            said=said_in(snapshot, turn),
            waiting=b",".join(still_waiting(snapshot, turn)),
            charges=turn.charges,
        )

    @classmethod
    def withdrawn(cls, snapshot: Snapshot, blocks: bytes) -> "Turn":
        """A failed turn for a message that was withdrawn while it waited in the queue."""
        why = "withdrawn before its turn began: it was not recorded and not sent"
        return cls(
            0,
            TurnState.FAILED,
            Purpose.MESSAGE,
            (),
            (),
            Usage(),
            (),
            Fault(FaultKind.CANCELLED, why),
            0,
            len(snapshot.history),
            said=blocks,
        )

    @classmethod
    def confirmed(cls, snapshot: Snapshot, number: int) -> "Turn":
        """An earlier, confirmed turn, as far as the history holds it."""
        exchanges = snapshot.history.of_turn(number)
        replies = tuple(one.reply for one in exchanges)
        said = [
            block for one in exchanges for block in parts(one.user) if _is_said(block)
        ]
        usage = Usage()
        for reply in replies:
            usage += reply.usage
        return cls(
            number,
            TurnState.CONFIRMED,
            Purpose.MESSAGE,
            replies,
            (),
            usage,
            (),
            None,
            len(replies),
            len(snapshot.history),
            said=b",".join(said),
            charges=tuple(one.charge(snapshot.lasting.model) for one in replies),
        )


def _is_said(block: bytes) -> bool:
    """True for a block of a user message other than a call's result."""
    return bool(json.loads(block)["type"] != "tool_result")

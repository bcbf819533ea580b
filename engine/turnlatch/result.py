"""What a turn gives back: a value that says where it stands and what was done."""

import json
from collections.abc import Mapping
from typing import Any, cast, final

import attrs

from turnlatch.errors import TurnFailedError
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import copied, parts
from turnlatch_states.api.reply import Reply, Usage
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Call, Move, Snapshot, Suspension
from turnlatch_states.machine.steering import said_in, still_waiting
from turnlatch_states.machine.turn import TurnState
from turnlatch_states.request.profile import Purpose


@final
@attrs.frozen
class CallReport:
    """One tool call of a turn.

    Attributes:
        id: The `tool_use` id, which no other call of its reply has; calls of other
            replies may have it. Where the model gave one id to several calls, or none,
            it is a name made from that.
        name: The tool's name.
        state: Where the call stands.
        closing: How it was closed; None while it is open.
        result: Its `tool_result` block as JSON; empty while it is open.
        digest: What exactly a person is asked about, for `approve`; else empty.
        expires: Until when an answer counts, seconds since the epoch; None for always.
        place: Its place in the record, which no other call ever has; `approve` and
            `deny` take it, too.
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
        """The arguments, copied each time; None where they were cut off.

        Where somebody had to decide, they are what would run: what the types of the
        tool make of what the model wrote.
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


@final
@attrs.frozen
class Turn:
    """One turn, as it stands.

    Attributes:
        number: 1 for the first turn of a conversation; 0 for a message that was taken
            back before its turn began (see `TurnStream`).
        state: `confirmed`, or `failed` with its input still staged.
        purpose: What the turn was for.
        replies: The confirmed replies of this turn, in order.
        calls: Its tool calls, in the order they were asked for.
        usage: What its confirmed replies cost.
        path: The rows of the turn's table that it took.
        fault: Why it failed; None if it did not.
        requests: How many requests it took, failed ones included.
        exchanges: How many confirmed exchanges the history has now.
        remedies: What was done about faults and for want of room, in order.
        suspended: What the turn waits for, if it waits for the world.
        trials: Questions put to the server beside the requests; none had an effect.
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
    _said: bytes = attrs.field(default=b"", repr=False, alias="said")
    _waiting: bytes = attrs.field(default=b"", repr=False, alias="waiting")

    @property
    def said(self) -> list[dict[str, Any]]:
        """What the user said in this turn, as content blocks, parsed each time.

        It is there whatever became of the turn: failed, given up, rewound, opened again.
        What was steered into it is behind its message, delivered or not.
        """
        found: list[dict[str, Any]] = json.loads(b"[%b]" % self._said)
        return found

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """What of `said` goes along with the next message by itself, if it is not said
        before: what was steered into the turn. Nobody has to say that again."""
        found: list[dict[str, Any]] = json.loads(b"[%b]" % self._waiting)
        return found

    @property
    def reply(self) -> Reply | None:
        """The last confirmed reply of this turn."""
        return self.replies[-1] if self.replies else None

    @property
    def text(self) -> str:
        """The text of the last confirmed reply; empty if there is none."""
        return self.replies[-1].text if self.replies else ""

    @property
    def simulated(self) -> bool:
        """True if the simulator made up a reply of this turn."""
        return any(one.simulated for one in self.replies)

    @property
    def cache_miss(self) -> Mapping[str, Any] | None:
        """Why the prompt cache could not serve the last reply, where the server said.

        The object is the server's own (`cache_miss_reason`; Anthropic docs:
        build-with-claude/cache-diagnosis): `type`, and what was missed, in tokens.
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

    def raise_for_failure(self) -> "Turn":
        """This turn, if it did not fail.

        Raises:
            TurnFailedError: It failed.
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
            said=said_in(snapshot, turn),
            waiting=b",".join(still_waiting(snapshot, turn)),
        )

    @classmethod
    def withdrawn(cls, snapshot: Snapshot, blocks: bytes) -> "Turn":
        """The turn that never was, of a message that was taken back in the line."""
        why = "taken back before its turn began: it was not recorded and not sent"
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
        """An earlier turn, as far as the history tells: it was confirmed."""
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
        )


def _is_said(block: bytes) -> bool:
    """True for a block of a user message that is no result of a call."""
    return bool(json.loads(block)["type"] != "tool_result")

"""The states that are explored: a journal, who writes it, and what its world has done."""

from collections.abc import Hashable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from turnlatch.runtime.unsaved import Kept
from turnlatch_states.api.faults import Fault
from turnlatch_states.effects.call_effects import CallRun, Read
from turnlatch_states.effects.effect import Effect
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Call, Snapshot, Turn
from turnlatch_states.request.build import Request


class VerifyBounds(NamedTuple):
    """How much of each kind a run has, from its start to its end.

    The message after the last of `turns` is answered in a world without trouble: it is
    how a run ends.

    Attributes:
        turns: Messages and compactions that the caller asks for.
        calls: Calls that the model makes, and pauses of the server.
        faults: Requests that fail or are refused.
        crashes: Deaths of the process.
        writers: Writers that take over from one that lives and stalls.
        doubts: Appends that fail, or end without saying whether they recorded anything.
        moves: Times that the caller steers, interrupts, rewinds or retries.
    """

    turns: int = 2
    calls: int = 2
    faults: int = 1
    crashes: int = 1
    writers: int = 1
    doubts: int = 1
    moves: int = 1

    def without(self, name: str, count: int = 1) -> "VerifyBounds":
        """The same with less of one kind."""
        return self._replace(**{name: getattr(self, name) - count})

    def __str__(self) -> str:
        given: dict[str, int] = self._asdict()
        return ", ".join(f"{count} {name}" for name, count in given.items())


CI: Final = VerifyBounds(
    turns=1, calls=1, faults=1, crashes=1, writers=1, doubts=1, moves=0
)
"""The bounds of every run of the tests."""

FULL: Final = VerifyBounds(
    turns=2, calls=2, faults=1, crashes=1, writers=1, doubts=1, moves=1
)
"""The bounds of `turnlatch verify --full`."""

QUIET: Final = VerifyBounds(0, 0, 0, 0, 0, 0, 0)
"""A world without trouble."""


NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


class Stored(NamedTuple):
    """The journal on disk.

    Attributes:
        rows: Its entries.
        replayed: The snapshot that loading them gives.
        epoch: The newest epoch: that of the last writer who took the lease.
        told: How many rows a watcher or a caller was told of.
        confirmed: The confirmed exchanges when they were last told, as they are sent.
    """

    rows: tuple[Event, ...]
    replayed: Snapshot
    epoch: int = 0
    told: int = 0
    confirmed: tuple[bytes, ...] = ()


class ProcessPlace(StrEnum):
    """Where a process stands."""

    IDLE = "idle"
    """No method runs: the caller is next."""
    APPENDING = "appending"
    """An append is in flight."""
    PERFORMING = "performing"
    """The world is next: a request, a wait or calls are under way."""


class Next(StrEnum):
    """The step of a process once its append has returned."""

    REST = "rest"
    """The method returns."""
    PERFORM = "perform"
    """It performs its effect."""
    GO_ON = "go on"
    """It waits for its effect again, or for the calls that still run."""
    DRIVE = "drive"
    """It asks for the next effect."""
    OPEN = "open"
    """It opens the turn that the caller asked for."""


class Writing(NamedTuple):
    """One process with the conversation open.

    Attributes:
        kept: Its memory of the conversation.
        epoch: The epoch of its lease.
        place: Where it stands.
        then: The step after its append.
        effect: The effect that it performs, or is about to.
        running: The calls that run.
        opens: A message waits until what was left open is settled.
        failed: An append failed while calls ran; they end first.
        lost: It found that a newer writer holds the conversation.
        refused: Definite refusals since the caller last asked, by digest.
        counts: Answers of the token counter.
        read: Arguments that were read.
    """

    kept: Kept
    epoch: int
    place: ProcessPlace = ProcessPlace.IDLE
    then: Next = Next.REST
    effect: Effect | None = None
    running: tuple[CallRun, ...] = ()
    opens: bool = False
    failed: bool = False
    lost: bool = False
    refused: Mapping[bytes, Fault] = NOTHING
    counts: Mapping[Request, Fault | None] = NOTHING
    read: Mapping[tuple[str, bool], Read] = NOTHING

    @property
    def snapshot(self) -> Snapshot:
        """Where the conversation stands in its memory."""
        return self.kept.snapshot


class Situation(NamedTuple):
    """One state of the exploration.

    Attributes:
        stored: The journal.
        left: The rest of the bounds.
        writer: The process that took the lease last; None while none lives.
        old: A stalled process that took it before; None for none.
        ran: How often the effect of each call happened, by the call's place.
        last: The last message was sent: nothing misbehaves any more.
    """

    stored: Stored
    left: VerifyBounds
    writer: Writing | None = None
    old: Writing | None = None
    ran: Mapping[str, int] = NOTHING
    last: bool = False


def key(situation: Situation) -> Hashable:
    """Everything that decides the future of a situation, without ids and counters."""
    one, stored = situation.writer, situation.stored
    return (
        situation.left,
        situation.last,
        stored.told == len(stored.rows),
        snapshot_key(stored.replayed),
        _effects(stored.replayed, situation.ran),
        None if one is None else _writing(one, situation),
        None if situation.old is None else _stalled(situation.old),
    )


def _writing(one: Writing, situation: Situation) -> Hashable:
    kept = one.kept
    durable = kept.snapshot is situation.stored.replayed
    return (
        one.place,
        one.then,
        type(one.effect),
        tuple(run.call.index for run in one.running),
        (one.opens, one.failed, one.lost),
        one.epoch == situation.stored.epoch,
        len(one.refused),
        len(one.counts),
        tuple(type(event) for event in kept.events),
        None if kept.begun is None else kept.begun.count,
        durable or snapshot_key(kept.snapshot),
        _effects(kept.snapshot, situation.ran),
    )


def _stalled(one: Writing) -> Hashable:
    """Of a stalled writer: what it does when it wakes."""
    return one.place, type(one.effect), bool(one.kept.unsaved), len(one.running)


def _effects(snapshot: Snapshot, ran: Mapping[str, int]) -> Hashable:
    turn = snapshot.turn
    return turn and tuple(ran.get(one.place, 0) for one in turn.calls)


def snapshot_key(snapshot: Snapshot) -> Hashable:
    """Everything that decides the future of a conversation; see `FORGOTTEN`."""
    thread = snapshot.thread
    return (
        tuple(one.turn for one in snapshot.history),
        tuple((one.covers, one.method) for one in snapshot.bases),
        snapshot.view,
        (thread.state, thread.refused, thread.unproved),
        (snapshot.window, snapshot.capped, snapshot.summed, snapshot.density),
        (snapshot.futile, snapshot.refused, snapshot.doubts, snapshot.found),
        (len(snapshot.trials), len(snapshot.known_bad)),
        (snapshot.pins, snapshot.let_go, len(snapshot.said), snapshot.turns),
        None if snapshot.turn is None else _turn(snapshot.turn),
    )


def _turn(turn: Turn) -> Hashable:
    fault = turn.fault
    return (
        (turn.substate, turn.purpose, bool(turn.content), turn.taken),
        tuple(map(_call, turn.calls)),
        fault and (fault.kind, fault.outcome_unknown, fault.message),
        (turn.outcome, turn.due is not None, turn.failures, turn.attempt == 0),
        (turn.tried, turn.trial, turn.max_tokens, turn.copy, turn.lent),
        (turn.compacting, turn.compactions, turn.counted, turn.unknown > 0),
        None if turn.inquiry is None else turn.inquiry.answers,
        (turn.suspended, turn.complaint, turn.alike, turn.granted > 0),
        (len(turn.done), turn.misfits),
    )


def _call(call: Call) -> Hashable:
    return call.use.name, call.state, call.closing, call.safe


FORGOTTEN: Final[Mapping[str, str]] = {
    "profile": "it is the same in all runs",
    "spent": "the budgets of a run bound its requests; usage decides nothing else here",
    "lost": "it is told, and decides nothing",
    "paid": "it is told, and decides nothing",
    "entries": "a number, which only makes places unique",
    "identity": "it is the same in all runs",
    "simulated": "it is told, and decides nothing",
    "number": "it is the number of turns",
    "key": "no message of a run has one",
    "said": "the words of a message decide nothing; how many wait is in the key",
    "usual": "no turn of a run has other settings",
    "misfit": "the words of a reason decide nothing; `misfits` is in the key",
    "charges": "as `spent`",
    "charges_before": "as `spent`",
    "remedies": "it is told; `tried` decides",
    "probes": "as `spent`",
    "usage": "as `spent`",
    "path": "it is told, and decides nothing",
}
"""The fields of `Snapshot` and `Turn` that the key leaves out, each with its reason."""


def confirmed(snapshot: Snapshot) -> tuple[bytes, ...]:
    """The confirmed exchanges, as they are sent."""
    return tuple(snapshot.history.wires())

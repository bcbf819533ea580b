"""What happens next to a turn that failed: one pure decision, from where it stands.

`decide` looks up the ladder of the fault's kind and takes the next rung that can change
something. It reads the snapshot, the policies and a random draw, and nothing else.
"""

from collections.abc import Callable
from typing import Final, TypeAlias, final

import attrs

from detent_states.commit import prefix_bound
from detent_states.encoding import parts
from detent_states.faults import (
    SUSPENDING,
    Fault,
    FaultKind,
    RetryPolicy,
    optional_field,
)
from detent_states.history import Method
from detent_states.outcome import Outcome
from detent_states.profile import Purpose
from detent_states.remedy import Remedy
from detent_states.replayed import mended
from detent_states.request import Copy
from detent_states.room import (
    OLD_RESULT_BYTES,
    RECORD_BYTES,
    Choose,
    Compact,
    CompactionPolicy,
    boundary,
    room,
    unbound,
)
from detent_states.shown import Place, locate, messages
from detent_states.snapshot import Snapshot, Turn
from detent_states.view import (
    REFUSED_PART,
    DropBeta,
    DropBound,
    DropField,
    Flatten,
    Hide,
    IgnoreBase,
    Op,
    Shrink,
    Side,
    StripThinking,
    Stub,
)

SUSPECT_AFTER: Final = 4
"""Equal transient faults in a row after which the conversation itself is suspected."""

SUMMARY_ATTEMPTS_MAX: Final = 3
"""Requests for one summary that may fail for a passing fault."""

STUBS_MAX: Final = 4
"""Blocks that are stubbed one by one before a whole part is left out."""

RAISED_MAX: Final = 128_000
"""A reply that was cut off is not asked for with a higher limit than this."""


@final
@attrs.frozen
class Wait:
    """Wait, and send the same again.

    Attributes:
        seconds: How long.
    """

    seconds: float


@final
@attrs.frozen
class Ask:
    """Ask the server something small."""


@final
@attrs.frozen
class Search:
    """Find the part that is refused, by trials."""


@final
@attrs.frozen
class Suspend:
    """Rest until the world has changed.

    Attributes:
        why: What the turn waits for.
        seconds: For how long, if the server said so.
    """

    why: str
    seconds: float | None = None


@final
@attrs.frozen
class GiveUp:
    """Rest in `failed`: no rung is left."""


Decision: TypeAlias = Wait | Choose | Compact | Ask | Search | Suspend | GiveUp
"""What happens next to a turn that failed."""


@final
@attrs.frozen
class Policies:
    """What a caller decides about faults.

    Attributes:
        retry: How passing faults are waited out.
        compaction: When the context is replaced by a summary.
    """

    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    compaction: CompactionPolicy = attrs.field(factory=CompactionPolicy)


def decide(snapshot: Snapshot, policies: Policies, draw: float) -> Decision:
    """What happens next to the turn that failed.

    Args:
        snapshot: A conversation whose turn has failed.
        policies: What the caller decided about faults.
        draw: A random number in [0, 1).
    """
    turn = snapshot.turn
    if turn is None or turn.fault is None or turn.abandoned:
        return GiveUp()
    fault = turn.fault
    if fault.kind in SUSPENDING:
        return Suspend(fault.message)
    if fault.kind is FaultKind.TRANSIENT:
        return _wait(snapshot, turn, fault, policies, draw)
    if turn.compacting is not None:
        return _without_summary(turn, fault)
    climb = _CLIMBS.get(fault.kind)
    if climb is None:
        return GiveUp()
    return climb(snapshot, turn, fault, policies.compaction) or GiveUp()


def _wait(
    snapshot: Snapshot, turn: Turn, fault: Fault, policies: Policies, draw: float
) -> Decision:
    hint = fault.retry_after
    if hint is not None and hint > policies.retry.hint_max_seconds:
        return Suspend(f"the server asks to wait {hint:g} s", hint)
    if turn.compacting is not None and turn.failures >= SUMMARY_ATTEMPTS_MAX:
        return _without_summary(turn, fault)
    wait = policies.retry.wait(fault, turn.failures, draw)
    if wait is None:
        return GiveUp()
    # A fault that stays while the server is well is this conversation's own. What has
    # no status is the network's, and says nothing about what was sent.
    if fault.status is None or turn.failures < SUSPECT_AFTER or turn.compacting:
        return Wait(wait)
    if turn.answered is None and len(snapshot.history) > snapshot.covered:
        return Ask()
    if turn.answered:
        why = f"the server is well and answers this with {fault.status}"
        return room(snapshot, policies.compaction, why) or Wait(wait)
    return Wait(wait)


def _without_summary(turn: Turn, fault: Fault) -> Decision:
    """What follows a summary that failed: another way, or none at all."""
    if fault.kind in (FaultKind.CANCELLED, FaultKind.INTERRUPTED, FaultKind.BUDGET):
        return GiveUp()
    told = turn.compacting is not None and turn.compacting.method is Method.TOLD
    if turn.purpose is Purpose.COMPACTION and told:
        return GiveUp()
    again = 2 if told else 1
    if turn.tried.count(Remedy.SKIP) >= again:
        return GiveUp()
    return Choose(Remedy.SKIP, fault.message)


def _drop_field(
    snapshot: Snapshot, turn: Turn, fault: Fault, _: CompactionPolicy
) -> Decision | None:
    name = optional_field(fault.message)
    if name is None:
        return None
    if name == "thread":
        return _rethread(snapshot, turn, fault, _)
    op: Op = DropField(name)
    if name.startswith("anthropic-beta:"):
        op = DropBeta(name.partition(":")[2])
    if op in snapshot.showing.ops:
        return None
    return Choose(Remedy.DROP_FIELD, fault.message, snapshot.showing.adding(op))


def _rethread(
    _: Snapshot, turn: Turn, fault: Fault, __: CompactionPolicy
) -> Decision | None:
    replayable = fault.code != "thread_unsupported_request"
    if turn.copy is Copy.CONTINUE and replayable and Remedy.REPLAY not in turn.tried:
        return Choose(Remedy.REPLAY, fault.message)
    if turn.copy is Copy.NONE or Remedy.UNTHREAD in turn.tried:
        return None
    return Choose(Remedy.UNTHREAD, fault.message)


def _make_room(
    snapshot: Snapshot, _: Turn, fault: Fault, policy: CompactionPolicy
) -> Decision | None:
    return room(snapshot, policy, fault.message)


def _ignore_base(
    snapshot: Snapshot, _: Turn, fault: Fault, __: CompactionPolicy
) -> Decision | None:
    if not snapshot.covered:
        return None
    view = snapshot.showing.adding(IgnoreBase(snapshot.covered))
    return Choose(Remedy.IGNORE_BASE, fault.message, view)


def _raise(
    snapshot: Snapshot, turn: Turn, fault: Fault, _: CompactionPolicy
) -> Decision | None:
    more = raised(snapshot, turn)
    if more is None:
        return None
    return Choose(Remedy.RAISE, fault.message, max_tokens=more)


def raised(snapshot: Snapshot, turn: Turn) -> int | None:
    """A higher limit for a reply that was cut off in a call; None if none is left."""
    from detent_states.models import spec

    if Remedy.RAISE in turn.tried:
        return None
    known = spec(snapshot.profile.model)
    most = min(known.output_max if known is not None else RAISED_MAX, RAISED_MAX)
    now = turn.max_tokens or snapshot.profile.max_tokens
    more = min(now * 4, most)
    return more if more > now else None


def _rethink(
    snapshot: Snapshot, turn: Turn, fault: Fault, _: CompactionPolicy
) -> Decision | None:
    """Thinking is refused: the API's own control, else without, else as a record."""
    view, size = snapshot.showing, len(snapshot.history)
    if prefix_bound(snapshot.profile.model) and not view.drops_bound:
        return Choose(Remedy.DROP_BOUND, fault.message, view.adding(DropBound()))
    closed = boundary(snapshot)
    stripped = view.adding(StripThinking(closed)) if closed else view
    if closed == size and stripped is not view:
        return Choose(Remedy.STRIP, fault.message, stripped)
    if not turn.calls:
        return None
    # Thinking is never stripped inside an open tool turn: it is told as a whole.
    flat = stripped.adding(Flatten(closed, size, RECORD_BYTES * 8))
    return Choose(Remedy.FLATTEN, fault.message, flat) if flat is not view else None


def _search(
    snapshot: Snapshot, turn: Turn, fault: Fault, _: CompactionPolicy
) -> Decision | None:
    del fault
    if Remedy.BISECT in turn.tried or len(snapshot.history) == snapshot.covered:
        return None
    # Once proves nothing: it may be an outage, a filter, or the words that were said.
    return Search() if snapshot.refused > 1 else None


def _stub(
    snapshot: Snapshot, turn: Turn, fault: Fault, policy: CompactionPolicy
) -> Decision | None:
    """A block is named: a note in its place, or the part it stands in is left out."""
    if fault.path is None or not fault.path.startswith("messages."):
        return None if fault.path else _search(snapshot, turn, fault, policy)
    place = _named(snapshot, turn, fault.path)
    if place is None:
        return _search(snapshot, turn, fault, policy)
    staged = place.exchange >= len(snapshot.history)
    results = len(turn.calls) if staged else 0
    if staged and (place.block < 0 or place.block >= results):
        return None  # the user's own words: he is told which
    if turn.tried.count(Remedy.STUB) >= STUBS_MAX:
        view = snapshot.showing.adding(Shrink(place.exchange + 1, OLD_RESULT_BYTES))
        return _tried_once(snapshot, turn, Remedy.SHRINK, fault, view.ops)
    op = _instead(snapshot, place, fault)
    if op is None or op in snapshot.showing.ops:
        return _leave_out(snapshot, turn, place, fault)
    view = snapshot.showing.adding(op, *unbound(snapshot))
    return Choose(Remedy.STUB, fault.message, view)


def _named(snapshot: Snapshot, turn: Turn, path: str) -> Place | None:
    sent = messages(snapshot.showing, snapshot.history, snapshot.base, turn.staged)
    if turn.copy is Copy.CONTINUE:
        sent = [m for m in sent if m.exchange >= len(snapshot.history)]
    return locate(path, sent)


def _instead(snapshot: Snapshot, place: Place, fault: Fault) -> Op | None:
    """What stands in the place of a block that is named."""
    note = f"[Left out: the service refuses this block ({_short(fault.message)}).]"
    history = snapshot.history
    if place.block < 0:
        return None
    if place.side is Side.USER:
        return Stub(place.exchange, place.side, place.block, place.inner, note)
    blocks = parts(history[place.exchange].replayed)
    if place.block >= len(blocks):
        return None
    if b'tool_use"' in blocks[place.block] or b'_tool_result"' in blocks[place.block]:
        # A call and its result go together, and so does whatever is around them.
        return Flatten(place.exchange, place.exchange + 1, RECORD_BYTES * 8)
    return Stub(place.exchange, place.side, place.block, -1, "")


def _leave_out(
    snapshot: Snapshot, turn: Turn, place: Place, fault: Fault
) -> Decision | None:
    """Leave out the whole turn in which a place stands; flatten the one going on."""
    history, size = snapshot.history, len(snapshot.history)
    closed = boundary(snapshot)
    if place.exchange >= closed:
        op: Op = Flatten(closed, size, RECORD_BYTES * 8)
        made = snapshot.showing.adding(op, *unbound(snapshot))
        return _tried_once(snapshot, turn, Remedy.FLATTEN, fault, made.ops)
    number = history[place.exchange].turn
    start = max(history.end_of_turn(number - 1), snapshot.covered)
    until = min(history.end_of_turn(number), closed)
    op = Hide(start, until, REFUSED_PART)
    made = snapshot.showing.adding(op, *unbound(snapshot))
    return _tried_once(snapshot, turn, Remedy.HIDE, fault, made.ops)


def _tried_once(
    snapshot: Snapshot, turn: Turn, remedy: Remedy, fault: Fault, ops: tuple[Op, ...]
) -> Decision | None:
    view = snapshot.showing.adding(*ops)
    if view is snapshot.showing or remedy in turn.tried:
        return None
    return Choose(remedy, fault.message, view)


def _short(message: str) -> str:
    message = mended(message)
    return message if len(message) <= 80 else message[:77] + "..."


_Climb: TypeAlias = Callable[
    [Snapshot, Turn, Fault, CompactionPolicy], "Decision | None"
]

_CLIMBS: Final[dict[FaultKind, _Climb]] = {
    FaultKind.OPTIONAL_FIELD: _drop_field,
    FaultKind.THREAD: _rethread,
    FaultKind.TOO_LONG: _make_room,
    FaultKind.COMPACTION: _ignore_base,
    FaultKind.CUT_OFF: _raise,
    FaultKind.THINKING: _rethink,
    FaultKind.INVALID: _search,
    FaultKind.BLOCK: _stub,
}


def cut_off(snapshot: Snapshot, found: Outcome, calls: bool) -> bool:
    """True if a reply was cut off in a call and may be asked for once more, longer."""
    turn = snapshot.turn
    if turn is None or found is not Outcome.TRUNCATED or not calls:
        return False
    return raised(snapshot, turn) is not None

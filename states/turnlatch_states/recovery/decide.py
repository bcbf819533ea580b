"""What happens next to a turn that failed: one pure decision, from where it stands.

`decide` looks up the ladder of the fault's kind and takes the next rung that can change
something. It reads the snapshot, the policies and a random draw, and nothing else.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from turnlatch_states.api.faults import (
    SUSPENDING,
    Fault,
    FaultKind,
    optional_field,
)
from turnlatch_states.api.models import prefix_bound, spec
from turnlatch_states.api.proxy_errors import unwrapped
from turnlatch_states.api.stop_reasons import Outcome
from turnlatch_states.machine.doubt import RULES, doubt_of
from turnlatch_states.machine.refused_parts import place_of
from turnlatch_states.machine.remedy import LADDERS, Remedy
from turnlatch_states.machine.server_copy import without_copy
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.recovery.context_window import (
    RECORD_BYTES,
    boundary,
    room,
    unbound,
)
from turnlatch_states.recovery.decisions import (
    BisectHistory,
    ChangeRequest,
    Decision,
    PingServer,
    Stop,
    Suspend,
    WaitThenRetry,
)
from turnlatch_states.recovery.omit import (
    changes,
    with_own_names,
    without_block,
    without_blocks,
    without_files,
)
from turnlatch_states.recovery.policies import CompactionPolicy, Policies
from turnlatch_states.request.build import Copy, container
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.view import (
    BINDING_BETA,
    COMPACT_BETA,
    DropBeta,
    DropBound,
    DropField,
    Flatten,
    IgnoreBase,
    Op,
    StripThinking,
)

ALIKE_MAX: Final = 3
"""Answers in another format, with the same thing wrong, that are waited out."""

SUMMARY_ATTEMPTS_MAX: Final = 3
"""Requests for one summary that may fail for a passing fault."""

MISTAKEN: Final = frozenset(
    {
        FaultKind.OPTIONAL_FIELD,
        FaultKind.THREAD,
        FaultKind.TOO_LONG,
        FaultKind.THINKING,
        FaultKind.COMPACTION,
    }
)
"""What a filter may say of a part that it does not take, for want of words of its own."""

RAISED_MAX: Final = 128_000
"""A reply that was cut off is not asked for with a higher limit than this."""


def decide(snapshot: Snapshot, policies: Policies, draw: float) -> Decision:
    """What happens next to the turn that failed.

    Args:
        snapshot: A conversation whose turn has failed.
        policies: What the caller decided about faults.
        draw: A random number in [0, 1).
    """
    turn = snapshot.turn
    if turn is None or turn.fault is None or turn.abandoned:
        return Stop()
    fault = unwrapped(turn.fault)
    suspected = _suspected(snapshot, turn, fault, policies, draw)
    if suspected is not None:
        return suspected
    if fault.kind in SUSPENDING:
        return _not_now(turn, fault, Suspend(fault.message))
    if fault.kind is FaultKind.TRANSIENT:
        return _wait(snapshot, turn, fault, policies, draw)
    if turn.compacting is not None:
        return _without_summary(turn, fault)
    whole = without_copy(turn, fault)
    if whole is not None:
        return ChangeRequest(whole, fault.message)
    if fault.kind is FaultKind.INVALID:
        gone = _without_reference(snapshot, turn, fault)
        if gone is not None:
            return gone
    climb = _CLIMBS.get(fault.kind)
    if _names_summary(snapshot, fault):
        climb = _ignore_base
    made = climb and climb(snapshot, turn, fault, policies.compaction)
    return made or _at_last(snapshot, turn, fault) or Stop()


def _at_last(snapshot: Snapshot, turn: Turn, fault: Fault) -> BisectHistory | None:
    """What is left where all that is known of a refusal did not help: it may be a part
    of the conversation that is refused in the words of something else."""
    if fault.kind not in MISTAKEN or snapshot.refused <= 1:
        return None
    return _searched(snapshot, turn)


def _wait(
    snapshot: Snapshot, turn: Turn, fault: Fault, policies: Policies, draw: float
) -> Decision:
    doubt = doubt_of(snapshot.doubts, fault)
    if doubt is not None and doubt.hint is not None:
        later = max(doubt.hint, fault.hint or 0.0)
        fault = attrs.evolve(fault, retry_after=later)
    hint = fault.hint
    if hint is not None and hint > policies.retry.hint_max_seconds:
        said = f"the server asks to wait {hint:g} s"
        return _not_now(turn, fault, Suspend(said, hint))
    wait = policies.retry.wait(fault, turn.failures, draw)
    if turn.alike >= ALIKE_MAX:
        wait = None  # who answers in another format will do so again
    if turn.compacting is not None:
        if turn.failures >= SUMMARY_ATTEMPTS_MAX:
            return _without_summary(turn, fault)
        return _not_now(turn, fault, Stop()) if wait is None else WaitThenRetry(wait)
    return Stop() if wait is None else WaitThenRetry(wait)


def _suspected(
    snapshot: Snapshot, turn: Turn, fault: Fault, policies: Policies, draw: float
) -> Decision | None:
    """What is done because the conversation itself may be what fails; None for nothing.

    No part is left out because of an outage: what is asked, and how often, before a part
    is searched for stands in `doubt.RULES`. Between a failure and whatever is sent next
    lies the wait that the server or the backoff asks for.
    """
    doubt = doubt_of(snapshot.doubts, fault)
    if doubt is None or turn.compacting is not None:
        return None
    if (fault.hint or 0.0) > policies.retry.hint_max_seconds:
        return None  # it is waited for before anything else
    wait = 0.0  # for whoever refuses; whoever fails is left alone for a while
    if fault.may_pass:
        wait = policies.retry.pause(fault, turn.failures, draw)
    found = snapshot.found
    if found is not None and found.of(fault) and Remedy.RECALL not in turn.tried:
        why = "it last passed so, and with everything it still fails"
        return ChangeRequest(Remedy.RECALL, why, found.view, seconds=wait, passing=True)
    if doubt.met < doubt.after(fault):
        return None
    if fault.kind in SUSPENDING and turn.granted:
        return None  # whoever asks again asks for one request
    gone = _without_reference(snapshot, turn, fault)
    if gone is not None:
        return attrs.evolve(gone, seconds=wait, passing=True)
    if fault.kind is FaultKind.REFUSAL:
        return _searched(snapshot, turn)
    if doubt.well is None:
        return PingServer(wait) if _asks(snapshot, turn, fault) else None
    if not doubt.well:
        return _kept_out(fault) if fault.status == 403 and doubt.alike else None
    if doubt.alternations < RULES[fault.kind].alternations:
        return ChangeRequest(
            Remedy.PROBE, "something shorter is answered: this once more"
        )
    return _searched(snapshot, turn)


def _searched(snapshot: Snapshot, turn: Turn) -> BisectHistory | None:
    if Remedy.BISECT in turn.tried or not _has_parts(snapshot, turn):
        return None
    return BisectHistory()


def _has_parts(snapshot: Snapshot, turn: Turn) -> bool:
    """True if there is anything but the words that were just said."""
    return len(snapshot.history) > 0 or bool(turn.calls)


def _asks(snapshot: Snapshot, turn: Turn, fault: Fault) -> bool:
    return _has_parts(snapshot, turn) or fault.status == 403


def _kept_out(fault: Fault) -> Suspend | None:
    """A 403 that is not the API's own, and not for what was sent."""
    if fault.kind is not FaultKind.TRANSIENT:
        return None
    why = (
        "a proxy or filter answers 403 in the API's place, whatever is sent: see to the"
        f" network, the base URL and the access ({fault.message})"
    )
    kind = FaultKind.AUTH
    return Suspend(why, None, attrs.evolve(fault, kind=kind, message=why))


def _names_summary(snapshot: Snapshot, fault: Fault) -> bool:
    """True if what is named is the summary that stands for the first exchanges."""
    if not snapshot.covered or not fault.path:
        return False
    part, _, place = fault.path.partition(".")
    base = snapshot.base
    return (
        part == "messages" and base is not None and int(place.split(".")[0]) < base.size
    )


def _without_reference(
    snapshot: Snapshot, turn: Turn, fault: Fault
) -> ChangeRequest | None:
    """What the server held for us may be gone: do without, before more is suspected."""
    if turn.copy is Copy.CONTINUE and Remedy.REPLAY not in turn.tried:
        return ChangeRequest(Remedy.REPLAY, fault.message)
    view, op = snapshot.showing, DropField("container")
    held = snapshot.profile.setting("container")
    held = held or container(snapshot.profile, snapshot.history)
    if held is None or op in view.ops:
        return None
    if fault.kind is FaultKind.INVALID and fault.status not in (404, 410):
        said = fault.message.lower()
        if "container" not in said and str(held).lower() not in said:
            return None
    return ChangeRequest(Remedy.DROP_FIELD, fault.message, view.adding(op))


def _not_now(turn: Turn, fault: Fault, rest: Suspend | Stop) -> Decision:
    """Wait for the world, unless it is only a summary that cannot be had and nobody has
    asked for: an account may be allowed to talk and not to have talk summarised."""
    if turn.compacting is None or turn.purpose is Purpose.COMPACTION:
        return rest
    skipped = _without_summary(turn, fault)
    return skipped if isinstance(skipped, ChangeRequest) else rest


def _without_summary(turn: Turn, fault: Fault) -> Decision:
    """What follows a summary that failed: another way, or none at all."""
    if not LADDERS[fault.kind]:
        return Stop()  # that says nothing about the summary
    told = turn.compacting is not None and turn.compacting.method is Method.TOLD
    if turn.purpose is Purpose.COMPACTION and told:
        return Stop()
    again = 2 if told else 1
    if turn.tried.count(Remedy.SKIP) >= again:
        return Stop()
    return ChangeRequest(Remedy.SKIP, fault.message)


def _drop_field(
    snapshot: Snapshot, turn: Turn, fault: Fault, _: CompactionPolicy
) -> Decision | None:
    name = optional_field(fault.message)
    if name is None:
        return None
    op: Op = DropField(name)
    if name.startswith("anthropic-beta:"):
        op = DropBeta(name.partition(":")[2])
    if op in snapshot.showing.ops:
        return None
    view = snapshot.showing.adding(op)
    base = snapshot.base
    if op == DropBeta(COMPACT_BETA) and base and base.method is Method.SIGNED:
        # It must not travel without.
        view = view.adding(IgnoreBase(base.covers), *unbound(snapshot))
    if not changes(snapshot, turn, view):
        return None  # what is named was never sent: another word for something else
    return ChangeRequest(Remedy.DROP_FIELD, fault.message, view)


def _make_room(
    snapshot: Snapshot, _: Turn, fault: Fault, policy: CompactionPolicy
) -> Decision | None:
    return room(snapshot, policy, fault.message)


def _ignore_base(
    snapshot: Snapshot, _: Turn, fault: Fault, __: CompactionPolicy
) -> Decision | None:
    if not snapshot.covered:
        return None
    bound = unbound(snapshot)  # what was thought behind the summary is bound to it
    view = snapshot.showing.adding(IgnoreBase(snapshot.covered), *bound)
    return ChangeRequest(Remedy.IGNORE_BASE, fault.message, view)


def _raise(
    snapshot: Snapshot, turn: Turn, fault: Fault, _: CompactionPolicy
) -> Decision | None:
    more = raised(snapshot, turn)
    if more is None:
        return None
    return ChangeRequest(Remedy.RAISE, fault.message, max_tokens=more)


def raised(snapshot: Snapshot, turn: Turn) -> int | None:
    """A higher limit for a reply that was cut off in a call; None if none is left."""
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
    controlled = BINDING_BETA not in view.unnamed and not view.drops_bound
    if prefix_bound(snapshot.profile.model) and controlled:
        return ChangeRequest(Remedy.DROP_BOUND, fault.message, view.adding(DropBound()))
    closed = boundary(snapshot)
    stripped = view.adding(StripThinking(closed)) if closed else view
    if closed == size and changes(snapshot, turn, stripped):
        return ChangeRequest(Remedy.STRIP, fault.message, stripped)
    if not turn.calls:
        return None
    # Thinking is never stripped inside an open tool turn: it is told as a whole.
    flat = stripped.adding(Flatten(closed, size, RECORD_BYTES * 8))
    if not changes(snapshot, turn, flat):
        return None
    return ChangeRequest(Remedy.FLATTEN, fault.message, flat)


def _search(
    snapshot: Snapshot, turn: Turn, fault: Fault, _: CompactionPolicy
) -> Decision | None:
    named = with_own_names(snapshot, turn, fault) or without_files(snapshot, fault)
    if named is not None:
        return named
    # Once proves nothing: it may be an outage, a filter, or the words that were said.
    if snapshot.refused <= 1:
        return None
    # The second time it is not told by counts: one may refuse it for what is its own.
    return None if turn.tried.count(Remedy.BISECT) > 1 else BisectHistory()


def _stub(
    snapshot: Snapshot, turn: Turn, fault: Fault, policy: CompactionPolicy
) -> Decision | None:
    """A block is named: it is left out, unless nobody knows which it is."""
    if fault.path is None or not fault.path.startswith("messages."):
        return None if fault.path else _search(snapshot, turn, fault, policy)
    renamed = with_own_names(snapshot, turn, fault)
    if renamed is not None:
        return renamed
    if len(fault.paths) > 1:
        return without_blocks(snapshot, turn, fault)
    place = place_of(snapshot, turn, fault.path)
    if place is None:
        return _search(snapshot, turn, fault, policy)
    return without_block(snapshot, turn, place, fault)


_Climb: TypeAlias = Callable[
    [Snapshot, Turn, Fault, CompactionPolicy], "Decision | None"
]

_CLIMBS: Final[dict[FaultKind, _Climb]] = {
    FaultKind.OPTIONAL_FIELD: _drop_field,
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

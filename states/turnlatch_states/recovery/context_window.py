"""The size of the context, and the reductions when it is full: pure arithmetic.

The size is the server's count in the last confirmed reply, plus a bound, from their bytes,
on the blocks added since. A count that cannot be true, because it is missing or larger than
the bytes allow, is corrected by the bytes.
"""

from typing import Any, Final, cast

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.length_errors import Length, told
from turnlatch_states.api.models import spec
from turnlatch_states.api.stop_reasons import Outcome
from turnlatch_states.machine.context_size import added, around, context, until
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot, Turn, cuttable
from turnlatch_states.recovery.decisions import ChangeRequest, Compact
from turnlatch_states.recovery.policies import CompactionPolicy, Policies
from turnlatch_states.recovery.rung import Failure, Rung, first_decision, unbound
from turnlatch_states.request.history import Method, media_in, user_message
from turnlatch_states.request.preflight import (
    MANY_IMAGES,
    began_without_thinking,
    media_most,
    never_ended,
    too_many_media,
)
from turnlatch_states.request.render import wires
from turnlatch_states.request.tokens import IMAGE_TOKENS_MAX
from turnlatch_states.request.view import (
    COMPACT_BETA,
    LEFT_OUT,
    Flatten,
    Hide,
    Op,
    Shrink,
    View,
)

WINDOW_UNKNOWN: Final = 200_000
"""The window of a model that has no row: what every model has at least."""

REQUEST_BYTES_MAX: Final = 32 * 1024 * 1024
"""The longest body the API takes (Anthropic docs: api/errors)."""

OLD_RESULT_BYTES: Final = 1024
"""Bytes kept of an old tool result when the context is reduced."""

RECORD_BYTES: Final = 512
"""Bytes kept of a result in a written record."""

SQUEEZED_BYTES: Final = 256
"""Bytes kept of the results that are about to be sent, as a last resort."""

ALL_BYTES: Final = 1 << 31
"""What is kept of a result where only media are left out: all of it."""

MAX_TOKENS_MIN: Final = 256
"""A reply is not clamped below this."""

CLAMPS_MAX: Final = 2
"""How often a reply is clamped: by what is known, and by what the server then says."""


def window(snapshot: Snapshot, policy: CompactionPolicy) -> int:
    """Tokens of the window: as set, as the server said, or as the model has."""
    if policy.window is not None:
        own = policy.window
    else:
        known = spec(snapshot.profile.model)
        own = known.context_window if known is not None else WINDOW_UNKNOWN
    return own if snapshot.window is None else min(own, snapshot.window)


def prepare(
    snapshot: Snapshot, policy: CompactionPolicy
) -> ChangeRequest | Compact | None:
    """What has to be done before the staged message can be sent; None: nothing.

    Everything here is known before a request is paid for: a server tool that was never
    finished, a body or a number of media beyond the API's limits, a window that is
    full, or as good as full.
    """
    turn = snapshot.turn
    if turn is None:
        return None
    closed = _close_server_tools(snapshot, turn)
    if closed is not None:
        return closed
    led = _lead_with_thinking(snapshot, turn)
    if led is not None:
        return led
    media = media_in(turn.staged) + snapshot.history.media_of(snapshot.covered)
    fewer = _fewer_media(snapshot, turn) if media > MANY_IMAGES else None
    if fewer is not None:
        return fewer
    crowded = _crowded(snapshot, turn)
    if crowded is not None:
        return next_reduction(snapshot, policy, crowded)
    piece = _next_piece(snapshot, turn, policy)
    if piece is not None:
        return piece
    most = window(snapshot, policy)
    known = spec(snapshot.profile.model)
    asked = turn.max_tokens or snapshot.profile.max_tokens
    capped = snapshot.capped
    if capped is not None and capped < asked and Remedy.CLAMP not in turn.tried:
        return ChangeRequest(
            Remedy.CLAMP, "no longer reply is given", max_tokens=capped
        )
    trigger = int(min(most * policy.at, most - min(asked, most // 4)))
    size = len(turn.staged) + len(snapshot.profile.plain_opening)
    size += snapshot.history.bytes_of(snapshot.covered)
    if size + media * IMAGE_TOKENS_MAX < trigger and not snapshot.summed:
        return None  # it cannot be too much
    held = context(snapshot)
    refused = Remedy.MAKE_ROOM in turn.tried and held + added(turn) >= most
    if refused or (held >= most and not snapshot.showing.ops):
        why = f"the context holds {held} of {most} tokens"
        return next_reduction(snapshot, policy, why)
    full = held + added(turn) >= trigger
    summed = snapshot.summed or (full and known is not None and known.overflow_refused)
    if summed and Remedy.CLAMP not in turn.tried:
        left = most - held - added(turn)
        if MAX_TOKENS_MIN <= left < asked:
            return ChangeRequest(
                Remedy.CLAMP, "input and reply must fit", max_tokens=left
            )
    if not full:
        return None
    if not policy.auto or not _worthwhile(snapshot, turn, policy):
        return None
    return _compact(_too_long(snapshot, turn, policy, ""))


def _worthwhile(snapshot: Snapshot, turn: Turn, policy: CompactionPolicy) -> bool:
    """True if enough was said since the last summary to be worth another one.

    Where the settings alone fill the window, or the message that is to be sent, no
    summary makes room, and without this one would be made for every message.
    """
    history, covered = snapshot.history, snapshot.covered
    said = history.bytes_of(covered, max(boundary(snapshot), covered))
    whole = history.bytes_of(covered) + around(snapshot) + len(turn.staged)
    return said >= whole * policy.gain_min


def _fewer_media(snapshot: Snapshot, turn: Turn) -> ChangeRequest | None:
    """Put notes in the place of the oldest media, where all of them together are too
    many, or too many for their size, though each was fine when it came."""
    view, history = snapshot.showing, snapshot.history
    size, covered = len(history), snapshot.covered
    staged = media_in(turn.staged)
    why = too_many_media(
        snapshot.profile.model, wires(view, history, snapshot.base, b"")
    )
    if why is None:
        shown = wires(view, history, snapshot.base, turn.staged)
        why = too_many_media(snapshot.profile.model, shown)
        own = too_many_media(snapshot.profile.model, [user_message(turn.content)])
        if why is None or own is not None:
            return None  # what the user says at once is his to part
    most = MANY_IMAGES if "many-image" in why else media_most(snapshot.profile.model)
    until = covered
    while until < size and history.media_of(until) + staged > most // 2:
        until += 1
    for end in (until, size, size + 1):
        op = Shrink(end, ALL_BYTES)
        if op not in view.ops and end > covered:
            shown_so = view.adding(op, *unbound(snapshot))
            return ChangeRequest(Remedy.SHRINK, why, shown_so)
    return None


def _crowded(snapshot: Snapshot, turn: Turn) -> str | None:
    """How the whole body passes the API's limit, in words; None if it does not."""
    view = snapshot.showing
    total = snapshot.history.bytes_of(snapshot.covered) + len(turn.staged)
    if total < REQUEST_BYTES_MAX * 31 // 32:
        return None
    shown = wires(view, snapshot.history, snapshot.base, turn.staged)
    total = sum(map(len, shown)) + len(snapshot.profile.plain_opening) + 1024
    if total > REQUEST_BYTES_MAX:
        return f"{total} bytes are more than {REQUEST_BYTES_MAX}"
    return None


def boundary(snapshot: Snapshot) -> int:
    """How many exchanges may be left behind: no pair is split, nothing open is lost."""
    turn, history = snapshot.turn, snapshot.history
    size = len(history)
    if turn is not None and (turn.calls or turn.outcome is Outcome.RESUME):
        size = history.end_of_turn(history[size - 1].turn - 1)
    # Summarised exchanges are done, wherever the summary ends.
    covered = snapshot.covered
    while covered < size < len(history) and not cuttable(history, size):
        size -= 1
    return max(size, covered)


def cuts_of(snapshot: Snapshot) -> tuple[int, ...]:
    """The places where the past may be parted, from its start to its end: no turn is
    split from what it answers."""
    start, end, history = snapshot.covered, boundary(snapshot), snapshot.history
    return tuple(
        size
        for size in range(start, end + 1)
        if size in (start, end) or cuttable(history, size)
    )


def _next_piece(
    snapshot: Snapshot, turn: Turn, policy: CompactionPolicy
) -> Compact | None:
    """The next piece of a told summary, where what is left behind the last is too long
    by what the server said of a length: it need not say so once a piece."""
    base = snapshot.base
    told = base is not None and base.method is Method.TOLD and snapshot.covered > 0
    if not told or not turn.path or turn.path[-1].trigger != "compacted":
        return None
    shown = wires(snapshot.showing, snapshot.history, base, turn.staged)
    size = sum(map(len, shown)) + len(snapshot.profile.plain_opening)
    if size * snapshot.density <= window(snapshot, policy):
        return None
    return _tell(_too_long(snapshot, turn, policy, ""))


def piece_bytes(snapshot: Snapshot, policy: CompactionPolicy) -> int:
    """How many bytes of a conversation one request for a told summary holds."""
    return max(window(snapshot, policy), 512)


def _left(snapshot: Snapshot, turn: Turn, said: Length) -> int:
    """Tokens left for a reply by what the server said of a length; 0 if it said none."""
    if said.cap is not None:
        return said.cap
    if said.window is None:
        return 0
    if said.prompt is not None:
        return said.window - said.prompt
    return said.window - context(snapshot) - added(turn) if said.summed else 0


def _lead_with_thinking(snapshot: Snapshot, turn: Turn) -> ChangeRequest | None:
    """Show the open tool turn as a record, where it began without thinking and thinking
    was switched on since: with a fixed budget it has to begin with some."""
    mode = snapshot.profile.setting("thinking") if turn.calls else None
    if not isinstance(mode, dict) or cast("dict[str, Any]", mode).get("type") != (
        "enabled"
    ):
        return None
    history, start = snapshot.history, boundary(snapshot)
    if not began_without_thinking(snapshot.showing, history, start):
        return None
    flat = Flatten(start, len(history), RECORD_BYTES * 8)
    why = "the open tool turn began without thinking, which is on now"
    return ChangeRequest(
        Remedy.FLATTEN, why, snapshot.showing.adding(flat, *unbound(snapshot))
    )


def _close_server_tools(snapshot: Snapshot, turn: Turn) -> ChangeRequest | None:
    """Leave out the calls of server tools that never ended and that something follows."""
    ops = never_ended(snapshot.history, followed=bool(turn.content))
    view = snapshot.showing.adding(*ops)
    if view is snapshot.showing:
        return None
    why = "a server tool never ended, and the conversation goes on"
    return ChangeRequest(Remedy.CLOSE, why, view.adding(*unbound(snapshot)))


# The ladder of what is too long.


def _too_long(
    snapshot: Snapshot, turn: Turn, policy: CompactionPolicy, why: str
) -> Failure:
    """The failure that a rung reads if a request is too long before it is sent."""
    fault = Fault(FaultKind.TOO_LONG, why)
    return Failure(snapshot, turn, fault, Policies(compaction=policy))


def next_reduction(
    snapshot: Snapshot, policy: CompactionPolicy, why: str
) -> ChangeRequest | Compact | None:
    """The next rung of the ladder of what is too long; None after the last one."""
    turn = snapshot.turn
    if turn is None:
        return None
    taken = first_decision(CONTEXT_LADDER, _too_long(snapshot, turn, policy, why))
    made = None if taken is None else taken[1]
    return made if isinstance(made, ChangeRequest | Compact) else None


def _clamp(failure: Failure) -> ChangeRequest | None:
    """Ask for a reply as long as the server said that it fits."""
    snapshot, turn = failure.snapshot, failure.turn
    said = told(turn.fault.message) if turn.fault is not None else None
    left = 0 if said is None else _left(snapshot, turn, said)
    asked = turn.max_tokens or snapshot.profile.max_tokens
    if not MAX_TOKENS_MIN <= left < asked:
        return None
    return failure.change(Remedy.CLAMP, max_tokens=left)


def _smaller(failure: Failure, remedy: Remedy, view: View) -> ChangeRequest | None:
    """The change to a view that makes the request smaller by at least a twentieth."""
    snapshot, staged = failure.snapshot, failure.turn.staged
    before, after = (
        sum(map(len, wires(one, snapshot.history, snapshot.base, staged)))
        for one in (snapshot.showing, view)
    )
    return failure.change(remedy, view) if after * 20 <= before * 19 else None


def _with(failure: Failure, remedy: Remedy, op: Op) -> ChangeRequest | None:
    if op in failure.snapshot.showing.ops:
        return None
    return _smaller(failure, remedy, failure.view_with(op))


def _shrink(failure: Failure) -> ChangeRequest | None:
    """Shorten old results, unless more was left out: the rungs below shorten the rest."""
    if failure.tried(Remedy.HIDE) or failure.tried(Remedy.FLATTEN):
        return None
    op = Shrink(len(failure.snapshot.history), OLD_RESULT_BYTES)
    return _with(failure, Remedy.SHRINK, op)


def _compact(failure: Failure) -> Compact | None:
    """A summary by the server of everything but the open turn."""
    snapshot, turn = failure.snapshot, failure.turn
    policy, covers = failure.policies.compaction, boundary(snapshot)
    if (
        covers <= snapshot.covered
        or failure.tried(Remedy.SKIP)
        or COMPACT_BETA in snapshot.showing.unnamed
        or snapshot.showing.ignores(covers)  # one like it was made, and refused
        or snapshot.futile >= policy.futile_max
        or turn.compactions >= policy.per_turn_max
    ):
        return None
    if until(snapshot, covers) > window(snapshot, policy):
        return None  # the server could not read what it is to summarise
    return Compact(covers, Method.SIGNED)


def _tell(failure: Failure) -> Compact | None:
    """The next piece to summarise: as many exchanges as fit into one request."""
    snapshot, policy = failure.snapshot, failure.policies.compaction
    limit, covered, history = boundary(snapshot), snapshot.covered, snapshot.history
    if (
        limit <= covered
        or failure.tried(Remedy.SKIP) > 1
        or snapshot.futile >= policy.futile_max + 2
        or failure.turn.compactions >= policy.per_turn_max
    ):
        return None
    fits, covers = piece_bytes(snapshot, policy), covered
    for size in cuts_of(snapshot)[1:]:
        if covers > covered and history.bytes_of(covered, size) > fits:
            break
        covers = size
    return Compact(covers, Method.TOLD)


def _hide(failure: Failure) -> ChangeRequest | None:
    """Leave out the oldest turns: first as few as must be, then all but this one."""
    snapshot = failure.snapshot
    view, start = snapshot.showing, snapshot.covered
    hides = [op for op in view.ops if isinstance(op, Hide)]
    gone = max([start, *(op.until for op in hides if op.start <= start)])
    if boundary(snapshot) <= gone:
        return None
    keep = 0
    if gone == start:  # the first time: keep what certainly fits into half the window
        keep = window(snapshot, failure.policies.compaction) // 2
    made = without_oldest(snapshot, view, keep).adding(*unbound(snapshot))
    return failure.change(Remedy.HIDE, made)


def without_oldest(snapshot: Snapshot, view: View, keep: int) -> View:
    """A view that leaves out as few of the oldest turns as leaves `keep` bytes at most,
    or else the whole past."""
    cuts, until = cuts_of(snapshot), boundary(snapshot)
    for cut in reversed(cuts[1:]):
        if snapshot.history.bytes_of(cut) > keep:
            break
        until = cut
    kept = tuple(op for op in view.ops if not isinstance(op, Hide) or op.until > until)
    return View(kept).adding(Hide(cuts[0], until, LEFT_OUT))


def _flatten(failure: Failure) -> ChangeRequest | None:
    snapshot = failure.snapshot
    if not failure.turn.calls:
        return None
    op = Flatten(boundary(snapshot), len(snapshot.history), RECORD_BYTES)
    return _with(failure, Remedy.FLATTEN, op)


def _squeeze(failure: Failure) -> ChangeRequest | None:
    """Shorten all results, those that are about to be sent included."""
    op = Shrink(len(failure.snapshot.history) + 1, SQUEEZED_BYTES)
    return _with(failure, Remedy.SQUEEZE, op)


def _hide_the_open_turn(failure: Failure) -> ChangeRequest | None:
    """Leave out the open turn, too, as the last resort.

    Its last results stay, shortened, as a record: what was done is never withheld.
    """
    snapshot = failure.snapshot
    size, view = len(snapshot.history), snapshot.showing
    gone = max((op.until for op in view.ops if isinstance(op, Hide)), default=0)
    if not failure.turn.calls or gone >= size:
        return None
    kept = tuple(op for op in view.ops if not isinstance(op, Hide))
    made = View((*kept, Hide(snapshot.covered, size, LEFT_OUT)))
    made = made.adding(Shrink(size + 1, SQUEEZED_BYTES), *unbound(snapshot))
    return _smaller(failure, Remedy.HIDE_TURN, made)


_SUMMARIES: Final = CompactionPolicy()

CONTEXT_LADDER: Final = (
    Rung(
        Remedy.CLAMP,
        _clamp,
        CLAMPS_MAX,
        f"to what the server says is left, and not below {MAX_TOKENS_MIN} tokens",
    ),
    Rung(Remedy.SHRINK, _shrink, note=f"once, to {OLD_RESULT_BYTES:,} bytes a result"),
    Rung(
        Remedy.COMPACT,
        _compact,
        note=f"at most {_SUMMARIES.per_turn_max} summaries a turn; none once one was"
        f" skipped, or {_SUMMARIES.futile_max} failed in a row",
    ),
    Rung(
        Remedy.TELL,
        _tell,
        note="one piece at a time, each as long as the window; counted among the"
        f" {_SUMMARIES.per_turn_max} summaries of a turn",
    ),
    Rung(
        Remedy.HIDE,
        _hide,
        note="at most twice: as few turns as must be, then all but the open one",
    ),
    Rung(Remedy.FLATTEN, _flatten, note="once, if the turn has calls"),
    Rung(Remedy.SQUEEZE, _squeeze, note=f"once, to {SQUEEZED_BYTES} bytes a result"),
    Rung(Remedy.HIDE_TURN, _hide_the_open_turn, note="once, if the turn has calls"),
)
"""Making a request shorter, from least to most loss. The last four need no server."""

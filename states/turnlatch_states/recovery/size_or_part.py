"""Telling a size from a part, where a refusal says nothing.

A search finds the least that must be left out for a request to pass. Where it is refused
for its length alone, that is some part of the history, and the wrong thing to leave out:
another one of the same size would do as well, and with the next message it is too long
again. So a different part, at least as large, is left out by way of trial; if that passes
too, no part is to blame.
"""

from turnlatch_states.machine.snapshot import Snapshot, cuttable
from turnlatch_states.recovery.context_window import boundary
from turnlatch_states.recovery.rung import unbound
from turnlatch_states.request.view import LEFT_OUT, REFUSED_PART, Hide, View


def without_another(snapshot: Snapshot, found: View) -> View | None:
    """A view that leaves out another part than the one found, at least as large; None if
    no part is that large, or if more than one part was left out.

    Args:
        snapshot: The conversation, as it was refused.
        found: The view that passed.
    """
    new = [op for op in found.ops if op not in snapshot.showing.ops]
    gone = [op for op in new if isinstance(op, Hide)]
    if len(gone) != 1 or {*new} - {*gone, *unbound(snapshot)}:
        return None
    history, end = snapshot.history, boundary(snapshot)
    start, until = gone[0].start, gone[0].until
    size = history.bytes_of(start, until)
    for first in range(end - 1, until - 1, -1):
        if cuttable(history, first) and history.bytes_of(first, end) >= size:
            other = Hide(first, end, REFUSED_PART)
            return snapshot.showing.adding(other, *unbound(snapshot))
    for last in range(snapshot.covered + 1, start + 1):
        if cuttable(history, last) and (
            history.bytes_of(snapshot.covered, last) >= size
        ):
            other = Hide(snapshot.covered, last, REFUSED_PART)
            return snapshot.showing.adding(other, *unbound(snapshot))
    return None


def short_of_room(snapshot: Snapshot) -> bool:
    """True if the conversation is shown shortened for its length already."""
    return any(
        isinstance(op, Hide) and op.note == LEFT_OUT for op in snapshot.showing.ops
    )


def with_room(snapshot: Snapshot, found: View) -> View:
    """A view that leaves out the oldest turns, so that what is left is at most half of
    what passed: the next messages have room, too.

    Args:
        snapshot: The conversation, as it failed.
        found: The view that passed, without the oldest turns.
    """
    history, start, end = snapshot.history, snapshot.covered, boundary(snapshot)
    first = max(
        (op.until for op in found.ops if isinstance(op, Hide) and op.start <= start),
        default=start,
    )
    until = end
    for size in range(end, first - 1, -1):
        if cuttable(history, size) or size == end:
            if history.bytes_of(size) * 2 > history.bytes_of(first):
                break
            until = size
    others = [op for op in found.ops if not isinstance(op, Hide) or op.until > until]
    return View(tuple(others)).adding(Hide(start, until, LEFT_OUT))

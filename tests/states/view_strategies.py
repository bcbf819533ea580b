"""Operations of views, of every kind and at every place of a conversation."""

from collections.abc import Sequence

from hypothesis import strategies as st

from turnlatch_states.machine.snapshot import Snapshot, cuttable
from turnlatch_states.recovery.context_window import boundary
from turnlatch_states.request.view import (
    DropBeta,
    DropBound,
    DropField,
    Flatten,
    Hide,
    IgnoreBase,
    Op,
    Rename,
    Shrink,
    Side,
    StripThinking,
    Stub,
    View,
)

_seeds = st.tuples(*[st.integers(0, 2**12)] * 5)
seeds = st.lists(_seeds, max_size=5)
"""Numbers that stand for operations; see `ops_of`."""


def hide_places(snapshot: Snapshot) -> list[int]:
    """The places where a part of the history may begin or end that is left out."""
    most = boundary(snapshot)
    return [n for n in range(most + 1) if cuttable(snapshot.history, n)]


def op_of(snapshot: Snapshot, seed: tuple[int, ...]) -> Op:
    """The operation that some numbers stand for."""
    kind, a, b, c, d = seed
    size = len(snapshot.history)
    first, last = sorted((a % (size + 2), b % (size + 2)))
    side = Side.USER if c % 2 else Side.REPLY
    if kind % 11 == 10:
        return Rename(a % (size + 2))
    match kind % 10:
        case 0 | 1:
            note = "[A note.]" if side is Side.USER else ""
            return Stub(a % (size + 1), side, b % 5, d % 4 - 1, note)
        case 2:
            return Shrink(a % (size + 2), b % 700)
        case 3:
            return StripThinking(a % (size + 2))
        case 4 | 5:
            return Flatten(first, last, c % 700)
        case 6:
            places = hide_places(snapshot)
            start, until = sorted((places[a % len(places)], places[b % len(places)]))
            return Hide(start, until, "[Left out.]")
        case 7:
            return IgnoreBase(snapshot.base.covers if snapshot.base else a)
        case 8:
            names = ("diagnostics", "cache_control", "container", "metadata")
            return DropField(names[a % len(names)])
        case _:
            return DropBound() if a % 2 else DropBeta(f"beta-{b % 3}")


def view_of(snapshot: Snapshot, given: Sequence[tuple[int, ...]]) -> View:
    """The view in force, and more operations."""
    return snapshot.showing.adding(*(op_of(snapshot, seed) for seed in given))

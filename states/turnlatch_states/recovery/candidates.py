"""The views that may pass where the conversation as it is does not.

They are one list, from least to most loss. A search asks them in that order, so whatever
passes first leaves out as little as can be; `bisect.py` then narrows it down to the
turns that are to blame. Of two views of which one leaves out all that the other does,
the larger loss passes if the smaller one does, unless the failure has another cause.
"""

from typing import TypeAlias, final

import attrs

from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.recovery.context_window import (
    RECORD_BYTES,
    SQUEEZED_BYTES,
    boundary,
    cuts_of,
    without_oldest,
)
from turnlatch_states.recovery.rung import unbound
from turnlatch_states.request.profile import Cache
from turnlatch_states.request.view import (
    LEFT_OUT,
    REFUSED_PART,
    DropField,
    Flatten,
    Hide,
    IgnoreBase,
    Op,
    Shrink,
    Side,
    Stub,
    View,
)

Span: TypeAlias = tuple[int, int]
"""Exchanges of the history: the first, and the one after the last."""


@final
@attrs.frozen
class Omission:
    """Something besides the past that a request may be sent without.

    Attributes:
        name: The part, in words.
        ops: The operations on what stays.
        spans: The exchanges that are left out.
        hints: True for fields that the engine adds: no message is shown otherwise.
        spare: True if it is shown again, should the rest be enough.
    """

    name: str
    ops: tuple[Op, ...] = ()
    spans: tuple[Span, ...] = ()
    hints: bool = False
    spare: bool = False


@final
@attrs.frozen
class Candidate:
    """A view that may pass: without the past, or with it, and without some other parts.

    Attributes:
        parts: The other parts.
        past: Whether it is the past, too, that is left out.
    """

    parts: tuple[Omission, ...] = ()
    past: bool = True

    @property
    def hints(self) -> bool:
        """True if it leaves out hints."""
        return any(part.hints for part in self.parts)

    @property
    def alters(self) -> bool:
        """True if it leaves out something that was said, besides the past."""
        return not all(part.hints for part in self.parts)

    @property
    def question(self) -> str:
        """The question that it answers, in words."""
        names = ["its past"] * self.past + [part.name for part in self.parts]
        return f"the conversation without {', '.join(names)}"

    def view(self, snapshot: Snapshot, *turns: Span) -> View:
        """How a conversation is shown without the parts, and without turns of the past.

        Adjacent exchanges are left out together, with one note.
        """
        spans = {span for part in self.parts for span in part.spans} | {*turns}
        hidden: list[Hide] = []
        for start, until in sorted(spans):
            if hidden and hidden[-1].until == start:
                start = hidden.pop().start
            if start < until:
                hidden.append(Hide(start, until, REFUSED_PART))
        bound = unbound(snapshot) if hidden or self.alters else ()
        ops = (op for part in self.parts for op in part.ops)
        return snapshot.showing.adding(*hidden, *bound, *ops)


def candidates(snapshot: Snapshot) -> tuple[Candidate, ...]:
    """The list for a conversation, from least to most loss.

    The last one leaves out everything but the new words.
    """
    turn, covered, size = snapshot.turn, snapshot.covered, len(snapshot.history)
    calls = turn.calls if turn is not None else ()
    end, least = boundary(snapshot), Shrink(size + 1, SQUEEZED_BYTES)
    # Of an open turn without its calls nothing is told, and not what they gave either.
    untold = (Stub(size, Side.USER, at, -1, REFUSED_PART) for at in range(len(calls)))

    form = Omission(
        "the calls of its open turn", (Flatten(end, size, RECORD_BYTES), least)
    )
    opened = Omission("its open turn", tuple(untold), ((end, size),))
    summary = Omission("its summary", (IgnoreBase(covered),))
    summed = Omission("what that stands for", spans=((0, covered),), spare=True)
    hints = Omission("its hints", _hints(snapshot), hints=True)

    losses: list[tuple[Omission, ...]] = [()]
    losses += [(form,), (opened,)] if calls else []
    losses += [(summary, summed)] if covered else []
    losses += [(summary, summed, opened)] if covered and calls else []
    found = [Candidate(parts) for parts in losses]
    if hints.ops:
        found.append(Candidate((hints,), past=False))
        found += [Candidate((*parts, hints)) for parts in losses]
    return tuple(found)


def _hints(snapshot: Snapshot) -> tuple[Op, ...]:
    """Without the fields that the engine adds to a request by itself."""
    profile, dropped = snapshot.profile, snapshot.showing.dropped
    names = ["diagnostics"] if profile.diagnostics else []
    names += ["cache_control"] if profile.cache is not Cache.OFF else []
    return tuple(DropField(name) for name in names if name not in dropped)


def without_another(snapshot: Snapshot, found: View) -> View | None:
    """A view that leaves out another part than the one found, at least as large; None if
    no part is that large, or if more than one part was left out.

    Where a request is refused for its length alone, any part of that size does, so none
    is to blame: that is told by leaving out another one.

    Args:
        snapshot: The conversation, as it was refused.
        found: The view that passed.
    """
    known = {*snapshot.showing.ops, *unbound(snapshot)}
    new = [op for op in found.ops if op not in known]
    if len(new) != 1 or not isinstance(new[0], Hide):
        return None
    gone, cuts, bytes_of = new[0], cuts_of(snapshot), snapshot.history.bytes_of
    behind = [(cut, cuts[-1]) for cut in reversed(cuts) if cut >= gone.until]
    before = [(cuts[0], cut) for cut in cuts if cut <= gone.start]
    size = bytes_of(gone.start, gone.until)
    other = next((span for span in behind + before if bytes_of(*span) >= size), None)
    return None if other is None else Candidate().view(snapshot, other)


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
    start = snapshot.covered
    hides = [op for op in found.ops if isinstance(op, Hide) and op.start <= start]
    first = max((op.until for op in hides), default=start)
    return without_oldest(snapshot, found, snapshot.history.bytes_of(first) // 2)

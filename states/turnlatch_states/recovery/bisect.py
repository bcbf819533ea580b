"""Finding the part of a conversation that is refused, when the server names none.

A search puts trials to the server, each a view of the same conversation, and narrows down
what must be left out for it to pass. A trial has no effect: nothing of it is history, and
only what it proves is proposed as a view. If even the conversation without its past is
refused, the fault is not in the past: it is an outage, a setting, or the input, and
nothing is changed.
"""

from enum import StrEnum
from typing import Final, final

import attrs

from turnlatch_states.machine.snapshot import Snapshot, cuttable
from turnlatch_states.recovery.context_window import (
    RECORD_BYTES,
    SQUEEZED_BYTES,
    boundary,
)
from turnlatch_states.recovery.rung import unbound
from turnlatch_states.recovery.size_or_part import short_of_room, without_another
from turnlatch_states.request.view import (
    REFUSED_PART,
    Flatten,
    Hide,
    IgnoreBase,
    Op,
    Shrink,
    Side,
    Stub,
    View,
)

PARTS_MAX: Final = 3
"""Parts of the past that are told one from another; with more than that to blame, what
stands before the last of them is left out, too."""


class Phase(StrEnum):
    """The question of the next trial."""

    WORDS = "its new words alone"
    ALONE = "without its past"
    OPEN = "with the open turn as a record"
    GONE = "without the open turn"
    BARE = "without its summary"
    LEAST = "without its summary and the open turn"
    SHOWN = "with what its summary stood for"
    PAST = "with its past again"
    NARROW = "without the first part of its past"
    ONLY = "without the suspected turn only"
    OTHER = "without another part of its size"
    STILL = "as it is"
    OVER = "over"


def under(snapshot: Snapshot, view: View) -> Snapshot:
    """A conversation as it would be shown under a view."""
    assert snapshot.turn is not None, "only what a turn sends is shown"
    return attrs.evolve(snapshot, turn=attrs.evolve(snapshot.turn, trial=view))


@final
@attrs.frozen
class Bisection:
    """Where a search stands.

    Attributes:
        snapshot: The conversation; it stays as it is.
        cuts: The places where the past may be parted, from its start to its end.
        phase: The question of the next trial.
        low: Hiding everything up to this cut is still refused.
        high: Hiding everything up to this cut passes.
        found: The view that passed and leaves out the least so far.
        words: True if the last message is tried alone, before anything else.
        alone: Whether that passed; None if it was not tried, or is the whole request.
        always: Operations that every trial has, for parts that are to blame for certain.
        parts: The number of those parts.
        sized: Whether it passes without another part, too, at least as large as what
            was found, so that it is the size that is refused; None if it was not asked.
    """

    snapshot: Snapshot
    cuts: tuple[int, ...]
    phase: Phase = Phase.ALONE
    low: int = 0
    high: int = 0
    found: View | None = None
    words: bool = False
    alone: bool | None = None
    always: tuple[Op, ...] = ()
    parts: int = 0
    sized: bool | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, *, words: bool = False) -> "Bisection":
        """A search that has not begun.

        Args:
            snapshot: The conversation.
            words: Begin with what was just said, alone: if that is refused, it is what
                is to blame, and nothing else is tried.
        """
        start, end = snapshot.covered, boundary(snapshot)
        cuts = tuple(
            size
            for size in range(start, end + 1)
            if size in (start, end) or cuttable(snapshot.history, size)
        )
        turn = snapshot.turn
        more = snapshot.covered > 0 or (turn is not None and bool(turn.calls))
        first = Phase.ALONE
        if words and more and turn is not None and turn.content:
            first = Phase.WORDS
        return cls(snapshot, cuts, first, low=0, high=len(cuts) - 1, words=words)

    @property
    def trial(self) -> View | None:
        """The view to be put to the server next; None when the search is over."""
        match self.phase:
            case Phase.STILL:
                return self.snapshot.showing
            case Phase.ALONE:
                return self._without(0, self.high)
            case Phase.OPEN:
                return self._recorded()
            case Phase.WORDS | Phase.GONE | Phase.BARE | Phase.LEAST:
                return self._unsaid()
            case Phase.SHOWN | Phase.PAST:
                return self._with_its_past()
            case Phase.NARROW:
                return self._without(0, (self.low + self.high) // 2)
            case Phase.ONLY:
                return self._without(self.high - 1, self.high)
            case Phase.OTHER:
                return self._another
            case Phase.OVER:
                return None

    @property
    def blames_words(self) -> bool:
        """True if what was just said was refused alone."""
        return self.phase is Phase.OVER and self.words and self.alone is False

    def told(self, passed: bool) -> "Bisection":
        """The search, once the trial was answered."""
        match self.phase:
            case Phase.STILL:
                # An outage that ended in the middle of a search proves nothing.
                found = None if passed else self.found
                return attrs.evolve(self, phase=Phase.OVER, found=found)
            case Phase.WORDS:
                then = Phase.ALONE if passed else Phase.OVER
                return attrs.evolve(self, phase=then, alone=passed)
            case Phase.ALONE if passed and self.high > 0:
                return self._narrowed(0, self.high, self.trial)
            case Phase.ALONE if passed:
                return self._at(Phase.OVER)  # nothing was left out, and it passes
            case Phase.ALONE | Phase.OPEN | Phase.GONE | Phase.BARE | Phase.LEAST:
                if not passed:
                    return self._at(self._further())
                then = Phase.PAST if self.high > 0 else Phase.STILL
                if self.phase in (Phase.BARE, Phase.LEAST):
                    then = Phase.SHOWN
                return attrs.evolve(self, phase=then, found=self.trial)
            case Phase.NARROW:
                middle = (self.low + self.high) // 2
                if passed:
                    return self._narrowed(self.low, middle, self.trial)
                return self._narrowed(middle, self.high, self.found)
            case Phase.ONLY | Phase.SHOWN | Phase.PAST if passed:
                return attrs.evolve(self, phase=Phase.STILL, found=self.trial)
            case Phase.ONLY if short_of_room(self.snapshot):
                return self._at(Phase.STILL)  # it is the size again, which has no parts
            case Phase.ONLY if self.sized is None and self._another is not None:
                return self._at(Phase.OTHER)
            case Phase.OTHER if passed:
                return attrs.evolve(self, phase=Phase.STILL, sized=True)
            case Phase.ONLY | Phase.OTHER:
                return attrs.evolve(self, sized=False)._one_more()
            case Phase.SHOWN:
                return self._at(Phase.PAST if self.high > 0 else Phase.STILL)
            case Phase.PAST:
                return self._with_the_open_turn()
            case Phase.OVER:
                return self

    def cut_short(self) -> "Bisection":
        """The search where no more can be told apart: what was found is proved, if it
        leaves out all that is to blame, and then some."""
        return self._at(Phase.STILL) if self.parts and self.trial else self

    def anew(self, view: View) -> "Bisection":
        """The search from its start, with what the trial had to be shown without for
        another reason than the one that is searched for."""
        assert self.trial is not None, "it was just made"
        known = self.trial.ops
        ops = [op for op in view.ops if op not in known]
        shown = under(self.snapshot, self.snapshot.showing.adding(*ops))
        return Bisection.of(shown, words=self.words)

    def _at(self, phase: Phase) -> "Bisection":
        return attrs.evolve(self, phase=phase)

    def _narrowed(self, low: int, high: int, found: View | None) -> "Bisection":
        phase = Phase.NARROW
        if high - low <= 1:
            # Hiding only the first part is the same trial.
            phase = Phase.ONLY if high > 1 else Phase.STILL
        return attrs.evolve(self, low=low, high=high, phase=phase, found=found)

    def _one_more(self) -> "Bisection":
        """The last part of what is left out is to blame, and so is one before it."""
        if self.parts + 1 >= PARTS_MAX:
            return self._at(Phase.STILL)
        last = Hide(self.cuts[self.high - 1], self.cuts[self.high], REFUSED_PART)
        more = attrs.evolve(self, always=(*self.always, last), parts=self.parts + 1)
        return more._narrowed(0, self.high - 1, self.found)

    def _with_the_open_turn(self) -> "Bisection":
        """The part left out in addition to the past is to blame, and so is a part of the
        past."""
        assert self.trial is not None, "it was just made"
        known = self.snapshot.showing.ops
        always = tuple(op for op in self.trial.ops if op not in known)
        more = attrs.evolve(self, always=always, parts=1)
        return more._narrowed(0, self.high, self.found)

    @property
    def _another(self) -> View | None:
        return self.found and without_another(self.snapshot, self.found)

    def _without(self, first: int, last: int) -> View:
        start, until = self.cuts[first], self.cuts[last]
        ops: tuple[Op, ...] = self.always
        if until > start:
            ops = (Hide(start, until, REFUSED_PART), *unbound(self.snapshot), *ops)
        return self.snapshot.showing.adding(*ops)

    def _recorded(self) -> View:
        size = len(self.snapshot.history)
        flat = Flatten(self.cuts[-1], size, RECORD_BYTES)
        least = Shrink(size + 1, SQUEEZED_BYTES)
        return self._without(0, self.high).adding(flat, least)

    def _further(self) -> Phase:
        """The next phase, if leaving out the present part is not enough."""
        turn = self.snapshot.turn
        calls = turn is not None and bool(turn.calls)
        levels = [Phase.ALONE]
        levels += [Phase.OPEN, Phase.GONE] if calls else []
        levels += [Phase.BARE] if self.snapshot.covered else []
        levels += [Phase.LEAST] if calls and self.snapshot.covered else []
        return [*levels, Phase.OVER][levels.index(self.phase) + 1]

    def _unsaid(self) -> View:
        """Neither the past nor, as the phase says, the summary and the open turn."""
        size, start, until = len(self.snapshot.history), self.cuts[0], self.cuts[-1]
        ops: list[Op] = []
        if self.phase is not Phase.GONE:
            ops += [IgnoreBase(start)] if start else []
            start = 0
        if self.phase is not Phase.BARE:
            # Of the open turn nothing is told: not its calls, and not what they gave.
            calls = self.snapshot.turn.calls if self.snapshot.turn is not None else ()
            ops += [
                Stub(size, Side.USER, place, -1, REFUSED_PART)
                for place, _ in enumerate(calls)
            ]
            until = size
        ops += [Hide(start, until, REFUSED_PART), *unbound(self.snapshot)]
        return self.snapshot.showing.adding(*ops)

    def _with_its_past(self) -> View:
        """The view that passed, with the turns between summary and open turn shown again,
        and the summarised turns, too, as the phase says."""
        assert self.found is not None, "something passed before this is asked"
        start, until = self.cuts[0], self.cuts[-1]
        known = self.snapshot.showing.ops
        ops: list[Op] = []
        for op in self.found.ops:
            if op in known or not isinstance(op, Hide):
                ops.append(op)
                continue
            before = start if self.phase is Phase.PAST else 0
            sides = (
                (op.start, min(op.until, before)),
                (max(op.start, until), op.until),
            )
            ops += [Hide(a, b, op.note) for a, b in sides if a < b]
        return View(tuple(ops))

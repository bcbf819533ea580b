"""Finding the part of a conversation that is refused, when the server names none.

A search is a generator: it yields a trial, is sent whether that passes, and returns the
change that makes the request pass. It asks for the candidates from least to most loss,
shows again what is not to blame, and proves at its end that the conversation as it is is
still refused: an outage that ended in the middle of a search proves nothing. If even the
last candidate is refused, the fault is an outage, a setting or the input, and nothing is
changed. A trial has no effect: nothing of it is history.
"""

from collections.abc import Callable, Generator
from typing import Final, TypeAlias, TypeVar, final

import attrs

from turnlatch_states.api.faults import Fault
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.recovery.candidates import (
    Candidate,
    Span,
    candidates,
    short_of_room,
    with_room,
    without_another,
)
from turnlatch_states.recovery.context_window import cuts_of
from turnlatch_states.recovery.decisions import ChangeRequest
from turnlatch_states.request.view import View

PARTS_MAX: Final = 3
"""Parts that are told one from another; with more than that to blame, what stands before
the last of them is left out, too."""

STILL: Final = "the conversation as it is"
_WORDS: Final = "the new words alone"
_NARROW: Final = "the conversation without the first part of its past"
_ONLY: Final = "the conversation without the suspected turn only"
_OTHER: Final = "the conversation without another part of that size"

_FOUND: Final = "a part of the history is refused, as trials have shown"
_TOO_LONG: Final = (
    "it is too long: without any part of some size it passes, as trials have shown"
)

T = TypeVar("T")


@final
@attrs.frozen
class Trial:
    """One question of a search: does the request pass so?

    Attributes:
        question: The question, in words.
        view: How the conversation is shown.
        kept: True if the answer holds in a later search, too.
    """

    question: str
    view: View
    kept: bool = True


Trying: TypeAlias = Generator[Trial, bool, T]
"""Makes trials, and comes to a result."""


@final
class Bisection:
    """A search for the least loss with which a request passes."""

    def __init__(
        self, snapshot: Snapshot, fault: Fault, runs_out: Callable[[], bool]
    ) -> None:
        """Begin.

        Args:
            snapshot: The conversation; it stays as it is.
            fault: The fault whose cause is searched for.
            runs_out: Whether the requests left suffice only to prove what was found.
        """
        self._snapshot, self._fault, self._runs_out = snapshot, fault, runs_out
        self._list = candidates(snapshot)
        self._cuts = cuts_of(snapshot)
        self._known: dict[View, bool] = {}
        self._sized: bool | None = None  # whether another part of its size does, too

    def run(self, *, words: bool = False) -> Trying[ChangeRequest | None]:
        """The change with which the request passes; None if nothing is to blame.

        Args:
            words: Begin with what was just said, alone: if that is refused, it is what
                is to blame, and nothing else is tried.
        """
        snapshot, turn = self._snapshot, self._snapshot.turn
        assert turn is not None, "only what a turn sends is shown"
        if words and turn.content:
            alone = self._view(self._list[-1])
            self._known[alone] = yield Trial(_WORDS, alone, kept=False)
            if not self._known[alone]:
                return None
        passed = yield from self._first()
        if passed is None or self._view(passed) == snapshot.showing:
            return None
        view = yield from self._least(passed)
        if (yield Trial(STILL, snapshot.showing, kept=False)):
            return None
        if not passed.past:
            return ChangeRequest(Remedy.DROP_FIELD, self._fault.message, view)
        if passed.hints or not (yield from self._is_size(view)):
            return ChangeRequest(Remedy.BISECT, _FOUND, view)
        if self._fault.definite:
            return ChangeRequest(Remedy.MAKE_ROOM, _TOO_LONG)
        return ChangeRequest(Remedy.BISECT, _TOO_LONG, with_room(snapshot, view))

    def _first(self) -> Trying[Candidate | None]:
        """The first candidate that passes; None if none does."""
        for one in self._list:
            if one.hints and one.past and not (yield from self._passes(self._list[-1])):
                return None  # refused without all of it, so it is without less
            if (yield from self._passes(one)):
                return one
        return None

    def _least(self, passed: Candidate) -> Trying[View]:
        """The view that leaves out the least of what a candidate does."""
        kept = tuple(part for part in passed.parts if not part.spare)
        for one in (Candidate(kept, past=False), Candidate(passed.parts, past=False)):
            if self._view(one) == self._snapshot.showing:
                continue  # it is asked last
            if (yield from self._passes(one)):
                return self._view(one)
        return (yield from self._turns(passed))

    def _turns(self, passed: Candidate) -> Trying[View]:
        """The same for the turns of the past, of which some are to blame.

        The shortest beginning of the past is found without which it passes: then the
        last turn of it is to blame. If that is not all, it stays left out, and the next
        one is searched for before it.
        """
        snapshot, cuts = self._snapshot, self._cuts
        parts, low, high = int(passed.alters), 0, len(cuts) - 1
        blamed: tuple[Span, ...] = ()
        found = self._view(passed)
        while high > 1 and not (parts and self._runs_out()):
            if high - low > 1:
                middle = (low + high) // 2
                view = passed.view(snapshot, (cuts[0], cuts[middle]), *blamed)
                if (yield from self._tries(_NARROW, view)):
                    high, found = middle, view
                else:
                    low = middle
                continue
            blamed = ((cuts[high - 1], cuts[high]), *blamed)
            view = passed.view(snapshot, *blamed)
            if (yield from self._tries(_ONLY, view)):
                return view
            parts += 1
            if short_of_room(snapshot) or (yield from self._is_any(found)):
                break  # it is the size, which has no parts
            if parts == PARTS_MAX:
                break
            low, high = 0, high - 1
        return found

    def _is_any(self, found: View) -> Trying[bool]:
        """True if another part of that size does as well: it is asked once."""
        if self._sized is None:
            other = without_another(self._snapshot, found)
            self._sized = other is not None and (yield from self._tries(_OTHER, other))
        return self._sized

    def _is_size(self, found: View) -> Trying[bool]:
        """Whether it is the length that is refused, and not the part that was found."""
        if not self._fault.definite and short_of_room(self._snapshot):
            return True
        assert self._snapshot.turn is not None, "only what a turn sends is shown"
        if Remedy.MAKE_ROOM in self._snapshot.turn.tried:
            return False  # there is no room to be made
        return (yield from self._is_any(found))

    def _view(self, one: Candidate) -> View:
        """How the conversation is shown without what a candidate leaves out."""
        past = ((self._cuts[0], self._cuts[-1]),) if one.past else ()
        return one.view(self._snapshot, *past)

    def _passes(self, one: Candidate) -> Trying[bool]:
        return self._tries(one.question, self._view(one))

    def _tries(self, question: str, view: View) -> Trying[bool]:
        """Whether a view passes; it is asked once."""
        if view not in self._known:
            self._known[view] = yield Trial(question, view)
        return self._known[view]

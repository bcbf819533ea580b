"""Finding out what a failure hangs on: a search, written as a coroutine without I/O.

Each function here is a generator. It yields the request that it needs answered (`Probe`,
`Count`), is sent why that request failed, or None, and returns what follows. It remembers
nothing between two runs of it: `next_effect` runs it from its start each time, and gives
it the answers that the journal holds (`Turn.search`), until it asks for one that is not
there. So a search is a function of the snapshot it began at and of what was answered.
"""

from collections.abc import Generator
from hashlib import sha256
from typing import Final, TypeAlias, TypeVar, final

import attrs

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.effects import requests
from turnlatch_states.effects.effect import Conditions, Count, Probe
from turnlatch_states.machine.doubt import rule_of
from turnlatch_states.machine.events import Question
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.recovery.bisect import Bisection, Phase, under
from turnlatch_states.recovery.decisions import ChangeRequest
from turnlatch_states.recovery.probes import anew, aside, otherwise, verdict
from turnlatch_states.recovery.size_or_part import (
    short_of_room,
    with_room,
    without_another,
)
from turnlatch_states.request.build import Request
from turnlatch_states.request.view import View

SMALL: Final = "a small request"
"""The question of a probe that checks whether the server answers at all."""

_FOUND: Final = "a part of the history is refused, as trials have shown"
_TOO_LONG: Final = (
    "it is too long: without any part of some size it passes, as trials have shown"
)

T = TypeVar("T")

Asking: TypeAlias = Generator[Probe | Count, Fault | None, T]
"""Asks the server, and comes to a result."""


@final
@attrs.frozen
class Nothing:
    """A search that found no part to blame.

    Attributes:
        settles: All of its trials together proved that no part is to blame.
    """

    settles: bool = False


@final
class Search:
    """The questions about one failed turn, from the snapshot at which they began."""

    def __init__(self, snapshot: Snapshot, fault: Fault, given: Conditions) -> None:
        """Begin.

        Args:
            snapshot: The conversation when the first question was to be asked.
            fault: Why its turn failed.
            given: The conditions of the decision.
        """
        assert snapshot.turn is not None, "only a turn that failed is searched"
        self._snapshot, self._fault, self._given = snapshot, fault, given
        self._turn: Turn = snapshot.turn
        self._definite = rule_of(fault) is None
        self._stream = requests.streams(snapshot, self._turn, given)
        self._known = dict(snapshot.trials)
        self._asked = 0
        self._counted = self._turn.counted
        self._failing: tuple[Fault, int] | None = None  # the last answer, how often

    @property
    def pause(self) -> float:
        """Seconds for which the server is left alone before it is asked again."""
        if self._failing is None:
            return 0.0
        fault, many = self._failing
        return self._given.policies.retry.pause(fault, many, self._given.draw)

    def small(self) -> Asking[bool]:
        """Ask the server something short of the same kind: is it well?"""
        return self._well(self._snapshot, Question.SMALL)

    def run(self) -> Asking[ChangeRequest | Nothing]:
        """The change with which the request passes."""
        snapshot, fault = self._snapshot, self._fault
        again = Remedy.BISECT in self._turn.tried
        if again and not self._counted:
            return Nothing()  # what trials have shown, they would show again
        # A ladder was climbed before, in vain, unless nothing was known of the refusal.
        unknown = fault.definite and fault.kind in (FaultKind.INVALID, FaultKind.BLOCK)
        if again or not unknown:
            snapshot = anew(snapshot, self._given.policies)
        # Counting is free; otherwise the trials are messages. If a part found by counting
        # did not help, the request was refused for another reason.
        counted = not again and (yield from self._is_witness(snapshot))
        first = Bisection.of(snapshot, words=not unknown)
        search = yield from self._narrowed(first, counted=counted)
        if search is None:
            return Nothing()
        made = yield from self._concluded(search)
        if self._definite:
            return made or Nothing()
        if made is None:
            return Nothing(settles=True)
        return attrs.evolve(made, passing=True, seconds=self.pause)

    def _narrowed(
        self, search: Bisection, *, counted: bool
    ) -> Asking[Bisection | None]:
        """The search at its end; None where nothing is concluded from an outage."""
        while (view := search.trial) is not None:
            shown = under(search.snapshot, view)
            passed, other = yield from self._judged(search, shown, counted=counted)
            if passed is None and other is None:
                return None
            if other is None:
                search = search.told(passed is True)
            elif counted:  # what else a count says is about counts
                search, counted = Bisection.of(search.snapshot), False
            else:
                search = search.anew(other)
            if self._runs_out():
                search = search.cut_short()
        self._counted = counted
        return search

    def _runs_out(self) -> bool:
        """Whether only as many requests are left as it takes to prove what was found,
        and to go on with it."""
        rule = rule_of(self._fault)
        proof = 1 if rule is None else rule.repeats
        sent = self._turn.requests + self._asked
        return self._given.budget.requests - sent <= proof + 1

    def _concluded(self, search: Bisection) -> Asking[ChangeRequest | None]:
        if search.found is not None:
            if (yield from self._is_size(search, search.found)):
                if self._fault.definite:
                    return ChangeRequest(Remedy.MAKE_ROOM, _TOO_LONG)
                shorter = with_room(search.snapshot, search.found)
                return ChangeRequest(Remedy.BISECT, _TOO_LONG, shorter)
            return ChangeRequest(Remedy.BISECT, _FOUND, search.found)
        if search.blames_words:
            return None
        return (yield from self._otherwise(search.snapshot))

    def _is_size(self, search: Bisection, found: View) -> Asking[bool]:
        """Whether it is the length that is refused, and not the part that was found."""
        snapshot = search.snapshot
        if not self._fault.definite and short_of_room(snapshot):
            return True
        if Remedy.MAKE_ROOM in self._turn.tried:
            return False  # there is no room to be made
        if search.sized is not None:
            return search.sized
        other = without_another(snapshot, found)
        if other is None:
            return False
        # What a count told is asked of a count again: a message may be refused for
        # another part, and would pass without that one.
        passed = yield from self._tries(snapshot, other, counted=self._counted)
        return bool(passed)

    def _judged(
        self, search: Bisection, shown: Snapshot, *, counted: bool
    ) -> Asking[tuple[bool | None, View | None]]:
        """The result of a trial, and the view for repeating it if a named part failed.

        What was shown earlier is not asked again, in this turn or a later one, but for
        the request as it is: a search that was cut short goes on where it was.
        """
        key = self._key(search, shown, counted=counted)
        if key in self._known:
            return self._known[key], None
        question = f"the conversation {search.phase}"
        passed, other = yield from self._ask(shown, question, counted=counted, key=key)
        if key and passed is not None and other is None:
            self._known[key] = passed
        return passed, other

    def _key(self, search: Bisection, shown: Snapshot, *, counted: bool) -> str:
        """A trial's unique key; empty for a trial whose result is not kept."""
        if search.phase in (Phase.STILL, Phase.WORDS):
            return ""
        results = tuple(call.result for call in self._turn.calls)
        bases = tuple((base.covers, base.method, base.block) for base in shown.bases)
        about = (self._fault.kind, self._fault.status, counted)
        told = repr((len(shown.history), results, *about, shown.showing, bases))
        return sha256(told.encode()).hexdigest()[:32]

    def _ask(
        self, shown: Snapshot, question: str, *, counted: bool = False, key: str = ""
    ) -> Asking[tuple[bool | None, View | None]]:
        """The result of a trial, repeated as often as its kind of fault requires, with
        waits in between; and the view for repeating it, if it was refused for a known
        reason other than the one that is searched for."""
        rule, failed = rule_of(self._fault), 0
        repeats = 1 if rule is None else rule.repeats
        while True:
            last = failed + 1 >= repeats
            made = self._trial(shown, question, counted=counted, key=key)
            fault = yield from self._answer(attrs.evolve(made, last=last))
            other = self._aside(shown, fault)
            passed = verdict(self._fault, fault)
            if passed or other is not None or counted:
                return passed, other
            if passed is None:
                return (yield from self._stays(made, fault)), None
            if fault is None or fault.definite or last:
                return False, None
            failed += 1

    def _stays(self, made: Probe, fault: Fault | None) -> Asking[bool | None]:
        """True if a failed trial passes when repeated. If the server answers a small
        request and the trial still fails, its failure was not temporary."""
        if fault is None or not fault.may_pass or not fault.status:
            return None
        if not (yield from self._well(made.shown, Question.TRIAL)):
            return None
        return verdict(
            fault, (yield from self._answer(attrs.evolve(made, after=fault)))
        )

    def _well(self, shown: Snapshot, about: Question) -> Asking[bool]:
        """Whether the server answers something short.

        What it names in that request is left out of it: a server that says what it does
        not like is well.
        """
        while True:
            fault = yield from self._answer(
                Probe(
                    self._small(shown),
                    SMALL,
                    about,
                    self._fault,
                    shown,
                    self._given.policies,
                    small=True,
                )
            )
            view = self._aside(shown, fault)
            if view is None:
                return fault is None or fault.kind is FaultKind.REFUSAL
            shown = under(shown, view)

    def _otherwise(self, snapshot: Snapshot) -> Asking[ChangeRequest | None]:
        """No part of the past is to blame: do without what stands around it.

        It is proved like everything else: without it the request passes, and with it
        the request is still refused. An outage that is over proves nothing.
        """
        for left in otherwise(snapshot, self._fault):
            if left.view is None or not (yield from self._tries(snapshot, left.view)):
                continue
            still = yield from self._tries(snapshot, snapshot.showing)
            return left if still is False else None
        return (yield from self._both(snapshot))

    def _both(self, snapshot: Snapshot) -> Asking[ChangeRequest | None]:
        """The change that leaves out both a part of the past and the part around it."""
        bare = next((o.view for o in otherwise(snapshot, self._fault)), None)
        if bare is None:
            return None
        if not (yield from self._well(under(snapshot, bare), Question.TRIAL)):
            return None
        first = Bisection.of(under(snapshot, bare))
        search = yield from self._narrowed(first, counted=False)
        if search is None or search.found is None:
            return None
        added = set(bare.ops) - set(snapshot.showing.ops)
        kept = View(tuple(op for op in search.found.ops if op not in added))
        whole = yield from self._tries(snapshot, kept)
        return ChangeRequest(Remedy.BISECT, _FOUND, kept if whole else search.found)

    def _tries(
        self, snapshot: Snapshot, view: View, *, counted: bool = False
    ) -> Asking[bool | None]:
        """Whether a view passes."""
        as_it_is = view is snapshot.showing
        told = "it as it is" if as_it_is else "it without what stands around it"
        passed, _ = yield from self._ask(under(snapshot, view), told, counted=counted)
        return passed

    # Questions.

    def _answer(self, probe: Probe) -> Asking[Fault | None]:
        """Why the server refuses what it is asked; None if it does not."""
        fault = yield probe
        self._asked += 1
        if not probe.counted:
            many = self._failing[1] + 1 if self._failing else 1
            passing = fault is not None and fault.may_pass
            self._failing = (fault, many) if fault is not None and passing else None
        return fault

    def _aside(self, shown: Snapshot, fault: Fault | None) -> View | None:
        if fault is None:
            return None
        return aside(shown, self._fault, fault, self._given.policies)

    def _trial(
        self, shown: Snapshot, question: str, *, counted: bool, key: str
    ) -> Probe:
        turn, definite, stream = self._turn, self._definite, self._stream
        return Probe(
            requests.trial(shown, turn, definite=definite, stream=stream),
            question,
            Question.TRIAL,
            self._fault,
            shown,
            self._given.policies,
            counted=counted,
            key=key,
        )

    def _small(self, shown: Snapshot) -> Request:
        turn, definite, stream = self._turn, self._definite, self._stream
        return requests.small(shown, turn, definite=definite, stream=stream)

    def _is_witness(self, snapshot: Snapshot) -> Asking[bool]:
        """Whether a count says no to what a message was refused for, and to that only:
        it does for the same kind of reason, and not to everything."""
        if not self._fault.definite:
            return False
        turn, definite = self._turn, self._definite
        trial = requests.trial(snapshot, turn, definite=definite, stream=self._stream)
        fault = yield Count(trial)
        if fault is None or fault.kind is not self._fault.kind:
            return False
        return (yield Count(self._small(snapshot))) is None

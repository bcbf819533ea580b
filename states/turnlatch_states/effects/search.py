"""The search for the cause of a failure, written as a coroutine without I/O.

Each function here is a generator. It yields the request that it needs answered (`Probe`,
`Count`), is sent why that request failed, or None, and returns what follows. It remembers
nothing between two runs of it: `next_effect` runs it from its start each time, and gives
it the answers that the journal holds (`Turn.inquiry`), until it asks for one that is not
there. So a search is a function of the snapshot it began at and of what was answered.
What is tried, and in what order, stands in `recovery/candidates.py`.
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
from turnlatch_states.recovery.bisect import Bisection, Trial
from turnlatch_states.recovery.decisions import ChangeRequest
from turnlatch_states.recovery.probes import (
    fresh_snapshot,
    probe_result,
    view_without_named,
    with_view,
)
from turnlatch_states.request.build import Request
from turnlatch_states.request.view import View

SMALL: Final = "a small request"
"""The question of a probe that checks whether the server answers at all."""

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
        # Where nothing passed in a turn, its words may be what was refused.
        asked = snapshot.trials
        proved = {self._turn.number, *(turn for _, passed, turn in asked if passed)}
        self._known = {key: passed for key, passed, turn in asked if turn in proved}
        self._in_vain = not proved.issuperset(turn for *_, turn in asked)
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
            snapshot = fresh_snapshot(snapshot, self._given.policies)
        # Counting is free; otherwise the trials are messages. If a part found by counting
        # did not help, the request was refused for another reason.
        counted = not again and (yield from self._is_witness(snapshot))
        more = snapshot.covered > 0 or bool(self._turn.calls)
        words = self._in_vain or (not unknown and more)
        made = yield from self._found(snapshot, words=words, counted=counted)
        if self._definite or isinstance(made, Nothing):
            return made
        return attrs.evolve(made, passing=True, seconds=self.pause)

    def _found(
        self, snapshot: Snapshot, *, words: bool, counted: bool
    ) -> Asking[ChangeRequest | Nothing]:
        """The result of a bisection; an outage proves nothing."""
        search = Bisection(snapshot, self._fault, self._runs_out).run(words=words)
        trial = next(search)
        while True:
            # The counter need not see hints: trials without them are messages.
            counted = counted and trial.view.dropped <= snapshot.showing.dropped
            passed = yield from self._judged(snapshot, trial, counted=counted)
            if passed is None:
                return Nothing()
            if isinstance(passed, View):
                # Refused for another reason: once more from the start without that. A
                # count can say more about counts alone, so messages are sent then.
                if not counted:
                    ops = (op for op in passed.ops if op not in trial.view.ops)
                    snapshot = with_view(snapshot, snapshot.showing.adding(*ops))
                words = words and not counted
                return (yield from self._found(snapshot, words=words, counted=False))
            try:
                trial = search.send(passed)
            except StopIteration as over:
                return over.value or Nothing(settles=not self._definite)

    def _runs_out(self) -> bool:
        """Whether only as many requests are left as it takes to prove what was found,
        and to go on with it."""
        rule = rule_of(self._fault)
        proof = 1 if rule is None else rule.repeats
        sent = self._turn.requests + self._asked
        return self._given.budget.requests - sent <= proof + 1

    def _judged(
        self, snapshot: Snapshot, trial: Trial, *, counted: bool
    ) -> Asking[bool | View | None]:
        """Whether a trial passes; None where its answers do not say, and the view for
        repeating it where it is refused for a known reason, but not the one searched for.

        It is repeated as often as its kind of fault requires, with waits in between.
        What was shown earlier is not asked again, in this turn or a later one, but for
        the request as it is: a search that was cut short goes on where it was.
        """
        shown = with_view(snapshot, trial.view)
        key = self._key(shown, counted=counted) if trial.kept else ""
        if key in self._known:
            return self._known[key]
        rule, passed = rule_of(self._fault), None
        made = self._probe(shown, trial.question, Question.TRIAL)
        made = attrs.evolve(made, counted=counted, key=key)
        for left in reversed(range(1 if rule is None else rule.repeats)):
            fault = yield from self._answer(attrs.evolve(made, last=not left))
            other = view_without_named(shown, self._fault, fault, self._given.policies)
            if other is not None:
                return other
            passed = probe_result(self._fault, fault)
            if passed is None and not counted:
                passed = yield from self._stays(made, fault)
                break
            if passed is not False or counted or (fault and fault.definite):
                break
        if key and passed is not None:
            self._known[key] = passed
        return passed

    def _key(self, shown: Snapshot, *, counted: bool) -> str:
        """The unique key of a trial, under which its result is kept."""
        results = tuple(call.result for call in self._turn.calls)
        bases = tuple((base.covers, base.method, base.block) for base in shown.bases)
        about = (self._fault.kind, self._fault.status, counted)
        told = repr((len(shown.history), results, *about, shown.showing, bases))
        return sha256(told.encode()).hexdigest()[:32]

    def _stays(self, made: Probe, fault: Fault | None) -> Asking[bool | None]:
        """True if a failed trial passes when repeated. If the server answers a small
        request and the trial still fails, its failure was not temporary."""
        if fault is None or not fault.may_pass or not fault.status:
            return None
        if not (yield from self._well(made.shown, Question.TRIAL)):
            return None
        again = yield from self._answer(attrs.evolve(made, after=fault))
        return probe_result(fault, again)

    def _well(self, shown: Snapshot, about: Question) -> Asking[bool]:
        """Whether the server answers something short.

        What it names in that request is left out of it: a server that says what it does
        not like is well.
        """
        while True:
            made = self._probe(shown, SMALL, about, small=True)
            fault = yield from self._answer(made)
            view = view_without_named(shown, self._fault, fault, self._given.policies)
            if view is None:
                return fault is None or fault.kind is FaultKind.REFUSAL
            shown = with_view(shown, view)

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

    def _probe(
        self, shown: Snapshot, question: str, about: Question, *, small: bool = False
    ) -> Probe:
        request, policies = self._request(shown, small=small), self._given.policies
        return Probe(
            request, question, about, self._fault, shown, policies, small=small
        )

    def _request(self, shown: Snapshot, *, small: bool) -> Request:
        make = requests.small if small else requests.trial
        return make(shown, self._turn, definite=self._definite, stream=self._stream)

    def _is_witness(self, snapshot: Snapshot) -> Asking[bool]:
        """Whether a count says no to what a message was refused for, and to that only:
        it does for the same kind of reason, and not to everything."""
        if not self._fault.definite:
            return False
        fault = yield Count(self._request(snapshot, small=False))
        if fault is None or fault.kind is not self._fault.kind:
            return False
        return (yield Count(self._request(snapshot, small=True))) is None

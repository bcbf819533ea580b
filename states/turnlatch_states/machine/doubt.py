"""When the conversation itself is suspected of a failure, and what proves it.

A failure that may pass, a refusal by the model or a word about credentials does not say
that a part of the conversation is to blame. It may all the same: a filter resets the
connection, a classifier declines, a proxy answers in the service's place. The evidence that
distinguishes the two is counted here, by the kind of fault, over turns and reloads.

The evidence is an alternation: the request as it is failed, and a shorter one of the
same kind (same endpoint, model, settings, tools, limit and streaming) passed after the
wait that was asked for. Where failures are random with likelihood p, one alternation has
the likelihood p(1-p), at most 1/4 whatever p is, and n in a row have at most 1/4^n.
"""

from collections.abc import Iterable, Mapping
from typing import Final, final

import attrs

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.request.view import View


@final
@attrs.frozen
class SuspicionRule:
    """The evidence needed, for one kind of fault, to act upon a suspicion.

    Attributes:
        after: Equal failures in a row, in whatever turns, before anything is asked.
        alternations: Alternations in a row before a part is searched for.
        repeats: How often a trial must fail before it counts as refused.
        lasting: Alternations after which what was found is left out for good. Until
            then each request is sent with everything first.
    """

    after: int
    alternations: int
    repeats: int
    lasting: int


SUSPECT_AFTER: Final = 4
"""Failures in a row before comparable short requests are sent as well."""

SUSPECT_AFTER_NO: Final = 2
"""The same where the answer says that it will stay: the server says not to retry, or
something else than the service said no."""

ALTERNATIONS: Final = 5
"""Alternations that start a search: random failures are fooled by less than one in a
thousand (1/4^5), and with the failures before them and those of the search by far less.
With the default policy they fit into the attempts of one turn."""

LASTING: Final = 12
"""Alternations in a row that make a view last: 1/4^12 is less than one in ten million.
Those of the search count, and so does each later request that fails with everything and
then passes under the view at the first try; one that fails under it ends the row."""

_PASSING: Final = SuspicionRule(SUSPECT_AFTER, ALTERNATIONS, 2, LASTING)
_WORLD: Final = SuspicionRule(SUSPECT_AFTER_NO, ALTERNATIONS, 1, LASTING)

RULES: Final[Mapping[FaultKind, SuspicionRule]] = {
    FaultKind.TRANSIENT: _PASSING,
    # A refusal is not an outage, but the model may decline by chance.
    FaultKind.REFUSAL: SuspicionRule(2, 0, 2, 4),
    # A fault that names credentials, credit or a model may come from a content filter.
    FaultKind.AUTH: _WORLD,
    FaultKind.BILLING: _WORLD,
    FaultKind.MODEL_GONE: _WORLD,
    # Said in the service's place; what the service says itself is definite: `rule_of`.
    FaultKind.INVALID: SuspicionRule(SUSPECT_AFTER_NO, 3, 1, LASTING),
}
"""The rule of each kind that can hang on the content and need not."""


def rule_of(fault: Fault) -> SuspicionRule | None:
    """The rule for a fault; None for one that cannot hang on the content, and for a
    definite refusal, which needs no such proof: one trial suffices, and what is found
    lasts."""
    return None if fault.definite else RULES.get(fault.kind)


@final
@attrs.frozen
class Doubt:
    """The evidence that the conversation causes one kind of failure.

    Attributes:
        kind: The kind of fault.
        status: Its HTTP status; None where there was no answer.
        met: How often the request as it is failed so, in a row.
        alternations: How often it failed so and a comparable one then passed, in turn.
        well: What the comparable one came to since the last failure; None: not asked.
        alike: The comparable one failed in the same way.
        hint: Seconds the server asked to wait when it failed.
    """

    kind: FaultKind
    status: int | None
    met: int = 0
    alternations: int = 0
    well: bool | None = None
    alike: bool = False
    hint: float | None = None

    def of(self, fault: Fault) -> bool:
        """True if a fault is of the same sort."""
        return (fault.kind, fault.status) == (self.kind, self.status)

    def failed(self) -> "Doubt":
        """The request as it is failed once more."""
        return attrs.evolve(self, met=self.met + 1, well=None, alike=False, hint=None)

    def answered(self, fault: Fault | None) -> "Doubt":
        """The comparable one passed (None), or met a fault: then nothing is proved."""
        if fault is None:
            gained = self.well is None
            return attrs.evolve(
                self, well=True, alternations=self.alternations + gained
            )
        hint, alike = fault.hint, self.of(fault)
        return attrs.evolve(self, well=False, alternations=0, alike=alike, hint=hint)

    def after(self, fault: Fault) -> int:
        """How many failures in a row it takes before anything is asked."""
        most = RULES[self.kind].after
        says_so = fault.retry_refused or fault.status == 403
        return min(most, SUSPECT_AFTER_NO) if says_so else most


@final
@attrs.frozen
class Found:
    """A view that trials have shown to pass where the conversation as it is does not.

    Attributes:
        view: How the conversation is shown then.
        kind: The kind of fault that it is shown so for.
        status: Its HTTP status.
        proofs: Alternations in a row that speak for it so far.
    """

    view: View
    kind: FaultKind
    status: int | None
    proofs: int = 0

    def of(self, fault: Fault) -> bool:
        """True if a fault is of the sort that the view is for."""
        return (fault.kind, fault.status) == (self.kind, self.status)

    @property
    def lasts(self) -> bool:
        """True if it is proved well enough to last."""
        return self.proofs >= RULES[self.kind].lasting


def suspicious(fault: Fault) -> bool:
    """True if a fault can hang on what was sent, and has a rule.

    A request that never reached a server (no connection) proves nothing.
    """
    if rule_of(fault) is None:
        return False
    return fault.status is not None or fault.outcome_unknown


def doubt_of(doubts: Iterable[Doubt], fault: Fault) -> Doubt | None:
    """What speaks for it that this fault is the conversation's own; None: nothing."""
    return next((one for one in doubts if one.of(fault)), None)


def failed(doubts: tuple[Doubt, ...], fault: Fault) -> tuple[Doubt, ...]:
    """The doubts once a request has failed.

    A fault of the same kind and another sort ends the row of those before it: what
    fails now in this way and now in that is rather the server's bad moment.
    """
    others = tuple(one for one in doubts if one.kind is not fault.kind)
    if not suspicious(fault):
        return others
    known = doubt_of(doubts, fault) or Doubt(fault.kind, fault.status)
    return (*others, known.failed())


def answered(
    doubts: tuple[Doubt, ...], kind: FaultKind, fault: Fault | None
) -> tuple[Doubt, ...]:
    """The doubts once a comparable request has passed, or met a fault."""
    return tuple(one.answered(fault) if one.kind is kind else one for one in doubts)


def settled(doubts: tuple[Doubt, ...], kind: FaultKind) -> tuple[Doubt, ...]:
    """The doubts once a search for one kind has found nothing: its count restarts."""
    return tuple(one for one in doubts if one.kind is not kind)

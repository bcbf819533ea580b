"""A rung of a ladder: one remedy, when it applies, and how often it may be taken."""

from collections.abc import Callable
from typing import Final, final

import attrs

from turnlatch_states.api.faults import SUSPENDING, Fault
from turnlatch_states.api.models import prefix_bound
from turnlatch_states.machine.doubt import Doubt, doubt_of
from turnlatch_states.machine.remedy import SAYS, Remedy
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.recovery.decisions import ChangeRequest, Decision
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.request.view import DropBound, Op, View

MALFORMED_MAX: Final = 3
"""Replies in a row that are malformed in the same way; after them nothing is waited for."""


@final
@attrs.frozen
class Failure:
    """A turn that failed, with everything that a rung may read.

    Attributes:
        snapshot: The conversation.
        turn: Its current turn.
        fault: The fault to answer.
        policies: The caller's policies for faults.
        draw: A random number in [0, 1).
    """

    snapshot: Snapshot
    turn: Turn
    fault: Fault
    policies: Policies
    draw: float = 0.0

    @property
    def doubt(self) -> Doubt | None:
        """The evidence against the conversation itself, once it suffices to act on it.

        `doubt.RULES` says how many equal failures in a row suffice. A wait that the
        server asks for comes first if it is too long to wait here. A caller who called
        retry() on a suspended turn asked for one request, so nothing else is sent. A
        request for a summary is not comparable.
        """
        doubt = doubt_of(self.snapshot.doubts, self.fault)
        if doubt is None or doubt.met < doubt.after(self.fault):
            return None
        if self.turn.compacting is not None or self.hint_exceeds(self.fault):
            return None
        retried = self.fault.kind in SUSPENDING and self.turn.granted
        return None if retried else doubt

    @property
    def fault_with_hint(self) -> Fault:
        """The fault, with the longer wait of those that its answer and the last short
        request's answer asked for."""
        doubt = doubt_of(self.snapshot.doubts, self.fault)
        if doubt is None or doubt.hint is None:
            return self.fault
        hint = max(doubt.hint, self.fault.hint or 0.0)
        return attrs.evolve(self.fault, retry_after=hint)

    def hint_exceeds(self, fault: Fault) -> bool:
        """True if the server asks to wait longer than the policy lets a turn wait."""
        return (fault.hint or 0.0) > self.policies.retry.hint_max_seconds

    def backoff(self) -> float | None:
        """Seconds until the same request may be sent again; None to send it no more."""
        if self.turn.alike >= MALFORMED_MAX:
            return None
        retry, failures = self.policies.retry, self.turn.failures
        return retry.wait(self.fault_with_hint, failures, self.draw)

    def pause(self) -> float:
        """Seconds to leave the server alone before another request; 0 after a refusal."""
        if not self.fault.may_pass:
            return 0.0
        return self.policies.retry.pause(self.fault, self.turn.failures, self.draw)

    def tried(self, remedy: Remedy) -> int:
        """How often a remedy was chosen since the last confirmed reply or retry()."""
        return self.turn.tried.count(remedy)

    def change(
        self,
        remedy: Remedy,
        view: View | None = None,
        *,
        max_tokens: int | None = None,
    ) -> ChangeRequest:
        """The decision to change the request because of this fault."""
        return ChangeRequest(remedy, self.fault.message, view, max_tokens)

    def view_with(self, *ops: Op) -> View:
        """The current view with more operations on the history, and the one that lets
        the server drop thinking that is bound to a changed history."""
        return self.snapshot.showing.adding(*ops, *unbound(self.snapshot))

    def lent(self, made: ChangeRequest) -> ChangeRequest:
        """A change for a fault that may pass: after a pause, and only while it lasts."""
        return attrs.evolve(made, seconds=self.pause(), passing=True)


def unbound(snapshot: Snapshot) -> tuple[Op, ...]:
    """The operation that must accompany a changed history on models that bind thinking
    to it; nothing on others."""
    return (DropBound(),) if prefix_bound(snapshot.profile.model) else ()


@final
@attrs.frozen
class Rung:
    """One rung of a ladder.

    Attributes:
        remedy: The remedy that it applies.
        propose: The decision, or None if the rung does not apply. Pure.
        at_most: How often it may be taken since the last confirmed reply or retry(); it
            is passed over from then on. None where `note` says what else bounds it.
        note: When it applies and what else bounds it, in words.
        becomes: Remedies that its trials may find instead; they are recorded then.
    """

    remedy: Remedy
    propose: Callable[[Failure], Decision | None]
    at_most: int | None = None
    note: str = ""
    becomes: tuple[Remedy, ...] = ()

    @property
    def says(self) -> str:
        """Its remedy, in words."""
        return SAYS[self.remedy]

    @property
    def often(self) -> str:
        """How often it is taken and when, in words."""
        if self.at_most is None:
            return self.note
        times = {1: "once", 2: "at most twice"}.get(
            self.at_most, f"at most {self.at_most} times"
        )
        return f"{times}; {self.note}" if self.note else times

    def decision(self, failure: Failure) -> Decision | None:
        """Its decision; None if it does not apply or was taken as often as allowed."""
        if self.at_most is not None and failure.tried(self.remedy) >= self.at_most:
            return None
        return self.propose(failure)


def first_decision(
    rungs: tuple[Rung, ...], failure: Failure
) -> tuple[Rung, Decision] | None:
    """The first rung that applies, with its decision; None if none does."""
    for rung in rungs:
        made = rung.decision(failure)
        if made is not None:
            return rung, made
    return None

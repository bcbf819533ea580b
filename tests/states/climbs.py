"""The ladders as the driver climbs them, without a driver: decisions, one after another.

What `turnlatch.runtime.requests` and `turnlatch.runtime.recovery` do about a turn is done here in the same
order, with `step` and the decisions of the core, against a service that is a function.
"""

from collections.abc import Callable
from typing import TypeAlias, final

import attrs
from tests.states.talks import Talk

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.commands import (
    ConsiderRetry,
    ContinueTurn,
    Prepare,
    Rest,
    SendRequest,
)
from turnlatch_states.machine.doubt import rule_of
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.machine.step import orders, step
from turnlatch_states.machine.thread import choose_copy
from turnlatch_states.machine.turn import TurnState
from turnlatch_states.recovery.bisect import Bisection, under
from turnlatch_states.recovery.budget import Budget
from turnlatch_states.recovery.cache_guard import prefix_change
from turnlatch_states.recovery.context_window import boundary, piece_bytes, prepare
from turnlatch_states.recovery.decide import decide
from turnlatch_states.recovery.decisions import (
    BisectHistory,
    ChangeRequest,
    Compact,
    Decision,
    PingServer,
    Stop,
    Suspend,
    WaitThenRetry,
)
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.recovery.probes import anew, aside, otherwise, verdict
from turnlatch_states.request.build import Copy, betas, build
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.render import base_in_force
from turnlatch_states.request.summary import summary_text, told_body
from turnlatch_states.request.view import COMPACT_BETA, THREADS_BETA, View


@final
@attrs.frozen
class Sent:
    """One request, as the service sees it.

    Attributes:
        what: `message`, `summary`, `told`, `small` or `trial`.
        body: Its bytes.
        names: Its beta names.
    """

    what: str
    body: bytes
    names: tuple[str, ...]


Service: TypeAlias = Callable[[Sent], Fault | None]
"""What refuses a request, or None to answer it."""


@final
class Climb:
    """One turn that is being climbed out of, or not."""

    def __init__(
        self, talk: Talk, service: Service, policies: Policies | None = None
    ) -> None:
        self.talk = talk
        self.before = talk.snapshot
        self.alternations = max(
            (doubt.alternations for doubt in talk.snapshot.doubts), default=0
        )
        self.service = service
        self.policies = policies or Policies()
        self.budget = Budget()
        self.decisions: list[Decision] = []
        self.sent: list[Sent] = []
        self.refused: dict[Sent, Fault] = {}
        self.again: list[Decision] = []
        self.waited: list[float] = []
        self.without: frozenset[Remedy] = frozenset()
        self.decides: Callable[[], Decision] = self._decided

    @property
    def snapshot(self) -> Snapshot:
        """Where the conversation stands."""
        return self.talk.snapshot

    @property
    def turn(self) -> Turn:
        """The turn that is being climbed out of."""
        return self.talk.turn

    def do(self, event: Event) -> None:
        """What happens, through the machine."""
        self.talk.snapshot = step(self.talk.snapshot, event).snapshot

    def run(self, most: int = 500) -> "Climb":
        """Do what the machine orders until the turn rests."""
        for _ in range(most):
            if not self._perform():
                return self
        raise AssertionError(f"no end after {most} orders: {self.told[-12:]}")

    @property
    def told(self) -> list[str]:
        """The decisions, by name."""
        return [
            f"{type(one).__name__}"
            + (f" {one.remedy}" if isinstance(one, ChangeRequest) else "")
            + (f" {one.method}" if isinstance(one, Compact) else "")
            for one in self.decisions
        ]

    def _perform(self) -> bool:
        (command,) = orders(self.snapshot) or (Rest(),)
        match command:
            case Prepare():
                self._prepare(command.purpose)
            case SendRequest():
                self.sends(command)
            case ContinueTurn():
                self.do(ev.TurnContinued(command.turn))
            case ConsiderRetry():
                return self.considers()
            case _:
                return False
        return True

    # As `turnlatch.runtime.requests` does it.

    def _prepare(self, purpose: Purpose) -> None:
        turn = self.turn
        if self.budget.spent(turn, 0.0) is not None:
            self._fail(Fault(FaultKind.BUDGET, "spent"))
            return
        if purpose is Purpose.COMPACTION:
            covers = boundary(self.snapshot)
            if turn.calls or covers <= self.snapshot.covered:
                self._fail(Fault(FaultKind.LOCAL, "nothing to summarise"))
                return
            unsigned = COMPACT_BETA in self.snapshot.showing.unnamed
            told = unsigned or Remedy.SKIP in turn.tried
            method = Method.TOLD if told else Method.SIGNED
            self._compact(Compact(covers, method))
            return
        made = prepare(self.snapshot, self.policies.compaction)
        if isinstance(made, Compact):
            self._compact(made)
        elif made is not None:
            self._choose(made)
        else:
            prefix_change(self.snapshot)
            self.do(ev.RequestSent(turn.number, turn.attempt + 1, self._copy()))

    def _copy(self) -> Copy:
        turn = self.turn
        return choose_copy(
            self.snapshot.thread,
            self.snapshot.profile.threads,
            on_trial=turn.trial is not None or Remedy.REPLAY in turn.tried,
            unthreaded=Remedy.UNTHREAD in turn.remedies
            or THREADS_BETA in self.snapshot.showing.unnamed,
        )

    def _fail(self, fault: Fault) -> None:
        self.do(ev.TurnFailed(self.turn.number, self.turn.attempt, fault))

    def _choose(self, made: ChangeRequest) -> None:
        self.talk.chooses(made)

    def _go_on(self, made: ChangeRequest) -> None:
        self._choose(made)
        self.do(ev.TurnRetried(self.turn.number, asked=False))
        changing = made.view is not None or made.max_tokens is not None
        if changing and self._message(self._copy()) in self.refused:
            self.again.append(made)

    def _compact(self, made: Compact) -> None:
        turn = self.turn
        too_long = turn.fault is not None and turn.fault.kind is FaultKind.TOO_LONG
        if turn.state == TurnState.FAILED and not too_long:
            self._go_on(ChangeRequest(Remedy.COMPACT, "no room"))
        self.do(
            ev.CompactionSent(turn.number, turn.attempt + 1, made.covers, made.method)
        )

    def _message(self, copy: Copy) -> Sent:
        snapshot, turn = self.snapshot, self.turn
        body = build(
            snapshot.profile,
            snapshot.history,
            snapshot.base,
            turn.staged,
            view=snapshot.showing,
            copy=copy,
            max_tokens=turn.max_tokens,
        )
        names = betas(
            snapshot.profile,
            snapshot.base,
            Purpose.MESSAGE,
            view=snapshot.showing,
            copy=copy,
        )
        return Sent("message", body, names)

    def _summary(self) -> Sent:
        snapshot, made = self.snapshot, self.turn.compacting
        assert made is not None
        view, history = snapshot.showing, snapshot.history
        if made.method is Method.TOLD:
            base = base_in_force(view, snapshot.base)
            body = told_body(
                snapshot.profile,
                history,
                summary_text(base.block, base.method) if base else "",
                snapshot.covered,
                made.covers,
                bytes_max=piece_bytes(snapshot, self.policies.compaction),
            )
            return Sent("told", body, snapshot.profile.betas)
        body = build(
            snapshot.profile,
            history.until(made.covers),
            snapshot.base,
            b"",
            view=view.until(made.covers),
            purpose=Purpose.COMPACTION,
        )
        names = betas(snapshot.profile, snapshot.base, Purpose.COMPACTION, view=view)
        return Sent("summary", body, names)

    def sends(self, order: SendRequest | None = None) -> None:
        """Send what was announced, and report how that ended."""
        order = order or next(
            one for one in orders(self.snapshot) if isinstance(one, SendRequest)
        )
        summary = order.purpose is Purpose.COMPACTION
        request = self._summary() if summary else self._message(self.turn.copy)
        known = self.refused.get(request)
        if known is not None:
            self._fail(known)
            return
        fault = self._asks(request)
        if fault is not None:
            if fault.definite:
                self.refused[request] = fault
            self._fail(fault)
        elif summary:
            told = request.what == "told"
            block = {"type": "text", "text": "In short."}
            if not told:
                block = {"type": "compaction", "content": "In short."}
            stop = "end_turn" if told else "compaction"
            facts = {"id": "msg_s", "stop_reason": stop}
            reply = Reply(encode(block), encode(facts))
            self.do(ev.CompactionConfirmed(order.turn, order.attempt, reply))
        else:
            self.talk.replies("end_turn", {"type": "text", "text": "At last."})

    def _asks(self, request: Sent) -> Fault | None:
        self.sent.append(request)
        return self.service(request)

    # As `turnlatch.runtime.recovery` does it.

    def considers(self) -> bool:
        """Do what the ladder of the fault says; False to rest in failed."""
        turn = self.turn
        decision = self.decides()
        if self.budget.spent(turn, 0.0) is not None:
            decision = Stop()
        self.decisions.append(decision)
        match decision:
            case WaitThenRetry():
                self._waits(decision.seconds)
                self.do(ev.TurnRetried(turn.number, asked=False))
                return True
            case ChangeRequest():
                if decision.seconds:
                    self._waits(decision.seconds)
                self._go_on(decision)
                return True
            case Compact():
                self._compact(decision)
                return True
            case PingServer():
                self._waits(decision.seconds)
                fault = self._asks(Sent("small", b"small", ()))
                about = ev.Question.SMALL
                asked = ev.Probed(turn.number, "small", fault is None, about, fault)
                self.do(asked)
                return True
            case BisectHistory():
                return self._search(turn)
            case Suspend():
                if decision.fault is not None:
                    self.do(ev.RetryCancelled(turn.number, decision.fault))
                if turn.suspended is None:
                    self.do(ev.TurnSuspended(turn.number, decision.why, None))
                return self._rest(turn)
            case Stop():
                return self._rest(turn)

    def _waits(self, seconds: float) -> None:
        self.waited.append(seconds)
        turn = self.turn
        self.do(ev.RetryScheduled(turn.number, turn.failures, seconds, 1.0))

    def _decided(self) -> Decision:
        made = decide(self.snapshot, self.policies, 0.5)
        match made:
            case ChangeRequest() if made.remedy in self.without:
                return Stop()
            case Compact() if Remedy.COMPACT in self.without:
                return Stop()
            case _:
                return made

    def _rest(self, turn: Turn) -> bool:
        if turn.due is not None or turn.ready:
            self.do(ev.RetryCancelled(turn.number))
        return False

    def _trial(self, shown: Snapshot) -> Fault | None:
        view = shown.showing
        body = build(
            shown.profile,
            shown.history,
            shown.base,
            self.turn.staged,
            view=view,
            max_tokens=1,
        )
        names = betas(shown.profile, shown.base, Purpose.MESSAGE, view=view)
        return self._asks(Sent("trial", body, names))

    def _search(self, turn: Turn) -> bool:
        snapshot = self.snapshot
        assert turn.fault is not None
        if Remedy.BISECT in turn.tried:
            return self._rest(turn)  # nothing was counted
        passing = rule_of(turn.fault) is not None
        unknown = turn.fault.kind in (FaultKind.INVALID, FaultKind.BLOCK)
        if not unknown:
            snapshot = anew(snapshot, self.policies)
        search = Bisection.of(snapshot, words=not unknown)
        while (view := search.trial) is not None:
            if self.budget.spent(self.turn, 0.0) is not None:
                return self._rest(self.turn)
            shown = under(search.snapshot, view)
            fault = self._trial(shown)
            passed = verdict(turn.fault, fault)
            other = fault and aside(shown, turn.fault, fault, self.policies)
            if passed is None and other is None:
                return self._rest(self.turn)
            self.do(ev.Probed(turn.number, f"{search.phase}", passed is True))
            search = search.anew(other) if other else search.told(passed is True)
        if search.found is not None:
            said = "as trials have shown"
            made = ChangeRequest(Remedy.BISECT, said, search.found, passing=passing)
            self._go_on(made)
            return True
        if not search.blames_words and self._otherwise(search.snapshot, turn.fault):
            return True
        if passing:
            about = ev.Question.SEARCH
            self.do(ev.Probed(turn.number, "all trials", False, about))
        return self._rest(self.turn)

    def _otherwise(self, snapshot: Snapshot, fault: Fault) -> bool:
        for left in otherwise(snapshot, fault):
            if left.view is None or not self._tries(snapshot, fault, left.view):
                continue
            if self._tries(snapshot, fault, snapshot.showing) is not False:
                break
            self._go_on(attrs.evolve(left, passing=rule_of(fault) is not None))
            return True
        return False

    def _tries(self, snapshot: Snapshot, fault: Fault, view: View) -> bool | None:
        passed = verdict(fault, self._trial(under(snapshot, view)))
        self.do(ev.Probed(self.turn.number, "it otherwise", passed is True))
        return passed

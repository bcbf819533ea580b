"""Requests: what has to be done before one, sending it, and what follows its failure.

The core decides (`prepare`, `decide`); this file builds, sends, asks, waits, and reports.
"""

import contextlib
from collections.abc import Callable, Generator
from hashlib import sha256
from typing import Any, cast, final

from turnlatch.hooks import CompactionDone, CompactionPlan, Verdict
from turnlatch.logs import LOG_CALLER
from turnlatch.ports import Delta, RequestFailedError
from turnlatch.runtime.preflight import staged_fault
from turnlatch.runtime.pricing import budgeted
from turnlatch.runtime.record import Record
from turnlatch.tasks import answered
from turnlatch.watching.publish import narrate_delta
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply
from turnlatch_states.api.resendable import mended
from turnlatch_states.api.stop_reasons import Outcome, outcome, unusable_summary
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.commands import SendRequest
from turnlatch_states.machine.context_size import context
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.server_copy import provable, unproved
from turnlatch_states.machine.snapshot import Compacting, Snapshot, Turn
from turnlatch_states.machine.thread import choose_copy
from turnlatch_states.machine.turn import TurnState
from turnlatch_states.recovery.budget import Budget
from turnlatch_states.recovery.context_window import boundary, piece_bytes, prepare
from turnlatch_states.recovery.decide import cut_off
from turnlatch_states.recovery.decisions import ChangeRequest, Compact
from turnlatch_states.recovery.known_bad import known_in_own, without_known
from turnlatch_states.request.build import Request, betas, build
from turnlatch_states.request.history import Base, Method, told_block
from turnlatch_states.request.preflight import INSTRUCTIONS_MAX
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.render import base_in_force
from turnlatch_states.request.summary import (
    summary_text,
    told_body,
    too_large,
    unusable_told,
)
from turnlatch_states.request.view import COMPACT_BETA, THREADS_BETA

_GRACE_SECONDS = 1.0
"""How long a hook that was stopped may take to come to its end."""


@final
class Sender:
    """Sends the requests of one conversation."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._refused: dict[bytes, Fault] = {}
        self._seconds = 0.0  # of work since somebody last asked for it
        self._since: float | None = None
        self._instructions: str | None = None

    # Before a request.

    async def prepare(self, purpose: Purpose) -> None:
        """Do what has to be done before the next request, announce it, or fail."""
        turn = self._record.turn
        spent = self.budget.spent(turn, self.seconds)
        if spent is not None:
            said = f"{spent}; retry() grants as much again"
            return self._fail(Fault(FaultKind.BUDGET, said))
        if purpose is Purpose.COMPACTION:
            return await self._prepare_summary(turn)
        snapshot, policy = self._record.snapshot, self._record.world.policies.compaction
        made = without_known(snapshot) or prepare(snapshot, policy)
        if isinstance(made, Compact):
            return await self.compact(made, asked=False)
        if made is not None:
            return self.choose(made)
        fault = known_in_own(snapshot) or staged_fault(snapshot)
        if fault is not None:
            return self._fail(fault)
        snapshot = self._record.snapshot
        copy = choose_copy(
            snapshot.thread,
            snapshot.profile.threads,
            on_trial=turn.trial is not None or Remedy.REPLAY in turn.tried,
            unthreaded=Remedy.UNTHREAD in turn.remedies
            or THREADS_BETA in snapshot.showing.unnamed,
            provable=provable(snapshot),
        )
        self._record.apply(ev.RequestSent(turn.number, turn.attempt + 1, copy))
        return None

    @contextlib.contextmanager
    def timed(self) -> Generator[None]:
        """Count the time of this block as time of the turn.

        Between two of them the turn rests: a person decides, or somebody has to ask.
        """
        self._since = self._record.world.clock.monotonic()
        try:
            yield
        finally:
            self._seconds = self.seconds
            self._since = None

    def grant(self) -> None:
        """Somebody asked for the turn, or asked again: it has all its time from here.

        What was refused may be sent once more, too: who asks again has decided that it
        is worth it.
        """
        self._seconds = 0.0
        if self._since is not None:
            self._since = self._record.world.clock.monotonic()
        self._refused.clear()

    @property
    def seconds(self) -> float:
        """How long the turn was at work since it was begun, or was asked again."""
        if self._since is None:
            return self._seconds
        return self._seconds + self._record.world.clock.monotonic() - self._since

    @property
    def budget(self) -> Budget:
        """What the turn may cost, with the prices of what it has used."""
        record = self._record
        model = record.snapshot.profile.model
        return budgeted(record.world.limits, model, record.turn.charges)

    def _fail(self, fault: Fault) -> None:
        turn = self._record.turn
        self._record.apply(ev.TurnFailed(turn.number, turn.attempt, fault))

    def choose(self, made: ChangeRequest) -> None:
        """Note what the next request will do otherwise."""
        turn = self._record.turn
        self._record.apply(
            ev.RemedyChosen(
                turn.number,
                made.remedy,
                made.why,
                made.view,
                made.max_tokens,
                made.passing,
            )
        )

    def go_on(self, made: ChangeRequest) -> None:
        """Choose a remedy for a turn that failed, and go on with it."""
        self.choose(made)
        self._record.apply(ev.TurnRetried(self._record.turn.number, asked=False))

    async def wait(self, seconds: float) -> bool:
        """Wait, visibly and durably, with a turn that failed; False, and suspend it,
        where its wall time ends before."""
        record, turn = self._record, self._record.turn
        bound = record.world.limits.budget.seconds
        due = record.world.clock.now() + seconds
        if bound is not None and self.seconds + seconds >= bound:
            said = f"a wait of {seconds:g} s is longer than what is left of its {bound:g} s"
            record.apply(ev.TurnSuspended(turn.number, said, due))
            return False
        most = record.world.policies.retry.attempts_max
        record.apply(ev.RetryScheduled(turn.number, turn.failures, seconds, due, most))
        await record.save()
        await record.world.clock.sleep(seconds)
        return True

    def pause_after(self, fault: Fault, failed: int) -> float:
        """How long to wait after a trial that failed, and so many in a row before."""
        world = self._record.world
        return world.policies.retry.pause(fault, failed, world.ids.draw())

    # Summaries.

    async def _prepare_summary(self, turn: Turn) -> None:
        """What a turn that only compacts does next."""
        snapshot = self._record.snapshot
        if turn.calls:
            said = (
                "tool results wait to be sent, and a summary must not part them from"
                " their calls: send a message first"
            )
            return self._fail(Fault(FaultKind.LOCAL, said))
        covers = boundary(snapshot)
        if covers <= snapshot.covered:
            said = "nothing was said since the last summary"
            return self._fail(Fault(FaultKind.LOCAL, said))
        unsigned = COMPACT_BETA in snapshot.showing.unnamed
        told = unsigned or Remedy.SKIP in turn.tried
        method = Method.TOLD if told else Method.SIGNED
        return await self.compact(Compact(covers, method), asked=True)

    async def compact(self, made: Compact, *, asked: bool) -> None:
        """Ask for a summary, unless the caller's hook will not have it."""
        record = self._record
        snapshot, turn = record.snapshot, record.turn
        plan = _plan(snapshot, turn, made.covers, made.method, asked)
        verdict = await self._before(plan)
        if verdict is False:
            said = "the hook before the compaction said no"
            if asked:
                return self._fail(Fault(FaultKind.LOCAL, said))
            if record.turn.state == TurnState.FAILED:
                return self.go_on(ChangeRequest(Remedy.SKIP, said))
            return self.choose(ChangeRequest(Remedy.SKIP, said))
        policy = record.world.policies.compaction
        told = verdict if isinstance(verdict, str) and verdict else None
        self._instructions = told or policy.instructions
        turn = record.turn
        if turn.state == TurnState.FAILED and not self._too_long(turn):
            self.go_on(ChangeRequest(Remedy.COMPACT, str(turn.fault)))
        record.apply(
            ev.CompactionSent(turn.number, turn.attempt + 1, made.covers, made.method)
        )
        return None

    def _too_long(self, turn: Turn) -> bool:
        return turn.fault is not None and turn.fault.kind is FaultKind.TOO_LONG

    async def _before(self, plan: CompactionPlan) -> Verdict:
        hook = self._record.world.before_compaction
        if hook is None:
            return None
        try:
            said: object = await self._heard(hook, plan)
        except (
            Exception,
            SystemExit,
        ):  # a hook that fails must not cost the conversation its room
            LOG_CALLER.exception("the hook before a compaction failed; it goes on")
            return None
        if said is None or isinstance(said, bool):
            return said
        if isinstance(said, str) and len(said) <= INSTRUCTIONS_MAX:
            return mended(said)
        LOG_CALLER.error(
            "the hook before a compaction gave a %s, not True, False, None or text of up"
            " to %d characters; it goes on as if there were no hook",
            type(said).__name__,
            INSTRUCTIONS_MAX,
        )
        return None

    async def _heard(self, hook: Callable[[Any], Any], told: object) -> object:
        """What a hook says within its time; everything is saved before it is asked."""
        await self._record.save()
        return await answered(
            hook,
            told,
            seconds=self._record.world.limits.hook_seconds_max,
            grace_seconds=_GRACE_SECONDS,
        )

    async def _after(self, before: Snapshot) -> None:
        hook = self._record.world.after_compaction
        turn, base = before.turn, self._record.snapshot.base
        if hook is None or turn is None or turn.compacting is None or base is None:
            return
        asked = turn.purpose is Purpose.COMPACTION
        plan = _plan(before, turn, base.covers, base.method, asked)
        size = before.history.bytes_of(before.covered, base.covers)
        text = summary_text(base.block, base.method)
        try:
            await self._heard(hook, CompactionDone(plan, text, size, len(base.block)))
        except (
            Exception,
            SystemExit,
        ):  # the summary is in force whatever the hook thinks
            LOG_CALLER.exception(
                "the hook after a compaction failed; the summary is in force"
            )

    # Requests.

    def request(self, *, stream: bool) -> Request:
        """The request of the current attempt, byte for byte as it is sent."""
        snapshot, turn = self._record.snapshot, self._record.turn
        if turn.state == TurnState.COMPACTING and turn.compacting is not None:
            return self._summary_request(snapshot, turn, turn.compacting)
        stream = self.streams(stream)
        body = build(
            snapshot.profile,
            snapshot.history,
            snapshot.base,
            turn.staged,
            view=snapshot.showing,
            copy=turn.copy,
            max_tokens=turn.max_tokens,
            stream=stream,
        )
        names = betas(
            snapshot.profile,
            snapshot.base,
            Purpose.MESSAGE,
            view=snapshot.showing,
            copy=turn.copy,
        )
        purpose = Purpose.MESSAGE
        return Request(turn.number, turn.attempt, purpose, body, names, stream)

    def streams(self, asked: bool) -> bool:
        """Whether the reply to a message is asked for as a stream."""
        snapshot, turn = self._record.snapshot, self._record.turn
        limit = self._record.world.limits.stream_above_tokens
        # What may take long is streamed, so that silence can be told from work.
        return asked or (turn.max_tokens or snapshot.profile.max_tokens) > limit

    def _summary_request(
        self, snapshot: Snapshot, turn: Turn, made: Compacting
    ) -> Request:
        purpose = Purpose.COMPACTION
        view = snapshot.showing
        policy = self._record.world.policies.compaction
        if made.method is Method.TOLD:
            base = base_in_force(view, snapshot.base)
            so_far = summary_text(base.block, base.method) if base else ""
            body = told_body(
                snapshot.profile,
                snapshot.history,
                so_far,
                snapshot.covered,
                made.covers,
                bytes_max=piece_bytes(snapshot, policy),
                instructions=self._instructions,
            )
            names = snapshot.profile.betas
            return Request(turn.number, turn.attempt, purpose, body, names, True)
        body = build(
            snapshot.profile,
            snapshot.history.until(made.covers),
            snapshot.base,
            b"",
            view=view.until(made.covers),
            purpose=purpose,
            instructions=self._instructions,
            stream=True,
        )
        names = betas(snapshot.profile, snapshot.base, purpose, view=view)
        return Request(turn.number, turn.attempt, purpose, body, names, True)

    async def send(self, order: SendRequest, *, stream: bool) -> None:
        """Send the request of the current attempt, and report how it ended."""
        record = self._record

        def report(delta: Delta) -> None:
            narrate_delta(record.feed, order.turn, order.attempt, delta)

        request = self.request(stream=stream)
        if self._refused:
            known = self._refused.get(_digest(request))
            if known is not None:  # it is not sent again; the ladder is climbed on
                return self._fail(known)
        try:
            reply = await record.world.model.send(request, report)
        except RequestFailedError as error:
            if error.fault.definite:
                self._refused[_digest(request)] = error.fault
            record.apply(ev.TurnFailed(order.turn, order.attempt, error.fault))
            return None
        before = record.snapshot
        record.apply(self._verdict(order, reply))
        if record.snapshot.bases is not before.bases:
            await self._after(before)
        return None

    def _verdict(self, order: SendRequest, reply: Reply) -> Event:
        """What a whole reply is to the machine: confirmed, or a fault."""
        if order.purpose is Purpose.COMPACTION:
            problem = self._no_summary(reply)
            if problem is None:
                return ev.CompactionConfirmed(order.turn, order.attempt, reply)
            id_, spent = reply.request_id, reply.usage
            fault = Fault(FaultKind.COMPACTION, problem, request_id=id_, spent=spent)
            return ev.TurnFailed(order.turn, order.attempt, fault)
        refused = _unacceptable(self._record.snapshot, reply)
        if refused is not None:
            return ev.TurnFailed(order.turn, order.attempt, refused)
        return ev.ReplyConfirmed(order.turn, order.attempt, reply)

    def _no_summary(self, reply: Reply) -> str | None:
        snapshot, made = self._record.snapshot, self._record.turn.compacting
        if made is None:
            return "no summary was asked for"
        if made.method is Method.SIGNED:
            problem, block = unusable_summary(reply), reply.content
        else:
            problem, block = unusable_told(reply), told_block(reply.text)
        if problem is not None:
            return problem
        base: Base | None = base_in_force(snapshot.showing, snapshot.base)
        covered = snapshot.history.bytes_of(snapshot.covered, made.covers)
        covered += len(base.wire) if base is not None else 0
        gain = self._record.world.policies.compaction.gain_min
        return too_large(len(block), covered, gain)


def _plan(
    snapshot: Snapshot, turn: Turn, covers: int, method: Method, asked: bool
) -> CompactionPlan:
    """A summary as the hooks are told of it."""
    of, tokens = len(snapshot.history), context(snapshot)
    return CompactionPlan(turn.number, covers, of, method, tokens, asked)


def _digest(request: Request) -> bytes:
    """What tells one request from another: its body, and the names in its header."""
    names = ",".join(request.betas).encode()
    return sha256(names + b"\0" + request.body).digest()


def _unacceptable(snapshot: Snapshot, reply: Reply) -> Fault | None:
    """Why a whole reply to a message must not be committed; None if it may be."""
    unheld = unproved(snapshot, reply)
    if unheld is not None:
        return unheld
    declined = reply_fault(reply)
    if declined is not None:
        return declined
    if cut_off(snapshot, outcome(reply), bool(reply.tool_uses)):
        said = "the reply hit its limit inside a call, which is not executed"
        kind, id_ = FaultKind.CUT_OFF, reply.request_id
        return Fault(kind, said, request_id=id_, status=200, spent=reply.usage)
    return None


def reply_fault(reply: Reply) -> Fault | None:
    """What a whole reply says against what was sent; None if it is an answer."""
    if outcome(reply) is not Outcome.REFUSED:
        return None
    kind, said = FaultKind.REFUSAL, _refusal(reply)
    id_, spent = reply.request_id, reply.usage
    return Fault(kind, said, request_id=id_, status=200, spent=spent)


def _refusal(reply: Reply) -> str:
    told: Any = reply.facts.get("stop_details")
    if isinstance(told, dict):
        details = cast("dict[str, Any]", told)
        said = [str(details[k]) for k in ("category", "explanation") if details.get(k)]
        if said:
            return "the model declined: " + ": ".join(said)
    return "the model declined"

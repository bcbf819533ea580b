"""What the answer to an effect means: the events that record it.

Here it is decided whether a whole reply is confirmed. Everything else that a request came
to is a fault, and the turn fails with it.
"""

from typing import Any, assert_never, cast

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply, Usage
from turnlatch_states.api.stop_reasons import Outcome, outcome, unusable_summary
from turnlatch_states.effects.call_effects import (
    AskRule,
    CheckArguments,
    Reconcile,
    RunCalls,
)
from turnlatch_states.effects.calls import reconciled, ruled
from turnlatch_states.effects.compaction import compaction_events
from turnlatch_states.effects.copy_proof import unproved
from turnlatch_states.effects.effect import (
    Answer,
    Apply,
    AskHook,
    Conditions,
    Count,
    Effect,
    Judged,
    Probe,
    Rest,
    Send,
    Sleep,
)
from turnlatch_states.effects.search import SMALL
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event, Question
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.recovery.decide import cut_off
from turnlatch_states.recovery.probes import probe_result, view_without_named
from turnlatch_states.request.build import Request
from turnlatch_states.request.history import Method, told_block
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.render import base_in_force
from turnlatch_states.request.summary import too_large, unusable_told


def interpret(
    snapshot: Snapshot, effect: Effect, answer: Answer, given: Conditions
) -> tuple[Event, ...]:
    """The events that record what an effect came to.

    Args:
        snapshot: Where the conversation stands, once the effect was performed.
        effect: The effect.
        answer: The outcome; the effect documents its type.
        given: The conditions of the decision.
    """
    turn = snapshot.turn
    assert turn is not None, "effects belong to a turn"
    match effect:
        case Send():
            return (_sent(snapshot, turn, effect.request, answer, given),)
        case Probe():
            return (_probed(turn, effect, answer),)
        case AskHook():
            return compaction_events(turn, effect.made, answer, asked=effect.plan.asked)
        case AskRule():
            return (ruled(snapshot, turn, effect, answer, given),)
        case Reconcile():
            return (reconciled(effect, answer),)
        case RunCalls():
            if not answer:
                return ()
            fault = Fault(FaultKind.TOOL, answer)
            return (ev.TurnFailed(turn.number, turn.attempt, fault),)
        case Apply() | Sleep() | Count() | CheckArguments() | Rest():
            return ()
        case _:
            assert_never(effect)


def _sent(
    snapshot: Snapshot,
    turn: Turn,
    request: Request,
    answer: Judged | Reply | Fault,
    given: Conditions,
) -> Event:
    """A request is over: its reply is confirmed, or its turn failed."""
    number, attempt = request.turn, request.attempt
    if isinstance(answer, Fault):
        return ev.TurnFailed(number, attempt, answer)
    if isinstance(answer, Reply):
        answer = Judged(answer)
    reply = answer.reply
    if request.purpose is Purpose.COMPACTION:
        gain = given.policies.compaction.gain_min
        problem = _unusable(snapshot, turn, reply, gain)
        if problem is None:
            return ev.CompactionConfirmed(number, attempt, reply)
        id_, spent = reply.request_id, reply.usage
        fault = Fault(FaultKind.COMPACTION, problem, request_id=id_, spent=spent)
        return ev.TurnFailed(number, attempt, fault)
    unfit = _unfit(snapshot, reply)
    if unfit is not None:
        return ev.TurnFailed(number, attempt, unfit)
    return ev.ReplyConfirmed(number, attempt, reply, answer.misfit)


def _unusable(
    snapshot: Snapshot, turn: Turn, reply: Reply, gain_min: float
) -> str | None:
    """Why a whole reply cannot be adopted as a summary; None if it can."""
    made = turn.compacting
    if made is None:
        return "no summary was asked for"
    if made.method is Method.SIGNED:
        problem, block = unusable_summary(reply), reply.content
    else:
        problem, block = unusable_told(reply), told_block(reply.text)
    if problem is not None:
        return problem
    base = base_in_force(snapshot.showing, snapshot.base)
    covered = snapshot.history.bytes_of(snapshot.covered, made.covers)
    covered += len(base.wire) if base is not None else 0
    return too_large(len(block), covered, gain_min)


def _unfit(snapshot: Snapshot, reply: Reply) -> Fault | None:
    """Why a whole reply to a message must not be committed; None if it may be."""
    fault = unproved(snapshot, reply) or declined(reply)
    if fault is not None:
        return fault
    if cut_off(snapshot, outcome(reply), bool(reply.tool_uses)):
        said = "the reply hit its limit inside a call, which is not executed"
        kind, id_ = FaultKind.CUT_OFF, reply.request_id
        return Fault(kind, said, request_id=id_, status=200, spent=reply.usage)
    return None


def _probed(turn: Turn, probe: Probe, answer: Reply | Fault | None) -> Event:
    """The result of a probe, and whether it is to be remembered."""
    fault = declined(answer) if isinstance(answer, Reply) else answer
    spent: Usage | None = None
    if not probe.counted:
        spent = answer.usage if isinstance(answer, Reply) else fault and fault.spent
    number = turn.number
    other = view_without_named(probe.shown, probe.searched, fault, probe.policies)
    if probe.small:
        if other is not None:
            return ev.Probed(number, SMALL, False, Question.TRIAL, fault, spent)
        well = fault is None or fault.kind is FaultKind.REFUSAL
        met = None if well else fault
        return ev.Probed(number, SMALL, well, probe.about, met, spent)
    shown = probe_result(probe.searched, fault)
    concluded = None if other is not None else _concluded(probe, fault, shown)
    passed = shown is True
    key = probe.key if concluded is passed else ""
    return ev.Probed(
        number,
        probe.question,
        passed,
        probe.about,
        fault,
        spent,
        probe.counted,
        key,
    )


def _concluded(probe: Probe, fault: Fault | None, shown: bool | None) -> bool | None:
    """Whether the view of a trial passes; None where this answer does not say."""
    if probe.after is not None:
        return probe_result(probe.after, fault)
    if shown or probe.counted or fault is None or fault.definite or probe.last:
        return shown
    return None


def declined(reply: Reply) -> Fault | None:
    """The fault in a whole reply that refuses; None if the reply answers."""
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

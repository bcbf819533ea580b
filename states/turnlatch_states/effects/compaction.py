"""Asking for a summary: what is done before, and what the caller's hook makes of it."""

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.effects.effect import (
    Apply,
    AskHook,
    CompactionDone,
    CompactionPlan,
    Conditions,
    Effect,
    Verdict,
)
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.context_size import context
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.recovery.decisions import ChangeRequest, Compact
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.summary import summary_text


def failed(turn: Turn, fault: Fault) -> ev.TurnFailed:
    """The turn stops, because of that fault."""
    return ev.TurnFailed(turn.number, turn.attempt, fault)


def chosen(turn: Turn, made: ChangeRequest) -> ev.RemedyChosen:
    """The record of how the next request differs."""
    return ev.RemedyChosen(
        turn.number, made.remedy, made.why, made.view, made.max_tokens, made.passing
    )


def go_on(turn: Turn, made: ChangeRequest) -> tuple[Event, ...]:
    """A turn that failed goes on with a remedy."""
    return chosen(turn, made), ev.TurnRetried(turn.number, asked=False)


def summarize(
    snapshot: Snapshot, turn: Turn, made: Compact, given: Conditions, *, asked: bool
) -> Effect:
    """Ask for a summary, once the caller's hook was asked, if there is one.

    Args:
        snapshot: Where the conversation stands.
        turn: Its turn.
        made: The summary.
        given: The conditions of the decision.
        asked: The caller asked for it.
    """
    if given.hooked:
        return AskHook(_plan(snapshot, turn, made.covers, made.method, asked), made)
    return Apply(compaction_events(turn, made, None, asked=asked))


def compaction_events(
    turn: Turn, made: Compact, verdict: Verdict, *, asked: bool
) -> tuple[Event, ...]:
    """The events after the hook's answer.

    Args:
        turn: The turn.
        made: The summary that is to be asked for.
        verdict: The hook's answer; None where there is no hook.
        asked: The caller asked for the summary.
    """
    stopped = turn.state == "failed"
    if verdict is False:
        said = "the hook before the compaction said no"
        if asked:
            return (failed(turn, Fault(FaultKind.LOCAL, said)),)
        skip = ChangeRequest(Remedy.SKIP, said)
        return go_on(turn, skip) if stopped else (chosen(turn, skip),)
    words = verdict if isinstance(verdict, str) and verdict else None
    sent = ev.CompactionSent(
        turn.number, turn.attempt + 1, made.covers, made.method, words
    )
    too_long = turn.fault is not None and turn.fault.kind is FaultKind.TOO_LONG
    if stopped and not too_long:
        return *go_on(turn, ChangeRequest(Remedy.COMPACT, str(turn.fault))), sent
    return (sent,)


def summary_made(before: Snapshot, after: Snapshot) -> CompactionDone | None:
    """The summary that a reply has just put in force; None if it did not.

    Args:
        before: The conversation before the reply.
        after: The conversation with it.
    """
    turn, base = before.turn, after.base
    if after.bases is before.bases or turn is None or turn.compacting is None:
        return None
    if base is None:
        return None
    asked = turn.purpose is Purpose.COMPACTION
    plan = _plan(before, turn, base.covers, base.method, asked)
    size = before.history.bytes_of(before.covered, base.covers)
    text = summary_text(base.block, base.method)
    return CompactionDone(plan, text, size, len(base.block))


def _plan(
    snapshot: Snapshot, turn: Turn, covers: int, method: Method, asked: bool
) -> CompactionPlan:
    of, tokens = len(snapshot.history), context(snapshot)
    return CompactionPlan(turn.number, covers, of, method, tokens, asked)

"""What the engine does next: one pure decision, from where the conversation stands.

`next_effect` is asked again after everything that happens. It remembers nothing: where a
turn is in a wait (`Turn.due`) or among the questions of a search (`Turn.inquiry`) is part
of the snapshot, so a process that opens the conversation later decides the same.
"""

from collections.abc import Iterable
from typing import assert_never

import attrs

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.effects import requests
from turnlatch_states.effects.calls import next_call_effect
from turnlatch_states.effects.commands import Command, next_command
from turnlatch_states.effects.compaction import chosen, failed, go_on, summarize
from turnlatch_states.effects.copy_proof import choose_copy, provable
from turnlatch_states.effects.effect import (
    REST,
    Apply,
    Conditions,
    Count,
    Effect,
    Probe,
    Rest,
    Send,
    Sleep,
)
from turnlatch_states.effects.invalid_input import staged_fault
from turnlatch_states.effects.search import Asking, Nothing, Search, T
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot, Turn, owes
from turnlatch_states.machine.steering import must_wait
from turnlatch_states.machine.turn_states import Substate
from turnlatch_states.recovery.context_window import boundary, prepare
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
from turnlatch_states.recovery.known_bad import known_in_own, without_known
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.view import COMPACT_BETA, THREADS_BETA


def next_effect(snapshot: Snapshot, given: Conditions) -> Effect:
    """What to do next for a conversation.

    Args:
        snapshot: Where the conversation stands.
        given: The other inputs of the decision.
    """
    turn = snapshot.turn
    command = next_command(snapshot)
    if turn is None:
        return REST
    match command:
        case Command.PREPARE:
            return _prepare(snapshot, turn, given)
        case Command.SEND:
            return _send(snapshot, turn, given)
        case Command.RUN_CALLS:
            return next_call_effect(snapshot, turn, given)
        case Command.CONTINUE:
            if turn.misfits >= given.outputs_max:
                said = f"{turn.misfits} replies were not the output asked for: {turn.misfit}"
                return Apply((failed(turn, Fault(FaultKind.OUTPUT, said)),))
            results_only = owes(turn) and must_wait(snapshot)
            return Apply((ev.TurnContinued(turn.number, results_only),))
        case Command.RECOVER:
            return _recover(snapshot, turn, given)
        case Command.AWAIT | Command.REST:
            return REST
        case _:
            assert_never(command)


# Requests.


def _prepare(snapshot: Snapshot, turn: Turn, given: Conditions) -> Effect:
    """The effect needed before the next request; else announce the request, or fail."""
    spent = given.budget.spent(turn, given.seconds)
    if spent is not None:
        said = f"{spent}; retry() grants as much again"
        return Apply((failed(turn, Fault(FaultKind.BUDGET, said)),))
    if turn.purpose is Purpose.COMPACTION:
        return _prepare_summary(snapshot, turn, given)
    made = without_known(snapshot) or prepare(snapshot, given.policies.compaction)
    if isinstance(made, Compact):
        return summarize(snapshot, turn, made, given, asked=False)
    if made is not None:
        return Apply((chosen(turn, made),))
    fault = known_in_own(snapshot) or staged_fault(snapshot)
    if fault is not None:
        return Apply((failed(turn, fault),))
    copy = choose_copy(
        snapshot.thread,
        snapshot.profile.threads,
        on_trial=turn.trial is not None or Remedy.REPLAY in turn.tried,
        unthreaded=Remedy.UNTHREAD in turn.remedies
        or THREADS_BETA in snapshot.showing.unnamed,
        provable=provable(snapshot),
    )
    return Apply((ev.RequestSent(turn.number, turn.attempt + 1, copy),))


def _prepare_summary(snapshot: Snapshot, turn: Turn, given: Conditions) -> Effect:
    """The next effect of a turn that only compacts."""
    said = None
    covers = boundary(snapshot)
    if turn.calls:
        said = (
            "tool results wait to be sent, and a summary must not part them from their"
            " calls: send a message first"
        )
    elif covers <= snapshot.covered:
        said = "nothing was said since the last summary"
    if said is not None:
        return Apply((failed(turn, Fault(FaultKind.LOCAL, said)),))
    unsigned = COMPACT_BETA in snapshot.showing.unnamed
    told = unsigned or Remedy.SKIP in turn.tried
    made = Compact(covers, Method.TOLD if told else Method.SIGNED)
    return summarize(snapshot, turn, made, given, asked=True)


def _send(snapshot: Snapshot, turn: Turn, given: Conditions) -> Effect:
    """Send what was announced, unless the very same was refused before."""
    if turn.state == "compacting" and turn.compacting is not None:
        request = requests.summary(snapshot, turn, turn.compacting, given)
    else:
        stream = requests.streams(snapshot, turn, given)
        request = requests.message(snapshot, turn, stream=stream)
    if given.refused:
        known = given.refused.get(requests.digest(request))
        if known is not None:  # the ladder is climbed on
            return Apply((failed(turn, known),))
    return Send(request)


# After a failure.


def _recover(snapshot: Snapshot, turn: Turn, given: Conditions) -> Effect:
    """The effect after the turn's failure, by the ladder of its fault.

    A decision that asks the server questions was made where they began, and is the same
    until they are answered.
    """
    asking = turn.inquiry
    start = snapshot if asking is None else asking.start
    decision = decide(start, given.policies, given.draw)
    here = (turn.number, turn.attempt)
    counted = any((one.turn, one.attempt) == here for one in given.counts)
    begun = asking is not None or turn.due is not None or counted
    if not begun and given.budget.spent(turn, given.seconds) is not None:
        decision = Stop()
    effect = carry_out(snapshot, turn, decision, given)
    return effect if begun else attrs.evolve(effect, decision=decision)


def carry_out(
    snapshot: Snapshot, turn: Turn, decision: Decision, given: Conditions
) -> Effect:
    """The next effect of a decision about a failure; it is asked for again until that
    is carried out.

    Args:
        snapshot: A conversation whose turn has failed.
        turn: That turn.
        decision: The decision.
        given: Its other inputs.
    """
    match decision:
        case WaitThenRetry():
            again = Apply((ev.TurnRetried(turn.number, asked=False),))
            return _after(snapshot, turn, decision.seconds, again, given)
        case ChangeRequest():
            again = Apply(go_on(turn, decision))
            return _after(snapshot, turn, decision.seconds, again, given)
        case Compact():
            return summarize(snapshot, turn, decision, given, asked=False)
        case PingServer():
            return _ask(snapshot, turn, decision.seconds, given)
        case BisectHistory():
            return _search(snapshot, turn, given)
        case Suspend():
            return _suspend(turn, decision, given)
        case Stop():
            return Rest(_let_go(turn))
        case _:
            assert_never(decision)


def _after(
    snapshot: Snapshot, turn: Turn, seconds: float, then: Effect, given: Conditions
) -> Effect:
    """An effect, once the wait before it is over; the turn is suspended where its time
    ends before the wait does. `Turn.due` is set from the start of a wait until what
    follows it."""
    if not seconds or turn.due is not None:
        return then
    due, bound = given.now + seconds, given.budget.seconds
    if bound is not None and given.seconds + seconds >= bound:
        said = f"a wait of {seconds:g} s is longer than what is left of its {bound:g} s"
        return Rest((ev.TurnSuspended(turn.number, said, due),))
    most = given.policies.retry.attempts_max
    return Sleep(
        seconds, (ev.RetryScheduled(turn.number, turn.failures, seconds, due, most),)
    )


def _let_go(turn: Turn) -> tuple[Event, ...]:
    """The events of a turn that rests although a retry or more probes would follow."""
    goes_on = turn.substate in (Substate.WAITING, Substate.PROBING)
    return (ev.RetryCancelled(turn.number),) if goes_on else ()


def _suspend(turn: Turn, decision: Suspend, given: Conditions) -> Effect:
    events: list[Event] = []
    if decision.fault is not None:
        events.append(ev.RetryCancelled(turn.number, decision.fault))
    if turn.suspended is None:
        after = decision.seconds
        until = None if after is None else given.now + after
        events.append(ev.TurnSuspended(turn.number, decision.why, until))
    if decision.fault is None:
        events += _let_go(turn)
    return Rest(tuple(events))


# Questions to the server.


def _ask(snapshot: Snapshot, turn: Turn, seconds: float, given: Conditions) -> Effect:
    """Does the server answer anything at all? The last answer ends the inquiry."""
    asking = _inquiry(snapshot, turn, given)
    effect, _ = _resumed(asking.small(), turn, given)
    assert effect is not None, "the answer to its last question ended it"
    pause = seconds if turn.inquiry is None else asking.pause
    return _affordable(snapshot, turn, pause, effect, given)


def _search(snapshot: Snapshot, turn: Turn, given: Conditions) -> Effect:
    """Find the part that is refused, and go on without it."""
    asking = _inquiry(snapshot, turn, given)
    effect, found = _resumed(asking.run(), turn, given)
    if effect is not None:
        pause = 0.0 if isinstance(effect, Count) else asking.pause
        return _affordable(snapshot, turn, pause, effect, given)
    if isinstance(found, ChangeRequest):
        then = Apply(go_on(turn, found))
        return _after(snapshot, turn, found.seconds, then, given)
    if isinstance(found, Nothing) and found.settles:
        together = "all trials together"
        about = ev.Question.SEARCH
        return Rest((ev.Probed(turn.number, together, False, about),))
    return Rest(_let_go(turn))


def _inquiry(snapshot: Snapshot, turn: Turn, given: Conditions) -> Search:
    start = snapshot if turn.inquiry is None else turn.inquiry.start
    failed_turn = start.turn
    assert failed_turn is not None, "only a turn that failed is searched"
    assert failed_turn.fault is not None, "only a turn that failed is searched"
    return Search(start, failed_turn.fault, given)


def _resumed(
    asking: Asking[T], turn: Turn, given: Conditions
) -> tuple[Probe | Count | None, T | None]:
    """The next question of a search, after all its answers; or its result."""
    answers: Iterable[Fault | None] = turn.inquiry.answers if turn.inquiry else ()
    told = iter(answers)
    try:
        effect = next(asking)
        while True:
            if isinstance(effect, Count):
                if effect.request not in given.counts:
                    return effect, None
                effect = asking.send(given.counts[effect.request])
            else:
                try:
                    answer = next(told)
                except StopIteration:
                    return effect, None
                effect = asking.send(answer)
    except StopIteration as over:
        return None, over.value


def _affordable(
    snapshot: Snapshot,
    turn: Turn,
    pause: float,
    effect: Probe | Count,
    given: Conditions,
) -> Effect:
    """A question, once the server has had its rest; rest where the budget is used up."""
    if isinstance(effect, Count):
        return effect
    if given.budget.spent(turn, given.seconds) is not None:
        return Rest(_let_go(turn))
    return _after(snapshot, turn, pause, effect, given)

"""Decisions about calls: which start, which are closed without running, who is asked.

The calls of a reply are decided in order, one effect at a time. When every call is closed,
waits for a person or may run, those that may run start together.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, assert_never

from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.effects.call_effects import (
    AskRule,
    CallLimits,
    CallRun,
    CheckArguments,
    Ending,
    Read,
    Reconcile,
    Ruling,
    RunCalls,
    ToolFacts,
)
from turnlatch_states.effects.call_history import call_key, repeats, started
from turnlatch_states.effects.effect import REST, Apply, Conditions, Effect
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState, Closing, expired
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Call, Snapshot, Turn
from turnlatch_states.machine.synthetic_results import (
    NEVER_STARTED,
    UNKNOWN,
    UNREPORTED,
    closed_result,
)
from turnlatch_states.recovery.result_size import result_bytes

EXPIRED: Final = "nobody answered in time"
_SHOWN_MAX: Final = 500
"""How many characters of what a model wrote an error repeats."""


def next_call_effect(snapshot: Snapshot, turn: Turn, given: Conditions) -> Effect:
    """The next effect for the open calls of a turn: the first one that has to come before
    a call may start, else the start of all calls that may run."""
    ready: list[Call] = []
    ran = started(turn)
    for call in turn.open_calls:
        if call.state in (CallState.ASKED, CallState.STARTED):
            continue
        effect = _before_start(snapshot, turn, call, ran, given)
        if effect is not None:
            return effect
        ready.append(call)
        ran += call.state is not CallState.UNKNOWN  # which is among those that ran
    if not ready:
        return REST
    runs = tuple(_run_of(snapshot, turn, call, given) for call in ready)
    most = given.call_limits.parallel
    return RunCalls(runs, most, tuple(map(start, runs[:most])))


def _before_start(
    snapshot: Snapshot, turn: Turn, call: Call, ran: int, given: Conditions
) -> Effect | None:
    """The effect that has to come before a call may start; None if it may start now.

    Args:
        snapshot: Where the conversation stands.
        turn: The turn.
        call: The call, which is open and neither runs nor waits for a person.
        ran: How many calls of the turn ran, or are about to.
        given: The other inputs of the decision.
    """
    facts = given.tools.get(call.use.name)
    match call.state:
        case CallState.UNKNOWN:
            again = may_run_again(call, facts)
            return None if again else _settled(snapshot, turn, call, given)
        case CallState.DENIED:
            return _closes(turn, call, _denied(call))
        case CallState.PROPOSED | CallState.APPROVED:
            ending = unusable(call.use, facts)
            ending = ending or _beyond(turn, call, ran, given.call_limits)
            if ending is not None:
                return _closes(turn, call, ending)
            assert facts is not None, "a call of no tool is unusable"
            if call.state is CallState.APPROVED:
                return changed_since(snapshot, turn, call, given)
            return _decided(snapshot, turn, call, facts, given) if facts.asks else None
        case CallState.ASKED | CallState.STARTED | CallState.CLOSED:
            raise AssertionError(
                f"nothing is decided about a call that is {call.state}"
            )
        case _:
            assert_never(call.state)


# Calls that do not run.


def unusable(use: ToolUse, facts: ToolFacts | None) -> Ending | None:
    """The ending of a call that cannot even start; None if it can."""
    if facts is None:
        return _error(use, f"There is no tool named {_cut(use.name)!r} here.")
    if use.input is None:
        told = json.dumps({"INVALID_JSON": _cut(use.broken or "")})
        return _error(use, f"Not executed: the arguments are not a JSON object: {told}")
    return None


def _beyond(turn: Turn, call: Call, ran: int, limits: CallLimits) -> Ending | None:
    """The ending of a call that the limits of the turn keep from running."""
    if limits.per_turn is not None and ran >= limits.per_turn:
        most = limits.per_turn
        said = f"Not executed: this turn has run the {most} calls that it may run."
    elif (
        limits.repeats is not None
        and (found := repeats(turn, call.use)) >= limits.repeats
    ):
        said = (
            f"Not executed: this very call had this very result {found} times in a"
            " row. Do something else, or say what is missing."
        )
    else:
        return None
    return Ending(Closing.NOT_EXECUTED, closed_result(call.use.id, said))


def expirations(snapshot: Snapshot, now: float) -> tuple[Event, ...]:
    """The denials of the calls whose questions have expired."""
    turn = snapshot.turn
    if turn is None:
        return ()
    return tuple(
        ev.CallDenied(turn.number, call.use.id, EXPIRED)
        for call in turn.open_calls
        if call.state is CallState.ASKED and expired(call.expires, now)
    )


# Who decides.


def _decided(
    snapshot: Snapshot, turn: Turn, call: Call, facts: ToolFacts, given: Conditions
) -> Effect:
    """The next effect for a call that a rule or a person decides about. If its arguments
    do not fit, the call is closed without a question."""
    arguments = given.read.get((call.place, False))
    if arguments is None:
        return CheckArguments(call, False, facts.runs_code)
    if isinstance(arguments, Ending):
        return _closes(turn, call, arguments)
    if facts.rule:
        return AskRule(call, arguments)
    return Apply((_asked(snapshot, turn, call, arguments, given.now, given),))


def ruled(
    snapshot: Snapshot, turn: Turn, asked: AskRule, ruling: Ruling, given: Conditions
) -> Event:
    """The event that the answer of a rule means."""
    call, arguments = asked.call, asked.arguments
    if ruling.allows is None:
        return _asked(snapshot, turn, call, arguments, ruling.at, given)
    if ruling.allows:
        digest = _digest(_key(snapshot, call, given), call, arguments, given)
        kept = _kept(call.use, arguments)
        return ev.CallApproved(turn.number, call.use.id, digest, kept)
    return ev.CallDenied(turn.number, call.use.id, ruling.why)


def changed_since(
    snapshot: Snapshot, turn: Turn, call: Call, given: Conditions
) -> Effect | None:
    """The next effect before an approval of a call counts; None if the call would run as
    it was shown.

    A call that has become another one is asked about again; one that does not fit its
    tool any more is closed.
    """
    facts = given.tools.get(call.use.name)
    if facts is None or call.input is None:
        return None  # it cannot run at all
    read = {shown: given.read.get((call.place, shown)) for shown in (True, False)}
    if any(_is_shown(snapshot, turn, call, one, given) for one in read.values()):
        return None
    if call.arguments and read[True] is None:
        return CheckArguments(call, True, facts.runs_code)
    arguments = read[False]
    if arguments is None:
        return CheckArguments(call, False, facts.runs_code)
    if isinstance(arguments, Ending):
        return _closes(turn, call, arguments)
    return Apply((_asked(snapshot, turn, call, arguments, given.now, given),))


def _is_shown(
    snapshot: Snapshot, turn: Turn, call: Call, read: Read | None, given: Conditions
) -> bool:
    """True if these arguments make it the call that somebody was shown."""
    if read is None or isinstance(read, Ending):
        return False
    if _kept(call.use, read) != call.arguments:
        return False
    places = [_key(snapshot, call, given)]
    if not snapshot.identity:  # as the first version wrote it in records that it began
        text = f"{given.name}\0{turn.number}\0{call.use.id}"
        places.append(sha256(text.encode(errors="replace")).hexdigest()[:32])
    return call.digest in (_digest(place, call, read, given) for place in places)


def _asked(
    snapshot: Snapshot,
    turn: Turn,
    call: Call,
    arguments: Mapping[str, Any],
    now: float,
    given: Conditions,
) -> ev.CallAsked:
    """The question to a person: it is durable, and about exactly this call."""
    seconds = given.tools[call.use.name].approval_seconds
    return ev.CallAsked(
        turn.number,
        call.use.id,
        _digest(_key(snapshot, call, given), call, arguments, given),
        None if seconds is None else now + seconds,
        _kept(call.use, arguments),
    )


def _digest(
    place: str, call: Call, arguments: Mapping[str, Any], given: Conditions
) -> str:
    """The digest of exactly what would run: the tool as declared, the arguments, the place."""
    name = call.use.name
    facts = given.tools[name]
    parts = [place, name, arguments, facts.schema, facts.effect]
    return sha256(encode(parts)).hexdigest()[:32]


def _kept(use: ToolUse, arguments: Mapping[str, Any]) -> bytes:
    """The arguments as the record keeps them: empty if the model wrote the same."""
    written = encode(arguments)
    return b"" if written == encode(use.input) else written


# Running.


def _run_of(snapshot: Snapshot, turn: Turn, call: Call, given: Conditions) -> CallRun:
    facts = given.tools.get(call.use.name)
    return CallRun(
        turn.number,
        call,
        _key(snapshot, call, given),
        facts is not None and facts.effect == "safe",
        snapshot.profile.model,
        result_bytes(snapshot, given.policies.compaction),
    )


def _key(snapshot: Snapshot, call: Call, given: Conditions) -> str:
    """The idempotency key of a call: as it was started, if it was."""
    return call.key or call_key(snapshot, given.name, call)


def start(run: CallRun) -> Event:
    """The intent of a run: it is durable before the tool begins."""
    return ev.CallStarted(run.turn, run.call.use.id, run.key, run.safe)


def never_started(
    before: Snapshot, start: ev.CallStarted, now: Snapshot
) -> Event | None:
    """The truth about a call that did not run although the record has its start, or will
    have it: its append failed after something else was decided on top of it.

    Args:
        before: The snapshot before the start.
        start: The start.
        now: The present snapshot.

    Returns:
        The end of the call; that it is lost, if it reads only and was lost before; None
        if the call stands somewhere else by now.
    """
    turn = now.turn
    call = None if turn is None else turn.call(start.call)
    if turn is None or turn.number != start.turn or call is None:
        return None
    if call.state is not CallState.STARTED:
        return None
    was = None if before.turn is None else before.turn.call(start.call)
    if was is not None and was.state is CallState.UNKNOWN:
        return ev.CallLost(start.turn, start.call)
    result = closed_result(start.call, NEVER_STARTED)
    return ev.CallClosed(start.turn, start.call, Closing.NOT_EXECUTED, result)


def close(run: CallRun, ending: Ending) -> Event:
    """The one ending of a run."""
    return _closed(run.turn, run.call, ending)


def after_run(run: CallRun, ending: Ending, given: Conditions) -> Apply | Reconcile:
    """The effect after a run: record its ending, or reconcile first if the end was not seen."""
    facts = given.tools.get(run.call.use.name)
    if ending.closing is Closing.UNKNOWN and facts is not None and facts.reconciles:
        return Reconcile(run, ending, (ev.CallLost(run.turn, run.call.use.id),))
    return Apply((close(run, ending),))


def reconciled(asked: Reconcile, found: Ending) -> Event:
    """The one ending of a call whose end was not seen, once its tool was asked."""
    known = found.closing is not Closing.UNKNOWN
    return close(asked.run, found if known else asked.otherwise)


# Calls whose end was not seen.


def may_run_again(call: Call, facts: ToolFacts | None) -> bool:
    """True if a call may run a second time: it was started as one that only reads, and
    its tool still only reads."""
    return call.safe and facts is not None and facts.effect == "safe"


def unsettled(snapshot: Snapshot, given: Conditions) -> Effect | None:
    """The next effect that settles a call whose end was not seen, if no call is to run
    again; None if every call is settled."""
    turn = snapshot.turn
    if turn is None:
        return None
    lost = (one for one in turn.open_calls if one.state is CallState.UNKNOWN)
    call = next(lost, None)
    return None if call is None else _settled(snapshot, turn, call, given)


def lost_calls(snapshot: Snapshot, tools: Mapping[str, ToolFacts]) -> list[Event]:
    """The events about the calls that a process left running when it ended.

    A call is closed at once if nothing can be found out about it and it may not run
    again.
    """
    turn, found = snapshot.turn, list[Event]()
    if turn is None:
        return found
    for call in turn.open_calls:
        if call.state not in (CallState.STARTED, CallState.UNKNOWN):
            continue
        if call.state is CallState.STARTED:
            found.append(ev.CallLost(turn.number, call.use.id))
        facts = tools.get(call.use.name)
        if may_run_again(call, facts) or (facts is not None and facts.reconciles):
            continue
        found.append(_closed(turn.number, call, _unknown(call, facts)))
    return found


def _settled(snapshot: Snapshot, turn: Turn, call: Call, given: Conditions) -> Effect:
    facts = given.tools.get(call.use.name)
    if facts is None or not facts.reconciles:
        return _closes(turn, call, _unknown(call, facts))
    return Reconcile(_run_of(snapshot, turn, call, given), _unknown(call, facts))


# Endings.


def _closes(turn: Turn, call: Call, ending: Ending) -> Apply:
    return Apply((_closed(turn.number, call, ending),))


def _closed(turn: int, call: Call, ending: Ending) -> ev.CallClosed:
    return ev.CallClosed(
        turn, call.use.id, ending.closing, ending.result, ending.output
    )


def _denied(call: Call) -> Ending:
    said = f"Denied: {call.note}" if call.note else "Denied."
    return Ending(Closing.DENIED, closed_result(call.use.id, said))


def _unknown(call: Call, facts: ToolFacts | None) -> Ending:
    reports = facts is not None and facts.reports
    said = f"{UNKNOWN} {UNREPORTED}" if reports else UNKNOWN
    return Ending(Closing.UNKNOWN, closed_result(call.use.id, said))


def _error(use: ToolUse, said: str) -> Ending:
    return Ending(Closing.ERROR, closed_result(use.id, said))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"

"""Decisions of the tables of turns, calls and threads, in states that the core can reach.

The core is explored breadth first. In each state everything that may happen is tried, and one
event of every kind besides, most of which are refused there.
"""

import contextlib
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from functools import cache, partial
from itertools import product

from tests.prefixes.rows import TableDecision, decisions, recorder
from tests.states.strategies import (
    PROFILE,
    call,
    legal_events,
    one_of_each,
    reply,
    search,
    text,
)

from turnlatch.errors import JournalError
from turnlatch.journal.writer import Writer
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.fsm.table import Transition
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import begin, fold
from turnlatch_states.machine.thread import Thread, ThreadState
from turnlatch_states.machine.writer import WRITER, WriterState
from turnlatch_states.request.build import Copy


def _key(snapshot: Snapshot) -> Hashable:
    turn = snapshot.turn
    if turn is None:
        return bool(snapshot.said), snapshot.thread
    return (
        turn.substate,
        frozenset(one.state for one in turn.calls),
        turn.outcome,
        turn.fault is not None and turn.fault.kind is FaultKind.TOO_LONG,
        turn.purpose,
        bool(turn.staged),
        bool(snapshot.said),
        min(len(snapshot.history), 2),
        snapshot.thread.state,
    )


def _may_happen(snapshot: Snapshot, number: int) -> Iterator[Event]:
    """Everything that may happen next, with few kinds of replies."""
    turn = snapshot.turn
    if turn is not None and turn.state in ("pending", "sent", "confirmed"):
        yield ev.TurnFailed(turn.number, turn.attempt, Fault(FaultKind.TOO_LONG, "x"))
    if turn is None or turn.state != "sent":
        yield from legal_events(snapshot, number)
        return
    for stop, block in (
        ("end_turn", text()),
        ("tool_use", call(f"toolu_{number}a")),
        ("max_tokens", call(f"toolu_{number}a")),
        ("pause_turn", search(number)),
    ):
        yield ev.ReplyConfirmed(turn.number, turn.attempt, reply(number, stop, block))
    two = (call(f"toolu_{number}a"), call(f"toolu_{number}b"))
    yield ev.ReplyConfirmed(turn.number, turn.attempt, reply(number, "tool_use", *two))
    for fault in (
        Fault(FaultKind.TRANSIENT, "x"),
        Fault(FaultKind.THREAD, "x", code="thread_not_found"),
        Fault(FaultKind.THREAD, "x", code="thread_unsupported_request"),
    ):
        yield ev.TurnFailed(turn.number, turn.attempt, fault)


def _about_calls(snapshot: Snapshot) -> Iterator[Event]:
    """Everything that may be said of a call, true or not."""
    turn = snapshot.turn
    for one in () if turn is None else turn.calls:
        n, id_ = snapshot.turns, one.use.id
        for digest in (one.digest, "another"):
            yield ev.CallAsked(n, id_, digest)
            yield ev.CallApproved(n, id_, digest)
        yield ev.CallDenied(n, id_, "no")
        yield ev.CallStarted(n, id_, "key")
        yield ev.CallStarted(n, id_, "key", safe=True)
        yield ev.CallLost(n, id_)
        yield ev.CallClosed(n, id_, Closing.RESULT, b"{}")


@cache
def of_conversations() -> Sequence[TableDecision]:
    """The decisions, each with the conversation and the event that it was about."""
    start = begin(ev.ConversationOpened(PROFILE))
    seen, todo = {_key(start)}, deque([start])
    made: list[TableDecision] = []
    while todo:
        snapshot = todo.popleft()
        for event in (*one_of_each(snapshot), *_about_calls(snapshot)):
            made += decisions(snapshot, event)
        for event in _may_happen(snapshot, len(seen)):
            made += decisions(snapshot, event)
            try:
                after = fold(snapshot, event)
            except IllegalEventError:
                continue
            if (key := _key(after)) not in seen:
                seen.add(key)
                todo.append(after)
    return made


def of_threads() -> Sequence[TableDecision]:
    """Everything that a server thread can be told, from each of its states."""
    made: list[TableDecision] = []
    fire = recorder(made)
    for state, copy, flag in product(ThreadState, Copy, (False, True)):
        thread = Thread(state)
        for told in (
            partial(thread.sent, copy, fire, given_up=flag),
            partial(thread.confirmed, copy, fire, elsewhere=flag),
            partial(thread.failed, copy, fire, unsupported=flag),
            partial(thread.doubted, fire),
            partial(thread.elsewhere, fire),
            partial(thread.lost, fire),
        ):
            with contextlib.suppress(IllegalEventError):
                told()
    return made


def of_writers() -> Sequence[TableDecision]:
    """Every trigger of the writer machine, by the class that the handles of a store have."""
    made: list[TableDecision] = []
    for state, trigger in product(WriterState, WRITER.triggers()):
        writer = Writer("here")
        writer.state = state.value
        row = None
        with contextlib.suppress(JournalError):
            writer.fire(trigger)
            row = Transition(trigger, state.value, writer.state)
        made.append(TableDecision(WRITER, state.value, trigger, None, None, row))
    return made

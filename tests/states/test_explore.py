"""Every state the core can reach, looked at one by one.

The environment may do anything a driver, a server, a person or a crash can do; the
states are told apart by everything that decides what may happen next, and not by ids.
"""

import gc
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from functools import cache
from typing import get_args

import attrs
import pytest
from tests.part import one_in
from tests.properties.test_step import only_commits_commit
from tests.states.strategies import (
    PROFILE,
    call,
    legal_events,
    one_of_each,
    reply,
    search,
    stale_events,
    text,
)

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Usage
from turnlatch_states.api.stop_reasons import Outcome, outcome
from turnlatch_states.effects.commands import Command, next_command
from turnlatch_states.effects.copy_proof import LOSSES_MAX
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.fsm.explore import ExplorationLimitError, Explored, explore
from turnlatch_states.fsm.table import Table, Transition
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState
from turnlatch_states.machine.call_step import moved_calls
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import Step, begin, step
from turnlatch_states.machine.thread import ThreadState
from turnlatch_states.machine.turn import TRIGGERS, TURN
from turnlatch_states.machine.turn_states import Substate
from turnlatch_states.request.build import Copy

START = begin(ev.ConversationOpened(PROFILE))


def key(snapshot: Snapshot) -> Hashable:
    """What decides the future of a conversation, without ids and counters."""
    turn = snapshot.turn
    head = snapshot.history.head
    covered = snapshot.base is not None and snapshot.base.covers == len(
        snapshot.history
    )
    past = (min(len(snapshot.history), 2), len(snapshot.bases) > 0, covered)
    tail = None if head is None else outcome(head.reply)
    if turn is None:
        return past, tail, None
    return (
        past,
        tail,
        turn.substate,
        turn.purpose,
        bool(turn.content),
        (len(snapshot.said), turn.taken),
        tuple((call.state, call.closing) for call in turn.calls),
        turn.outcome,
        turn.due is not None,
        turn.trial is not None,
        turn.fault is not None and turn.fault.kind is FaultKind.TOO_LONG,
    )


def worlds(snapshot: Snapshot) -> Iterator[Event]:
    """Everything that may happen, with one representative a class."""
    number = snapshot.turns * 100 + (snapshot.turn.attempt if snapshot.turn else 0)
    yield from legal_events(snapshot, number, threads=False)
    turn = snapshot.turn
    if turn is not None and turn.state in (
        "sent",
        "pending",
        "compacting",
        "confirmed",
    ):
        for kind in (FaultKind.TOO_LONG, FaultKind.TRANSIENT):
            yield ev.TurnFailed(turn.number, turn.attempt, Fault(kind, "fault"))
    yield from stale_events(snapshot)


def allowed(table: Table, snapshot: Snapshot, event: Event) -> bool:
    """True if the table has a row for the event, and its guard says yes."""
    if isinstance(event, ev.CallEvent):
        turn = snapshot.turn
        if turn is None:
            return False
        try:
            calls = moved_calls(turn, event, Table.choose)
        except IllegalEventError:
            return False
        snapshot = attrs.evolve(snapshot, turn=attrs.evolve(turn, calls=calls))
    return any(
        row.guard is None or row.guard.test(snapshot, event)
        for row in table.rows(snapshot.substate, TRIGGERS[type(event)])
    )


@attrs.frozen
class Compared:
    """What the machine does with one event of every kind, in many states.

    Attributes:
        rows: The rows of the table that were taken, as (trigger, source, target).
        differences: Substates and kinds of events for which the table says something
            else than the machine does.
    """

    rows: frozenset[tuple[str, str, str]]
    differences: frozenset[tuple[str, str]]


def compared(table: Table, snapshots: Iterable[Snapshot]) -> Compared:
    """The machine beside a table."""
    rows: set[tuple[str, str, str]] = set()
    differences: set[tuple[str, str]] = set()
    for snapshot in snapshots:
        for event in one_of_each(snapshot):
            try:
                made = step(snapshot, event)
            except IllegalEventError:
                row = None
            else:
                if made.dropped:
                    continue
                row = made.row
                assert row is not None
                rows.add((row.trigger, row.source, row.target))
            if snapshot.turn is None and hasattr(event, "turn") and row is None:
                continue  # there is no turn that it could belong to
            if (row is not None) != allowed(table, snapshot, event):
                differences.add((snapshot.substate, type(event).__name__))
    return Compared(frozenset(rows), frozenset(differences))


@cache
def whole() -> Compared:
    """The machine beside its own table: `make sweep` asks in every state."""
    return compared(TURN, one_in(8, list(graph().states.values())))


def moves_what_was_given_up(before: Snapshot, after: Snapshot) -> bool:
    """A turn that failed and was given up stands somewhere else than before."""
    old, new = before.turn, after.turn
    if old is None or new is None or not is_given_up(before):
        return False
    return new.number == old.number and not is_given_up(after)


def is_given_up(snapshot: Snapshot) -> bool:
    turn = snapshot.turn
    return turn is not None and turn.abandoned


COMMITS, GIVEN_UP = "only commits commit", "what was given up never moves"

LAWS: Mapping[str, Callable[[Snapshot, Event, Step], bool]] = {
    COMMITS: lambda old, event, made: only_commits_commit([(old, event, made)]),
    GIVEN_UP: lambda old, _, made: not moves_what_was_given_up(old, made.snapshot),
}
"""What holds of every event in every state."""


@attrs.frozen
class Outcomes:
    """What all that may happen makes of one state.

    Attributes:
        moves: The labelled moves from it, each state with its representative.
        rows: The rows of the table that were taken, as (trigger, source, target).
        broken: Which law an event broke.
    """

    moves: tuple[tuple[str, Snapshot], ...]
    rows: frozenset[tuple[str, str, str]]
    broken: tuple[tuple[str, Event], ...]


_OUTCOMES: dict[Hashable, Outcomes] = {}
_REPRESENTATIVES: dict[Hashable, Snapshot] = {}
_KEYS: dict[int, Hashable] = {}
"""The keys of the representatives, by identity: they are kept."""


def known_key(snapshot: Snapshot) -> Hashable:
    """The key, which is known already where it is a representative's."""
    known = _KEYS.get(id(snapshot))
    return key(snapshot) if known is None else known


def outcomes(snapshot: Snapshot) -> Outcomes:
    """What may happen in a state: worked out once, and shared by all explorations."""
    at = known_key(snapshot)
    if at not in _OUTCOMES:
        _OUTCOMES[at] = _worked_out(snapshot)
    return _OUTCOMES[at]


def _worked_out(snapshot: Snapshot) -> Outcomes:
    moves: dict[tuple[str, Hashable], Snapshot] = {}
    rows: set[tuple[str, str, str]] = set()
    broken: list[tuple[str, Event]] = []
    for event in worlds(snapshot):
        try:
            made = step(snapshot, event)
        except IllegalEventError:
            continue  # refused events are no moves
        for law, holds in LAWS.items():
            if not holds(snapshot, event, made):
                broken.append((law, event))
        if made.dropped:
            continue
        label = made.move.trigger if made.move else type(event).__name__
        assert made.row is not None
        rows.add((made.row.trigger, made.row.source, made.row.target))
        there = key(made.snapshot)
        one = _REPRESENTATIVES.setdefault(there, made.snapshot)
        _KEYS[id(one)] = there
        moves.setdefault((label, there), one)
    return Outcomes(
        tuple((label, one) for (label, _), one in moves.items()),
        frozenset(rows),
        tuple(broken),
    )


def moves(
    snapshot: Snapshot, skip: Callable[[str], bool] = lambda _: False
) -> Iterator[tuple[str, Snapshot]]:
    """The labelled moves from a state."""
    for label, after in outcomes(snapshot).moves:
        if not skip(label):
            yield label, after


def broken(law: str) -> list[Event]:
    """The events that broke a law, anywhere."""
    return [
        event
        for snapshot in graph().states.values()
        for name, event in outcomes(snapshot).broken
        if name == law
    ]


@cache
def graph() -> Explored[Snapshot]:
    """The whole graph, once."""
    return explore(START, moves, known_key, limit=60_000)


def rests(snapshot: Snapshot) -> bool:
    """A message was confirmed and nothing is owed."""
    turn = snapshot.turn
    return (
        turn is not None
        and turn.state == "confirmed"
        and snapshot.resting
        and turn.outcome in (Outcome.REST, Outcome.EMPTY, Outcome.TRUNCATED)
    )


@pytest.fixture(scope="module", autouse=True)
def _let_go() -> Generator[None]:
    """The graphs are a gigabyte, through which later tests would search for garbage."""
    yield
    graph.cache_clear()
    copies_graph.cache_clear()
    for known in (_OUTCOMES, _REPRESENTATIVES, _KEYS):
        known.clear()
    gc.collect()


def test_every_state_accepts_exactly_the_rows_of_the_table() -> None:
    kinds = {type(event) for event in one_of_each(START)}

    assert kinds == set(get_args(Event)) == set(TRIGGERS)
    assert len(graph().states) > 500
    assert whole().differences == frozenset()


def test_the_check_sees_a_row_too_many_and_a_row_too_few() -> None:
    """Planted: tables with other rows than the machine executes."""
    nearest = one_in(16, list(graph().states.values()))
    more = Transition("abandon", "done", "done")
    fewer = tuple(r for r in TURN.transitions if r.trigger != "cancel")
    planted = attrs.evolve(TURN, transitions=(more, *fewer))

    assert compared(planted, nearest).differences == {
        ("done", "TurnAbandoned"),
        *(
            (state, "RetryCancelled")
            for state in ("resting", "waiting", "probing", "suspended")
        ),
    }


def means_what_it_says(snapshot: Snapshot) -> bool:
    """What a substate means, asked of the data."""
    turn = snapshot.turn
    if turn is None:
        return snapshot.turns == 0
    states = {call.state for call in turn.open_calls}
    due = turn.due is not None
    owed = bool(turn.calls) or turn.outcome is Outcome.RESUME
    match Substate(turn.substate):
        case Substate.NEW:
            return False
        case Substate.PENDING | Substate.SENT | Substate.COMPACTING:
            return not states and not due
        case Substate.CALLING:
            return bool(states - {CallState.ASKED})
        case Substate.ASKING:
            return states == {CallState.ASKED}
        case Substate.ANSWERED:
            return not states and owed
        case Substate.DONE:
            return not owed and not due
        case Substate.WAITING:
            return not states and (due or bool(turn.tried))
        case Substate.SUSPENDED:
            return not states and not due and turn.suspended is not None
        case Substate.RESTING | Substate.PROBING | Substate.ABANDONED:
            return not states and not due
    return False


def test_meaning_of_a_substate_holds_in_every_reachable_state() -> None:
    found = graph()

    assert {one.substate for one in found.states.values()} == set(Substate)
    assert found.violations(means_what_it_says) == ()


def test_the_check_sees_a_turn_that_stands_in_another_substate() -> None:
    """Planted: a step that forgets to say where the turn stands."""
    assert means_what_it_says(begin(ev.ConversationOpened(PROFILE)))
    for snapshot in graph().states.values():
        turn = snapshot.turn
        if turn is not None and turn.substate == Substate.CALLING:
            for other in (Substate.ASKING, Substate.ANSWERED, Substate.DONE):
                moved = attrs.evolve(turn, substate=other)
                assert not means_what_it_says(attrs.evolve(snapshot, turn=moved))


def test_of_every_row_only_commits_change_history_ids_base_or_usage() -> None:
    """Every row of the table, in every state that it can be taken from."""
    found = graph().states.values()
    taken = set[tuple[str, str, str]]().union(*(outcomes(one).rows for one in found))

    assert broken(COMMITS) == []
    assert len(found) > 500
    assert taken | whole().rows == {
        (r.trigger, r.source, r.target) for r in TURN.transitions
    }


def test_from_every_state_a_message_can_be_confirmed() -> None:
    found = graph()

    assert [found.path(k) for k in found.stuck(rests)[:1]] == []


def test_the_liveness_check_finds_a_conversation_that_cannot_leave_failed() -> None:
    """Planted: a client in which a failed turn blocks the next one for ever."""

    def leaves_failed(snapshot: Snapshot) -> Iterator[tuple[str, Snapshot]]:
        failed = snapshot.turn is not None and snapshot.turn.state == "failed"
        if not failed:
            yield from moves(snapshot)

    found = explore(START, leaves_failed, known_key, limit=60_000)

    assert ("TurnOpened", "fail") in {found.path(k) for k in found.stuck(rests)}


def test_the_liveness_check_finds_a_call_without_its_result() -> None:
    """Planted: a client that never closes a call whose tool did not answer."""
    bad = {"CallClosed", "fail"}
    found = explore(START, lambda s: moves(s, lambda name: name in bad), known_key)

    assert ("TurnOpened", "send", "confirm") in {
        found.path(k) for k in found.stuck(rests)
    }


def closed(snapshot: Snapshot) -> bool:
    """Whatever is staged or sent answers every call, once."""
    turn = snapshot.turn
    if turn is None or turn.state not in ("pending", "sent"):
        return True
    return all(c.state is CallState.CLOSED and c.result for c in turn.calls)


def test_no_request_leaves_with_an_open_call() -> None:
    assert graph().violations(closed) == ()


def test_the_pairing_check_finds_an_open_call_that_is_sent() -> None:
    """Planted: a turn that goes on while a call is open."""
    planted: list[Snapshot] = []

    def hasty(snapshot: Snapshot) -> Iterator[tuple[str, Snapshot]]:
        if planted:
            return  # one is enough, and it is among the nearest
        yield from moves(snapshot)
        turn = snapshot.turn
        if turn is not None and turn.state == "confirmed" and turn.open_calls:
            hurried = attrs.evolve(turn, substate="pending")
            planted.append(attrs.evolve(snapshot, turn=hurried))
            yield "answer", planted[0]

    found = explore(START, hasty, known_key, limit=60_000)

    assert found.violations(closed)


def test_a_conversation_awaits_nothing_but_calls_that_run_or_were_asked_about() -> None:
    for snapshot in graph().states.values():
        turn = snapshot.turn
        waiting = turn is not None and any(
            c.state in (CallState.STARTED, CallState.ASKED) for c in turn.open_calls
        )
        assert next_command(snapshot) is not Command.AWAIT or waiting


def test_a_turn_that_was_given_up_never_moves_again() -> None:
    found = graph()
    given_up = [s for s in found.states.values() if is_given_up(s)]

    assert len(given_up) > 20
    assert broken(GIVEN_UP) == []


def test_the_check_sees_a_turn_that_was_given_up_and_compacts() -> None:
    """Planted: a table whose guard looks at the fault alone."""
    for snapshot in graph().states.values():
        turn = snapshot.turn
        if turn is not None and is_given_up(snapshot):
            hasty = attrs.evolve(turn, substate="compacting")
            planted = attrs.evolve(snapshot, turn=hasty)
            assert moves_what_was_given_up(snapshot, planted)


def test_exploration_key_that_distinguishes_too_much_is_reported() -> None:
    with pytest.raises(ExplorationLimitError, match="coarser key"):
        explore(0, lambda n: [("next", n + 1)], lambda n: n, limit=100)


# The same with the server's copies: fewer kinds of replies, and every fate of a copy.


def copies_key(snapshot: Snapshot) -> Hashable:
    """What decides the future of a conversation and of its copy at the server."""
    turn, thread = snapshot.turn, snapshot.thread
    marks = thread.refused, thread.unproved
    copy = thread.state, min(thread.losses, LOSSES_MAX), marks
    if turn is None:
        return copy, None
    flying = turn.copy if turn.state == "sent" else None
    return (
        copy,
        turn.substate,
        flying,
        bool(turn.staged),
        bool(turn.calls),
        bool(turn.open_calls),
        turn.outcome,
        snapshot.covered == len(snapshot.history),
    )


def copies_worlds(snapshot: Snapshot) -> Iterator[Event]:
    """Everything that may happen to a copy, and enough of everything else."""
    turn = snapshot.turn
    number = snapshot.turns * 100 + (turn.attempt if turn else 0)
    if turn is None or turn.state != "sent":
        yield from legal_events(snapshot, number)
        return
    n, attempt = turn.number, turn.attempt
    elsewhere = {"iterations": [{"type": "fallback_message"}]}
    yield ev.ReplyConfirmed(n, attempt, reply(number, "end_turn", text()))
    yield ev.ReplyConfirmed(
        n, attempt, reply(number, "end_turn", text(), usage=elsewhere)
    )
    yield ev.ReplyConfirmed(n, attempt, reply(number, "pause_turn", search()))
    called = reply(number, "tool_use", call(f"toolu_{number}"))
    yield ev.ReplyConfirmed(n, attempt, called)
    for code in ("thread_not_found", "thread_unsupported_request"):
        yield ev.TurnFailed(n, attempt, Fault(FaultKind.THREAD, "gone", code=code))
    if turn.copy is Copy.CONTINUE:
        unproved = Fault(FaultKind.THREAD, "7 tokens", spent=Usage(input=7))
        yield ev.TurnFailed(n, attempt, unproved)
    for kind in (FaultKind.TRANSIENT, FaultKind.REFUSAL, FaultKind.TOO_LONG):
        yield ev.TurnFailed(n, attempt, Fault(kind, "fault"))


def copies_moves(snapshot: Snapshot) -> Iterator[tuple[str, Snapshot]]:
    """The labelled moves; refused events are no moves."""
    for event in copies_worlds(snapshot):
        try:
            made = step(snapshot, event)
        except IllegalEventError:
            continue
        if not made.dropped:
            label = made.move.trigger if made.move else type(event).__name__
            yield label, made.snapshot


@cache
def copies_graph() -> Explored[Snapshot]:
    """The whole graph of conversations with copies, once."""
    return explore(START, copies_moves, copies_key, limit=20_000)


def continues_what_is_held(snapshot: Snapshot) -> bool:
    """A request that continues is in flight only where a copy was confirmed."""
    turn = snapshot.turn
    if turn is None or turn.state != "sent" or turn.copy is not Copy.CONTINUE:
        return True
    return snapshot.thread.state is ThreadState.CONTINUING


def keeps_a_copy(snapshot: Snapshot) -> bool:
    """A message was confirmed, and the server holds what can be continued."""
    return rests(snapshot) and snapshot.thread.state is ThreadState.CONTINUING


def test_no_thread_is_continued_that_the_server_does_not_hold() -> None:
    found = copies_graph()

    assert len(found.states) > 300
    assert {one.thread.state for one in found.states.values()} == set(ThreadState)
    assert found.violations(continues_what_is_held) == ()
    assert found.violations(closed) == ()


def test_with_copies_a_message_can_be_confirmed_and_a_copy_be_had() -> None:
    found = copies_graph()

    assert [found.path(k) for k in found.stuck(rests)[:1]] == []
    assert [found.path(k) for k in found.stuck(keeps_a_copy)[:1]] == []


def test_whatever_becomes_of_a_copy_changes_no_history() -> None:
    for snapshot in copies_graph().states.values():
        for event in copies_worlds(snapshot):
            try:
                made = step(snapshot, event)
            except IllegalEventError:
                continue
            assert only_commits_commit([(snapshot, event, made)]), event


def test_the_check_sees_a_client_that_continues_what_it_only_asked_for() -> None:
    """Planted: it takes a copy for kept because it asked the server to keep one."""

    def hasty(snapshot: Snapshot) -> Iterator[tuple[str, Snapshot]]:
        yield from copies_moves(snapshot)
        turn = snapshot.turn
        asked = snapshot.thread.state is ThreadState.NEW
        if turn is not None and turn.state == "pending" and turn.staged and asked:
            sent = attrs.evolve(turn, substate="sent", copy=Copy.CONTINUE)
            yield "send", attrs.evolve(snapshot, turn=sent)

    def checked(snapshot: Snapshot) -> Iterator[tuple[str, Snapshot]]:
        return hasty(snapshot) if continues_what_is_held(snapshot) else iter(())

    found = explore(START, checked, copies_key, limit=20_000)

    assert found.violations(continues_what_is_held)

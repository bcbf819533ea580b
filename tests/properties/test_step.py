"""What holds for every event, in every state that can be reached."""

import ast
import importlib
import inspect
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.part import examples
from tests.states.strategies import (
    FAULTS,
    PROFILE,
    legal_events,
    reply,
    stale_events,
    text,
)

from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.rules import Context, check
from turnlatch_states.api.stop_reasons import Outcome
from turnlatch_states.effects.commands import (
    Command,
    next_command,
)
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.fsm.table import Effect
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.load import fold_events
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import Step, begin, fold, step
from turnlatch_states.machine.synthetic_results import closed_result
from turnlatch_states.machine.turn import TURN, TurnState
from turnlatch_states.request.build import build
from turnlatch_states.request.history import Exchange, History
from turnlatch_states.request.profile import Purpose

OPENED = ev.ConversationOpened(PROFILE)
Stepper = Callable[[Snapshot, Event], Step]


def what_commits(snapshot: Snapshot) -> tuple[object, ...]:
    """The four things that only a commit may change."""
    ids = tuple(exchange.message_id for exchange in snapshot.history)
    return snapshot.history, ids, snapshot.bases, snapshot.usage


def walk(
    choices: list[int], stepper: Stepper = step
) -> list[tuple[Snapshot, Event, Step]]:
    """A random walk over everything the world may report, illegal moves refused."""
    snapshot, taken = begin(OPENED), list[tuple[Snapshot, Event, Step]]()
    for number, choice in enumerate(choices):
        menu = [*legal_events(snapshot, number), *stale_events(snapshot)]
        event = menu[choice % len(menu)]
        try:
            made = stepper(snapshot, event)
        except IllegalEventError:
            continue
        taken.append((snapshot, event, made))
        snapshot = made.snapshot
    return taken


walks = st.lists(st.integers(0, 255), max_size=60)


def only_commits_commit(taken: list[tuple[Snapshot, Event, Step]]) -> bool:
    """The law, as a checker: no row without a commit changes what commits change."""
    for before, event, made in taken:
        if isinstance(event, ev.Rewound):
            continue  # moves the head, by the caller's order; deletes nothing
        commits = made.row is not None and made.row.effect is Effect.COMMIT
        changed = what_commits(before) != what_commits(made.snapshot)
        if changed != commits:
            return False
    return True


@given(walks)
@settings(max_examples=examples(300))
def test_only_rows_that_commit_change_history_ids_base_or_usage(
    choices: list[int],
) -> None:
    assert only_commits_commit(walk(choices))


def test_the_checker_sees_an_optimistic_commit() -> None:
    """The planted bug: a client that appends when it sends."""

    def optimistic(snapshot: Snapshot, event: Event) -> Step:
        made = step(snapshot, event)
        if isinstance(event, ev.RequestSent) and not made.dropped:
            moved = made.snapshot.history.appended(
                Exchange(1, b"{}", 0, 0, b'{"id":"x"}')
            )
            object.__setattr__(made.snapshot, "history", moved)
        return made

    snapshot = begin(OPENED)
    opened = optimistic(snapshot, ev.TurnOpened(1, b'{"type":"text","text":"a"}'))
    before = opened.snapshot
    sent = optimistic(before, ev.RequestSent(1, 1))

    assert not only_commits_commit([(before, ev.RequestSent(1, 1), sent)])


@given(walks)
@settings(max_examples=examples(300))
def test_loading_a_journal_gives_what_stepping_gave(choices: list[int]) -> None:
    taken = walk(choices)
    events = [OPENED, *(event for _, event, made in taken if not made.dropped)]
    last = taken[-1][2].snapshot if taken else begin(OPENED)

    loaded = fold_events(events)

    assert loaded == last
    assert loaded.history == last.history


@given(walks)
def test_folding_and_stepping_agree_on_every_event(choices: list[int]) -> None:
    for before, event, made in walk(choices):
        assert fold(before, event) == made.snapshot


@given(walks)
def test_a_refused_event_changes_nothing(choices: list[int]) -> None:
    taken = walk(choices)
    snapshot = taken[-1][2].snapshot if taken else begin(OPENED)
    before = (snapshot, what_commits(snapshot))
    for event in legal_events(snapshot, 77):
        try:
            step(snapshot, event)
        except IllegalEventError:
            assert (snapshot, what_commits(snapshot)) == before


@given(walks)
def test_late_events_of_dead_turns_and_attempts_are_dropped(choices: list[int]) -> None:
    taken = walk(choices)
    snapshot = taken[-1][2].snapshot if taken else begin(OPENED)
    for event in stale_events(snapshot):
        made = step(snapshot, event)
        assert made.dropped
        assert made.snapshot is snapshot


@given(walks)
@settings(max_examples=examples(200))
def test_whatever_is_sent_is_legal(choices: list[int]) -> None:
    """Every body that any walk could send is accepted by the strict rules."""
    for before, event, made in walk(choices):
        if not isinstance(event, ev.RequestSent) or made.dropped:
            continue
        turn = made.snapshot.turn
        assert turn is not None
        body = json.loads(
            build(before.profile, before.history, before.base, turn.staged)
        )
        context = Context(betas=frozenset({"compact-2026-09-04"}))
        # R12 wants the server's own tool defined, or finished before the next message.
        found = [f for f in check(body, context) if f.rule != "R12"]
        assert found == []


def recovers(snapshot: Snapshot) -> bool:
    """From here a new message can be confirmed, by doing what the conversation needs."""
    start = snapshot.turns
    for _ in range(60):
        turn = snapshot.turn
        if turn is not None and turn.number > start and snapshot.resting:
            return turn.state == TurnState.CONFIRMED
        snapshot = step(snapshot, _obeyed(snapshot)).snapshot
    return False


def _obeyed(snapshot: Snapshot) -> Event:
    """What happens next in a world without faults."""
    turn = snapshot.turn
    if turn is None or snapshot.resting:
        return ev.TurnOpened(snapshot.turns + 1, encode(text("next")))
    n, attempt = turn.number, turn.attempt
    match next_command(snapshot):
        case Command.PREPARE if turn.purpose is Purpose.MESSAGE and (
            turn.staged or turn.outcome is Outcome.RESUME
        ):
            return ev.RequestSent(n, attempt + 1)
        case Command.SEND if turn.state == TurnState.SENT:
            return ev.ReplyConfirmed(n, attempt, reply(7, "end_turn", text()))
        case Command.CONTINUE:
            return ev.TurnContinued(n)
        case Command.RUN_CALLS:
            call = turn.open_calls[0].use.id
            result = closed_result(call, "done")
            return ev.CallClosed(n, call, Closing.RESULT, result)
        case Command.RECOVER:
            return ev.RetryCancelled(n)
        case _:
            return ev.TurnFailed(n, attempt, FAULTS[0])


@given(walks)
@settings(max_examples=examples(200))
def test_from_every_state_the_next_message_can_be_confirmed(choices: list[int]) -> None:
    taken = walk(choices)

    assert recovers(taken[-1][2].snapshot if taken else begin(OPENED))


def test_nothing_but_the_commit_can_change_what_commits_change() -> None:
    """Structural: history grows in `commit` and its two halves, and one place calls it."""
    modules = (
        "machine.commit",
        "machine.step",
        "machine.notes",
        "machine.current_turn",
        "request.pins",
    )
    functions = [
        node
        for name in modules
        for node in ast.walk(
            ast.parse(
                inspect.getsource(importlib.import_module(f"turnlatch_states.{name}"))
            )
        )
        if isinstance(node, ast.FunctionDef)
    ]

    def calls(function: ast.FunctionDef, name: str) -> bool:
        return any(
            isinstance(n, ast.Call)
            and name
            == (
                n.func.id
                if isinstance(n.func, ast.Name)
                else getattr(n.func, "attr", "")
            )
            for n in ast.walk(function)
        )

    def sets(function: ast.FunctionDef, field: str) -> bool:
        return any(
            isinstance(n, ast.Call)
            and isinstance(n.func, ast.Attribute)
            and n.func.attr == "evolve"
            and isinstance(n.args[0], ast.Name)
            and n.args[0].id in ("snapshot", "after")
            and any(k.arg == field for k in n.keywords)
            for n in ast.walk(function)
        )

    def names(found: Callable[[ast.FunctionDef], bool]) -> list[str]:
        return [one.name for one in functions if found(one)]

    assert names(lambda f: calls(f, "commit")) == ["_move"]
    assert names(lambda f: calls(f, "_reply")) == ["commit"]
    assert names(lambda f: calls(f, "_summary")) == ["commit"]
    assert names(lambda f: calls(f, "appended")) == ["_reply"]
    assert names(lambda f: calls(f, "Base")) == ["_summary"]
    assert names(lambda f: sets(f, "spent")) == ["_reply", "_summary"]
    assert names(lambda f: sets(f, "history")) == ["_reply", "_rewind"]
    assert names(lambda f: sets(f, "bases")) == ["_summary", "_rewind"]
    viewing = ["_reply", "_summary", "_reconfigured", "_rewind"]
    assert names(lambda f: sets(f, "view")) == viewing


def test_a_history_shares_its_past_and_keeps_its_own_length() -> None:
    one = History().appended(Exchange(1, b"1", 0, 0, b"{}"))
    two = one.appended(Exchange(2, b"2", 0, 0, b"{}"))
    branch = one.appended(Exchange(2, b"3", 0, 0, b"{}"))

    assert [len(h) for h in (one, two, branch)] == [1, 2, 2]
    assert two.wires() == [b"1", b"2"]
    assert branch.wires() == [b"1", b"3"]
    assert one.wires() == [b"1"]


@pytest.mark.parametrize("state", [s.name for s in TURN.leaves[1:]])
def test_every_state_needs_something_definite(state: str) -> None:
    opened = step(begin(OPENED), ev.TurnOpened(1, b'{"type":"text","text":"a"}'))
    turn = opened.snapshot.turn
    assert turn is not None
    object.__setattr__(turn, "substate", state)

    assert next_command(opened.snapshot) is not Command.AWAIT

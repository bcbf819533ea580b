"""A table is checked when it is built, and the library executes what it says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch_states.fsm.errors import DefinitionError, IllegalEventError
from turnlatch_states.fsm.table import Effect, Guard, State, Table, Transition
from turnlatch_states.machine.call import CALL
from turnlatch_states.machine.thread import THREAD
from turnlatch_states.machine.turn import TURN
from turnlatch_states.machine.writer import WRITER

TABLES = (TURN, CALL, THREAD, WRITER)
A, B, C = State("a", "one"), State("b", "two"), State("c", "three", final=True)
YES = Guard("yes", "always", lambda _s, _e: True)
NO = Guard("no", "never", lambda _s, _e: False)


def build(
    *rows: Transition,
    states: tuple[State, ...] = (A, B, C),
    initial: str = "a",
    refusable: frozenset[str] = frozenset(),
) -> Table:
    return Table("toy", "a toy", states, initial, rows, refusable)


def fixed(name: str, answer: bool) -> Guard:
    return Guard(name, name, lambda _s, _e: answer)


GOOD = (Transition("go", "a", "b"), Transition("go", "b", "c"))


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        (GOOD, {"initial": "z"}, "initial state 'z' is not declared"),
        ((*GOOD, Transition("go", "z", "a")), {}, "names 'z', which is not a state"),
        ((*GOOD, Transition("up", "a", "z")), {}, "names 'z', which is not a state"),
        ((*GOOD, Transition("go", "a", "c")), {}, "'go' from 'a' is declared twice"),
        (GOOD[:1], {}, "state 'c' cannot be reached from 'a'"),
        (GOOD[:1], {}, "state 'b' has no row that leaves it and is not final"),
        ((*GOOD, Transition("back", "c", "a")), {}, "final state 'c' has a row"),
        (
            (GOOD[0], Transition("go", "b", "c", YES)),
            {},
            "the guards of 'go' from 'b' leave a hole",
        ),
        (
            (*GOOD, Transition("up", "a", "b"), Transition("up", "a", "c", YES)),
            {},
            "'up' from 'a' has a row that can never be reached",
        ),
        (GOOD, {"refusable": frozenset({"fly"})}, "refusable trigger 'fly' has no row"),
        (GOOD, {"states": (A, A, B, C)}, "state 'a' is declared 2 times"),
        (
            (*GOOD, Transition("sink", "a", "d"), Transition("stay", "d", "d")),
            {"states": (A, B, C, State("d", "four"))},
            "state 'd' is a trap: no path leads to rest",
        ),
    ],
)
def test_every_fault_of_a_table_is_found_when_it_is_built(
    rows: tuple[Transition, ...], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        build(*rows, **options)

    assert says in str(caught.value)


def test_all_faults_are_told_in_one_error() -> None:
    with pytest.raises(DefinitionError) as caught:
        build(Transition("go", "a", "z"), Transition("up", "y", "a"), initial="x")

    assert len(caught.value.faults) >= 4


def test_complementary_guards_leave_no_hole() -> None:
    table = build(
        GOOD[0],
        Transition("go", "b", "c", NO),
        Transition("go", "b", "a", NO.negate()),
    )

    assert table.fire("b", "go", None, None).target == "a"


def test_a_refused_order_says_which_guard_said_no() -> None:
    table = build(GOOD[0], Transition("go", "b", "c", NO), refusable=frozenset({"go"}))

    with pytest.raises(IllegalEventError) as caught:
        table.fire("b", "go", None, None)

    assert caught.value.why == "never"
    assert "nothing was changed" in str(caught.value)


def test_a_truthy_answer_counts_as_yes_in_the_library_too() -> None:
    odd = Guard("odd", "odd", lambda _s, _e: [1])  # type: ignore[arg-type, return-value] # a guard written without a type checker
    table = build(GOOD[0], Transition("go", "b", "c", odd), refusable=frozenset({"go"}))

    assert table.fire("b", "go", None, None).target == "c"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_cell_moves_as_declared_or_is_refused(table: Table) -> None:
    for state in table.states:
        for trigger in table.triggers():
            rows = table.rows(state.name, trigger)
            if not rows:
                with pytest.raises(IllegalEventError) as caught:
                    table.fire(state.name, trigger, None, None)
                assert caught.value.legal == table.legal(state.name)
            elif rows[0].guard is None:
                assert table.fire(state.name, trigger, None, None) is rows[0]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_no_shortcut_triggers_exist(table: Table) -> None:
    for state in table.states:
        for other in table.states:
            with pytest.raises(IllegalEventError):
                table.fire(state.name, f"to_{other.name}", None, None)


def test_the_turn_table_is_the_one_that_is_promised() -> None:
    rows = {(r.trigger, r.source, r.target): r.effect for r in TURN.transitions}

    assert rows == {
        ("send", "pending", "sent"): Effect.NONE,
        ("confirm", "sent", "confirmed"): Effect.COMMIT,
        ("fail", "sent", "failed"): Effect.ROLL_BACK,
        ("fail", "compacting", "failed"): Effect.ROLL_BACK,
        ("fail", "pending", "failed"): Effect.NONE,
        ("fail", "confirmed", "failed"): Effect.CLOSE_CALLS,
        ("retry", "failed", "pending"): Effect.NONE,
        ("answer", "confirmed", "pending"): Effect.NONE,
        ("compact", "pending", "compacting"): Effect.NONE,
        ("compact", "failed", "compacting"): Effect.NONE,
        ("compacted", "compacting", "pending"): Effect.COMMIT,
        ("compacted", "compacting", "confirmed"): Effect.COMMIT,
    }


def test_an_interrupt_is_legal_wherever_something_is_going_on() -> None:
    for state in TURN.states:
        assert ("fail" in TURN.legal(state.name)) == (state.name != "failed")


@given(st.data())
def test_looking_up_and_executing_agree(data: st.DataObject) -> None:
    """The journal is folded by look-up and the live engine by the library."""
    answers = data.draw(st.lists(st.booleans(), min_size=3, max_size=3))
    guards = [fixed(f"g{i}", yes) for i, yes in enumerate(answers)]
    table = build(
        Transition("go", "a", "b", guards[0]),
        Transition("go", "a", "c", guards[1]),
        Transition("go", "a", "a", guards[2]),
        Transition("end", "b", "c"),
        refusable=frozenset({"go"}),
    )
    if any(answers):
        chosen = table.choose("a", "go", None, None)
        assert table.fire("a", "go", None, None) is chosen
        assert chosen.guard is guards[answers.index(True)]
    else:
        with pytest.raises(IllegalEventError):
            table.fire("a", "go", None, None)

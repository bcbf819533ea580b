"""A table is checked when it is built, and the library executes what it says."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import attrs
import pytest

from turnlatch_states.fsm.errors import (
    CoreBugError,
    DefinitionError,
    IllegalEventError,
)
from turnlatch_states.fsm.table import (
    ANY,
    SAME,
    Effect,
    Guard,
    State,
    Table,
    Transition,
    each,
)
from turnlatch_states.machine.call import CALL
from turnlatch_states.machine.connection import CONNECTION
from turnlatch_states.machine.thread import THREAD
from turnlatch_states.machine.turn import TURN
from turnlatch_states.machine.writer import WRITER

TABLES = (TURN, CALL, THREAD, WRITER, CONNECTION)
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


GOOD = (Transition("go", "a", "b"), Transition("go", "b", "c"))


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        (GOOD, {"initial": "z"}, "initial state 'z' is not declared, or has children"),
        (
            (*GOOD, Transition("go", "z", "a")),
            {},
            "names 'z', which is not a state to stand in",
        ),
        (
            (*GOOD, Transition("up", "a", "z")),
            {},
            "names 'z', which is not a state to stand in",
        ),
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


def test_all_defects_of_a_table_are_listed_in_one_error() -> None:
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


def test_refused_event_names_the_guard() -> None:
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
    for state in table.leaves:
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
    for state in table.leaves:
        for other in table.leaves:
            with pytest.raises(IllegalEventError):
                table.fire(state.name, f"to_{other.name}", None, None)


def test_the_turn_table_is_the_one_that_is_promised() -> None:
    """What a turn does between its five states; within them it may do more."""
    rows = {
        (r.trigger, TURN.outer(r.source), TURN.outer(r.target)): r.effect
        for r in TURN.transitions
        if r.trigger != "open" and TURN.outer(r.source) != TURN.outer(r.target)
    }
    inner = [
        r for r in TURN.transitions if TURN.outer(r.source) == TURN.outer(r.target)
    ]

    assert {r.effect for r in inner} == {Effect.NONE, Effect.GIVE_UP, Effect.REWIND}
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
    for state in TURN.leaves:
        stopped = state.parent == "failed" or state.name in ("new", "done")
        assert ("fail" in TURN.legal(state.name)) == (not stopped)


def answering(table: Table, answers: dict[str, bool]) -> Table:
    """The table with guards that answer what `answers` says of their names."""

    def asked(guard: Guard) -> Guard:
        def test(_subject: object, _event: object) -> bool:
            return answers[guard.name]

        return attrs.evolve(guard, test=test)

    rows = (
        row if row.guard is None else attrs.evolve(row, guard=asked(row.guard))
        for row in table.transitions
    )
    return attrs.evolve(table, transitions=tuple(rows))


def taken(way: Any, table: Table, state: str, trigger: str) -> Transition | None:
    """The row that a way of executing takes; None where it refuses."""
    try:
        row: Transition = way(table, state, trigger, None, None)
    except IllegalEventError:
        return None
    return row


def disagreements(
    table: Table, answers: dict[str, bool]
) -> Iterator[tuple[str, str, dict[str, bool]]]:
    """Every cell, and answers of its guards, where the library and the rows differ."""
    for state, trigger in product(table.leaves, table.triggers()):
        rows = table.rows(state.name, trigger)
        guards = dict.fromkeys(row.guard.name for row in rows if row.guard)
        for given_answers in product((True, False), repeat=len(guards)):
            answers.update(zip(guards, given_answers, strict=True))
            looked_up = taken(Table.choose, table, state.name, trigger)
            if taken(Table.fire, table, state.name, trigger) is not looked_up:
                yield state.name, trigger, dict(answers)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_looking_up_and_executing_agree_in_every_cell(table: Table) -> None:
    """A journal is folded by look-up, and the live engine asks the library."""
    answers: dict[str, bool] = {}

    assert list(disagreements(answering(table, answers), answers)) == []


def planted(table: Table, rows: tuple[Transition, ...]) -> Table:
    """The table, with the compiled machine of other rows."""
    other = attrs.evolve(table, transitions=rows)
    made = attrs.evolve(table)
    object.__setattr__(made, "compiled", other.compiled)
    return made


def test_the_check_sees_a_compiled_machine_with_other_rows() -> None:
    """Planted: rows in another order, one row less, one that ends elsewhere."""
    answers: dict[str, bool] = {}
    table = answering(
        build(
            GOOD[0],
            Transition("go", "b", "c", YES),
            Transition("go", "b", "a", NO),
            Transition("end", "b", "c"),
            refusable=frozenset({"go"}),
        ),
        answers,
    )
    first, *rest = table.transitions
    swapped = (first, rest[1], rest[0], rest[2])
    elsewhere = (attrs.evolve(first, target="c"), Transition("to", "a", "b"), *rest)

    for rows in (swapped, (first, *rest[1:]), elsewhere):
        assert list(disagreements(planted(table, rows), answers)), rows


def test_the_row_that_is_taken_is_the_answer_of_the_library() -> None:
    """With the library cut out of `fire`, its own rows would be the answer."""
    table = build(*GOOD, Transition("to", "a", "c"))
    goes_on = attrs.evolve(GOOD[0], target="c")
    other = planted(table, (goes_on, GOOD[1], Transition("to", "a", "b")))

    assert other.fire("a", "go", None, None) == goes_on
    assert other.choose("a", "go", None, None) is GOOD[0]


def test_a_library_that_moves_elsewhere_than_its_row_says_is_a_bug() -> None:
    table = build(*GOOD, Transition("to", "a", "c"))
    (compiled,) = table.compiled.events["go"].transitions["a"]
    compiled.dest = "c"

    with pytest.raises(CoreBugError, match="go from a took the row from a to b"):
        table.fire("a", "go", None, None)


NESTED = (
    A,
    State("p", "parts"),
    State("one", "the first part", parent="p"),
    State("two", "the second part", parent="p", rests=True),
)


def test_a_row_of_a_parent_is_a_row_of_each_of_its_children() -> None:
    table = Table(
        "toy",
        "a toy",
        NESTED,
        "a",
        (
            Transition("go", "a", "one"),
            *each("swap", ("one", "a"), "two"),
            Transition("back", "p", "a"),
            Transition("stay", ANY, SAME),
        ),
    )

    assert [s.name for s in table.leaves] == ["a", "one", "two"]
    assert table.outer("two") == "p"
    assert table.outer("a") == "a"
    assert table.legal("two") == ("back", "stay")
    assert table.fire("two", "back", None, None).target == "a"
    assert table.fire("one", "stay", None, None).target == "one"
    assert attrs.evolve(table).transitions == table.transitions


@pytest.mark.parametrize(
    ("states", "rows", "says"),
    [
        (NESTED, (Transition("go", "a", "p"),), "'p', which is not a state to stand"),
        ((State("x", "", parent="y"),), (), "part of 'y', an unknown state"),
        (
            (*NESTED, State("deep", "", parent="one")),
            (),
            "'deep' is nested in a state that is nested itself",
        ),
    ],
)
def test_every_fault_of_nested_states_is_found(
    states: tuple[State, ...], rows: tuple[Transition, ...], says: str
) -> None:
    with pytest.raises(DefinitionError, match=says):
        Table("toy", "a toy", states, "a", rows)

"""A machine that leaves its table is found by the shortest path, and one that does not passes."""

import re
import unittest
from collections.abc import Callable

import attrs
import pytest
from tests.engine.testing.orders import ORDER, STOCKED, OrderDriver, StockDriver
from tests.engine.testing.turns import TurnDriver

from turnlatch.errors import SettingsError
from turnlatch.testing import TableDriver, TableMachine, TableMismatchError
from turnlatch.testing.shortest_paths import row_words
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.fsm.table import Table, Transition
from turnlatch_states.machine.turn import TURN


class Bound(TurnDriver):
    """The turn, asked for the rows of another table by trigger and source."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table

    def arrange(self, row: Transition) -> bool:
        place = self.table.transitions.index(row)
        return super().arrange(TURN.transitions[place])


class WrongState(OrderDriver):
    """What comes back is new again."""

    def fire(self, trigger: str) -> None:
        super().fire(trigger)
        if trigger == "send back":
            self.state = "new"


class Accepting(OrderDriver):
    """It can be cancelled under way."""

    def fire(self, trigger: str) -> None:
        if (self.state, trigger) == ("sent", "cancel"):
            self.state = "cancelled"
            return
        super().fire(trigger)


class Ignoring(OrderDriver):
    """It says nothing where it should refuse."""

    def fire(self, trigger: str) -> None:
        if (self.state, trigger) != ("done", "pay"):
            super().fire(trigger)


class MovedByRefusal(OrderDriver):
    """It refuses a second payment, and is new again."""

    def fire(self, trigger: str) -> None:
        refused = (self.state, trigger) == ("paid", "pay")
        if refused:
            self.state = "new"
            raise ValueError("it is paid")
        super().fire(trigger)


class Refusing(OrderDriver):
    """It takes no notes once it is sent."""

    def fire(self, trigger: str) -> None:
        if (self.state, trigger) == ("sent", "note"):
            raise ValueError("too late")
        super().fire(trigger)


class Tired(OrderDriver):
    """The third time that it is shipped, it is lost: no pair of rows shows that."""

    shipped = 0

    def fire(self, trigger: str) -> None:
        super().fire(trigger)
        self.shipped += trigger == "ship"
        if self.shipped == 2 and trigger == "ship":
            self.state = "cancelled"


class Crashing(OrderDriver):
    """It refuses one trigger by an accident."""

    def fire(self, trigger: str) -> None:
        if (self.state, trigger) == ("done", "ship"):
            raise KeyError(trigger)
        super().fire(trigger)


class Elsewhere(OrderDriver):
    """It is born paid."""

    def __init__(self) -> None:
        self.state = "paid"


PLANTED: dict[type[OrderDriver], tuple[str, list[str]]] = {
    WrongState: (
        "'send back' moved it from 'done' to 'new'; the table says 'paid'",
        ["pay", "ship", "arrive", "send back"],
    ),
    Accepting: (
        "it accepted 'cancel' in 'sent', where the table has no row for it",
        ["pay", "ship", "cancel"],
    ),
    Ignoring: (
        "it accepted 'pay' in 'done', where the table has no row for it",
        ["pay", "ship", "arrive", "pay"],
    ),
    MovedByRefusal: (
        "it refused 'pay', and moved from 'paid' to 'new'",
        ["pay", "pay"],
    ),
    Refusing: (
        "it refused 'note' in 'sent', where the table has note: sent → sent",
        ["pay", "ship", "note"],
    ),
    Tired: (
        "'ship' moved it from 'paid' to 'cancelled'; the table says 'sent'",
        ["pay", "ship", "arrive", "send back", "ship"],
    ),
    Crashing: (
        "'ship' raised KeyError, which is not a refusal: 'ship'",
        ["pay", "ship", "arrive", "ship"],
    ),
    Elsewhere: ("it starts in 'paid', not in 'new'", []),
}


def machine(driver: Callable[[], TableDriver], table: Table = ORDER) -> TableMachine:
    return TableMachine(table, driver, refusal=ValueError)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.__name__)
def test_each_planted_bug_is_found_by_the_shortest_path(
    planted: type[OrderDriver],
) -> None:
    told, moves = PLANTED[planted]
    with pytest.raises(TableMismatchError) as found:
        machine(planted).run()
    report = str(found.value)
    assert told in report
    assert re.findall(r"^  \d+\. (.*)$", report, re.MULTILINE) == moves
    assert max(map(len, report.splitlines())) <= 100
    assert "● ──▶ ○ new ──pay──▶ ○ paid" in report
    told_replay = f"TableMachine(TABLE, {planted.__name__}).replay("
    assert report.endswith(f"{told_replay}{', '.join(map(repr, moves))})")
    with pytest.raises(TableMismatchError, match=re.escape(told[:20])):
        machine(planted).replay(*moves)
    if moves:
        machine(OrderDriver).replay(*moves[:-1])


def test_a_machine_that_follows_its_table_passes_and_everything_is_covered() -> None:
    tried = machine(OrderDriver)
    result = unittest.TestResult()
    tried.TestCase("runTest").run(result)
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])
    assert tried.coverage().complete


def test_a_bug_behind_a_refusal_is_found_by_chance() -> None:
    class Grudging(OrderDriver):
        refused = False

        def fire(self, trigger: str) -> None:
            if (self.state, trigger) == ("sent", "pay"):
                self.refused = True
            super().fire(trigger)
            if self.refused and trigger == "arrive":
                self.state = "new"

    machine(Grudging).sweep()
    with pytest.raises(TableMismatchError) as found:
        machine(Grudging).run()
    assert ".replay('pay', 'ship', 'pay', 'arrive')" in str(found.value)


def test_replay_refuses_a_move_that_the_table_does_not_have() -> None:
    with pytest.raises(SettingsError, match=r"'fly' is not a move of order in paid"):
        machine(OrderDriver).replay("pay", "fly")


def test_a_row_with_a_condition_is_held_to_its_target_where_it_is_arranged() -> None:
    def stocked(driver: Callable[[], TableDriver]) -> TableMachine:
        return TableMachine(STOCKED, driver)

    tried = stocked(StockDriver)
    tried.run()
    assert tried.coverage().complete

    class Optimist(StockDriver):
        def fire(self, trigger: str) -> None:
            super().fire(trigger)
            if trigger == "fill":
                self.state = "filled"

    with pytest.raises(TableMismatchError) as found:
        stocked(Optimist).run()
    assert ".replay('fill [not in stock]')" in str(found.value)
    with pytest.raises(TableMismatchError):
        stocked(Optimist).replay("fill [not in stock]")


def test_a_row_with_a_condition_may_be_taken_or_not_where_nothing_arranges_it() -> None:
    class Plain:
        state = "open"

        def fire(self, trigger: str) -> None:
            self.state = STOCKED.choose(self.state, trigger, 0, None).target

    tried = TableMachine(STOCKED, Plain)
    tried.run()
    assert tried.coverage().states == {"open", "waiting"}
    assert "row not taken: claim" in str(tried.coverage())

    class Wild(Plain):
        def fire(self, trigger: str) -> None:
            super().fire(trigger)
            if trigger == "claim":
                self.state = "open"

    class Claiming(Plain):
        def fire(self, trigger: str) -> None:
            if trigger == "claim" and self.state == "waiting":
                self.state = "open"
                return
            super().fire(trigger)

    TableMachine(STOCKED, Wild).run()
    with pytest.raises(TableMismatchError, match="the table says 'filled'"):
        TableMachine(STOCKED, Claiming).run()


def test_arranging_that_moves_the_machine_is_found() -> None:
    class Meddling(StockDriver):
        def arrange(self, row: Transition) -> bool:
            self.state = "filled"
            return super().arrange(row)

    with pytest.raises(TableMismatchError, match="arranging 'fill"):
        TableMachine(STOCKED, Meddling).run()


def test_the_turn_of_a_conversation_follows_its_table() -> None:
    tried = TableMachine(TURN, TurnDriver, refusal=IllegalEventError)
    tried.run()
    report = tried.coverage()
    assert report.missed_states == ()
    # These need more behind them than the shortest path has: a second call, a turn that
    # paused, a turn that is only a compaction.
    assert [row_words(row) for row in report.missed_rows] == [
        "call [questions]: asking → asking",
        "compacted [paused]: compacting → answered",
        "compacted [not staged]: compacting → done",
    ]


def test_a_turn_that_leaves_a_planted_row_is_found() -> None:
    rows = [
        attrs.evolve(row, target="suspended")
        if (row.trigger, row.source) == ("cancel", "waiting")
        else row
        for row in TURN.transitions
    ]
    planted = attrs.evolve(TURN, transitions=tuple(rows))
    with pytest.raises(TableMismatchError) as found:
        TableMachine(planted, lambda: Bound(planted)).run()
    report = str(found.value)
    assert "'cancel' moved it from 'waiting' to 'resting'" in report
    assert len(re.findall(r"^  \d+\. ", report, re.MULTILINE)) == 4
    assert max(map(len, report.splitlines())) <= 100

"""Property-testing a state machine against the table that it is meant to follow.

    TestOrder = TableMachine(ORDER, OrderDriver).TestCase

The table decides what each trigger must do in each state; a driver carries the triggers
to the machine under test. Nothing is known of that machine but the name of its state.
"""

import unittest
from collections.abc import Callable, Iterator
from typing import ClassVar, Protocol, final, runtime_checkable

import attrs
from hypothesis import settings as Settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from turnlatch.diagrams import render
from turnlatch.errors import SettingsError
from turnlatch.testing.machine import NUMBER_MAX, RUN
from turnlatch.testing.report import COLUMNS, within
from turnlatch.testing.shortest_paths import (
    Coverage,
    Paths,
    TablePath,
    coverage,
    paths,
    row_label,
    row_words,
)
from turnlatch_states.fsm.table import Table, Transition


class TableDriver(Protocol):
    """A machine under test, as `TableMachine` sees it."""

    @property
    def state(self) -> str:
        """The name of the leaf state that the machine stands in."""
        ...

    def fire(self, trigger: str, /) -> object:
        """Let the machine take a trigger.

        Raises:
            Exception: The machine refuses the trigger.
        """
        ...


@runtime_checkable
class ArrangingDriver(Protocol):
    """A driver that can make the condition of a row hold."""

    def arrange(self, row: Transition, /) -> bool:
        """Make sure that the next `fire(row.trigger)` takes this row and no other of its
        cell; False if that cannot be arranged here."""
        ...


class TableMismatchError(AssertionError):
    """The machine under test does not follow its table; the text is the report."""


@final
@attrs.frozen
class TableMove:
    """One trigger in one state.

    Attributes:
        words: Its name in reports and in `replay`.
        trigger: The trigger.
        row: The row that it is arranged to take; None where the state has no row for the
            trigger, or where the machine chooses among several.
    """

    words: str
    trigger: str
    row: Transition | None


@final
class TableMachine:
    """A machine under test, and the table that it is held to.

    A trigger that has a row must move the machine to the row's target. A trigger without
    a row must be refused with an error, and a refusal must leave the state.

    A row with a guard is taken or not for reasons that a table does not know. A driver
    with `arrange(row)` makes the condition hold, and the machine must then take exactly
    that row. Without it the machine may take each row of the cell that is not behind a
    row without a guard, and may also refuse if all of them have guards.

    Args:
        table: The table.
        driver: Makes the machine under test, in the table's initial state; called for
            each run.
        refusal: The errors that count as a refusal. Another error fails the run.
        settings: How Hypothesis continues after the sweep; the same runs every time by
            default.
    """

    def __init__(
        self,
        table: Table,
        driver: Callable[[], TableDriver],
        *,
        refusal: type[Exception] | tuple[type[Exception], ...] = Exception,
        settings: Settings = RUN,
    ) -> None:
        self.table = table
        self.driver = driver
        self.refusal = refusal
        self.settings = settings
        self.paths: Paths = paths(table)
        self._runs: list[TablePath] = []

    @property
    def TestCase(self) -> type[unittest.TestCase]:
        """A test case for unittest and pytest, which does what `run` does."""
        machine = self

        class TableTest(unittest.TestCase):
            def runTest(self) -> None:
                machine.run()

        TableTest.__name__ = TableTest.__qualname__ = f"{self.table.name}_table"
        return TableTest

    def run(self) -> None:
        """Sweep the table, then let chance take over.

        Raises:
            TableMismatchError: The machine does not follow the table.
        """
        self.sweep()
        walk = type("TableWalk", (_Walk,), {"machine": self})
        run_state_machine_as_test(walk, settings=self.settings)

    def sweep(self) -> None:
        """Take the shortest path to every row and every pair of rows, and try every
        illegal trigger in every state, each in a separate run, the shorter ones first.

        Raises:
            TableMismatchError: The machine does not follow the table. No shorter run
                of the sweep shows it.
        """
        ways: list[tuple[int, TablePath, str | None]] = [(0, (), None)]
        plain = (*self.paths.rows.values(), *self.paths.pairs.values())
        ways += [(len(path), path, None) for path in plain]
        for state, path in self.paths.states.items():
            legal = self.table.legal(state)
            ways += [
                (len(path) + 1, path, trigger)
                for trigger in self.table.triggers()
                if trigger not in legal
            ]
        for _, path, illegal in sorted(ways, key=lambda way: way[0]):
            run = TableRun(self)
            if all(map(run.take, path)) and illegal is not None:
                run.make(TableMove(illegal, illegal, None))

    def replay(self, *moves: str) -> None:
        """Make the moves of a failing run again; its report has this line.

        Raises:
            TableMismatchError: The machine still does not follow the table.
            SettingsError: A move is not one that this table has where the run stands.
        """
        run = TableRun(self)
        for words in moves:
            able = {one.words: one for one in run.moves()}
            if words not in able:
                raise SettingsError(
                    "moves",
                    f"{words!r} is not a move of {self.table.name} in {run.at}",
                    f"give one of: {', '.join(able)}",
                )
            run.make(able[words])

    def coverage(self) -> Coverage:
        """The coverage of all runs of this machine so far."""
        return coverage(self.table, self._runs)

    def record(self, taken: TablePath) -> None:
        """Count the rows of one run, from its start to where it stands."""
        self._runs.append(taken)


@final
class TableRun:
    """One run of a machine under test.

    Attributes:
        at: The state that the table says it stands in.
    """

    def __init__(self, machine: TableMachine) -> None:
        self._machine = machine
        self._table = machine.table
        self._driver = machine.driver()
        self._words: list[str] = []
        self._taken: list[Transition] = []
        self._certain = True
        self.at = self._table.initial
        found = self._driver.state
        if found != self.at:
            raise self._wrong(f"it starts in {found!r}, not in {self.at!r}")

    def moves(self) -> tuple[TableMove, ...]:
        """Every trigger here, those that have rows first."""
        arranging = isinstance(self._driver, ArrangingDriver)
        legal = self._table.legal(self.at)
        found: list[TableMove] = []
        for trigger in legal:
            rows = self._table.rows(self.at, trigger)
            if arranging or (len(rows) == 1 and rows[0].guard is None):
                found += [TableMove(row_label(row), trigger, row) for row in rows]
            else:
                found.append(TableMove(trigger, trigger, None))
        found += [
            TableMove(trigger, trigger, None)
            for trigger in self._table.triggers()
            if trigger not in legal
        ]
        return tuple(found)

    def take(self, row: Transition) -> bool:
        """Take this row, as far as that can be arranged; False if it was not taken."""
        move = next(
            one
            for one in self.moves()
            if one.trigger == row.trigger and one.row in (row, None)
        )
        return self.make(move) and self.at == row.target

    def make(self, move: TableMove) -> bool:
        """Make a move, and hold the machine to the table; False if it did not move.

        Raises:
            TableMismatchError: The machine does not follow the table.
        """
        if move.row is not None and isinstance(self._driver, ArrangingDriver):
            if not self._driver.arrange(move.row):
                return False
            self._stands(f"arranging {move.words!r} moved it")
        self._words.append(move.words)
        able = list(self._able(move))
        try:
            self._driver.fire(move.trigger)
        except self._machine.refusal as refused:
            self._refused(move, able, refused)
            return False
        except Exception as failed:
            name = type(failed).__name__
            raise self._wrong(
                f"{move.trigger!r} raised {name}, which is not a refusal: {failed}"
            ) from failed
        self._moved(move, [row for row in able if row is not None])
        return True

    def _able(self, move: TableMove) -> Iterator[Transition | None]:
        """The rows that the move may take; None: it may be refused."""
        if move.row is not None:
            yield move.row
            return
        for row in self._table.rows(self.at, move.trigger):
            yield row
            if row.guard is None:
                return
        yield None

    def _refused(
        self, move: TableMove, able: list[Transition | None], refused: Exception
    ) -> None:
        if None not in able:
            told = " or ".join(row_words(row) for row in able if row is not None)
            name = type(refused).__name__
            raise self._wrong(
                f"it refused {move.trigger!r} in {self.at!r}, where the table has"
                f" {told} ({name}: {refused})"
            ) from refused
        self._stands(f"it refused {move.trigger!r}, and moved")

    def _moved(self, move: TableMove, able: list[Transition]) -> None:
        found = self._driver.state
        if not able:
            raise self._wrong(
                f"it accepted {move.trigger!r} in {self.at!r}, where the table has no"
                f" row for it; it stands in {found!r}"
            )
        fitting = [row for row in able if row.target == found]
        if not fitting:
            told = " or ".join(dict.fromkeys(repr(row.target) for row in able))
            raise self._wrong(
                f"{move.trigger!r} moved it from {self.at!r} to {found!r}; the table"
                f" says {told}"
            )
        # Two rows of one cell can end in the same state, so that the row is not
        # known: a run is counted up to there.
        self._certain = self._certain and len(fitting) == 1
        if self._certain:
            self._taken.append(fitting[0])
            self._machine.record(tuple(self._taken))
        self.at = found

    def _stands(self, told: str) -> None:
        found = self._driver.state
        if found != self.at:
            raise self._wrong(f"{told} from {self.at!r} to {found!r}")

    def _wrong(self, told: str) -> TableMismatchError:
        lines = [f"The machine does not follow the table {self._table.name!r}:", told]
        lines.append("The moves:" if self._words else "It made no move.")
        lines += [f"  {place}. {one}" for place, one in enumerate(self._words, 1)]
        lines += self._picture()
        moves = ", ".join(map(repr, self._words))
        name = getattr(self._machine.driver, "__name__", "driver")
        lines.append(f"Play it again: TableMachine(TABLE, {name}).replay({moves})")
        return TableMismatchError("\n".join(map(within, lines)))

    def _picture(self) -> list[str]:
        """The table with the rows that were taken; these alone if it is too wide, or if
        its states have parts, which a drawing folds."""
        if self._table.leaves == self._table.states:
            path = self._taken
            drawn = render(self._table, "text", path=path, current=self.at).splitlines()
            if max(map(len, drawn)) <= COLUMNS:
                return drawn
        return [
            "The rows that were taken:",
            *(f"  {row_words(r)}" for r in self._taken),
        ]


class _Walk(RuleBasedStateMachine):
    """Chance: from the end of some shortest path, one move after the other."""

    machine: ClassVar[TableMachine]

    def __init__(self) -> None:
        super().__init__()
        self._starts = list(self.machine.paths.states.values())
        self._run = TableRun(self.machine)

    @initialize(number=st.integers(0, NUMBER_MAX))
    def start(self, number: int) -> None:
        """Go to a state by the shortest way, as far as that can be arranged."""
        all(map(self._run.take, self._starts[number % len(self._starts)]))

    @rule(number=st.integers(0, NUMBER_MAX))
    def move(self, number: int) -> None:
        """One move: a trigger that has a row, or one that has none."""
        moves = self._run.moves()
        self._run.make(moves[number % len(moves)])

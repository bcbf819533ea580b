"""What a machine is: states, triggers, rows. Declare it, check it, compile it, fire it.

Rules of this file:

* A `Table` is data. Everything that decides a transition stands in its rows; a
  transition that is not a row does not exist.
* A table is checked when it is built, and one error lists every fault it has.
* A row is executed by the `transitions` library on a private cursor. No callback is
  registered there: a guard is a pure question, an effect is a word that `step` acts on.
* An event that is refused changes nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, final

import attrs
from transitions import EventData, Machine, MachineError

from turnlatch_states.fsm.errors import CoreBugError, DefinitionError, IllegalEventError


class Effect(StrEnum):
    """The effect of a row in addition to the move; `step` acts on it."""

    NONE = ""
    COMMIT = "commit"
    """The only effect that may change history, ids, base or usage."""
    ROLL_BACK = "roll back"
    """Forget the attempt; history ends at the last confirmed exchange, as before."""
    CLOSE_CALLS = "close calls"
    """Give every open call the truthful result for how far it got."""


class Role(StrEnum):
    """How a state is drawn: meaning never hangs on colour alone."""

    IDLE = "idle"
    BUSY = "busy"
    OK = "ok"
    BAD = "bad"
    UPKEEP = "upkeep"


@final
@attrs.frozen
class State:
    """One state and what is true in it.

    Attributes:
        name: One lower-case word.
        meaning: The condition that holds in this state.
        rests: Nothing moves from here by itself; the caller acts next.
        final: No row leaves it.
        icon: One-cell glyph; `ascii` stands in for it on plain terminals.
        role: Which of the five looks it is drawn with.
        cell: (column, row) on the drawing grid, from the top left.
    """

    name: str
    meaning: str
    rests: bool = False
    final: bool = False
    icon: str = "○"
    ascii: str = "o"
    role: Role = Role.IDLE
    cell: tuple[int, int] = (0, 0)


@final
@attrs.frozen
class Guard:
    """A pure question about the subject and the event.

    Attributes:
        name: The question as a short name, for diagrams.
        says: The condition in words, for errors and tables.
        test: The question itself, asked of (subject, event).
    """

    name: str
    says: str
    test: Callable[[Any, Any], bool] = attrs.field(eq=False)  # Any: see Table

    def negate(self, says: str | None = None) -> "Guard":
        """The same question, answered the other way round.

        Args:
            says: That condition in words; "not (…)" around this one's by default.
        """
        test = self.test
        return Guard(
            f"not {self.name}",
            says or f"not ({self.says})",
            lambda subject, event: not test(subject, event),
        )


@final
@attrs.frozen
class Transition:
    """One row: in `source`, `trigger` moves to `target` if `guard` says yes."""

    trigger: str
    source: str
    target: str
    guard: Guard | None = None
    effect: Effect = Effect.NONE
    says: str = ""


@final
@attrs.frozen
class Table:
    """A whole machine as data.

    A table does not know what its guards ask about: the turn machine asks about a
    snapshot, the call machine about a call. Subjects and events are therefore `Any`
    here and typed where the guards are written.

    Attributes:
        name: The machine's name, as the command line spells it.
        promise: The machine's guarantee, in one sentence.
        states: Every state, in reading order.
        initial: Where the machine is born.
        refusable: Triggers that may be refused by their guard: orders that somebody
            gives. Every other guarded cell must have an answer for both cases.
        transitions: The rows, in reading order.

    Raises:
        DefinitionError: On construction, with every fault of the table.
    """

    name: str
    promise: str
    states: tuple[State, ...]
    initial: str
    transitions: tuple[Transition, ...]
    refusable: frozenset[str] = frozenset()
    _cells: Mapping[tuple[str, str], tuple[Transition, ...]] = attrs.field(
        init=False, eq=False, repr=False
    )
    _machine: Machine = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        faults = tuple(_faults(self))
        if faults:
            raise DefinitionError(self.name, faults)
        cells: dict[tuple[str, str], tuple[Transition, ...]] = {}
        for row in self.transitions:
            cell = (row.source, row.trigger)
            cells[cell] = (*cells.get(cell, ()), row)
        object.__setattr__(self, "_cells", cells)
        object.__setattr__(self, "_machine", _compile(self))

    def state(self, name: str) -> State:
        """The state of that name.

        Raises:
            KeyError: No such state.
        """
        for state in self.states:
            if state.name == name:
                return state
        raise KeyError(name)

    def triggers(self) -> tuple[str, ...]:
        """Every trigger once, in reading order."""
        return tuple(dict.fromkeys(row.trigger for row in self.transitions))

    def legal(self, state: str) -> tuple[str, ...]:
        """The triggers that `state` has a row for, whatever their guards say."""
        return tuple(
            dict.fromkeys(r.trigger for r in self.transitions if r.source == state)
        )

    def rows(self, state: str, trigger: str) -> tuple[Transition, ...]:
        """The rows of one cell; empty where the event is illegal."""
        return self._cells.get((state, trigger), ())

    def choose(
        self, state: str, trigger: str, subject: object, event: object
    ) -> Transition:
        """The row that `trigger` takes from `state`, found by looking it up.

        Raises:
            IllegalEventError: No row, or every guard says no. Nothing was changed.
        """
        rows = self.rows(state, trigger)
        for row in rows:
            if row.guard is None or row.guard.test(subject, event):
                return row
        why = "; ".join(r.guard.says for r in rows if r.guard is not None) or None
        raise IllegalEventError(self.name, state, trigger, self.legal(state), why)

    def fire(
        self, state: str, trigger: str, subject: object, event: object
    ) -> Transition:
        """Execute `trigger` from `state` in the compiled machine; the row it took.

        The library runs the transition on a private cursor; the row is also looked up,
        and the two must agree.

        Raises:
            IllegalEventError: No row, or every guard says no. Nothing was changed.
            CoreBugError: The library and the table disagree.
        """
        row = self.choose(state, trigger, subject, event)
        # A plain string: the library takes an enum member by its name, not its value.
        cursor = _Cursor(str(state))
        try:
            moved = self._machine.events[trigger].trigger(
                cursor, subject=subject, event=event
            )
        except MachineError as error:
            raise CoreBugError(f"{self.name}: {error}") from error
        if not moved or cursor.state != row.target:
            raise CoreBugError(
                f"{self.name}: {trigger} from {state} should reach {row.target},"
                f" the compiled machine reached {cursor.state}"
            )
        return row


COMPILED: Final = "turnlatch"
"""The name that the library logs for the machines of these tables."""


@attrs.define
class _Cursor:
    """What the library moves: a state and nothing else."""

    state: str


def _asks(guard: Guard) -> Callable[[EventData], bool]:
    # `transitions` compares the answer with True, so a truthy non-bool would count
    # as no: the answer is made a bool here.
    def condition(data: EventData) -> bool:
        return bool(guard.test(data.kwargs["subject"], data.kwargs["event"]))

    return condition


def _compile(table: Table) -> Machine:
    return Machine(
        model=None,
        name=COMPILED,
        states=[state.name for state in table.states],
        initial=table.initial,
        transitions=[
            {
                "trigger": row.trigger,
                "source": row.source,
                "dest": row.target,
                "conditions": [] if row.guard is None else [_asks(row.guard)],
            }
            for row in table.transitions
        ],
        auto_transitions=False,
        send_event=True,
    )


def _faults(table: Table) -> Iterator[str]:
    """Every fault of a table, each as one sentence."""
    names = [state.name for state in table.states]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"state {name!r} is declared {names.count(name)} times"
    if table.initial not in names:
        yield f"initial state {table.initial!r} is not declared"
    for row in table.transitions:
        for end in (row.source, row.target):
            if end not in names:
                yield f"{row.trigger!r} names {end!r}, which is not a state"
    for trigger in sorted(table.refusable - set(table.triggers())):
        yield f"refusable trigger {trigger!r} has no row"
    yield from _cell_faults(table)
    yield from _path_faults(table, names)


def _cell_faults(table: Table) -> Iterator[str]:
    cells: dict[tuple[str, str], list[Transition]] = {}
    for row in table.transitions:
        cells.setdefault((row.source, row.trigger), []).append(row)
    for (source, trigger), rows in cells.items():
        guards = [row.guard.name if row.guard else None for row in rows]
        if len(set(guards)) < len(guards):
            yield f"{trigger!r} from {source!r} is declared twice"
        if None in guards[:-1]:
            yield f"{trigger!r} from {source!r} has a row that can never be reached"
        if None not in guards and trigger not in table.refusable:
            asked = {name for name in guards if name is not None}
            if not any(f"not {name}" in asked for name in asked):
                yield f"the guards of {trigger!r} from {source!r} leave a hole"


def _path_faults(table: Table, names: list[str]) -> Iterator[str]:
    reached = {table.initial}
    while True:
        found = {r.target for r in table.transitions if r.source in reached} - reached
        if not found:
            break
        reached |= found
    for name in names:
        if name not in reached:
            yield f"state {name!r} cannot be reached from {table.initial!r}"
    leaving = {row.source for row in table.transitions}
    for state in table.states:
        if state.final and state.name in leaving:
            yield f"final state {state.name!r} has a row that leaves it"
        if not state.final and state.name not in leaving:
            yield f"state {state.name!r} has no row that leaves it and is not final"
    ends = {state.name for state in table.states if state.final or state.rests}
    while True:
        more = {r.source for r in table.transitions if r.target in ends} - ends
        if not more:
            break
        ends |= more
    for name in names:
        if name not in ends:
            yield f"state {name!r} is a trap: no path leads to rest"

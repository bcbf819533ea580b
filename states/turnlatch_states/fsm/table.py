"""What a machine is: states, triggers, rows. Declare it, check it, compile it, fire it.

Rules of this file:

* A `Table` is data. Everything that decides a transition stands in its rows; a
  transition that is not a row does not exist.
* A table is checked when it is built, and one error lists every fault it has.
* A row is executed by the `transitions` library, in a flat machine of its leaf states
  (a trigger costs a fifth there of what it costs in the library's nested machine). The
  row that `fire` returns is the one the library took. The library asks the guards and
  moves a cursor; an effect is a word that `step` acts on.
* A state may have children. Then a row ends in a child, and a row that starts in the
  parent starts in each of its children.
* An event that is refused changes nothing, and only this file refuses one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NoReturn, final

import attrs
from transitions import EventData, Machine, MachineError
from transitions import Transition as Compiled

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
    GIVE_UP = "give up"
    """Drop what the turn had staged; its results stay."""
    REWIND = "rewind"
    """Move the head of the history back; nothing is deleted."""


ANY: Final = "*"
"""As the source of a row: it starts in every state."""
SAME: Final = "="
"""As the target of a row: it ends where it started."""


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
        parent: The state that this one is a part of; empty for none.
    """

    name: str
    meaning: str
    rests: bool = False
    final: bool = False
    icon: str = "○"
    ascii: str = "o"
    role: Role = Role.IDLE
    cell: tuple[int, int] = (0, 0)
    parent: str = ""


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
    """One row: in `source`, `trigger` moves to `target` if `guard` says yes.

    A table replaces a row whose source is a parent, or `ANY`, by one row for each leaf
    state, and the target `SAME` by that leaf state.
    """

    trigger: str
    source: str
    target: str
    guard: Guard | None = None
    effect: Effect = Effect.NONE
    says: str = ""


def each(
    trigger: str,
    sources: Sequence[str],
    target: str,
    guard: Guard | None = None,
    effect: Effect = Effect.NONE,
    says: str = "",
) -> tuple[Transition, ...]:
    """The same row from several sources."""
    return tuple(
        Transition(trigger, source, target, guard, effect, says) for source in sources
    )


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
        states: Every state, in reading order; parents before their children.
        initial: Where the machine is born.
        transitions: The rows between leaf states, in reading order. Of the rows of one
            cell the first is taken whose guard says yes.
        refusable: Triggers that may be refused by their guard: orders that somebody
            gives. Every other guarded cell must have an answer for both cases.
        compiled: The library's machine, made from the rows, that executes them.

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
    compiled: Machine = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "transitions", tuple(_expanded(self)))
        faults = tuple(_faults(self))
        if faults:
            raise DefinitionError(self.name, faults)
        cells: dict[tuple[str, str], tuple[Transition, ...]] = {}
        for row in self.transitions:
            cell = (row.source, row.trigger)
            cells[cell] = (*cells.get(cell, ()), row)
        object.__setattr__(self, "_cells", cells)
        object.__setattr__(self, "compiled", _compile(self))

    def state(self, name: str) -> State:
        """The state of that name.

        Raises:
            KeyError: No such state.
        """
        for state in self.states:
            if state.name == name:
                return state
        raise KeyError(name)

    @property
    def leaves(self) -> tuple[State, ...]:
        """The states without children: those that the machine can stand in."""
        parents = {state.parent for state in self.states}
        return tuple(state for state in self.states if state.name not in parents)

    def outer(self, name: str) -> str:
        """The name of the state's parent, or its own if it has none."""
        return self.state(name).parent or name

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
        """The row that `trigger` takes from `state`, looked up without the library.

        Loading a journal does this, at a fifth of the cost of `fire`. Tests hold the
        two to the same answer.

        Raises:
            IllegalEventError: No row, or every guard says no. Nothing was changed.
        """
        for row in self.rows(state, trigger):
            if row.guard is None or row.guard.test(subject, event):
                return row
        self._refuse_cell(state, trigger)

    def fire(
        self, state: str, trigger: str, subject: object, event: object
    ) -> Transition:
        """Execute `trigger` from `state` in the compiled machine; the row it took.

        Raises:
            IllegalEventError: No row, or every guard says no. Nothing was changed.
            CoreBugError: The library moved to another state than its row says.
        """
        # A plain string: the library takes an enum member by its name, not its value.
        cursor = _Cursor(str(state), subject, event)
        pulled = self.compiled.events.get(trigger)
        if pulled is None:
            self._refuse_cell(state, trigger)
        try:
            pulled.trigger(cursor)
        except MachineError:
            self._refuse_cell(state, trigger)
        row = cursor.row
        if row is None:
            self._refuse_cell(state, trigger)
        if row.source != state or cursor.state != row.target:
            raise CoreBugError(
                f"{self.name}: {trigger} from {state} took the row from {row.source} to"
                f" {row.target}, and the compiled machine stands in {cursor.state}"
            )
        return row

    def refuse(
        self,
        state: str,
        trigger: str,
        *,
        legal: Sequence[str] | None = None,
        why: str | None = None,
    ) -> NoReturn:
        """Refuse what a caller asks for before it is an event.

        Args:
            state: The machine's state.
            trigger: The refused trigger.
            legal: The legal alternatives; the triggers of the state by default.
            why: The condition that does not hold; None if the state has no such row.

        Raises:
            IllegalEventError: Always.
        """
        can = self.legal(state) if legal is None else legal
        raise IllegalEventError(self.name, str(state), trigger, can, why)

    def _refuse_cell(self, state: str, trigger: str) -> NoReturn:
        guards = (row.guard for row in self.rows(state, trigger))
        why = "; ".join(guard.says for guard in guards if guard is not None) or None
        self.refuse(state, trigger, why=why)


COMPILED: Final = "turnlatch"
"""The name that the library logs for the machines of these tables."""


@attrs.define
class _Cursor:
    """What the library moves: a state, what its guards ask about, and the row it took."""

    state: str
    subject: object
    event: object
    row: Transition | None = None


class _CompiledRow(Compiled):
    """The library's transition, which carries the row that it was made from."""

    def __init__(self, *args: Any, row: Transition, **options: Any) -> None:
        super().__init__(*args, **options)
        self._row = row

    def execute(self, event_data: EventData) -> bool:
        """Execute it where its guard says yes, and tell the cursor which row that was."""
        taken = super().execute(event_data)
        if taken:
            cursor: Any = event_data.model
            cursor.row = self._row
        return taken


class _CompiledTable(Machine):
    transition_cls = _CompiledRow


def _asks(guard: Guard) -> Callable[[EventData], bool]:
    # `transitions` compares the answer with True, so a truthy non-bool would count
    # as no: the answer is made a bool here.
    def condition(data: EventData) -> bool:
        cursor: Any = data.model
        return bool(guard.test(cursor.subject, cursor.event))

    return condition


def _compile(table: Table) -> Machine:
    machine = _CompiledTable(
        model=None,
        name=COMPILED,
        states=[state.name for state in table.leaves],
        initial=table.initial,
        auto_transitions=False,
        send_event=True,
    )
    for row in table.transitions:
        asked = None if row.guard is None else _asks(row.guard)
        machine.add_transition(row.trigger, row.source, row.target, asked, row=row)
    return machine


def _expanded(table: Table) -> Iterator[Transition]:
    """The rows between leaf states that the declared rows stand for."""
    leaves = [state.name for state in table.leaves]
    for row in table.transitions:
        inner = [state.name for state in table.states if state.parent == row.source]
        if row.source != ANY and not inner and row.target != SAME:
            yield row
            continue
        for source in leaves if row.source == ANY else inner or [row.source]:
            target = source if row.target == SAME else row.target
            yield attrs.evolve(row, source=source, target=target)


def _faults(table: Table) -> Iterator[str]:
    """Every fault of a table, each as one sentence."""
    names = [state.name for state in table.states]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"state {name!r} is declared {names.count(name)} times"
    for state in table.states:
        if state.parent and state.parent not in names:
            yield f"state {state.name!r} is part of {state.parent!r}, an unknown state"
        elif state.parent and table.outer(state.parent) != state.parent:
            yield f"state {state.name!r} is nested in a state that is nested itself"
    names = list(dict.fromkeys(state.name for state in table.leaves))
    if table.initial not in names:
        yield f"initial state {table.initial!r} is not declared, or has children"
    for row in table.transitions:
        for end in (row.source, row.target):
            if end not in names:
                yield f"{row.trigger!r} names {end!r}, which is not a state to stand in"
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
    for state in table.leaves:
        if state.final and state.name in leaving:
            yield f"final state {state.name!r} has a row that leaves it"
        if not state.final and state.name not in leaving:
            yield f"state {state.name!r} has no row that leaves it and is not final"
    ends = {state.name for state in table.leaves if state.final or state.rests}
    while True:
        more = {r.source for r in table.transitions if r.target in ends} - ends
        if not more:
            break
        ends |= more
    for name in names:
        if name not in ends:
            yield f"state {name!r} is a trap: no path leads to rest"

"""The decisions of every table in the run of a conversation, read back from its journal."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias, final

import attrs

from turnlatch.ports import Entry
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.fsm.table import Table, Transition
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Call, Snapshot
from turnlatch_states.machine.step import begin, fold, step_with
from turnlatch_states.machine.thread import THREAD, Fire
from turnlatch_states.machine.turn import TURN


@final
@attrs.frozen
class TableDecision:
    """What a table said to one trigger.

    Attributes:
        table: The table.
        state: Where the machine stood.
        trigger: The trigger.
        subject: The subject of the guards.
        event: The event of the guards.
        row: The row that was taken; None if the trigger was refused.
    """

    table: Table
    state: str
    trigger: str
    subject: object
    event: object
    row: Transition | None


def recorder(made: list[TableDecision]) -> Fire:
    """What looks up a row in a table, and adds the decision to a list."""

    def fire(
        table: Table, state: str, trigger: str, subject: object, event: object
    ) -> Transition:
        row = None
        try:
            row = table.choose(state, trigger, subject, event)
            return row
        finally:
            made.append(TableDecision(table, str(state), trigger, subject, event, row))

    return fire


def decisions(snapshot: Snapshot, event: Event) -> Sequence[TableDecision]:
    """Everything that the tables are asked for one event, the last of which may be
    refused."""
    made: list[TableDecision] = []
    with contextlib.suppress(IllegalEventError):
        step_with(snapshot, event, recorder(made))
    return made


Item: TypeAlias = tuple[str, tuple[Transition, ...]]
"""A table's name with a row of it, or with a pair of rows."""


@final
@attrs.frozen
class TakenRow:
    """A row that was taken.

    Attributes:
        table: The table's name.
        rows: The row that the machine took before, if it took one, and the row.
    """

    table: str
    rows: tuple[Transition, ...]

    def __str__(self) -> str:
        row = self.rows[-1]
        return f"{self.table} {row.trigger} {row.source}→{row.target}"

    @property
    def items(self) -> Iterator[Item]:
        """The row, and the pair."""
        yield self.table, self.rows[-1:]
        if len(self.rows) > 1:
            yield self.table, self.rows


@final
class Followed:
    """A journal that grows, and the rows that its machines took.

    Attributes:
        snapshot: Where the conversation stands.
        runs: By machine, the rows that it took: `turn`, `thread`, and the place of each
            call.
    """

    snapshot: Snapshot

    def __init__(self) -> None:
        self.runs: dict[str, list[Transition]] = {TURN.name: [], THREAD.name: []}
        self._read = 0

    def last(self, machine: str) -> Transition | None:
        """The last row of a machine."""
        return next(reversed(self.runs[machine]), None)

    def follow(self, entries: Sequence[Entry]) -> Sequence[TakenRow]:
        """Read on; the rows that the new entries took, in order."""
        made: list[TakenRow] = []
        for entry in entries[self._read :]:
            self._read += 1
            if isinstance(entry.event, ev.ConversationOpened):
                self.snapshot = begin(entry.event)
                continue
            for one in decisions(self.snapshot, entry.event):
                assert one.row is not None, "it is in the journal"
                machine = one.table.name
                if isinstance(one.subject, Call):
                    machine = one.subject.place
                run = self.runs.setdefault(machine, [])
                made.append(TakenRow(one.table.name, (*run[-1:], one.row)))
                run.append(one.row)
            self.snapshot = fold(self.snapshot, entry.event)
        return made

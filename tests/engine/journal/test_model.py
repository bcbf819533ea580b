"""Both stores against the simplest thing they could be: a dictionary of lists.

One rule draws a move and an operand; what a move finds to do it does. So no choice of
rules can leave a run without a move.
"""

import shutil
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    rule,
    run_state_machine_as_test,
)
from tests.around import append_now
from tests.part import examples

from turnlatch.errors import ConversationBusyError, JournalError
from turnlatch.journal import MemoryStore, SQLiteStore
from turnlatch.ports import Journal, Store
from turnlatch_states.machine.events import Event, RequestSent, TurnOpened

NAMES = ("a", "b", "c", "d")
MOVES = ("append", "append", "append", "open", "close", "fork", "reopen", "read")


class _Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp())
        self.store = self.make()
        self.model: dict[str, list[Event]] = {}
        self.handles: dict[str, Journal] = {}
        self.number = 0

    def make(self) -> Store:
        raise NotImplementedError

    @rule(move=st.sampled_from(MOVES), operand=st.integers(0, 255))
    def act(self, move: str, operand: int) -> None:
        name = NAMES[operand % len(NAMES)]
        getattr(self, move)(name, operand // len(NAMES))
        self.check(name)

    def append(self, name: str, operand: int) -> None:
        if name not in self.handles:
            self.open(name, operand)
        events: list[Event] = []
        for _ in range(operand % 4):
            self.number += 1
            events += [TurnOpened(self.number, b"x" * operand), RequestSent(1, 1)]
        append_now(self.handles[name], events)
        self.model[name] += events

    def open(self, name: str, operand: int) -> None:
        if name in self.handles:
            with pytest.raises(ConversationBusyError):
                self.store.open(name)
            return
        self.handles[name] = self.store.open(name)
        self.model.setdefault(name, [])

    def close(self, name: str, operand: int) -> None:
        if name in self.handles:
            self.handles.pop(name).close()

    def fork(self, name: str, operand: int) -> None:
        parent = NAMES[operand % len(NAMES)]
        size = len(self.model.get(parent, ()))
        sequence = operand * 7 % (size + 2)
        if name in self.model or not 1 <= sequence <= size:
            with pytest.raises(JournalError):
                self.store.fork(parent, name, sequence)
        else:
            self.store.fork(parent, name, sequence)
            self.model[name] = self.model[parent][:sequence]

    def reopen(self, name: str, operand: int) -> None:
        """Nothing to do where the store itself is the memory."""

    def read(self, name: str, operand: int) -> None:
        after = operand % 9
        if name in self.handles:
            found = self.handles[name].entries(after)
            assert [one.event for one in found] == self.model[name][after:]

    def check(self, name: str) -> None:
        if name in self.model:
            entries = self.store.read(name)
            assert [one.event for one in entries] == self.model[name]
            assert [one.sequence for one in entries] == list(range(1, len(entries) + 1))
        found = {one.name: one.entries for one in self.store.conversations()}
        assert found == {one: len(events) for one, events in self.model.items()}
        held = {one.name for one in self.store.conversations() if one.holder}
        assert held == set(self.handles)

    def teardown(self) -> None:
        for name in self.model:
            self.check(name)
        self.store.close()
        shutil.rmtree(self.folder)


class MemoryMachine(_Machine):
    """The fake."""

    def make(self) -> Store:
        return MemoryStore()


class SQLiteMachine(_Machine):
    """The real one, closed and opened again in between."""

    def make(self) -> Store:
        return SQLiteStore(self.folder / "chat.db", synchronous="NORMAL")

    def reopen(self, name: str, operand: int) -> None:
        self.store.close()
        self.handles.clear()
        self.store = self.make()


RUNS = settings(max_examples=examples(20), stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("machine", [MemoryMachine, SQLiteMachine])
def test_store_does_what_a_dictionary_of_lists_does(machine: type[_Machine]) -> None:
    run_state_machine_as_test(machine, settings=RUNS)

"""Property-testing an agent: a Hypothesis state machine whose steps are a conversation.

    class MyAgentMachine(ConversationMachine):
        calls = [call("pay", amount=3)]
        tools = {"pay": pay}

        def agent(self, world: AgentWorld) -> Agent:
            return MyAgent(world.api.sync_client(), world.folder, world.tools)


    TestMyAgent = MyAgentMachine.TestCase

One rule is always enabled and draws one small number; it stands for one of the moves that
are possible now. So no run is discarded, and a failing one shrinks to few, plain moves.
"""

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption
from hypothesis.stateful import (
    RuleBasedStateMachine,
    rule,
    run_state_machine_as_test,
)

from turnlatch.errors import SettingsError
from turnlatch.simulator import Answer
from turnlatch.testing.agents import Agent, AgentDefectError, AgentWorld
from turnlatch.testing.command_agent import CommandAgent
from turnlatch.testing.declaration import (
    called,
    demand_declared,
    demand_known,
    demand_offered,
)
from turnlatch.testing.defects import DefectKind
from turnlatch.testing.effects import Effects
from turnlatch.testing.messages_api import MessagesApi
from turnlatch.testing.moves import FAULTS, Player, paired
from turnlatch.testing.report import failing_run
from turnlatch.testing.shortest_paths import TablePath
from turnlatch.testing.summary import MachineSummary, RunTally
from turnlatch.testing.verdict import Verdict
from turnlatch_states.fsm.table import Table

NUMBER_MAX: Final = 119
"""The largest number of a move. Hypothesis draws from a range of up to 127 evenly; in
a wider one it prefers small numbers, so that some moves would hardly ever be made."""

RUN: Final = settings(
    max_examples=100,
    stateful_step_count=6,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    print_blob=False,
    report_multiple_bugs=False,
)
"""How an agent is tried by default: the same runs every time, in seconds. Most defects
show within four moves. Set `MyMachine.TestCase.settings` for others."""


class ConversationMachine(RuleBasedStateMachine):
    """A conversation with an agent, to subclass.

    After every move the agent's requests and effects are judged (`Verdict`), and then
    `check`. At the end of a run nothing misbehaves any more, and the next message has to
    be answered.

    Attributes:
        prompts: The messages that are said, in turn.
        tools: The agent's tools by name; they are watched.
        calls: The calls that the model makes.
        pairs: The model also makes two of them in one reply; see `moves.paired`.
        faults: The faults that its requests meet.
        tolerated: Kinds of defects that do not fail a run.
        table: The table whose rows `taken` names; None for an agent without one.
    """

    prompts: ClassVar[Sequence[str]] = ("Do it.",)
    tools: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    calls: ClassVar[Sequence[Answer]] = ()
    pairs: ClassVar[bool] = True
    faults: ClassVar[Sequence[str]] = FAULTS
    tolerated: ClassVar[Collection[DefectKind]] = ()
    table: ClassVar[Table | None] = None
    _tally: ClassVar[RunTally] = RunTally()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()

        def run_test(case: Any) -> None:
            __tracebackhide__ = True
            cls._tally = RunTally()
            began = time.perf_counter()
            try:
                cls.sweep()
                run_state_machine_as_test(cls, settings=case.settings)
            finally:
                cls._tally.seconds = time.perf_counter() - began
                sys.stdout.write(f"{cls.summary()}\n")

        cls._tally = RunTally()
        cls.TestCase.settings = RUN
        cls.TestCase.runTest = run_test  # type: ignore[method-assign, assignment] # it is made per class

    def __init__(self) -> None:
        super().__init__()
        demand_declared(type(self).__name__, self.tools, self.faults)
        self._tally.runs += 1
        self.numbers: list[int] = []
        self._over = False
        self._place = Path(tempfile.mkdtemp(prefix="turnlatch-test-"))
        folder = self._place / "state"
        folder.mkdir()
        api, effects = MessagesApi(environment={}), Effects()
        api.watch_effects(effects)
        watched = {name: effects.watched(one, name) for name, one in self.tools.items()}
        self.world = AgentWorld(api, effects, watched, folder)
        with contextlib.ExitStack() as undone:
            undone.callback(self._let_go)
            self.player = Player(
                self.world,
                lambda: self.agent(self.world),
                self.prompts,
                (*self.calls, *(paired(self.calls) if self.pairs else ())),
                self.faults,
                self.points,
            )
            undone.callback(self.player.end)
            if not isinstance(self.player.agent, CommandAgent):
                named = f"{type(self).__name__}.calls"
                demand_known(named, called(self.calls), self.tools)
            undone.pop_all()

    def _let_go(self) -> None:
        self.world.api.close()
        shutil.rmtree(self._place, ignore_errors=True)

    @property
    def points(self) -> tuple[str, ...]:
        """Further points at which the process may die; see `Player.reached`."""
        return ()

    def agent(self, world: AgentWorld) -> Agent | Callable[[str], object]:
        """Make the agent under test; called again after each death of it, with the same
        folder.

        It is an object with `say(text)`, a function of the text, plain or `async`, or a
        `CommandAgent`.
        """
        raise SettingsError(
            "agent",
            f"{type(self).__name__} does not say how to make the agent",
            "define agent(self, world), which returns an object with say(text), a"
            " function, or a CommandAgent",
        )

    def check(self, world: AgentWorld) -> None:
        """Your own invariants; called after each move. Raise to fail."""

    def picture(self) -> str:
        """The run as it is drawn in a report: requests, effects and deaths in sequence."""
        return f"What happened:\n{self.world.api.picture()}"

    def taken(self) -> Iterable[TablePath]:
        """The rows of `table` that this run took, for each conversation it had."""
        return ()

    @rule(number=st.integers(0, NUMBER_MAX))
    def move(self, number: int) -> None:
        """One move of the conversation."""
        __tracebackhide__ = True
        self.numbers.append(number)
        self._tally.moves[self.player.play(number)] += 1
        try:
            self._judge()
        except UnsatisfiedAssumption:
            self._tally.discarded += 1
            raise

    def _judge(self, *, last: bool = False) -> None:
        __tracebackhide__ = True
        verdict = self.world.api.verdict()
        # A message may still be sent again, or its cut reply taken for a whole one, as
        # long as nothing has been said after it.
        open_ones = frozenset[DefectKind]() if last else {DefectKind.GAVE_UP}
        if verdict.kinds - frozenset(self.tolerated) - open_ones:
            raise self._broken(verdict)
        self.check(self.world)

    def _broken(self, verdict: Verdict, *, stuck: bool = False) -> AgentDefectError:
        self._over = True
        numbers = ", ".join(str(one) for one in self.numbers)
        replay = f"{type(self).__name__}.replay({numbers})"
        requests, words = self.world.api.requests, self.player.words
        text = failing_run(
            words, verdict, requests, self.picture(), replay, stuck=stuck
        )
        return AgentDefectError(text, verdict.kinds, self.numbers)

    def teardown(self) -> None:
        """The next message works; then everything is let go of."""
        __tracebackhide__ = True
        try:
            if self.numbers and not self._over:
                answered = self.player.calm()
                self._judge(last=True)
                if not answered:
                    raise self._broken(self.world.api.verdict(), stuck=True)
        finally:
            api = self.world.api
            self._tally.ended(api.requests, api.verdict(), self.taken())
            try:
                self.player.end()
            finally:
                self._let_go()

    @classmethod
    def sweep(cls) -> None:
        """Follow each move by each message, and each message by each act of the agent
        twice, each in a separate run. After a death each act follows, too.

        That finds most defects at once, and by the shortest way; what takes more moves
        is left to chance.

        Raises:
            AgentDefectError: The agent is broken.
        """
        __tracebackhide__ = True
        try:
            cls._sweep()
        except AgentDefectError as broken:
            raise cls._shortened(broken) from None

    @classmethod
    def _sweep(cls) -> None:
        __tracebackhide__ = True
        with cls()._running() as first:
            groups = first.player.numbers()
            if isinstance(agent := first.player.agent, CommandAgent):
                first.move(0)
                demand_offered(first.world.api.requests, cls.calls, agent.ended)
        for number in (one for group in groups for one in group):
            for place, _ in enumerate(groups[0]):
                with cls()._running() as machine:
                    machine.move(number)
                    machine.move(machine.player.numbers()[0][place])
                    for act in machine.player.acts() if machine.player.deaths else ():
                        machine.move(act)
        for number in groups[0]:
            with cls()._running() as machine:
                machine.move(number)
                for act in machine.player.acts():
                    machine.move(act)
                    machine.move(act)

    @classmethod
    def _shortened(cls, broken: AgentDefectError) -> AgentDefectError:
        """The failure with every move left out that it does not need."""
        for place in range(len(broken.numbers) - 1, -1, -1):
            fewer = [*broken.numbers[:place], *broken.numbers[place + 1 :]]
            if not fewer:
                break
            try:
                cls.replay(*fewer)
            except AgentDefectError as again:
                if again.kinds == broken.kinds:
                    broken = again
        return broken

    @contextlib.contextmanager
    def _running(self) -> Generator[Self]:
        """Moves outside Hypothesis, with the end that they have there."""
        __tracebackhide__ = True
        try:
            yield self
        except BaseException:
            self._over = True
            raise
        finally:
            self.teardown()

    @classmethod
    def summary(cls) -> MachineSummary:
        """The last test in figures."""
        return cls._tally.summary(cls.__name__, cls.table)

    @classmethod
    def replay(cls, *numbers: int) -> None:
        """Make the moves of a failing run again; its report has this line.

        Raises:
            AgentDefectError: The agent is still broken in the same way.
        """
        __tracebackhide__ = True
        with cls()._running() as machine:
            for number in numbers:
                machine.move(number)

"""Property-testing an agent on turnlatch: its tools, its options, its store.

class MyMachine(TurnlatchMachine):
    tools = {"pay": pay, "look": look}
    effects = {"look": "safe"}
    calls = [call("pay", amount=3)]


TestMine = MyMachine.TestCase
"""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, final

import anyio
import anyio.lowlevel

from turnlatch.conversation import Conversation
from turnlatch.diagrams.text import draw_path
from turnlatch.journal import MemoryStore
from turnlatch.ports import Entry
from turnlatch.result import Turn
from turnlatch.testing.agents import Agent, AgentDefectError, AgentWorld
from turnlatch.testing.crashable_store import CrashableStore
from turnlatch.testing.declaration import demand_known
from turnlatch.testing.fakes import SeededIds
from turnlatch.testing.machine import ConversationMachine
from turnlatch.testing.shortest_paths import TablePath
from turnlatch.tools import Tool, tool
from turnlatch.tools.definition import Effect
from turnlatch_states.fsm.table import Table, Transition
from turnlatch_states.machine.events import ConversationOpened, Event
from turnlatch_states.machine.load import fold_events
from turnlatch_states.machine.step import begin, step
from turnlatch_states.machine.turn import TURN, TurnState

RECORDED = ("CallStarted", "CallClosed", "RequestSent", "ReplyConfirmed", "TurnFailed")
"""Journal entries after which the process may die."""


_CHECKPOINTS_MAX: Final = 1000


class TurnlatchMachine(ConversationMachine):
    """A `ConversationMachine` whose agent is a conversation of turnlatch.

    The process also dies after entries of the journal, and after each move the journal
    is read again: it has to lead to the state that the conversation is in.

    Attributes:
        effects: The promise of each tool, `once` where nothing is given.
        options: Further options of `Conversation.open`.
    """

    effects: ClassVar[Mapping[str, Effect]] = {}
    options: ClassVar[Mapping[str, Any]] = {}
    table: ClassVar[Table | None] = TURN

    def __init__(self) -> None:
        demand_known(f"{type(self).__name__}.effects", self.effects, self.tools)
        self.store = CrashableStore(MemoryStore())
        self.store.on_append = self._recorded
        self._made = False  # the first agent is made with the machine
        super().__init__()
        self._made = True

    @property
    def points(self) -> tuple[str, ...]:
        """Further points at which the process may die."""
        return tuple(f"recorded: {name}" for name in RECORDED)

    def agent(self, world: AgentWorld) -> Agent:
        """A conversation; see the class."""
        tools = [
            tool(effect=self.effects.get(name, "once"), name=name)(_on_the_loop(one))
            for name, one in world.tools.items()
        ]
        return ConversationAgent(world, self.store, tools, self.options)

    def taken(self) -> Iterable[TablePath]:
        """The rows of the turn's table that the journals hold; a fork's inherited ones
        included."""
        return [_rows(self.store.read(one.name)) for one in self.store.conversations()]

    def picture(self) -> str:
        """The path of the conversation through the turn's table."""
        agent = self.player.agent
        assert isinstance(agent, ConversationAgent), "this machine made it"
        rows = _rows(self.store.read(agent.chat.name))
        return f"The path through the table of turns:\n{draw_path(TURN, rows)}"

    def check(self, world: AgentWorld) -> None:
        """The journal leads to where the conversation stands.

        Raises:
            AgentDefectError: It does not.
        """
        agent = self.player.agent
        assert isinstance(agent, ConversationAgent), "this machine made it"
        entries = self.store.read(agent.chat.name)
        recorded = fold_events([one.event for one in entries])
        if recorded != agent.chat.snapshot:
            raise AgentDefectError("the journal leads to another state than the chat's")

    def _recorded(self, events: Sequence[Event]) -> None:
        if not self._made:
            return
        for event in events:
            self.player.reached(f"recorded: {type(event).__name__}")


def _rows(entries: Sequence[Entry]) -> TablePath:
    """The rows that the events of a journal took."""
    rows: list[Transition] = []
    if entries and isinstance(entries[0].event, ConversationOpened):
        snapshot = begin(entries[0].event)
        for entry in entries[1:]:
            made = step(snapshot, entry.event)
            snapshot = made.snapshot
            rows += [made.row] if made.row is not None else []
    return tuple(rows)


def _on_the_loop(function: Any) -> Any:
    """The tool as a coroutine function: a death in it is a death on the event loop."""

    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        given = function(*args, **kwargs)
        return await given if asyncio.iscoroutine(given) else given

    return run


@final
class ConversationAgent:
    """A conversation on an event loop of this thread.

    Attributes:
        chat: The conversation.
    """

    def __init__(
        self,
        world: AgentWorld,
        store: CrashableStore,
        tools: Sequence[Tool],
        options: Mapping[str, Any],
    ) -> None:
        self._store = store
        self._runner = asyncio.Runner()
        given: dict[str, Any] = {
            "client": world.api.client(),
            "clock": world.api.clock,
            "ids": SeededIds(),
            **options,
        }
        self._named = world.folder / "name"  # of the fork that it went on with
        name = self._named.read_text() if self._named.exists() else "test"
        self.chat = Conversation.open(name, store=store, tools=tools, **given)
        self._run(self.chat.__aenter__())

    def say(self, text: str, /) -> Turn:
        """Send a message."""
        turn: Turn = self._run(self.chat.send(text))
        return turn

    def say_and_steer(self, text: str, more: str, /) -> None:
        """Send a message, and add another while the turn runs."""
        self._run(self._meanwhile(text, lambda: self.chat.steer(more)))

    def say_and_interrupt(self, text: str, /) -> None:
        """Send a message, and stop the turn."""
        self._run(self._meanwhile(text, self.chat.interrupt))

    async def _meanwhile(self, text: str, act: Callable[[], Awaitable[object]]) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self.chat.send, text)
            for _ in range(_CHECKPOINTS_MAX):
                await anyio.lowlevel.checkpoint()
                if self.chat.state == TurnState.SENT:
                    break
            await act()

    def rewind(self) -> None:
        """Take the last turn back."""
        self._run(self.chat.rewind())

    def fork(self) -> None:
        """Go on in a fork."""
        name = f"{self.chat.name}f"
        forked = self.chat.fork(name)
        self._run(forked.__aenter__())
        before, self.chat = self.chat, forked
        self._named.write_text(name)
        self._run(before.__aexit__(None, None, None))

    def approve(self) -> None:
        """Approve the calls that wait."""
        for one in self._awaiting():
            self._run(self.chat.approve(one))

    def deny(self) -> None:
        """Deny the calls that wait."""
        for one in self._awaiting():
            self._run(self.chat.deny(one))

    def retry(self) -> None:
        """Go on with a turn that failed."""
        self._run(self.chat.retry())

    def compact(self) -> None:
        """Replace the history by a summary."""
        self._run(self.chat.compact())

    def close(self) -> None:
        """Close the conversation and the loop."""
        try:
            self._run(self.chat.__aexit__(None, None, None))
        finally:
            self._runner.close()

    def die(self) -> None:
        """The process died: nothing is closed in order."""
        self._store.crash()

    def bury(self) -> None:
        """Let go of the loop of a process that has died."""
        with contextlib.suppress(BaseException):
            self._run(self.chat.__aexit__(None, None, None))
        self._runner.close()

    def _awaiting(self) -> list[str]:
        turn = self.chat.turn
        return [] if turn is None else [one.place for one in turn.awaiting]

    def _run(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(doing)

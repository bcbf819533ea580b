"""The moves of a conversation under test, and what each does to its world."""

import asyncio
import contextlib
import inspect
import itertools
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Final, cast, final
from unittest import mock

import anyio
import anyio.lowlevel
import attrs

from turnlatch.errors import SettingsError
from turnlatch.errors import words as words_of
from turnlatch.simulator import Answer, ClientCall, reply
from turnlatch.testing.agents import (
    Agent,
    AgentWorld,
    ClosableAgent,
    FunctionAgent,
    InterruptedAgent,
    MortalAgent,
    ProcessDiedError,
    SteeredAgent,
)
from turnlatch.testing.command_agent import POINTS, CommandAgent
from turnlatch.testing.effects import Done

FAULTS: Final = (
    "429 retry-after=2",
    "529",
    "cut 5 clean",
    "cut 5 reset",
    "reset",
    "529 @1-9",
    "529 @2-9",
    "error overloaded_error after 4",
    "cut 4 stall",
)
"""The faults that a conversation meets, one at a time."""

POISON: Final = "(a message that the service refuses)"
"""A text that is refused wherever it stands."""

REFUSES_POISON: Final = f'400 message="refused content" body="{POISON}" forever'
"""The fault that refuses it."""

_WORDS_MAX: Final = 120

_OPTIONAL: Final = ("approve", "deny", "retry", "compact", "rewind", "fork")


@final
@attrs.frozen
class AgentMove:
    """One move.

    Attributes:
        words: The move in words, for reports.
        make: Makes it.
    """

    words: str
    make: Callable[[], None]


@final
class Player:
    """Makes the moves of one run on an agent that it makes again after each death.

    Args:
        world: The agent's surroundings.
        agent: Makes the agent, at the start and after a death.
        prompts: The messages.
        calls: The calls that the model makes, each in a separate reply.
        faults: The faults.
        points: Further points at which the process may die; see `reached`.
    """

    def __init__(
        self,
        world: AgentWorld,
        agent: Callable[[], Agent | Callable[[str], object]],
        prompts: Sequence[str],
        calls: Sequence[Answer],
        faults: Sequence[str],
        points: Sequence[str] = (),
    ) -> None:
        self.world = world
        self._make = agent
        self._prompts = prompts
        self._calls = calls
        self._faults = faults
        self._points = points
        self.deaths = 0
        self._died = False
        self._said = 0
        self._dies = ""
        self._poisoned = False
        self._armed = False
        self._runner: asyncio.Runner | None = None
        self.words: list[str] = []
        world.effects.on_entry = self._entered
        world.api.on_request = self._arrived
        self.agent: Agent = self._opened()

    def moves(self) -> tuple[tuple[AgentMove, ...], ...]:
        """The moves that are possible now: messages, acts of the agent, faults, and
        ends of its process. The plain ones come first."""
        talk = [AgentMove("say something", lambda: self._say(self._reply()))]
        for made in self._calls:
            named = ", ".join(
                one.name for one in made.parts if isinstance(one, ClientCall)
            )
            talk.append(
                AgentMove(f"say something that calls {named}", self._saying(made))
            )
        talk.append(AgentMove("say something that is refused", self._say_poison))
        if isinstance(self.agent, SteeredAgent):
            talk.append(AgentMove("say something, and steer", self._say_and_steer))
        if isinstance(self.agent, InterruptedAgent):
            words = "say something, and interrupt it"
            talk.append(AgentMove(words, self._say_and_interrupt))
        methods = [(name, getattr(self.agent, name, None)) for name in _OPTIONAL]
        acts = [
            AgentMove(name, self._doing(one))
            for name, one in methods
            if one is not None
        ]
        faults = [
            AgentMove(f"the next request meets: {fault}", self._arming(fault))
            for fault in (() if self._armed else self._faults)
        ]
        groups = (talk, acts, faults, self._ends())
        return tuple(tuple(group) for group in groups if group)

    def _ends(self) -> list[AgentMove]:
        """The ends of the agent's process."""
        points: tuple[str, ...]
        if isinstance(self.agent, CommandAgent):
            named, points, ends = "the next process dies at", POINTS, list[AgentMove]()
        else:
            named = "the process dies at the next"
            points = ("request arrived", "effect begun", "effect done", *self._points)
            ends = [AgentMove("close and open again", self._reopen)]
        return ends + [
            AgentMove(f"{named}: {point}", self._dooming(point))
            for point in points
            if not self._dies and (self._calls or not point.startswith("effect "))
        ]

    def numbers(self) -> tuple[tuple[int, ...], ...]:
        """The smallest number of each move that is possible now, by groups."""
        groups = self.moves()
        return tuple(
            tuple(place * len(groups) + which for place in range(len(group)))
            for which, group in enumerate(groups)
        )

    def acts(self) -> tuple[int, ...]:
        """The numbers of what the agent can do in addition to answering."""
        groups = zip(self.numbers(), self.moves(), strict=True)
        return next(
            (numbers for numbers, group in groups if group[0].words in _OPTIONAL), ()
        )

    def play(self, number: int) -> str:
        """Make the move that a number stands for, of those that are possible now;
        returns it in words.

        Its remainder chooses the group, so that the few moves of a small group are made
        as often as the many of a large one.
        """
        groups = self.moves()
        place, which = divmod(number, len(groups))
        group = groups[which]
        move = group[place % len(group)]
        self.words.append(move.words)
        move.make()
        return move.words

    def calm(self) -> bool:
        """Nothing misbehaves any more, and something plain is said; True if a reply to it
        was accepted."""
        self._disarm()
        self._dies = ""
        self.words.append("(nothing misbehaves any more) say something")
        before = len(self.world.api.requests)
        self._say(self._reply())
        after = self.world.api.requests[before:]
        hung = isinstance(self.agent, CommandAgent) and self.agent.overdue
        return not hung and bool(after) and after[-1].accepted

    def close(self) -> None:
        """Let go of the agent."""
        if isinstance(self.agent, ClosableAgent):
            self._awaited(self.agent.close())

    def end(self) -> None:
        """Let go of the agent, and of the loop of an async one."""
        try:
            self.close()
        finally:
            if self._runner is not None:
                self._runner.close()

    # The moves.

    def _say(self, *answers: Answer | str, words: str = "") -> None:
        self._talk(lambda text: self.agent.say(text + words), *answers)

    def _say_and_steer(self) -> None:
        agent = self.agent
        assert isinstance(agent, SteeredAgent), "the move was possible"
        more = self._reply()
        self._talk(lambda text: agent.say_and_steer(text, f"And: {text}"), more, more)

    def _say_and_interrupt(self) -> None:
        agent = self.agent
        assert isinstance(agent, InterruptedAgent), "the move was possible"
        self._talk(agent.say_and_interrupt, self._reply())

    def _talk(self, say: Callable[[str], object], *answers: Answer | str) -> None:
        self.world.api.answers_now(*answers)
        prompt = self._prompts[self._said % len(self._prompts)]
        self._said += 1
        self._do(lambda: say(f"{prompt} ({self._said})"))
        self._disarm()

    def _say_poison(self) -> None:
        self._poisonous()
        self._say(self._reply(), words=f" {POISON}")

    def _poisonous(self) -> None:
        """From here on the service refuses what holds the poison."""
        if not self._poisoned:
            self._poisoned = True
            self.world.api.faults(REFUSES_POISON)

    def _disarm(self) -> None:
        """The faults of one message do not reach into the next."""
        self._armed = False
        self.world.api.simulator.clear_faults()
        if self._poisoned:
            self.world.api.faults(REFUSES_POISON)

    def _reply(self) -> str:
        return f"This is reply number {self._said + 1}, and it comes in several pieces."

    def _saying(self, made: Answer) -> Callable[[], None]:
        return lambda: self._say(made, self._reply())

    def _doing(self, method: Callable[[], object]) -> Callable[[], None]:
        def make() -> None:
            self.world.api.answers_now(self._reply())
            self.world.api.asked_again()
            self._do(method)

        return make

    def _arming(self, fault: str) -> Callable[[], None]:
        def make() -> None:
            self._armed = True
            self.world.api.faults(fault)

        return make

    def _dooming(self, point: str) -> Callable[[], None]:
        def make() -> None:
            self._dies = point

        return make

    def _reopen(self) -> None:
        self.close()
        self.agent = self._opened()

    def _opened(self) -> Agent:
        with skipped_sleeps(self.world.api.clock.skip):
            try:
                return self._made()
            except BaseException:
                if not self._died:
                    raise
                self._died = False
                self.words.append("(it died while it was started; it is started again)")
                return self._made()

    def _made(self) -> Agent:
        made: Any = self._awaited(self._make())
        talks = callable(getattr(made, "say", None)) or callable(made)
        if isinstance(made, type) or not talks:
            raise SettingsError(
                "agent",
                f"agent() returned {_kind(made)}, which has no say(text)",
                "return the object or the function that is talked to",
            )
        return cast("Agent", made) if hasattr(made, "say") else FunctionAgent(made)

    def _awaited(self, given: object) -> object:
        """The value; what an async agent gives is awaited, on one loop of the run."""
        if not inspect.iscoroutine(given):
            return given
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(given)

    def _do(self, act: Callable[[], object]) -> None:
        if isinstance(self.agent, CommandAgent):
            self._run(self.agent, act)
        else:
            self._act(act)
        if self._died:  # also if the agent held its own death up
            self._died = False
            self.words.append("(it died; it is started again)")
            if isinstance(self.agent, MortalAgent):
                self.agent.bury()
            self.agent = self._opened()

    def _run(self, agent: CommandAgent, act: Callable[[], object]) -> None:
        """A message to a command, whose time is real."""
        agent.dies_at, self._dies = self._dies, ""
        act()
        if agent.died:
            self._died = True
            self.deaths += 1
        elif agent.failed:
            self.words.append(f"(it {agent.ended})")

    def _act(self, act: Callable[[], object]) -> None:
        with skipped_sleeps(self.world.api.clock.skip):
            try:
                self._awaited(act())
            except Exception as error:  # noqa: BLE001 - the agent's way to fail a turn
                if not self._died:
                    self.words.append(f"(it raised {_where(error)})")
            except BaseException:
                if not self._died:
                    raise

    # Deaths.

    def _arrived(self) -> None:
        self.reached("request arrived")

    def _entered(self, entry: Done) -> None:
        self.reached(f"effect {entry.phase}")

    def reached(self, point: str) -> None:
        """A point at which the process may die.

        Raises:
            ProcessDiedError: It dies here.
        """
        if self._dies == point:
            self._dies = ""
            self._died = True
            self.deaths += 1
            self.world.api.client_died(point)
            if isinstance(self.agent, MortalAgent):
                self.agent.die()
            raise ProcessDiedError(point)


def paired(calls: Sequence[Answer]) -> tuple[Answer, ...]:
    """Answers with two calls: the first and the second of the list, the third and the
    fourth, and so on; the last of an odd number goes with the first. Those that have
    several calls already are left out."""
    single = [one for one in calls if len(one.parts) == 1]
    ones, others = single[::2], single[1::2] + single[:1]
    return tuple(itertools.starmap(reply, zip(ones, others, strict=False)))


def _kind(made: object) -> str:
    return (
        f"the class {made.__name__}" if isinstance(made, type) else type(made).__name__
    )


def _where(error: Exception) -> str:
    """An error in a few words, with the last line of the agent's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [one for one in frames if "site-packages" not in one.filename]
    place = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    first = next(iter(words_of(error).splitlines()), "")[:_WORDS_MAX]
    return f"{type(error).__name__}{place}: {first}" if first else type(error).__name__


@contextlib.contextmanager
def skipped_sleeps(skip: Callable[[float], None]) -> Generator[None]:
    """`time.sleep`, `asyncio.sleep` and `anyio.sleep` take no time in this block, in this
    process.

    An agent waits by these between its attempts; the waits count on the clock.
    """

    original = asyncio.sleep

    async def sleep(seconds: float, result: object = None) -> object:
        await original(0)  # a checkpoint of anyio is a sleep of asyncio
        skip(seconds)
        return result

    async def sleep_anywhere(seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        skip(seconds)

    with (
        mock.patch.object(time, "sleep", skip),
        mock.patch.object(asyncio, "sleep", sleep),
        mock.patch.object(anyio, "sleep", sleep_anywhere),
    ):
        yield

"""The agent under test: what it can do, and what it is given."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import attrs

from turnlatch.testing.defects import DefectKind
from turnlatch.testing.effects import Effects
from turnlatch.testing.messages_api import MessagesApi


class ProcessDiedError(BaseException):
    """The agent's process dies here. No `except Exception` sees it, and the test throws
    the agent away; what it had in memory is gone."""


class AgentDefectError(AssertionError):
    """The agent under test broke its conversation; the text is the report.

    Attributes:
        kinds: The kinds of defects; empty if it is stuck, or an invariant was broken.
        numbers: The moves, for `ConversationMachine.replay`.
    """

    def __init__(
        self,
        text: str,
        kinds: frozenset[DefectKind] = frozenset(),
        numbers: Sequence[int] = (),
    ) -> None:
        super().__init__(text)
        self.kinds = kinds
        self.numbers = tuple(numbers)


class Agent(Protocol):
    """Anything that can be talked to.

    It may also have `approve()`, `deny()`, `retry()`, `compact()`, `rewind()`, `fork()`
    and `close()`, all without arguments, `say_and_steer` and `say_and_interrupt`: those
    that it has become moves of a test. Each may be a coroutine function.
    """

    def say(self, text: str, /) -> object:
        """Say something, and let the agent work until it rests.

        An exception counts as a turn that failed.
        """
        ...


@final
@attrs.frozen
class FunctionAgent:
    """An agent that is a function, plain or `async`.

    Attributes:
        function: It is called with each message.
    """

    function: Callable[[str], object]

    def say(self, text: str, /) -> object:
        """Call it."""
        return self.function(text)


@runtime_checkable
class ClosableAgent(Protocol):
    """An agent that wants to be closed."""

    def close(self) -> object:
        """Let go of what it holds."""
        ...


@runtime_checkable
class SteeredAgent(Protocol):
    """An agent that takes a message while it works."""

    def say_and_steer(self, text: str, more: str, /) -> object:
        """Say something, and add `more` in the middle of the work."""
        ...


@runtime_checkable
class InterruptedAgent(Protocol):
    """An agent that can be stopped while it works."""

    def say_and_interrupt(self, text: str, /) -> object:
        """Say something, and stop the work in the middle."""
        ...


@runtime_checkable
class MortalAgent(Protocol):
    """An agent that holds more than its folder when its process dies."""

    def die(self) -> None:
        """The process dies now: from here on it leaves no trace outside."""
        ...

    def bury(self) -> None:
        """Let go of the threads and loops that the dead process held."""
        ...


@final
@attrs.frozen
class AgentWorld:
    """The surroundings of one agent in a test.

    Attributes:
        api: The Messages API that it talks to.
        effects: The ledger of its tools.
        tools: Its tools by name, watched.
        folder: An empty folder for its state; it outlives the agent's deaths.
    """

    api: MessagesApi
    effects: Effects
    tools: Mapping[str, Callable[..., Any]]
    folder: Path

"""The work of a process at the level of the journal, and what must be left of it.

A script of steps on one store: four conversations that take turns with parallel calls,
two of them forks, with handles and the store itself closed and opened in between, and
enough of it that SQLite writes its log back and begins it anew on the way. The process
notes outside the store what it is about to do and what was acknowledged.

No SDK is imported here, so that a process is cheap.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, final

import attrs
from tests.around import append_now

from turnlatch.errors import JournalError
from turnlatch.journal import SQLiteStore
from turnlatch.ports import Journal, Store
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.request.profile import Profile

Contents: TypeAlias = dict[str, list[Event]]
"""The events of each conversation that has any."""

TRIES: Final = 3
"""How often a step is tried before the process gives up."""


@final
@attrs.frozen
class Append:
    """Events that are appended together."""

    name: str
    events: tuple[Event, ...]


@final
@attrs.frozen
class Fork:
    """A conversation that is forked off another one."""

    parent: str
    name: str
    sequence: int


@final
@attrs.frozen
class Close:
    """A handle that is given back; all of them and the store with an empty name."""

    name: str


Step: TypeAlias = Append | Fork | Close


@final
class Author:
    """Writes a script: every batch continues what its conversation holds."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.contents: Contents = {}
        self._turns: dict[str, int] = {}

    def append(self, name: str, *events: Event) -> None:
        """Append, as one batch, after what opens a conversation that is new."""
        if name not in self.contents:
            events = (
                ev.ConversationOpened(Profile("claude-sonnet-5-5", 1024)),
                *events,
            )
        self.steps.append(Append(name, events))
        self.contents[name] = [*self.contents.get(name, ()), *events]

    def turn(self, name: str, *, calls: int = 0, size: int = 20) -> None:
        """A whole turn, with as many calls, in the batches that an engine makes."""
        turn = self._turns[name] = self._turns.get(name, 0) + 1
        words = encode({"type": "text", "text": f"{name} {turn} " + "x" * size})
        self.append(
            name, ev.TurnOpened(turn, words, key=f"k-{turn}"), ev.RequestSent(turn, 1)
        )
        if calls:
            ids = [f"toolu_{name}_{turn}_{number}" for number in range(calls)]
            uses: list[dict[str, Any]] = [
                {"type": "tool_use", "id": one, "name": "look", "input": {}}
                for one in ids
            ]
            self.append(
                name,
                ev.ReplyConfirmed(turn, 1, _reply(f"{name}_{turn}", *uses)),
                *(ev.CallStarted(turn, one, f"key {one}") for one in ids),
            )
            for one in ids[:-1]:
                self.append(name, _closed(turn, one, size))
            self.append(
                name,
                _closed(turn, ids[-1], size),
                ev.TurnContinued(turn),
                ev.RequestSent(turn, 2),
            )
        said = {"type": "text", "text": "y" * size}
        reply = _reply(f"{name}_{turn}_end", said)
        self.append(name, ev.ReplyConfirmed(turn, 2 if calls else 1, reply))

    def fork(self, parent: str, name: str) -> None:
        """Fork off all there is; the fork's first own entry says so."""
        sequence = len(self.contents[parent])
        self.steps.append(Fork(parent, name, sequence))
        self.contents[name] = list(self.contents[parent])
        self._turns[name] = self._turns[parent]
        self.append(name, ev.Forked(parent, sequence))

    def close(self, name: str = "") -> None:
        """Give back a handle, or everything."""
        self.steps.append(Close(name))


def _reply(identity: str, *blocks: Mapping[str, Any]) -> Reply:
    facts = {
        "id": f"msg_{identity}",
        "model": "claude-sonnet-5-5",
        "stop_reason": "tool_use" if blocks[0]["type"] == "tool_use" else "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 3},
    }
    return Reply(b",".join(map(encode, blocks)), json.dumps(facts).encode())


def _closed(turn: int, call: str, size: int) -> Event:
    block = {"type": "tool_result", "tool_use_id": call, "content": "z" * size}
    return ev.CallClosed(turn, call, Closing.RESULT, encode(block), b"\0\xff" * 9)


def script() -> tuple[Step, ...]:
    """What the process does."""
    author = Author()
    author.turn("notes", calls=2)
    author.turn("other", size=300)
    author.turn("notes", size=30_000)  # pages of overflow
    author.fork("notes", "branch")
    author.turn("branch", calls=3)
    author.close("other")
    author.turn("other", calls=2, size=9_000)
    author.close()
    author.turn("notes", calls=2, size=2_000)
    author.turn("other", size=60_000)
    author.fork("branch", "twig")
    author.turn("twig", calls=1, size=5_000)
    author.turn("branch", size=100_000)  # a log begun anew, and written back twice
    author.turn("notes", calls=2)
    return tuple(author.steps)


SCRIPT: Final = script()


def left_by(steps: Sequence[Step]) -> Contents:
    """What a store holds after these steps."""
    contents: Contents = {}
    for step in steps:
        match step:
            case Append(name, events):
                contents[name] = [*contents.get(name, ()), *events]
            case Fork(parent, name, sequence):
                contents[name] = contents[parent][:sequence]
            case Close():
                pass
    return contents


# What a process says.


@final
@attrs.frozen
class Notes:
    """What a process said of its steps.

    Attributes:
        sure: How many steps, from the first on, were acknowledged.
        doubt: Whether the next one was begun, and not said to have failed for certain.
        ended: How it ended: "done", "gave up", an error's name; empty if it was cut off.
        errors: The errors it met.
    """

    sure: int
    doubt: bool
    ended: str
    errors: tuple[str, ...]

    @classmethod
    def of(cls, lines: Sequence[str]) -> "Notes":
        """Read what a process wrote."""
        sure, doubt, ended = 0, False, ""
        errors: list[str] = []
        for line in lines:
            word, _, rest = line.partition(" ")
            match word:
                case "begin":
                    doubt = True
                case "sure":
                    assert int(rest) == sure, f"step {rest} was said after {sure}"
                    sure, doubt = sure + 1, False
                case "refused":
                    doubt = False
                    errors.append(rest)
                case "unknown":
                    errors.append(rest)
                case _:
                    ended = line
        return cls(sure, doubt, ended, tuple(errors))


Say: TypeAlias = Callable[[str], None]
Make: TypeAlias = Callable[[], Store]


@final
class Worker:
    """Does the script's steps on a store, and goes on after an error where it can."""

    def __init__(self, make: Make, say: Say) -> None:
        self._make = make
        self._say = say
        self._store: Store | None = None
        self._handles: dict[str, Journal] = {}
        self._sizes: dict[str, int] = {}

    def run(self, steps: Sequence[Step]) -> bool:
        """Do every step; False if one of them could not be done."""
        try:
            return all(self._persist(number, step) for number, step in enumerate(steps))
        finally:
            self._close("")

    def _persist(self, number: int, step: Step) -> bool:
        unknown = False
        for _ in range(TRIES):
            try:
                if not (unknown and self._found(step)):
                    self._say(f"begin {number}")
                    self._do(step)
                    self._counted(step)
            except JournalError as error:
                unknown = unknown or error.outcome_unknown or isinstance(step, Fork)
                said = "unknown" if unknown else "refused"
                self._say(f"{said} {type(error).__name__}: {error}")
                self._close("" if unknown else getattr(step, "name", ""))
            else:
                self._say(f"sure {number}")
                return True
        return False

    def _do(self, step: Step) -> None:
        match step:
            case Append(name, events):
                append_now(self._handle(name), events)
            case Fork(parent, name, sequence):
                self._opened().fork(parent, name, sequence)
            case Close(name):
                self._close(name)

    def _found(self, step: Step) -> bool:
        """True if a step whose end was not known turns out to be done."""
        match step:
            case Append(name, events):
                before = self._sizes.get(name, 0)
                size = self._handle(name).sequence
                assert size in (before, before + len(events)), "half an append"
                done = size > before
            case Fork(_, name, _):
                names = [one.name for one in self._opened().conversations()]
                done = name in names
            case Close():
                done = True
        if done:
            self._counted(step)
        return done

    def _counted(self, step: Step) -> None:
        match step:
            case Append(name, events):
                self._sizes[name] = self._sizes.get(name, 0) + len(events)
            case Fork(_, name, sequence):
                self._sizes[name] = sequence
            case Close():
                pass

    def _opened(self) -> Store:
        if self._store is None:
            self._store = self._make()
        return self._store

    def _handle(self, name: str) -> Journal:
        if name not in self._handles:
            self._handles[name] = self._opened().open(name)
        return self._handles[name]

    def _close(self, name: str) -> None:
        for one in list(self._handles) if not name else [name]:
            if one in self._handles:
                self._handles.pop(one).close()
        if not name and self._store is not None:
            store, self._store = self._store, None
            store.close()


def speaker(path: str, mark: Callable[[int], None]) -> Say:
    """Writes notes into a file that no kill takes back, and marks into the log."""
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    kept: list[int] = []

    def say(line: str) -> None:
        kept.append(os.write(out, line.encode() + b"\n"))
        mark(len(kept))  # a log refers to the lines that were said before it

    return say


def lines_of(text: str) -> Iterator[str]:
    """The whole lines of a file of notes."""
    yield from text.split("\n")[:-1]


def sqlite(path: str, synchronous: Any = "FULL") -> SQLiteStore:
    """The store that a process works on."""
    return SQLiteStore(path, synchronous=synchronous)

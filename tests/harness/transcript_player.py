"""The player of transcripts: carries out one command after the other on the real engine."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, final

import anyio
import attrs
from anyio.abc import TaskGroup
from tests.harness.transcript_lines import Names, told
from tests.harness.world import World

from turnlatch import (
    Conversation,
    Limits,
    RetryPolicy,
    Tool,
    Turn,
    TurnlatchError,
    tool,
)
from turnlatch.journal import SQLiteStore
from turnlatch.simulator import (
    Answer,
    ClientCall,
    LoggedRequest,
    Scripted,
    Seeded,
    Simulator,
    Text,
    Thinking,
    parse_faults,
    refuse,
)


@final
@attrs.frozen
class Step:
    """One command of a transcript.

    Attributes:
        line: Its line in the file, from 1.
        name: The command.
        rest: Its arguments, as they are written.
    """

    line: int
    name: str
    rest: str


_TOKEN: Final = re.compile(r'[;+]|(?:[^\s;+"]|"(?:[^"\\]|\\.)*")+')


def answers(written: str) -> list[Answer]:
    """The answers of a `model` line, separated by `;`; their parts by `+`.

    A part is `"text"`, `think "text"`, `call NAME key=value ...`, `refuse CATEGORY "text"`
    or `stop REASON`, which ends the answer for another reason than the usual one.
    """
    tokens = _TOKEN.findall(written)
    made: list[Answer] = []
    answer: list[list[str]] = [[]]
    for token in [*tokens, ";"]:
        match token:
            case ";":
                made.append(_answer(answer))
                answer = [[]]
            case "+":
                answer.append([])
            case _:
                answer[-1].append(token)
    return made


def _answer(parts: Sequence[Sequence[str]]) -> Answer:
    found: list[Any] = []
    stop: str | None = None
    for words in parts:
        match words:
            case [text] if text.startswith('"'):
                found.append(Text(json.loads(text)))
            case ["think", text]:
                found.append(Thinking(json.loads(text)))
            case ["call", name, *given]:
                pairs = (one.partition("=") for one in given)
                found.append(ClientCall(name, {key: value for key, _, value in pairs}))
            case ["refuse", category, text]:
                return refuse(category, json.loads(text))
            case ["stop", reason]:
                stop = reason
            case _:
                raise ValueError(f"an answer is not {' '.join(words)!r}")
    return Answer(tuple(found), stop)


def options(written: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of an `open` line.

    `name=b`, `threads=on`, `model=...`, `system=...`, `attempts=1` (a retry policy),
    `requests=3` (a limit of a turn), `tools=look,act`.
    """
    name, found = "a", dict[str, Any]()
    for word in written.split():
        key, _, value = word.partition("=")
        match key:
            case "name":
                name = value
            case "threads" | "model" | "system" | "tools":
                found[key] = value
            case "attempts":
                found["retry"] = RetryPolicy(attempts_max=int(value))
            case "requests":
                found["limits"] = Limits(requests_per_turn_max=int(value))
            case _:
                raise ValueError(f"open has no option {key!r}")
    return name, found


def more_tools(world: World) -> list[Tool]:
    """A payment that is made but never answers, a look that returns only the second time,
    and a question whose answer counts for a minute."""

    async def paid(key: str) -> str:
        del key
        return "paid before"

    @tool(effect="once", reconcile=paid)
    async def pay(amount: str) -> str:
        """Pay."""
        world.ran.append(f"pay {amount}")
        world.begun.set()
        await anyio.sleep_forever()
        return ""

    @tool(effect="safe")
    async def read(path: str) -> str:
        """Read a file."""
        again = f"read {path}" in world.ran
        world.ran.append(f"read {path}")
        if not again:
            world.begun.set()
            await anyio.sleep_forever()
        return f"contents of {path}"

    @tool(effect="ask", approval_timeout=60)
    async def ask_soon(what: str) -> str:
        """Do something a person decides within a minute."""
        world.ran.append(f"ask_soon {what}")
        return f"did {what}"

    return [pay, read, ask_soon]


@final
@attrs.frozen
class Printed:
    """Lines that a command prints as they are."""

    lines: Sequence[str]


@final
class Player:
    """Plays commands in a world, and tells what happened since the command before."""

    def __init__(self, world: World, group: TaskGroup) -> None:
        self.world = world
        self.names = Names()
        self._group = group
        self._start = world.clock.now()
        self._answers: list[Answer] = []
        self._summaries: list[Answer] = []
        self._faults: list[str] = []
        self._chats: dict[str, Conversation] = {}
        self._name = "a"
        self._store: SQLiteStore | None = None
        self._seen: dict[str, int] = {}
        self._ran = self._slept = self._wires = 0
        self._lines: list[str] = []
        self._ended: anyio.Event | None = None
        self._outcome: list[str] = []

    @property
    def chat(self) -> Conversation:
        """The conversation that commands are about."""
        if self._name not in self._chats:
            raise ValueError(f"no conversation named {self._name} is open")
        return self._chats[self._name]

    async def do(self, step: Step) -> list[str]:
        """Carry out one command; what it printed."""
        outcome = await self._outcome_of(lambda: COMMANDS[step.name](self, step.rest))
        self._look()
        printed, self._lines = [*self._lines, *outcome], []
        return printed

    async def _outcome_of(self, work: Callable[[], Awaitable[object]]) -> list[str]:
        try:
            found = await work()
        except TurnlatchError as error:
            said = str(error).splitlines()[0]
            return [f"! {type(error).__name__}: {self.names.within(said)}"]
        if isinstance(found, Turn):
            return [told(found)]  # pyright: ignore[reportUnknownArgumentType] # Any
        if isinstance(found, Printed):
            return list(found.lines)
        return [] if found is None else [f"= {found}"]

    def _look(self) -> None:
        """Take down what was recorded, done and waited since the last look."""
        world = self.world
        for name in self._chats if self._store is not None else ():
            assert self._store is not None
            entries = self._store.read(name)
            new = entries[self._seen[name] :]
            self._seen[name] = len(entries)
            mark = "" if len(self._chats) == 1 else f"{name}: "
            for entry in new:
                self._lines.append(mark + self.names.event(entry.event, self._start))
        self._lines += [f"ran {one}" for one in world.ran[self._ran :]]
        self._lines += [f"waited {one:g} s" for one in world.clock.slept[self._slept :]]
        self._ran, self._slept = len(world.ran), len(world.clock.slept)

    def _observe(self, exchange: LoggedRequest) -> None:
        if exchange.path.endswith("/v1/messages"):
            self._look()
            self._wires += 1
            self._lines.append(self.names.wire(exchange, self._wires))

    # Commands.

    async def model(self, rest: str) -> None:
        """Answers of the model, in order; before the first `open`."""
        self._answers += answers(rest)

    async def summary(self, rest: str) -> None:
        """Answers to requests for a summary, in order; before the first `open`."""
        self._summaries += answers(rest)

    async def faults(self, rest: str) -> None:
        """A fault script. After the first `open` it counts from now."""
        parse_faults(rest)
        if self._store is None:
            self._faults.append(rest)
        else:
            self.world.simulator.inject(rest)

    async def open(self, rest: str) -> None:
        """Open a conversation, new or as it was left; see `options`."""
        if not self._seen:
            self.world.simulator = Simulator(
                Scripted(
                    self._answers,
                    then=Seeded(0),
                    summaries=self._summaries,
                    again=False,
                ),
                faults=parse_faults(", ".join(self._faults)),
                clock=self.world.clock.now,
                observe=self._observe,
            )
        self._name, given = options(rest)
        if self._store is None:
            self._store = SQLiteStore(self.world.store)
        tools = {
            one.name: one for one in (*self.world.tools(), *more_tools(self.world))
        }
        wanted = given.pop("tools", ",".join(tools)).split(",")
        chat = self.world.open(
            self._name, store=self._store, tools=[tools[one] for one in wanted], **given
        )
        await chat.__aenter__()
        self._chats[self._name] = chat
        self._seen.setdefault(self._name, 0)

    async def say(self, rest: str) -> Turn:
        """Send a message, and wait until the turn rests: `say [key=KEY] TEXT`."""
        key = None
        if rest.startswith("key="):
            key, _, rest = rest.removeprefix("key=").partition(" ")
        return await self.chat.send(rest, key=key)

    async def stream(self, rest: str) -> Turn:
        """Send a message, watched: its replies are streamed."""
        return await self.chat.stream(rest).turn()

    async def begin(self, rest: str) -> None:
        """Send a message, and come back when a tool that does not return has begun."""
        chat, ended = self.chat, anyio.Event()
        self._ended = ended

        async def run() -> None:
            self._outcome = await self._outcome_of(lambda: chat.send(rest))
            ended.set()

        self._group.start_soon(run)
        await self.world.begun.wait()
        await anyio.wait_all_tasks_blocked()

    async def finish(self, _: str) -> Printed:
        """Wait until the message of `begin` rests."""
        if self._ended is None:
            raise ValueError("nothing was begun")
        await self._ended.wait()
        self._ended = None
        return Printed(self._outcome)

    async def retry(self, _: str) -> Turn:
        """Go on with the turn."""
        return await self.chat.retry()

    async def abandon(self, _: str) -> None:
        """Give the failed turn up."""
        await self.chat.abandon()

    async def interrupt(self, _: str) -> bool:
        """Stop the running turn."""
        return await self.chat.interrupt()

    async def steer(self, rest: str) -> bool:
        """Say something that the running turn, or the next one, takes along."""
        return await self.chat.steer(rest)

    async def pin(self, rest: str) -> None:
        """Pin a text: `pin NAME TEXT`."""
        name, _, text = rest.partition(" ")
        await self.chat.pin(name, text)

    async def compact(self, _: str) -> Turn:
        """Replace the context with a summary."""
        return await self.chat.compact()

    async def rewind(self, rest: str) -> None:
        """Move the head back by so many turns."""
        await self.chat.rewind(turns=int(rest))

    async def fork(self, rest: str) -> None:
        """Fork a conversation, and go on in the fork."""
        fork = self.chat.fork(rest)
        seen = self._seen[self._name]
        await fork.__aenter__()
        self._chats[rest] = fork
        self._seen[rest] = seen
        self._name = rest

    async def on(self, rest: str) -> None:
        """Go on in another open conversation."""
        if rest not in self._chats:
            raise ValueError(f"no conversation named {rest} is open")
        self._name = rest

    async def approve(self, rest: str) -> Turn:
        """Approve the waiting call of that tool."""
        return await self.chat.approve(self._waiting(rest))

    async def deny(self, rest: str) -> Turn:
        """Deny the waiting call of that tool: `deny TOOL REASON`."""
        name, _, reason = rest.partition(" ")
        return await self.chat.deny(self._waiting(name), reason)

    def _waiting(self, name: str) -> str:
        turn = self.chat.turn
        for one in turn.calls if turn is not None else ():
            if one.name == name:
                return one.id
        raise ValueError(f"no call of {name!r}")

    async def clock(self, rest: str) -> None:
        """Let so many seconds pass."""
        await self.world.clock.sleep(float(rest))
        self._slept = len(self.world.clock.slept)

    async def history(self, _: str) -> Printed:
        """Print the messages of the record."""
        return Printed(
            [
                f"{one['role']} {self.names.content(one['content'])}"
                for one in self.chat.messages
            ]
        )

    async def state(self, _: str) -> str:
        """Print the conversation's state and substate."""
        return f"{self.chat.state}.{self.chat.substate}"

    async def close(self, _: str) -> None:
        """Close the conversation, as a program does that ends in order."""
        await self.chat.close()
        self._look()
        del self._chats[self._name]

    async def crash(self, _: str) -> None:
        """Go on as the next process finds the files if this one is killed now.

        The files are copied by another process: this one would lose its locks on them.
        What the dying process still does is its own; it is not printed.
        """
        assert self._store is not None
        self._look()
        folder = self.world.folder / "after the crash"
        folder.mkdir()
        files = [
            str(one)
            for one in self.world.folder.glob(f"{self.world.store.name}*")
            if not one.name.endswith("-shm")
        ]
        await anyio.run_process(["cp", "-p", *files, str(folder)])
        chats, self._chats = self._chats, {}
        printed, ran = list(self._lines), len(self.world.ran)
        for chat in chats.values():
            await chat.close()
        if self._ended is not None:
            await self._ended.wait()
            self._ended = None
        self._store.close()
        self._store, self.world.folder = None, folder
        self._lines = printed
        del self.world.ran[ran:]
        self._ran = ran

    async def end(self) -> None:
        """Close everything."""
        for chat in self._chats.values():
            await chat.close()
        if self._store is not None:
            self._store.close()


Command: TypeAlias = Callable[[Player, str], Awaitable[object]]

COMMANDS: Final[Mapping[str, Command]] = {
    one.__name__: one
    for one in (
        Player.abandon,
        Player.approve,
        Player.begin,
        Player.clock,
        Player.close,
        Player.compact,
        Player.crash,
        Player.deny,
        Player.faults,
        Player.finish,
        Player.fork,
        Player.history,
        Player.interrupt,
        Player.model,
        Player.on,
        Player.open,
        Player.pin,
        Player.retry,
        Player.rewind,
        Player.say,
        Player.state,
        Player.steer,
        Player.stream,
        Player.summary,
    )
}
"""The commands of transcripts; each one's docstring says what it does."""

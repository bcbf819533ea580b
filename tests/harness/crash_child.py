"""A process that converses until it is killed: `python -m tests.harness.crash_child SPEC`.

It says `now` when it comes to the point it was told, and goes on when it is told `go`.
Each message it sent it answers with `turn <state>`; the error that ends it with its name.
The engine, the SDK and the store are the real ones; only the points are put in between.
"""

import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, final

import anthropic
import anyio
import attrs
from tests.around import JournalAround, StoreAround

from turnlatch import Conversation, Tool, TurnlatchError, tool
from turnlatch.journal import SQLiteStore
from turnlatch.ports import Journal
from turnlatch_states.machine.events import Event


@final
@attrs.frozen
class Spec:
    """What a child is to do.

    Attributes:
        url: Where requests go.
        store: The SQLite file.
        ledger: The file into which tools write what they did.
        point: Where to stand still: `before CallStarted`, `after ReplyConfirmed 2`,
            `in act`, `after act`; the number says which time. Empty for nowhere.
        messages: What to say, each with itself as its key.
        stream: Watch the turns, so that replies are streamed.
        name: The conversation.
        steers: What the user says, in order, while the call of `act` runs.
    """

    url: str
    store: str
    ledger: str
    point: str
    messages: list[str]
    stream: bool = False
    name: str = "a"
    steers: tuple[str, ...] = ()


@final
class Points:
    """Stands still at one point."""

    def __init__(self, point: str) -> None:
        words = point.split()
        nth = words.pop() if words and words[-1].isdigit() else "1"
        self._here, self._nth = " ".join(words), int(nth)
        self._passed: Counter[str] = Counter()

    def at(self, here: str) -> None:
        """Pass a point, or stand there until somebody says so."""
        self._passed[here] += 1
        if here == self._here and self._passed[here] == self._nth:
            say("now")
            sys.stdin.readline()


@final
class WatchedJournal(JournalAround):
    """The real journal, with a point before and after each event of an append."""

    def __init__(self, inner: Journal, points: Points) -> None:
        super().__init__(inner)
        self._points = points

    async def append(self, events: Sequence[Event]) -> None:
        """As the journal, between its points."""
        for event in events:
            self._points.at(f"before {type(event).__name__}")
        await self.inner.append(events)
        for event in events:
            self._points.at(f"after {type(event).__name__}")


@final
class WatchedStore(StoreAround):
    """The real store, whose journals have points."""

    def __init__(self, inner: SQLiteStore, points: Points) -> None:
        super().__init__(inner)
        self._points = points

    def open(self, name: str) -> Journal:
        """As the store."""
        return WatchedJournal(self.inner.open(name), self._points)


def say(line: str) -> None:
    """Tell the parent."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def tools(
    points: Points, ledger: Path, speak: Callable[[], Awaitable[None]]
) -> list[Tool]:
    """The world's tools, writing into a file what they do."""

    def note(name: str, argument: str) -> None:
        points.at(f"in {name}")
        with ledger.open("a", encoding="utf-8") as file:
            file.write(f"{name} {argument}\n")
        points.at(f"after {name}")

    @tool(effect="safe")
    async def look(path: str) -> str:
        """Look at something."""
        note("look", path)
        return f"contents of {path}"

    @tool(effect="once")
    async def act(what: str) -> str:
        """Do something that counts."""
        await speak()
        note("act", what)
        return f"did {what}"

    @tool(effect="ask")
    async def ask(what: str) -> str:
        """Do something a person decides."""
        note("ask", what)
        return f"did {what}"

    @tool(effect="once")
    async def hang(what: str) -> str:
        """Begin something that never ends."""
        note("hang", what)
        await anyio.sleep_forever()
        return ""

    return [look, act, ask, hang]


async def converse(spec: Spec) -> None:
    """Say everything, and tell how it went."""
    points = Points(spec.point)
    client: Any = anthropic.AsyncAnthropic(api_key="test", base_url=spec.url)
    store = SQLiteStore(spec.store)
    chats: list[Conversation] = []

    async def speak() -> None:
        for text in spec.steers:
            await chats[0].steer(text, key=text)

    try:
        async with Conversation.open(
            spec.name,
            store=WatchedStore(store, points),
            client=client,
            tools=tools(points, Path(spec.ledger), speak),
        ) as chat:
            chats.append(chat)
            say(f"open {len(chat.history)}")
            for message in spec.messages:
                if spec.stream:
                    turn = await chat.stream(message, key=message).turn()
                else:
                    turn = await chat.send(message, key=message)
                say(f"turn {turn.state.value}")
    finally:
        store.close()


def main() -> None:
    """Do what the argument says."""
    spec = Spec(**json.loads(sys.argv[1]))
    try:
        anyio.run(converse, spec)
    except TurnlatchError as error:
        say(type(error).__name__)
    else:
        say("done")


if __name__ == "__main__":
    main()

"""The world of a conversation: the real SDK, the strict simulator, a file, a clock.

The fixture `world` (tests/conftest.py) is one. A test says what the model answers and
what goes wrong, talks, and reads what happened:

    async def test_a_rate_limit_is_waited_out(world: World) -> None:
        world.script(call("act", what="a"), "Done.", faults="429 retry-after=2 @2")
        async with world.open() as chat:
            turn = await chat.send("Go")
        assert (turn.state, turn.text) == (TurnState.CONFIRMED, "Done.")
        assert world.clock.slept == [2.0]           # seconds, of a clock that jumps
        assert world.ran == ["act a"]               # what the tools did
        assert len(world.bodies) == 3               # what was sent

Nothing in it varies: ids are counted from a seed, the clock is virtual, answers that no
script gives are drawn from the seed. `turnlatch simulate --help` documents the faults.
The fixture fails the test if a request was sent that the strict rules refuse.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import anthropic
import anyio
import httpx2
from tests.harness.published import has_call

from turnlatch import CallState, Conversation, Tool, tool
from turnlatch.journal import MemoryStore
from turnlatch.ports import Store
from turnlatch.simulator import Answer, Scripted, Seeded, Simulator, parse_faults
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch.testing import SeededIds, VirtualClock


def client_over(
    transport: httpx2.AsyncBaseTransport, *, key: str = "test"
) -> anthropic.AsyncAnthropic:
    """The real SDK, with its own defaults, over a transport."""
    return anthropic.AsyncAnthropic(
        api_key=key, http_client=httpx2.AsyncClient(transport=transport)
    )


def strings(value: Any) -> Iterator[str]:
    """Every string within a parsed JSON value, keys included."""
    within: Any = value
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from within
        yield from strings(tuple(within.values()))
    elif isinstance(value, Sequence):
        for inner in within:
            yield from strings(inner)


def mentions(value: Any, words: str) -> bool:
    """Whether a string within a parsed JSON value contains the words."""
    return any(words in one for one in strings(value))


class World:
    """One simulator, one store, and conversations on them.

    Args:
        folder: Where the store's file is; without one the store is in memory.
        seed: Of the ids, and of answers that no script gives.

    Attributes:
        clock: The time of everything here; `clock.slept` lists the waits.
        simulator: The service. Another one may take its place.
        ran: What the tools did, one line for each run: `act a`.
        begun: Set when the tool `hang` has begun.
    """

    def __init__(self, folder: Path | None = None, *, seed: int = 0) -> None:
        self._folder = folder
        self.seed = seed
        self.clock = VirtualClock()
        self.simulator = Simulator(Seeded(seed), clock=self.clock.now)
        self.ran: list[str] = []
        self.begun = anyio.Event()
        self._memory = MemoryStore()

    def script(self, *answers: Answer | str, faults: str = "") -> "World":
        """Answer from a list, then from the seed, and misbehave as the script says."""
        self.simulator = Simulator(
            Scripted(answers, then=Seeded(self.seed), again=False),
            faults=parse_faults(faults),
            clock=self.clock.now,
        )
        return self

    def transport(
        self,
        server: object = None,
        *,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> SimulatorTransport:
        """The way from the SDK to the service.

        Args:
            server: Stands where the simulator does; the simulator by default.
            sleep: How the delays of the script pass; the clock's jumps by default.
        """
        chosen = cast("Simulator", server or self.simulator)
        return SimulatorTransport(chosen, sleep=sleep or self.clock.sleep)

    def client(
        self,
        transport: httpx2.AsyncBaseTransport | None = None,
        *,
        key: str = "test",
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> anthropic.AsyncAnthropic:
        """The real SDK over `transport()`, or over another way to the service."""
        return client_over(transport or self.transport(sleep=sleep), key=key)

    @property
    def folder(self) -> Path:
        """The folder of the store."""
        assert self._folder is not None, "this world is in memory"
        return self._folder

    @folder.setter
    def folder(self, folder: Path) -> None:
        self._folder = folder

    @property
    def store(self) -> Path:
        """The journal's file."""
        return self.folder / "chat.db"

    def open(self, name: str = "a", **options: Any) -> Conversation:
        """A conversation in this world; options as of `Conversation.open`."""
        store: Path | Store = self._memory if self._folder is None else self.store
        given: dict[str, Any] = {
            "store": store,
            "clock": self.clock,
            "ids": SeededIds(self.seed),
            **options,
        }
        if "client" not in given:
            given["client"] = self.client()
        if "tools" not in given:
            given["tools"] = self.tools()
        return Conversation.open(name, **given)

    def tools(self) -> list[Tool]:
        """A tool that looks, one that acts, one that asks, one that never ends."""
        ran = self.ran
        begun = self.begun = anyio.Event()

        @tool(effect="safe")
        async def look(path: str) -> str:
            """Look at something."""
            ran.append(f"look {path}")
            return f"contents of {path}"

        @tool(effect="once")
        async def act(what: str) -> str:
            """Do something that counts."""
            ran.append(f"act {what}")
            return f"did {what}"

        @tool(effect="ask")
        async def ask(what: str) -> str:
            """Do something a person decides."""
            ran.append(f"ask {what}")
            return f"did {what}"

        @tool(effect="once")
        async def hang(what: str) -> str:
            """Begin something that never ends."""
            ran.append(f"hang {what}")
            begun.set()
            await anyio.sleep_forever()
            return ""

        return [look, act, ask, hang]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Every body that reached POST /v1/messages, parsed."""
        return [
            dict(e.body or {})
            for e in self.simulator.log
            if e.path.endswith("/v1/messages")
        ]

    def previous_ids(self) -> list[str | None]:
        """What each request named as the previous message."""
        return [
            b["diagnostics"]["previous_message_id"]
            for b in self.bodies
            if "diagnostics" in b
        ]


async def cancelled_once_started(chat: Conversation, text: str) -> bool:
    """Say something, and cancel the caller at the moment a tool starts."""
    cursor = chat.cursor
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def follow() -> None:
                async for event in chat.watch(cursor):
                    if has_call(event, CallState.STARTED):
                        scope.cancel()
                        return

            group.start_soon(follow)
            await chat.send(text)
            group.cancel_scope.cancel()
    return scope.cancelled_caught

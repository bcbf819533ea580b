"""A whole world for a conversation: the real SDK, the strict simulator, a real file."""

from pathlib import Path
from typing import Any

import anthropic
import anyio
import httpx2

from turnlatch import CallMoved, Conversation, Tool, tool
from turnlatch.simulator import Answer, Scripted, Seeded, Simulator, parse_faults
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch.testing import SeededIds, VirtualClock


class World:
    """One simulator, one store, and conversations on them.

    Every body that leaves is held against the strict rules when the test ends.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.simulator = Simulator(Seeded(0), clock=self.clock.now)
        self.ran: list[str] = []

    def script(self, *answers: Answer | str, faults: str = "") -> "World":
        """Answer from a list, and misbehave as told."""
        self.simulator = Simulator(
            Scripted(answers, then=Seeded(0), again=False),
            faults=parse_faults(faults),
            clock=self.clock.now,
        )
        return self

    def client(self) -> anthropic.AsyncAnthropic:
        """The real SDK over the simulator's transport."""
        transport = SimulatorTransport(self.simulator, sleep=self.clock.sleep)
        return anthropic.AsyncAnthropic(
            api_key="test", http_client=httpx2.AsyncClient(transport=transport)
        )

    @property
    def store(self) -> Path:
        """The journal's file."""
        return self.folder / "chat.db"

    def open(self, name: str = "a", **options: Any) -> Conversation:
        """A conversation in this world."""
        given: dict[str, Any] = {
            "store": self.store,
            "client": self.client(),
            "clock": self.clock,
            "ids": SeededIds(),
            "tools": self.tools(),
            **options,
        }
        return Conversation.open(name, **given)

    def tools(self) -> list[Tool]:
        """A tool that looks, one that acts, one that asks, one that never ends."""
        ran = self.ran

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
                async for happening in chat.watch(cursor):
                    if (
                        isinstance(happening, CallMoved)
                        and happening.state == "started"
                    ):
                        scope.cancel()
                        return

            group.start_soon(follow)
            await chat.send(text)
            group.cancel_scope.cancel()
    return scope.cancelled_caught

"""Many conversations at once in one process: turns per second, all of them durable."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from pathlib import Path
from statistics import median

import anthropic

from benchmarks.engine import open_conversation, write_history
from benchmarks.material import Case, text
from benchmarks.plan import Plan
from benchmarks.references import SdkLoop, make_client
from benchmarks.report import Report, Row, Target
from benchmarks.server import InstantServer
from benchmarks.timing import settled_memory
from turnlatch import Conversation
from turnlatch.journal import SQLiteStore

_NUMBERS = count()


async def measure(plan: Plan, server: InstantServer, folder: Path) -> Report:
    """Time a crowd of our conversations, then the same crowd of bare loops."""
    report = Report()
    for size in plan.crowd_sizes:
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(plan.crowd_rounds):
            for found, crowd in zip(rates, (_ours, _loops), strict=True):
                client = make_client(server.url(Case.PLAIN))
                found.append(await crowd(plan, size, client, folder))
                await client.close()
        row = Row(
            f"{plan.crowd} conversations at once, {size:,} messages each",
            "turns/s",
            median(rates[0]),
            median(rates[1]),
            "(a)",
            Target(1.0, "ratio at least"),
        )
        report += Report((row,))
    return report


async def _ours(
    plan: Plan, size: int, client: anthropic.AsyncAnthropic, folder: Path
) -> float:
    store = SQLiteStore(folder / f"crowd-{next(_NUMBERS)}.db")
    chats: list[Conversation] = []
    try:
        for number in range(plan.crowd):
            name = f"crowd-{number}"
            write_history(store, name, size)
            chat = open_conversation(name, store, client)
            chats.append(await chat.__aenter__())

        def send(chat: Conversation) -> Callable[[str], Awaitable[object]]:
            async def turn(said: str) -> None:
                (await chat.send(said)).raise_for_failure()

            return turn

        return await _rate([send(chat) for chat in chats], plan.crowd_turns)
    finally:
        for chat in chats:
            await chat.close()
        store.close()


async def _loops(
    plan: Plan, size: int, client: anthropic.AsyncAnthropic, _: Path
) -> float:
    loops = [SdkLoop(client) for _ in range(plan.crowd)]
    for loop in loops:
        await loop.prepare(Case.PLAIN, size)
    return await _rate([loop.turn for loop in loops], plan.crowd_turns)


async def _rate(
    speakers: Sequence[Callable[[str], Awaitable[object]]], turns: int
) -> float:
    """Turns per second of them all, after one turn each to open the connections."""

    async def speak(speaker: Callable[[str], Awaitable[object]], times: int) -> None:
        for number in range(times):
            await speaker(text(number))

    await asyncio.gather(*(speak(one, 1) for one in speakers))
    with settled_memory():
        began = time.perf_counter()
        await asyncio.gather(*(speak(one, turns) for one in speakers))
        return len(speakers) * turns / (time.perf_counter() - began)

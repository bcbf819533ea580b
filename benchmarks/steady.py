"""A long conversation in a small window: tools and summaries all the time.

`python -m benchmarks` takes some hundred turns; `python -m benchmarks.steady` takes
1,000, or as many as it is told.

It runs on the strict simulator in this process, which has a window of a few thousand
tokens from the start, so what is counted is what the conversation sends, is refused and
keeps, and no time. A turn that is not confirmed, or a request that is refused, ends the
measurement: there is nothing to be said about how fast somebody is who is stuck.
"""

import asyncio
import json
import random
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

import anthropic
import attrs
import httpx2

from benchmarks.material import MODEL, text
from benchmarks.report import Report, Row, Target
from turnlatch import CompactionPolicy, Conversation, Tool, TurnState, tool
from turnlatch.ports import Model
from turnlatch.sdk import SdkModel
from turnlatch.simulator import Answer, ApiLimits, ClientCall, Simulator, reply, think
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch.simulator.wire import Json
from turnlatch.testing import SeededIds, VirtualClock

WINDOW = 4_000
"""Tokens of the window, as the server has it and as the policy says."""

Wrap = Callable[[Model], Model]
"""What stands between the engine and its port: a planted bug."""

_FLAT = (
    ("journaled", "journaled"),
    ("sent", "sent"),
    ("written to disk", "written"),
)
"""What must not grow with the conversation: in words, and as `Quarter` names it."""

_IO = Path("/proc/self/io")


@final
@attrs.frozen
class Quarter:
    """What a quarter of the turns came to.

    Attributes:
        turns: How many they were.
        requests: How many requests they took.
        sent: Bytes of the bodies of those.
        journaled: Bytes of the journal's entries.
        written: Bytes this process gave to the disk; None where nobody can say.
    """

    turns: int
    requests: int
    sent: int
    journaled: int
    written: int | None


@final
@attrs.frozen
class Steady:
    """What the whole conversation came to.

    Attributes:
        quarters: Its four quarters, in order.
        refused: Requests that the server refused.
        calls: Tool calls that were carried out.
        asked: Summaries that were asked for.
        made: Summaries that came into force.
    """

    quarters: Sequence[Quarter]
    refused: int
    calls: int
    asked: int
    made: int


async def measure(turns: int, folder: Path, wrap: Wrap | None = None) -> Report:
    """Hold the last quarter of a long conversation against its first.

    Raises:
        AssertionError: A turn was not confirmed, or a request was refused.
    """
    found = await converse(turns, folder, wrap)
    first, *_, last = found.quarters
    where = f"{turns:,} turns in {WINDOW:,} tokens"
    rows: list[Row] = []
    for what, name in _FLAT:
        ours, reference = getattr(last, name), getattr(first, name)
        if ours is not None and reference is not None:
            ours, reference = ours / last.turns, reference / first.turns
            words = f"{where}: {what} per turn, last quarter"
            target = Target(1.1)
            rows.append(Row(words, "bytes", ours, reference, "first quarter", target))
    sent = sum(one.requests for one in found.quarters)
    counts: Sequence[tuple[str, int, int, str, Target | None]] = (
        ("requests", sent, turns, "turns", None),
        ("tool calls", found.calls, turns, "turns", None),
        ("summaries in force", found.made, found.asked, "asked for", None),
        ("requests refused", found.refused, sent, "sent", Target(0, "value at most")),
    )
    rows += [
        Row(f"{where}: {what}", "count", ours, reference, against, target)
        for what, ours, reference, against, target in counts
    ]
    return Report(rows)


async def converse(turns: int, folder: Path, wrap: Wrap | None = None) -> Steady:
    """Take that many turns, with tools, in a window of `WINDOW` tokens.

    Raises:
        AssertionError: A turn was not confirmed, or a request was refused.
    """
    clock = VirtualClock()
    simulator = Simulator(
        _Worker(), limits=ApiLimits(context_window=WINDOW), clock=clock.now
    )
    transport = SimulatorTransport(simulator, sleep=clock.sleep)
    client = anthropic.AsyncAnthropic(
        api_key="benchmark", http_client=httpx2.AsyncClient(transport=transport)
    )
    model: Model = SdkModel(client)
    path, calls = folder / "steady.db", list[str]()
    chat = Conversation.open(
        "steady",
        store=path,
        client=wrap(model) if wrap else model,
        model=MODEL,
        max_tokens=512,
        system="You are somebody who looks things up.",
        tools=_tools(calls),
        compaction=CompactionPolicy(window=WINDOW),
        clock=clock,
        ids=SeededIds(),
    )
    ends = [turns * quarter // 4 for quarter in range(5)]
    marks: list[tuple[int, int | None]] = []
    async with chat:
        for number in range(turns + 1):
            if number:
                await _turn(chat, simulator, number)
            if number in ends:
                marks.append((len(simulator.log), _written()))
    await client.close()
    log = simulator.log
    quarters: list[Quarter] = []
    for place in range(4):
        (seen, before), (until, after) = marks[place : place + 2]
        start, end = ends[place : place + 2]
        quarters.append(
            Quarter(
                end - start,
                until - seen,
                sum(len(one.raw) for one in log[seen:until]),
                _journaled(path, start, end),
                None if before is None or after is None else after - before,
            )
        )
    refused = sum(one.error is not None for one in log)
    asked, made = (_counted(path, f"compaction_{kind}") for kind in _SUMMARIES)
    return Steady(quarters, refused, len(calls), asked, made)


_SUMMARIES = ("sent", "confirmed")


async def _turn(chat: Conversation, simulator: Simulator, number: int) -> None:
    said, seen = text(number, 120), len(simulator.log)
    turn = await (chat.stream(said).turn() if number % 2 else chat.send(said))
    assert turn.state is TurnState.CONFIRMED, f"turn {number} is stuck: {turn.fault}"
    refused = [one.line for one in simulator.log[seen:] if one.error is not None]
    assert not refused, f"a request of turn {number} was refused: {refused[0]}"


@final
class _Worker:
    """A model that works as much in each four turns as in any other four.

    It looks something up, notes it, does both at once, one after the other, or nothing.
    """

    def __init__(self) -> None:
        self._turns = 0
        self._left: list[Answer] = []

    def answer(self, request: Json, rng: random.Random, /) -> Answer:
        """Go on with the turn, or begin the next."""
        del rng
        messages = request["messages"]
        assert isinstance(messages, list), "the simulator has looked at it"
        if '"tool_result"' not in json.dumps(messages[-1]):
            self._left = self._planned(self._turns)
            self._turns += 1
        return self._left.pop(0)

    def _planned(self, number: int) -> list[Answer]:
        thought = think("The user wants something looked up, and then noted down.")
        look, note = (
            ClientCall(name, {"what": text(number, 60)}) for name in ("look", "note")
        )
        words = reply(thought, text(number, 240))
        match number % 4:
            case 0:
                return [words]
            case 1:
                return [reply(thought, look), words]
            case 2:
                return [reply(thought, "Both.", look, note), words]
            case _:
                return [reply(thought, look), reply(note), words]


def _tools(calls: list[str]) -> list[Tool]:
    @tool(effect="safe")
    async def look(what: str) -> str:
        """Look something up."""
        calls.append(what)
        return text(len(calls), 700)

    @tool(effect="once")
    async def note(what: str) -> str:
        """Note something down."""
        calls.append(what)
        return "noted"

    return [look, note]


# What the store holds is read once nobody uses it any more: opening a database by other
# means would take away the locks of those that do.


def _journaled(path: Path, start: int, end: int) -> int:
    """Bytes of the entries of the turns behind `start`, up to `end`."""
    sizes = "coalesce(sum(length(meta) + length(body) + length(extra)), 0)"
    return _asked(
        path, f"SELECT {sizes} FROM entry WHERE turn > ? AND turn <= ?", start, end
    )


def _counted(path: Path, kind: str) -> int:
    """How many entries of a kind there are."""
    return _asked(path, "SELECT count(*) FROM entry WHERE kind = ?", kind)


def _asked(path: Path, question: str, *values: int | str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (answer,) = connection.execute(question, values).fetchone()
    return int(answer)


def _written() -> int | None:
    """Bytes this process has caused to be written to disk."""
    try:
        lines = _IO.read_text().splitlines()
    except OSError:
        return None
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
        print(asyncio.run(measure(number, Path(place))).as_text())

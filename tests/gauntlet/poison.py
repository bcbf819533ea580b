"""A part of a conversation that the service does not take: every kind of trouble, in
every place, with and without server threads.

`python -m tests.gauntlet.poison` prints the matrix. In each cell a word stands in one
place of a conversation, and whatever holds that word meets one kind of trouble, for ever.
The third ordinary message at the latest is confirmed, nobody helps, and no turn sends
more requests than its budget allows.
"""

import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, cast, final

import anyio
import attrs
import click
import httpx2
from tests.harness.scenario import Plain
from tests.harness.world import World

from turnlatch import Conversation, FaultKind, Tool, TurnState, tool
from turnlatch.simulator import Answer, Scripted, Simulator, call, text
from turnlatch.simulator.wire import Json
from turnlatch_states.recovery.budget import Budget
from turnlatch_states.request.profile import Threads

WORD: Final = "wormwood"
"""What the service does not take."""

MESSAGES_MAX: Final = 3
"""The last of so many ordinary messages is confirmed, or one before it."""


class Place(StrEnum):
    """Where the word stands."""

    OPEN = "open tool result"
    RESULT = "old result"
    USER = "old user text"
    REPLY = "old reply"
    SUMMARY = "summary"
    PIN = "pin"


@final
@attrs.frozen
class Trouble:
    """What whoever sends the word meets.

    Attributes:
        name: As it is printed.
        script: The fault; `{path}` stands for the place of the word in the request. None
            for what no text can cause.
        why: Why none can.
        declines: The model declines instead.
        threaded: Only a request that has to do with a server thread meets it.
        places: Where the word can cause it.
    """

    name: str
    script: str | None = None
    why: str = ""
    declines: bool = False
    threaded: bool = False
    places: Sequence[Place] = tuple(Place)


_LENGTH: Final = "prompt is too long: 213462 tokens > 200000 maximum"
_SIGNATURE: Final = "{path}: Invalid `signature` in `thinking` block"

KINDS: Final[Mapping[FaultKind, Trouble]] = {
    FaultKind.TRANSIENT: Trouble("transient", "529"),
    FaultKind.OPTIONAL_FIELD: Trouble(
        "optional field", '400 message="metadata: Extra inputs are not permitted"'
    ),
    FaultKind.THREAD: Trouble("thread", "404 code=thread_not_found", threaded=True),
    FaultKind.TOO_LONG: Trouble("too long", f'400 message="{_LENGTH}"'),
    FaultKind.BLOCK: Trouble("block", '400 message="{path}: not allowed"'),
    FaultKind.THINKING: Trouble("thinking", f'400 message="{_SIGNATURE}"'),
    FaultKind.INVALID: Trouble("invalid", '400 message="No."'),
    FaultKind.REFUSAL: Trouble("refusal", declines=True),
    FaultKind.COMPACTION: Trouble(
        "compaction", "400 code=compaction_signature_invalid"
    ),
    FaultKind.AUTH: Trouble("auth", "403 type=permission_error"),
    FaultKind.BILLING: Trouble("billing", "402"),
    FaultKind.MODEL_GONE: Trouble("model gone", '404 message="model: gone"'),
    FaultKind.CUT_OFF: Trouble(
        "cut off",
        why="the limit of a reply is ours; what it cuts off is closed and told",
    ),
    FaultKind.OUTPUT: Trouble("output", why="the caller's type says it"),
    FaultKind.TOOL: Trouble("tool", why="a tool says it of itself"),
    FaultKind.LOCAL: Trouble(
        "local",
        why="what is refused here is refused before it is part of a conversation",
    ),
    FaultKind.BUDGET: Trouble(
        "budget", why="it is the caller's, and each cell keeps it"
    ),
    FaultKind.CANCELLED: Trouble("cancelled", why="somebody stops the turn"),
    FaultKind.INTERRUPTED: Trouble("interrupted", why="the process ends"),
}
"""Every kind of fault, as far as a text can cause it."""

SHAPES: Final = (
    Trouble("reset", "reset"),
    Trouble("close", "eof"),
    Trouble("cut", "cut 50% eof"),
    Trouble("silence", "stall"),
    Trouble("403 in HTML", "html 403"),
)
"""What a filter or a proxy does to a text it does not like."""

TROUBLES: Final = (*KINDS.values(), *SHAPES)


@final
@attrs.frozen
class Cell:
    """One cell of the matrix."""

    trouble: Trouble
    place: Place
    threads: Threads

    def __str__(self) -> str:
        return f"{self.trouble.name}, {self.place}, threads {self.threads}"


def cells() -> list[Cell]:
    """Every cell in which there is something to try."""
    return [
        Cell(trouble, place, threads)
        for trouble in TROUBLES
        for place in Place
        for threads in (Threads.OFF, Threads.ON)
        if not trouble.why
        and place in trouble.places
        and not (trouble.threaded and threads is Threads.OFF)
    ]


@final
@attrs.frozen
class Result:
    """What became of a cell.

    Attributes:
        messages: Which ordinary message was confirmed first; None if none was in time.
        requests: The most that one turn sent, trials included.
        told: What was wrong, in words; empty if nothing was.
    """

    messages: int | None
    requests: int
    told: str = ""

    @property
    def held(self) -> bool:
        """True if the promise was kept."""
        return not self.told


@final
class Declining:
    """A model that declines whatever holds the word, once it is told to."""

    def __init__(self, then: Scripted) -> None:
        self._then = then
        self.on = False

    def answer(self, request: Json, rng: random.Random, /) -> Answer:
        """The next answer, or a refusal."""
        if self.on and WORD in json.dumps(request):
            return text("I", stop_reason="refusal")
        return self._then.answer(request, rng)

    def summarise(self, request: Json, rng: random.Random, /) -> Answer | None:
        """The next summary."""
        return self._then.summarise(request, rng)


@final
class _Front(httpx2.AsyncBaseTransport):
    """In front of the service: what a request that holds the word will meet."""

    def __init__(self, poisoned: "Poisoned") -> None:
        self._poisoned = poisoned
        self._inner = poisoned.world.transport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass a request on, and set the trap before it if it holds the word."""
        body = await request.aread()
        if request.url.path.endswith("/v1/messages"):
            self._poisoned.meets(body)
        return await self._inner.handle_async_request(request)


@final
class Poisoned:
    """One cell, played."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.world = World()
        answers: dict[Place, list[Answer | str]] = {
            Place.OPEN: ["One.", "Two.", call("read"), "Read."],
            Place.RESULT: ["One.", call("read"), "Read.", "Two."],
            Place.REPLY: ["One.", f"It is {WORD}.", "Two."],
        }
        said = f"So far: {WORD}." if cell.place is Place.SUMMARY else "So far."
        model = Scripted(
            answers.get(cell.place, []), then=Plain(), summaries=[text(said)]
        )
        self.model = Declining(model)
        self.world.simulator = Simulator(self.model, clock=self.world.clock.now)
        self.poisoned = False

    def meets(self, body: bytes) -> None:
        """Set the trap for the request that is about to arrive."""
        trouble = self.cell.trouble
        if not self.poisoned or WORD.encode() not in body or trouble.script is None:
            return
        asked: dict[str, Any] = json.loads(body)
        if trouble.threaded and "thread" not in asked:
            return
        path = _path(asked.get("messages", []), "messages") or "messages.0"
        self.world.simulator.inject(trouble.script.replace("{path}", path))

    async def play(self) -> Result:
        """Poison a conversation, and go on with it as anybody would."""
        most, first = 0, None
        async with self._opened() as chat:
            await self._built(chat)
            self.poisoned = True
            if self.cell.threads is Threads.ON:  # what the server holds does not travel
                self.world.simulator.inject("expire threads")
            self.model.on = self.cell.trouble.declines
            for number in range(1, MESSAGES_MAX + 1):
                turn = await chat.send(f"ordinary message {number}")
                most = max(most, turn.requests + turn.trials)
                if turn.state is TurnState.CONFIRMED:
                    first = number
                    break
            state = chat.turn
            told = "" if first else f"stuck: {state.fault if state else None}"
            if first and (await chat.send("and on")).state is not TurnState.CONFIRMED:
                told = "what came next is stuck again"
            allowed = Budget().requests
            if most > allowed:
                told = f"a turn sent {most} of {allowed} requests"
        return Result(first, most, told)

    def _opened(self) -> Conversation:
        return self.world.open(
            client=self.world.client(_Front(self)),
            tools=[self._read()],
            threads=self.cell.threads,
            settings={"metadata": {"user_id": "u"}},
        )

    def _read(self) -> Tool:
        @tool(effect="safe")
        async def read() -> str:
            """Read what there is."""
            return f"It says {WORD}."

        return read

    async def _built(self, chat: Conversation) -> None:
        """What was said before."""
        place = self.cell.place
        second = f"I say {WORD}." if place is Place.USER else "Second."
        if place is Place.PIN:
            await chat.pin("note", f"Mind the {WORD}.")
        for words in ("First.", second, "Third."):
            if place is not Place.OPEN or words != "Third.":
                assert (await chat.send(words)).state is TurnState.CONFIRMED
        if place in (Place.SUMMARY, Place.PIN):
            assert (await chat.compact()).state is TurnState.CONFIRMED
            assert (await chat.send("Fourth.")).state is TurnState.CONFIRMED


def _path(value: Any, at: str) -> str | None:
    """The path of the innermost block that holds the word."""
    if isinstance(value, list):
        for index, one in enumerate(cast("list[dict[str, Any]]", value)):
            if WORD in json.dumps(one):
                inner = _path(one.get("content"), f"{at}.{index}.content")
                return inner or f"{at}.{index}"
    return None


async def played(cell: Cell) -> Result:
    """Play one cell."""
    return await Poisoned(cell).play()


def matrix(results: Mapping[Cell, Result]) -> list[str]:
    """The lines that are printed: a trouble a line, a place a column."""
    width = max(len(place) for place in Place)
    head = f"{'':<16}" + "".join(f"{place:>{width + 2}}" for place in Place)
    lines = [head]
    for trouble in TROUBLES:
        if trouble.why:
            lines.append(f"{trouble.name:<16}  {trouble.why}")
            continue
        row = f"{trouble.name:<16}"
        for place in Place:
            found = [
                _word(result)
                for cell, result in results.items()
                if cell.trouble is trouble and cell.place is place
            ]
            row += f"{' / '.join(found) or '-':>{width + 2}}"
        lines.append(row)
    good = sum(one.held for one in results.values())
    lines.append(
        f"poison: {good} of {len(results)} cells; in each the number of the message that"
        " was confirmed first, and the most requests of a turn; threads off / on"
    )
    return lines


def _word(result: Result) -> str:
    return f"{result.messages}:{result.requests}" if result.held else "STUCK"


async def all_of(
    some: Sequence[Cell], tell: Callable[[str], None] = lambda _: None
) -> dict[Cell, Result]:
    """Play cells, one after another."""
    results: dict[Cell, Result] = {}
    for cell in some:
        results[cell] = result = await played(cell)
        if not result.held:
            tell(f"{cell}: {result.told}")
    return results


@click.command()
@click.option("--only", default="", help="The cells whose name holds this.")
def main(only: str) -> None:
    """Play the matrix and print it."""
    some = [cell for cell in cells() if only in str(cell)]
    results = anyio.run(all_of, some, click.echo)
    for line in matrix(results):
        click.echo(line)
    sys.exit(0 if all(one.held for one in results.values()) else 1)


if __name__ == "__main__":
    main(prog_name="python -m tests.gauntlet.poison")

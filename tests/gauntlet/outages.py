"""Random outages: `python -m tests.gauntlet.outages --seed N --scripts K`.

A conversation is had while the service fails at random, in one of the ways of `KINDS`;
then comes an hour of calm, and two messages. Whatever the outage was like, both are
confirmed, and behind the second nothing that was confirmed is missing from what is sent:
no request was ever refused for good, so no part of the conversation was to blame. The pages
are those of a router or a proxy that answers some requests in the service's place.
"""

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, final

import anyio
import attrs
import click
from tests.harness.world import World

from turnlatch import Conversation, Tool, TurnState, tool
from turnlatch.simulator import (
    Answer,
    ScriptedFault,
    Seeded,
    Simulator,
    When,
    parse_faults,
)
from turnlatch.simulator.faults import Span
from turnlatch.simulator.wire import Json
from turnlatch_states.api.json_bytes import parts
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.recovery.budget import Budget
from turnlatch_states.request.profile import Threads

COMMAND: Final = "python -m tests.gauntlet.outages"

STATUSES: Final = ("529", "500", "429", "503", "429 retry-after=3", "529 retry-after=9")
PAGES: Final = ("html 404", "html 400", "html 403", "html 410")
NETWORK: Final = ("reset", "eof", "cut 40% reset", "cut 3 clean")

KINDS: Final[Mapping[str, tuple[tuple[str, ...], float]]] = {
    "30% statuses": (STATUSES, 0.3),
    "50% statuses": (STATUSES, 0.5),
    "70% statuses": (STATUSES, 0.7),
    "62% of one": (STATUSES[:1], 0.62),
    "50% resets": (NETWORK[:1], 0.5),
    "62% network": (NETWORK, 0.62),
    "50% pages": (PAGES, 0.5),
    "62% of one page": (PAGES[:1], 0.62),
}
"""How the service fails, and how often. One status alone looks most like a part of the
conversation that it always fails at, and most so where it fails 8 times of 13."""

REQUESTS_MAX: Final = 1_500
MESSAGES_MAX: Final = 12
HOUR: Final = 3_600.0


@final
@attrs.frozen
class Outcome:
    """What became of one conversation.

    Attributes:
        kind: How the service failed.
        seed: What it was drawn from.
        broken: Which promise was broken, in words; None if none was.
        searches: How often a part was found, rightly or not, during the outage.
    """

    kind: str
    seed: int
    broken: str | None
    searches: int


def faults_of(kind: str, rng: random.Random) -> tuple[ScriptedFault, ...]:
    """The outage: a fault for each request that meets one, until it is over."""
    texts, likely = KINDS[kind]
    met: dict[str, list[Span]] = {text: [] for text in texts}
    for number in range(1, REQUESTS_MAX + 1):
        if rng.random() < likely:
            met[rng.choice(texts)].append(Span(number, number))
    until = rng.choice((60.0, 300.0, 1_200.0))
    return tuple(
        ScriptedFault(
            parse_faults(text)[0].action, When(tuple(spans), until_seconds=until)
        )
        for text, spans in met.items()
        if spans
    )


@final
class Outage:
    """One conversation with a service that fails at random for a while."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind = kind
        self.seed = seed
        self._rng = random.Random(f"{kind}:{seed}")
        self.world = World(seed=seed)
        self.clock = self.world.clock
        self.faults = faults_of(kind, self._rng)
        tools = self._rng.choice((0.0, 0.4))
        self.model = Attentive(Seeded(seed, tool_use=tools))
        self.threads = self._rng.choice((Threads.OFF, Threads.ON))
        self.world.simulator = Simulator(
            self.model, faults=self.faults, clock=self.clock.now
        )
        self.searches = 0

    async def run(self) -> Outcome:
        """Have it; what became of it."""
        try:
            await self._had()
        except AssertionError as error:
            return Outcome(self.kind, self.seed, str(error), self.searches)
        return Outcome(self.kind, self.seed, None, self.searches)

    async def _had(self) -> None:
        async with self._opened() as chat:
            began, until = self.clock.now(), self.faults[0].when.until_seconds or 0.0
            for number in range(MESSAGES_MAX):
                await self._says(chat, f"fact {number} is {number * 111}")
                await self.clock.sleep(self._rng.choice((0.0, 5.0, 60.0)))
                if self.clock.now() - began > until:
                    break
            await self.clock.sleep(HOUR)
            for which in ("first", "second"):
                well = await self._says(chat, f"the {which} calm message")
                assert well, f"the {which} calm message is not confirmed"
            self._demand_everything(chat)

    def _opened(self) -> Conversation:
        return self.world.open(tools=[_look()], threads=self.threads)

    async def _says(self, chat: Conversation, words: str) -> bool:
        turn = await chat.send(words)
        self.searches += turn.remedies.count(Remedy.BISECT)
        spent, allowed = turn.requests + turn.trials, Budget().requests
        assert spent <= allowed, f"a turn sent {spent} of {allowed} requests"
        return turn.state is TurnState.CONFIRMED

    def _demand_everything(self, chat: Conversation) -> None:
        """The model has read all that was confirmed, last of all as well."""
        read = json.dumps(self.model.read)
        for exchange in list(chat.history)[:-1]:
            blocks = (*parts(exchange.user), *parts(exchange.resendable))
            for block in map(json.loads, blocks):
                said = json.dumps(block.get("text", ""))[1:-1]
                assert said in read, f"in the calm the model does not read {said!r}"


@final
class Attentive:
    """A model that keeps what it has read last, with what the server held of it."""

    def __init__(self, then: Seeded) -> None:
        self._then = then
        self.read: Any = None

    def answer(self, request: Json, rng: random.Random, /) -> Answer:
        """The answer of the model behind it."""
        self.read = request.get("messages")
        return self._then.answer(request, rng)


def _look() -> Tool:
    @tool(effect="safe")
    async def look(path: str) -> str:
        """Look at something."""
        return f"contents of {path}"

    return look


async def had(kind: str, seed: int) -> Outcome:
    """Have one conversation through an outage."""
    return await Outage(kind, seed).run()


def outages(kinds: Sequence[str], seed: int, count: int) -> Iterator[tuple[str, int]]:
    """So many conversations of each kind, from a seed on."""
    for number in range(count):
        for kind in kinds:
            yield kind, seed + number


@click.command()
@click.option("--seed", default=0, help="Of the first conversation.")
@click.option("--scripts", "count", default=100, help="How many of each kind.")
@click.option("--kind", type=click.Choice(list(KINDS)), help="This kind alone.")
def main(seed: int, count: int, kind: str | None) -> None:
    """Have conversations through random outages, and tell which lost something."""
    began = time.monotonic()
    broken: Counter[str] = Counter()
    searches: Counter[str] = Counter()
    kinds = list(KINDS) if kind is None else [kind]

    async def run() -> None:
        for each, one in outages(kinds, seed, count):
            made = await had(each, one)
            searches[each] += made.searches
            if made.broken is not None:
                broken[each] += 1
                click.echo(f"{each}, seed {one}: {made.broken}")
                click.echo(f"  {COMMAND} --kind {each!r} --seed {one} --scripts 1")

    anyio.run(run)
    for each in kinds:
        click.echo(
            f"{each:<14}  {count - broken[each]} of {count} lost nothing,"
            f" {searches[each]} parts suspected meanwhile"
        )
    click.echo(f"in {time.monotonic() - began:.0f} s")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main(prog_name=COMMAND)

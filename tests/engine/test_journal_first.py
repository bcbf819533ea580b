"""Nothing leaves, and no tool starts, before the journal says so."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.harness.world import World

from turnlatch import Limits, RetryPolicy, TurnState, tool
from turnlatch.journal import MemoryStore
from turnlatch.ports import Delta, Store
from turnlatch.sdk import SdkModel
from turnlatch.simulator import call, reply
from turnlatch_states.api.reply import Reply
from turnlatch_states.machine.events import (
    CallStarted,
    CompactionSent,
    Event,
    RequestSent,
)
from turnlatch_states.request.build import Request

pytestmark = pytest.mark.anyio


class Witness:
    """A model port that looks into the journal at the moment a request leaves."""

    def __init__(self, world: World, store: Store) -> None:
        self.inner = SdkModel(world.client())
        self.store = store
        self.seen: list[Event] = []

    async def count(self, request: Request) -> int:
        return await self.inner.count(request)

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        self.seen.append(self.store.read("a")[-1].event)
        return await self.inner.send(request, report)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def converse(
    world: World, store: Store, at_once: int = 8
) -> tuple[Witness, list[str]]:
    """A turn with a fault and two calls, and a compaction; what was on record when."""
    world.script(
        reply(call("act", what="a"), call("act", what="b")), "One.", faults="529"
    )
    witness = Witness(world, store)
    ran: list[str] = []

    @tool(effect="once")
    async def act(what: str, idempotency_key: str) -> str:
        """Act."""
        for entry in store.read("a"):
            event = entry.event
            if isinstance(event, CallStarted) and event.key == idempotency_key:
                ran.append(what)
        return what

    async with world.open(
        store=store,
        client=witness,
        tools=[act],
        retry=RetryPolicy(attempts_max=3),
        limits=Limits(calls_parallel_max=at_once),
    ) as chat:
        assert (await chat.send("1")).state is TurnState.CONFIRMED
        assert (await chat.compact()).state is TurnState.CONFIRMED
    return witness, ran


def on_record(witness: Witness, ran: list[str]) -> bool:
    """The law, as a checker: each intent was on record when it was acted on."""
    sent = [RequestSent(1, 1), RequestSent(1, 2), RequestSent(1, 3)]
    return witness.seen == [*sent, CompactionSent(2, 1, 2)] and sorted(ran) == [
        "a",
        "b",
    ]


@pytest.mark.parametrize("at_once", [1, 8])
async def test_every_request_and_every_call_is_on_record_before_it_starts(
    world: World, at_once: int
) -> None:
    witness, ran = await converse(world, MemoryStore(), at_once)

    assert on_record(witness, ran), (witness.seen, ran)


async def test_the_check_sees_a_journal_that_lags(world: World) -> None:
    """Planted: a store that shows an entry only after the next one came."""

    class Lagging:
        def __init__(self) -> None:
            self.inner = MemoryStore()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def read(self, name: str) -> Any:
            return self.inner.read(name)[:-1]

    store: Any = Lagging()
    assert not on_record(*await converse(world, store))

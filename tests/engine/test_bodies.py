"""A conversation that gets bodies without end goes on, and has confirmed nothing of them."""

import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import httpx2
import pytest
from tests.harness.world import World

from turnlatch import FaultKind, TurnState
from turnlatch.simulator.transport import SimulatorTransport

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
]


class Bloated(httpx2.AsyncBaseTransport):
    """Puts an answer of its own before those of the simulator, some times."""

    def __init__(self, inner: SimulatorTransport, status: int, times: int) -> None:
        self.inner = inner
        self.status = status
        self.times = times
        squeezed = zlib.compressobj(9, wbits=31)
        parts = [squeezed.compress(b" " * 1_000_000) for _ in range(68)]
        self.body = b"".join([*parts, squeezed.flush()])

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if not self.times:
            return await self.inner.handle_async_request(request)
        self.times -= 1
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        return httpx2.Response(
            self.status, headers=headers, content=None, stream=Once(self.body)
        )


class Once(httpx2.AsyncByteStream):
    """A body that comes in one piece."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body


def client(world: World, status: int, times: int) -> anthropic.AsyncAnthropic:
    return world.client(Bloated(world.transport(), status, times))


async def test_bloated_refusals_are_waited_out(world: World) -> None:
    world.script("One.")
    async with world.open(tools=[], client=client(world, 529, 3)) as chat:
        turn = await chat.send("first")

    assert (turn.state, turn.text) == (TurnState.CONFIRMED, "One.")
    assert len(world.clock.slept) == 3


async def test_bloated_replies_end_the_turn_and_nothing_of_them_is_kept(
    world: World, tmp_path: Path
) -> None:
    world.script("One.", "Two.")
    async with world.open(tools=[], client=client(world, 200, 3)) as chat:
        turn = await chat.send("first")

        assert turn.state is TurnState.FAILED
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.TRANSIENT
        assert turn.fault.outcome_unknown
        assert "larger than 67108864 bytes" in turn.fault.message
        assert len(world.clock.slept) == 2, "the third alike ends it"
        assert len(chat.history) == 0
        turn = await chat.retry()
        assert (turn.state, turn.text) == (TurnState.CONFIRMED, "One.")
        assert (await chat.send("second")).text == "Two."
    stored = os.scandir(tmp_path)
    assert sum(one.stat().st_size for one in stored) < 1_000_000

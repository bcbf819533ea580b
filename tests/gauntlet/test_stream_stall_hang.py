"""Every wait has an end: a stream that falls silent, or only says that it is alive, fails
its attempt within a bound, and the conversation goes on.

Sessions stayed busy for ever on a socket that nobody served any more, because nothing but
the next byte could end the wait, and stopping or closing waited behind it:

- https://github.com/anthropics/claude-code/issues/25979
- https://github.com/earendil-works/pi/issues/8331
- https://github.com/volcengine/OpenViking/pull/3575
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio.lowlevel
import httpx2
import pytest
from tests.harness.published import is_text
from tests.harness.scenario import CONFIRMED, Scenario, for_ever

from turnlatch import FaultKind, RetryPolicy

pytestmark = pytest.mark.anyio

SILENCE_SECONDS = 0.3
"""Long enough for a working simulator in the same process, short for a test."""


@pytest.mark.parametrize("events", [0, 1, 4])
async def test_silence_fails_the_attempt_and_the_next_one_is_asked(
    scenario: Scenario, events: int
) -> None:
    scenario.script(
        "A reply that falls silent.", "One.", faults=f"cut {events} stall @1"
    )
    async with scenario.open(
        client=scenario.client(sleep=for_ever), idle_timeout=SILENCE_SECONDS
    ) as chat:
        turn = await chat.stream("1").turn()
        assert turn.text == "One."
        assert turn.requests == 2
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_silence_for_good_is_a_typed_failure_and_keeps_the_input(
    scenario: Scenario,
) -> None:
    scenario.script("Silent.", "Silent.", "One.", faults="cut 3 stall @1-2")
    async with scenario.open(
        client=scenario.client(sleep=for_ever),
        idle_timeout=SILENCE_SECONDS,
        retry=RetryPolicy(attempts_max=2),
    ) as chat:
        failed = await chat.stream("1").turn()
        assert failed.fault is not None
        assert failed.fault.kind is FaultKind.TRANSIENT
        assert failed.fault.outcome_unknown
        again = await chat.retry()
        assert again.text == "One."
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)


@pytest.mark.parametrize("hangup", ["stall", "reset", "eof"])
async def test_no_answer_at_all_is_waited_for_within_bounds(
    scenario: Scenario, hangup: str
) -> None:
    scenario.script("One.", faults=f"{hangup} @1")
    async with scenario.open() as chat:
        turn = await chat.send("1")
        assert turn.requests == 2
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


class Alive(httpx2.AsyncBaseTransport):
    """A gateway that, when a stream falls silent, says for ever that it is alive."""

    def __init__(self, scenario: Scenario) -> None:
        self.inner = scenario.transport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self.inner.handle_async_request(request)
        inner: Any = response.stream

        class Body(httpx2.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                try:
                    async with aclosing(aiter(inner)) as pieces:
                        async for piece in pieces:
                            yield piece
                except httpx2.ReadTimeout:
                    while True:
                        yield b'event: ping\ndata: {"type":"ping"}\n\n'
                        await anyio.lowlevel.checkpoint()

            async def aclose(self) -> None:
                await inner.aclose()

        response.stream = Body()
        return response


async def test_pings_alone_do_not_keep_an_attempt_alive(scenario: Scenario) -> None:
    scenario.script("A reply that falls silent.", "One.", faults="cut 4 stall @1")
    client = scenario.client(Alive(scenario))
    async with scenario.open(client=client, timeout=SILENCE_SECONDS * 2) as chat:
        turn = await chat.stream("1").turn()
        assert turn.text == "One."
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_stopping_does_not_wait_behind_what_hangs(scenario: Scenario) -> None:
    scenario.script("A reply that falls silent.", faults="cut 5 stall @1")
    async with scenario.open(client=scenario.client(sleep=for_ever)) as chat:
        stream = chat.stream("1")
        async for event in stream:
            if is_text(event):
                assert await chat.interrupt()
        await stream.turn()
        await scenario.finish(chat, ended=FaultKind.CANCELLED, effects={}, budget=1)

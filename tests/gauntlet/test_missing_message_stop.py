"""A reply is whole when its blocks are closed and its stop reason was given. If only the
event that says so is missing, it is taken, after a bounded wait that pings do not extend,
and marked; if anything else is missing, it is an attempt.

Some gateways never send the last event. A client that throws such replies away pays for
every turn twice and finishes none; one that takes whatever ended keeps half replies:

- https://github.com/tombii/better-ccflare/pull/307
- https://github.com/esengine/DeepSeek-Reasonix/pull/8756
- https://github.com/anomalyco/opencode/issues/38747
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch.sdk import SdkModel
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio

GRACE_SECONDS = 0.05
ENDINGS = ("clean", "eof", "reset", "stall")


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_reply_that_lacks_only_its_last_event_is_taken_once(
    scenario: Scenario, ending: str
) -> None:
    scenario.script("Done.", "Two.", faults=f"cut 6 {ending} @1")
    async with scenario.open() as chat:
        turn = await chat.stream("1").turn()
        assert turn.text == "Done."
        assert turn.requests == 1, "it is not paid for again"
        assert turn.reply is not None
        assert turn.reply.inferred
        await chat.stream("2").turn()
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_reply_that_lacks_its_stop_reason_is_an_attempt(
    scenario: Scenario, ending: str
) -> None:
    scenario.script("Done.", "Done again.", faults=f"cut 5 {ending} @1")
    async with scenario.open() as chat:
        turn = await chat.stream("1").turn()
        assert turn.text == "Done again."
        assert turn.requests == 2
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_the_same_is_decided_when_the_file_is_loaded(scenario: Scenario) -> None:
    scenario.script(
        reply("Well.", call("act", what="a")), "Done.", faults="cut 14 eof @1"
    )
    async with scenario.open() as chat:
        turn = await chat.stream("1").turn()
        marks = [one.inferred for one in turn.replies]
    async with scenario.open() as chat:
        assert [one.reply.inferred for one in chat.history] == marks
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"act a": 1}, budget=turn.requests
        )


class Alive(httpx2.AsyncBaseTransport):
    """A gateway that swallows the last event and says for ever that it is alive."""

    def __init__(self, scenario: Scenario) -> None:
        self.inner = scenario.transport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self.inner.handle_async_request(request)
        inner: Any = response.stream

        class Body(httpx2.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                async with aclosing(aiter(inner)) as pieces:
                    async for piece in pieces:
                        while b"message_stop" in piece:
                            yield b'event: ping\ndata: {"type":"ping"}\n\n'
                            await anyio.lowlevel.checkpoint()
                        yield piece

            async def aclose(self) -> None:
                await inner.aclose()

        response.stream = Body()
        return response


async def test_pings_do_not_extend_the_wait_for_the_last_event(
    scenario: Scenario,
) -> None:
    scenario.script("Done.")
    port = SdkModel(scenario.client(Alive(scenario)), grace_seconds=GRACE_SECONDS)
    async with scenario.open(client=port) as chat:
        turn = await chat.stream("1").turn()
        assert turn.requests == 1
        assert turn.reply is not None
        assert turn.reply.inferred
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=1)

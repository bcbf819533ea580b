"""Waiting: every silence ends in time, in words, and without leaving anything behind."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from threading import Semaphore
from typing import Any, TypeVarTuple

import anthropic
import anyio
import anyio.abc
import httpx2
import pytest
from tests.engine.model.wire import (
    BACKENDS,
    BODY,
    CLOSED,
    PING,
    START,
    STOP,
    WHOLE,
    WORD,
    JumpingLoop,
    Part,
    Server,
    Silence,
    ask,
    client,
    ignore,
)

from turnlatch.ports import RequestFailedError
from turnlatch.sdk import SdkModel
from turnlatch.sdk.sdk_model import UPLOAD_BYTES_PER_SECOND_MIN
from turnlatch.simulator import Scripted, Simulator
from turnlatch.simulator.transport import simulated_client
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.request.build import Request

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops, in virtual time."""
    return BACKENDS[request.param]()


async def given_up(model: SdkModel, request: Request) -> tuple[float, Fault]:
    """After how many seconds a request is given up, and why."""
    begun = anyio.current_time()
    with pytest.raises(RequestFailedError) as caught:
        await model.send(request, ignore)
    return anyio.current_time() - begun, caught.value.fault


@pytest.mark.parametrize("idle", [20, 60, 300])
async def test_headers_of_a_stream_are_a_silence(idle: float) -> None:
    server = Server([], headers_after=math.inf)
    model = SdkModel(client(server), idle_seconds=idle)

    waited, fault = await given_up(model, ask())

    assert idle <= waited <= idle * 1.125 + 1
    assert fault.message == f"no answer came for {idle} s after the request"
    assert fault.kind is FaultKind.TRANSIENT
    assert fault.outcome_unknown
    assert server.given_up == 1


async def test_headers_of_a_plain_answer_may_take_as_long_as_the_answer() -> None:
    server = Server([WHOLE], type_="application/json", headers_after=590)
    reply = await SdkModel(client(server)).send(ask(stream=False), ignore)
    assert reply.text == "hi"

    model = SdkModel(client(Server([], headers_after=math.inf)))
    waited, fault = await given_up(model, ask(stream=False))

    assert 600 <= waited <= 601
    assert fault.message == "there was no whole answer within 600 s"


@pytest.mark.parametrize("headers_after", [0, 590, math.inf])
async def test_count_may_take_as_long_as_a_plain_answer(headers_after: float) -> None:
    server = Server([b"{", Silence()], 200, "application/json", headers_after)
    begun = anyio.current_time()

    with pytest.raises(RequestFailedError) as caught:
        await SdkModel(client(server)).count(ask())

    assert 600 <= anyio.current_time() - begun <= 601.1
    assert caught.value.fault.message == "there was no whole answer within 600 s"
    assert server.given_up or server.body.closed


async def test_late_headers_are_in_time() -> None:
    parts: list[Part] = [START, 59.0, WORD, 59.0, CLOSED, STOP]
    server = Server(parts, headers_after=59)

    assert (await SdkModel(client(server)).send(ask(), ignore)).text == "hi"


async def test_silence_is_counted_from_the_headers_on() -> None:
    for headers_after in (0, 5, 8, 59):
        server = Server([Silence()], headers_after=headers_after)

        waited, fault = await given_up(SdkModel(client(server)), ask())

        assert 60 <= waited - headers_after <= 68.5
        assert fault.message == "the stream was silent for 60 s"
        assert server.given_up == 0
        assert server.body.closed


async def test_json_answer_to_a_stream_is_not_held_to_its_silence() -> None:
    parts: list[Part] = [WHOLE[:9], 300.0, WHOLE[9:]]
    server = Server(parts, type_="application/json", headers_after=50)

    assert (await SdkModel(client(server)).send(ask(), ignore)).text == "hi"


async def test_error_whose_body_never_ends_is_a_silence_too() -> None:
    server = Server([b'{"type":', Silence()], 529, "application/json")

    waited, fault = await given_up(SdkModel(client(server)), ask())

    assert 60 <= waited <= 68.5
    assert fault.kind is FaultKind.TRANSIENT
    assert fault.message == "no answer came for 60 s after the request"


async def test_total_goes_before_a_longer_silence() -> None:
    model = SdkModel(
        client(Server([], headers_after=math.inf)), total_seconds=30, idle_seconds=60
    )

    waited, fault = await given_up(model, ask())

    assert 30 <= waited <= 31
    assert fault.message == "there was no whole answer within 30 s"


async def test_long_body_is_given_time_to_leave() -> None:
    body = b'{"model":"%s"}' % (b"m" * 100 * UPLOAD_BYTES_PER_SECOND_MIN)
    server = Server([], headers_after=math.inf)

    waited, _ = await given_up(SdkModel(client(server)), ask(body=body))

    assert 160 <= waited <= 168.5


async def test_cancelled_wait_for_headers_is_a_cancellation() -> None:
    server = Server([], headers_after=math.inf)

    with anyio.move_on_after(30) as scope:
        await SdkModel(client(server)).send(ask(), ignore)

    assert scope.cancelled_caught
    assert server.given_up == 1


async def test_simulator_that_stalls_before_its_headers_is_given_up() -> None:
    simulator = Simulator(Scripted(["Hi."]), faults="stall @1, slow headers 59s @2")
    body = (
        b'{"model":"claude-opus-5","max_tokens":9,"stream":true,'
        b'"messages":[{"role":"user","content":"hello"}]}'
    )
    model = SdkModel(simulated_client(simulator))

    waited, fault = await given_up(model, ask(body=body))
    reply = await model.send(ask(body=body), ignore)

    assert 60 <= waited <= 68.5
    assert fault.message == "no answer came for 60 s after the request"
    assert reply.text == "Hi."


class Peer:
    """A real socket: reads every request, says this much and then nothing more."""

    def __init__(self, says: bytes) -> None:
        self.says = says
        self.requests = 0
        self._hung_up = Semaphore(0)

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        seen = b""
        async with stream:
            try:
                while True:
                    seen += await stream.receive()
                    if seen.endswith(BODY):
                        self.requests += 1
                        await stream.send(self.says)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                self._hung_up.release()

    async def left(self) -> None:
        """Wait until one more connection was closed at the other end.

        The bound is real seconds: virtual ones pass while the socket takes its time.
        """
        assert await anyio.to_thread.run_sync(lambda: self._hung_up.acquire(timeout=60))


@asynccontextmanager
async def talking(peer: Peer) -> AsyncGenerator[SdkModel, None]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, peer.serve)
        model = SdkModel(api_key="k", base_url=f"http://127.0.0.1:{port}")
        try:
            yield model
        finally:
            await model.aclose()
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 529 Busy\r\ncontent-length: 9\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n",
    ],
)
async def test_connection_that_was_given_up_is_closed(says: bytes) -> None:
    peer = Peer(says)

    async with talking(peer) as model:
        for _ in range(3):
            waited, fault = await given_up(model, ask())
            assert 60 <= waited <= 70
            assert fault.kind is FaultKind.TRANSIENT
            await peer.left()

    assert peer.requests == 3


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\n"])
async def test_connection_of_a_cancelled_wait_is_closed(says: bytes) -> None:
    peer = Peer(says)

    async with talking(peer) as model:
        with anyio.move_on_after(30) as scope:
            await model.send(ask(), ignore)
        assert scope.cancelled_caught
        await peer.left()


Ts = TypeVarTuple("Ts")


class CountingLoop(JumpingLoop):
    """Counts the timers that are set."""

    timers = 0

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)


class TestTimers:
    """A timer costs more than a delta does, so there are few."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, Any]]:
        """The loop that can be asked."""
        return "asyncio", {"loop_factory": CountingLoop}

    async def test_time_of_preparation_does_not_count_as_silence(self) -> None:
        """The first time, the SDK is imported, which takes a second or more."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)

        skip = loop.skip

        class Slow(anthropic.AsyncAnthropic):
            looked_at = 0

            @property
            def default_headers(self) -> dict[str, Any]:
                self.looked_at += 1
                if self.looked_at == 1:
                    skip(1_000)
                return super().default_headers

        transport = Server([START, WORD, CLOSED, STOP])
        slow = Slow(api_key="k", http_client=httpx2.AsyncClient(transport=transport))

        assert (await SdkModel(slow).send(ask(), ignore)).text == "hi"
        assert slow.looked_at

    async def timers(self, parts: list[Part], stream: bool = True) -> int:
        type_ = "text/event-stream" if stream else "application/json"
        model = SdkModel(client(Server(parts, type_=type_)))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        before = loop.timers
        await model.send(ask(stream), ignore)
        return loop.timers - before

    async def test_stream_sets_no_timer_for_each_delta(self) -> None:
        few = await self.timers([START, WORD, CLOSED, STOP])
        many = await self.timers([START, *[WORD] * 1000, CLOSED, STOP])

        assert many == few

    async def test_headers_and_what_follows_soon_have_one_timer(self) -> None:
        whole = await self.timers([WHOLE], stream=False)
        streamed = await self.timers([START + WORD + CLOSED + STOP])

        assert streamed == whole + 1  # the last: for the end of the connection

    async def test_slow_stream_sets_a_timer_for_a_share_of_the_silence(self) -> None:
        """The check sees the timers that there are: 100 s of pings, one each 7.5 s."""
        quick = await self.timers([START, WORD, CLOSED, STOP])
        parts: list[Part] = [START, *[one for _ in range(100) for one in (1.0, PING)]]

        slow = await self.timers([*parts, WORD, CLOSED, STOP])

        sleeps = 100  # of the scripted peer
        assert 12 <= slow - quick - sleeps <= 14

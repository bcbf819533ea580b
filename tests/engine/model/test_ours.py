"""What fails here, in the caller's hooks and transports, is told as ours, and once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import httpx2
import pytest

from turnlatch import Conversation, Turn, TurnState
from turnlatch.simulator import Scripted, Simulator, run_in_thread
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch.testing import VirtualClock
from turnlatch_states.api.faults import FaultKind

Hook = Callable[[httpx2.Response], Awaitable[None]]


class SocketWorld:
    """A conversation over a real socket, through a client that its caller made.

    Attributes:
        requests: How many requests reached the server.
        clock: Its time, which says how long anybody waited.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.clock = VirtualClock()
        self.closes = True
        self.simulator = Simulator(Scripted(["One.", "Two."]), observe=self._count)

    def _count(self, _: object) -> None:
        self.requests += 1

    def through(self, http: httpx2.AsyncClient, times: int = 1) -> list[Turn]:
        """One turn through the client in each of some event loops."""
        self.closes = times == 1
        with run_in_thread(self.simulator) as server:
            client = anthropic.AsyncAnthropic(
                api_key="k", base_url=server.base_url, http_client=http
            )
            return [asyncio.run(self._say(client)) for _ in range(times)]

    async def _say(self, client: anthropic.AsyncAnthropic) -> Turn:
        async with Conversation.open("a", client=client, clock=self.clock) as chat:
            turn = await chat.send("Hello")
        if self.closes:
            await client.close()
        return turn


def hooked(hook: Any, which: str = "response") -> httpx2.AsyncClient:
    return httpx2.AsyncClient(event_hooks={which: [hook]})


async def reads(response: httpx2.Response) -> None:
    await response.aread()


def test_an_answer_that_a_hook_has_read_is_used() -> None:
    world = SocketWorld()
    (turn,) = world.through(hooked(reads))

    assert turn.text == "One."
    assert world.requests == 1


def test_an_answer_of_a_mock_transport_is_used() -> None:
    said = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5",
        "content": [{"type": "text", "text": "Mocked."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=said)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    (turn,) = SocketWorld().through(http)

    assert turn.text == "Mocked."


async def reads_and_fails(response: httpx2.Response) -> None:
    await response.aread()
    raise KeyError("a field that the log wants")


async def fails(_: object) -> None:
    raise ValueError("a bug")


async def cannot_write(_: object) -> None:
    raise OSError(28, "No space left on device")


async def runs_out_of_time(_: object) -> None:
    async with asyncio.timeout(0):
        await asyncio.sleep(1)


async def waits_for_the_dead(_: object) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def asks_elsewhere(_: object) -> None:
    def down(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("the log server is down", request=request)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(down)) as log:
        await log.post("http://log.test/")


async def spends(response: httpx2.Response) -> None:
    async for _ in response.aiter_bytes():
        pass


async def closes(response: httpx2.Response) -> None:
    await response.aclose()


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (reads_and_fails, "a response hook of the HTTP client failed: KeyError"),
        (fails, "a response hook of the HTTP client failed: ValueError: a bug"),
        (cannot_write, "a response hook of the HTTP client failed: OSError"),
        (runs_out_of_time, "a response hook of the HTTP client failed: TimeoutError"),
        (waits_for_the_dead, "cancelled by something it awaited"),
        (asks_elsewhere, "a response hook of the HTTP client failed: ConnectError"),
        (spends, "`await response.aread()` leaves it readable"),
        (closes, "`await response.aread()` leaves it readable"),
    ],
)
def test_failing_response_hook_is_paid_for_once_and_reported_as_local(
    hook: Hook, says: str
) -> None:
    world = SocketWorld()
    (turn,) = world.through(hooked(hook))

    assert turn.state is TurnState.FAILED
    assert turn.fault is not None
    assert turn.fault.kind is FaultKind.LOCAL
    assert turn.fault.outcome_unknown
    assert says in turn.fault.message
    assert world.requests == 1
    assert world.clock.slept == []


def test_a_request_hook_that_fails_has_sent_nothing() -> None:
    world = SocketWorld()
    (turn,) = world.through(hooked(cannot_write, "request"))

    assert turn.fault is not None
    assert turn.fault.kind is FaultKind.LOCAL
    assert not turn.fault.outcome_unknown
    assert world.requests == 0


def test_failed_request_of_a_request_hook_is_tried_again() -> None:
    world, tried = SocketWorld(), [0]

    async def fetches(request: object) -> None:
        tried[0] += 1
        if tried[0] == 1:
            await asks_elsewhere(request)

    (turn,) = world.through(hooked(fetches, "request"))

    assert turn.text == "One."
    assert tried == [2]


class Cassette(httpx2.AsyncBaseTransport):
    """A transport of the caller's that fails in its own way."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        raise LookupError("no such cassette")


def test_a_transport_that_fails_in_its_own_way_is_ours() -> None:
    world = SocketWorld()
    (turn,) = world.through(httpx2.AsyncClient(transport=Cassette()))

    assert turn.fault is not None
    assert turn.fault.kind is FaultKind.LOCAL
    assert world.clock.slept == []


class Bound(httpx2.AsyncBaseTransport):
    """A transport that keeps something of the event loop it was first used in."""

    def __init__(self, simulator: Simulator) -> None:
        self._inner = SimulatorTransport(simulator, sleep=asyncio.sleep)
        self._kept: asyncio.Future[None] | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._kept is None:
            self._kept = asyncio.get_running_loop().create_future()
        else:
            await self._kept
        return await self._inner.handle_async_request(request)


def test_client_used_in_two_event_loops_gets_an_error_that_says_so() -> None:
    world = SocketWorld()
    http = httpx2.AsyncClient(transport=Bound(world.simulator))
    first, second = world.through(http, times=2)

    assert first.fault is None
    assert second.fault is not None
    assert second.fault.kind is FaultKind.LOCAL
    assert "give each one its own" in second.fault.message
    assert world.clock.slept == []


def test_network_faults_and_local_faults_are_distinguished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: classes alone decide, and a hook's own errand is taken for an outage."""
    from turnlatch.sdk import failures

    def blind(_: BaseException) -> None:
        return None

    monkeypatch.setattr(failures, "_hook", blind)
    world = SocketWorld()
    (turn,) = world.through(hooked(asks_elsewhere))

    assert turn.fault is not None
    assert turn.fault.kind is FaultKind.TRANSIENT
    assert world.requests > 1

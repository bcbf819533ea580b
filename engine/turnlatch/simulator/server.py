"""A simulator behind a real socket on the loopback interface.

    async with serve(Simulator()) as server:
        ...  # point any client at server.base_url

The faults of a script are real here: a half chunk is half a chunk on the wire, a reset is
a TCP RST, a stall holds the connection open. `h11` reads the requests and writes the
responses; what it rightly refuses to write, the broken ends, goes to the socket directly.

Whom it answers and how much a client may take is in `doors`.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, final

import attrs
import h11

from turnlatch.errors import SettingsError
from turnlatch.simulator.core import Simulator
from turnlatch.simulator.doors import Bounds, is_loopback, refusal, stranger
from turnlatch.simulator.wire import (
    NO_HEADERS,
    ApiRequest,
    ApiResponse,
    Chunk,
)

_DISCARDED_BYTES_MAX: Final = 256 * 1024 * 1024
_HEADER_BYTES_MAX: Final = 64 * 1024
_LINGER_RESET: Final = struct.pack("ii", 1, 0)

Sleep = Callable[[float], Awaitable[None]]


@final
@attrs.frozen
class Server:
    """A server that runs.

    Attributes:
        host: The address it is bound to.
        port: The port, also where 0 was asked for.
        simulator: Who answers.
    """

    host: str
    port: int
    simulator: Simulator

    @property
    def base_url(self) -> str:
        """The base URL for a client, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@asynccontextmanager
async def serve(
    simulator: Simulator,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    allow_remote: bool = False,
    bounds: Bounds | None = None,
    sleep: Sleep = asyncio.sleep,
) -> AsyncGenerator[Server]:
    """Run a server on the current asyncio loop until the block ends.

    Args:
        simulator: Who answers.
        host: Where to listen.
        port: Where to listen; 0 for any free one.
        allow_remote: Permit an address that other machines can reach, and requests
            under any name of this one.
        bounds: How much of it clients may take.
        sleep: How the delays of a script pass.

    Raises:
        SettingsError: The host is not a loopback address and `allow_remote` is not given.
        OSError: The port is taken.
    """
    if not allow_remote and not is_loopback(host):
        raise SettingsError(
            "host",
            f"{host!r} can be reached from other machines, and any key is accepted",
            "give a loopback address, or allow_remote=True",
        )
    loop = asyncio.get_running_loop()
    connections: set[_Connection] = set()
    manner = _Manner(bounds or Bounds(), allow_remote, sleep)
    listening = await loop.create_server(
        lambda: _Connection(simulator, connections, manner), host, port
    )
    bound = listening.sockets[0].getsockname()
    try:
        yield Server(bound[0], bound[1], simulator)
    finally:
        listening.close()
        for connection in tuple(connections):
            connection.drop()
        await listening.wait_closed()


@contextmanager
def run_in_thread(
    simulator: Simulator,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    allow_remote: bool = False,
    bounds: Bounds | None = None,
) -> Generator[Server]:
    """Run a server on a loop in another thread until the block ends.

    Meant for synchronous tests, benchmarks, and loops other than asyncio's. The
    simulator's log may be read meanwhile, from a copy it hands out.

    Raises:
        SettingsError: As `serve`.
        OSError: As `serve`.
    """
    ready: list[Server | BaseException] = []
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        try:
            async with serve(
                simulator,
                host=host,
                port=port,
                allow_remote=allow_remote,
                bounds=bounds,
            ) as server:
                ready.append(server)
                started.set()
                await stop.wait()
        except BaseException as problem:
            ready.append(problem)
            started.set()
            raise

    def run() -> None:
        try:
            asyncio.run(main())
        except (OSError, SettingsError):
            # Already handed to the thread that waits for it.
            return

    thread = threading.Thread(target=run, name="turnlatch-simulator", daemon=True)
    thread.start()
    started.wait()
    first = ready[0]
    if not isinstance(first, Server):
        thread.join()
        raise first
    try:
        yield first
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()


@final
@attrs.frozen
class _Manner:
    """How a server meets its clients."""

    bounds: Bounds
    remote: bool
    sleep: Sleep


@final
class _Connection(asyncio.Protocol):
    """One client: reads requests one after the other and plays the responses."""

    def __init__(
        self,
        simulator: Simulator,
        connections: "set[_Connection]",
        manner: _Manner,
    ) -> None:
        self._simulator = simulator
        self._connections = connections
        self._manner = manner
        self._bounds = manner.bounds
        self._deadline: asyncio.TimerHandle | None = None
        self._http = h11.Connection(
            h11.SERVER, max_incomplete_event_size=_HEADER_BYTES_MAX
        )
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._received = 0
        self._refused: str | None = None
        self._waiting = 0
        self._between = False
        self._shut = False
        self._stalled = False
        self._playing: asyncio.Task[None] | None = None
        self._response: ApiResponse | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "TCP gives such a transport"
        self._transport = transport
        if len(self._connections) >= self._bounds.connections:
            most = self._bounds.connections
            self._turn_away(503, "overloaded_error", f"{most} connections are open")
            return
        self._connections.add(self)
        self._expect(self._bounds.head_seconds)
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None
        self._expect(None)
        self._writable.set()
        if self._playing is not None:
            self._playing.cancel()
        if self._response is not None:
            self._simulator.finish(self._response)

    def pause_writing(self) -> None:
        self._writable.clear()
        if self._transport is not None:
            # Nothing more is answered before what was answered has been taken.
            self._transport.pause_reading()
            self._expect(self._bounds.stalled_seconds)

    def resume_writing(self) -> None:
        self._writable.set()
        if self._transport is not None and not self._transport.is_closing():
            self._expect(None if self._playing else self._bounds.idle_seconds)
            self._transport.resume_reading()
            self._advance()

    def eof_received(self) -> bool:
        # A client may shut down its sending side and still read; h11 tells the rest. In
        # a stall nothing is left to read: the client has had enough.
        self._shut = True
        self._http.receive_data(b"")
        self._advance()
        if self._stalled:
            return False
        return self._playing is not None or not self._writable.is_set()

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        if self._playing is not None:
            self._waiting += len(data)
            if self._waiting > self._bounds.waiting_bytes and self._transport:
                self._transport.pause_reading()
            return
        if self._between:
            self._between = False
            self._expect(self._bounds.head_seconds)
        self._advance()

    def drop(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _advance(self) -> None:
        """Read on until a request is answered or more bytes are needed."""
        try:
            while (
                self._playing is None
                and self._transport is not None
                and self._writable.is_set()
            ):
                if not self._event():
                    return
        except h11.RemoteProtocolError as problem:
            self._malformed(problem)

    def _event(self) -> bool:
        event = self._http.next_event()
        match event:
            case h11.Request():
                self._begin(event)
            case h11.Data():
                self._collect(bytes(event.data))
            case h11.EndOfMessage():
                self._answer()
            case h11.ConnectionClosed():
                self._close()
                return False
            case _:
                return False
        return True

    def _begin(self, head: h11.Request) -> None:
        self._refused = stranger(head.headers, remote=self._manner.remote)
        self._head, self._body, self._received = head, bytearray(), 0
        self._expect(self._bounds.body_seconds)
        announced = next(
            (int(value) for name, value in head.headers if name == b"content-length"), 0
        )
        if (announced > self._simulator.request_bytes_max or self._refused) and (
            announced > _DISCARDED_BYTES_MAX
            or self._http.they_are_waiting_for_100_continue
        ):
            # Not worth reading: answered now, and the connection cannot be used again.
            self._received = announced
            self._answer()
        elif self._http.they_are_waiting_for_100_continue:
            told = h11.InformationalResponse(status_code=100, headers=[])
            self._write(self._http.send(told))

    def _collect(self, data: bytes) -> None:
        self._received += len(data)
        if self._received <= self._simulator.request_bytes_max and not self._refused:
            self._body += data
        elif self._received > _DISCARDED_BYTES_MAX:
            self._answer()
        else:
            self._body.clear()

    def _answer(self) -> None:
        assert self._head is not None, "a body follows a head"
        body = bytes(self._body)
        self._expect(None)
        whole = len(body) == self._received
        request = ApiRequest(
            self._head.method.decode(),
            self._head.target.decode("latin-1"),
            tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in self._head.headers
            ),
            body,
            None if whole else self._received,
        )
        self._head, self._body = None, bytearray()
        if self._refused is not None:
            response = refusal(403, "permission_error", self._refused, request.method)
        else:
            response = self._simulator.handle(request)
        self._response = response
        if _plays_at_once(response):
            self._simulator.finish(response)
            data = self._headers(response)
            for chunk in response.chunks:
                data += self._http.send(h11.Data(data=chunk.data)) or b""
            self._write(data + (self._http.send(h11.EndOfMessage()) or b""))
            self._next()
        else:
            self._playing = asyncio.get_running_loop().create_task(self._play(response))

    async def _play(self, response: ApiResponse) -> None:
        await self._wait(response.delay_seconds)
        if response.status != NO_HEADERS:
            self._write(self._headers(response))
            last = len(response.chunks) - 1
            for place, chunk in enumerate(response.chunks):
                await self._wait(chunk.delay_seconds)
                if place == last and response.ending == "complete":
                    # Before it leaves: who has read the end may send the next request.
                    self._simulator.finish(response)
                self._write_chunk(response, chunk, place == last)
                await self._writable.wait()
        await self._end(response)

    async def _end(self, response: ApiResponse) -> None:
        if response.ending == "stall":
            # Until the client has enough: `connection_lost` cancels this.
            self._stalled = True
            if self._shut:
                self._close()
            await asyncio.get_running_loop().create_future()
        self._simulator.finish(response)
        if response.ending == "complete":
            self._write(self._http.send(h11.EndOfMessage()))
            self._playing = None
            self._next()
            self._advance()
        elif response.ending == "reset":
            self._reset()
        else:
            self._close()

    def _headers(self, response: ApiResponse) -> bytes:
        head = h11.Response(status_code=response.status, headers=list(response.headers))
        return self._http.send(head) or b""

    def _write_chunk(self, response: ApiResponse, chunk: Chunk, last: bool) -> None:
        if not chunk.data:
            return
        broken = last and response.ending in ("eof", "reset")
        if broken and response.header("content-length") is None:
            # A chunk that promises more than ever comes.
            self._write(b"%x\r\n" % (2 * len(chunk.data)) + chunk.data)
        else:
            self._write(self._http.send(h11.Data(data=chunk.data)))

    def _next(self) -> None:
        self._response = None
        self._waiting = 0
        if self._http.our_state is h11.MUST_CLOSE or (
            self._http.their_state is not h11.DONE
        ):
            self._close()
            return
        self._http.start_next_cycle()
        self._between = True
        if self._writable.is_set() and self._transport is not None:
            self._transport.resume_reading()
            self._expect(self._bounds.idle_seconds)

    def _expect(self, seconds: float | None) -> None:
        """Have something happen within that time, or the connection ends."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(seconds, self._overdue)

    def _overdue(self) -> None:
        if self._transport is None:
            return
        if self._transport.is_closing() or not self._writable.is_set():
            # With an RST: what the client does not take must not stay in the kernel.
            self._linger_not(self._transport)
            self._transport.abort()
        elif self._between:
            self._close()
        else:
            self._turn_away(408, "timeout_error", "the request took too long to come")

    def _turn_away(self, status: int, kind: str, message: str) -> None:
        """Answer an incomplete request, and close."""
        response = refusal(status, kind, message)
        head = self._headers(response)
        self._write(head + (self._http.send(h11.Data(data=response.body)) or b""))
        self._close()

    async def _wait(self, seconds: float) -> None:
        if seconds:
            await self._manner.sleep(seconds)

    def _write(self, data: bytes | None) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            # Written bytes are still sent, as long as the client reads them.
            self._expect(self._bounds.stalled_seconds)

    def _reset(self) -> None:
        """End the connection with an RST, after what was written has left."""
        if self._transport is None:
            return
        self._linger_not(self._transport)
        self._transport.close()

    def _linger_not(self, transport: asyncio.Transport) -> None:
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)

    def _malformed(self, problem: h11.RemoteProtocolError) -> None:
        if (
            self._http.our_state is h11.IDLE
            or self._http.our_state is h11.SEND_RESPONSE
        ):
            text = f"{problem}".encode()
            headers = [
                ("content-type", "text/plain"),
                ("content-length", str(len(text))),
                ("connection", "close"),
            ]
            status = problem.error_status_hint
            head = h11.Response(status_code=status, headers=headers)
            self._write(self._http.send(head))
            self._write(self._http.send(h11.Data(data=text)))
        self._close()


def _plays_at_once(response: ApiResponse) -> bool:
    return (
        response.ending == "complete"
        and not response.delay_seconds
        and not any(chunk.delay_seconds for chunk in response.chunks)
        and sum(len(chunk.data) for chunk in response.chunks) < 256 * 1024
    )

"""The loopback server at the level of sockets: what a client sees on the wire."""

import asyncio
import json
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from turnlatch.errors import SettingsError
from turnlatch.simulator import (
    ApiLimits,
    LoggedRequest,
    Scripted,
    Server,
    Simulator,
    reply,
    run_in_thread,
    serve,
)

BODY: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 400,
    "messages": [{"role": "user", "content": "hello"}],
}
# A socket that hears nothing for so long has met a bug.
PATIENCE_SECONDS = 20


def wire(body: Any = BODY, *lines: str, announced: int | None = None) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = len(data) if announced is None else announced
    head = [
        "POST /v1/messages HTTP/1.1",
        "host: 127.0.0.1",
        "x-api-key: k",
        "anthropic-version: 2026-10-21",
        f"content-length: {size}",
        *lines,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


@contextmanager
def connection(server: Server) -> Generator[socket.socket]:
    address = (server.host, server.port)
    with socket.create_connection(address, PATIENCE_SECONDS) as connected:
        yield connected


def response(connected: socket.socket) -> tuple[int, bytes]:
    """Read one response that has a content-length."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connected.recv(65_536)
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    sizes = [
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    while len(body) < sizes[0]:
        body += connected.recv(65_536)
    return status, body


def everything(connected: socket.socket) -> bytes:
    """Read until the other side closes."""
    received = b""
    while part := connected.recv(65_536):
        received += part
    return received


def test_a_connection_serves_many_requests_also_when_they_come_at_once() -> None:
    simulator = Simulator(Scripted(["a", "b", "c", "d"]))
    with run_in_thread(simulator) as server, connection(server) as connected:
        connected.sendall(wire())
        assert response(connected)[0] == 200
        for byte in wire():
            connected.sendall(bytes([byte]))
        assert response(connected)[0] == 200
        connected.sendall(wire() + wire(BODY, "connection: close"))
        together = everything(connected)

    assert together.count(b"HTTP/1.1 200") == 2


def test_client_that_expects_gets_a_100_continue() -> None:
    with run_in_thread(Simulator()) as server, connection(server) as connected:
        data = json.dumps(BODY).encode()
        connected.sendall(wire(b"", "expect: 100-continue", announced=len(data)))
        assert connected.recv(100).startswith(b"HTTP/1.1 100")
        connected.sendall(data)
        assert response(connected)[0] == 200


def test_a_body_that_is_too_long_is_refused_and_not_kept() -> None:
    simulator = Simulator(limits=ApiLimits(request_bytes_max=1_000))
    with run_in_thread(simulator) as server:
        with connection(server) as connected:
            connected.sendall(wire(b"x" * 100_000))
            assert response(connected)[0] == 413
            # The body was read and thrown away: the connection is still good.
            connected.sendall(wire())
            assert response(connected)[0] == 200
        with connection(server) as connected:
            # Nobody has to send what is refused anyway.
            connected.sendall(wire(b"", "expect: 100-continue", announced=50_000_000))
            assert response(connected)[0] == 413
        with connection(server) as connected:
            connected.sendall(wire(b"", announced=10**12))
            assert response(connected)[0] == 413

    assert [exchange.raw for exchange in simulator.log if exchange.status == 413] == [
        b"",
        b"",
        b"",
    ]


def test_a_cut_chunk_announces_more_than_comes() -> None:
    streaming = {**BODY, "stream": True}
    simulator = Simulator(faults="cut 2 eof")
    with run_in_thread(simulator) as server, connection(server) as connected:
        connected.sendall(wire(streaming))
        received = everything(connected)

    body = received.partition(b"\r\n\r\n")[2]
    chunks = 0
    while body:
        size, _, rest = body.partition(b"\r\n")
        chunks += 1
        if len(rest) < int(size, 16):
            break
        body = rest[int(size, 16) + 2 :]
    assert chunks == 2
    assert body
    assert b"message_start" in received


def test_a_reset_is_a_reset_after_what_was_sent() -> None:
    streaming = {**BODY, "stream": True}
    simulator = Simulator(faults="cut 2 reset")
    received: list[bytes] = []
    with run_in_thread(simulator) as server, connection(server) as connected:
        connected.sendall(wire(streaming))
        with pytest.raises(ConnectionResetError):
            received.extend(iter(lambda: connected.recv(65_536), b""))

    assert b"content_block_start" in b"".join(received)


def test_input_that_is_not_http_gets_a_400() -> None:
    with run_in_thread(Simulator()) as server:
        with connection(server) as connected:
            connected.sendall(b"hello?\r\n\r\n")
            assert everything(connected).startswith(b"HTTP/1.1 400")
        with connection(server) as connected:
            connected.sendall(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 60_000)
            try:
                told = everything(connected)
            except ConnectionError:
                told = b""
            assert told == b"" or told.startswith(b"HTTP/1.1 4")


def test_a_client_that_leaves_ends_its_stall_only() -> None:
    seen = threading.Event()

    def observe(exchange: LoggedRequest) -> None:
        if exchange.fault:
            seen.set()

    simulator = Simulator(faults="stall @1", observe=observe)
    with run_in_thread(simulator) as server:
        with connection(server) as stalled:
            stalled.sendall(wire())
            assert seen.wait(PATIENCE_SECONDS)
        with connection(server) as connected:
            connected.sendall(wire())
            assert response(connected)[0] == 200


@pytest.mark.parametrize("early", [True, False], ids=["before", "within"])
def test_closing_ends_an_exchange_that_stalls(early: bool) -> None:
    """A closed socket looks like one that is shut down; in a stall both have had enough."""
    seen = threading.Event()
    fault = "slow headers 0.2s @1, stall @1" if early else "stall @1"
    simulator = Simulator(faults=fault, observe=lambda _: seen.set())
    with run_in_thread(simulator) as server, connection(server) as stalled:
        stalled.sendall(wire())
        assert seen.wait(PATIENCE_SECONDS)
        stalled.shutdown(socket.SHUT_WR)
        assert everything(stalled) == b""
        assert simulator.left_at(1) is not None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_only_the_loopback_is_bound_by_default(host: str) -> None:
    with (
        pytest.raises(SettingsError, match="allow_remote"),
        run_in_thread(Simulator(), host=host),
    ):
        pytest.fail("it runs")


def test_a_port_that_is_taken_is_an_error_in_both_forms() -> None:
    async def second(port: int) -> None:
        async with serve(Simulator(), port=port):
            pytest.fail("it runs")

    with run_in_thread(Simulator()) as server:
        with (
            pytest.raises(OSError, match="use"),
            run_in_thread(Simulator(), port=server.port),
        ):
            pytest.fail("it runs")
        with pytest.raises(OSError, match="use"):
            asyncio.run(second(server.port))


def test_many_connections_are_served_at_once() -> None:
    count = 40
    simulator = Simulator(Scripted([reply("word " * 20)] * count))
    streaming = {**BODY, "stream": True}

    async def one(server: Server) -> bytes:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(wire(streaming, "connection: close"))
        received = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        return received

    async def main() -> list[bytes]:
        async with serve(simulator) as server:
            return await asyncio.gather(*(one(server) for _ in range(count)))

    answers = asyncio.run(main())

    assert all(b"message_stop" in answer for answer in answers)
    assert len(simulator.log) == count


def test_a_long_stream_is_written_at_the_readers_speed() -> None:
    long = reply("x " * 400_000, stop_reason="end_turn")
    simulator = Simulator(Scripted([long]))
    streaming = {**BODY, "stream": True}
    with run_in_thread(simulator) as server, connection(server) as connected:
        connected.sendall(wire(streaming, "connection: close"))
        received = everything(connected)

    assert received.endswith(b"0\r\n\r\n")
    assert len(received) > 1_000_000


def test_the_base_url_of_an_ipv6_address_has_brackets() -> None:
    assert Server("::1", 80, Simulator()).base_url == "http://[::1]:80"


PATHS = (
    "/",
    "/api/hello",
    "/health",
    "/v1/models",
    "/v1/models/claude-opus-5",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/messages/batches",
    "/v1/files?limit=1",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("faults", ["", "html 502", "stall", "empty 200", "reset"])
def test_head_gets_its_head_and_no_body(
    path: str, faults: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And the connection is as good as before: nothing that follows is taken for a body."""
    ask = f"HEAD {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: k\r\n"
    head = f"{ask}anthropic-version: 2026-10-21\r\n\r\n".encode()
    simulator = Simulator(Scripted(["Hello."]), faults=faults)
    with run_in_thread(simulator) as server, connection(server) as connected:
        connected.sendall(head)
        received = b""
        while b"\r\n\r\n" not in received:
            received += connected.recv(65_536)
        connected.sendall(head)
        again = b""
        while b"\r\n\r\n" not in again:
            again += connected.recv(65_536)

    for told in (received, again):
        status, _, rest = told.partition(b"\r\n")
        assert status.startswith(b"HTTP/1.1 2" if "models" in path else b"HTTP/1.1 4")
        assert b"content-length" in rest
        assert rest.endswith(b"\r\n\r\n")
    assert [each.fault for each in simulator.log] == [None, None]
    assert caplog.text == ""


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/", "/api/hello", "/v1/messages/batches", "/v1/files"]
)
def test_a_path_that_is_not_served_says_what_is(method: str, path: str) -> None:
    lines = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
    with run_in_thread(Simulator()) as server, connection(server) as connected:
        connected.sendall(lines.encode())
        status, body = response(connected)

    told = json.loads(body)["error"]
    assert (status, told["type"]) == (404, "not_found_error")
    for served in ("POST /v1/messages,", "/v1/messages/count_tokens", "GET /v1/models"):
        assert served in told["message"]

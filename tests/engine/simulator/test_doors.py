"""Whom the loopback server answers, and how much of it one client may take.

Each check is a function, and is seen to fail where its guard is taken out.
"""

import json
import select
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from turnlatch.simulator import (
    Bounds,
    Scripted,
    Server,
    Simulator,
    reply,
    run_in_thread,
)

PATIENCE_SECONDS = 20
AT_ONCE = 0.05
UNBOUNDED = 1e9
MESSAGES = [{"role": "user", "content": "hello"}]
BODY = {"model": "claude-opus-5", "max_tokens": 400, "messages": MESSAGES}
HOSTS = (
    "page.example",
    "192.0.2.1:80",
    "localhost.page.example",
    "127.0.0.1.page.example:8080",
    "0.0.0.0",
    "[::]:80",
    "",
)
OWN = ("127.0.0.1", "127.0.0.1:1", "localhost", "LOCALHOST:80", "[::1]:80", "127.9.9.9")
ORIGINS = ("http://localhost:3000", "null", "https://page.example")


def request(host: str = "127.0.0.1", *lines: str, pad: int = 0) -> bytes:
    data = json.dumps({**BODY, "metadata": {"user_id": "x" * pad}}).encode()
    head = [
        "POST /v1/messages HTTP/1.1",
        f"host: {host}",
        "x-api-key: k",
        "anthropic-version: 2026-10-21",
        f"content-length: {len(data)}",
        *lines,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


@contextmanager
def connection(
    server: Server, patience: float = PATIENCE_SECONDS
) -> Generator[socket.socket]:
    address = (server.host, server.port)
    with socket.create_connection(address, patience) as connected:
        yield connected


def answered(server: Server, data: bytes) -> bytes:
    """The first piece of the answer: its head, and as here it is short, all of it."""
    with connection(server) as connected:
        connected.sendall(data)
        return connected.recv(65_536)


def until_closed(connected: socket.socket) -> bytes:
    received = b""
    while part := connected.recv(65_536):
        received += part
    return received


# Strangers.


def strangers_are_turned_away(simulator: Simulator, server: Server) -> None:
    for told in (
        *(request(host) for host in HOSTS),
        *(request("127.0.0.1", f"origin: {origin}") for origin in ORIGINS),
    ):
        answer = answered(server, told)
        assert answer.startswith(b"HTTP/1.1 403"), told[:200]
        assert b"the simulator is for local clients" in answer
    assert simulator.log == ()


def test_another_host_and_any_origin_are_refused_with_the_reason() -> None:
    simulator = Simulator()
    with run_in_thread(simulator) as server:
        strangers_are_turned_away(simulator, server)
        for host in OWN:
            assert answered(server, request(host)).startswith(b"HTTP/1.1 200"), host


def test_without_the_guard_a_stranger_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def let_in(*_: object, remote: bool) -> None:
        del remote

    monkeypatch.setattr("turnlatch.simulator.server.stranger", let_in)
    simulator = Simulator()
    with run_in_thread(simulator) as server, pytest.raises(AssertionError):
        strangers_are_turned_away(simulator, server)


def test_a_server_for_other_machines_has_other_names_and_no_web_pages() -> None:
    with run_in_thread(Simulator(), allow_remote=True) as server:
        assert answered(server, request("box.example")).startswith(b"HTTP/1.1 200")
        page = request("box.example", "origin: https://page.example")
        assert answered(server, page).startswith(b"HTTP/1.1 403")


def test_stranger_is_refused_before_its_body_is_read() -> None:
    head = request("page.example", "expect: 100-continue").partition(b"\r\n\r\n")[0]
    with run_in_thread(Simulator()) as server:
        assert answered(server, head + b"\r\n\r\n").startswith(b"HTTP/1.1 403")


# Time.

WHOLE = request()
TIMES: dict[str, tuple[bytes, Callable[[float], Bounds]]] = {
    "nothing": (b"", lambda s: Bounds(head_seconds=s)),
    "half a head": (WHOLE[:60], lambda s: Bounds(head_seconds=s)),
    "half a body": (WHOLE[:-9], lambda s: Bounds(body_seconds=s)),
}


def it_is_ended(server: Server, sent: bytes, patience: float) -> None:
    with connection(server, patience) as connected:
        connected.sendall(sent)
        assert until_closed(connected).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(("sent", "bounds"), TIMES.values(), ids=list(TIMES))
def test_a_request_that_does_not_come_to_its_end_is_ended(
    sent: bytes, bounds: Callable[[float], Bounds]
) -> None:
    with run_in_thread(Simulator(), bounds=bounds(AT_ONCE)) as server:
        it_is_ended(server, sent, PATIENCE_SECONDS)
    with (
        run_in_thread(Simulator(), bounds=bounds(UNBOUNDED)) as server,
        pytest.raises(TimeoutError),
    ):
        it_is_ended(server, sent, AT_ONCE * 10)


def test_a_connection_that_does_nothing_between_two_requests_is_closed() -> None:
    bounds = Bounds(idle_seconds=AT_ONCE)
    with (
        run_in_thread(Simulator(), bounds=bounds) as server,
        connection(server) as connected,
    ):
        connected.sendall(WHOLE)
        assert until_closed(connected).count(b"HTTP/1.1 ") == 1


# Connections.


def no_more_are_taken(server: Server, patience: float) -> None:
    with connection(server) as first, connection(server) as second:
        for connected in (first, second):
            connected.sendall(WHOLE)
            assert connected.recv(65_536).startswith(b"HTTP/1.1 200")
        with connection(server, patience) as third:
            answer = until_closed(third)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"2 connections are open" in answer


def test_connections_are_bounded_and_those_that_close_make_room() -> None:
    with run_in_thread(Simulator(), bounds=Bounds(connections=2)) as server:
        no_more_are_taken(server, PATIENCE_SECONDS)
        for _ in range(1_000):  # until the server has seen that they are closed
            if answered(server, WHOLE).startswith(b"HTTP/1.1 200"):
                break
        else:
            pytest.fail("there is no room")
    with (
        run_in_thread(Simulator(), bounds=Bounds(connections=3)) as server,
        pytest.raises(TimeoutError),
    ):
        no_more_are_taken(server, AT_ONCE * 10)


# Memory.

LONG = reply("x " * 100_000, stop_reason="end_turn")
PIPELINED = 150


def it_stops_listening(server: Server, patience: float, pad: int) -> None:
    """Who reads nothing cannot go on asking: what it sends stays in the network."""
    asked = request(pad=pad) * PIPELINED
    with connection(server, patience) as connected, pytest.raises(TimeoutError):
        connected.sendall(asked)


def test_client_that_reads_nothing_gets_no_further_answer() -> None:
    simulator = Simulator(Scripted([LONG] * PIPELINED))
    with run_in_thread(simulator) as server:
        it_stops_listening(server, 1, 200_000)
    assert len(simulator.log) < PIPELINED


def test_without_the_guard_all_answers_wait_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def goes_on(_: object) -> None:
        pass

    monkeypatch.setattr("turnlatch.simulator.server._Connection.pause_writing", goes_on)
    simulator = Simulator(Scripted([LONG] * PIPELINED))
    with run_in_thread(simulator) as server, pytest.raises(pytest.fail.Exception):
        it_stops_listening(server, PATIENCE_SECONDS, 200_000)


def test_input_behind_an_unanswered_request_is_bounded() -> None:
    bounds = Bounds(waiting_bytes=100_000)
    with run_in_thread(Simulator(faults="stall"), bounds=bounds) as server:
        it_stops_listening(server, 1, 200_000)
    bounds = Bounds(waiting_bytes=10**12)
    with (
        run_in_thread(Simulator(faults="stall"), bounds=bounds) as server,
        pytest.raises(pytest.fail.Exception),
    ):
        it_stops_listening(server, PATIENCE_SECONDS, 200_000)


def test_answer_that_the_client_does_not_read_is_given_up() -> None:
    simulator = Simulator(Scripted([reply("x " * 8_000_000, stop_reason="end_turn")]))
    bounds = Bounds(stalled_seconds=AT_ONCE)
    with run_in_thread(simulator, bounds=bounds) as server, connection(server) as idle:
        idle.sendall(WHOLE)
        poll = select.poll()
        poll.register(idle, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        assert poll.poll(PATIENCE_SECONDS * 1_000)

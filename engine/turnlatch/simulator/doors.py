"""Whom a server on this machine answers, and how much one client may take of it.

The simulator takes any key, so what keeps it private is that it is local. A web page in
a browser on this machine is not: it reaches every local port, under a name that it chose
(`Host`) or from a page that it says (`Origin`), and no client of an API sends either.
"""

import ipaddress
from collections.abc import Iterable
from typing import final

import attrs

from turnlatch.simulator.wire import ApiResponse, Chunk, Refusal, dump


@final
@attrs.frozen(kw_only=True)
class Bounds:
    """How much of a server its clients may take.

    Attributes:
        connections: Open at the same time; one more is answered 503 and closed.
        head_seconds: Longest time from the first byte of a request, or from the
            connection, to the end of its headers.
        body_seconds: Longest time from there to the end of its body.
        idle_seconds: Longest time between two requests of a connection.
        stalled_seconds: Longest time that a client takes nothing of an answer.
        waiting_bytes: Most that is taken in of the requests behind one that is still
            being answered; the rest waits in the network.
    """

    connections: int = 256
    head_seconds: float = 30.0
    body_seconds: float = 600.0
    idle_seconds: float = 600.0
    stalled_seconds: float = 600.0
    waiting_bytes: int = 1024 * 1024


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine, for this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def stranger(headers: Iterable[tuple[bytes, bytes]], *, remote: bool) -> str | None:
    """Why a request is refused for where it says it comes from; None if it is not.

    Args:
        headers: Of the request, names in lower case.
        remote: Other machines may reach the server, under any name.
    """
    for name, value in headers:
        told = value.decode("latin-1").strip()
        if name == b"origin":
            return (
                f"Origin: {told} is a web page, and the simulator is for local clients;"
                " send requests without that header"
            )
        if name == b"host" and not remote and not is_loopback(_without_port(told)):
            return (
                f"Host: {told} is not this machine's own name, and the simulator is for"
                " local clients; use http://127.0.0.1 or http://localhost, or serve it"
                " with allow_remote=True"
            )
    return None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().removesuffix(".")


def refusal(status: int, kind: str, message: str, method: str = "") -> ApiResponse:
    """An error of the server itself, which the simulator never sees."""
    body = dump(Refusal(status, kind, message).envelope("req_none"))
    headers = (
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("connection", "close"),
    )
    chunks = () if method == "HEAD" else (Chunk(0.0, body),)
    return ApiResponse(status, headers, chunks)

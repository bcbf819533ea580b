"""A server that answers at once: what is left over is the cost of the client.

It runs in a process of its own, so that its work is not counted as anybody's. Every
response is rendered before the first request comes. The path says which one is wanted;
a body is read to its end and not looked at, but for one question: whether its last
message answers a tool call.
"""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast, final

from benchmarks.material import (
    DELTA_TEXT,
    DELTAS,
    MODEL,
    TOOL_ID,
    TOOL_INPUT,
    TOOL_NAME,
    USAGE,
    Case,
    encode,
    reply_text,
)

ROOT = Path(__file__).resolve().parents[1]
"""Where `python -m benchmarks...` finds this package."""

_MESSAGE = b'"role":'  # every arm writes a message's role first
_ANSWER = b'"tool_result"'
_TAIL_BYTES = 2048  # the last message of the tool case is far shorter than this
_BUFFER_BYTES = 256 * 1024


def _message(content: list[dict[str, Any]], stop_reason: str | None) -> dict[str, Any]:
    return {
        "id": "msg_01BenchmarkBenchmarkBenchm",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": USAGE,
    }


def _head(content_type: str, framing: str) -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{framing}\r\n"
        "request-id: req_01BenchmarkBenchmarkBenchm\r\n\r\n"
    ).encode()


def _plain(message: dict[str, Any]) -> bytes:
    body = encode(message)
    return _head("application/json", f"content-length: {len(body)}") + body


def _events() -> list[bytes]:
    """A streamed reply, one server-sent event after another."""
    block = {"type": "text", "text": ""}
    delta = {"type": "text_delta", "text": DELTA_TEXT}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": _message([], None)},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *(
            {"type": "content_block_delta", "index": 0, "delta": delta}
            for _ in range(DELTAS)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": DELTAS},
        },
        {"type": "message_stop"},
    ]
    return [
        b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), encode(event))
        for event in events
    ]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_STREAM = _head("text/event-stream; charset=utf-8", "transfer-encoding: chunked")
_LAST = b"0\r\n\r\n"
_TEXT = _plain(_message([{"type": "text", "text": reply_text()}], "end_turn"))
_CALL = _plain(
    _message(
        [
            {"type": "text", "text": "Let me say it again."},
            {"type": "tool_use", "id": TOOL_ID, "name": TOOL_NAME, "input": TOOL_INPUT},
        ],
        "tool_use",
    )
)
_CHUNKS = tuple(map(_chunk, _events()))

RESPONSES: dict[Case, tuple[bytes, ...]] = {
    Case.PLAIN: (_TEXT,),
    Case.TOOL: (_CALL,),
    Case.BURST: (_STREAM + _chunk(b"".join(_events())) + _LAST,),
    Case.CHUNKS: (_STREAM, *_CHUNKS[:-1], _CHUNKS[-1] + _LAST),
}
"""The pieces of each response; each piece is written to the socket by itself."""


@final
class _Connection(asyncio.BufferedProtocol):
    """One connection: requests are read to their end and answered in order.

    A body is counted as it comes and forgotten, all but its last bytes: a server that
    kept it would charge every arm for its own copies.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self._head = b""
        self._tail = b""
        self._left = 0
        self._case = Case.PLAIN
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        start = 0
        while start < nbytes:
            if self._left:
                taken = min(self._left, nbytes - start)
                self._left -= taken
                start += taken
                end = bytes(self._buffer[max(start - _TAIL_BYTES, 0) : start])
                self._tail = (self._tail + end)[-_TAIL_BYTES:]
                if not self._left:
                    self._answer()
            else:
                start += self._read_head(bytes(self._buffer[start:nbytes]))

    def _read_head(self, data: bytes) -> int:
        """Read a request's head; how many of these bytes belong to it."""
        known = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n") + 4
        if end < 4:
            return len(data)
        lines = self._head[: end - 4].decode("latin-1").split("\r\n")
        self._case = Case(lines[0].split(" ")[1].split("/")[1])
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        self._left = int(fields["content-length"])
        self._head = self._tail = b""
        return end - known

    def _answer(self) -> None:
        assert self._transport is not None, "a request came over it"
        last = self._tail.rpartition(_MESSAGE)[2]
        answered = self._case is Case.TOOL and _ANSWER in last
        for piece in (_TEXT,) if answered else RESPONSES[self._case]:
            self._transport.write(piece)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    orphaned = asyncio.Event()
    # The other end of stdin is whoever started this: when it is gone, so are we.
    loop.add_reader(sys.stdin.fileno(), orphaned.set)
    await orphaned.wait()
    os._exit(0)


@final
class InstantServer:
    """The server as a child process: `with InstantServer() as server`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def url(self, case: Case) -> str:
        """The base URL under which this case is answered."""
        return f"http://127.0.0.1:{self.port}/{case}"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        out = cast("IO[bytes]", self._process.stdout)
        self.port = int(out.readline())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.communicate(timeout=10)


if __name__ == "__main__":
    asyncio.run(_serve())

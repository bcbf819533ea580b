"""The three references that a durable turn is held against.

`SdkLoop` is the yardstick: the loop people write first, in memory, with nothing saved.
`SdkBytes` is what the SDK's transport costs by itself, once the history is kept encoded.
`RawSocket` is the floor: no SDK at all, and the least that makes a turn durable.
"""

import json
import os
import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Protocol, cast, final

import anthropic
import attrs
import httpx2
from anthropic.types import MessageParam, ToolUseBlock

from benchmarks.material import (
    MAX_TOKENS,
    MODEL,
    Case,
    echo,
    encode,
    history,
    tool_definition,
)


@final
@attrs.frozen
class Heard:
    """What came of one turn, so that no arm is timed for work it did not do.

    Attributes:
        text: The text of its last reply.
        requests: How many requests it took.
    """

    text: str
    requests: int


class Arm(Protocol):
    """One way of holding a conversation, to be timed beside the others."""

    name: str

    async def prepare(self, case: Case, size: int) -> None:
        """Begin a conversation that has `size` messages already."""
        ...

    async def turn(self, said: str) -> Heard:
        """Take one turn."""
        ...

    async def close(self) -> None:
        """End the conversation."""
        ...


def make_client(base_url: str) -> anthropic.AsyncAnthropic:
    """The SDK's client, without retries of its own."""
    return anthropic.AsyncAnthropic(
        base_url=base_url, api_key="benchmark", max_retries=0
    )


@final
class SdkLoop:
    """(a) A bare loop over `AsyncAnthropic.messages.create` with a list."""

    name = "(a) SDK loop, in memory"

    def __init__(self, client: anthropic.AsyncAnthropic) -> None:
        self._client = client
        self._messages: list[MessageParam] = []
        self._case = Case.PLAIN

    async def prepare(self, case: Case, size: int) -> None:
        """Begin a conversation that has `size` messages already."""
        self._case = case
        self._messages = history(size)

    async def turn(self, said: str) -> Heard:
        """Take one turn."""
        self._messages.append({"role": "user", "content": said})
        if self._case.streams:
            return Heard(await self._streamed(), 1)
        tools: list[Any] = [tool_definition()] if self._case is Case.TOOL else []
        for requests in count(1):
            reply = await self._client.messages.create(
                model=MODEL,
                max_tokens=MAX_TOKENS,
                messages=self._messages,
                tools=tools or anthropic.omit,
            )
            self._messages.append({"role": "assistant", "content": reply.content})
            calls = [one for one in reply.content if isinstance(one, ToolUseBlock)]
            if not calls:
                said = "".join(b.text for b in reply.content if b.type == "text")
                return Heard(said, requests)
            self._messages.append(
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": call.id,
                            "content": await echo(**cast("dict[str, str]", call.input)),
                        }
                        for call in calls
                    ],
                }
            )
        raise AssertionError("unreachable")

    async def _streamed(self) -> str:
        stream = await self._client.messages.create(
            model=MODEL, max_tokens=MAX_TOKENS, messages=self._messages, stream=True
        )
        arrived = [
            event.delta.text
            async for event in stream
            if event.type == "content_block_delta" and event.delta.type == "text_delta"
        ]
        found = "".join(arrived)
        self._messages.append({"role": "assistant", "content": found})
        return found

    async def close(self) -> None:
        """End the conversation."""
        self._messages = []


@final
class _Kept:
    """A history that is kept encoded, and the bodies that are made of it."""

    def __init__(self, case: Case, size: int) -> None:
        tools = b""
        if case is Case.TOOL:
            tools = b',"tools":' + encode([tool_definition()])
        self._opening = b'{"model":%s,"max_tokens":%d%s,"messages":[' % (
            encode(MODEL),
            MAX_TOKENS,
            tools,
        )
        self._closing = b'],"stream":true}' if case.streams else b"]}"
        self._messages = [encode(message) for message in history(size)]

    def add(self, role: str, content: object) -> bytes:
        """Encode one more message, once; its bytes."""
        message = encode({"role": role, "content": content})
        self._messages.append(message)
        return message

    def body(self) -> bytes:
        """The request for everything so far."""
        return self._opening + b",".join(self._messages) + self._closing


async def _answers(reply: Any) -> list[dict[str, Any]]:
    """The results of the calls that a parsed reply asks for."""
    return [
        {
            "type": "tool_result",
            "tool_use_id": block["id"],
            "content": await echo(**block["input"]),
        }
        for block in reply["content"]
        if block["type"] == "tool_use"
    ]


def _text(reply: Any) -> str:
    return "".join(b["text"] for b in reply["content"] if b["type"] == "text")


def _delta_text(line: bytes) -> str:
    """The text that one line of a stream of events carries."""
    if not line.startswith(b"data: "):
        return ""
    event = json.loads(line[6:])
    if event["type"] != "content_block_delta":
        return ""
    return str(event["delta"]["text"])


@final
class SdkBytes:
    """(b) The SDK posting bytes that were encoded once, its reply taken as bytes."""

    name = "(b) SDK, kept bytes"

    def __init__(self, client: anthropic.AsyncAnthropic) -> None:
        self._client = client
        self._case = Case.PLAIN
        self._kept = _Kept(Case.PLAIN, 0)

    async def prepare(self, case: Case, size: int) -> None:
        """Begin a conversation that has `size` messages already."""
        self._case, self._kept = case, _Kept(case, size)

    async def turn(self, said: str) -> Heard:
        """Take one turn."""
        self._kept.add("user", said)
        if self._case.streams:
            return Heard(await self._streamed(), 1)
        for requests in count(1):
            response = await self._client.post(
                "/v1/messages",
                cast_to=httpx2.Response,
                content=self._kept.body(),
                options={"headers": {"content-type": "application/json"}},
            )
            reply = json.loads(response.content)
            self._kept.add("assistant", reply["content"])
            answers = await _answers(reply)
            if not answers:
                return Heard(_text(reply), requests)
            self._kept.add("user", answers)
        raise AssertionError("unreachable")

    async def _streamed(self) -> str:
        response = await self._client.post(
            "/v1/messages",
            cast_to=httpx2.Response,
            content=self._kept.body(),
            options={"headers": {"content-type": "application/json"}},
            stream=True,
            stream_cls=anthropic.AsyncStream[Any],
        )
        arrived: list[str] = []
        rest = b""
        # Typed as the stream, but what `cast_to` names is what comes back.
        async for data in cast("httpx2.Response", response).aiter_bytes():
            *lines, rest = (rest + data).split(b"\n")
            arrived += map(_delta_text, lines)
        found = "".join(arrived)
        self._kept.add("assistant", found)
        return found

    async def close(self) -> None:
        """End the conversation."""
        self._kept = _Kept(self._case, 0)


@final
class RawSocket:
    """(c) A raw socket posting those bytes, and one append with `fdatasync` a reply."""

    name = "(c) raw socket, fdatasync"

    def __init__(self, port: int, folder: Path) -> None:
        self._port = port
        self._log = os.open(folder / "raw.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._socket: socket.socket | None = None
        self._case = Case.PLAIN
        self._kept = _Kept(Case.PLAIN, 0)

    async def prepare(self, case: Case, size: int) -> None:
        """Begin a conversation that has `size` messages already."""
        self._case, self._kept = case, _Kept(case, size)
        self._socket = socket.create_connection(("127.0.0.1", self._port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def turn(self, said: str) -> Heard:
        """Take one turn."""
        record = self._kept.add("user", said)
        for requests in count(1):
            answers: list[dict[str, Any]] = []
            if self._case.streams:
                found = self._streamed()
                record += self._kept.add("assistant", found)
            else:
                reply = json.loads(b"".join(self._posted()))
                record += self._kept.add("assistant", reply["content"])
                answers = await _answers(reply)
                found = _text(reply)
            os.write(self._log, record + b"\n")
            os.fdatasync(self._log)
            if not answers:
                return Heard(found, requests)
            record = self._kept.add("user", answers)
        raise AssertionError("unreachable")

    def _streamed(self) -> str:
        arrived: list[str] = []
        rest = b""
        for data in self._posted():
            *lines, rest = (rest + data).split(b"\n")
            arrived += map(_delta_text, lines)
        return "".join(arrived)

    def _posted(self) -> Iterator[bytes]:
        """Send the request; the body of its response, in pieces."""
        connected = self._socket
        assert connected is not None, "prepare() comes first"
        body = self._kept.body()
        head = (
            f"POST /{self._case}/v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        connected.sendall(head.encode())
        connected.sendall(body)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += _more(connected)
        fields, received = received[:end], received[end + 4 :]
        if b"chunked" in fields:
            yield from _chunks(connected, received)
            return
        length = int(fields.partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(received) < length:
            received += _more(connected)
        yield received

    async def close(self) -> None:
        """End the conversation."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _more(connected: socket.socket) -> bytes:
    received = connected.recv(65536)
    if not received:
        raise ConnectionError("the instant server closed the connection")
    return received


def _chunks(connected: socket.socket, received: bytes) -> Iterator[bytes]:
    """The chunks of a chunked response; `received` is the beginning of it."""
    while True:
        line, found, rest = received.partition(b"\r\n")
        if not found:
            received += _more(connected)
            continue
        size = int(line, 16)
        while len(rest) < size + 2:
            rest += _more(connected)
        if not size:
            return
        yield rest[:size]
        received = rest[size + 2 :]

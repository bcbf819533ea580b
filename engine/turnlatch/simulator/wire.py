"""What goes over the wire, as values: requests, responses, and how a response ends.

Nothing here does I/O. A shell turns bytes from a socket (or a request object of an HTTP
client) into an `ApiRequest`, and plays an `ApiResponse` back.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, cast, final

import attrs

Json: TypeAlias = Mapping[str, object]
"""A JSON object as this package reads and writes it."""

Ending: TypeAlias = Literal["complete", "eof", "reset", "stall"]
"""How a response ends.

`complete`: as HTTP says it should. `eof`: the connection closes before the body it
announced is whole. `reset`: a TCP RST. `stall`: nothing more comes, and the connection
stays open.
"""

ENDINGS: tuple[Ending, ...] = ("complete", "eof", "reset", "stall")

NO_HEADERS = 0
"""The `status` of a response whose connection ends before any header was sent."""


@final
@attrs.frozen
class ApiRequest:
    """One HTTP request, complete.

    Attributes:
        method: In capitals.
        path: The target, with any prefix and query it came with.
        headers: Names in lower case, in the order they arrived.
        body: Its bytes, decoded from any transfer coding.
        body_bytes: The length the client announced, where the shell did not read the
            body because it was longer than the limit; None if `body` is the body.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = attrs.field(default=b"", repr=False)
    body_bytes: int | None = None

    @property
    def size(self) -> int:
        """Length of the body in bytes, read or only announced."""
        return len(self.body) if self.body_bytes is None else self.body_bytes

    def header(self, name: str) -> str | None:
        """The first header of this lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@final
@attrs.frozen
class Chunk:
    """One piece of a response body.

    Attributes:
        delay_seconds: How long to wait before it is sent.
        data: The bytes. In a stream, one server-sent event unless a fault cut it.
    """

    delay_seconds: float
    data: bytes = attrs.field(repr=False)


@final
@attrs.frozen
class ApiResponse:
    """One HTTP response, and how it ends.

    Attributes:
        status: HTTP status, or `NO_HEADERS` if the connection ends before the headers.
        headers: In order. A `content-length` is the announced length: where the ending
            is not `complete` the chunks may be shorter. Without it the body is sent in
            chunked transfer coding.
        chunks: The body.
        ending: How the connection ends after the last chunk.
        delay_seconds: How long to wait before the headers.
        number: The exchange this answers; what `Simulator.finish` needs.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    chunks: tuple[Chunk, ...] = attrs.field(repr=False)
    ending: Ending = "complete"
    delay_seconds: float = 0.0
    number: int = 0

    @property
    def body(self) -> bytes:
        """All chunks joined."""
        return b"".join(chunk.data for chunk in self.chunks)

    def header(self, name: str) -> str | None:
        """The first header of this lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@final
@attrs.frozen
class Refusal:
    """A request that gets an error envelope.

    Attributes:
        status: HTTP status.
        type: The `error.type`.
        message: The `error.message`.
        code: The `error.details.error_code`, where there is one.
        details: Further members of `error.details`.
    """

    status: int
    type: str
    message: str
    code: str | None = None
    details: tuple[tuple[str, object], ...] = ()

    def envelope(self, request_id: str) -> Json:
        """The error body, as https://platform.claude.com/docs/en/api/errors has it."""
        error: dict[str, object] = {"type": self.type, "message": self.message}
        if self.code is not None or self.details:
            details: dict[str, object] = {}
            if self.code is not None:
                details["error_code"] = self.code
            details.update(self.details)
            error["details"] = details
        return {"type": "error", "error": error, "request_id": request_id}


def dump(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # A scripted reply may hold half a surrogate pair on purpose; only an escape can
        # carry it.
        return json.dumps(value, separators=(",", ":")).encode()


def as_object(value: object) -> Json | None:
    """The value if it is a JSON object."""
    return cast(Json, value) if isinstance(value, Mapping) else None


def as_array(value: object) -> Sequence[object] | None:
    """The value if it is a JSON array."""
    return cast(Sequence[object], value) if isinstance(value, list | tuple) else None


def objects(value: object) -> tuple[Json, ...]:
    """The objects among the members of a JSON array; empty for any other value."""
    return tuple(
        cast(Json, item) for item in as_array(value) or () if isinstance(item, Mapping)
    )


def integer(value: object, default: int = 0) -> int:
    """The value if it is a JSON integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return default


def blocks(content: object) -> tuple[Json, ...]:
    """The content blocks of a message: a string is one text block."""
    if isinstance(content, str):
        return ({"type": "text", "text": content},)
    return objects(content)


def latest_turn(body: Json) -> tuple[Json, ...]:
    """The blocks of the last assistant turn: one message, or several in a row."""
    messages = objects(body.get("messages"))
    end = len(messages)
    while end and messages[end - 1].get("role") != "assistant":
        end -= 1
    start = end
    while start and messages[start - 1].get("role") == "assistant":
        start -= 1
    turn = messages[start:end]
    return tuple(block for each in turn for block in blocks(each.get("content")))

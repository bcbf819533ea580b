"""What the simulator confirmed, written down by a recorder who never asks the engine.

The recorder stands between the simulator and whoever plays its responses. From the bytes of
each request and of its response alone it says which replies were whole, which blocks
they held, and which user blocks they answered. It shares no code with the engine: it
cuts JSON with the standard library's decoder and puts streams together by itself.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, cast, final

import attrs

from turnlatch import Conversation
from turnlatch.simulator import ApiRequest, ApiResponse, Chunk, LoggedRequest, Simulator

Block = dict[str, Any]
Gateway = Callable[[bytes], bytes]


def probes(chat: Conversation) -> bool:
    """Whether a conversation sends a trial, if it sends anything now: whatever is for an
    answer is sent by a turn that says so, and by no turn that has failed."""
    driver: Any = getattr(chat, "_driver", None)
    if driver is None or not driver.running or driver.snapshot.turn is None:
        return False
    return bool(driver.snapshot.turn.state == "failed")


"""What a gateway makes of one piece of a response: an event of a stream, a plain body."""

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@final
@attrs.frozen
class WholeReply:
    """A reply that the simulator sent whole.

    Attributes:
        request: Number of the request among all exchanges, from 1.
        message_id: The id that the server gave it.
        stop_reason: Why the model stopped.
        compaction: It answers a request for a summary.
        trial: It answers a trial, which asks whether, and not what.
        user: The blocks of the request's last message if that is the user's, as they
            stand in the request, without the brackets; empty where there is none.
        blocks: The reply's blocks, parsed. A call's input that is no JSON is None.
        raw: The reply's blocks as they stand in a plain response, without the brackets;
            None for a stream, which has no such bytes.
        conversation: The messages before `user`, as they stand in the request.
    """

    request: int
    message_id: str
    stop_reason: str
    compaction: bool
    trial: bool
    user: bytes = attrs.field(repr=False)
    blocks: tuple[Block, ...] = attrs.field(repr=False)
    raw: bytes | None = attrs.field(repr=False)
    conversation: bytes = attrs.field(repr=False)

    @property
    def confirms(self) -> bool:
        """A client must take this reply for a confirmed answer: it is an ordinary one,
        the model did not decline, and each call can be told from the others."""
        if self.compaction or self.trial:
            return False
        calls = [block["id"] for block in self.blocks if block["type"] == "tool_use"]
        unique = len(calls) == len(set(calls))
        return self.stop_reason != "refusal" and unique


@final
class Recorder:
    """A simulator that is listened to; it may be handed out wherever one is wanted.

    Args:
        simulator: It.
        gateway: What stands between the service and everybody else, the recorder too.

    Attributes:
        probing: Whether what is sent now is a trial; those for one token always are.
        trials: The numbers of the requests that were trials.
    """

    def __init__(self, simulator: Simulator, gateway: Gateway | None = None) -> None:
        self.simulator = simulator
        self.gateway = gateway
        self.probing: Callable[[], bool] = lambda: False
        self.trials: set[int] = set()
        self._replies: list[WholeReply] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.simulator, name)

    @property
    def handed_out(self) -> Simulator:
        """The recorder, for code that asks for a simulator."""
        return cast("Simulator", self)

    def handle(self, request: ApiRequest) -> ApiResponse:
        """Have the simulator answer, and note what it answered."""
        response = self.simulator.handle(request)
        if self.gateway is not None:
            response = _altered(response, self.gateway)
        exchange = self.simulator.log[-1]
        if self.probing() or (exchange.body or {}).get("max_tokens") == 1:
            self.trials.add(exchange.number)
        if exchange.path.endswith("/v1/messages") and exchange.message_id is not None:
            found = _whole(exchange, response, exchange.number in self.trials)
            if found is not None:
                self._replies.append(found)
        return response

    @property
    def replies(self) -> tuple[WholeReply, ...]:
        """Every reply that was sent whole, oldest first."""
        return tuple(self._replies)


def _altered(response: ApiResponse, gateway: Gateway) -> ApiResponse:
    chunks = tuple(
        Chunk(one.delay_seconds, gateway(one.data)) for one in response.chunks
    )
    size = str(sum(len(one.data) for one in chunks))
    headers = tuple(
        (name, size if name == "content-length" else value)
        for name, value in response.headers
    )
    return attrs.evolve(response, chunks=chunks, headers=headers)


def _whole(
    exchange: LoggedRequest, response: ApiResponse, trial: bool
) -> WholeReply | None:
    """The reply in a response; None if what was sent is no whole reply."""
    if (response.header("content-type") or "").startswith("text/event-stream"):
        message, raw = _assembled(response.body), None
    elif response.ending == "complete":
        message, raw = _parsed(response.body)
    else:
        return None
    if message is None:
        return None
    if not all(isinstance(message.get(name), str) for name in ("id", "stop_reason")):
        return None
    conversation, user = cut_request(exchange.raw)
    return WholeReply(
        exchange.number,
        str(message["id"]),
        str(message["stop_reason"]),
        "compaction" in (exchange.body or {}),
        trial,
        user,
        tuple(message["content"]),
        raw,
        conversation,
    )


def cut_request(body: bytes) -> tuple[bytes, bytes]:
    """A request's earlier messages, and the blocks of the user message at its end, both
    as they stand in its bytes.

    A request that ends on the assistant has no blocks, and all its messages are earlier.
    One that goes on with a paused turn which the server holds has no messages at all.
    """
    text = body.decode()
    messages = list(_items(text, _members(text, 0)["messages"].start))
    if not messages:
        return b"", b""
    last = messages[-1]
    parts = _members(text, last.start)
    if json.loads(text[parts["role"]]) != "user":
        return text[messages[0].start : last.stop].encode(), b""
    earlier = text[messages[0].start : messages[-2].stop] if len(messages) > 1 else ""
    return earlier.encode(), _inside(text, parts["content"])


def _inside(text: str, array: slice) -> bytes:
    """What stands between the brackets of an array."""
    found = text[array]
    assert found[0] == "[", f"an array is expected, not {found[:40]}"
    return found[1:-1].encode()


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _members(text: str, at: int) -> Mapping[str, slice]:
    """The members of the object at an offset, and where their values stand."""
    found: dict[str, slice] = {}
    at = _after_space(text, at) + 1
    while text[at := _after_space(text, at)] != "}":
        name, at = _DECODER.raw_decode(text, at)
        start = _after_space(text, _after_space(text, at) + 1)
        _, at = _DECODER.raw_decode(text, start)
        found[name] = slice(start, at)
        at = _after_space(text, at)
        at += text[at] == ","
    return found


def _items(text: str, at: int) -> Iterator[slice]:
    """Where the values of the array at an offset stand."""
    at += 1
    while text[at := _after_space(text, at)] != "]":
        start = at
        _, at = _DECODER.raw_decode(text, start)
        yield slice(start, at)
        at = _after_space(text, at)
        at += text[at] == ","


def _parsed(body: bytes) -> tuple[Block | None, bytes | None]:
    """A plain response's message, and its blocks as they stand there."""
    try:
        text = body.decode()
        message: Block = json.loads(text)
    except ValueError:
        return None, None
    if message.get("type") != "message":
        return None, None
    return message, _inside(text, _members(text, 0)["content"])


def _assembled(body: bytes) -> Block | None:
    """The message that a stream tells, if all its blocks end and a stop reason comes."""
    message: Block = {}
    blocks: list[Block] = []
    inputs: dict[int, str] = {}
    still_open: set[int] = set()
    for event in _events(body):
        at = int(event.get("index", 0))
        match event["type"]:
            case "message_start":
                message = {**event["message"], "content": blocks}
            case "content_block_start":
                blocks.append(dict(event["content_block"]))
                still_open.add(at)
                inputs[at] = ""
            case "content_block_delta":
                inputs[at] += _added(blocks[at], event["delta"])
            case "content_block_stop":
                still_open.discard(at)
                if inputs[at]:
                    blocks[at]["input"] = _input(inputs[at])
            case "message_delta":
                message["stop_reason"] = event["delta"].get("stop_reason")
            case "error":
                return None
            case _:
                pass
    return None if still_open or not message else message


def _events(body: bytes) -> Iterator[Block]:
    """The events of a stream that arrived whole; it ends at the first that did not."""
    for frame in body.decode(errors="replace").split("\n\n")[:-1]:
        data = [line[6:] for line in frame.split("\n") if line.startswith("data: ")]
        if not data:
            continue
        try:
            yield json.loads("".join(data))
        except ValueError:
            return


def _added(block: Block, delta: Block) -> str:
    """Add a delta to its block; returns what it says of a call's input."""
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] += delta["signature"]
        case "compaction_delta":
            block["content"] = (block["content"] or "") + delta["content"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        case "input_json_delta":
            return str(delta["partial_json"])
        case _:
            pass
    return ""


def _input(text: str) -> Any:
    """A call's input; None where it is no JSON object that every parser takes alike."""
    try:
        found = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique
        )
    except ValueError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} is out of range")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")
    return found

"""A finished reply as the stream it would have come in.

The events follow `grammar.py`. A stream carries the same message as a plain reply does;
only its cutting into pieces is decided here, and it depends on the message alone.
"""

import json
from collections.abc import Iterator
from typing import Final

from turnlatch.simulator.wire import Chunk, Json, as_object, dump, integer, objects

_PIECE_CHARS: Final = 24
"""About how much text one delta carries; a break is made at a space."""

_FRAGMENTS: Final = 3
"""In how many fragments the input of a call comes, after the empty first one."""

PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'


def stream_chunks(message: Json, pace_seconds: float) -> tuple[Chunk, ...]:
    """The chunks of a streamed reply, one event each.

    Args:
        message: The whole message, as a plain reply has it.
        pace_seconds: The delay before every event but the first.
    """
    frames = list(_frames(message))
    # The service sends a ping early in every stream; readers have to skip it.
    frames.insert(min(2, len(frames) - 1), PING)
    return tuple(
        Chunk(pace_seconds if place else 0.0, frame)
        for place, frame in enumerate(frames)
    )


def frame(event: Json) -> bytes:
    """One server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), dump(event))


def pieces(text: str) -> Iterator[str]:
    """A text cut at spaces; joined, the pieces are the text."""
    start = 0
    while start < len(text):
        end = start + _PIECE_CHARS
        space = text.find(" ", end)
        # A text without a space near by is cut anyway.
        end = space if 0 <= space < end + _PIECE_CHARS else end
        yield text[start:end]
        start = end


def _frames(message: Json) -> Iterator[bytes]:
    usage = dict(as_object(message["usage"]) or {})
    # The true output count comes at the end; the summary of a compaction is not in it.
    if "output_tokens" in usage:
        usage["output_tokens"] = min(integer(usage["output_tokens"]), 1)
    usage.pop("iterations", None)
    opening: dict[str, object] = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": usage,
    }
    if "context_management" in message:
        opening["context_management"] = None
    yield frame({"type": "message_start", "message": opening})
    for index, block in enumerate(objects(message["content"])):
        yield from _block_frames(index, block)
    delta = {
        "stop_reason": message["stop_reason"],
        "stop_sequence": message["stop_sequence"],
        "stop_details": message["stop_details"],
        "container": message["container"],
    }
    closing: dict[str, object] = {"type": "message_delta", "delta": delta}
    closing["usage"] = message["usage"]
    if "context_management" in message:
        closing["context_management"] = message["context_management"]
    yield frame(closing)
    yield frame({"type": "message_stop"})


def _block_frames(index: int, block: Json) -> Iterator[bytes]:
    skeleton, deltas = _opened(block)
    yield frame(
        {"type": "content_block_start", "index": index, "content_block": skeleton}
    )
    for delta in deltas:
        yield frame({"type": "content_block_delta", "index": index, "delta": delta})
    yield frame({"type": "content_block_stop", "index": index})


def _opened(block: Json) -> tuple[Json, list[Json]]:
    """A block as its start event has it, and the deltas that complete it."""
    match block:
        case {"type": "text", "text": str(text)}:
            told = [{"type": "text_delta", "text": piece} for piece in pieces(text)]
            return {**block, "text": ""}, list[Json](told)
        case {"type": "thinking", "thinking": str(text), "signature": str(signature)}:
            thoughts: list[Json] = [
                {"type": "thinking_delta", "thinking": piece} for piece in pieces(text)
            ]
            thoughts.append({"type": "signature_delta", "signature": signature})
            return {**block, "thinking": "", "signature": ""}, thoughts
        case {"type": "tool_use" | "server_tool_use"} if _has_input(block):
            written = json.dumps(block["input"])
            length = max(1, -(-len(written) // _FRAGMENTS))
            fragments = ["", *_sliced(written, length)]
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": each} for each in fragments
            ]
        # The threshold form comes in one delta; the signed one is whole at its start.
        case {"type": "compaction", "content": str(content)} if (
            "signature" not in block
        ):
            delta = {"type": "compaction_delta", "content": content}
            return {**block, "content": None}, [delta]
        case _:
            return block, []


def _has_input(block: Json) -> bool:
    return as_object(block.get("input")) is not None


def _sliced(text: str, length: int) -> list[str]:
    return [text[start : start + length] for start in range(0, len(text), length)]

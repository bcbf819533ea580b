"""What the service would refuse, told from the record before anything is sent.

Each of these was legal when it was confirmed and is not any more where something follows
it, or where enough of its kind have come together.
"""

import json
from typing import Any, Final, cast

from detent_states.encoding import parts
from detent_states.history import History, media_in
from detent_states.models import spec
from detent_states.rules import Limits, check
from detent_states.view import Flatten, Side, Stub, View

MANY_IMAGES: Final = Limits().many_images
"""Up to so many images in a request there is no rule about all of them together."""

_SERVER_CALLS: Final = (b'"server_tool_use"', b'"mcp_tool_use"')


def never_ended(history: History, *, followed: bool) -> list[Stub]:
    """What leaves out the calls of server tools that have no result and never will.

    Such a call may stay open at the end of a reply that is resumed, or beside calls of
    ours whose results are all that follows; then the next reply has to hold its result.
    Only the last two replies are looked at: the ones before were when they were last.

    Args:
        history: What was confirmed.
        followed: More follows the last reply than results.
    """
    size = len(history)
    last = _reply_start(history, size)
    first = _reply_start(history, last)
    opened: dict[object, Stub] = {}
    for index in range(first, size):
        wire = history[index].wire
        if not (opened or any(name in wire for name in _SERVER_CALLS)):
            continue
        for place, data in enumerate(parts(history[index].replayed)):
            block = cast("dict[str, Any]", json.loads(data))
            if block.get("type") in ("server_tool_use", "mcp_tool_use"):
                opened[block.get("id")] = Stub(index, Side.REPLY, place, -1, "")
            else:
                opened.pop(block.get("tool_use_id"), None)
    return [op for op in opened.values() if op.exchange < last or followed]


def _reply_start(history: History, size: int) -> int:
    """The exchange in which the last reply of the first `size` begins; what was paused
    and resumed is one reply."""
    start = max(size - 1, 0)
    while start > 0 and not history[start].user_size:
        start -= 1
    return start


def began_without_thinking(view: View, history: History, start: int) -> bool:
    """True if the open tool turn, which begins with that exchange, is shown without
    thinking at its head."""
    told = max((op.until for op in view.ops if isinstance(op, Flatten)), default=0)
    for index in range(max(start, told), len(history)):
        blocks = parts(history[index].replayed)
        if blocks:
            first = json.loads(blocks[0]).get("type")
            return first not in ("thinking", "redacted_thinking")
    return False


def too_many_media(model: str, shown: list[bytes]) -> str | None:
    """Why the service would refuse all the media of some messages; None if it would not.

    Args:
        model: The model's id.
        shown: The messages, encoded.
    """
    media = b",".join(wire for wire in shown if media_in(wire))
    if media_in(media) <= MANY_IMAGES:
        return None
    messages: list[object] = json.loads(b"[" + media + b"]")
    body = {"model": model, "max_tokens": 1, "messages": messages}
    found = next(check(body, only={"R30"}), None)
    return None if found is None else found.reason


def media_most(model: str) -> int:
    """How many images and documents a request may hold."""
    known = spec(model)
    return known.images_max if known is not None else 600

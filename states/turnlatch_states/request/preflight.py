"""Finds parts that the service would refuse, from the record, before anything is sent.

Each of these was legal when it was confirmed and is not any more where something follows
it, or where enough of its kind have come together.
"""

import json
from typing import Any, Final, cast

from turnlatch_states.api.json_bytes import parts
from turnlatch_states.api.models import spec
from turnlatch_states.api.rules import ApiLimits, check, member
from turnlatch_states.request.history import History, media_in
from turnlatch_states.request.view import Flatten, Side, Stub, View

INSTRUCTIONS_MAX: Final = ApiLimits().compaction_instructions_chars_max
"""The longest instructions for a summary that the API takes, in characters."""

MANY_IMAGES: Final = ApiLimits().many_images
"""Up to so many images in a request there is no rule about all of them together."""

_SERVER_CALLS: Final = (b'"server_tool_use"', b'"mcp_tool_use"')
_CALLER: Final = b'"tool_id"'
"""In a call of ours that a call of the server's makes."""


def never_ended(history: History, *, followed: bool) -> list[Stub]:
    """Operations that remove server tool calls that never got a result.

    Such a call may stay open at the end of a reply that is resumed, or next to client
    calls if only their results follow. Then the next reply holds its result, or more
    client calls made for it (Anthropic docs: agents-and-tools/tool-use/
    programmatic-tool-calling). Older replies are not checked: they were checked when
    they were the last.

    Args:
        history: The confirmed exchanges.
        followed: More follows the last reply than results.
    """
    opened, going = _opened(history)
    return list(opened.values()) if followed else [
        op for id_, op in opened.items() if id_ not in going
    ]  # fmt: skip


def has_open_work(history: History) -> bool:
    """True if the service is at work for the last reply and waits for results of ours.

    It goes on with that work only if nothing but the results comes next.
    """
    _, going = _opened(history)
    return bool(going)


def _opened(history: History) -> tuple[dict[object, Stub], set[object]]:
    """The calls of server tools without a result, and the ids of those that go on."""
    size = len(history)
    last = _reply_start(history, size)
    first = _reply_start(history, last)
    while first > 0 and _CALLER in history[first].wire:
        first = _reply_start(history, first)  # where the call stands that it was for
    opened: dict[object, Stub] = {}
    going: set[object] = set()
    for index in range(first, size):
        wire = history[index].wire
        if not (opened or any(name in wire for name in _SERVER_CALLS)):
            continue
        for place, data in enumerate(parts(history[index].resendable)):
            block = cast("dict[str, Any]", json.loads(data))
            if block.get("type") in ("server_tool_use", "mcp_tool_use"):
                opened[block.get("id")] = Stub(index, Side.REPLY, place, -1, "")
            elif index >= last and block.get("type") == "tool_use":
                going.add(member(block, "caller", "tool_id"))
            opened.pop(block.get("tool_use_id"), None)
    going |= {id_ for id_, op in opened.items() if op.exchange >= last}
    return opened, going & opened.keys()


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
        blocks = parts(history[index].resendable)
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

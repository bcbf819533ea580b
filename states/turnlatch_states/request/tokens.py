"""How many tokens something is at most, told from its bytes."""

import json
from typing import Any, Final, cast

from turnlatch_states.api.json_bytes import encode
from turnlatch_states.request.history import media_in

IMAGE_TOKENS_MAX: Final = 4_784
"""The most tokens one image costs (Anthropic docs: build-with-claude/vision)."""


def bound(blocks: bytes) -> int:
    """An upper bound on the tokens of encoded blocks.

    A token of ASCII text has two bytes or more, and other text rarely has less than one
    byte a token; base64 counts as the data it encodes. A document given by reference
    counts as one image, because its length is unknown.
    """
    if not media_in(blocks):
        return len(blocks) // 2 if blocks.isascii() else len(blocks)
    found = cast("list[Any]", json.loads(b"[" + blocks + b"]"))
    return sum(map(_bound_of, found))


def _bound_of(value: object) -> int:
    if isinstance(value, list):
        return 1 + sum(map(_bound_of, cast("list[object]", value)))
    if not isinstance(value, dict):
        written = encode(value)
        return (len(written) + 2) // 2 if written.isascii() else len(written) + 1
    members = cast("dict[str, object]", value)
    if members.get("type") == "image":
        return IMAGE_TOKENS_MAX
    if members.get("type") == "document":
        return _document(members)
    return 1 + sum(_bound_of(k) + _bound_of(v) for k, v in members.items())


def _document(members: dict[str, object]) -> int:
    around = {name: one for name, one in members.items() if name != "source"}
    total = _bound_of({**around, "type": "of a document"})
    match members.get("source"):
        case {"type": "base64", "data": str() as data}:
            return total + len(data) // 4 + 16
        case {"type": "url" | "file"} as named:
            return (
                total
                + _bound_of(dict(cast("dict[str, object]", named)))
                + (IMAGE_TOKENS_MAX)
            )
        case source:
            return total + _bound_of(source)

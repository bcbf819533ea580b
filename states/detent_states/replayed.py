"""The replay form: a confirmed reply as it may be sent back.

The server emits what it refuses to take back: blank text, a tool input that is null, ids
and names out of their pattern, fields that exist in answers only. The record of a reply
stays as it was received; what travels in later requests is this form of it. It is a pure
function of the record, so it is the same bytes live, after a reload and in every request.

Each block type has a whitelist. A reply that is legal already, as nearly all are, comes
back as the very bytes it was. A block of a type that nobody knows is left alone: what
cannot be judged here is left to the server, and to the remedies.
"""

import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, cast

from detent_states.encoding import encode, spans

_PLAIN: Final = b'{"type":"text","text":"'

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "text": frozenset({"type", "text", "citations"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
    "tool_use": frozenset({"type", "id", "name", "input", "caller", "toolset_name"}),
    "server_tool_use": frozenset({"type", "id", "name", "input", "caller"}),
    "mcp_tool_use": frozenset({"type", "id", "name", "input", "server_name"}),
    "compaction": frozenset(
        {"type", "content", "encrypted_content", "signature", "tool_changes"}
    ),
}
"""What each block type may carry in a request; other types pass as they are."""

_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def replay_form(content: bytes) -> bytes:
    """The blocks of a reply as they may stand in a request.

    Args:
        content: The blocks as they were received, comma-separated.

    Returns:
        `content` itself where nothing has to change; empty where nothing is left.
    """
    if plainly_legal(content):
        return content
    text = content.decode()
    places = spans(text)
    blocks: list[dict[str, Any]] = [json.loads(text[a:b]) for a, b in places]
    made: list[bytes] = []
    changed = False
    for block, (start, end) in zip(blocks, places, strict=True):
        legal = _legal(block)
        if legal is block:
            made.append(text[start:end].encode())
            continue
        changed = True
        if legal is not None:
            made.append(encode(legal))
    return b",".join(made) if changed else content


def plainly_legal(content: bytes) -> bool:
    """True for one text block that is certainly legal, told without parsing it.

    A loaded conversation has thousands of these. It decides nothing that the whitelist
    would decide otherwise; a property test holds it to that.
    """
    return not content or (
        content.startswith(_PLAIN)
        and content.count(b'":') == 2
        and 0x20 < content[len(_PLAIN)] < 0x7F
        and content[len(_PLAIN)] not in b'\\"'
        and b"\\u" not in content
    )


def replay_id(id_: object) -> str:
    """A tool-call id as it may be sent: itself, or a stable name made from it."""
    text = str(id_)
    if _ID.fullmatch(text):
        return text
    return "toolu_" + sha256(text.encode(errors="surrogatepass")).hexdigest()[:24]


def _legal(block: dict[str, Any]) -> dict[str, Any] | None:
    """The block itself if it is legal, a legal one in its place, or None for none."""
    type_ = block.get("type")
    if not isinstance(type_, str):
        return None
    repair = _REPAIRS.get(type_)
    found = block if repair is None else repair(block)
    allowed = FIELDS.get(type_)
    if found is None or allowed is None or found.keys() <= allowed:
        return found
    return {name: value for name, value in found.items() if name in allowed}


def _text(block: dict[str, Any]) -> dict[str, Any] | None:
    text = block.get("text")
    if not isinstance(text, str) or not text.strip():
        return None
    found = block
    if _broken(text):
        found = {**found, "text": mended(text)}
    if "citations" in found and not isinstance(found["citations"], list):
        found = {name: v for name, v in found.items() if name != "citations"}
    return found


def _call(block: dict[str, Any]) -> dict[str, Any]:
    name, id_ = block.get("name"), block.get("id")
    given: object = block.get("input")
    found: dict[str, Any] = block
    if not isinstance(id_, str) or replay_id(id_) != id_:
        found = {**found, "id": replay_id(id_)}
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        found = {
            **found,
            "name": re.sub(r"[^a-zA-Z0-9_-]", "_", str(name))[:128] or "_",
        }
    if not isinstance(given, dict):
        found = {**found, "input": {}}
    elif _broken(json.dumps(given, ensure_ascii=False)):
        found = {**found, "input": _mended_value(cast("object", given))}
    if found.get("caller", "") is None or found.get("toolset_name", "") is None:
        found = {n: v for n, v in found.items() if v is not None}
    return found


def _summary(block: dict[str, Any]) -> dict[str, Any] | None:
    return None if block.get("content") == "" else block


_REPAIRS: Final[Mapping[str, Callable[[dict[str, Any]], dict[str, Any] | None]]] = {
    "text": _text,
    "tool_use": _call,
    "server_tool_use": lambda block: (
        block if isinstance(block.get("input"), dict) else {**block, "input": {}}
    ),
    "compaction": _summary,
}


def _broken(text: str) -> bool:
    """True if a text cannot travel: a lone surrogate, or a NUL."""
    return "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text)


def mended(text: str) -> str:
    """A text with what cannot travel replaced, character for character."""
    return "".join(
        "\ufffd" if c == "\x00" or "\ud800" <= c <= "\udfff" else c for c in text
    )


def _mended_value(value: object) -> object:
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value).items()
        return {mended(name): _mended_value(one) for name, one in pairs}
    if isinstance(value, list):
        return [_mended_value(one) for one in cast("list[object]", value)]
    return value

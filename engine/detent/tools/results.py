"""Making a legal `tool_result` block of whatever a tool returned, raised or printed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from detent_states.encoding import encode

_BLOCKS = frozenset(
    {"text", "image", "document", "search_result", "tool_reference", "browser_state"}
)


def fit_result(
    call_id: str, value: object, *, bytes_max: int, is_error: bool = False
) -> tuple[bytes, bytes]:
    """The one `tool_result` block of a call, and the whole output if it was cut.

    Text is made valid Unicode, blank text is left out (the API refuses blank blocks and
    documents a result without content), and what is too long is cut in the middle with
    a note. An error carries text only, as the API demands.

    Args:
        call_id: The `tool_use` id.
        value: What the tool returned: text, content blocks, or any JSON value.
        bytes_max: Longest text that is sent.
        is_error: Mark the result as an error.

    Returns:
        The block as JSON, and the uncut text as UTF-8 (empty if nothing was cut).
    """
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id}
    whole = b""
    blocks = None if is_error else _content_blocks(value)
    if blocks is not None:
        block["content"] = blocks
    else:
        text = _text(value)
        raw = text.encode()
        if len(raw) > bytes_max:
            whole = raw
            text = _cut(raw, bytes_max)
        if text.strip():
            block["content"] = text
        elif is_error:
            block["content"] = "The tool failed without saying why."
    if is_error:
        block["is_error"] = True
    return encode(block), whole


def _content_blocks(value: object) -> list[Any] | None:
    """The value as content blocks, if that is what it is."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return None
    items = cast("Sequence[object]", value)
    blocks: list[Any] = []
    for item in items:
        if not isinstance(item, Mapping):
            return None
        one = cast("Mapping[str, Any]", item)
        if one.get("type") not in _BLOCKS:
            return None
        if one["type"] == "text":
            text = _legal(str(one.get("text", "")))
            if text.strip():
                blocks.append({**one, "text": text})
            continue
        blocks.append(dict(one))
    return blocks or None


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _legal(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode(errors="replace")
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return _legal(repr(value))


def _legal(text: str) -> str:
    """Text without lone surrogates, which no JSON body can carry as UTF-8."""
    return text.encode(errors="replace").decode()


def _cut(raw: bytes, bytes_max: int) -> str:
    """The beginning and the end of a long text, and a note of what is missing."""
    note = f"\n[… {len(raw) - bytes_max} bytes left out; {len(raw)} in all …]\n"
    head, tail = raw[: bytes_max * 2 // 3], raw[len(raw) - bytes_max // 3 :]
    return head.decode(errors="ignore") + note + tail.decode(errors="ignore")

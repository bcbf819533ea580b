"""Making a legal `tool_result` block of whatever a tool returned, raised or printed."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from detent_states.encoding import encode
from detent_states.replayed import mended, mended_value
from detent_states.rules import Context, check

Json: TypeAlias = dict[str, Any]

_BLOCKS = frozenset(
    {"text", "image", "document", "search_result", "tool_reference", "browser_state"}
)


def fit_result(
    call_id: str, value: object, *, bytes_max: int, is_error: bool = False
) -> tuple[bytes, bytes]:
    """The one `tool_result` block of a call, and the whole output if it was cut.

    Text is made valid Unicode, blank text is left out (the API refuses blank blocks and
    documents a result without content), what is too long is cut in the middle with a
    note, and a note stands for a block that the API would refuse. An error carries text
    only, as the API demands.

    Args:
        call_id: The `tool_use` id.
        value: What the tool returned: text, content blocks, or any JSON value.
        bytes_max: Longest text that is sent.
        is_error: Mark the result as an error.

    Returns:
        The block as JSON, and the uncut output (empty if nothing was cut).
    """
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id}
    whole = b""
    blocks = None if is_error else _content_blocks(value)
    if blocks is not None:
        block["content"], whole = _fitted(call_id, blocks, bytes_max)
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


def _content_blocks(value: object) -> list[dict[str, Any]] | None:
    """The value as content blocks, if that is what it is."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return None
    items = cast("Sequence[object]", value)
    blocks: list[dict[str, Any]] = []
    for item in items:
        if not isinstance(item, Mapping):
            return None
        one = cast("Mapping[str, Any]", item)
        if one.get("type") not in _BLOCKS:
            return None
        if one["type"] == "text" and not str(one.get("text", "")).strip():
            continue
        try:
            plain: dict[str, Any] = json.loads(
                json.dumps(_unmarked(one), allow_nan=False)
            )
        except (TypeError, ValueError, RecursionError):
            return None
        blocks.append(cast("dict[str, Any]", mended_value(plain)))
    return blocks or None


def _unmarked(block: Mapping[str, Any]) -> dict[str, Any]:
    # Cache markers are placed by each request; one that is kept would count for ever.
    return {name: value for name, value in block.items() if name != "cache_control"}


def _fitted(
    call_id: str, blocks: list[dict[str, Any]], bytes_max: int
) -> tuple[list[dict[str, Any]], bytes]:
    """Blocks that the API takes, and short enough; and the uncut ones if any was cut.

    A block that the rules refuse would make every later request a 400: a note stands in
    its place, and tells the model and the author of the tool what was wrong with it.
    """
    left, skipped, cut = bytes_max, 0, False
    found: list[dict[str, Any]] = []
    for block in blocks:
        raw = _counted(block)
        if raw is None:
            found.append(block)
        elif left <= 0:
            skipped += 1
        elif len(raw) > left:
            found.append({"type": "text", "text": _cut(raw, max(left, 64))})
            left, cut = 0, True
        else:
            found.append(block)
            left -= len(raw) + _AROUND
    if skipped:
        note = f"[… {skipped} more blocks of this result left out …]"
        found.append({"type": "text", "text": note})
        cut = True
    for place, reason in _refused(call_id, found).items():
        kind = found[place]["type"]
        note = f"[Left out: the tool's {kind} block cannot be sent: {reason}]"
        found[place] = {"type": "text", "text": note}
    return found, encode(blocks) if cut else b""


_AROUND = 32
"""About what a block costs beside what it says."""


def _counted(block: dict[str, Any]) -> bytes | None:
    """What counts towards the length of a result; None for media, which have limits of
    their own."""
    if block["type"] == "text":
        return str(block.get("text")).encode()
    match block.get("source"):
        case {"type": str() as kind}:
            pass
        case _:
            kind = ""
    if block["type"] == "image" or (
        block["type"] == "document" and kind not in ("text", "content")
    ):
        return None
    return encode(block)


def _refused(call_id: str, blocks: list[dict[str, Any]]) -> dict[int, str]:
    """The blocks that the rules of the API refuse inside a result, and why."""
    asked: Json = {"type": "tool_use", "id": call_id, "name": "tool", "input": {}}
    given: Json = {"type": "tool_result", "tool_use_id": call_id, "content": blocks}
    body: Json = {
        "model": "any",
        "max_tokens": 1,
        "messages": [
            {"role": "user", "content": "-"},
            {"role": "assistant", "content": [asked]},
            {"role": "user", "content": [given]},
        ],
    }
    found: dict[int, str] = {}
    for finding in check(body, Context()):
        for path in (finding.path, *finding.related):
            named = _INNER.match(path)
            if named is not None and int(named[1]) < len(blocks):
                found.setdefault(int(named[1]), finding.reason)
    return found


_INNER = re.compile(r"messages\.2\.content\.0(?:\.tool_result)?\.content\.(\d+)")


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode(errors="replace")
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return mended(repr(value))


def _cut(raw: bytes, bytes_max: int) -> str:
    """The beginning and the end of a long text, and a note of what is missing."""
    note = f"\n[… {len(raw) - bytes_max} bytes left out; {len(raw)} in all …]\n"
    head, tail = raw[: bytes_max * 2 // 3], raw[len(raw) - bytes_max // 3 :]
    return head.decode(errors="ignore") + note + tail.decode(errors="ignore")

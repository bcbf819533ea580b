"""Making a legal `tool_result` block of whatever a tool returned, raised or printed."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from turnlatch.tools.blocks import Blocks
from turnlatch.tools.jsonable import as_json, jsonable
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.resendable import mended, mended_value
from turnlatch_states.api.rules import Context, check, is_result_part

Json: TypeAlias = dict[str, Any]


def fit_result(
    call_id: str, value: object, *, bytes_max: int, is_error: bool = False
) -> tuple[bytes, bytes]:
    """The one `tool_result` block of a call, and the whole output if it was cut.

    Text is made valid Unicode, blank text is left out (the API refuses blank blocks and
    documents a result without content), what is too long is cut in the middle with a
    note, and a note stands for a block that the API would refuse. An error carries text
    only, as the API demands: a note stands for any other block.

    Args:
        call_id: The `tool_use` id.
        value: What the tool returned: text, `Blocks`, or what has a JSON form.
        bytes_max: Longest text that is sent.
        is_error: Mark the result as an error.

    Returns:
        The block as JSON, and the uncut output (empty if nothing was cut).

    Raises:
        NoJsonError: The value has no JSON form; see `jsonable`.
    """
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id}
    whole = b""
    blocks = _content_blocks(value)
    if blocks is not None:
        content, whole = _fitted(call_id, blocks, bytes_max, is_error=is_error)
        if content or is_error:
            block["content"] = content or _SILENT
    else:
        text = _text(value)
        raw = text.encode()
        if len(raw) > bytes_max:
            whole = raw
            text = _cut(raw, bytes_max)
        if text.strip():
            block["content"] = text
        elif is_error:
            block["content"] = _SILENT
    if is_error:
        block["is_error"] = True
    return encode(block), whole


_SILENT = "The tool failed without saying why."


def _content_blocks(value: object) -> list[dict[str, Any]] | None:
    """The value as content blocks, if that is what it is; see `Blocks`."""
    if isinstance(value, Blocks):
        return [found for one in value.blocks for found in _sendable(one)]
    if not isinstance(value, list | tuple):
        return None
    items = cast("Sequence[object]", value)
    if not all(map(is_result_part, items)):
        return None
    parts = cast("Sequence[Mapping[str, object]]", items)
    if all(part["type"] == "text" for part in parts):
        return None
    return [found for one in items for found in _sendable(one)]


def _sendable(block: object) -> list[dict[str, Any]]:
    """A block as it may be sent; none for blank text, which the API refuses."""
    if isinstance(block, str):
        block = {"type": "text", "text": block}
    plain: object = mended_value(jsonable(block))
    if not isinstance(plain, dict):
        plain = {"type": "text", "text": mended(as_json(plain))}
    found = cast("dict[str, Any]", plain)
    # Cache markers are placed by each request; one that is kept would count for ever.
    found.pop("cache_control", None)
    blank = found.get("type") == "text" and not str(found.get("text", "")).strip()
    return [] if blank else [found]


def _fitted(
    call_id: str,
    blocks: list[dict[str, Any]],
    bytes_max: int,
    *,
    is_error: bool = False,
) -> tuple[list[dict[str, Any]], bytes]:
    """Blocks that the API takes, and short enough; and all of them if any is not whole.

    A block that the rules refuse would make every later request a 400: a note stands in
    its place, and tells the model and the author of the tool what was wrong with it.
    """
    left, skipped, cut = bytes_max, 0, False
    found: list[dict[str, Any]] = []
    for given in blocks:
        block = _named_only(given) if is_error else given
        cut = cut or block is not given
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
        note = f"[… {skipped} more blocks left out; all are {_KEPT} …]"
        found.append({"type": "text", "text": note})
        cut = True
    for place, reason in _refused(call_id, found).items():
        kind = found[place].get("type")
        note = f"[Left out: the tool's {kind} block cannot be sent: {reason}]"
        found[place] = {"type": "text", "text": note}
        cut = True
    return found, encode(blocks) if cut else b""


def _named_only(block: dict[str, Any]) -> dict[str, Any]:
    """A block of an error: text as it is, a note for any other."""
    if block.get("type") == "text":
        return block
    source = block.get("source")
    about = cast("dict[str, object]", source) if isinstance(source, dict) else {}
    named = (block.get("title"), about.get("media_type"), about.get("url"))
    told = ", ".join(one for one in named if isinstance(one, str))
    data = about.get("data")
    size = f", {len(data):,} characters" if isinstance(data, str) else ""
    note = (
        f"[Left out: a block of type {block.get('type')}{told and f' ({told})'}{size}:"
        f" a result that is an error takes text only; it is {_KEPT}]"
    )
    return {"type": "text", "text": note}


_AROUND = 32
"""Approximate bytes of a block in addition to its text."""


def _counted(block: dict[str, Any]) -> bytes | None:
    """The text that counts towards the length of a result; None for media, which have
    separate limits."""
    kind = block.get("type")
    if kind == "text":
        return str(block.get("text")).encode()
    of = _tag(block.get("source"))
    if kind == "image" or (kind == "document" and of not in ("text", "content")):
        return None
    return encode(block)


def _tag(source: object) -> object:
    """The kind of source of an image or a document."""
    if not isinstance(source, dict):
        return None
    return cast("dict[str, object]", source).get("type")


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
    if isinstance(value, bytes | bytearray | memoryview):
        return mended(str(jsonable(cast("object", value))))
    return mended(as_json(value))


def _cut(raw: bytes, bytes_max: int) -> str:
    """The beginning and the end of a long text, and a note of what is missing."""
    head = raw[: bytes_max * 2 // 3].decode(errors="ignore")
    tail = raw[len(raw) - bytes_max // 3 :].decode(errors="ignore")
    left_out = len(raw) - len(head.encode()) - len(tail.encode())
    note = f"[… {left_out} bytes left out; {len(raw)} in all, {_KEPT} …]"
    return f"{head}\n{note}\n{tail}"


_KEPT = "kept in the journal of this conversation"
"""Where the whole of a result is that was cut."""

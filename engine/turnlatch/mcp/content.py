"""The result of a call of an MCP tool, as content blocks that tell it truthfully."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from turnlatch.tools import Blocks

IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""The types of pictures that the Messages API takes."""

RESULT_MAX: Final = 16 * 1024 * 1024
"""Longest result that is taken from a server, in characters."""


def size_of(result: Any) -> int:
    """About how many characters a result has."""
    parts = [
        getattr(inner, name, None)
        for block in result.content
        for inner in (block, getattr(block, "resource", None))
        for name in ("text", "data", "blob")
    ]
    structured = result.structured_content
    more = 0 if structured is None else len(json.dumps(structured, default=str))
    return more + sum(len(one) for one in parts if isinstance(one, str))


def content_of(result: Any) -> Blocks:
    """The blocks of a result.

    Text, pictures and text resources are passed on. PDF documents are documents. Sound and
    other blobs, which the Messages API refuses, are named with type and size; a link to a
    resource is named, too: it was not read. Structured content stands for blocks only
    where the server gives no blocks that say the same.
    """
    found = [one for block in result.content for one in _blocks(block)]
    structured = result.structured_content
    if structured is not None and not _repeats(result.content, structured):
        found.append(_text(json.dumps(structured, ensure_ascii=False, default=str)))
    return Blocks(found)


def _repeats(blocks: Iterable[Any], structured: object) -> bool:
    """True if a text block is the JSON of the structured content, as the protocol asks."""
    for block in blocks:
        if getattr(block, "type", None) != "text":
            continue
        try:
            if json.loads(block.text) == structured:
                return True
        except (ValueError, RecursionError):
            continue
    return False


def _blocks(block: Any) -> list[Mapping[str, Any]]:
    match block.type:
        case "text":
            return [_text(block.text)]
        case "image":
            return [_media("image", block.mime_type, block.data)]
        case "audio":
            return [_note("audio", block.mime_type, block.data)]
        case "resource_link":
            kind = f", {block.mime_type}" if block.mime_type else ""
            return [_text(f"[A link to a resource, not read: {block.uri}{kind}]")]
        case "resource":
            return _resource(block.resource)
        case other:
            return [_text(f"[Left out: a block of type {other}]")]


def _resource(resource: Any) -> list[Mapping[str, Any]]:
    text = getattr(resource, "text", None)
    kind = resource.mime_type or "unknown type"
    if isinstance(text, str):
        return [_text(f"[Resource {resource.uri}, {kind}]"), _text(text)]
    where = f"resource {resource.uri}"
    return [_media(where, kind, resource.blob)]


def _media(what: str, kind: str, data: str) -> Mapping[str, Any]:
    """A picture or a PDF document; a note for any other type."""
    source = {"type": "base64", "media_type": kind, "data": data}
    if kind in IMAGES:
        return {"type": "image", "source": source}
    if kind == "application/pdf":
        return {"type": "document", "source": source}
    return _note(what, kind, data)


def _note(what: str, kind: str, data: str) -> Mapping[str, Any]:
    size = len(data) * 3 // 4
    return _text(f"[Left out: {what}, {kind}, {size:,} bytes]")


def _text(text: str) -> Mapping[str, Any]:
    return {"type": "text", "text": text}

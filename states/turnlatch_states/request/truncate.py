"""Results made shorter: their beginning and their end, and a note for what is gone."""

from collections.abc import Mapping
from typing import Any, Final, cast

_MEDIA: Final = frozenset({"image", "document"})


def shrunk(block: dict[str, Any], most: int) -> dict[str, Any]:
    """A user's block with its results cut and its media told; itself if it is short."""
    type_ = block.get("type")
    if type_ in _MEDIA:
        return {"type": "text", "text": f"[An earlier {type_} was left out here.]"}
    if type_ != "tool_result":
        return block
    content = block.get("content")
    if isinstance(content, str):
        cut = cut_text(content, most)
        return block if cut == content else {**block, "content": cut}
    if not isinstance(content, list):
        return block
    inner = cast("list[dict[str, Any]]", content)
    changed = [_shrunk_part(part, most) for part in inner]
    if all(new is old for new, old in zip(changed, inner, strict=True)):
        return block
    return {**block, "content": changed}


def _shrunk_part(part: dict[str, Any], most: int) -> dict[str, Any]:
    if part.get("type") in _MEDIA:
        return {
            "type": "text",
            "text": f"[An earlier {part['type']} was left out here.]",
        }
    text = part.get("text")
    if not isinstance(text, str):
        return part
    cut = cut_text(text, most)
    return part if cut == text else {**part, "text": cut}


def cut_text(text: str, most: int) -> str:
    """A text of at most about `most` bytes: its beginning and its end, and what is gone."""
    size = len(text.encode(errors="surrogatepass"))
    if size <= most + 64:
        return text
    keep = max(most, 16)
    data = text.encode(errors="surrogatepass")
    head = data[: keep * 2 // 3].decode(errors="ignore")
    tail = data[size - keep // 3 :].decode(errors="ignore")
    return f"{head}\n[… {size - keep} bytes were left out here …]\n{tail}"


def told_result(result: Mapping[str, Any]) -> str:
    """The text of a tool result."""
    content = result.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    said = [
        str(part.get("text")) if part.get("type") == "text" else f"[{part.get('type')}]"
        for part in cast("list[dict[str, Any]]", content)
    ]
    return "\n".join(said)

"""A deterministic stand-in for the tokenizer.

The approximation, chosen so that a reader can do it in the head: a text is one token for
every four bytes of UTF-8, rounded up; an image is `IMAGE_TOKENS`; a document is one token
for every six bytes of its base64, or of its text for every four; every message and every
block other than text adds `OVERHEAD_TOKENS`. Signatures and cache markers cost nothing.
The service does not publish its true count, which differs by model; ask the service for
the exact number (https://platform.claude.com/docs/en/build-with-claude/token-counting).
"""

import json

from turnlatch.simulator.wire import Json, as_array, as_object, blocks, objects

IMAGE_TOKENS = 1_568
"""What an image costs: the documented maximum of the older models, for any size."""

OVERHEAD_TOKENS = 4
"""Tokens of a message, a tool or a block in addition to its text."""


def count_text(text: str) -> int:
    """Tokens of a text: its UTF-8 bytes over four, rounded up."""
    length = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    return (length + 3) // 4


def count_json(value: object) -> int:
    """Tokens of a JSON value, as the text it would be written as."""
    return count_text(json.dumps(value, separators=(",", ":")))


def count_request(body: Json) -> int:
    """Input tokens of a request body: system, tools and messages."""
    total = sum(count_block(block) for block in blocks(body.get("system")))
    total += sum(count_tool(tool) for tool in objects(body.get("tools")))
    for message in objects(body.get("messages")):
        total += OVERHEAD_TOKENS
        for block in blocks(message.get("content")):
            total += count_block(block)
    return total


def count_tool(tool: Json) -> int:
    """Tokens of one tool definition."""
    return OVERHEAD_TOKENS + count_json(_unmarked(tool))


def count_block(block: Json) -> int:
    """Tokens of one content block, nested ones included."""
    match block.get("type"):
        case "text":
            return _of(block, "text")
        case "thinking":
            return OVERHEAD_TOKENS + _of(block, "thinking")
        case "image":
            return IMAGE_TOKENS
        case "document":
            return OVERHEAD_TOKENS + _document(as_object(block.get("source")) or {})
        case "tool_result":
            inner = blocks(block.get("content"))
            return OVERHEAD_TOKENS + sum(count_block(each) for each in inner)
        case "compaction":
            return OVERHEAD_TOKENS + _of(block, "content")
        case "tool_use":
            return OVERHEAD_TOKENS + _of(block, "name") + count_json(block.get("input"))
        case _:
            return OVERHEAD_TOKENS + count_json(_unmarked(block))


def _of(block: Json, name: str) -> int:
    value = block.get(name)
    return count_text(value) if isinstance(value, str) else 0


def _unmarked(block: Json) -> Json:
    return {key: value for key, value in block.items() if key != "cache_control"}


def _document(source: Json) -> int:
    data = source.get("data")
    if isinstance(data, str):
        if source.get("type") == "base64":
            return len(data) // 6
        return count_text(data)
    content = source.get("content")
    if isinstance(content, str) or as_array(content) is not None:
        return sum(count_block(each) for each in blocks(content))
    return IMAGE_TOKENS

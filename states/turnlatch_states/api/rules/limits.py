"""What is too big: R30 and R31."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from turnlatch_states.api.rules._base import (
    Context,
    Finding,
    digits,
    is_array,
    is_integer,
    member,
    objects,
)
from turnlatch_states.api.rules._request import Body
from turnlatch_states.api.rules._rule import Rule

_HEADER_CHARS = 256 * 1024  # a JPEG may carry its size behind a long profile
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")


class _Medium(NamedTuple):
    path: str
    type: str
    value: Mapping[str, object]


def _media(request: Body) -> Iterator[_Medium]:
    """Every image and document, also inside tool results."""
    for message in request.messages:
        for block in message.blocks:
            if block.type in ("image", "document"):
                yield _Medium(block.path, block.type, block.value)
            elif block.type == "tool_result" and is_array(block.value.get("content")):
                for place, part in objects(block.value.get("content")):
                    tag = part.get("type")
                    if isinstance(tag, str) and tag in ("image", "document"):
                        path = f"{block.path}.tool_result.content.{place}"
                        yield _Medium(path, tag, part)


def media_fit(request: Body, context: Context) -> Iterator[Finding]:
    """Images and PDFs are small enough, few enough, and what they say they are.

    Sources: Anthropic docs build-with-claude/vision and pdf-support. Confidence:
    documented, wording seen live. Pages are counted where a PDF shows them openly.
    """
    yield from request.shape_of("R30")
    media = list(_media(request))
    if not media:
        return
    limits, spec = context.limits, request.spec
    images = [medium for medium in media if medium.type == "image"]
    documents = len(media) - len(images)
    most = limits.images_max or (spec.images_max if spec else 600)
    if len(media) > most:
        yield Finding(
            "R30",
            "",
            f"too many images and documents: {len(images)} + {documents} > {most}",
        )
    many = len(images) > limits.many_images
    pages = 0
    for medium in media:
        if member(medium.value, "source", "type") != "base64":
            continue
        data = member(medium.value, "source", "data")
        if isinstance(data, str) and medium.type == "image":
            yield from _image(medium, data, context, many=many)
        elif isinstance(data, str):
            pages += _pages(data)
            yield from _pdf(medium, data)
    pages_most = limits.pdf_pages_max or (spec.pdf_pages_max if spec else 600)
    if pages > pages_most:
        reason = f"A maximum of {pages_most} PDF pages may be provided."
        yield Finding("R30", "", reason)


def _image(
    medium: _Medium, data: str, context: Context, *, many: bool
) -> Iterator[Finding]:
    limits = context.limits
    path = f"{medium.path}.image.source.base64"
    size, most = len(data), limits.image_base64_bytes_max
    if size > most:
        unit = f"{most // (1024 * 1024)} MB maximum"
        reason = f"image exceeds {unit}: {size} bytes > {most} bytes"
        yield Finding("R30", path, reason)
    head = _decoded(data[:_HEADER_CHARS])
    kind, pixels = _looked_at(head)
    if kind is None:
        yield Finding("R30", "", "Could not process image", related=(medium.path,))
        return
    declared = member(medium.value, "source", "media_type")
    if isinstance(declared, str) and declared != kind:
        yield Finding(
            "R30",
            path,
            f"The image was specified using the {declared} media type, but the image "
            f"appears to be a {kind} image",
        )
    exceed = "At least one of the image dimensions exceed max allowed size"
    if pixels > limits.image_pixels_max:
        reason = f"{exceed}: {limits.image_pixels_max} pixels"
        yield Finding("R30", f"{path}.data", reason)
    elif many and pixels > limits.many_images_pixels_max:
        reason = f"{exceed} for many-image requests: {limits.many_images_pixels_max}"
        yield Finding("R30", f"{path}.data", f"{reason} pixels")


def _decoded(text: str) -> bytes:
    """The bytes of as much base64 as is whole; none if it is not base64."""
    whole = text[: len(text) - len(text) % 4]
    try:
        return base64.b64decode(whole, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _looked_at(head: bytes) -> tuple[str | None, int]:
    """The media type that the first bytes show, and the longer side in pixels."""
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return "image/png", max(_side(head[16:20]), _side(head[20:24]))
    if head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        sides = (_side(head[6:8], "little"), _side(head[8:10], "little"))
        return "image/gif", max(sides)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp", _webp_side(head)
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg", _jpeg_side(head)
    return None, 0


def _side(number: bytes, order: Literal["big", "little"] = "big") -> int:
    return int.from_bytes(number, order)


def _webp_side(head: bytes) -> int:
    if head[12:16] == b"VP8X" and len(head) >= 30:
        return 1 + max(_side(head[24:27], "little"), _side(head[27:30], "little"))
    if head[12:16] == b"VP8L" and len(head) >= 25:
        bits = _side(head[21:25], "little")
        return 1 + max(bits & 0x3FFF, bits >> 14 & 0x3FFF)
    if head[12:16] == b"VP8 " and len(head) >= 30:
        return max(_side(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return 0


def _jpeg_side(head: bytes) -> int:
    """The longer side, from the first frame header within reach; else 0."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        # C4, C8 and CC are tables that lie among the frame headers.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return max(_side(head[at + 5 : at + 7]), _side(head[at + 7 : at + 9]))
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return 0


def _pdf(medium: _Medium, data: str) -> Iterator[Finding]:
    path = f"{medium.path}.pdf.source.base64.data"
    if not data:
        yield Finding("R30", path, "PDF cannot be empty")
    elif b"%PDF-" not in _decoded(data[:2048]):
        yield Finding("R30", path, "The PDF specified was not valid.")


def _pages(data: str) -> int:
    return sum(1 for _ in _PAGE.finditer(_decoded(data)))


def prompt_fits(request: Body, context: Context) -> Iterator[Finding]:
    """The prompt fits the model's window; together with the reply on older models.

    Sources: Anthropic docs build-with-claude/context-windows. Confidence: documented,
    wording seen live. Silent without a way to count.
    """
    spec = request.spec
    window = context.limits.context_window or (spec.context_window if spec else None)
    if context.count_tokens is None or window is None:
        return
    length = context.count_tokens(request.body)
    asked = request.body.get("max_tokens")
    if length > window:
        reason = f"prompt is too long: {length} tokens > {window} maximum"
        yield Finding("R31", "", reason)
        return
    strict = spec is not None and spec.overflow_refused
    if strict and is_integer(asked) and length + asked > window:
        yield Finding(
            "R31",
            "",
            f"input length and `max_tokens` exceed context limit: {length} + "
            f"{digits(asked)} > {window}, decrease input length or `max_tokens` and try "
            "again",
        )


RULES = (
    Rule(
        "R30",
        "images and PDFs are small, few, and of the type they declare",
        "Shrink or drop the medium that the path names; older ones first.",
        "Anthropic docs: build-with-claude/vision (documented)",
        media_fit,
    ),
    Rule(
        "R31",
        "the prompt fits the model's context window",
        "Compact or trim the conversation, or lower max_tokens; do not retry as it is.",
        "Anthropic docs: build-with-claude/context-windows (documented)",
        prompt_fits,
        "how many tokens the prompt has; only the server counts them.",
    ),
)
"""The rules of this module."""

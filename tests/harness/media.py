"""Images and documents for scenarios: as little of each as the service looks at."""

import base64
import struct
from typing import Any, Final

Block = dict[str, Any]

JPEG: Final = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(20)
"""The beginning of a JPEG."""

PDF: Final = b"%PDF-1.7 /Encrypt 1 0 R"
"""The beginning of a PDF that is encrypted."""


def png(width: int = 10, height: int = 10, *, padding: int = 0) -> bytes:
    """A PNG of that size in pixels, and of at least so many bytes."""
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR"
    return head + struct.pack(">II", width, height) + bytes(9 + padding)


def image(data: bytes, media_type: str = "image/png") -> Block:
    """An image block that says it is of that type."""
    return _medium("image", data, media_type)


def document(data: bytes, media_type: str = "application/pdf") -> Block:
    """A document block that says it is of that type."""
    return _medium("document", data, media_type)


def words(text: str) -> Block:
    """A text block."""
    return {"type": "text", "text": text}


def _medium(kind: str, data: bytes, media_type: str) -> Block:
    source = {
        "type": "base64",
        "media_type": media_type,
        "data": base64.b64encode(data).decode(),
    }
    return {"type": kind, "source": source}

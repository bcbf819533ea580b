"""JSON as it travels: written one way, and cut without being written again."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

_COMPACT: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False
)
_ESCAPED: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_DECODER: Final = json.JSONDecoder()
_GAP: Final = re.compile(r"[ \t\n\r,]*")


def encode(value: object) -> bytes:
    """JSON as it travels: UTF-8, no spaces, no NaN, surrogates only as escapes.

    Raises:
        ValueError: NaN or infinity.
        TypeError: Not a JSON value.
    """
    try:
        return _COMPACT.encode(value).encode()
    except UnicodeEncodeError:  # a lone surrogate: only an ASCII escape can carry it
        return _ESCAPED.encode(value).encode()


def spans(text: str) -> list[tuple[int, int]]:
    """Where each of some comma-separated JSON values begins and ends."""
    found: list[tuple[int, int]] = []
    at = 0
    while True:
        gap = _GAP.match(text, at)
        at = gap.end() if gap is not None else at
        if at >= len(text):
            return found
        _, end = _DECODER.raw_decode(text, at)
        found.append((at, end))
        at = end


def parts(values: bytes) -> list[bytes]:
    """Comma-separated JSON values, each as the bytes it is."""
    text = values.decode()
    return [text[start:end].encode() for start, end in spans(text)]


def text_block(text: str) -> bytes:
    """A text block."""
    return encode({"type": "text", "text": text})


def copied(arguments: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The arguments of a call, sharing nothing with these: to hold, or to hand out."""
    return cast("Mapping[str, Any] | None", _copied(arguments))


def _copied(value: object) -> object:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return {name: _copied(one) for name, one in pairs}
    if isinstance(value, list):
        return [_copied(one) for one in cast("list[object]", value)]
    return value

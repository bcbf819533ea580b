"""JSON that came from outside: read strictly, sliced exactly, never printed again.

`json` accepts NaN, infinities and duplicate keys, and it forgets where a value stood.
Here a value is refused unless every parser would read it alike, and an object is read
as members with their places in the text, so that a part can be kept as it arrived.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from json.scanner import make_scanner
from typing import Any, NamedTuple, NoReturn, cast, final

from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply

OPENAI = "it is in the format of OpenAI's chat completions, and not of the Messages API"

DEPTH_MAX = 100
"""Maximum nesting of arrays and objects; the interpreter's limit is not documented."""

BLOCKS_MAX = 10_000
"""Most content blocks of one reply, where nothing else is said."""

NOTED = frozenset({"request_id", "end", "broken", "adapted"})
"""Names in a reply's meta that are the adapter's, whatever the server calls its own."""


class IncompleteReplyError(Exception):
    """The answer is not a whole reply. The message says what is wrong with it."""


@final
class OtherFormatError(IncompleteReplyError):
    """The answer is whole, but in another format."""


@final
class TooLargeError(IncompleteReplyError):
    """The answer exceeds every limit; the rest of it was not read."""


HOPELESS = (OtherFormatError, TooLargeError)
"""Errors that the next answer would give, too."""


@final
class ErrorEnvelopeError(Exception):
    """The server answered 200 and then said that the request failed.

    Attributes:
        envelope: The error envelope, parsed.
    """

    def __init__(self, envelope: object) -> None:
        super().__init__(envelope)
        self.envelope = envelope


class _TwiceError(ValueError):
    """Parsers differ in what they make of it, so it is nothing."""


class Member(NamedTuple):
    """One member of a JSON object: a tuple, because there are many and they are brief.

    Attributes:
        value: The value, parsed.
        name: The member's name as it stands in the text, quotes and all.
        raw: The value as it stands in the text.
        at: Where `raw` begins in the text.
    """

    value: Any
    name: str
    raw: str
    at: int


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError("a key appears twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    # A number that overflows to infinity could not be written as JSON again.
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:40]} is out of range")
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
)
_scan = make_scanner(cast("Any", _DECODER))  # its stub names the wrong class


def scan(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at an offset, and the offset behind it.

    Raises:
        ValueError: No strict JSON begins there.
        RecursionError: It nests deeper than the interpreter can follow.
    """
    try:
        return _scan(text, at)
    except StopIteration:
        raise ValueError(f"no JSON begins at character {at}") from None


_skip = re.compile(r"[ \t\n\r]*").match
_name = re.compile(r'[ \t\n\r]*("(?:[^"\\\x00-\x1f]|\\.)*")[ \t\n\r]*:[ \t\n\r]*').match
_next = re.compile(r"[ \t\n\r]*([,}])").match
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)


def _after_space(text: str, at: int) -> int:
    found = _skip(text, at)
    return found.end() if found is not None else at


def shallow(text: str, value: object) -> bool:
    """True if `value`, read from `text`, nests no deeper than `DEPTH_MAX`."""
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return True  # too few brackets to nest that deep, wherever they stand
    level: list[Any] = [value]
    for _ in range(DEPTH_MAX):
        level = [
            child
            for one in level
            for child in _children(one)
            if isinstance(child, dict | list)
        ]
        if not level:
            return True
    return False


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def read(text: str) -> Any:
    """The one JSON value that is `text`, read strictly.

    Raises:
        IncompleteReplyError: The text is not strict JSON, or nests too deep.
    """
    try:
        value, end = scan(text, _after_space(text, 0))
    except _TwiceError as error:
        raise OtherFormatError(reason(error)) from None
    except (ValueError, RecursionError) as error:
        raise IncompleteReplyError(reason(error)) from None
    if _after_space(text, end) != len(text):
        raise IncompleteReplyError("there is something behind the JSON value")
    if not shallow(text, value):
        raise IncompleteReplyError(f"the JSON nests deeper than {DEPTH_MAX}")
    return value


def members(text: str, at: int = 0) -> tuple[dict[str, Member], int]:
    """The members of the object that begins at `at`, and the offset behind it.

    Raises:
        IncompleteReplyError: There is no strict JSON object.
    """
    try:
        return _members(text, _after_space(text, at))
    except StopIteration:
        raise IncompleteReplyError("a member has no value") from None
    except _TwiceError as error:
        raise OtherFormatError(reason(error)) from None
    except (ValueError, RecursionError) as error:
        raise IncompleteReplyError(reason(error)) from None


def only_object(text: str) -> dict[str, Member]:
    """The members of the one object that is `text`.

    Raises:
        IncompleteReplyError: The text is not one strict JSON object, or other text follows it.
    """
    found, end = members(text)
    if _after_space(text, end) != len(text):
        raise IncompleteReplyError("there is something behind the JSON value")
    return found


def _members(text: str, at: int) -> tuple[dict[str, Member], int]:
    found: dict[str, Member] = {}
    if text[at : at + 1] != "{":
        raise ValueError("there is no JSON object")
    at = _after_space(text, at + 1)
    if text[at : at + 1] == "}":
        return found, at + 1
    while True:
        opening = _name(text, at)
        if opening is None:
            raise ValueError(f"a member has no name at character {at}")
        name, start = opening[1], opening.end()
        key = name[1:-1] if "\\" not in name else scan(name, 0)[0]
        if key in found:
            raise _TwiceError("a key appears twice in one object")
        value, end = _scan(text, start)
        found[key] = Member(value, name, text[start:end], start)
        follows = _next(text, end)
        if follows is None:
            raise ValueError(f"an object does not go on at character {end}")
        at = follows.end()
        if follows[1] == "}":
            return found, at


def reason(error: BaseException) -> str:
    """Why JSON was refused, in a few words."""
    if isinstance(error, RecursionError):
        return f"the JSON nests deeper than {DEPTH_MAX}"
    if isinstance(error, json.JSONDecodeError):
        return f"the JSON is broken at character {error.pos}: {error.msg}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return " ".join(str(error).split())[:200]


def joined(raw: Mapping[str, str]) -> str:
    """An object written from the raw values of its members."""
    return (
        "{"
        + ",".join(f"{encode(name).decode()}:{value}" for name, value in raw.items())
        + "}"
    )


def check_blocks(blocks: int, blocks_max: int) -> None:
    """Refuse a reply of too many content blocks.

    Raises:
        TooLargeError: There are more than `blocks_max`.
    """
    if blocks > blocks_max:
        raise TooLargeError(f"it has more than {blocks_max} content blocks")


def checked_block(block: object) -> str | None:
    """Why a content block cannot be history; None if it can.

    A call may lack an id or have one that another call has: see `call_ids`.

    Args:
        block: The block, parsed.
    """
    if not isinstance(block, dict):
        return "a content block is not an object"
    fields = cast("dict[str, Any]", block)
    kind = fields.get("type")
    if not isinstance(kind, str):
        return "a content block has no type"
    if kind == "tool_use":
        call, name = fields.get("id"), fields.get("name")
        if not (isinstance(call, str | None) and isinstance(name, str)):
            return "a tool_use block has an id that is not text, or no name"
    return None


def opened(body: bytes) -> dict[str, Member]:
    """The members of the one JSON object that a body is.

    Args:
        body: The body of a 200, decompressed.

    Raises:
        IncompleteReplyError: The body is not a strict JSON object, or nests too deep.
        ErrorEnvelopeError: The body is an error envelope.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise IncompleteReplyError(reason(error)) from None
    try:
        found = only_object(text)
    except IncompleteReplyError as error:
        hint = described(text)
        raise type(error)(f"{error}; {hint}" if hint else str(error)) from None
    if _value(found, "type") == "error":
        raise ErrorEnvelopeError({name: one.value for name, one in found.items()})
    if not shallow(text, [one.value for one in found.values()]):
        raise IncompleteReplyError(f"the JSON nests deeper than {DEPTH_MAX}")
    return found


def seal(body: bytes, request_id: str | None, blocks_max: int = BLOCKS_MAX) -> Reply:
    """The reply in a whole JSON body, its content sliced out byte for byte.

    A content that is one text is taken as a block of that text, and a note in the meta
    says so; an id, a role or a type may be missing. Everything else must be there.

    Args:
        body: The body of a 200, decompressed.
        request_id: The response header; a `request_id` in the body counts if the header
            is missing.
        blocks_max: Maximum number of content blocks.

    Raises:
        IncompleteReplyError: The body is not a whole message, or has too many blocks.
        ErrorEnvelopeError: The body is an error envelope.
    """
    found = opened(body)
    _check_message(found)
    if request_id is None and isinstance(inner := _value(found, "request_id"), str):
        request_id = inner
    content = found["content"]
    value: object = content.value
    if isinstance(value, list):
        check_blocks(len(cast("list[object]", value)), blocks_max)
    inside, adapted = content.raw[1:-1] if value else "", ""
    if isinstance(value, str):
        adapted = "content"
        inside = f'{{"type":"text","text":{content.raw}}}' if value else ""
    kept = [
        f"{one.name}:{one.raw}"
        for name, one in found.items()
        if name != "content" and name not in NOTED
    ]
    return Reply(inside.encode(), meta(kept, request_id, "stop", {}, adapted))


def meta(
    kept: Iterable[str],
    request_id: str | None,
    end: str,
    broken: Mapping[str, str],
    adapted: str = "",
) -> bytes:
    """A reply's meta: the server's members as they came, then the adapter's notes."""
    noted = [f'"end":"{end}"']
    if request_id is not None:
        noted.append('"request_id":' + json.dumps(request_id))
    if broken:
        noted.append('"broken":' + encode(dict(broken)).decode())
    if adapted:
        noted.append('"adapted":' + json.dumps(adapted))
    return ("{" + ",".join((*kept, *noted)) + "}").encode()


def _check_message(found: Mapping[str, Member]) -> None:
    kind = _value(found, "type")
    if kind not in ("message", None):
        raise OtherFormatError(f'the body has the type {kind!r} and not "message"')
    if kind is None and "choices" in found:
        raise OtherFormatError(OPENAI)
    if not isinstance(_value(found, "stop_reason"), str):
        raise OtherFormatError("the message has no stop reason")
    content = _value(found, "content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise OtherFormatError("the message has no list of content")
    for block in cast("list[object]", content):
        wrong = checked_block(block)
        if wrong is not None:
            raise OtherFormatError(wrong)


def _value(found: Mapping[str, Member], name: str) -> Any:
    member = found.get(name)
    return member.value if member is not None else None


def described(text: str) -> str:
    """The apparent kind of a body that is not JSON, on one short line; empty for JSON."""
    opening = text[:4096]
    if not opening.strip():
        return "the body is empty"
    if opening.lstrip()[:1] == "<":
        title = _TITLE.search(opening)
        return "HTML page: " + (one_line(title.group(1)) if title else "untitled")
    if opening.lstrip()[:1] not in "{[":
        return "the body is text: " + one_line(opening)
    return ""


def one_line(text: str, length_max: int = 200) -> str:
    """Text on one line, shortened."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length_max else flat[: length_max - 1] + "…"

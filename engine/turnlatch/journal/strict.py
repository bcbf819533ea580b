"""Facts to JSON and back, one way only: cattrs, made strict.

cattrs by itself is made to be helpful: it reads "12" as a number, fills what is missing
from the defaults and takes a text for a list of letters. A journal must not be helpful.
Each hook in here takes exactly what the other direction writes; that nothing else was
filled in or left out, `codec` sees when it writes again what it has read.

A field that a class got after its release is declared with `added(default)`. It is
written only where it is not the default, and is the default where it is missing; that
is the one default a journal has. A default that is spelled out is refused, so there
stays one way to write each event.
"""

import json
import re
from collections.abc import Callable, Mapping
from enum import Enum
from math import isfinite
from typing import Any, Final, cast, final, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from turnlatch.errors import TurnlatchError
from turnlatch_states.api.added_fields import added_fields
from turnlatch_states.request.view import View


@final
class CodecError(TurnlatchError):
    """An event cannot be written as a row, or a row is not an event.

    Attributes:
        kind: The row's kind, or the event's class where it has none.
        path: The field, as a path from the event.
        problem: The fault of the field.
    """

    def __init__(self, kind: str, path: str, problem: str) -> None:
        super().__init__(kind, path, problem)
        self.kind = kind
        self.path = path
        self.problem = problem

    def _told(self) -> str:
        return f"{self.kind}: {self.path}: {self.problem}"


_PAIR = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")
_NOT_FINITE = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


def _write_text(value: Any) -> Any:
    """A text as JSON can carry it and give it back."""
    # JSON reads two escaped surrogate halves as one character: where a text holds such
    # a pair in two halves it is written as a list of pieces.
    if not isinstance(value, str) or value.isascii():
        return value
    pieces = _PAIR.split(value)
    return value if len(pieces) == 1 else pieces


def _read_text(value: Any, target: Any) -> Any:
    # cattrs finds hooks by class, and an enum of texts is a class of text.
    if target is not str:
        return _read_member(value, target)
    if type(value) is str:
        return value
    if type(value) is list:
        pieces = cast("list[object]", value)
        if len(pieces) > 1 and all(type(piece) is str for piece in pieces):
            whole = "".join(cast("list[str]", pieces))
            if _PAIR.split(whole) == pieces:
                return whole
    raise wrong(cast("object", value), "text")


def _write_number(value: Any) -> Any:
    if isinstance(value, float) and not isfinite(value):
        return repr(value)  # JSON has no word for it; a server's hint may be anything
    return value


def _read_member(value: Any, target: Any) -> Enum:
    members = cast("dict[str, Enum]", target._value2member_map_)
    found = members.get(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is not one of {', '.join(members)}")
    return found


def _read_number(value: Any, _: Any) -> float:
    if type(value) is float or type(value) is int:
        return value
    if type(value) is str and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    raise wrong(value, "a number")


def _exactly(kind: type, words: str) -> Callable[[Any, Any], Any]:
    def read(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise wrong(value, words)
        return value

    return read


def wrong(value: object, expected: str) -> ValueError:
    """The error of a value that has the wrong type."""
    return ValueError(f"expected {expected}, found {type(value).__name__}")


_read_bytes = _exactly(bytes, "bytes")


def _tuple_hook(kind: Any) -> Callable[[Any, Any], Any]:
    items = get_args(kind)
    endless = items[-1] is Ellipsis

    def read(value: Any, _: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise wrong(value, "a list")
        given = cast("list[Any]", value)
        if not endless and len(given) != len(items):
            raise ValueError(f"expected {len(items)} items, found {len(given)}")
        kinds = items[:1] * len(given) if endless else items
        return tuple(
            _CONVERTER.structure(one, each)
            for one, each in zip(given, kinds, strict=True)
        )

    return read


def _same(one: object, other: object) -> bool:
    # 0 and False are equal, and so are 0.0 and -0.0.
    if one is other:
        return True
    return type(one) is type(other) and repr(one) == repr(other)


def _reads_class(kind: Any, converter: cattrs.Converter) -> Any:
    generated = make_dict_structure_fn(kind, converter)

    def read(value: Any, target: Any) -> Any:
        if not isinstance(value, dict):
            raise wrong(value, "an object")
        return generated(cast("dict[str, Any]", value), target)

    return read


def _writes_class(kind: Any, converter: cattrs.Converter) -> Any:
    generated = make_dict_unstructure_fn(kind, converter)
    later = added_fields(kind)

    def write(made: Any) -> dict[str, Any]:
        facts = generated(made)
        for name, default in later.items():
            if _same(getattr(made, name), default):
                del facts[name]
        return facts

    return write


def _read_view(value: Any, _: Any) -> View | None:
    return View.decoded(_read_bytes(value, bytes)) if value != b"" else None


def _write_view(view: View | None) -> bytes:
    return b"" if view is None else view.encoded()


def _is_tuple(asked: Any) -> bool:
    return bool(get_origin(asked) is tuple)


def _is_view(asked: Any) -> bool:
    return bool(asked == View | None)


def _strict() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    hooks = (
        (str, _read_text),
        (int, _exactly(int, "an integer")),
        (bool, _exactly(bool, "true or false")),
        (bytes, _read_bytes),
        (float, _read_number),
    )
    for kind, read in hooks:
        converter.register_structure_hook(kind, read)
    converter.register_structure_hook_factory(attrs.has, _reads_class)
    converter.register_unstructure_hook_factory(attrs.has, _writes_class)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_func(_is_view, _read_view)
    converter.register_unstructure_hook_func(_is_view, _write_view)
    converter.register_unstructure_hook(str, _write_text)
    converter.register_unstructure_hook(float, _write_number)
    return converter


_CONVERTER = _strict()


def structure(kind: str, facts: Mapping[str, Any], target: type[Any]) -> Any:
    """An event, or a part of one, from its facts.

    Raises:
        CodecError: The facts are not exactly those of `target`.
    """
    try:
        return _CONVERTER.structure(facts, target)
    except (cattrs.BaseValidationError, ValueError) as error:
        if isinstance(error, cattrs.BaseValidationError):
            found = cattrs.transform_error(error, format_exception=_say)[0]
        else:
            found = str(error)
        problem, placed, path = found.rpartition(" @ ")
        raise CodecError(
            kind, path if placed else "$", problem if placed else path
        ) from None


def unstructure(event: Any) -> dict[str, Any]:
    """An event as plain facts, not checked yet."""
    return cast("dict[str, Any]", _CONVERTER.unstructure(event))


def _say(error: BaseException, _: type | None) -> str:
    return str(error)


_JSON: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def dump(facts: Any) -> bytes:
    """Facts as compact ASCII JSON: lone surrogates survive as escapes."""
    return _JSON.encode(facts).encode("ascii")


def load(kind: str, meta: bytes) -> dict[str, Any]:
    """Facts from JSON. A reader writes the event again to compare: `dump` has one spelling.

    Raises:
        CodecError: The bytes are not a JSON object.
    """
    try:
        facts = json.loads(meta.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise CodecError(kind, "$", f"facts are not JSON ({error})") from None
    if not isinstance(facts, dict):
        raise CodecError(kind, "$", str(wrong(facts, "an object")))
    return cast("dict[str, Any]", facts)

"""The JSON of what a tool returns; what has none is an error, never a `repr`."""

import dataclasses
import json
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    MappingView,
    Sequence,
    Set,
)
from enum import Enum
from typing import Any, TypeAlias, TypeVar, cast

import attrs

from turnlatch.errors import words
from turnlatch.tools.blocks import Blocks
from turnlatch_states.fsm.errors import TurnlatchError

Json = TypeVar("Json")

_Place: TypeAlias = "tuple[_Place, object] | None"
"""Where a value stands in the whole: its container's place, and its key there."""


class NoJsonError(TurnlatchError):
    """A value, or a part of it, has no JSON form.

    Attributes:
        place: Which part, like `$.rows[2]`; `$` for the value itself.
        problem: Why it has none.
    """

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(place, problem)
        self.place = place
        self.problem = problem

    def _told(self) -> str:
        return f"{self.place} {self.problem}"


def jsonable(value: object) -> Any:
    """The value as `json` takes it; all of it, in the same order each time.

    Models, dataclasses, attrs classes and mappings are objects; sets are sorted lists;
    enums are their values; NaN and infinities are their names; bytes are the UTF-8 text
    that they hold; dates, UUIDs, paths, decimals and the like are what pydantic makes
    of them.

    Raises:
        NoJsonError: A part has no JSON form, is still to be awaited or read, holds
            itself, or two keys of a mapping are the same in JSON.
    """
    return _guarded(value, lambda: _plain(value, None))


def as_json(value: object) -> str:
    """The value as JSON text; see `jsonable`."""
    return _guarded(
        value,
        lambda: json.dumps(_plain(value, None), ensure_ascii=False, allow_nan=False),
    )


def _guarded(value: object, make: Callable[[], Json]) -> Json:
    try:
        return make()
    except NoJsonError:
        raise
    except RecursionError as error:
        raise NoJsonError("$", "holds itself, or is nested too deep") from error
    except Exception as error:
        said = f"is {_a(value)} that cannot be read: {type(error).__name__}: {words(error)}"
        raise NoJsonError("$", said) from error


_SIMPLE = frozenset({str, int, bool, type(None)})


def _plain(value: object, place: _Place) -> Any:
    kind = type(value)
    if kind in _SIMPLE:
        return value
    if kind is dict:  # asked first: nearly everything is one of these
        return _object(cast("dict[object, object]", value), place)
    if kind is list:
        return _array(cast("list[object]", value), place)
    match value:
        case Enum():
            return _plain(value.value, place)
        case None | bool() | str() | int():
            return value
        case float():
            return value if value - value == 0 else _named(value)
        case bytes() | bytearray() | memoryview():
            return _text(bytes(cast("bytes", value)), place)
        case Awaitable() | AsyncIterable() | Iterator():
            found = cast("object", value)
            raise NoJsonError(_written(place), f"is {_a(found)}: {_close(found)}")
        case Blocks():
            raise NoJsonError(_written(place), _MISPLACED)
        case _ if hasattr(type(value), "__pydantic_serializer__"):
            return _leaf(value, place)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = (field.name for field in dataclasses.fields(value))
            return _object({name: getattr(value, name) for name in names}, place)
        case _ if attrs.has(type(value)):
            names = (field.name for field in attrs.fields(cast("Any", type(value))))
            return _object({name: getattr(value, name) for name in names}, place)
        case Mapping():
            return _object(cast("Mapping[object, object]", value), place)
        case MappingView() | Sequence():
            return _array(cast("Sequence[object]", value), place)
        case Set():
            members = cast("Set[object]", value)
            return _sorted([_plain(one, (place, "{…}")) for one in members])
        case _:
            return _leaf(value, place)


def _leaf(value: object, place: _Place) -> Any:
    """The value after pydantic's conversion to JSON types."""
    # Imported here: `from turnlatch import tool` must not cost the SDK's import.
    from pydantic_core import to_jsonable_python

    def unknown(part: object) -> Any:
        if part is value:
            raise NoJsonError(_written(place), f"is {_a(part)}, which has no JSON form")
        return _plain(part, (place, "…"))

    try:
        made = to_jsonable_python(value, fallback=unknown)
    except UnicodeDecodeError as error:
        raise NoJsonError(_written(place), _NOT_TEXT) from error
    return made if isinstance(made, str) else _plain(made, place)


def _array(items: Sequence[object], place: _Place) -> list[Any]:
    return [_plain(one, (place, index)) for index, one in enumerate(items)]


def _object(value: Mapping[object, object], place: _Place) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, one in value.items():
        name = key if isinstance(key, str) else _key(key, place)
        if name in found:
            raise NoJsonError(
                _written(place), f"has two keys that are {name!r} in JSON"
            )
        found[name] = _plain(one, (place, name))
    return found


def _key(key: object, place: _Place) -> str:
    """The JSON name of a key that is not text."""
    (name,) = _leaf({key: None}, place)
    return str(name)


def _sorted(members: list[Any]) -> list[Any]:
    try:
        return sorted(members)
    except TypeError:
        return sorted(members, key=lambda one: json.dumps(one, sort_keys=True))


def _named(value: float) -> str:
    if value != value:  # only NaN differs from itself
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


_NOT_TEXT = "is bytes that are not UTF-8 text; decode them, or give them as base64"


_MISPLACED = "is Blocks: only what a tool returns itself is taken for content blocks"


def _text(raw: bytes, place: _Place) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise NoJsonError(_written(place), _NOT_TEXT) from error


def _close(value: object) -> str:
    """Close a value that will not be awaited or read; returns what to do instead."""
    if isinstance(value, Awaitable):
        if isinstance(value, Coroutine):
            value.close()
        return "it was not awaited, and what it was to do was not done"
    return "only what a tool returns itself is read to its end, not a part of it"


def _a(value: object) -> str:
    name = type(value).__qualname__
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"


def _written(place: _Place) -> str:
    parts: list[str] = []
    while place is not None:
        place, key = place
        parts.append(f".{key}" if isinstance(key, str) else f"[{key}]")
    return "$" + "".join(reversed(parts))

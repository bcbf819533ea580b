"""Holding the arguments of a call to a JSON Schema, in bounded time.

`jsonschema` does the work. A schema may come from a stranger (an MCP server), and the
values from a model, so three things differ from its defaults:

* Nothing is fetched. A `$ref` leads to another part of the same schema, or the schema is
  refused.
* Patterns are matched by the linear-time engine of pydantic-core: Python's own needs
  exponential time for some. It has no lookaround and no backreferences.
* Each check has a number of steps. References can multiply the work of a small schema on
  a small value; what takes more steps is refused, not run.

A schema that cannot be used under these rules is refused when the tool is declared.
"""

import functools
from collections.abc import Generator, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any, Final, cast, final

from turnlatch.errors import TurnlatchError
from turnlatch.tools.schema_bounds import (
    compiled,
    demand_bounded,
    demand_patterns,
    followed_by,
    parts_of,
    plain,
    refusal,
    shortened,
)

STEPS_MAX: Final = 100_000
"""Most steps of one check; it takes about a second then."""

DEEP_MAX: Final = 80
"""Most keywords of a schema inside each other, in one check.

Each takes some frames of Python's stack; and where that ends, a part of `jsonschema` that
is written in Rust panics, and that is not an `Exception`.
"""

PROBLEMS_MAX: Final = 5
"""Most problems that are told about one value."""


class UncheckedError(TurnlatchError):
    """A value cannot be held to the schema: nothing is known about whether it fits.

    Attributes:
        why: The reason.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def _told(self) -> str:
        return self.why


@final
class Contract:
    """A JSON Schema that values are held to.

    Args:
        label: The tool's name, for errors.
        schema: The schema, of an object. `$schema` names its draft; 2020-12 by default.

    Raises:
        ToolDefinitionError: The schema is not a legal one, or is beyond a bound.
    """

    def __init__(self, label: str, schema: Mapping[str, Any]) -> None:
        self._label = label
        self.schema = plain(label, schema)
        if self.schema.get("type") != "object":
            raise refusal(
                label, "its root is not an object", 'give it "type": "object"'
            )
        parts = list(parts_of(self.schema))
        demand_patterns(label, parts)
        followed = followed_by(label, self.schema, parts)
        demand_bounded(label, parts, followed)
        self._validator = _validator(label, self.schema)

    def problems(self, value: object) -> list[str]:
        """The first few problems of a value; empty if it fits.

        Raises:
            UncheckedError: It takes too many steps, or the value is nested too deep.
        """
        best_match = _library().exceptions.best_match
        token = _CHECK.set(_Check())
        try:
            found: Iterator[Any] = self._validator.iter_errors(value)
            first = list(islice(found, PROBLEMS_MAX))
            # Of alternatives, what is wrong with the one that fits nearly.
            near = [best_match(iter([one])) or one for one in first]
            return [_line(one.json_path, one.message) for one in near]
        except RecursionError:
            raise UncheckedError("it is nested too deep to be checked") from None
        finally:
            _CHECK.reset(token)


@final
class _Check:
    """The bounds of one check that is going on."""

    def __init__(self) -> None:
        self._left = STEPS_MAX
        self._depth = 0

    @contextmanager
    def within(self, steps: int) -> Generator[None]:
        """Check a keyword, which takes so many steps, and what it leads to."""
        self.spend(steps)
        if self._depth == DEEP_MAX:
            raise UncheckedError("it is nested too deep to be checked")
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def spend(self, steps: int) -> None:
        """Take so many steps."""
        self._left -= steps
        if self._left < 0:
            raise UncheckedError(f"to check it takes more than {STEPS_MAX:,} steps")

    def matches(self, pattern: str, text: str) -> bool:
        """True if the pattern is found in the text."""
        self.spend(len(text) // 64)
        return compiled(pattern)(text)


_CHECK: ContextVar[_Check] = ContextVar("turnlatch_schema_check")


def _validator(label: str, schema: dict[str, Any]) -> Any:
    import referencing

    library = _library()
    base = library.validators.validator_for(
        schema, default=library.Draft202012Validator
    )
    no_formats = library.FormatChecker(formats=())
    try:
        base.check_schema(schema, format_checker=no_formats)
    except library.exceptions.SchemaError as error:
        raise refusal(
            label,
            f"it is not a legal schema ({_line(error.json_path, error.message)})",
            "see the JSON Schema draft that it names; 2020-12 by default",
        ) from error
    # The default registry would fetch what a reference names.
    nothing: Any = cast("Any", referencing).Registry()
    return _reader(base)(schema, registry=nothing)


def _library() -> Any:
    """The package `jsonschema`, which is imported when it is needed."""
    import jsonschema

    return jsonschema


@functools.cache
def _reader(base: Any) -> Any:
    """A validator class of one draft, with our bounds."""
    counted = {name: _counted(check) for name, check in base.VALIDATORS.items()}
    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    counted |= {name: _counted(own[name]) for name in own if name in counted}
    types = base.TYPE_CHECKER.redefine("integer", _is_integer)
    return _library().validators.extend(base, validators=counted, type_checker=types)


def _is_integer(_: Any, value: object) -> bool:
    """As everywhere here: `1.0` is not an integer, and True is not 1."""
    return type(value) is int


def _counted(check: Any) -> Any:
    """A keyword whose steps are counted."""

    def counted(validator: Any, value: Any, given: Any, schema: Any) -> Iterator[Any]:
        with _CHECK.get().within(1 + _size(given) + _size(value)):
            yield from check(validator, value, given, schema) or ()

    return counted


def _size(value: object) -> int:
    return len(cast("Sized", value)) if isinstance(value, dict | list) else 0


def _error(message: str) -> Any:
    return _library().exceptions.ValidationError(message)


def _pattern(_: Any, pattern: str, given: Any, __: Any) -> Iterator[Any]:
    if isinstance(given, str) and not _CHECK.get().matches(pattern, given):
        yield _error(f"{shortened(given)!r} does not match {shortened(pattern)!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], given: Any, _: Any
) -> Iterator[Any]:
    if not isinstance(given, dict):
        return
    for name, value in cast("dict[str, Any]", given).items():
        for pattern, schema in patterns.items():
            if _CHECK.get().matches(pattern, name):
                yield from validator.descend(
                    value, schema, path=name, schema_path=pattern
                )


def _further(schema: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """The keys that neither `properties` nor `patternProperties` speak of."""
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    return [
        name
        for name in given
        if name not in named
        and not any(_CHECK.get().matches(one, name) for one in patterns)
    ]


def _additional_properties(
    validator: Any, allowed: Any, given: Any, schema: Mapping[str, Any]
) -> Iterator[Any]:
    if not isinstance(given, dict):
        return
    values = cast("dict[str, Any]", given)
    for name in _further(schema, values):
        if allowed is False:
            yield _error(f"the key {shortened(name)!r} is unknown")
        else:
            yield from validator.descend(values[name], allowed, path=name)


def _unique_items(_: Any, unique: Any, given: Any, __: Any) -> Iterator[Any]:
    """`uniqueItems` in linear time."""
    if unique is not True or not isinstance(given, list):
        return
    items = cast("list[object]", given)
    if len({_frozen(one) for one in items}) < len(items):
        yield _error("it has the same item twice")


def _frozen(value: object) -> object:
    """A hashable value, the same for what JSON Schema takes for the same."""
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value).items()
        return "{}", frozenset((name, _frozen(one)) for name, one in fields)
    if isinstance(value, list):
        return "[]", tuple(map(_frozen, cast("list[object]", value)))
    return (type(value) is bool, value)


def _line(path: str, message: str) -> str:
    place = path.removeprefix("$").removeprefix(".") or "input"
    return f"{shortened(place)}: {shortened(message)}"

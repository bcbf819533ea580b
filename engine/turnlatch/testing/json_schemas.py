"""Values that fit a JSON schema, as a strategy."""

from collections.abc import Mapping
from typing import Any, Final, cast

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from turnlatch.errors import SettingsError

Values = SearchStrategy[Any]  # Any: a JSON value

_SAID: Final = frozenset(
    {"title", "description", "default", "examples", "$defs", "$schema"}
)
"""Keywords that limit no value."""

_READ: Final[Mapping[str, frozenset[str]]] = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "integer": frozenset(
        {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    ),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "boolean": frozenset(),
    "null": frozenset(),
    "array": frozenset({"items", "minItems", "maxItems", "uniqueItems", "prefixItems"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
}

_FORMATS: Final[Mapping[str, Values]] = {
    "date": st.dates().map(lambda one: one.isoformat()),
    "time": st.times().map(lambda one: f"{one.isoformat()}Z"),
    "date-time": st.datetimes().map(lambda one: f"{one.isoformat()}Z"),
    "uuid": st.uuids().map(str),
}

_LETTERS: Final = st.characters(exclude_categories=["Cs"])

INTEGER_MAX: Final = 2**53
"""No larger integer is made: not every JSON reader keeps one."""


def texts(min_size: int = 0, max_size: int | None = None) -> SearchStrategy[str]:
    """Texts that can be sent as JSON: any characters but halves of surrogate pairs."""
    return st.text(_LETTERS, min_size=min_size, max_size=max_size)


def json_values() -> Values:
    """Any small JSON values."""
    number = st.integers(-INTEGER_MAX, INTEGER_MAX)
    plain = st.none() | st.booleans() | number | texts(0, 20)
    return st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(texts(1, 8), inner, max_size=3)
        ),
        max_leaves=5,
    )


def from_schema(schema: object, root: Mapping[str, Any] | None = None) -> Values:
    """Values that fit a schema of the kind that tools have.

    Args:
        schema: The schema.
        root: The schema that `$ref` looks into; `schema` itself by default.

    Raises:
        SettingsError: The schema uses a keyword that is not read here.
    """
    if schema is True or schema == {}:
        return json_values()
    if not isinstance(schema, Mapping):
        raise _unread(f"{schema!r} is not a schema")
    given = cast("Mapping[str, Any]", schema)
    root = given if root is None else root
    kinds = {key: value for key, value in given.items() if key not in _SAID}
    if "const" in kinds:
        return st.just(kinds["const"])
    if "enum" in kinds:
        return st.sampled_from(list(kinds["enum"]))
    for choice in ("$ref", "anyOf", "oneOf"):
        if choice in kinds:
            chosen: Any = kinds.pop(choice)
            _refuse(sorted(kinds), choice)
            if choice == "$ref":
                return _referred(str(chosen), root)
            return st.one_of([from_schema(one, root) for one in chosen])
    named: Any = kinds.pop("type", None)
    names: list[Any] = [named] if isinstance(named, str | None) else named
    for one in names:
        if one not in _READ:
            raise _unread(f"the type {one!r} is not known")
    read = frozenset[str]().union(*(_READ[one] for one in names))
    _refuse(sorted(kinds.keys() - read), " or ".join(names))
    return st.one_of([_typed(one, kinds, root) for one in names])


def _refuse(keywords: list[str], place: str) -> None:
    if keywords:
        raise _unread(f"{', '.join(keywords)} next to {place} is not read")


def _referred(place: str, root: Mapping[str, Any]) -> Values:
    found: Any = root
    for name in place.removeprefix("#/").split("/"):
        if not isinstance(found, Mapping) or name not in found:
            raise _unread(f"$ref {place!r} leads nowhere")
        found = cast("Any", found[name])
    # A type may be a part of itself, so that its schema is read when a value is drawn.
    return st.deferred(lambda: from_schema(found, root))


def _typed(named: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Values:
    match named:
        case "string":
            return _string(schema)
        case "integer":
            return _integer(schema)
        case "number":
            return _number(schema)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            return _array(schema, root)
        case _:
            return _object(schema, root)


def _string(schema: Mapping[str, Any]) -> Values:
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    if "format" in schema:
        if schema["format"] not in _FORMATS:
            raise _unread(f"the format {schema['format']!r} is not known")
        return _FORMATS[schema["format"]]
    if "pattern" in schema:
        # Python's `$` matches before a final line feed, that of JSON schemas does not.
        return st.from_regex(schema["pattern"], alphabet=_LETTERS).filter(
            lambda one: (
                low <= len(one)
                and (high is None or len(one) <= high)
                and not one.endswith("\n")
            )
        )
    return texts(low, high)


def _integer(schema: Mapping[str, Any]) -> Values:
    low = max(
        schema.get("minimum", -INTEGER_MAX),
        schema.get("exclusiveMinimum", -INTEGER_MAX - 1) + 1,
    )
    high = min(
        schema.get("maximum", INTEGER_MAX),
        schema.get("exclusiveMaximum", INTEGER_MAX + 1) - 1,
    )
    return st.integers(low, high)


def _number(schema: Mapping[str, Any]) -> Values:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    return st.floats(
        above if low is None else low,
        below if high is None else high,
        exclude_min=low is None and above is not None,
        exclude_max=high is None and below is not None,
        allow_nan=False,
        allow_infinity=False,
    )


def _array(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Values:
    if "prefixItems" in schema:
        each = [from_schema(one, root) for one in schema["prefixItems"]]
        return st.tuples(*each).map(list)
    low = schema.get("minItems", 0)
    return st.lists(
        from_schema(schema.get("items", True), root),
        min_size=low,
        max_size=schema.get("maxItems", low + 3),
        unique_by=repr if schema.get("uniqueItems") else None,
    )


def _object(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Values:
    declared: Mapping[str, Any] = schema.get("properties", {})
    more: object = schema.get("additionalProperties", False)
    if not declared and isinstance(more, Mapping):
        held = from_schema(cast("Mapping[str, Any]", more), root)
        return st.dictionaries(texts(1, 8), held, max_size=3)
    members = {name: from_schema(one, root) for name, one in declared.items()}
    needed = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: one for name, one in members.items() if name in needed},
        optional={name: one for name, one in members.items() if name not in needed},
    )


def _unread(problem: str) -> SettingsError:
    return SettingsError(
        "schema",
        problem,
        "write the strategy for this tool's arguments by hand, with hypothesis.strategies",
    )

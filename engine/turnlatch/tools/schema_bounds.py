"""The bounds of a JSON Schema, with which values are held to it in bounded time.

A schema may come from a stranger. It is refused when its tool is declared if it names
what would be fetched, if a pattern needs more than linear time, or if its parts refer to
each other so often that a small value takes much work.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from turnlatch.errors import ToolDefinitionError
from turnlatch_states.api.json_bytes import encode

SCHEMA_BYTES_MAX: Final = 64 * 1024
"""Longest schema, as JSON."""

DEPTH_MAX: Final = 64
"""Deepest nesting of a schema."""

PATTERNS_MAX: Final = 16
"""Most different patterns in one schema."""

PATTERN_MAX: Final = 256
"""Longest pattern, in characters."""

UNFOLDED_MAX: Final = 10_000
"""Most parts of a schema that apply to one value, with each `$ref` followed."""

TOLD_MAX: Final = 300
"""Longest telling of one problem, in characters: it may repeat the value."""


@functools.lru_cache(maxsize=64)  # one may take 12 MB
def compiled(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a pattern is found in a text, in linear time.

    Raises:
        SchemaError: The engine does not take the pattern.
    """
    from pydantic_core import SchemaValidator, core_schema

    schema = core_schema.str_schema(
        pattern=pattern, regex_engine="rust-regex", strict=True
    )
    return SchemaValidator(schema).isinstance_python


def refusal(label: str, problem: str, remedy: str) -> ToolDefinitionError:
    """The error about a schema that cannot be used."""
    return ToolDefinitionError(label, f"its schema: {problem}", remedy, "schema")


def plain(label: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a schema, as JSON, within its bounds."""
    try:
        raw = encode(dict(schema))
    except (TypeError, ValueError, RecursionError) as error:
        raise refusal(
            label, f"it is not JSON ({shortened(str(error))})", "give a JSON object"
        ) from error
    if len(raw) > SCHEMA_BYTES_MAX:
        raise refusal(
            label,
            f"it has {len(raw):,} bytes, more than {SCHEMA_BYTES_MAX:,}",
            "describe less in it",
        )
    if _depth(raw) > DEPTH_MAX:
        raise refusal(
            label, f"it is nested deeper than {DEPTH_MAX}", "use $defs and $ref"
        )
    made: dict[str, Any] = json.loads(raw)
    return made


def _depth(raw: bytes) -> int:
    """The deepest nesting of a JSON text, without recursion."""
    deepest = depth = 0
    text = escaped = False
    for byte in raw:
        if text:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                text = False
        elif byte == 0x22:
            text = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


_NAMED: Final = frozenset(
    {
        "properties",
        "patternProperties",
        "$defs",
        "definitions",
        "dependentSchemas",
        "dependencies",
    }
)
"""Keywords whose value has schemas by name."""

_DATA: Final = frozenset({"const", "enum", "default", "example", "examples"})
"""Keywords whose value is data, in which nothing is a schema."""


def parts_of(schema: object) -> Iterator[Mapping[str, Any]]:
    """Each object that may be taken for a schema; the root is the first."""
    if isinstance(schema, list):
        for one in cast("list[object]", schema):
            yield from parts_of(one)
    if not isinstance(schema, dict):
        return
    found = cast("dict[str, Any]", schema)
    yield found
    for keyword, value in found.items():
        if keyword in _DATA:
            continue
        if keyword in _NAMED and isinstance(value, dict):
            for one in cast("dict[str, object]", value).values():
                yield from parts_of(one)
        else:
            yield from parts_of(value)


def demand_patterns(label: str, parts: Sequence[Mapping[str, Any]]) -> None:
    """Demand that the engine takes each pattern of a schema."""
    found: set[str] = set()
    for part in parts:
        if isinstance(part.get("pattern"), str):
            found.add(part["pattern"])
        if isinstance(part.get("patternProperties"), dict):
            found.update(part["patternProperties"])
    if len(found) > PATTERNS_MAX:
        raise refusal(
            label,
            f"it has {len(found)} patterns, more than {PATTERNS_MAX}",
            "check the other values in the function",
        )
    for one in sorted(found):
        if len(one) > PATTERN_MAX:
            raise refusal(
                label,
                f"a pattern has {len(one)} characters, more than {PATTERN_MAX}",
                "check that value in the function",
            )
        try:
            compiled(one)
        except Exception as error:
            raise refusal(
                label,
                f"the pattern {shortened(one)!r} cannot be matched in linear time, or is not"
                f" a pattern ({shortened(str(error).splitlines()[-1])})",
                "use no lookaround and no backreferences, and repeat less",
            ) from error
    # It would match them by Python's engine.
    if any(part.get("patternProperties") for part in parts) and any(
        "unevaluatedProperties" in part for part in parts
    ):
        raise refusal(
            label,
            "it has unevaluatedProperties and patternProperties",
            "use additionalProperties",
        )


REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")


def followed_by(
    label: str, schema: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
) -> dict[str, object]:
    """The part of this schema that each reference leads to."""
    anchors = {
        f"#{part[name]}": part
        for part in parts
        for name in ("$anchor", "$dynamicAnchor")
        if isinstance(part.get(name), str)
    }
    known = set(map(id, parts))
    found: dict[str, object] = {}
    for part in parts:
        if part is not schema and isinstance(part.get("$id"), str):
            raise refusal(
                label, "a part of it has an $id", "leave it out, and use $defs and $ref"
            )
        for target in (part[name] for name in REFERENCES if name in part):
            if not isinstance(target, str) or target in found:
                continue  # a property may have that name
            leads = anchors.get(target) or _pointed(schema, target)
            if id(leads) not in known and not isinstance(leads, bool):
                raise refusal(
                    label,
                    f"the reference {shortened(target)!r} leads to no part of it",
                    "refer to parts of this schema only, like #/$defs/NAME",
                )
            found[target] = leads
    return found


def _pointed(schema: object, pointer: str) -> object:
    """The target of a JSON pointer in a schema; None if it leads nowhere."""
    from urllib.parse import unquote

    if pointer == "#":
        return schema
    if not pointer.startswith("#/"):
        return None
    for step in unquote(pointer[2:]).split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, dict):
            schema = cast("dict[str, object]", schema).get(name)
        elif isinstance(schema, list) and name.isascii() and name.isdigit():
            items = cast("list[object]", schema)
            schema = (items[int(name[:9]) :] or [None])[0]
        else:
            return None
    return schema


_IN_PLACE: Final = (
    *("allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
    *("dependentSchemas", "dependencies"),
)
"""Keywords whose schemas apply to the same value as the schema that has them."""


def demand_bounded(
    label: str, parts: Sequence[Mapping[str, Any]], followed: Mapping[str, object]
) -> None:
    """Demand that not too many parts of a schema apply to one value."""
    known: dict[int, int] = {}

    def count(part: object, above: frozenset[int]) -> int:
        """How many parts apply to a value that this part applies to."""
        if isinstance(part, list):
            return sum(count(one, above) for one in cast("list[object]", part))
        if not isinstance(part, dict):
            return 1
        found = cast("dict[str, Any]", part)
        if id(found) in above:
            raise refusal(
                label,
                "a $ref leads to itself without going into a value",
                "let it lead to the schema of an item or a property",
            )
        if id(found) not in known:
            within, total = above | {id(found)}, 1
            for keyword in _IN_PLACE:
                inner = found.get(keyword)
                if keyword.startswith("depend") and isinstance(inner, dict):
                    inner = list(cast("dict[str, object]", inner).values())
                if inner is not None:
                    total += count(inner, within)
            for keyword in REFERENCES:
                if isinstance(target := found.get(keyword), str):
                    total += count(followed[target], within)
            known[id(found)] = total
        return known[id(found)]

    try:
        most = max(count(part, frozenset()) for part in parts)
    except RecursionError:
        most = UNFOLDED_MAX + 1
    if most > UNFOLDED_MAX:
        raise refusal(
            label,
            f"more than {UNFOLDED_MAX:,} parts of it apply to one value",
            "use fewer alternatives and references",
        )


def shortened(text: str) -> str:
    """A text that is short enough to be told."""
    return text if len(text) <= TOLD_MAX else text[:TOLD_MAX] + "…"

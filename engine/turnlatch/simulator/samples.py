"""Values that satisfy a simple JSON schema, made up from a seed, and inert.

Clients run what a model calls, so no value here may do anything by accident: a string is
one of a few fixed words that name no command, file, address or person, a path leads
nowhere, a switch is off, and what is optional is left out. Nothing comes from a
conversation; the functions here do not see one.

Understood are `type` (also several), `enum`, `const`, `properties`, `required`, `items`,
the bounds of numbers, strings and arrays, a few formats, `anyOf`/`oneOf`/`allOf`, and
`$ref` into `$defs`. A schema that says more may get a value that does not satisfy it: the
model is known to err as well.
"""

import random
from typing import Final

from turnlatch.simulator.wire import Json, as_array, as_object, integer

INERT: Final = tuple(f"inert-{number}" for number in range(1, 10))
"""The words that strings are made of."""

_DEPTH_MAX: Final = 6

_CHARS_MAX: Final = 200

_FORMATS: Final = {
    "date": "2026-03-14",
    "date-time": "2026-03-14T09:26:53Z",
    "email": "inert@inert.invalid",
    "hostname": "inert.invalid",
    "ipv4": "192.0.2.1",
    "time": "09:26:53Z",
    "uri": "https://inert.invalid/",
    "uuid": "8c5a2f9e-3b1d-4e6f-9a7c-2d4b6e8f0a1c",
}


def sample(schema: Json, rng: random.Random, name: str = "") -> object:
    """A value for a schema.

    Args:
        schema: The schema.
        rng: The randomness.
        name: What the value is called: `path` gets a path, `url` an address.
    """
    return _Sampler(schema, rng).value(schema, name, 0)


class _Sampler:
    def __init__(self, root: Json, rng: random.Random) -> None:
        self._root = root
        self._rng = rng

    def value(self, schema: Json, name: str, depth: int) -> object:
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        options = as_array(schema.get("enum"))
        if options:
            return self._rng.choice(options)
        match self._kind(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "string":
                return self._string(schema, name)
            case "integer":
                return self._integer(schema)
            case "number":
                return float(self._integer(schema))
            case "boolean":
                return False
            case _:
                return None

    def _resolved(self, schema: Json) -> Json:
        for _ in range(_DEPTH_MAX):
            reference = schema.get("$ref")
            if isinstance(reference, str) and reference.startswith("#/"):
                found: Json | None = self._root
                for step in reference[2:].split("/"):
                    found = as_object((found or {}).get(step))
                schema = found or {}
                continue
            joined = dict(schema)
            for part in as_array(schema.get("allOf")) or ():
                joined.update(as_object(part) or {})
            joined.pop("allOf", None)
            choices = as_array(joined.pop("anyOf", joined.pop("oneOf", None)))
            if not choices:
                return joined
            schema = {**joined, **(as_object(choices[0]) or {})}
        return {}

    def _kind(self, schema: Json) -> object:
        kind = schema.get("type")
        kinds = as_array(kind)
        if kinds is not None:
            # The first that is not null: an argument that is there says more.
            return next((each for each in kinds if each != "null"), "null")
        if kind is None:
            return "object" if "properties" in schema else "string"
        return kind

    def _object(self, schema: Json, depth: int) -> Json:
        required = set(as_array(schema.get("required")) or ())
        made: dict[str, object] = {}
        for name, part in (as_object(schema.get("properties")) or {}).items():
            if name in required and depth <= 2 * _DEPTH_MAX:
                made[name] = self.value(as_object(part) or {}, name, depth + 1)
        return made

    def _array(self, schema: Json, name: str, depth: int) -> list[object]:
        least = integer(schema.get("minItems"), 0)
        most = max(least, integer(schema.get("maxItems"), least + 2))
        count = least if depth >= _DEPTH_MAX else self._rng.randint(least, most)
        items = as_object(schema.get("items")) or {"type": "string"}
        return [self.value(items, name, depth + 1) for _ in range(min(count, 8))]

    def _string(self, schema: Json, name: str) -> str:
        known = _FORMATS.get(str(schema.get("format")))
        if known is not None:
            return known
        word = self._rng.choice(INERT)
        least = min(integer(schema.get("minLength"), 0), _CHARS_MAX)
        most = integer(schema.get("maxLength"), _CHARS_MAX)
        text = _placed(word, name.lower())
        if len(text) > most:
            # Half a path may be one that exists.
            text = word[:most]
        while len(text) < least:
            text += f" {word}"
        return text[:most]

    def _integer(self, schema: Json) -> int:
        low = integer(
            schema.get("minimum"), integer(schema.get("exclusiveMinimum"), -1) + 1
        )
        high = integer(
            schema.get("maximum"), integer(schema.get("exclusiveMaximum"), low + 11) - 1
        )
        step = max(1, integer(schema.get("multipleOf"), 1))
        first = -(-low // step)
        return step * self._rng.randint(first, max(first, high // step))


def _placed(word: str, name: str) -> str:
    if "url" in name or "uri" in name:
        return f"https://{word}.invalid/"
    if "path" in name or "file" in name:
        # No user can read, make or write anything below a device.
        return f"/dev/null/{word}"
    return word

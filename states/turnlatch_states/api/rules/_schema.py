"""A schema as plain functions: built once at import, cheap to run.

A node looks at one value and reports to a sink. Places are linked pairs, so that a path
is only written out when there is something to say about it.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, TypeAlias, final

from turnlatch_states.api.rules._base import Finding, is_array, is_integer, is_object

Place: TypeAlias = "tuple[Place, str | int] | None"
Node: TypeAlias = "Callable[[object, Place, Sink], None]"

EXTRA = "Extra inputs are not permitted"
REQUIRED = "Field required"
NOT_OBJECT = "Input should be an object"
NOT_DICTIONARY = "Input should be a valid dictionary"
NOT_LIST = "Input should be a valid list"
NOT_STRING = "Input should be a valid string"


@final
class Sink:
    """Where nodes report, and what they may know besides the value."""

    __slots__ = ("betas", "found", "version")

    def __init__(self, betas: frozenset[str], version: str = "") -> None:
        self.betas = betas
        self.version = version
        self.found: list[Finding] = []

    def add(self, rule: str, place: Place, reason: str) -> None:
        """Report `reason` at `place`."""
        self.found.append(Finding(rule, written(place), reason))

    def drain(self) -> list[Finding]:
        """The findings reported since the last call."""
        found, self.found = self.found, []
        return found


class Field(NamedTuple):
    """One field of an object.

    `betas`: the headers of which one must be sent for the field to exist at all.
    `absent`: the reason given if the field needs a header that is missing.
    `until`: the API version that removes the field; None: it stays.
    """

    node: Node
    required: bool = False
    betas: frozenset[str] | None = None
    rule: str | None = None
    absent: str = EXTRA
    until: str | None = None


Fields: TypeAlias = Mapping[str, Field]


class Variant(NamedTuple):
    """One member of a tagged union."""

    node: Node
    betas: frozenset[str] | None = None


def written(place: Place) -> str:
    """The path as the server writes it: keys and indices joined by dots."""
    parts: list[str] = []
    while place is not None:
        place, key = place
        parts.append(str(key))
    return ".".join(reversed(parts))


def need(node: Node, *, rule: str | None = None) -> Field:
    """A field that must be there."""
    return Field(node, required=True, rule=rule)


def may(
    node: Node,
    *betas: str,
    rule: str | None = None,
    absent: str = EXTRA,
    until: str | None = None,
) -> Field:
    """A field that may be there, under one of `betas` if any are given."""
    named = frozenset(betas) or None
    return Field(node, betas=named, rule=rule, absent=absent, until=until)


def anything(value: object, place: Place, sink: Sink) -> None:
    """Accept every value."""


def null_or(node: Node) -> Node:
    """Accept null, and what `node` accepts."""

    def check(value: object, place: Place, sink: Sink) -> None:
        if value is not None:
            node(value, place, sink)

    return check


def string_or(node: Node) -> Node:
    """Accept a string, and what `node` accepts."""

    def check(value: object, place: Place, sink: Sink) -> None:
        if not isinstance(value, str):
            node(value, place, sink)

    return check


def list_or(items: Node, other: Node) -> Node:
    """Accept an array of what `items` accepts, and what `other` accepts."""
    many = list_of(items)

    def check(value: object, place: Place, sink: Sink) -> None:
        (many if is_array(value) else other)(value, place, sink)

    return check


def string(rule: str = "R1", *, pattern: str | None = None, chars_min: int = 0) -> Node:
    """Accept a string; `pattern` is shown as the server shows it, anchors and all."""
    # `$` would also accept a newline behind the last character; fullmatch does not.
    matches = re.compile(pattern.strip("^$")).fullmatch if pattern else None

    def check(value: object, place: Place, sink: Sink) -> None:
        if not isinstance(value, str):
            sink.add(rule, place, NOT_STRING)
        elif len(value) < chars_min:
            sink.add(rule, place, "String should have at least 1 character")
        elif matches is not None and not matches(value):
            sink.add(rule, place, f"String should match pattern '{pattern}'")

    return check


def boolean(rule: str = "R1") -> Node:
    """Accept true and false."""

    def check(value: object, place: Place, sink: Sink) -> None:
        if not isinstance(value, bool):
            sink.add(rule, place, "Input should be a valid boolean")

    return check


def integer(
    rule: str = "R1", *, least: int | None = None, above: int | None = None
) -> Node:
    """Accept an integer of at least `least`, or above `above`."""

    def check(value: object, place: Place, sink: Sink) -> None:
        if not is_integer(value):
            sink.add(rule, place, "Input should be a valid integer")
        elif least is not None and value < least:
            reason = f"Input should be greater than or equal to {least}"
            sink.add(rule, place, reason)
        elif above is not None and value <= above:
            sink.add(rule, place, f"Input should be greater than {above}")

    return check


def number(rule: str = "R1", *, least: float, most: float) -> Node:
    """Accept a number from `least` to `most`."""

    def check(value: object, place: Place, sink: Sink) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            sink.add(rule, place, "Input should be a valid number")
        elif value < least:
            reason = f"Input should be greater than or equal to {least:g}"
            sink.add(rule, place, reason)
        elif not value <= most:
            sink.add(rule, place, f"Input should be less than or equal to {most:g}")

    return check


def one_of(rule: str, *words: str) -> Node:
    """Accept one of `words`."""
    quoted = [f"'{word}'" for word in words]
    head = ", ".join(quoted[:-1])
    listed = f"{head} or {quoted[-1]}" if head else quoted[-1]

    def check(value: object, place: Place, sink: Sink) -> None:
        if not isinstance(value, str) or value not in words:
            sink.add(rule, place, f"Input should be {listed}")

    return check


def any_object(rule: str = "R1", *, reason: str = NOT_OBJECT) -> Node:
    """Accept any object, whatever is in it."""

    def check(value: object, place: Place, sink: Sink) -> None:
        if not is_object(value):
            sink.add(rule, place, reason)

    return check


def list_of(node: Node, rule: str = "R1") -> Node:
    """Accept an array of what `node` accepts."""

    def check(value: object, place: Place, sink: Sink) -> None:
        if not is_array(value):
            sink.add(rule, place, NOT_LIST)
            return
        for index, item in enumerate(value):
            node(item, (place, index), sink)

    return check


def record(
    fields: Fields, rule: str = "R1", *, extra: Mapping[str, str] | None = None
) -> Node:
    """Accept an object with exactly these fields.

    Args:
        fields: The allowed and the required fields.
        rule: The rule that owns a missing field and a value other than an object.
        extra: The rule that owns an unknown field of this name, if not R1.
    """
    required = tuple((name, f.rule or rule) for name, f in fields.items() if f.required)
    owners = extra or {}

    def check(value: object, place: Place, sink: Sink) -> None:
        if not is_object(value):
            sink.add(rule, place, NOT_OBJECT)
            return
        for name, owner in required:
            if name not in value:
                sink.add(owner, (place, name), REQUIRED)
        for name, part in value.items():
            field = fields.get(name)
            if field is None or (
                field.until is not None and sink.version >= field.until
            ):
                sink.add(owners.get(name, "R1"), (place, name), EXTRA)
            elif field.betas is not None and field.betas.isdisjoint(sink.betas):
                sink.add("R1", (place, name), field.absent)
            else:
                field.node(part, (place, name), sink)

    return check


def tagged(
    variants: Mapping[str, Variant], rule: str = "R1", *, untagged: str | None = None
) -> Node:
    """Accept an object that says in `type` which of `variants` it is.

    Args:
        variants: The members, by tag.
        rule: The rule that owns an unknown or missing tag.
        untagged: The member that an object without a tag is.
    """

    def check(value: object, place: Place, sink: Sink) -> None:
        if not is_object(value):
            sink.add(rule, place, NOT_OBJECT)
            return
        tag = value.get("type")
        if tag is None:
            tag = untagged
        if tag is None:
            absent = REQUIRED if "type" not in value else NOT_STRING
            sink.add(rule, (place, "type"), absent)
            return
        variant = variants.get(tag) if isinstance(tag, str) else None
        if variant is None or not _offered(variant, sink.betas):
            expected = _expected(variants, sink.betas)
            shown = tag if isinstance(tag, str) else type(tag).__name__
            sink.add(
                rule,
                place,
                f"Input tag '{shown}' found using 'type' does not match any of the "
                f"expected tags: {expected}",
            )
            return
        variant.node(value, (place, str(tag)), sink)

    return check


def _offered(variant: Variant, betas: Collection[str]) -> bool:
    return variant.betas is None or not variant.betas.isdisjoint(betas)


def _expected(variants: Mapping[str, Variant], betas: Collection[str]) -> str:
    tags = (tag for tag, variant in variants.items() if _offered(variant, betas))
    return ", ".join(f"'{tag}'" for tag in sorted(tags))

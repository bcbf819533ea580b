"""How a field is added to an event, or to a class that events hold, after its release."""

from typing import Any, Final, TypeVar, cast

import attrs

ADDED: Final = "turnlatch.added"
"""The mark in a field's metadata."""

T = TypeVar("T")


def added(default: T) -> T:
    """A field that was added to a class after the class was first released.

    `safe: bool = added(False)` is `safe: bool = False`, marked for the journal: the field
    is written only where its value is not the default, and an entry that lacks it reads
    as the default. So every entry that was written before the field existed is read, and
    what is written without it is the same bytes as ever.

    Args:
        default: What an older entry meant by not saying it: an immutable value.
    """
    field: Any = attrs.field(default=default, metadata={ADDED: True})
    return cast("T", field)  # attrs types a field as its value, too


def added_fields(kind: type[Any]) -> dict[str, Any]:
    """The fields of an attrs class that were added later, with their defaults."""
    return {
        field.name: field.default
        for field in attrs.fields(kind)
        if field.metadata.get(ADDED)
    }

"""Views: how sealed history is shown to the model, as data.

A view is an ordered tuple of small declarative operations over the history. None of them
changes a byte of the record: what was confirmed stays readable, and a view can be left
again. A view is proposed, tried, and adopted only by the confirmation of a request that
used it; whatever fails in between leaves the view that was in force before.

Places are counted as the history counts them: exchange 0 is the first, and the exchange
after the last is the message that is staged now, which will be that one.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, TypeAlias, final

import attrs

from turnlatch_states.api.json_bytes import encode

LEFT_OUT: Final = (
    "[Earlier messages of this conversation were left out here to make room.]"
)
REFUSED_PART: Final = (
    "[A part of this conversation was left out here: the service refuses it.]"
)
GO_ON: Final = "[Go on.]"

COMPACT_BETA: Final = "compact-2026-09-04"
"""The beta that on-demand compaction needs, then and on every later request."""

THREADS_BETA: Final = "message-threads-2026-08-12"
"""The beta that server threads need."""

BINDING_BETA: Final = "thinking-binding-controls-2026-08-01"
"""The beta that the control over bound thinking needs."""


def _whole(_: object, attribute: "attrs.Attribute[int]", value: object) -> None:
    # True is an int, and is written otherwise than 1.
    if type(value) is not int:
        raise TypeError(f"{attribute.name} is a whole number, not {value!r}")


_INTEGER: Final = _whole
_INDEX: Final = (_whole, attrs.validators.ge(0))
_TEXT: Final = attrs.validators.instance_of(str)


class Side(StrEnum):
    """Which message of an exchange."""

    USER = "user"
    REPLY = "reply"


@final
@attrs.frozen
class Stub:
    """One block is replaced by a note; in a reply it is left out.

    A block of a reply has no note: no text is put into the assistant's mouth.

    Attributes:
        exchange: Which exchange.
        side: Which of its messages.
        block: Which block of that message.
        inner: Which part of that block's content, for a tool result; -1 for all of it.
        note: The text that replaces it.
    """

    exchange: int = attrs.field(validator=_INDEX)
    side: Side = attrs.field(converter=Side)
    block: int = attrs.field(validator=_INDEX)
    inner: int = attrs.field(validator=_INTEGER)
    note: str = attrs.field(validator=_TEXT)


@final
@attrs.frozen
class Shrink:
    """Tool results are cut to a length, and media are replaced by a note.

    Attributes:
        until: Of the exchanges before this one.
        bytes_max: Most bytes of text that are kept of one result.
    """

    until: int = attrs.field(validator=_INDEX)
    bytes_max: int = attrs.field(validator=_INDEX)


@final
@attrs.frozen
class StripThinking:
    """Thinking is left out.

    Attributes:
        until: Of the exchanges before this one.
    """

    until: int = attrs.field(validator=_INDEX)


@final
@attrs.frozen
class Flatten:
    """Tool calls are shown as a written record, with no call that needs a result.

    The user's own blocks stay as they are.

    Attributes:
        start: The first exchange that is shown so.
        until: The exchange after the last.
        bytes_max: Most bytes of text that are kept of one result.
    """

    start: int = attrs.field(validator=_INDEX)
    until: int = attrs.field(validator=_INDEX)
    bytes_max: int = attrs.field(validator=_INDEX)


@final
@attrs.frozen
class Hide:
    """Exchanges are left out, and a note stands for them.

    Attributes:
        start: The first that is left out.
        until: The exchange after the last.
        note: The text that replaces it.
    """

    start: int = attrs.field(validator=_INDEX)
    until: int = attrs.field(validator=_INDEX)
    note: str = attrs.field(validator=_TEXT)


@final
@attrs.frozen
class Rename:
    """Calls that reuse an earlier call's id are shown with a unique one.

    Attributes:
        until: In the exchanges before this one; what is confirmed under such a view is
            sealed so that it needs no other name.
    """

    until: int = attrs.field(validator=_INDEX)


@final
@attrs.frozen
class IgnoreBase:
    """A summary is not used; what it stood for is shown again.

    Attributes:
        covers: The summary's `covers`. A later summary, which covers more, is used.
    """

    covers: int = attrs.field(validator=_INDEX)


@final
@attrs.frozen
class DropField:
    """An optional field of the request is left out.

    Attributes:
        name: Its name.
    """

    name: str = attrs.field(validator=_TEXT)


@final
@attrs.frozen
class DropBeta:
    """A name is left out of the `anthropic-beta` header.

    Attributes:
        name: The name.
    """

    name: str = attrs.field(validator=_TEXT)


@final
@attrs.frozen
class DropBound:
    """The server drops thinking that it finds bound to other words than these.

    This is the API's own control (Anthropic docs: build-with-claude/
    thinking-troubleshooting), sent with its beta name.
    """


Op: TypeAlias = (
    Stub
    | Shrink
    | StripThinking
    | Flatten
    | Hide
    | Rename
    | IgnoreBase
    | DropField
    | DropBeta
    | DropBound
)
"""One operation of a view."""

_TAGS: Final[Mapping[str, type[Any]]] = {
    "stub": Stub,
    "shrink": Shrink,
    "strip_thinking": StripThinking,
    "flatten": Flatten,
    "hide": Hide,
    "rename": Rename,
    "ignore_base": IgnoreBase,
    "drop_field": DropField,
    "drop_beta": DropBeta,
    "drop_bound": DropBound,
}
_TAG_OF: Final = {made: tag for tag, made in _TAGS.items()}


@final
@attrs.frozen
class View:
    """How the history is shown: operations, applied in order.

    Attributes:
        ops: The operations; none for a history that is shown as it is.
    """

    ops: tuple[Op, ...] = ()
    memo: dict[str, Any] = attrs.field(
        factory=dict[str, Any], eq=False, repr=False, init=False
    )

    def __bool__(self) -> bool:
        return bool(self.ops)

    @property
    def reach(self) -> int:
        """The exchange after the last that is shown otherwise than as it is."""
        return max((_reach(op) for op in self.ops), default=0)

    @property
    def dropped(self) -> frozenset[str]:
        """The fields that are left out."""
        return frozenset(op.name for op in self.ops if isinstance(op, DropField))

    @property
    def unnamed(self) -> frozenset[str]:
        """The beta names that are left out."""
        return frozenset(op.name for op in self.ops if isinstance(op, DropBeta))

    @property
    def drops_bound(self) -> bool:
        """True if bound thinking is dropped by the server."""
        if BINDING_BETA in self.unnamed:
            return False
        return any(isinstance(op, DropBound) for op in self.ops)

    @property
    def renames(self) -> int:
        """The exchange after the last one with renamed calls; 0 without any."""
        return max((op.until for op in self.ops if isinstance(op, Rename)), default=0)

    def ignores(self, covers: int) -> bool:
        """True if the summary that covers so many exchanges is not used."""
        return any(
            isinstance(op, IgnoreBase) and op.covers == covers for op in self.ops
        )

    def adding(self, *ops: Op) -> "View":
        """This view and more operations; what was there already is not repeated."""
        new = tuple(op for op in ops if op not in self.ops)
        return View((*self.ops, *new)) if new else self

    def leaving(self, op: Op) -> "View":
        """This view without an operation."""
        if op not in self.ops:
            return self
        return View(tuple(one for one in self.ops if one != op))

    def until(self, size: int) -> "View":
        """This view of a history that was cut back to `size` exchanges."""
        kept = tuple(cut for op in self.ops if (cut := _cut(op, size)) is not None)
        return self if kept == self.ops else View(kept)

    def encoded(self) -> bytes:
        """The view as it is journaled."""
        return encode([[_TAG_OF[type(op)], *attrs.astuple(op)] for op in self.ops])

    @classmethod
    def decoded(cls, written: bytes) -> "View":
        """The view that `encoded` wrote.

        Raises:
            ValueError: The bytes are not a view.
        """
        try:
            found: Any = json.loads(written)
            ops = tuple(_read(one) for one in found)
        except (TypeError, RecursionError):
            raise ValueError("a view is a list of operations") from None
        view = cls(ops)
        if view.encoded() != written:
            raise ValueError("a view is written in one way only")
        return view


def _read(one: Any) -> Op:
    tag, *values = one
    if not isinstance(tag, str) or tag not in _TAGS:
        raise ValueError(f"{tag!r} is not an operation of a view")
    made: Op = _TAGS[tag](*values)
    return made


def _reach(op: Op) -> int:
    match op:
        case Stub(side=Side.USER):
            return op.exchange + 1
        case Shrink() | StripThinking():
            return op.until
        case Stub():
            return op.exchange + 2  # what answers a call is shown otherwise, too
        case Flatten() | Hide() | Rename():
            return op.until + 1
        case IgnoreBase() | DropField() | DropBeta() | DropBound():
            return 0


def _cut(op: Op, size: int) -> Op | None:
    match op:
        case Stub():
            return op if op.exchange < size else None
        case Shrink() | StripThinking() | Rename():
            return op if op.until <= size else attrs.evolve(op, until=size)
        case Flatten() | Hide():
            return op if op.until <= size else None
        case IgnoreBase():
            return op if op.covers <= size else None
        case DropField() | DropBeta() | DropBound():
            return op


EMPTY: Final = View()
"""The history as it is."""

"""How an event is written down, and the only way back.

A row is a kind, two integers, the event's facts as JSON and its sealed bytes as they
are. Rules of this file:

* Bytes that the server or a tool gave are stored as bytes: never decoded, never printed
  again, never base64. A reply's `meta` is stored byte for byte.
* The schema is closed. An unknown kind, a missing or a further field, a value of the
  wrong type is an error; nothing is revived, guessed or converted, and there is no
  second way to read a row.
* A field that is added to an event, or to a class that events hold (`Fault`, `Profile`),
  is declared as its last with `added(default)` (`turnlatch_states.api.added_fields`). It is written
  only where it is not the default; a row without it reads as the default. So old rows
  stay readable, and keep their bytes.
* The kinds and their fields are an API with a version, `FORMAT`. Golden files in the
  tests pin them: every format's rows are read, the current format's are written.
  A new kind, field or value of an enum belongs to the current format as long as that
  is unreleased; the first one after a release makes the next format (`formats.py`).
* cattrs reads and writes every kind but the confirmations, whose reply is two blobs and
  nothing else. Each event read is written again, and must give the same row.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, cast, final

import attrs

from turnlatch.journal.strict import (
    CodecError,
    dump,
    load,
    structure,
    unstructure,
    wrong,
)
from turnlatch_states.api.reply import Reply
from turnlatch_states.machine.events import (
    CallApproved,
    CallAsked,
    CallClosed,
    CallDenied,
    CallLost,
    CallStarted,
    CompactionConfirmed,
    CompactionSent,
    ConversationOpened,
    Event,
    Forked,
    Pinned,
    Probed,
    ProfileChanged,
    RemedyChosen,
    ReplyConfirmed,
    RequestSent,
    RetryCancelled,
    RetryScheduled,
    Rewound,
    Steered,
    TurnAbandoned,
    TurnContinued,
    TurnFailed,
    TurnOpened,
    TurnRetried,
    TurnSuspended,
)
from turnlatch_states.request.build import Copy
from turnlatch_states.request.profile import Purpose

FORMAT: Final = 2
"""Version of the tables, the kinds and their fields; see `formats.FORMATS`."""

NUMBER_MAX: Final = 2**63 - 1
"""Largest turn or attempt a row can hold: a signed 64-bit integer, never negative."""


@final
class Row(NamedTuple):
    """An event, ready to be stored.

    Attributes:
        kind: Its tag on disk.
        turn: The turn it belongs to; 0 for a kind without one.
        attempt: The attempt it belongs to; 0 for a kind without one.
        meta: Its facts as compact ASCII JSON, or a reply's `meta` as it came.
        body: Its sealed bytes.
        extra: A tool's whole output, where the result had to be cut.
    """

    kind: str
    turn: int
    attempt: int
    meta: bytes
    body: bytes
    extra: bytes


def encode(event: Event) -> Row:
    """The row of an event.

    Raises:
        CodecError: The event holds what its type does not allow (a float for a turn,
            text for bytes), a number beyond `NUMBER_MAX`, or is not an event.
    """
    write = _WRITERS.get(type(event))
    if write is None:
        raise CodecError(type(event).__name__, "$", "is not an event of the journal")
    return write(event)


def decode(row: Row) -> Event:
    """The event of a row.

    Raises:
        CodecError: The kind is unknown, or the row is not exactly what `encode` makes.
    """
    read = READERS.get(row.kind)
    if read is None:
        raise CodecError(row.kind, "$", "is a kind this turnlatch does not know")
    return read(row.turn, row.attempt, row.meta, row.body, row.extra)


def _number(kind: str, name: str, value: object) -> int:
    if type(value) is not int:
        raise CodecError(kind, f"$.{name}", str(wrong(value, "an integer")))
    if not 0 <= value <= NUMBER_MAX:
        raise CodecError(kind, f"$.{name}", f"{value} is not from 0 to {NUMBER_MAX}")
    return value


def _blob(kind: str, name: str, value: object) -> bytes:
    if type(value) is not bytes:
        raise CodecError(kind, f"$.{name}", str(wrong(value, "bytes")))
    return value


_HALVES: Final = "surrogatepass"  # a text may hold half a character


def _utf8(kind: str, name: str, value: object) -> bytes:
    if type(value) is not str:
        raise CodecError(kind, f"$.{name}", str(wrong(value, "text")))
    return value.encode(errors=_HALVES)


_OTHER_FORM: Final = "is not in the form it is written in"


# The kinds. `Any` below: each writer takes the one event class it is registered for.

Writer: TypeAlias = Callable[[Any], Row]
Reader: TypeAlias = Callable[[int, int, bytes, bytes, bytes], Event]


def _confirmed(
    kind: str, made: type[ReplyConfirmed] | type[CompactionConfirmed]
) -> "Form":
    """A kind that holds a reply, and in `extra` what was wrong with it, as text."""

    def write(event: ReplyConfirmed | CompactionConfirmed) -> Row:
        reply = event.reply
        if type(reply) is not Reply:
            raise CodecError(kind, "$.reply", str(wrong(reply, "a reply")))
        extra = event.misfit if isinstance(event, ReplyConfirmed) else ""
        return Row(
            kind,
            _number(kind, "turn", event.turn),
            _number(kind, "attempt", event.attempt),
            _blob(kind, "reply.meta", reply.meta),
            _blob(kind, "reply.content", reply.content),
            _utf8(kind, "misfit", extra),
        )

    def read(turn: int, attempt: int, meta: bytes, body: bytes, extra: bytes) -> Event:
        reply = Reply(body, meta)
        if not extra:
            return made(turn, attempt, reply)
        if made is not ReplyConfirmed:
            raise CodecError(kind, "$", _OTHER_FORM)
        try:
            return ReplyConfirmed(turn, attempt, reply, extra.decode(errors=_HALVES))
        except UnicodeDecodeError:
            raise CodecError(kind, "$.misfit", "is not UTF-8") from None

    return Form(kind, made, write, read)


def _row(kind: str, turn: Any, attempt: Any, facts: Any, body: Any, extra: Any) -> Row:
    try:
        meta = dump(facts) if facts else b""
    except ValueError as error:  # an integer with more digits than Python prints
        raise CodecError(kind, "$", f"cannot be written ({error})") from None
    turn, attempt = _number(kind, "turn", turn), _number(kind, "attempt", attempt)
    return Row(kind, turn, attempt, meta, body, extra)


def _form(
    kind: str,
    made: type[Any],
    row_of: Callable[[dict[str, Any]], Row],
    facts_of: Callable[[int, int, dict[str, Any], bytes, bytes], dict[str, Any]],
) -> "Form":
    """A kind that cattrs reads and writes.

    Args:
        kind: The tag.
        made: The event class.
        row_of: The row of an event's facts, which it takes apart.
        facts_of: The facts of a row, whose `meta` was parsed.
    """

    def write(event: Any) -> Row:
        try:
            facts = unstructure(event)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise CodecError(kind, "$", f"cannot be written ({error})") from None
        structure(kind, facts, made)  # as it will be checked when it is read
        return row_of(facts)

    def read(turn: int, attempt: int, meta: bytes, body: bytes, extra: bytes) -> Event:
        facts = facts_of(turn, attempt, load(kind, meta) if meta else {}, body, extra)
        event = structure(kind, facts, made)
        # There is one way to write each event: no default that is spelled out or filled
        # in, no other order, no doubled key, no column that is not used.
        if row_of(unstructure(event))[1:] != (turn, attempt, meta, body, extra):
            raise CodecError(kind, "$", _OTHER_FORM)
        return cast("Event", event)

    return Form(kind, made, write, read)


def _plain(kind: str, made: type[Any], **blobs: str) -> "Form":
    """A kind whose numbers and blobs have columns and whose other fields are facts.

    Args:
        kind: The tag.
        made: The event class.
        blobs: For `body` and `extra`, the field that is stored there.
    """
    names = {field.name for field in attrs.fields(made)}
    stored = ("turn", "attempt", blobs.get("body", ""), blobs.get("extra", ""))
    columns = [(name, at) for at, name in enumerate(stored) if name in names]

    def row_of(facts: dict[str, Any]) -> Row:
        turn, attempt = facts.pop("turn", 0), facts.pop("attempt", 0)
        body, extra = facts.pop(stored[2], b""), facts.pop(stored[3], b"")
        return _row(kind, turn, attempt, facts, body, extra)

    def facts_of(
        turn: int, attempt: int, facts: dict[str, Any], body: bytes, extra: bytes
    ) -> dict[str, Any]:
        given = (turn, attempt, body, extra)
        for name, at in columns:
            facts[name] = given[at]
        return facts

    return _form(kind, made, row_of, facts_of)


def _settings_out(profile: dict[str, Any]) -> bytes:
    """The settings' JSON end to end; the profile is left with each one's name and size."""
    settings = cast("list[tuple[Any, bytes]]", list(profile["settings"]))
    profile["settings"] = [(name, len(value)) for name, value in settings]
    return b"".join(value for _, value in settings)


def _settings_in(kind: str, facts: dict[str, Any], stored: bytes) -> dict[str, Any]:
    """The facts of a row, with the settings of their profile put back."""
    try:
        start, found, profile = 0, list[list[Any]](), facts["profile"]
        for name, size in profile["settings"]:
            found.append([name, stored[start : start + size]])
            start += size
        profile["settings"] = found
    except (LookupError, TypeError, ValueError):
        problem = "expected pairs of a name and a size"
        raise CodecError(kind, "$.profile.settings", problem) from None
    return facts


def _profiled(
    kind: str, made: type[ConversationOpened] | type[ProfileChanged]
) -> "Form":
    """A kind that holds a profile: the settings' JSON is stored as the bytes it is, in
    `body`."""

    def row_of(facts: dict[str, Any]) -> Row:
        return _row(kind, 0, 0, facts, _settings_out(facts["profile"]), b"")

    def facts_of(
        turn: int, attempt: int, facts: dict[str, Any], body: bytes, extra: bytes
    ) -> dict[str, Any]:
        return _settings_in(kind, facts, body)

    return _form(kind, made, row_of, facts_of)


def _opened() -> "Form":
    """A turn's message is its `body`; the settings of its profile, if any, are `extra`."""
    kind = "turn_opened"

    def row_of(facts: dict[str, Any]) -> Row:
        turn, content = facts.pop("turn"), facts.pop("content")
        own = facts.get("profile")
        extra = b"" if own is None else _settings_out(own)
        return _row(kind, turn, 0, facts, content, extra)

    def facts_of(
        turn: int, attempt: int, facts: dict[str, Any], body: bytes, extra: bytes
    ) -> dict[str, Any]:
        facts.update(turn=turn, content=body)
        return _settings_in(kind, facts, extra) if "profile" in facts else facts

    return _form(kind, TurnOpened, row_of, facts_of)


@final
@attrs.frozen
class Form:
    """How one kind is written and read."""

    kind: str
    made: type[Any]
    write: Writer
    read: Reader


# Two kinds make up most of a long conversation, and an ordinary one of them costs no JSON.

_OPENED: Final = _opened()
_OPENED_META: Final = b'{"key":null,"purpose":"message"}'
_SENT: Final = _plain("request_sent", RequestSent)


def _write_opened(event: TurnOpened) -> Row:
    plain = event.key is None and event.profile is None
    if not plain or event.purpose is not Purpose.MESSAGE:
        return _OPENED.write(event)
    kind = "turn_opened"
    turn, content = _number(kind, "turn", event.turn), event.content
    return Row(kind, turn, 0, _OPENED_META, _blob(kind, "content", content), b"")


def _read_opened(
    turn: int, attempt: int, meta: bytes, body: bytes, extra: bytes
) -> Event:
    if meta != _OPENED_META or attempt or extra:
        return _OPENED.read(turn, attempt, meta, body, extra)
    return TurnOpened(turn, body)


def _write_sent(event: RequestSent) -> Row:
    if event.copy is not Copy.NONE:
        return _SENT.write(event)
    kind = "request_sent"
    turn = _number(kind, "turn", event.turn)
    return Row(kind, turn, _number(kind, "attempt", event.attempt), b"", b"", b"")


def _read_sent(
    turn: int, attempt: int, meta: bytes, body: bytes, extra: bytes
) -> Event:
    if meta or body or extra:
        return _SENT.read(turn, attempt, meta, body, extra)
    return RequestSent(turn, attempt)


FORMS: Final = (
    _profiled("conversation_opened", ConversationOpened),
    _profiled("profile_changed", ProfileChanged),
    _plain("forked", Forked),
    Form("turn_opened", TurnOpened, _write_opened, _read_opened),
    Form("request_sent", RequestSent, _write_sent, _read_sent),
    _confirmed("reply_confirmed", ReplyConfirmed),
    _plain("turn_failed", TurnFailed),
    _plain("retry_scheduled", RetryScheduled),
    _plain("retry_cancelled", RetryCancelled),
    _plain("turn_retried", TurnRetried),
    _plain("steered", Steered, body="content"),
    _plain("call_asked", CallAsked, body="arguments"),
    _plain("call_approved", CallApproved, body="arguments"),
    _plain("call_denied", CallDenied),
    _plain("call_started", CallStarted),
    _plain("call_lost", CallLost),
    _plain("call_closed", CallClosed, body="result", extra="output"),
    _plain("turn_continued", TurnContinued),
    _plain("compaction_sent", CompactionSent),
    _confirmed("compaction_confirmed", CompactionConfirmed),
    _plain("remedy_chosen", RemedyChosen, body="view"),
    _plain("probed", Probed),
    _plain("turn_suspended", TurnSuspended),
    _plain("pinned", Pinned),
    _plain("turn_abandoned", TurnAbandoned),
    _plain("rewound", Rewound),
)

_WRITERS: Mapping[type[Any], Writer] = {form.made: form.write for form in FORMS}

READERS: Mapping[str, Reader] = {form.kind: form.read for form in FORMS}
"""The reader of each kind, for the loop that loads a whole conversation."""

KINDS: Final = tuple(form.kind for form in FORMS)
"""Every kind, in the order of the `Event` union."""

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
  stay readable, and keep their bytes. For a kind that is written by hand the field goes
  into its class of facts below as well, with the same `added(default)`.
* The kinds and their fields are an API with a version, `FORMAT`. Golden files in the
  tests pin them: every format's rows are read, the current format's are written.
  A new kind, field or value of an enum belongs to the current format as long as that
  is unreleased; the first one after a release makes the next format (`formats.py`).
* Three kinds make up a long conversation (`turn_opened`, `request_sent`,
  `reply_confirmed`): they are read and written by hand, and an ordinary one of them
  costs no JSON. cattrs does the others.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, cast, final

import attrs

from turnlatch.journal.strict import (
    CodecError,
    Fields,
    dump,
    load,
    structure,
    unstructure,
    wrong,
)
from turnlatch_states.api.added_fields import added
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
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.request.build import Copy
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.view import View

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


def _unused(kind: str, attempt: int, body: bytes, extra: bytes) -> None:
    if attempt or body or extra:
        raise CodecError(kind, "$", "has columns filled that its kind does not use")


# The kinds. `Any` below: each writer takes the one event class it is registered for.

Writer: TypeAlias = Callable[[Any], Row]
Reader: TypeAlias = Callable[[int, int, bytes, bytes, bytes], Event]


@attrs.frozen
class _TurnFacts:
    key: str | None
    purpose: Purpose


_ORDINARY = b'{"key":null,"purpose":"message"}'
_ORDINARY_FACTS = _TurnFacts(None, Purpose.MESSAGE)


def _write_turn_opened(event: TurnOpened) -> Row:
    kind = "turn_opened"
    facts, meta = _TurnFacts(event.key, event.purpose), _ORDINARY
    if facts != _ORDINARY_FACTS:
        meta = dump(_facts_of(kind, facts, _TurnFacts))
    turn = _number(kind, "turn", event.turn)
    return Row(kind, turn, 0, meta, _blob(kind, "content", event.content), b"")


def _read_turn_opened(
    turn: int, attempt: int, meta: bytes, body: bytes, extra: bytes
) -> Event:
    if attempt or extra:
        _unused("turn_opened", attempt, b"", extra)
    if meta == _ORDINARY:
        return TurnOpened(turn, body)
    facts = structure("turn_opened", load("turn_opened", meta), _TurnFacts)
    return TurnOpened(turn, body, facts.key, facts.purpose)


@attrs.frozen
class _SentFacts:
    copy: Copy


_SENT_FACTS = _SentFacts(Copy.NONE)


def _write_request_sent(event: RequestSent) -> Row:
    kind, facts, meta = "request_sent", _SentFacts(event.copy), b""
    if facts != _SENT_FACTS:
        meta = dump(_facts_of(kind, facts, _SentFacts))
    turn = _number(kind, "turn", event.turn)
    return Row(kind, turn, _number(kind, "attempt", event.attempt), meta, b"", b"")


def _read_request_sent(
    turn: int, attempt: int, meta: bytes, body: bytes, extra: bytes
) -> Event:
    if body or extra:
        _unused("request_sent", 0, body, extra)
    if not meta:
        return RequestSent(turn, attempt)
    facts = structure("request_sent", load("request_sent", meta), _SentFacts)
    if facts == _SENT_FACTS:
        raise CodecError("request_sent", "$.copy", "must be absent without a thread")
    return RequestSent(turn, attempt, facts.copy)


@attrs.frozen
class _RemedyFacts:
    remedy: Remedy
    why: str
    max_tokens: int | None
    passing: bool = added(False)


def _write_remedy(event: RemedyChosen) -> Row:
    kind = "remedy_chosen"
    told = _RemedyFacts(event.remedy, event.why, event.max_tokens, event.passing)
    meta = dump(_facts_of(kind, told, _RemedyFacts))
    body = b"" if event.view is None else event.view.encoded()
    return Row(kind, _number(kind, "turn", event.turn), 0, meta, body, b"")


def _read_remedy(
    turn: int, attempt: int, meta: bytes, body: bytes, extra: bytes
) -> Event:
    kind = "remedy_chosen"
    if attempt or extra:
        _unused(kind, attempt, b"", extra)
    facts = structure(kind, load(kind, meta), _RemedyFacts)
    try:
        view = View.decoded(body) if body else None
    except ValueError as error:
        raise CodecError(kind, "$.view", str(error)) from None
    return RemedyChosen(
        turn, facts.remedy, facts.why, view, facts.max_tokens, facts.passing
    )


def _confirmed(
    kind: str, made: type[ReplyConfirmed] | type[CompactionConfirmed]
) -> "Form":
    def write(event: ReplyConfirmed | CompactionConfirmed) -> Row:
        reply = event.reply
        if type(reply) is not Reply:
            raise CodecError(kind, "$.reply", str(wrong(reply, "a reply")))
        return Row(
            kind,
            _number(kind, "turn", event.turn),
            _number(kind, "attempt", event.attempt),
            _blob(kind, "reply.meta", reply.meta),
            _blob(kind, "reply.content", reply.content),
            b"",
        )

    def read(turn: int, attempt: int, meta: bytes, body: bytes, extra: bytes) -> Event:
        if extra:
            _unused(kind, 0, b"", extra)
        return made(turn, attempt, Reply(body, meta))

    return Form(kind, made, write, read)


def _facts_of(kind: str, event: Any, made: type[Any]) -> dict[str, Any]:
    """An event as plain facts, checked the way they will be checked when read."""
    try:
        facts = unstructure(event)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise CodecError(kind, "$", f"cannot be written ({error})") from None
    structure(kind, facts, made)
    return facts


def _dumped(kind: str, facts: Mapping[str, Any]) -> bytes:
    try:
        return dump(facts) if facts else b""
    except ValueError as error:  # an integer with more digits than Python prints
        raise CodecError(kind, "$", f"cannot be written ({error})") from None


def _plain(kind: str, made: type[Any], **blobs: str) -> "Form":
    """A kind whose numbers and blobs have columns and whose other fields are facts.

    Args:
        kind: The tag.
        made: The event class.
        blobs: For `body` and `extra`, the field that is stored there.
    """
    names = [field.name for field in attrs.fields(made)]
    columns = {"turn": "turn", "attempt": "attempt", **blobs}
    column_of = {field: column for column, field in columns.items() if field in names}
    stated = Fields(made, column_of)

    def write(event: Any) -> Row:
        facts = _facts_of(kind, event, made)
        given = {
            column_of[name]: facts.pop(name) for name in names if name in column_of
        }
        return Row(
            kind,
            _number(kind, "turn", given.get("turn", 0)),
            _number(kind, "attempt", given.get("attempt", 0)),
            _dumped(kind, facts),
            given.get("body", b""),
            given.get("extra", b""),
        )

    def read(turn: int, attempt: int, meta: bytes, body: bytes, extra: bytes) -> Event:
        facts = load(kind, meta) if meta or stated.required else {}
        try:
            stated.demand(facts)
        except ValueError as error:
            raise CodecError(kind, "$", str(error)) from None
        given: dict[str, Any] = {
            "turn": turn, "attempt": attempt, "body": body, "extra": extra
        }  # fmt: skip
        whole = {
            name: given.pop(column_of[name]) if name in column_of else facts[name]
            for name in names
            if name in column_of or name in facts
        }
        if any(given.values()) or (meta and not facts):
            _unused(kind, 1, b"", b"")
        return cast("Event", structure(kind, whole, made))

    return Form(kind, made, write, read)


def _profiled(
    kind: str, made: type[ConversationOpened] | type[ProfileChanged]
) -> "Form":
    """A kind that holds a profile: the settings' JSON is stored as the bytes it is.

    The facts name each setting with its size; `body` is the settings end to end.
    """

    def write(event: ConversationOpened | ProfileChanged) -> Row:
        facts = _facts_of(kind, event, made)
        profile = facts["profile"]
        settings = cast("list[tuple[Any, bytes]]", list(profile["settings"]))
        profile["settings"] = [(name, len(value)) for name, value in settings]
        body = b"".join(value for _, value in settings)
        return Row(kind, 0, 0, _dumped(kind, facts), body, b"")

    def read(turn: int, attempt: int, meta: bytes, body: bytes, extra: bytes) -> Event:
        if turn or attempt or extra:
            _unused(kind, 1, b"", b"")
        facts = load(kind, meta)
        profile = facts.get("profile")
        if isinstance(profile, dict):
            profile = cast("dict[str, Any]", profile)
            profile["settings"] = _cut(kind, profile.get("settings"), body)
        return cast("Event", structure(kind, facts, made))

    return Form(kind, made, write, read)


def _cut(kind: str, settings: object, body: bytes) -> list[list[Any]]:
    path = "$.profile.settings"
    if not isinstance(settings, list):
        raise CodecError(kind, path, str(wrong(settings, "a list")))
    start, found = 0, list[list[Any]]()
    for one in cast("list[object]", settings):
        if not isinstance(one, list) or len(cast("list[object]", one)) != 2:
            raise CodecError(kind, path, "expected pairs of a name and a size")
        name, size = cast("list[object]", one)
        if type(size) is not int or not 0 <= size <= len(body) - start:
            raise CodecError(kind, path, f"size {size!r} is not in the stored bytes")
        found.append([name, body[start : start + size]])
        start += size
    if start != len(body):
        raise CodecError(kind, path, "the sizes do not add up to the stored bytes")
    return found


@final
@attrs.frozen
class Form:
    """How one kind is written and read."""

    kind: str
    made: type[Any]
    write: Writer
    read: Reader


FORMS: Final = (
    _profiled("conversation_opened", ConversationOpened),
    _profiled("profile_changed", ProfileChanged),
    _plain("forked", Forked),
    Form("turn_opened", TurnOpened, _write_turn_opened, _read_turn_opened),
    Form("request_sent", RequestSent, _write_request_sent, _read_request_sent),
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
    Form("remedy_chosen", RemedyChosen, _write_remedy, _read_remedy),
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

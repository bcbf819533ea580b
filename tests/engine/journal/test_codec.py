"""Every event comes back exactly as it was, and nothing else is taken for an event."""

import json
import math
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.journal import codec
from turnlatch.journal.codec import FORMAT, KINDS, NUMBER_MAX, Row, decode, encode
from turnlatch.journal.formats import FORMATS
from turnlatch.journal.strict import CodecError, dump
from turnlatch_states.api.added_fields import added, added_fields
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply, Usage
from turnlatch_states.machine.events import (
    CallClosed,
    CallDenied,
    ConversationOpened,
    Event,
    ReplyConfirmed,
    RequestSent,
    RetryScheduled,
    Rewound,
    TurnFailed,
    TurnOpened,
)
from turnlatch_states.request.build import Copy
from turnlatch_states.request.profile import Profile, Purpose
from turnlatch_states.request.view import (
    DropBeta,
    DropBound,
    DropField,
    Flatten,
    Hide,
    IgnoreBase,
    Rename,
    Shrink,
    Side,
    StripThinking,
    Stub,
    View,
)

GOLDEN = Path(__file__).with_name("golden")
CLASSES: tuple[type[Any], ...] = get_args(Event)

TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["\ud83d\ude00", "a\ud83d\ude00\udc00b", "\ud800\ud800", "\0", "\u2028", "NaN"]
)
NUMBERS = st.floats() | st.integers(-(10**400), 10**400).filter(bool)


_PLACES = st.integers(0, 2**40)
_NOTES = st.text(st.characters(exclude_categories=["Cs"]))
VIEWS = st.lists(
    st.one_of(
        st.builds(
            Stub,
            _PLACES,
            st.sampled_from(Side),
            _PLACES,
            st.integers(-1, 99),
            _NOTES,
        ),
        st.builds(Shrink, _PLACES, _PLACES),
        st.builds(StripThinking, _PLACES),
        st.builds(Flatten, _PLACES, _PLACES, _PLACES),
        st.builds(Hide, _PLACES, _PLACES, _NOTES),
        st.builds(Rename, _PLACES),
        st.builds(IgnoreBase, _PLACES),
        st.builds(DropField, _NOTES),
        st.builds(DropBeta, _NOTES),
        st.just(DropBound()),
    ),
    max_size=4,
).map(lambda ops: View(tuple(ops)))


def _strategy(asked: Any, name: str = "") -> st.SearchStrategy[Any]:
    """Anything a field of that type can hold."""
    if asked is int:
        column = name in ("turn", "attempt")
        return st.integers(0, NUMBER_MAX) if column else st.integers()
    simple: dict[Any, st.SearchStrategy[Any]] = {
        View: VIEWS,
        str: TEXT,
        bytes: st.binary(),
        bool: st.booleans(),
        float: NUMBERS,
        type(None): st.none(),
    }
    if asked in simple:
        return simple[asked]
    if get_origin(asked) is tuple:
        items = get_args(asked)
        if items[-1] is Ellipsis:
            return st.lists(_strategy(items[0]), max_size=4).map(tuple)
        return st.tuples(*map(_strategy, items))
    if attrs.has(asked):
        hints = get_type_hints(asked)
        fields = {f.name: _strategy(hints[f.name], f.name) for f in attrs.fields(asked)}
        return st.builds(asked, **fields)
    if isinstance(asked, type) and issubclass(asked, Enum):
        return st.sampled_from(asked)
    return st.one_of([_strategy(one) for one in get_args(asked)])


EVENTS = st.one_of([_strategy(one) for one in CLASSES])


@given(EVENTS)
def test_every_event_round_trips_exactly(event: Event) -> None:
    """Compared as text too: 2 and 2.0, or two NaNs, are told apart that way."""
    found = decode(encode(event))

    assert repr(found) == repr(event)
    assert type(found) is type(event)
    if "nan" not in repr(event):
        assert found == event


@given(EVENTS)
def test_every_row_has_types_sqlite_stores_as_they_are(event: Event) -> None:
    row = encode(event)

    assert row.kind in KINDS
    assert 0 <= row.turn <= NUMBER_MAX
    assert 0 <= row.attempt <= NUMBER_MAX
    if not isinstance(event, ReplyConfirmed) and "Confirmed" not in repr(type(event)):
        assert row.meta.isascii()


@given(st.binary(), st.binary())
def test_reply_is_stored_byte_for_byte(content: bytes, meta: bytes) -> None:
    row = encode(ReplyConfirmed(1, 2, Reply(content, meta)))

    assert row == Row("reply_confirmed", 1, 2, meta, content, b"")


@given(st.integers(0, NUMBER_MAX), st.integers(0, NUMBER_MAX), st.binary())
def test_row_written_without_json_equals_the_row_of_json(
    turn: int, attempt: int, content: bytes
) -> None:
    for form, event in (
        (codec._OPENED, TurnOpened(turn, content)),  # pyright: ignore[reportPrivateUsage]
        (codec._SENT, RequestSent(turn, attempt)),  # pyright: ignore[reportPrivateUsage]
    ):
        row = encode(event)
        assert form.write(event) == row
        assert form.read(*row[1:]) == decode(row) == event


def _untagged(classes: Iterable[type[Any]], kinds: dict[str, type[Any]]) -> set[str]:
    return {one.__name__ for one in set(classes) ^ set(kinds.values())}


def test_every_event_has_a_separate_tag() -> None:
    kinds = {form.kind: form.made for form in codec.FORMS}

    assert _untagged(CLASSES, kinds) == set()
    assert len(KINDS) == len(set(KINDS)) == len(CLASSES)
    del kinds["rewound"]  # the check finds a kind that was forgotten
    assert _untagged(CLASSES, kinds) == {"Rewound"}


def samples() -> dict[str, Event]:
    """One event a kind; a second one where the kind has a short form."""
    fault = Fault(
        FaultKind.TOO_LONG, "t\u00e9xt", 413, "request_too_large", "code", "req_1",
        2.5, "messages.0", outcome_unknown=True, retry_refused=True,
    )  # fmt: skip
    profile = Profile(
        "m", 7, (("system", b'"S"'), ("tools", b"[ ]")), ("beta-1",), diagnostics=False
    )
    values: dict[Any, Any] = {int: 3, str: "text", bytes: b"bytes", bool: True}
    values |= {
        View: View((Hide(0, 2, "gone"), Stub(3, Side.USER, 0, -1, "n\u00f6"))),
        float: 1.5,
        Fault: fault,
        Profile: profile,
        Usage: Usage(1, 2, 3, 4, 1, 5),
        Reply: Reply(b"{}", b'{"id":1}'),
    }
    found: dict[str, Event] = {}
    for form in codec.FORMS:
        hints = get_type_hints(form.made)
        given_ = {
            f.name: next(
                values[t] if t in values else next(iter(t))
                for t in (get_args(hints[f.name]) or (hints[f.name],))
                if t in values or issubclass(t, Enum)
            )
            for f in attrs.fields(form.made)
        }
        found[form.kind] = form.made(**given_)
    found["turn_opened ordinary"] = TurnOpened(1, b"{}")
    found["turn_opened compaction"] = TurnOpened(1, b"", None, Purpose.COMPACTION)
    found["request_sent continuing"] = RequestSent(1, 2, Copy.CONTINUE)
    found["retry_scheduled endless"] = RetryScheduled(1, 1, math.inf, math.nan)
    found["call_denied halves"] = CallDenied(1, "\ud83d\ude00", "\ud800")
    found["turn_failed bare"] = TurnFailed(1, 1, Fault(FaultKind.LOCAL, ""))
    return found


def as_golden() -> dict[str, Any]:
    """The rows of all samples, as the golden file of the current format has them."""
    rows = {name: encode(event) for name, event in samples().items()}
    return {
        "format": FORMAT,
        "rows": {
            name: {
                key: value.decode() if isinstance(value, bytes) else value
                for key, value in row._asdict().items()
            }
            for name, row in rows.items()
        },
    }


def _golden_rows(version: int) -> dict[str, Row]:
    raw = json.loads((GOLDEN / f"v{version}.json").read_text("ascii"))
    assert raw["format"] == version
    return {
        name: Row(
            one["kind"],
            one["turn"],
            one["attempt"],
            *(one[key].encode() for key in ("meta", "body", "extra")),
        )
        for name, one in raw["rows"].items()
    }


def test_form_on_disk_has_not_changed() -> None:
    """The golden file of a format that is released never changes; that of the coming
    one is written by `python -m tests.engine.journal.golden_store rows`."""
    assert as_golden() == json.loads((GOLDEN / f"v{FORMAT}.json").read_text("ascii"))


@pytest.mark.parametrize("version", FORMATS)
def test_golden_rows_of_every_format_are_read_and_written_again_alike(
    version: int,
) -> None:
    for name, row in _golden_rows(version).items():
        assert encode(decode(row)) == row, name
        if version == FORMAT:
            assert repr(decode(row)) == repr(samples()[name])


# A field that was added later.


@attrs.frozen
class _Part:
    """A class that events hold."""

    old: int
    note: str = added("")


@attrs.frozen
class _Grown:
    """An event with fields of every age; `attempt` has a column."""

    turn: int
    attempt: int
    old: str | None = None
    part: _Part = _Part(1)
    late: bool = added(False)
    later: float | None = added(None)


@attrs.frozen
class _Small:
    """An event that had no facts at all before it got one."""

    turn: int
    late: int = added(0)


GROWN: Any = codec._plain("grown", _Grown)  # pyright: ignore[reportPrivateUsage] - what all plain kinds are made by
SMALL: Any = codec._plain("small", _Small)  # pyright: ignore[reportPrivateUsage]


@given(_strategy(_Grown) | _strategy(_Small))
def test_event_with_added_fields_round_trips_exactly(event: Any) -> None:
    form = GROWN if isinstance(event, _Grown) else SMALL

    assert repr(form.read(*form.write(event)[1:])) == repr(event)


def test_added_field_is_the_default_where_an_old_row_lacks_it_and_is_not_written_then() -> (
    None
):
    old = (1, 2, b'{"old":"x","part":{"old":7}}', b"", b"")

    event = GROWN.read(*old)
    assert event == _Grown(1, 2, "x", _Part(7))
    assert GROWN.write(event)[1:] == old
    assert SMALL.write(SMALL.read(1, 0, b"", b"", b""))[1:] == (1, 0, b"", b"", b"")


def test_added_field_is_written_where_it_says_something() -> None:
    event = _Grown(1, 2, None, _Part(1, "n"), late=True)

    row = GROWN.write(event)
    assert row.meta == b'{"old":null,"part":{"old":1,"note":"n"},"late":true}'
    assert GROWN.read(*row[1:]) == event


@pytest.mark.parametrize(
    "meta",
    [
        b'{"old":null,"part":{"old":1},"late":false}',  # the default, spelled out
        b'{"old":null,"part":{"old":1,"note":""}}',
        b'{"old":null,"part":{"old":1},"later":1.5,"late":true}',  # another order
        b'{"old":null,"part":{"old":1},"late":1}',
        b'{"part":{"old":1}}',  # only what was added later may be missing
        b'{"old":null,"part":{}}',
        b'{"old":null,"part":{"old":1},"further":1}',
        b"",
    ],
)
def test_added_fields_leave_one_way_to_write_a_row(meta: bytes) -> None:
    with pytest.raises(CodecError):
        GROWN.read(1, 2, meta, b"", b"")


def test_without_added_an_old_row_would_be_unreadable() -> None:
    """The planted bug: a field that merely has a default."""

    @attrs.frozen
    class Careless:
        turn: int
        old: str
        late: bool = False

    form = codec._plain("careless", Careless)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(CodecError, match="not in the form"):
        form.read(1, 0, b'{"old":"x"}', b"", b"")


def _classes_in(asked: Any) -> set[type[Any]]:
    """Every attrs class that a value of a type can hold."""
    if attrs.has(asked):
        hints = get_type_hints(asked).values()
        return {asked}.union(*map(_classes_in, hints))
    return set[type[Any]]().union(*map(_classes_in, get_args(asked)))


def test_added_fields_are_the_last_of_their_class() -> None:
    """Anything else would change what a row without them says by place."""
    for one in _classes_in(Event) | {_Grown}:
        names = [field.name for field in attrs.fields(one)]
        late = list(added_fields(one))
        assert names[len(names) - len(late) :] == late, one


_OTHER: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    -1,
    1.5,
    "12",
    "",
    [],
    {},
    [["x"]],
    [1],
    ["a", "b"],
    "inf ",
)


def _spoiled(value: Any) -> Iterable[Any]:
    """Facts with one thing wrong: everything else that could stand in each place."""
    if isinstance(value, dict):
        facts = cast("dict[str, Any]", value)
        for key in facts:
            yield {k: v for k, v in facts.items() if k != key}
            for other in _spoiled(facts[key]):
                yield {**facts, key: other}
        yield {**facts, "further": 1}
        if len(facts) > 1:
            yield dict(reversed(facts.items()))
    elif isinstance(value, list):
        items = cast("Sequence[Any]", value)
        for index, one in enumerate(items):
            for other in _spoiled(one):
                yield [*items[:index], other, *items[index + 1 :]]
            yield [*items[:index], *items[index + 1 :]]
            yield [*items[: index + 1], *items[index:]]
    for other in _OTHER:
        if type(other) is not type(cast("object", value)):
            yield other


@pytest.mark.parametrize("name", [n for n in samples() if "confirmed" not in n])
def test_row_with_any_damage_is_not_an_event(name: str) -> None:
    """Whatever is accepted must be printed again as the very same row: there is no
    second spelling, no default, no conversion."""
    row = encode(samples()[name])
    refused = 0
    for facts in _spoiled(json.loads(row.meta or b"{}")):
        spoiled = row._replace(meta=dump(facts))
        try:
            event = decode(spoiled)
        except CodecError:
            refused += 1
        else:
            assert encode(event) == spoiled
    for change in (
        {"meta": row.meta + b" "},
        {"meta": b"{"},
        {"meta": b"[" * 100_000},
        {"meta": b'{"a":NaN}'},
        {"meta": b"\xff"},
        {"kind": "rewritten"},
        {"extra": b"x"} if not row.extra else {"turn": 1} if not row.turn else {},
    ):
        if change:
            with pytest.raises(CodecError):
                decode(row._replace(**change))
    assert refused > 10 or not row.meta


def test_row_of_a_summary_leaves_a_column_empty() -> None:
    row = encode(samples()["compaction_confirmed"])
    assert not row.extra

    with pytest.raises(CodecError):
        decode(row._replace(extra=b"x"))


def test_row_of_a_reply_has_the_reason_why_it_does_not_fit_as_text() -> None:
    event = samples()["reply_confirmed"]
    assert isinstance(event, ReplyConfirmed)
    fits = encode(attrs.evolve(event, misfit=""))
    assert not fits.extra, "as it was written before there were reasons"

    half = attrs.evolve(event, misfit="half \ud800 a character")
    assert decode(encode(half)) == half
    with pytest.raises(CodecError, match="UTF-8"):
        decode(fits._replace(extra=b"\xff"))


@pytest.mark.parametrize(
    "event",
    [
        RequestSent(-1, 1),
        RequestSent(2**63, 1),
        RequestSent(True, 1),
        RequestSent(1, 1.0),  # type: ignore[arg-type]
        TurnOpened(1, "text"),  # type: ignore[arg-type]
        TurnOpened(1, bytearray(b"x")),  # type: ignore[arg-type]
        TurnOpened(1, b"", key=5),  # type: ignore[arg-type]
        ReplyConfirmed(1, 1, None),  # type: ignore[arg-type]
        ReplyConfirmed(1, 1, Reply("x", b"")),  # type: ignore[arg-type]
        TurnFailed(1, 1, None),  # type: ignore[arg-type]
        TurnFailed(1, 1, Fault(FaultKind.AUTH, "x", status="401")),  # type: ignore[arg-type]
        CallClosed(1, "c", None, b""),  # type: ignore[arg-type]
        Rewound(10**5000),
        ConversationOpened(Profile("m", 1, (("system", "text"),))),  # type: ignore[arg-type]
        ConversationOpened(Profile("m", 1, "ab")),  # type: ignore[arg-type]
        Fault(FaultKind.AUTH, "no event"),
        None,
    ],
)  # fmt: skip
def test_event_of_wrong_types_is_not_written(event: Any) -> None:
    with pytest.raises(CodecError):
        encode(event)


def test_problem_is_named_with_its_path() -> None:
    row = encode(TurnFailed(1, 1, Fault(FaultKind.AUTH, "x", status=401)))
    spoiled = row._replace(meta=row.meta.replace(b"401", b'"401"'))

    with pytest.raises(CodecError) as raised:
        decode(spoiled)
    assert raised.value.kind == "turn_failed"
    assert raised.value.path == "$.fault.status"
    assert raised.value.problem == "expected an integer, found str"

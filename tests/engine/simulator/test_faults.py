"""Fault scripts: their text, and which request meets which fault."""

import string

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.simulator import (
    CutEvents,
    CutPercent,
    Empty,
    ErrorEvent,
    ExpireThreads,
    FaultScriptError,
    Garbled,
    Html,
    LimitChange,
    NoAnswer,
    RuleSwitch,
    ScriptedFault,
    Slow,
    Span,
    Status,
    When,
    parse_faults,
)
from turnlatch.simulator.faults import CUT_ENDINGS, HANGUPS, KINDS
from turnlatch.simulator.schedule import Circumstances, Faults
from turnlatch_states.fsm.errors import TurnlatchError

COUNTS = st.integers(0, 10**9 - 1)
POSITIVE = st.integers(1, 10**9 - 1)
SECONDS = st.floats(0, 1e9, allow_nan=False)
TEXT = st.text(max_size=20)
STATUSES = st.integers(400, 599)
HEADERS = st.tuples(
    st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry", "anthropic-a"]),
    st.text(string.ascii_letters + string.digits + ",;=/:", min_size=1, max_size=9),
)
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True)

ACTIONS = st.one_of(
    st.builds(
        Status,
        STATUSES,
        st.lists(HEADERS, max_size=3).map(tuple),
        st.none() | TEXT,
        st.none() | TEXT,
        st.none() | TEXT,
    ),
    st.builds(CutEvents, COUNTS, st.sampled_from(CUT_ENDINGS)),
    st.builds(CutPercent, st.integers(0, 100), st.sampled_from(CUT_ENDINGS)),
    st.builds(ErrorEvent, TEXT, COUNTS, st.none() | TEXT),
    st.builds(Slow, st.sampled_from(["headers", "events"]), SECONDS),
    st.builds(Garbled, st.sampled_from(["truncated", "malformed"])),
    st.builds(Html, STATUSES),
    st.just(Empty()),
    st.builds(NoAnswer, st.sampled_from(HANGUPS)),
    st.builds(RuleSwitch, TEXT, st.booleans()),
    st.builds(LimitChange, NAMES, COUNTS),
    st.just(ExpireThreads()),
)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    first = draw(st.integers(1, 10**6))
    return Span(first, draw(st.none() | st.integers(first, 10**7)))


@st.composite
def whens(draw: st.DrawFn) -> When:
    forever = draw(st.booleans())
    begins = draw(SECONDS)
    return When(
        tuple(draw(st.lists(spans(), max_size=3))),
        every=draw(st.none() | POSITIVE),
        times=None if forever else draw(st.none() | POSITIVE),
        forever=forever,
        kind=draw(st.sampled_from(KINDS)),
        model=draw(st.none() | TEXT),
        body=draw(st.none() | TEXT),
        at_seconds=begins,
        until_seconds=draw(st.none() | st.just(begins * 2 + 1)),
    )


FAULTS = st.builds(ScriptedFault, ACTIONS, whens())


@given(st.lists(FAULTS, max_size=4))
def test_a_script_survives_being_written_and_read(script: list[ScriptedFault]) -> None:
    text = ", ".join(str(fault) for fault in script)

    assert parse_faults(text) == tuple(script)


@given(st.text(alphabet='429 cut@-+%,"=eofrstha\n', max_size=30))
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    refusal: FaultScriptError | None = None
    try:
        parse_faults(text)
    except FaultScriptError as problem:
        refusal = problem

    if refusal is not None:
        assert 0 <= refusal.position <= len(text)
        assert text[refusal.position :].startswith(refusal.token)
        assert refusal.allowed


def test_the_example_means_what_it_says() -> None:
    script = parse_faults("429 retry-after=2 @2, cut 3 eof @4\n529 @5-6")

    assert script == (
        ScriptedFault(Status(429, (("retry-after", "2"),)), When((Span(2, 2),))),
        ScriptedFault(CutEvents(3, "eof"), When((Span(4, 4),))),
        ScriptedFault(Status(529), When((Span(5, 6),))),
    )


@pytest.mark.parametrize(
    ("text", "token", "position", "allowed"),
    [
        ("428x", "428x", 0, "a status"),
        ("429 foo=1", "foo=1", 4, "retry-after="),
        ("429 @2, cut x", "x", 12, "a number of events"),
        ("429 @0", "@0", 4, "@N"),
        ("slow body 3s", "body", 5, "headers, events"),
        ("429 on streams", "streams", 7, "stream"),
        ("cut 3 eof @", "@", 10, "@N"),
        ("empty", "", 5, "200"),
        ("html 200", "html", 0, "400 to 599"),
        ("529 forever times 2", "forever", 4, "not both"),
        ("529 every 2 every 3", "every", 12, "each condition once"),
        (", 429", ",", 0, "a status"),
    ],
)
def test_a_bad_script_names_the_word_the_place_and_what_is_allowed(
    text: str, token: str, position: int, allowed: str
) -> None:
    with pytest.raises(FaultScriptError) as caught:
        parse_faults(text)

    assert isinstance(caught.value, TurnlatchError)
    assert (caught.value.token, caught.value.position) == (token, position)
    assert allowed in caught.value.allowed
    assert f"position {position}" in str(caught.value)


def fired(text: str, count: int, now: Circumstances | None = None) -> list[list[str]]:
    """The actions that each of some equal requests meets."""
    faults = Faults(parse_faults(text))
    usual = Circumstances(1, frozenset({"messages", "stream"}), "m", b"body", 0.0)
    base = now or usual
    return [
        [str(action) for action in faults.due(attrs.evolve(base, number=number))]
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("529", [1]),
        ("529 times 2", [1, 2]),
        ("529 forever", [1, 2, 3, 4, 5, 6]),
        ("529 @2", [2]),
        ("529 @2-4", [2, 3, 4]),
        ("529 @5+", [5, 6]),
        ("529 @1 @4+", [1, 4, 5, 6]),
        ("529 @2+ times 2", [2, 3]),
        ("529 every 3", [3, 6]),
        ("529 every 2 times 1", [2]),
        ("529 on compaction", []),
        ("529 on stream", [1]),
        ("529 on plain forever", []),
        ("529 model=m", [1]),
        ("529 model=n forever", []),
        ("529 body=od", [1]),
        ('529 body="no such" forever', []),
        ("529 at t=1 forever", []),
    ],
)
def test_a_fault_meets_the_requests_it_names(text: str, numbers: list[int]) -> None:
    met = fired(text, 6)

    assert [place for place, due in enumerate(met, 1) if due] == numbers


def test_of_faults_that_spoil_a_response_only_one_meets_a_request() -> None:
    assert fired("429, 529, slow headers 1s forever", 3) == [
        ["429", "slow headers 1s"],
        ["529", "slow headers 1s"],
        ["slow headers 1s"],
    ]


def test_a_cut_after_events_waits_for_a_stream() -> None:
    plain = Circumstances(1, frozenset({"messages", "plain"}), "m", b"", 0.0)

    assert fired("cut 3 eof forever", 2, plain) == [[], []]
    assert fired("cut 30% eof", 1, plain) == [["cut 30% eof"]]


def test_time_opens_and_closes_a_window() -> None:
    faults = Faults(parse_faults("529 at t=10 until t=20 forever"))
    kinds = Circumstances(1, frozenset({"messages"}), None, b"", 0.0).kinds
    met = [
        bool(faults.due(Circumstances(1, kinds, None, b"", seconds)))
        for seconds in (0.0, 9.9, 10.0, 19.9, 20.0)
    ]

    assert met == [False, False, True, True, False]

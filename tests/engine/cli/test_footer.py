"""The footer follows from what happened and the clock, and from nothing else."""

import json
import re
from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.journal.test_codec import EVENTS

from turnlatch.cli.footer import (
    Progress,
    Standing,
    count,
    countdown,
    duration,
    footer,
    progress_of,
)
from turnlatch.cli.terminal import Look, cells
from turnlatch.cli.transcript import Transcript, log_lines
from turnlatch.ports import BlockOpened, TextDelta, ThinkingDelta
from turnlatch.result import Turn
from turnlatch.watching.events import (
    Arrived,
    Cursor,
    Missed,
    Recorded,
    StreamEvent,
    TurnEnded,
)
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply, ToolUse, Usage
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.events import (
    CallStarted,
    RequestSent,
    RetryScheduled,
    TurnFailed,
    TurnRetried,
)
from turnlatch_states.machine.snapshot import Call, Move, Suspension
from turnlatch_states.machine.turn import TurnState
from turnlatch_states.recovery.cache_guard import PrefixChange
from turnlatch_states.request.profile import Purpose

AT = Cursor()
LOOK = Look()
HERE = Standing(False, "claude-sonnet-5-5", "notes", 0, 8400, 134)
OVERLOADED = Fault(
    FaultKind.TRANSIENT, "Overloaded", 529, "overloaded_error", request_id="req_1"
)


def moved(source: str, target: str) -> Recorded:
    event = RequestSent(1, 1) if target == "sent" else TurnRetried(1, asked=False)
    return Recorded(AT, 1, event, Move("-", source, target))


def failed(fault: Fault) -> Recorded:
    return Recorded(AT, 1, TurnFailed(1, 1, fault), Move("fail", "sent", "failed"))


def waiting(failures: int, seconds: float, due: float, most: int = 8) -> Recorded:
    return Recorded(AT, 1, RetryScheduled(1, failures, seconds, due, most))


def called(state: CallState) -> Recorded:
    call = Call(ToolUse("t1", "bash", {}), state)
    return Recorded(AT, 1, CallStarted(1, "t1", "k"), calls=(call,))


def ended(state: TurnState, fault: Fault | None = None) -> TurnEnded:
    turn = Turn(1, state, Purpose.MESSAGE, (), (), Usage(), (), fault, 1, 0)
    return TurnEnded(AT, turn)


SENT: list[tuple[float, StreamEvent]] = [(100.0, moved("pending", "sent"))]
FAILED: list[tuple[float, StreamEvent]] = [
    *SENT,
    (101.0, failed(OVERLOADED)),
    (101.0, waiting(1, 6.0, 107.0)),
]
RETRIED: list[tuple[float, StreamEvent]] = [
    *FAILED,
    (107.0, moved("failed", "pending")),
    (107.0, moved("pending", "sent")),
]


def state_line(happened: Sequence[tuple[float, StreamEvent]], now: float) -> str:
    return footer(progress_of(happened), HERE, now, LOOK, 110)[0]


@pytest.mark.parametrize(
    ("happened", "now", "shown"),
    [
        ([], 0.0, "ready"),
        (SENT, 101.5, "◐ sent  waiting for the answer · 1.5 s"),
        (SENT, 120.0, "◐ sent  silent 20 s · 20 s"),
        (FAILED, 101.0, "retry 2/8 in 6 s · req_1"),
        (FAILED, 104.5, "✕ failed → ○ pending  529 overloaded · retry 2/8 in 3 s"),
        (FAILED, 106.9, "retry 2/8 in 1 s"),
        (FAILED, 107.5, "retry 2/8 in now"),
        ([*FAILED, (101.0, waiting(1, 6.0, 107.0, 0))], 101.0, "retry 2 in 6 s"),
        (RETRIED, 108.0, "◐ sent  waiting for the answer · 1.0 s · attempt 2"),
        ([*SENT, (102.0, ended(TurnState.CONFIRMED))], 500.0, "✓ confirmed  2.0 s"),
        (
            [*SENT, (102.0, ended(TurnState.FAILED, OVERLOADED))],
            500.0,
            "✕ failed  529 overloaded · input kept · /retry  /why",
        ),
        (
            [*SENT, (101.0, Arrived(AT, 1, 1, TextDelta(0, "Hello")))],
            102.0,
            "streaming · 5 characters · 2.0 s",
        ),
        (
            [*SENT, (101.0, Arrived(AT, 1, 1, ThinkingDelta(0, "hm")))],
            102.0,
            "thinking",
        ),
        (
            [*SENT, (101.0, Arrived(AT, 1, 1, BlockOpened(0, "tool_use", "bash")))],
            102.0,
            "asking for bash",
        ),
        (
            [
                *SENT,
                (101.0, moved("sent", "confirmed")),
                (101.0, called(CallState.STARTED)),
            ],
            103.0,
            "✓ confirmed  running bash · 2.0 s",
        ),
        ([(100.0, moved("pending", "compacting"))], 114.0, "≡ compacting  14 s"),
    ],
)
def test_the_state_line_says_where_the_turn_stands(
    happened: list[tuple[float, StreamEvent]], now: float, shown: str
) -> None:
    assert shown in state_line(happened, now)


@given(st.floats(101.0, 106.999))
def test_the_countdown_really_counts_down(now: float) -> None:
    found = re.search(r"in (\d+) s", state_line(FAILED, now))

    assert found is not None
    left = 107.0 - now
    assert left <= int(found[1]) < left + 1


def test_nothing_of_a_retry_is_left_once_it_is_over() -> None:
    over = [*RETRIED, (108.0, moved("sent", "confirmed"))]

    line = state_line([*over, (108.0, ended(TurnState.CONFIRMED))], 109.0)

    assert "retry" not in line
    assert "529" not in line
    assert progress_of(over).failures == 0


def test_a_new_turn_begins_with_nothing_of_the_last() -> None:
    last = [*FAILED, (102.0, ended(TurnState.FAILED, OVERLOADED))]

    fresh = progress_of([*last, (200.0, moved("pending", "sent"))])

    assert fresh == Progress(state="sent", turn=1, began=200.0, since=200.0)


def test_footer_begins_with_the_endpoint() -> None:
    live = Standing(True, "m", "notes", 4, 0, 0)

    assert footer(Progress(), HERE, 0, LOOK, 80)[1] == (
        "SIM claude-sonnet-5-5 │ no turn yet │ 8.4k in 134 out │ notes"
    )
    assert footer(Progress(), live, 0, LOOK, 80)[1].startswith("LIVE m │ turn 4")


def rested(fault: Fault | None, waits: Suspension | None, missed: str) -> TurnEnded:
    state = TurnState.CONFIRMED if fault is None else TurnState.FAILED
    reason = {"cache_miss_reason": {"type": missed}}
    replies = (Reply(b"", json.dumps({"diagnostics": reason}).encode()),)
    turn = Turn(1, state, Purpose.MESSAGE, replies, (), Usage(), (), fault, 1, 0)
    return TurnEnded(AT, attrs.evolve(turn, suspended=waits))


FAULTS = st.builds(Fault, st.sampled_from(FaultKind), st.text())
UNTIL = st.none() | st.floats(0, 999)

DELTAS = st.one_of(
    st.builds(TextDelta, st.just(0), st.text()),
    st.builds(ThinkingDelta, st.just(0), st.text()),
    st.builds(BlockOpened, st.just(0), st.text(), st.none() | st.text()),
)

MOVES = st.builds(
    Move, st.text(), st.sampled_from(TurnState), st.sampled_from(TurnState)
)

CHANGES = st.builds(
    PrefixChange,
    st.text(),
    st.integers(0),
    st.binary(),
    st.binary(),
    st.integers(0),
    st.text(),
)

CALLS = st.builds(
    Call,
    st.builds(ToolUse, st.text(max_size=3), st.text(), st.just({"a": "\x1b"})),
    st.sampled_from(CallState),
    st.none() | st.sampled_from(Closing),
)

STREAM_EVENTS: st.SearchStrategy[StreamEvent] = st.one_of(
    st.builds(
        Recorded,
        st.just(AT),
        st.integers(0, 2),
        EVENTS,
        st.none() | MOVES,
        st.none() | CHANGES,
        calls=st.lists(CALLS, max_size=2).map(tuple),
    ),
    st.builds(Arrived, st.just(AT), st.just(1), st.just(1), DELTAS),
    st.builds(
        ended,
        st.sampled_from([TurnState.CONFIRMED, TurnState.FAILED]),
        st.none() | FAULTS,
    ),
    st.builds(
        rested,
        st.none() | FAULTS,
        st.none() | st.builds(Suspension, st.text(), UNTIL),
        st.text(),
    ),
    st.builds(Missed, st.just(AT), st.just(AT), st.integers(0)),
)


@given(
    st.lists(st.tuples(st.floats(0, 999), STREAM_EVENTS), max_size=12),
    st.floats(0, 2000),
    st.integers(10, 120),
    st.text(max_size=20),
    st.booleans(),
)
def test_both_lines_always_fit_and_contain_no_control_characters(
    happened: list[tuple[float, StreamEvent]],
    now: float,
    width: int,
    name: str,
    ascii_only: bool,
) -> None:
    standing = Standing(False, name, name)

    lines = footer(progress_of(happened), standing, now, Look(ascii=ascii_only), width)

    for line in lines:
        assert cells(line) <= width
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)


@given(st.lists(st.tuples(st.floats(0, 999), STREAM_EVENTS), max_size=12))
def test_transcript_and_log_contain_no_control_characters(
    happened: list[tuple[float, StreamEvent]],
) -> None:
    transcript = Transcript(LOOK, lambda: 80, lambda _: [])

    told = "".join(transcript.tell(each, at) for at, each in happened)

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", told)
    for _, each in happened:
        for line in log_lines(each, "-") if isinstance(each, Recorded) else ():
            assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)


def test_numbers_are_short_and_never_too_small() -> None:
    assert [duration(s) for s in (0, 0.44, 9.94, 9.96, 59.4, 125)] == [
        *("0.0 s", "0.4 s", "9.9 s", "10 s", "59 s", "2 min 5 s")
    ]
    assert [countdown(s) for s in (0, 0.1, 1, 1.01, 60)] == [
        *("now", "1 s", "1 s", "2 s", "1 min 0 s")
    ]
    assert [count(n) for n in (0, 999, 1000, 999_949, 999_950, 1_200_000)] == [
        *("0", "999", "1.0k", "999.9k", "1.0M", "1.2M")
    ]

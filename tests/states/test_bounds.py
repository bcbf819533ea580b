"""Numbers that others name are bounded where they enter, whatever they are."""

import math
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.cli.footer import Progress
from turnlatch.watching.events import Cursor, Recorded
from turnlatch_states.api.bounds import (
    MOMENT_MAX,
    TOKENS_MAX,
    WAIT_MAX_SECONDS,
    bounded_moment,
    bounded_tokens,
    bounded_wait,
)
from turnlatch_states.api.faults import Fault, FaultKind, RetryPolicy
from turnlatch_states.api.length_errors import told
from turnlatch_states.api.reply import ToolUse, Usage
from turnlatch_states.machine.events import RetryScheduled
from turnlatch_states.machine.snapshot import Call, Suspension

ABSURD: list[float] = [
    1e18,
    1e300,
    10**400,
    math.inf,
    -math.inf,
    math.nan,
    -1.0,
    -1e300,
]
NUMBERS = st.floats() | st.sampled_from(ABSURD)


@given(NUMBERS)
def test_bounded_wait_is_absent_or_within_the_limit(seconds: float) -> None:
    found = bounded_wait(seconds)

    assert found is None or 0 < found <= WAIT_MAX_SECONDS
    if 0 < seconds <= WAIT_MAX_SECONDS:
        assert found == seconds


@given(NUMBERS)
def test_a_moment_has_a_date(seconds: float) -> None:
    found = bounded_moment(seconds)

    datetime.fromtimestamp(found, UTC)
    assert len(time.strftime("%Y-%m-%d", time.localtime(found))) == 10
    if 0 <= seconds <= MOMENT_MAX:
        assert found == seconds


@given(st.integers() | st.sampled_from([10**30, -1, True, None, "7", 1.5]))
def test_a_count_is_one(value: object) -> None:
    found = bounded_tokens(value)

    assert type(found) is int
    assert 0 <= found <= TOKENS_MAX


@pytest.mark.parametrize("absurd", ABSURD)
def test_no_state_and_no_display_holds_a_number_that_no_clock_has(
    absurd: float,
) -> None:
    fault = Fault(FaultKind.TRANSIENT, "m", retry_after=absurd)
    waits = RetryScheduled(1, 1, absurd, absurd)
    shown = Progress().after(Recorded(Cursor(), 1, waits), 0.0).waiting
    asked = Call(ToolUse("toolu_1", "pay", {}), expires=absurd)

    assert fault.hint is None or fault.hint <= WAIT_MAX_SECONDS
    assert shown is not None
    assert 0 <= shown.wait_seconds <= WAIT_MAX_SECONDS
    until = Suspension("why", absurd).until
    for moment in (shown.due, until, asked.expires):
        assert moment is not None
        assert 0 <= moment <= MOMENT_MAX


@pytest.mark.parametrize("absurd", ABSURD)
def test_no_decision_waits_longer_than_anybody_does(absurd: float) -> None:
    policy = RetryPolicy(hint_max_seconds=1e308)
    fault = Fault(FaultKind.TRANSIENT, "m", retry_after=absurd)

    wait = policy.wait(fault, 1, 0.5)

    assert wait is not None
    assert 0 < wait <= WAIT_MAX_SECONDS + 1


def test_tokens_are_bounded_in_usage_and_in_words() -> None:
    many = 10**400
    assert Usage.read({"input_tokens": many, "output_tokens": -5}) == Usage(TOKENS_MAX)
    for digits in range(1, 300):
        found = told(f"prompt is too long: {'9' * digits} tokens > 200000 maximum")
        assert found is None or (found.prompt or 0) <= TOKENS_MAX

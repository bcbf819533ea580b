"""The classification of faults: total, explicit, and abreast of the SDK."""

import typing
from collections.abc import Mapping

import pytest
from anthropic._error_classes import ERROR_CLASSES
from anthropic.types import StopReason
from anthropic.types.beta import BetaStopReason
from anthropic.types.shared.error_type import ErrorType
from hypothesis import given
from hypothesis import strategies as st

from detent_states.faults import (
    BY_CODE,
    BY_STATUS,
    BY_TYPE,
    Fault,
    FaultKind,
    RetryPolicy,
    classify,
    named_path,
)
from detent_states.outcome import STOP_REASONS

TABLES: tuple[tuple[Mapping[typing.Any, object], set[object]], ...] = (
    (BY_CODE, {code for _, code in ERROR_CLASSES if code is not None}),
    (BY_STATUS, {status for status, _ in ERROR_CLASSES}),
    (BY_TYPE, set(typing.get_args(ErrorType))),
    (
        STOP_REASONS,
        {*typing.get_args(StopReason), *typing.get_args(BetaStopReason)},
    ),
)


def missing(table: Mapping[typing.Any, object], known: set[object]) -> set[object]:
    return known - set(table)


@pytest.mark.parametrize(("table", "known"), TABLES)
def test_whatever_the_sdk_knows_is_explicit_here(
    table: Mapping[typing.Any, object], known: set[object]
) -> None:
    assert known
    assert missing(table, known) == set()


@pytest.mark.parametrize(("table", "known"), TABLES)
def test_forgotten_entry_is_noticed(
    table: Mapping[typing.Any, object], known: set[object]
) -> None:
    """The test above, with one entry planted out of each table in turn."""
    for entry in known:
        rest = {key: value for key, value in table.items() if key != entry}
        assert missing(rest, known) == {entry}


@given(
    st.none() | st.integers(100, 999),
    st.none() | st.text() | st.sampled_from(sorted(BY_TYPE)),
    st.none() | st.text() | st.sampled_from(sorted(BY_CODE)),
    st.text(),
)
def test_every_fault_has_exactly_one_kind(
    status: int | None, type_: str | None, code: str | None, message: str
) -> None:
    assert classify(status, type_, code, message) in FaultKind


@pytest.mark.parametrize(
    ("status", "type_", "code", "message", "kind"),
    [
        (None, None, None, "reset", FaultKind.TRANSIENT),
        (404, "not_found_error", "thread_not_found", "No thread", FaultKind.THREAD),
        (409, "conflict_error", "skill_name_taken", "taken", FaultKind.TRANSIENT),
        (404, "not_found_error", None, "model: claude-0", FaultKind.MODEL_GONE),
        (404, "not_found_error", None, "Not found", FaultKind.INVALID),
        (429, "rate_limit_error", None, "slow down", FaultKind.TRANSIENT),
        (429, None, "enforced_spend_limit_reached", "limit", FaultKind.BILLING),
        (
            429,
            None,
            None,
            "You have reached your API usage limits: …",
            FaultKind.BILLING,
        ),
        (
            400,
            None,
            None,
            "Your credit balance is too low to access …",
            FaultKind.BILLING,
        ),
        (400, None, None, "prompt is too long: 9 tokens > 8", FaultKind.TOO_LONG),
        (413, "request_too_large", None, "too large", FaultKind.TOO_LONG),
        (
            400,
            None,
            None,
            "diagnostics.previous_message_id: …",
            FaultKind.OPTIONAL_FIELD,
        ),
        (400, None, None, "messages.1.content.0: empty", FaultKind.BLOCK),
        (
            400,
            None,
            None,
            "messages.1.content.0: Invalid `signature` in `thinking` block",
            FaultKind.THINKING,
        ),
        (400, "invalid_request_error", None, "no idea", FaultKind.INVALID),
        (418, None, None, "teapot", FaultKind.INVALID),
        (307, None, None, "redirected", FaultKind.INVALID),
        (499, None, None, "closed", FaultKind.TRANSIENT),
        (599, None, None, "odd", FaultKind.TRANSIENT),
        (200, "overloaded_error", None, "Overloaded", FaultKind.TRANSIENT),
        (200, None, None, "?", FaultKind.TRANSIENT),
        (200, "invalid_request_error", None, "blocked", FaultKind.INVALID),
        (200, "authentication_error", None, "gone", FaultKind.AUTH),
    ],
)
def test_known_answers_have_known_kinds(
    status: int | None,
    type_: str | None,
    code: str | None,
    message: str,
    kind: FaultKind,
) -> None:
    assert classify(status, type_, code, message) is kind


def test_named_path_is_the_part_of_the_request() -> None:
    assert named_path("messages.1.content.0: empty") == "messages.1.content.0"
    assert named_path("tools.3.custom.name: String …") == "tools.3.custom.name"
    assert named_path("prompt is too long") is None


def test_fault_is_one_line() -> None:
    fault = Fault(FaultKind.TRANSIENT, "Busy", status=529, request_id="req_1")

    assert str(fault) == "529: Busy (req_1)"
    assert str(Fault(FaultKind.AUTH, "no key")) == "auth: no key"


@given(st.integers(1, 7), st.floats(0, 1, exclude_max=True))
def test_wait_keeps_to_the_hint_and_to_its_bounds(failures: int, draw: float) -> None:
    policy = RetryPolicy()

    plain = policy.wait(Fault(FaultKind.TRANSIENT, "m"), failures, draw)
    hinted = policy.wait(
        Fault(FaultKind.TRANSIENT, "m", retry_after=60), failures, draw
    )

    assert plain is not None
    assert 0 < plain <= policy.wait_max_seconds
    assert hinted is not None
    assert hinted >= 60


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_however_often_it_failed_a_wait_is_a_number(failures: int, draw: float) -> None:
    policy = RetryPolicy(attempts_max=10**10, jitter=0.0)
    wait = policy.wait(Fault(FaultKind.TRANSIENT, "m"), failures, draw)

    assert wait is not None
    assert wait <= policy.wait_max_seconds
    if failures > 7:
        assert wait == policy.wait_max_seconds


@pytest.mark.parametrize(
    ("fault", "failures"),
    [
        (Fault(FaultKind.TRANSIENT, "m"), 8),
        (Fault(FaultKind.TRANSIENT, "m", retry_after=121), 1),
        (Fault(FaultKind.TRANSIENT, "m", retry_refused=True), 1),
        (Fault(FaultKind.AUTH, "m"), 1),
    ],
)
def test_some_faults_are_not_waited_out(fault: Fault, failures: int) -> None:
    assert RetryPolicy().wait(fault, failures, 0.5) is None

"""The classification of faults: total, explicit, and abreast of the SDK."""

import ast
import difflib
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import anthropic
import pytest
from anthropic._error_classes import ERROR_CLASSES
from anthropic.types import StopReason
from anthropic.types.beta import BetaStopReason
from anthropic.types.shared.error_type import ErrorType
from hypothesis import given
from hypothesis import strategies as st

from turnlatch_states.api.error_codes import BY_CODE, CODE_MAX, FAMILIES, Family, family
from turnlatch_states.api.faults import (
    BY_STATUS,
    BY_TYPE,
    DEFINITE,
    SUSPENDING,
    Fault,
    FaultKind,
    RetryPolicy,
    classify,
    named_path,
)
from turnlatch_states.api.stop_reasons import STOP_REASONS

ROOT: Final = Path(__file__).parents[2]
REQUIREMENTS: Final = (ROOT / "requirements.txt").read_text("utf-8")

TABLES: tuple[tuple[Mapping[typing.Any, object], set[object]], ...] = (
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


SDK_CODES = sorted((status, code) for status, code in ERROR_CLASSES if code)
"""Every code that the installed SDK knows, with the status it comes with."""


def unplaced(codes: Iterable[str], table: Mapping[str, object]) -> list[str]:
    """The codes that neither the table nor a family has a meaning for."""
    return [one for one in codes if one not in table and family(one) is None]


def test_every_code_that_the_sdk_knows_has_a_meaning_or_a_family() -> None:
    assert len(SDK_CODES) > 80
    assert unplaced([code for _, code in SDK_CODES], BY_CODE) == [], (
        "say what it means in `BY_CODE`, or which of `FAMILIES` it belongs to"
        " (turnlatch_states.api.error_codes)"
    )


pinned_sdk = pytest.mark.skipif(
    f"anthropic=={anthropic.__version__} " not in REQUIREMENTS,
    reason="an older SDK does not know all codes, and a newer one may have let go of some",
)


def misspelt(source: str) -> list[str]:
    """The texts of a module that are nearly a code of the SDK, and none."""
    codes = {code for _, code in SDK_CODES}
    texts = {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"[a-z]+(_[a-z]+)+", node.value)
    }
    return sorted(
        one for one in texts - codes if difflib.get_close_matches(one, codes, 1, 0.9)
    )


def unknown_codes(codes: Iterable[str]) -> list[str]:
    """The codes that the SDK does not know."""
    return sorted(set(codes) - {code for _, code in SDK_CODES})


@pinned_sdk
def test_every_code_that_has_a_meaning_is_one_that_the_sdk_knows() -> None:
    """A code of our own invention would never match anything."""
    assert unknown_codes(BY_CODE) == []


@pinned_sdk
def test_no_code_is_misspelt() -> None:
    for room in ("states", "engine"):
        for path in sorted((ROOT / room).rglob("*.py")):
            assert misspelt(path.read_text("utf-8")) == [], path


@pinned_sdk
def test_the_checks_see_a_misspelt_code() -> None:
    assert unknown_codes([*BY_CODE, "thread_not_foud"]) == ["thread_not_foud"]
    planted = 'Refusal(404, "not_found_error", message, "thread_not_foud")'
    assert misspelt(planted) == ["thread_not_foud"]
    assert misspelt(planted.replace("foud", "found")) == []


def test_code_without_a_meaning_is_noticed() -> None:
    assert unplaced(["frobnication_failed"], BY_CODE) == ["frobnication_failed"]
    for code in BY_CODE:
        rest = {name: kind for name, kind in BY_CODE.items() if name != code}
        assert unplaced(BY_CODE, rest) == [code]


def made_up(one: Family) -> Iterator[str]:
    """A code of tomorrow for everything that makes a code a member of the family."""
    yield from (f"{start}_of_tomorrow_exceeded" for start in one.starts)
    yield from (f"linked_{word}_of_tomorrow" for word in one.words)
    yield from (f"frobnication_{end}" for end in one.ends)


MADE_UP = [(one, code) for one in FAMILIES for code in made_up(one)]


@pytest.mark.parametrize(
    ("one", "code"), MADE_UP, ids=lambda it: getattr(it, "name", it)
)
def test_unknown_code_means_what_its_family_means(one: Family, code: str) -> None:
    assert code not in BY_CODE
    assert family(code) is one
    for status in (400, 404, 412, 422):
        for words in ("said", "messages.1.content.0: said", "prompt is too long"):
            kind = classify(status, "invalid_request_error", code, words)
            assert kind is one.kind, (status, words)
    assert classify(200, "invalid_request_error", code, "said") is one.kind
    # What says more than that the request is refused stands.
    assert classify(503, "api_error", code, "said") is FaultKind.TRANSIENT
    assert classify(401, "authentication_error", code, "") in SUSPENDING
    assert classify(413, "request_too_large", code, "") in (
        FaultKind.TOO_LONG,
        FaultKind.BILLING,
    )
    busy = FaultKind.BILLING if one.kind is FaultKind.BILLING else FaultKind.TRANSIENT
    assert classify(429, "rate_limit_error", code, "said") is busy
    assert classify(400, "billing_error", code, "said") in (one.kind, FaultKind.BILLING)


@pytest.mark.parametrize(
    "code",
    [
        "message_role_invalid",
        "content_policy_violation",
        "image_format_unknown",
        "tool_input_malformed",
        "document_pages_exceeded",
        "thinking_signature_unverifiable",
        "frobnication_failed",
        "keyboard_missing",
        "regional",
        "",
        "organization" * CODE_MAX,
    ],
)
def test_code_about_content_has_no_family(code: str) -> None:
    """Trouble with a part of the conversation is still looked for in it."""
    assert family(code) is None
    assert classify(400, None, code, "no idea") is FaultKind.INVALID
    assert classify(400, None, code, "messages.1: bad") is FaultKind.BLOCK


ABOUT_THE_REQUEST = {
    "available_tools_limit_exceeded",
    "request_body_encoding_invalid",
    "request_body_encoding_unsupported",
    "tool_name_conflict",
    "tool_reference_unresolved",
    "unsupported_charset",
    # of other endpoints, and in words that a Messages request could meet
    "heartbeat_precondition_failed",
    "invalid_config_type_change",
    "invalid_metadata",
}
"""The codes of the SDK, all known, that may be looked for in what was sent."""


@pytest.mark.parametrize(("status", "code"), SDK_CODES)
def test_no_code_about_an_account_is_looked_for_in_the_history(
    status: int, code: str
) -> None:
    kind = classify(status, "invalid_request_error", code, "said")

    if code not in ABOUT_THE_REQUEST:
        assert kind is not FaultKind.INVALID
    if kind in DEFINITE - {FaultKind.INVALID}:
        assert code.startswith(("thread_", "file_", "image_", "request_body_")), kind


@given(
    st.none() | st.integers(100, 999),
    st.none() | st.text() | st.sampled_from(sorted(BY_TYPE)),
    st.none()
    | st.text()
    | st.sampled_from([*sorted(BY_CODE), *(c for _, c in MADE_UP)]),
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
        (409, "conflict_error", "storage_in_use", "used", FaultKind.TRANSIENT),
        (400, None, "spend_limit_of_tomorrow", "no", FaultKind.BILLING),
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

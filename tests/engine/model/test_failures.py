"""Faults: every exception of the SDK and its transport is known by name."""

from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.model.known import sdk_exceptions, transport_exceptions

from turnlatch.sdk.failures import (
    EXCEPTIONS,
    fault_of,
    from_status,
    meaning,
    retry_after,
    tells_secrets,
)
from turnlatch_states.api.faults import FaultKind

NOW = 1_800_000_000.0
REQUEST = httpx2.Request("POST", "https://api.test/v1/messages")


def unmapped(known: frozenset[str] | set[str]) -> set[str]:
    """The exception classes that are not known by name."""
    # Its tools are left out: no request passes them.
    found = {one for one in sdk_exceptions() if ".tools" not in one.__module__}
    # A status has a class, and the status is what is read; see the tests of faults.
    found = {one for one in found if anthropic.APIStatusError not in one.__mro__[1:]}
    found |= transport_exceptions()
    return {one.__name__ for one in found} - known


def test_every_exception_of_the_sdk_is_mapped() -> None:
    assert unmapped(set(EXCEPTIONS)) == set()


@pytest.mark.parametrize(
    "name", ["ReadError", "WorkloadIdentityError", "APITimeoutError"]
)
def test_unmapped_exception_is_noticed(name: str) -> None:
    assert unmapped(set(EXCEPTIONS) - {name}) == {name}


@pytest.mark.parametrize(
    ("error", "kind", "unknown"),
    [
        (anthropic.APIConnectionError(request=REQUEST), "transient", True),
        (anthropic.APITimeoutError(REQUEST), "transient", True),
        (anthropic.CredentialsError("no file"), "auth", False),
        (anthropic.AnthropicError("?"), "transient", True),
        (httpx2.UnsupportedProtocol("ftp"), "local", False),
        (httpx2.DecodingError("gzip"), "transient", True),
        (ValueError("bad"), "local", False),
        (TypeError('"Could not resolve authentication method. …"'), "auth", False),
        (LookupError("from a middleware"), "local", True),
        (ConnectionResetError(104, "reset"), "transient", True),
    ],
)
def test_exceptions_become_faults(error: Exception, kind: str, unknown: bool) -> None:
    fault = fault_of(error, NOW)

    assert fault.kind == kind
    assert fault.outcome_unknown is unknown
    assert fault.message
    assert "\n" not in fault.message


def wrapped(cause: Exception) -> Exception:
    error = anthropic.APIConnectionError(request=REQUEST)
    error.__cause__ = cause
    return error


def test_wrapped_exception_means_what_its_cause_means() -> None:
    assert not fault_of(wrapped(httpx2.ConnectError("refused")), NOW).outcome_unknown
    assert (
        "ConnectError: refused"
        in fault_of(wrapped(httpx2.ConnectError("refused")), NOW).message
    )
    assert fault_of(wrapped(httpx2.ReadError("reset")), NOW).outcome_unknown
    closed = fault_of(wrapped(RuntimeError("the client has been closed")), NOW)
    assert closed.kind is FaultKind.LOCAL


def test_answer_that_a_hook_refused_is_read_from_its_response() -> None:
    """What `raise_for_status` in a hook of the HTTP client makes of an answer."""
    request = httpx2.Request("POST", "https://api.test/v1/messages")
    answer = httpx2.Response(401, headers={"request-id": "req_1"}, request=request)
    with pytest.raises(httpx2.HTTPStatusError) as caught:
        answer.raise_for_status()

    fault = fault_of(wrapped(caught.value), NOW)

    assert (fault.kind, fault.status) == (FaultKind.AUTH, 401)
    assert fault.request_id == "req_1"
    assert fault.message.startswith("HTTPStatusError: Client error '401")


def test_success_that_the_sdk_does_not_understand_has_an_unknown_outcome() -> None:
    response = httpx2.Response(200, request=REQUEST)
    error = anthropic.APIResponseValidationError(response, {"id": 1})

    fault = fault_of(error, NOW)

    assert (fault.kind, fault.status) == (FaultKind.TRANSIENT, 200)
    assert fault.outcome_unknown


def test_exception_with_an_unusable_answer_is_classified_by_its_class() -> None:
    error = LookupError("of another library")
    error.response = {"status_code": 401}  # type: ignore[attr-defined]

    assert fault_of(error, NOW).kind is FaultKind.LOCAL


def test_exception_that_may_quote_a_header_is_silenced() -> None:
    error = wrapped(
        httpx2.LocalProtocolError("Illegal header value b'Bearer sk-canary'")
    )

    assert "canary" not in str(fault_of(error, NOW))
    assert tells_secrets(error)
    assert not tells_secrets(wrapped(httpx2.ReadError("reset")))


def test_unknown_exception_class_means_the_same_as_its_base() -> None:
    class NewTimeout(httpx2.ReadTimeout):
        pass

    assert meaning(NewTimeout("slow")) is EXCEPTIONS["ReadTimeout"]


def status(code: int, body: object, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return from_status(code, body, httpx2.Headers(named), NOW)


def test_envelope_is_read() -> None:
    fault = status(
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "messages.3.content.1: bad\n  block",
                "details": {"error_code": "new_code"},
            },
            "request_id": "req_body",
        },
    )

    assert (fault.kind, fault.status) == (FaultKind.BLOCK, 400)
    assert (fault.type, fault.code) == ("invalid_request_error", "new_code")
    assert fault.message == "messages.3.content.1: bad block"
    assert fault.path == "messages.3.content.1"
    assert fault.request_id == "req_body"
    assert not fault.outcome_unknown


def test_header_names_the_request_before_the_body_does() -> None:
    fault = status(500, {"request_id": "req_b"}, request_id="req_h")

    assert fault.request_id == "req_h"


def test_exception_of_a_status_is_read_from_its_response() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}
    response = httpx2.Response(
        529, headers={"request-id": "req_1", "retry-after": "7"}, request=REQUEST
    )

    fault = fault_of(anthropic.OverloadedError("?", response=response, body=body), NOW)

    assert str(fault) == "529 overloaded_error: Busy (req_1)"
    assert fault.retry_after == 7
    assert not fault.outcome_unknown


NOTHING: list[object] = []
DETAILED: dict[str, object] = {"detail": [{"loc": NOTHING}]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<html><TITLE>502 Bad\nGateway</TITLE>", "HTML page: 502 Bad Gateway"),
        ("<html>", "HTML page: untitled"),
        ("no route", "the body is text: no route"),
        ("", "the body is empty"),
        (None, "the body is empty"),
        ({"detail": "x"}, "x"),
        ({"message": "x"}, "x"),
        ({"error": "x"}, "x"),
        (NOTHING, "Bad Gateway"),
        (DETAILED, "Bad Gateway"),
    ],
)
def test_body_without_envelope_is_described(body: object, message: str) -> None:
    assert status(502, body).message == message


@pytest.mark.parametrize(
    ("code", "enveloped", "unknown"),
    [
        (400, False, False),
        (429, False, False),
        (500, True, False),
        (529, True, False),
        (502, False, True),
        (503, False, True),
        (504, True, True),
        (408, True, True),
    ],
)
def test_outcome_is_known_only_from_who_knows_it(
    code: int, enveloped: bool, unknown: bool
) -> None:
    error = {"type": "api_error", "message": "m"}

    found = status(code, {"error": error} if enveloped else "<html>")

    assert found.outcome_unknown is unknown


def test_refused_retry_is_noted() -> None:
    assert status(429, None, x_should_retry="false").retry_refused
    assert not status(429, None, x_should_retry="true").retry_refused
    assert not status(429, None).retry_refused


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "30"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "30"}, 30),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:20 GMT"}, 20),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "tomorrow"}, None),
    ],
)
def test_retry_hints(headers: dict[str, str], seconds: float | None) -> None:
    found = retry_after(httpx2.Headers(headers), NOW)

    assert found == (pytest.approx(seconds) if seconds is not None else None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.sampled_from(["error", "type", "message", "details", "error_code", "request_id"]), v),
    max_leaves=6,
)  # fmt: skip


@given(st.integers(300, 999), json_values, st.text(max_size=5))
def test_any_answer_whatever_is_one_fault(code: int, body: object, hint: str) -> None:
    fault = from_status(code, body, {"retry-after": hint}, NOW)

    assert fault.message
    assert len(fault.message) <= 600
    assert fault.status == code

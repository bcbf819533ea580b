"""Every exception of the SDK and its transport, as one `Fault`.

Classes are looked up by name, so that nothing here imports the SDK. A test holds the
table against every exception class that the SDK and its transport define.

When is the outcome unknown? Where a reply may exist that we cannot see:

- never if the request was not sent (no connection, no credentials);
- always if it was sent and the answer was cut off, missing, or not a whole reply;
- not if the API itself answered with an error envelope, because then it knows that there
  is no reply; except for timeouts (408, 499, 504), which are about waiting only;
- always for 2xx and 5xx without an envelope: the answer does not say that there is no
  reply;
- always where a hook of the HTTP client failed at a response: there was one.

What the caller's own code does wrong (hooks, transports, a client that is used in two
event loops) is a fault of kind `local`, whatever its class: sent again, it would be paid
for again, and fail again.
"""

import email.utils
import math
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Protocol, cast, final

import attrs

from turnlatch.errors import words
from turnlatch.sdk.sealing import described, one_line
from turnlatch.urls import shown_text
from turnlatch_states.api.bounds import bounded_wait
from turnlatch_states.api.faults import BY_TYPE, Fault, FaultKind, classify, named_path

MESSAGE_MAX = 500
"""Most characters of a fault's message; the server's own are longer only by mistake."""

NAME_MAX = 200
"""Most characters of what a server calls something: a type, a code, a request's id."""

PATHS_MAX = 1_000
"""Most parts of a request that are read from one refusal."""

TIMEOUT_STATUS = frozenset({408, 499, 504})
"""Statuses that say how long somebody waited and nothing about the reply."""

CREDENTIALS = (
    "no credentials: set ANTHROPIC_API_KEY, or give api_key or a client that has some"
)


class Headers(Protocol):
    """Response headers, looked up without regard to case."""

    def get(self, key: str, /) -> Any:
        """A header's value, or None."""
        ...


@final
@attrs.frozen
class Means:
    """The meaning of one class of exception.

    Attributes:
        kind: The kind of fault.
        unknown: The request may have been answered all the same.
        message: The fault's message; None for the exception's text.
        inner: Ask the exception's cause first: this one only wraps it.
        secret: The exception may quote a header, so neither its text nor the exception
            itself goes any further.
        errand: It comes of another request, made before this one could leave: where
            that one had a bad moment, this one may pass later.
    """

    kind: FaultKind
    unknown: bool = False
    message: str | None = None
    inner: bool = False
    secret: bool = False
    errand: bool = False


_CUT = Means(FaultKind.TRANSIENT, unknown=True)
_UNSENT = Means(FaultKind.TRANSIENT)
_OURS = Means(FaultKind.LOCAL)
_LOGIN = Means(FaultKind.AUTH)
_SPENT = Means(
    FaultKind.LOCAL,
    unknown=True,
    message="the answer was read or closed before it got here, by a hook or a transport"
    " of the HTTP client; in a hook, `await response.aread()` leaves it readable",
)

EXCEPTIONS: Mapping[str, Means] = {
    # anthropic
    "AnthropicError": Means(FaultKind.TRANSIENT, unknown=True, inner=True),
    "APIError": _CUT,
    "APIStatusError": _CUT,  # read from the response; see `from_status`
    "APIConnectionError": Means(FaultKind.TRANSIENT, unknown=True, inner=True),
    "APITimeoutError": Means(FaultKind.TRANSIENT, unknown=True, inner=True),
    "APIResponseValidationError": _CUT,
    "APIWebhookValidationError": _OURS,
    "StreamAlreadyConsumed": _OURS,
    "RetryableError": Means(FaultKind.TRANSIENT, unknown=True, inner=True),
    "CredentialsError": _LOGIN,
    "IdentityTokenFileError": _LOGIN,
    "WorkloadIdentityError": Means(FaultKind.AUTH, errand=True),
    "MutuallyExclusiveAuthError": _LOGIN,
    "MissingDependencyError": _OURS,
    "ToolsetUsageError": _OURS,
    # httpx2: the request did not leave
    "ConnectError": _UNSENT,
    "ConnectTimeout": _UNSENT,
    "PoolTimeout": _UNSENT,
    "ProxyError": _UNSENT,
    "UnsupportedProtocol": _OURS,
    "InvalidURL": _OURS,
    "LocalProtocolError": Means(
        FaultKind.LOCAL,
        message="the request could not be written; look for stray characters in the "
        "API key and the headers",
        secret=True,
    ),
    # httpx2: it left, wholly or in part
    "HTTPError": _CUT,
    "RequestError": _CUT,
    "TransportError": _CUT,
    "TimeoutException": _CUT,
    "ReadTimeout": _CUT,
    "WriteTimeout": _CUT,
    "NetworkError": _CUT,
    "ReadError": _CUT,
    "WriteError": _CUT,
    "CloseError": _CUT,
    "ProtocolError": _CUT,
    "RemoteProtocolError": _CUT,
    "DecodingError": _CUT,
    "HTTPStatusError": _CUT,
    "TooManyRedirects": Means(FaultKind.INVALID),
    # httpx2: used in a way it forbids
    "CookieConflict": _OURS,
    "StreamError": _SPENT,
    "StreamConsumed": _SPENT,
    "StreamClosed": _SPENT,
    "ResponseNotRead": _OURS,
    "RequestNotRead": _OURS,
    "SSEError": _CUT,
    # turnlatch's own
    "TooLargeError": Means(FaultKind.TRANSIENT, unknown=True),
    "CancelledItselfError": Means(FaultKind.LOCAL, unknown=True),
    # Python's own
    "JSONDecodeError": _CUT,
    "UnicodeEncodeError": Means(
        FaultKind.LOCAL,
        message="a header is not ASCII; look for stray characters in the API key",
        secret=True,
    ),
    "TypeError": _OURS,
    "ValueError": _OURS,
    "RuntimeError": _OURS,
    "ImportError": _OURS,
    "OSError": _CUT,
    "Exception": Means(FaultKind.LOCAL, unknown=True),
}
"""Meanings by class name; the first known class of an exception's MRO decides."""


def fault_of(error: Exception, now: float) -> Fault:
    """The fault that an exception of the SDK stands for.

    Args:
        error: The exception of an SDK call, or of reading its response.
        now: Seconds since the epoch, for hints that are given as a date.
    """
    for one in _causes(error):
        if "Could not resolve authentication method" in str(one):
            return Fault(FaultKind.AUTH, CREDENTIALS)
        answered = _answered(one, now)
        if answered is not None:
            return answered
        means = meaning(one)
        if not (means.inner and one.__cause__ is not None):
            break
    else:  # pragma: no cover - a chain of causes has an end
        means, one = meaning(error), error
    hook = next(filter(None, map(_hook, _causes(error))), None)
    if hook is not None:
        return _of_hook(hook, one)
    kind = means.kind
    if means.errand and _had_a_bad_moment(one):
        kind = FaultKind.TRANSIENT
    said = means.message or _said(one)
    if any(words in said for words in _OTHER_LOOP):
        said += "; the client belongs to another event loop: give each one its own"
    return Fault(kind, one_line(said, MESSAGE_MAX), outcome_unknown=means.unknown)


_OTHER_LOOP = (
    "Event loop is closed",
    "attached to a different loop",
    "bound to a different event loop",
)


def _hook(error: BaseException) -> str | None:
    """Which hook of the HTTP client raised it, "request" or "response"; None if none.

    Only the traceback knows. Where the client names its parts otherwise one day, the
    exception's class decides, as it does for everything else.
    """
    caller = None
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        inside = str(frame.f_globals.get("__name__")).startswith("httpx2")
        if caller is not None and not inside:
            return "response" if "response" in caller.f_locals else "request"
        hooks = inside and frame.f_code.co_name == "_send_handling_redirects"
        caller = frame if hooks else None
        traceback = traceback.tb_next
    return None


def _of_hook(hook: str, error: BaseException) -> Fault:
    """A hook of the caller's failed: sending again would not mend it."""
    means = meaning(error)
    said = f"a {hook} hook of the HTTP client failed: {means.message or _said(error)}"
    if hook == "response":
        said += "; its answer is lost, and may have to be paid for"
        return Fault(FaultKind.LOCAL, one_line(said, MESSAGE_MAX), outcome_unknown=True)
    # It may ask another service, for a token say, and that may fail temporarily.
    asks = type(error).__module__.split(".")[0] == "httpx2"
    kind = means.kind if asks else FaultKind.LOCAL
    return Fault(kind, one_line(said, MESSAGE_MAX))


def _answered(error: BaseException, now: float) -> Fault | None:
    """The fault of an exception that carries the server's answer."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    headers = getattr(response, "headers", None)
    if not isinstance(status, int) or headers is None:
        return None
    fault = from_status(status, getattr(error, "body", None), headers, now)
    if hasattr(error, "body"):
        return _cut_off(fault, getattr(response, "stream", None))
    # Raised by a hook of the HTTP client, before anybody read the body.
    return attrs.evolve(fault, message=one_line(_said(error), MESSAGE_MAX))


def _cut_off(fault: Fault, stream: object) -> Fault:
    """The fault of a refusal whose body may have been larger than what was read of it."""
    if not getattr(stream, "over", False):
        return fault
    most = getattr(stream, "most", 0)
    said = f"{fault.message}; of its body, {most} bytes were read, and there are more"
    return attrs.evolve(fault, message=said)


def _had_a_bad_moment(error: BaseException) -> bool:
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return classify(status, None, None, "") is FaultKind.TRANSIENT
    cause = error.__cause__
    return cause is not None and meaning(cause).kind is FaultKind.TRANSIENT


def _said(error: BaseException) -> str:
    return shown_text(f"{type(error).__name__}: {words(error)}".rstrip(": "))


def tells_secrets(error: BaseException) -> bool:
    """True if the exception, or a cause of it, may quote a header."""
    return any(meaning(one).secret for one in _causes(error))


def of_connection(error: BaseException) -> bool:
    """True if the connection failed, as opposed to the exchange over it."""
    names = {
        cls.__name__ for one in (error, error.__cause__) for cls in type(one).__mro__
    }
    own = type(error).__name__ in ("APIConnectionError", "APITimeoutError")
    return "TransportError" in names and (own or error.__cause__ is None)


def meaning(error: BaseException) -> Means:
    """The meaning of the exception's nearest known class."""
    for cls in type(error).__mro__:
        if cls.__name__ in EXCEPTIONS:
            return EXCEPTIONS[cls.__name__]
    return EXCEPTIONS["Exception"]


def from_status(status: int, body: object, headers: Headers, now: float) -> Fault:
    """The fault of an answer with an unsuccessful status.

    Args:
        status: The HTTP status; 200 for an error inside a successful answer.
        body: The body, parsed; text if it is not JSON.
        headers: The answer's headers.
        now: Seconds since the epoch, for hints that are given as a date.
    """
    error = _mapping(_mapping(body).get("error"))
    said, type_ = error.get("message"), name_of(error.get("type"))
    code = name_of(_mapping(error.get("details")).get("error_code"))
    message = one_line(said, MESSAGE_MAX) if isinstance(said, str) else ""
    paths = _paths(_mapping(error.get("details")).get("paths"))
    enveloped = bool(type_ or message)
    if not message:
        message = one_line(_hint(body, status), MESSAGE_MAX)
    if 300 <= status < 400:
        target = shown_text(_text(headers.get("location")) or "nowhere")
        target = one_line(target, NAME_MAX)
        message = f"redirected to {target}; redirects are not followed"
    kind = classify(status, type_, code, message)
    if status == 403 and kind is FaultKind.AUTH and not _of_the_api(body, type_):
        # A proxy or a filter said no, to whatever it is: no word about credentials.
        kind = FaultKind.TRANSIENT
    foreign = kind is FaultKind.INVALID and not _read_by_a_service(status, body, type_)
    timed_out = status in TIMEOUT_STATUS or type_ == "timeout_error"
    return Fault(
        kind,
        message,
        status=status,
        type=type_,
        code=code,
        request_id=name_of(headers.get("request-id"))
        or name_of(_mapping(body).get("request_id")),
        retry_after=retry_after(headers, now),
        path=named_path(message) or (paths[0] if paths else None),
        paths=paths,
        outcome_unknown=timed_out
        or (not enveloped and (status >= 500 or status < 300)),
        retry_refused=headers.get("x-should-retry") == "false",
        foreign=foreign,
    )


def retry_after(headers: Headers, now: float) -> float | None:
    """Seconds the server asks to wait; None where it asks nothing or nonsense.

    `retry-after-ms` goes before `retry-after`, which is seconds or an HTTP date
    (RFC 9110, 10.2.3). What is longer than anybody waits becomes
    `bounds.WAIT_MAX_SECONDS`.
    """
    return bounded_wait(_asked(headers, now))


def _asked(headers: Headers, now: float) -> float | None:
    exact = _seconds(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000
    said = headers.get("retry-after")
    seconds = _seconds(said)
    if seconds is not None or not isinstance(said, str):
        return seconds
    try:
        wait = email.utils.parsedate_to_datetime(said).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return wait if wait > 0 else None


def not_whole(message: str, request_id: str | None) -> Fault:
    """A 200 that brought no whole reply: there may be one that we cannot see."""
    return Fault(
        FaultKind.TRANSIENT,
        one_line(f"no whole reply: {message}", MESSAGE_MAX),
        status=200,
        request_id=request_id,
        outcome_unknown=True,
    )


def _seconds(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number > 0 and math.isfinite(number) else None


def _hint(body: object, status: int) -> str:
    """The text of an answer without the API's envelope, or the meaning of its status."""
    if isinstance(body, str):
        return described(body) or one_line(body)
    if body is None:
        return "the body is empty"
    told = _mapping(body)
    for name in ("error", "message", "detail"):  # as gateways and frameworks write it
        if (said := _text(told.get(name))) is not None:
            return said
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "the answer says no more than its status"


def _of_the_api(body: object, type_: str | None) -> bool:
    """True if an error has the API's own envelope, or a type that only the API has."""
    return type_ in BY_TYPE or _mapping(body).get("type") == "error"


def _read_by_a_service(status: int, body: object, type_: str | None) -> bool:
    """True if the refusing service has read the request: the API, or another service that
    describes the problem in JSON."""
    return _of_the_api(body, type_) or (status in (400, 422) and isinstance(body, dict))


def _paths(given: object) -> tuple[str, ...]:
    """The parts that are listed, as far as they have the form of paths."""
    listed = cast("list[object]", given) if isinstance(given, list) else []
    found = (
        one
        for one in listed[:PATHS_MAX]
        if isinstance(one, str) and len(one) <= NAME_MAX
    )
    return tuple(one for one in found if named_path(one) == one)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def name_of(value: object) -> str | None:
    """A name given by a server, shortened; None if it gave none."""
    said = _text(value)
    return None if said is None else said[:NAME_MAX]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__

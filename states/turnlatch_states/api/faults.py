"""What went wrong, as data: one `Fault`, one total classification, one remedy.

Every status, error type, error code and stream accident maps to exactly one kind.
Recovery is keyed on status, type and code; wording is read only as a last hint, because
neither the SDK nor the API promises it (Anthropic docs: api/errors).
"""

import re
from collections.abc import Mapping
from typing import final

import attrs

from turnlatch_states.api.added_fields import added
from turnlatch_states.api.bounds import bounded_wait
from turnlatch_states.api.checks import number, whole
from turnlatch_states.api.error_codes import BY_CODE, family
from turnlatch_states.api.fault_kinds import FaultKind as FaultKind
from turnlatch_states.api.length_errors import HINTS
from turnlatch_states.api.reply import Usage
from turnlatch_states.fsm.printable import printable


@final
@attrs.frozen
class Fault:
    """One fault: what happened, as far as anybody can know it.

    Attributes:
        kind: The kind, which decides the remedies.
        message: The message of the server or the transport, one line.
        status: HTTP status; None without an answer.
        type: `error.type` of the envelope.
        code: `error.details.error_code` of the envelope.
        request_id: The server's id for the request, for support.
        retry_after: Seconds the server asks to wait, whatever it says; see `hint`.
        path: The part of the request that the server names.
        outcome_unknown: The request may have been answered where we cannot see it.
        retry_refused: The server said in so many words not to retry.
        paths: Every part that the server names, where it lists them.
        misshapen: The answer is not a reply, and neither will the next one be: it is in
            another format, or larger than every limit.
        spent: Usage of a reply that was not committed, as far as the server reported it;
            None if it did not.
        foreign: Nothing in the answer says that the service gave it: a proxy, a router
            or a filter said no in its place.
    """

    kind: FaultKind
    message: str
    status: int | None = None
    type: str | None = None
    code: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    path: str | None = None
    outcome_unknown: bool = False
    retry_refused: bool = False
    paths: tuple[str, ...] = added(())
    misshapen: bool = added(False)
    spent: Usage | None = added(None)
    foreign: bool = added(False)

    @property
    def definite(self) -> bool:
        """True if the service says no to the body itself: it is not sent again."""
        return self.kind in DEFINITE and not self.foreign

    @property
    def may_pass(self) -> bool:
        """True if the same request may pass after a while."""
        return self.kind is FaultKind.TRANSIENT or self.foreign

    @property
    def hint(self) -> float | None:
        """Seconds the server asks to wait, as far as that is believed."""
        return bounded_wait(self.retry_after)

    def __str__(self) -> str:
        """The fault on one line, without control characters: status, type, message."""
        head = " ".join(str(p) for p in (self.status, self.type) if p is not None)
        tail = f" ({self.request_id})" if self.request_id else ""
        return printable(f"{head or self.kind.value}: {self.message}{tail}")


BY_TYPE: Mapping[str, FaultKind] = {
    "rate_limit_error": FaultKind.TRANSIENT,
    "overloaded_error": FaultKind.TRANSIENT,
    "api_error": FaultKind.TRANSIENT,
    "timeout_error": FaultKind.TRANSIENT,
    "conflict_error": FaultKind.TRANSIENT,
    "memory_path_conflict_error": FaultKind.INVALID,
    "memory_precondition_failed_error": FaultKind.INVALID,
    "authentication_error": FaultKind.AUTH,
    "permission_error": FaultKind.AUTH,
    "billing_error": FaultKind.BILLING,
    "request_too_large": FaultKind.TOO_LONG,
    "invalid_request_error": FaultKind.INVALID,
    "not_found_error": FaultKind.INVALID,
}
"""The kind of each error type; a test fails when the SDK gains one."""

BY_STATUS: Mapping[int, FaultKind] = {
    400: FaultKind.INVALID,
    401: FaultKind.AUTH,
    402: FaultKind.BILLING,
    403: FaultKind.AUTH,
    404: FaultKind.INVALID,
    407: FaultKind.AUTH,
    408: FaultKind.TRANSIENT,
    409: FaultKind.TRANSIENT,
    412: FaultKind.INVALID,
    413: FaultKind.TOO_LONG,
    422: FaultKind.INVALID,
    425: FaultKind.TRANSIENT,
    429: FaultKind.TRANSIENT,
    431: FaultKind.INVALID,
    499: FaultKind.TRANSIENT,
    500: FaultKind.TRANSIENT,
    501: FaultKind.TRANSIENT,
    503: FaultKind.TRANSIENT,
    504: FaultKind.TRANSIENT,
    529: FaultKind.TRANSIENT,
}
"""The kind of each status without other evidence; a test fails when the SDK gains a class
for a status that is not here. Other statuses are transient from 500 on, and invalid
below."""

SUSPENDING: frozenset[FaultKind] = frozenset(
    {FaultKind.AUTH, FaultKind.BILLING, FaultKind.MODEL_GONE}
)
"""What no remedy of ours can mend and no history is to blame for: the turn waits."""

STOPPED: frozenset[FaultKind] = SUSPENDING | {
    FaultKind.CANCELLED,
    FaultKind.INTERRUPTED,
    FaultKind.BUDGET,
    FaultKind.OUTPUT,
    FaultKind.TOOL,
}
"""Kinds that end a turn without blaming its content."""

DEFINITE: frozenset[FaultKind] = frozenset(
    {
        FaultKind.INVALID,
        FaultKind.BLOCK,
        FaultKind.THINKING,
        FaultKind.TOO_LONG,
        FaultKind.OPTIONAL_FIELD,
        FaultKind.THREAD,
    }
)
"""What says no to the body itself, if the service says it: that body is not sent again."""

OPTIONAL_FIELDS: tuple[str, ...] = (
    "diagnostics",
    "container",
    "thread",
    "context_management",
    "metadata",
    "service_tier",
    "cache_control",
    "inference_geo",
    "speed",
    "fallbacks",
)
"""The fields a request can do without; each is left out once it is named."""

_OPTIONAL = re.compile(rf"^({'|'.join(OPTIONAL_FIELDS)})\b")
_BETA = re.compile(r"value\(s\) `([\w-]+)` for the `anthropic-beta` header")
_MARKED = re.compile(
    r"\bcache_control: Extra inputs are not permitted|blocks with cache_control"
)

# Hints of last resort, read only where status, type and code say nothing more.
_BY_WORDING: tuple[tuple[re.Pattern[str], FaultKind], ...] = (
    *((hint.pattern, FaultKind.TOO_LONG) for hint in HINTS),
    (re.compile(r"too many images|PDF pages may be provided"), FaultKind.TOO_LONG),
    (
        re.compile(r"Invalid `(signature|data)` in|`thinking` or `redacted"),
        FaultKind.THINKING,
    ),
    (re.compile(r"Expected `thinking` or `redacted_thinking`"), FaultKind.THINKING),
    (re.compile(r"credit balance|API usage limits"), FaultKind.BILLING),
    (_OPTIONAL, FaultKind.OPTIONAL_FIELD),
    (_BETA, FaultKind.OPTIONAL_FIELD),
    (_MARKED, FaultKind.OPTIONAL_FIELD),
)

_PATH = re.compile(r"^((?:messages|system|tools)\.\d+(?:\.[\w]+)*)")


def classify(
    status: int | None, type_: str | None, code: str | None, message: str
) -> FaultKind:
    """The kind of a fault, for any combination whatever.

    Order: the code (the contract), then the HTTP status, then the type; where these
    say only that the request is refused, the family of a code that is not known, and
    last the wording as a hint.
    """
    coded = BY_CODE.get(code) if code is not None else None
    if coded is not None:
        return coded
    if status is None:
        return FaultKind.TRANSIENT
    alike = family(code)
    relative = alike.kind if alike is not None else None
    typed = BY_TYPE.get(type_ or "")
    if status < 300:  # an error inside an answer that began as a success
        if typed is FaultKind.INVALID:
            return relative or _refused(message)
        return typed or FaultKind.TRANSIENT
    if relative is FaultKind.BILLING and status < 500:
        return relative
    meant = BY_STATUS.get(
        status, FaultKind.TRANSIENT if status >= 500 else FaultKind.INVALID
    )
    if meant is FaultKind.TRANSIENT:
        # A rate limit speaks of tokens, too; a server that failed at a length says so.
        kinds = {FaultKind.BILLING}
        if status >= 500 and status != 529:
            kinds |= {FaultKind.TOO_LONG}
        return _wording(message, kinds) or meant
    if meant is not FaultKind.INVALID:
        return meant
    if typed is not None and typed is not FaultKind.INVALID:
        return _wording(message, set(FaultKind)) or typed
    return relative or _refused(message)


def _refused(message: str) -> FaultKind:
    if message.startswith("model:"):
        return FaultKind.MODEL_GONE
    hinted = _wording(message, set(FaultKind))
    if hinted is not None:
        return hinted
    return FaultKind.BLOCK if _PATH.match(message) else FaultKind.INVALID


def named_path(message: str) -> str | None:
    """The part of the request that a message names, or None."""
    match = _PATH.match(message)
    return match.group(1) if match else None


def optional_field(message: str) -> str | None:
    """The optional field that a message names; a beta as `anthropic-beta:NAME`."""
    named = _OPTIONAL.match(message)
    if named is not None:
        return named[1]
    beta = _BETA.search(message)
    if beta is not None:
        return f"anthropic-beta:{beta[1]}"
    return "cache_control" if _MARKED.search(message) else None


def _wording(message: str, kinds: set[FaultKind]) -> FaultKind | None:
    for pattern, kind in _BY_WORDING:
        if kind in kinds and pattern.search(message):
            return kind
    return None


_DOUBLED_MAX = 64


@final
@attrs.frozen
class RetryPolicy:
    """How long a turn waits out transient faults, in seconds and in attempts.

    Attributes:
        attempts_max: Requests in a row that may fail before the turn rests in failed.
        first_wait_seconds: The first backoff; each further one doubles.
        wait_max_seconds: No backoff is longer than this.
        hint_max_seconds: A server hint beyond this suspends the turn instead of
            blocking the caller.
        jitter: Share of the backoff that is drawn at random, 0 to 1.

    Raises:
        SettingsError: A value is not a number, or out of bounds.
    """

    attempts_max: int = attrs.field(default=8, validator=whole(1))
    first_wait_seconds: float = attrs.field(default=0.5, validator=number())
    wait_max_seconds: float = attrs.field(default=30.0, validator=number())
    hint_max_seconds: float = attrs.field(default=120.0, validator=number())
    jitter: float = attrs.field(default=0.25, validator=number(0, 1))

    def wait(self, fault: Fault, failures: int, draw: float) -> float | None:
        """Seconds to wait before the next attempt, or None to rest in failed.

        Args:
            fault: The latest fault.
            failures: How many attempts in a row have failed, this one included.
            draw: A random number in [0, 1), drawn by the caller.
        """
        if fault.kind is not FaultKind.TRANSIENT or fault.retry_refused:
            return None
        if failures >= self.attempts_max:
            return None
        if (fault.hint or 0.0) > self.hint_max_seconds:
            return None
        return self.pause(fault, failures, draw)

    def pause(self, fault: Fault, failures: int, draw: float) -> float:
        """Seconds to let the server rest after a failure, however often it failed.

        Args:
            fault: The latest fault.
            failures: How many failed in a row, this one included.
            draw: A random number in [0, 1), drawn by the caller.
        """
        # Stop doubling before the number overflows.
        doubled = 2.0 ** min(max(failures - 1, 0), _DOUBLED_MAX)
        backoff = min(self.first_wait_seconds * doubled, self.wait_max_seconds)
        backoff *= 1 - self.jitter * draw
        hint = fault.hint or 0.0
        # Jitter is added on top of a hint, never taken from it: the server said
        # "not before".
        return max(backoff, hint + (self.jitter * draw if hint else 0.0))

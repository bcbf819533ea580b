"""Faults as values: what goes wrong, and when. Their text form is `fault_text.py`.

A script is a tuple of faults. On every request each fault is asked whether it applies;
of those that replace or spoil the response the first one wins, those that only delay or
tighten apply together. Nothing here is random: which request meets which fault follows
from the script, the requests and the clock that the simulator was given.
"""

import json
import re
from typing import Literal, TypeAlias, final, get_args

import attrs

CutEnding: TypeAlias = Literal["clean", "eof", "reset", "stall"]
"""How a cut response ends. `clean`: the HTTP message is complete, only the content is not,
which no HTTP client can notice. The others are as in `wire.Ending`."""

Hangup: TypeAlias = Literal["eof", "reset", "stall"]
"""How a connection ends before any header was sent."""

Kind: TypeAlias = Literal[
    "messages", "stream", "plain", "compaction", "thread", "count_tokens", "models"
]
"""A class of requests.

`messages`: any POST to /v1/messages (the default). `stream` and `plain`: those that do
or do not ask for a stream. `compaction`: those with a `compaction` field. `thread`: those
that continue a server thread. `count_tokens` and `models`: the other endpoints.
"""

CUT_ENDINGS: tuple[CutEnding, ...] = get_args(CutEnding)
HANGUPS: tuple[Hangup, ...] = get_args(Hangup)
KINDS: tuple[Kind, ...] = get_args(Kind)

HEADER_NAME = re.compile(r"retry-after(-ms)?|(x|anthropic)-[a-z0-9-]*[a-z0-9]")
"""The response headers a scripted status may set."""

BARE = re.compile(r"[A-Za-z0-9._/:+-]+")
"""A value that is written without quotes."""


def _status_code(_: object, __: object, value: int) -> None:
    if not 400 <= value <= 599:
        raise ValueError(f"a fault's status is 400 to 599, not {value}")


def _count(_: object, __: object, value: int) -> None:
    if value < 0:
        raise ValueError(f"0 or more is needed, not {value}")


def _finite(_: object, __: object, value: float) -> None:
    # Also false for NaN.
    if not 0 <= value < float("inf"):
        raise ValueError(f"0 or more is needed, not {value}")


def _header_lines(_: object, __: object, value: tuple[tuple[str, str], ...]) -> None:
    for name, text in value:
        if not HEADER_NAME.fullmatch(name):
            raise ValueError(
                "a header is retry-after, retry-after-ms, x-… or anthropic-…, in lower"
                f" case, not {name!r}"
            )
        if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", text):
            raise ValueError(f"a header value is printable ASCII, not {text!r}")


@final
@attrs.frozen
class Status:
    """An error answer: `429 retry-after=2`, `400 message="no"`, `529`.

    Attributes:
        status: 400 to 599.
        headers: Extra response headers, names in lower case.
        type: The `error.type`; None for the usual one of the status.
        code: The `error.details.error_code`.
        message: The `error.message`; None for the usual one of the status.
        paths: The `error.details.paths`, comma-separated; None for no such list.
    """

    status: int = attrs.field(validator=_status_code)
    headers: tuple[tuple[str, str], ...] = attrs.field(
        default=(), validator=_header_lines
    )
    type: str | None = None
    code: str | None = None
    message: str | None = None
    paths: str | None = None

    def __str__(self) -> str:
        pairs = [f"{name}={_quoted(value)}" for name, value in self.headers]
        members = (
            ("type", self.type),
            ("code", self.code),
            ("message", self.message),
            ("paths", self.paths),
        )
        pairs += [
            f"{name}={_quoted(text)}" for name, text in members if text is not None
        ]
        return " ".join([str(self.status), *pairs])


@final
@attrs.frozen
class CutEvents:
    """A stream that ends early: `cut 3 eof`. Plain replies are not affected.

    Attributes:
        events: How many events are sent, pings included.
        ending: How the connection ends.
    """

    events: int = attrs.field(validator=_count)
    ending: CutEnding = "eof"

    def __str__(self) -> str:
        return f"cut {self.events} {self.ending}"


@final
@attrs.frozen
class CutPercent:
    """A body that ends early, in the middle of an event if need be: `cut 50% reset`.

    Attributes:
        percent: How much of the body is sent, 0 to 100, rounded down to whole bytes.
        ending: How the connection ends.
    """

    percent: int = attrs.field(validator=_count)
    ending: CutEnding = "eof"

    def __attrs_post_init__(self) -> None:
        if self.percent > 100:
            raise ValueError(f"a percentage is 0 to 100, not {self.percent}")

    def __str__(self) -> str:
        return f"cut {self.percent}% {self.ending}"


@final
@attrs.frozen
class ErrorEvent:
    """An `error` event in a stream that began well: `error overloaded_error after 3`.

    Attributes:
        type: The `error.type`.
        after: How many events are sent before it.
        message: The `error.message`; None for the usual one of the type.
    """

    type: str = "overloaded_error"
    after: int = attrs.field(default=0, validator=_count)
    message: str | None = None

    def __str__(self) -> str:
        tail = "" if self.message is None else f" message={_quoted(self.message)}"
        return f"error {_quoted(self.type)} after {self.after}{tail}"


@final
@attrs.frozen
class Slow:
    """A delay before the headers or between the events: `slow headers 5s`.

    Attributes:
        part: The late part.
        seconds: The delay.
    """

    part: Literal["headers", "events"]
    seconds: float = attrs.field(validator=_finite, converter=float)

    def __str__(self) -> str:
        return f"slow {self.part} {_number(self.seconds)}s"


@final
@attrs.frozen
class Garbled:
    """A 200 whose JSON cannot be parsed: `truncated json`, `malformed json`.

    A stream has one such event, in the middle, and ends there.

    Attributes:
        how: `truncated`: the second half is missing. `malformed`: it is not JSON.
    """

    how: Literal["truncated", "malformed"]

    def __str__(self) -> str:
        return f"{self.how} json"


@final
@attrs.frozen
class Html:
    """An error page of some proxy: `html 502`.

    Attributes:
        status: 400 to 599.
    """

    status: int = attrs.field(default=502, validator=_status_code)

    def __str__(self) -> str:
        return f"html {self.status}"


@final
@attrs.frozen
class Empty:
    """A 200 with no body at all: `empty 200`."""

    def __str__(self) -> str:
        return "empty 200"


@final
@attrs.frozen
class NoAnswer:
    """A connection that ends before the headers: `reset`, `eof`, `stall`.

    Attributes:
        ending: How.
    """

    ending: Hangup

    def __str__(self) -> str:
        return self.ending


@final
@attrs.frozen
class RuleSwitch:
    """A rule that is switched off or on from then on: `rule R8 off`.

    Attributes:
        rule: Its id, as findings name it.
        on: Whether it is in force.
    """

    rule: str
    on: bool

    def __str__(self) -> str:
        return f"rule {_quoted(self.rule)} {'on' if self.on else 'off'}"


@final
@attrs.frozen
class LimitChange:
    """A limit that is another one from then on: `limit images_max=20`.

    Attributes:
        name: A field of the rules' limits, or `context_window` or `output_max`, which
            replace the model's own.
        value: The new value.
    """

    name: str = attrs.field(validator=attrs.validators.matches_re(r"[a-z_][a-z0-9_]*"))
    value: int = attrs.field(validator=_count)

    def __str__(self) -> str:
        return f"limit {self.name}={self.value}"


@final
@attrs.frozen
class ExpireThreads:
    """The server forgets all its threads, once: `expire threads`."""

    def __str__(self) -> str:
        return "expire threads"


Action: TypeAlias = (
    Status
    | CutEvents
    | CutPercent
    | ErrorEvent
    | Slow
    | Garbled
    | Html
    | Empty
    | NoAnswer
    | RuleSwitch
    | LimitChange
    | ExpireThreads
)
"""The action of a fault."""


@final
@attrs.frozen
class Span:
    """A range of request numbers: `@2`, `@2-4`, `@5+`.

    Attributes:
        first: The first one; the first request of a run is number 1.
        last: The last one, or None for no end.
    """

    first: int
    last: int | None

    def __attrs_post_init__(self) -> None:
        if self.first < 1 or (self.last is not None and self.last < self.first):
            raise ValueError(f"request numbers rise from 1, not {self}")

    def __str__(self) -> str:
        if self.last is None:
            return f"@{self.first}+"
        if self.last == self.first:
            return f"@{self.first}"
        return f"@{self.first}-{self.last}"


def _positive(_: object, __: object, value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"1 or more is needed, not {value}")


@final
@attrs.frozen
class When:
    """The requests a fault applies to; every condition that is given must hold.

    Without request numbers, `every`, `times` and `forever` a fault applies once, to the
    first request that meets the other conditions. Numbers and times count from the
    simulator's start, those of an injected fault from its injection.

    Attributes:
        requests: Numbers among the requests to POST /v1/messages, counted from 1. The
            requests to other endpoints have the number of the last one before them.
        every: Every n-th of the matching requests.
        times: How often in all.
        forever: As often as the other conditions hold.
        kind: Which class of requests.
        model: The `model` of the request.
        body: A text the body contains, compared as UTF-8.
        at_seconds: From that time on, by the simulator's clock.
        until_seconds: Before that time.
    """

    requests: tuple[Span, ...] = ()
    every: int | None = attrs.field(default=None, validator=_positive)
    times: int | None = attrs.field(default=None, validator=_positive)
    forever: bool = False
    kind: Kind = "messages"
    model: str | None = None
    body: str | None = None
    at_seconds: float = attrs.field(default=0.0, validator=_finite, converter=float)
    until_seconds: float | None = None

    def __attrs_post_init__(self) -> None:
        if self.forever and self.times is not None:
            raise ValueError("a fault has `times` or `forever`, not both")
        if self.until_seconds is not None and not self.until_seconds > self.at_seconds:
            raise ValueError("`until` comes after `at`")

    @property
    def times_max(self) -> int | None:
        """How often it applies at most; None for no limit."""
        if self.times is not None:
            return self.times
        bounded = bool(self.requests) or self.every is not None or self.forever
        return None if bounded else 1

    def __str__(self) -> str:
        words = [str(span) for span in self.requests]
        if self.every is not None:
            words.append(f"every {self.every}")
        if self.times is not None:
            words.append(f"times {self.times}")
        if self.forever:
            words.append("forever")
        if self.kind != "messages":
            words.append(f"on {self.kind}")
        if self.model is not None:
            words.append(f"model={_quoted(self.model)}")
        if self.body is not None:
            words.append(f"body={_quoted(self.body)}")
        if self.at_seconds:
            words.append(f"at t={_number(self.at_seconds)}")
        if self.until_seconds is not None:
            words.append(f"until t={_number(self.until_seconds)}")
        return " ".join(words)


@final
@attrs.frozen
class ScriptedFault:
    """One fault of a script. `str(fault)` is its text; `parse_faults` reads it back.

    Attributes:
        action: The action.
        when: When it applies.
    """

    action: Action
    when: When = When()

    def __str__(self) -> str:
        return f"{self.action} {self.when}".rstrip()


Script: TypeAlias = tuple[ScriptedFault, ...]
"""The faults of a run, in the order in which they are asked."""


def _number(value: float) -> str:
    text = repr(float(value))
    return text.removesuffix(".0")


def _quoted(text: str) -> str:
    # A bare word must not look like anything but a word to the parser.
    if BARE.fullmatch(text):
        return text
    return json.dumps(text)

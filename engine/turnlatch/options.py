"""The table of options: what each accepts, and the words of its refusal.

An option is checked when it is given, before anything is opened, stored or sent. This
table holds the checks that need no rule of the API; `settings` applies those rules to the
journaled settings. `open` and `configure` look up every option that they take, so an
option without a row fails at once.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict, cast, final
from urllib.parse import urlsplit

import attrs

from turnlatch.errors import SettingsError
from turnlatch.hooks import AfterCompaction, BeforeCompaction
from turnlatch.ports import Clock, Ids, Store
from turnlatch.rulebook import LOOPBACK
from turnlatch.settings import Limits, declared, tools_by_name
from turnlatch.tools import GivenTools
from turnlatch_states.api.checks import (
    Allowed,
    encodable,
    flag,
    hook,
    instance,
    methods,
    number,
    one_of,
    plain,
    text,
    whole,
)
from turnlatch_states.api.faults import RetryPolicy
from turnlatch_states.recovery.policies import CompactionPolicy
from turnlatch_states.request.profile import Cache, Threads

SIMULATOR: Final = "simulator"
"""The value of `client` that asks for invented answers."""

SECONDS_MAX: Final = 86_400.0
"""The longest timeout, in seconds: a longer one would not bound anything."""

_CLASSIC: Final[Mapping[str, str]] = {
    "AnthropicBedrock": "AsyncAnthropicBedrockMantle",
    "AsyncAnthropicBedrock": "AsyncAnthropicBedrockMantle",
    "AnthropicVertex": "AsyncAnthropicGoogleCloud",
    "AsyncAnthropicVertex": "AsyncAnthropicGoogleCloud",
}
"""SDK clients that take bodies only as dictionaries, and the client to use instead."""


def _listed(given: object) -> bool:
    return isinstance(given, Sequence) and not isinstance(
        given, str | bytes | bytearray | memoryview
    )


def _is_path(given: object) -> bool:
    if not isinstance(given, str | os.PathLike):
        return False
    try:
        path: object = os.fspath(cast("str | os.PathLike[str]", given))
    except Exception:  # noqa: BLE001 - an object that fails here has no path
        return False
    return type(path) is str and bool(path) and "\0" not in path and encodable(path)


def _is_system(given: object) -> bool:
    if type(given) is str:
        return encodable(given)
    blocks = cast("Sequence[object]", given)
    return _listed(given) and all(isinstance(one, Mapping) for one in blocks)


def _is_beta(given: object) -> bool:
    # The names are joined by commas in one line of a header.
    return (
        type(given) is str
        and given.isascii()
        and given.isprintable()
        and bool(given)
        and not any(mark in given for mark in ", ")
    )


def _is_url(given: object) -> bool:
    if type(given) is not str or not given.isprintable() or " " in given:
        return False
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    secure = parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)
    # The path of each request is appended: a query would swallow it.
    return bool(host) and secure and not parts.query and not parts.fragment


def _is_fields(given: object) -> bool:
    if not isinstance(given, Mapping):
        return False
    return all(type(name) is str for name in cast("Mapping[object, object]", given))


_STORE = methods(
    "open",
    "read",
    "fork",
    "conversations",
    "close",
    words="a path, or an object with the methods of turnlatch.ports.Store",
)
_PORT = methods("send", "count", words="")
_SDK = methods("with_options", "post", words="")
SECONDS: Final = number(0, SECONDS_MAX, above=True)

PATH: Final = Allowed("a path that is not empty", _is_path)
CLOCK: Final = hook("a function that returns seconds")
NAME: Final = text(1, 200)
URL: Final = Allowed(
    "an https URL with a host and no query, or an http URL of this machine",
    _is_url,
    secret=True,
)
TURNS: Final = whole(0)
CALL: Final = text()
"""The id of a call (some servers leave it empty), or its place."""

OPTIONS: Final[Mapping[str, Allowed]] = {
    "store": Allowed(_STORE.words, lambda x: PATH.holds(x) or _STORE.holds(x)),
    "model": text(1),
    "max_tokens": whole(0),
    "system": Allowed("text, or a list of content blocks", _is_system),
    "tools": Allowed("a list of tools, [] for no tools", _listed),
    "betas": Allowed(
        "a list of names in visible ASCII without commas, [] for no betas",
        lambda x: _listed(x) and all(map(_is_beta, cast("Sequence[object]", x))),
    ),
    "settings": Allowed("a dict of body fields by name, {} for no fields", _is_fields),
    "diagnostics": flag(),
    "threads": one_of(Threads),
    "cache": one_of(Cache),
    "client": Allowed(
        "anthropic.AsyncAnthropic(...), another async client of the SDK,"
        f" {SIMULATOR!r}, or an object with the methods of turnlatch.ports.Model",
        lambda x: (
            (type(x) is str and x == SIMULATOR) or _PORT.holds(x) or _SDK.holds(x)
        ),
        secret=True,
    ),
    "base_url": URL,
    "timeout": SECONDS,
    "idle_timeout": SECONDS,
    "retry": instance(RetryPolicy, "a RetryPolicy(...)"),
    "limits": instance(Limits, "a Limits(...)"),
    "compaction": instance(CompactionPolicy, "a CompactionPolicy(...)"),
    "before_compaction": hook("a function that takes a CompactionPlan"),
    "after_compaction": hook("a function that takes a CompactionDone"),
    "deps": Allowed("any object", lambda _: True),
    "clock": methods(
        "now",
        "monotonic",
        "sleep",
        words="an object with the methods of turnlatch.ports.Clock",
    ),
    "ids": methods(
        "fresh", "draw", words="an object with the methods of turnlatch.ports.Ids"
    ),
}
"""The values that each option of `open` and `configure` accepts in addition to None."""

_NEVER_NONE: Final = frozenset({"timeout", "idle_timeout"})
"""Options whose default is a number. For all others None means "not given"."""


@final
@attrs.frozen(kw_only=True)
class Options:
    """Everything that `Conversation.open` takes; each has a row in `OPTIONS`.

    Attributes:
        store: Path of an SQLite file, or a `Store`; None keeps the record in memory.
        model: Model id.
        max_tokens: Maximum tokens of one reply.
        system: The system prompt; "" for none.
        tools: Functions decorated with `@tool`, tools of the SDK (`beta_tool`), sources
            of tools (`turnlatch.mcp.mcp_tools`), and the API's objects for tools that the
            server runs; [] for none.
        betas: Names for the `anthropic-beta` header.
        settings: More body fields (`thinking`, …), checked by `turnlatch.rulebook`.
        diagnostics: Send `diagnostics.previous_message_id` (default yes).
        threads: `off` (default), `on`, `auto`; see `Threads`.
        cache: Lifetime of the prompt cache: `off`, `5m` (default), `1h`.
        client: Any async client of the `anthropic` SDK, a `Model` port, or
            `"simulator"` for invented answers; by default a client with the
            credentials that the SDK finds.
        base_url: A compatible base URL, if no client is given.
        timeout: Maximum seconds of one attempt.
        idle_timeout: Maximum seconds of silence within an attempt.
        retry: Waits between retries of transient faults.
        limits: Bounds on one turn.
        compaction: When a summary replaces the context.
        before_compaction: Called before; returns False to refuse, or instructions.
        after_compaction: Called with the summary once it is in force.
        deps: Dependencies of your tools, which get them as `ToolContext.deps`; they are
            not recorded, and a fork and a child conversation get the same.
        clock: Source of time; the system's by default.
        ids: Source of ids and random numbers; the system's by default.
    """

    store: "str | Path | Store | None" = None
    model: str | None = None
    max_tokens: int | None = None
    system: str | Sequence[Mapping[str, Any]] | None = None
    tools: GivenTools | None = None
    betas: Sequence[str] | None = None
    settings: Mapping[str, Any] | None = None
    diagnostics: bool | None = None
    threads: Threads | str | None = None
    cache: Cache | str | None = None
    client: object = None
    base_url: str | None = None
    timeout: float = 600.0
    idle_timeout: float = 90.0
    retry: RetryPolicy | None = None
    limits: Limits | None = None
    compaction: CompactionPolicy | None = None
    before_compaction: BeforeCompaction | None = None
    after_compaction: AfterCompaction | None = None
    deps: object = attrs.field(default=None, repr=False)
    clock: Clock | None = None
    ids: Ids | None = None

    @property
    def profile(self) -> dict[str, Any]:
        """The options that become the profile and are given, by name."""
        given = {name: getattr(self, name) for name in PROFILE_OPTIONS}
        return {name: value for name, value in given.items() if value is not None}

    def without_profile(self) -> "Options":
        """The same options, without those that become the profile."""
        nothing: dict[str, Any] = dict.fromkeys(PROFILE_OPTIONS)
        return attrs.evolve(self, **nothing)


class TurnSettings(TypedDict, total=False):
    """Settings of one turn alone: keywords of `send` and `stream`.

    They are recorded with the turn, so a turn that is retried has them, too. The next
    turn has the conversation's again. A setting that `configure` changes during the turn
    holds for it, too.

    Attributes:
        model: Model id.
        max_tokens: Maximum tokens of one reply.
        system: The system prompt; "" for none.
        settings: More body fields, in addition to the conversation's; None takes one
            away.
    """

    model: str
    max_tokens: int
    system: str | Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]


PROFILE_OPTIONS: Final = (
    "model",
    "max_tokens",
    "system",
    "tools",
    "betas",
    "diagnostics",
    "threads",
    "cache",
    "settings",
)
"""The options of `open` that become the profile, and are journaled."""


def demand_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check options against `OPTIONS`.

    Args:
        given: The options by name; None for an option that was not given.

    Returns:
        The options, with instances of `str` subclasses replaced by plain texts.

    Raises:
        SettingsError: An option does not accept its value.
    """
    options = {name: _plain_option(value) for name, value in given.items()}
    for name, value in options.items():
        allowed = OPTIONS[name]
        if value is None and name not in _NEVER_NONE:
            continue
        if name == "client":
            _demand_kind(value)
        allowed.demand(name, value)
        if name == "tools":
            options[name] = tools = declared(cast("Sequence[object]", value))
            tools_by_name(tools)
    return options


def conversation_name(given: object) -> str:
    """The name of a conversation, as plain text.

    Raises:
        SettingsError: The name is not allowed.
    """
    NAME.demand("name", plain(given))
    return str(plain(given))


def _plain_option(given: object) -> object:
    if isinstance(given, list | tuple):
        return [plain(one) for one in cast("Sequence[object]", given)]
    return plain(given)


def _demand_kind(client: object) -> None:
    """Refuse SDK clients that turnlatch cannot use, each with the reason.

    They are recognised by class name: importing the classes would import their
    dependencies, which may not be installed.
    """
    classes = [one.__name__ for one in type(client).__mro__]
    known = next((name for name in classes if name in _CLASSIC), None)
    if known is not None:
        raise SettingsError(
            "client",
            f"{known} moves the model from the request body into the URL and encodes the"
            " body again, but turnlatch sends each body byte for byte as it was checked",
            f"give {_CLASSIC[known]}(...), which sends request bodies unchanged",
            f"an instance of {known}",
        )
    if "SyncAPIClient" in classes:
        raise SettingsError(
            "client",
            f"{classes[0]} is a synchronous client and would block the event loop",
            "give the asynchronous client of the same platform, for example"
            " anthropic.AsyncAnthropic(...); turnlatch.sync takes it too, and runs it in"
            " another thread",
            f"an instance of {classes[0]}",
        )

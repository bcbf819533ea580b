"""The numbers a conversation runs by, and the checks on what a caller sets."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar, final

import attrs

from detent.errors import SettingsError
from detent.rulebook import Rulebook
from detent.tools.definition import Tool
from detent_states.budget import Budget, Price
from detent_states.encoding import encode
from detent_states.faults import RetryPolicy
from detent_states.profile import Cache, Profile, Threads


@final
@attrs.frozen
class Limits:
    """Bounds on one turn; each has an effect, none is a hope.

    Attributes:
        requests_per_turn_max: Requests one turn may send, retries and trials included.
            Beyond any bound the turn fails with a budget fault; `retry()` grants as
            much again.
        seconds_per_turn_max: Time that one turn is at work: its requests, waits and
            tools, by a clock that nobody sets. While it rests, because a person has to
            decide about a call, no time counts. A wait that would go beyond it suspends
            the turn instead.
        tokens_per_turn_max: Tokens of the turn's confirmed replies and summaries.
        dollars_per_turn_max: What those may cost; needs `price`.
        price: What tokens cost.
        calls_parallel_max: Tool calls of one reply that run at the same time.
        calls_per_turn_max: Tool calls that one turn may run; those beyond are answered
            as not executed. None for as many as its requests ask for.
        repeats_max: How often in a row the very same call may have the very same result
            in one turn; then it is not run once, and the model is told so. None to
            let it.
        hook_seconds_max: How long a hook around a compaction may take; then the turn
            goes on as if there were none.
        stream_above_tokens: Replies that may be longer than this are streamed even
            by `send()`, as the SDK demands for long work.
    """

    requests_per_turn_max: int = 60
    seconds_per_turn_max: float | None = None
    tokens_per_turn_max: int | None = None
    dollars_per_turn_max: float | None = None
    price: Price | None = None
    calls_parallel_max: int = 8
    calls_per_turn_max: int | None = None
    repeats_max: int | None = 5
    hook_seconds_max: float = 30.0
    stream_above_tokens: int = 21_333

    @cached_property
    def budget(self) -> Budget:
        """The bounds that are counted."""
        return Budget(
            self.requests_per_turn_max,
            self.seconds_per_turn_max,
            self.tokens_per_turn_max,
            self.dollars_per_turn_max,
            self.price,
        )


DEFAULT_MODEL = "claude-sonnet-5-5"
DEFAULT_MAX_TOKENS = 4096

_RESERVED = frozenset(
    {
        "model",
        "max_tokens",
        "messages",
        "stream",
        "diagnostics",
        "compaction",
        "thread",
        "tools",
        "system",
    }
)


def make_profile(
    *,
    model: str,
    max_tokens: int,
    system: str | Sequence[Mapping[str, Any]] | None = None,
    tools: Sequence[Tool | Mapping[str, Any]] = (),
    betas: Sequence[str] = (),
    diagnostics: bool = True,
    threads: str = Threads.OFF,
    cache: str = Cache.SHORT,
    settings: Mapping[str, Any] | None = None,
    definitions: Sequence[Mapping[str, Any]] | None = None,
    rules: Rulebook | None = None,
) -> Profile:
    """The profile of a conversation, checked by the rules of the API.

    `definitions` are the tools of a resumed conversation whose functions were not given
    again: they stay offered, and a call of one is answered as unknown here. `rules` are
    those of the server; by default the API's own.

    Raises:
        SettingsError: A setting is unknown, of the wrong type, or refused by a rule.
    """
    if not isinstance(model, str) or not model:  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise SettingsError("model", f"{model!r} is no model id", "give its name")
    if type(max_tokens) is not int or max_tokens < 0:
        raise SettingsError(
            "max_tokens", f"{max_tokens!r} is no number of tokens", "give an integer"
        )
    fields: list[tuple[str, bytes]] = []
    if system is not None and system != "":
        fields.append(("system", encoded("system", system)))
    if tools:
        definitions = [t.definition if isinstance(t, Tool) else t for t in tools]
    if definitions:
        fields.append(("tools", encoded("tools", [dict(d) for d in definitions])))
    for name, value in (settings or {}).items():
        if name in _RESERVED:
            raise SettingsError(
                name, "it is set elsewhere", "use the argument of open() for it"
            )
        fields.append((name, encoded(name, value)))
    profile = Profile(
        model,
        max_tokens,
        tuple(fields),
        tuple(betas),
        diagnostics,
        _one_of("threads", threads, Threads),
        _one_of("cache", cache, Cache),
    )
    _refuse(profile, rules or Rulebook())
    return profile


_E = TypeVar("_E", bound=StrEnum)


def _one_of(name: str, value: str, of: type[_E]) -> _E:
    try:
        return of(value)
    except ValueError:
        known = ", ".join(repr(one.value) for one in of)
        raise SettingsError(name, f"{value!r} is none", f"give {known}") from None


def encoded(name: str, value: object) -> bytes:
    """A value as JSON.

    Args:
        name: The setting that it is the value of.
        value: The value.

    Raises:
        SettingsError: It has no JSON form.
    """
    try:
        return encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(
            name, f"it is no JSON value ({error})", "give one"
        ) from error


def _refuse(profile: Profile, rules: Rulebook) -> None:
    """Refuse settings that would make every request a 400."""
    opening = profile.plain_opening + b'{"role":"user","content":"Hello"}]}'
    body = json.loads(opening)
    for finding in rules.findings(body, frozenset(profile.betas)):
        setting = finding.path.split(".")[0]
        told = finding.reason if finding.path == setting else finding.message
        raise SettingsError(
            setting or "settings",
            f"{told} ({finding.rule})",
            f"the API (anthropic-version {rules.version}) would refuse every request; see"
            f" `detent check --explain {finding.rule}`",
        )


def tools_by_name(tools: Sequence[object]) -> dict[str, Tool]:
    """The functions by name; a tool that the server runs is only offered.

    Raises:
        SettingsError: One is no tool, or two have one name.
    """
    found: dict[str, Tool] = {}
    for one in tools:
        if isinstance(one, Mapping) and "type" in one:
            continue
        if not isinstance(one, Tool):
            raise SettingsError(
                "tools",
                f"{one!r} is no tool",
                "decorate the function with @tool, or give the API's object of a tool"
                " that the server runs",
            )
        if one.name in found:
            raise SettingsError(
                "tools", f"two tools are named {one.name!r}", "rename one of them"
            )
        found[one.name] = one
    return found


__all__ = [
    "DEFAULT_MAX_TOKENS",
    "DEFAULT_MODEL",
    "Limits",
    "RetryPolicy",
    "encoded",
    "make_profile",
    "tools_by_name",
]

"""The numbers a conversation runs by, and the checks on what a caller sets."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, final

import attrs

from turnlatch.errors import SettingsError
from turnlatch.rulebook import Rulebook
from turnlatch.tools.definition import Tool
from turnlatch_states.api.checks import instance, number, optional, shown, whole
from turnlatch_states.api.faults import RetryPolicy
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.recovery.budget import Budget, Price
from turnlatch_states.request.profile import Cache, Profile, Threads

_COUNT = whole(1)
_AMOUNT = number(0, above=True)


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
        tokens_per_turn_max: Tokens of the turn's requests, as far as the server told them:
            of replies and summaries, failed attempts and trials.
        dollars_per_turn_max: What those may cost, web searches included; other fees of
            tools that the server runs are not known. No request leaves once it is used
            up, so one request may go beyond it. A model without a known price is
            refused.
        price: What every model costs; None for the list price of each, from
            `genai-prices`.
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

    Raises:
        SettingsError: A bound is no number, or bounds nothing: it is not above 0.
    """

    requests_per_turn_max: int = attrs.field(default=60, validator=_COUNT)
    seconds_per_turn_max: float | None = attrs.field(
        default=None, validator=optional(_AMOUNT)
    )
    tokens_per_turn_max: int | None = attrs.field(
        default=None, validator=optional(_COUNT)
    )
    dollars_per_turn_max: float | None = attrs.field(
        default=None, validator=optional(_AMOUNT)
    )
    price: Price | None = attrs.field(
        default=None, validator=optional(instance(Price, "a Price(...)"))
    )
    calls_parallel_max: int = attrs.field(default=8, validator=_COUNT)
    calls_per_turn_max: int | None = attrs.field(
        default=None, validator=optional(_COUNT)
    )
    repeats_max: int | None = attrs.field(default=5, validator=optional(_COUNT))
    hook_seconds_max: float = attrs.field(default=30.0, validator=_AMOUNT)
    stream_above_tokens: int = attrs.field(default=21_333, validator=whole(0))

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
    tools: Sequence[Tool | Mapping[str, Any]] | None = None,
    betas: Sequence[str] = (),
    diagnostics: bool = True,
    threads: str = Threads.OFF,
    cache: str = Cache.SHORT,
    settings: Mapping[str, Any] | None = None,
    definitions: Sequence[Mapping[str, Any]] | None = None,
    rules: Rulebook | None = None,
) -> Profile:
    """The profile of a conversation, checked by the rules of the API.

    Each setting is what `turnlatch.options` allows. `definitions` are the tools of a
    resumed conversation whose functions were not given again (`tools` is None): they
    stay offered, and a call of one is answered as unknown here. `rules` are those of
    the server; by default the API's own.

    Raises:
        SettingsError: A setting is unknown, or refused by a rule.
    """
    fields: list[tuple[str, bytes]] = []
    if system is not None and system != "":
        fields.append(("system", encoded("system", system)))
    if tools is not None:
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
        Threads(threads),
        Cache(cache),
    )
    _refuse(profile, rules or Rulebook())
    return profile


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
            f" `turnlatch check --explain {finding.rule}`",
        )


def _is_served(tool: object) -> bool:
    return isinstance(tool, Mapping) and "type" in tool


def tools_by_name(tools: Sequence[object]) -> dict[str, Tool]:
    """The functions by name; a tool that the server runs is only offered.

    Raises:
        SettingsError: One is no tool, or two have one name.
    """
    found: dict[str, Tool] = {}
    for one in tools:
        if _is_served(one):
            continue
        if not isinstance(one, Tool):
            raise SettingsError(
                "tools",
                f"{shown(one)} is no tool",
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

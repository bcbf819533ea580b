"""Limits and profile of a conversation, and the checks on the caller's settings."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast, final

import attrs

from turnlatch.errors import SettingsError
from turnlatch.rulebook import Rulebook
from turnlatch.tools.definition import GivenTools, Tool, is_source, tool
from turnlatch.tools.sdk_tools import is_sdk_tool
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
    """Bounds on one turn. A turn that exceeds one fails with a budget fault, unless the
    attribute says otherwise.

    Attributes:
        requests_per_turn_max: Requests one turn may send, retries and trials included.
            `retry()` after a budget fault grants as much again.
        seconds_per_turn_max: Seconds that one turn may work: its requests, waits and
            tools, by a monotonic clock. Time that the turn waits for a person's decision
            does not count. A wait that would exceed the bound suspends the turn instead.
        tokens_per_turn_max: Tokens of the turn's requests, as the server reported them:
            replies and summaries, failed attempts and trials.
        dollars_per_turn_max: Dollars that those tokens and web searches may cost; other
            fees of server tools are not known. No request is sent once the bound is
            reached, so the last request may exceed it. A model without a known price is
            refused.
        price: The price of every model; None for the list price of each, from
            `genai-prices`.
        calls_parallel_max: Tool calls of one reply that run at the same time.
        calls_per_turn_max: Tool calls that one turn may run; further calls are answered
            as not executed. None for no bound.
        repeats_max: How often in a row the same call may give the same result in one
            turn. The next one is not run, and the model is told why. None for no bound.
        hook_seconds_max: Seconds a compaction hook may take; then the turn goes on
            without the hook.
        outputs_max: Replies in a row that may fail to be the output asked for; then the
            turn fails. `retry()` asks for as many again.
        stream_above_tokens: Replies that may be longer than this are streamed even
            by `send()`, as the SDK requires for long requests.

    Raises:
        SettingsError: A bound is not a number above 0 (0 or above for
            `stream_above_tokens`).
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
    outputs_max: int = attrs.field(default=3, validator=_COUNT)
    stream_above_tokens: int = attrs.field(default=21_333, validator=whole(0))

    @cached_property
    def budget(self) -> Budget:
        """The bounds on requests, time, tokens and cost."""
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
    tools: GivenTools | None = None,
    betas: Sequence[str] = (),
    diagnostics: bool = True,
    threads: str = Threads.OFF,
    cache: str = Cache.SHORT,
    settings: Mapping[str, Any] | None = None,
    definitions: Sequence[Mapping[str, Any]] | None = None,
    rules: Rulebook | None = None,
) -> Profile:
    """The profile of a conversation, checked by the rules of the API.

    `turnlatch.options` has checked each setting already. `definitions` are the tools of
    a resumed conversation whose functions were not given again (`tools` is None): they
    stay offered, and a call of one is answered as unknown. `rules` are the server's;
    by default those of the Anthropic API.

    Raises:
        SettingsError: A setting is unknown, or a rule refuses it.
    """
    fields: list[tuple[str, bytes]] = []
    if system is not None and system != "":
        fields.append(("system", encoded("system", system)))
    if tools is not None:
        definitions = [
            one.definition if isinstance(one, Tool) else cast("Mapping[str, Any]", one)
            for one in expanded(tools)
        ]
    if definitions:
        fields.append(("tools", encoded("tools", [dict(d) for d in definitions])))
    for name, value in (settings or {}).items():
        if name in _RESERVED:
            raise SettingsError(
                name, "settings cannot hold it", f"use the option of open(): {name}="
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
        name: The name of the setting.
        value: The value.

    Raises:
        SettingsError: JSON cannot represent the value.
    """
    try:
        return encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(
            name, f"JSON cannot represent it ({error})", "give a JSON value"
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


def declared(tools: Sequence[object]) -> list[Any]:
    """The same list, with each tool of the SDK declared as one of ours.

    Raises:
        ToolDefinitionError: A tool of the SDK cannot be offered.
    """
    return [tool(one) if is_sdk_tool(one) else one for one in tools]


def expanded(tools: Sequence[object]) -> list[Any]:
    """The same list, with the present tools of each source in its place."""
    return [
        inner
        for one in declared(tools)
        for inner in (one.offered if is_source(one) else (one,))
    ]


def tools_by_name(tools: Sequence[object]) -> dict[str, Tool]:
    """The tool functions by name; tools that the server runs are left out.

    Raises:
        SettingsError: An item is not a tool, or two tools have the same name.
    """
    found: dict[str, Tool] = {}
    for one in expanded(tools):
        if _is_served(one):
            continue
        if not isinstance(one, Tool):
            raise SettingsError(
                "tools",
                f"{shown(one)} is not a tool",
                "decorate the function with @tool, or give a tool of the SDK, or the"
                " API's object for a tool that the server runs",
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
    "declared",
    "encoded",
    "expanded",
    "make_profile",
    "tools_by_name",
]

"""The numbers a conversation runs by, and the checks on what a caller sets."""

from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import attrs

from detent.errors import SettingsError
from detent.tools.definition import Tool
from detent_states.faults import RetryPolicy
from detent_states.history import Profile, encode
from detent_states.rules import Context, check


@final
@attrs.frozen
class Limits:
    """Bounds on one turn; each has an effect, none is a hope.

    Attributes:
        requests_per_turn_max: Requests one turn may send, retries included. Beyond
            it the turn fails with a budget fault; `retry()` grants as many more.
        calls_parallel_max: Tool calls of one reply that run at the same time.
        stream_above_tokens: Replies that may be longer than this are streamed even
            by `send()`, as the SDK demands for long work.
    """

    requests_per_turn_max: int = 60
    calls_parallel_max: int = 8
    stream_above_tokens: int = 21_333


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
    tools: Sequence[Tool] = (),
    betas: Sequence[str] = (),
    diagnostics: bool = True,
    settings: Mapping[str, Any] | None = None,
    definitions: Sequence[Mapping[str, Any]] | None = None,
) -> Profile:
    """The profile of a conversation, checked by the rules of the API.

    `definitions` are the tools of a resumed conversation whose functions were not given
    again: they stay offered, and a call of one is answered as unknown here.

    Raises:
        SettingsError: A setting is unknown, of the wrong type, or refused by a rule.
    """
    if not isinstance(model, str) or not model:  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise SettingsError("model", f"{model!r} is no model id", "give its name")
    fields: list[tuple[str, bytes]] = []
    if system is not None and system != "":
        fields.append(("system", _encoded("system", system)))
    if tools:
        definitions = [one.definition for one in tools]
    if definitions:
        fields.append(("tools", _encoded("tools", [dict(d) for d in definitions])))
    for name, value in (settings or {}).items():
        if name in _RESERVED:
            raise SettingsError(
                name, "it is set elsewhere", "use the argument of open() for it"
            )
        fields.append((name, _encoded(name, value)))
    profile = Profile(model, max_tokens, tuple(fields), tuple(betas), diagnostics)
    _refuse(profile)
    return profile


def _encoded(name: str, value: object) -> bytes:
    try:
        return encode(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            name, f"it is no JSON value ({error})", "give one"
        ) from error


def _refuse(profile: Profile) -> None:
    """Refuse settings that would make every request a 400."""
    body = {
        **profile.as_body(),
        "messages": [{"role": "user", "content": "Hello"}],
    }
    for finding in check(body, Context(betas=frozenset(profile.betas))):
        setting = finding.path.split(".")[0]
        told = finding.reason if finding.path == setting else finding.message
        raise SettingsError(
            setting or "settings",
            f"{told} ({finding.rule})",
            f"the API would refuse every request; see `detent check --explain {finding.rule}`",
        )


def tools_by_name(tools: Sequence[object]) -> dict[str, Tool]:
    """The tools by name.

    Raises:
        SettingsError: One is no tool, or two have one name.
    """
    found: dict[str, Tool] = {}
    for one in tools:
        if not isinstance(one, Tool):
            raise SettingsError(
                "tools", f"{one!r} is no tool", "decorate the function with @tool"
            )
        if one.name in found:
            raise SettingsError(
                "tools", f"two tools are named {one.name!r}", "rename one of them"
            )
        found[one.name] = one
    return found


def user_blocks(content: object) -> bytes:
    """A user's content as blocks, encoded once, comma-separated.

    Args:
        content: Text, or a sequence of content blocks as the API takes them.

    Raises:
        SettingsError: It is neither, or no JSON value.
    """
    kind = type(content).__name__
    if isinstance(content, str):
        return _encoded("content", {"type": "text", "text": content})
    if isinstance(content, Sequence) and not isinstance(content, bytes | bytearray):
        blocks = cast("Sequence[object]", content)
        if blocks and all(isinstance(block, Mapping) for block in blocks):
            return b",".join(
                _encoded("content", dict(cast("Mapping[str, Any]", block)))
                for block in blocks
            )
    raise SettingsError(
        "content",
        f"{kind} is no user content",
        "give text, or a non-empty list of content blocks",
    )


__all__ = [
    "DEFAULT_MAX_TOKENS",
    "DEFAULT_MODEL",
    "Limits",
    "RetryPolicy",
    "make_profile",
    "tools_by_name",
    "user_blocks",
]

"""Checks user content when it is given, so that nothing is stored that no request can carry.

The rules of the API decide, as they do before a request is sent. Content that is illegal
only in the conversation's present state (the context is full, a call waits) passes here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from turnlatch.errors import SettingsError
from turnlatch.settings import encoded
from turnlatch_states.api.checks import plain, shown
from turnlatch_states.api.json_bytes import text_block
from turnlatch_states.api.rules import ApiLimits, Context, Finding, check
from turnlatch_states.effects.invalid_input import plainly_legal
from turnlatch_states.request.history import user_message
from turnlatch_states.request.pins import pinned_blocks
from turnlatch_states.request.profile import Profile

_NESTED: Final = ("content", "source")
"""Fields that hold nested blocks, in results, search results and documents."""


def user_blocks(content: object, profile: Profile) -> bytes:
    """User content as encoded blocks, comma-separated.

    Args:
        content: Text, or a sequence of content blocks as the API takes them.
        profile: The settings of the conversation.

    Raises:
        SettingsError: The content is neither, or the API refuses it in every request.
    """
    kind = type(content).__name__
    if isinstance(content, str):
        text = encoded("content", {"type": "text", "text": content})
        _demand_sayable("content", text, text, profile)
        return text
    if isinstance(content, Sequence) and not isinstance(content, bytes | bytearray):
        given = cast("Sequence[object]", content)
        if given and all(isinstance(block, Mapping) for block in given):
            as_given = b",".join(encoded("content", block) for block in given)
            blocks = b",".join(encoded("content", unmarked(block)) for block in given)
            _demand_sayable("content", as_given, blocks, profile)
            return blocks
    raise SettingsError(
        "content",
        f"{kind} is not user content",
        "give text or a non-empty list of content blocks",
    )


def input_key(key: object) -> str | None:
    """An idempotency key, or None if none was given.

    Raises:
        SettingsError: The key is not text that can be stored.
    """
    return None if key is None else _text("key", key)


def pin_name(name: object) -> str:
    """The name of a pin.

    Raises:
        SettingsError: The name is not text of 1 to 200 characters.
    """
    found = _text("name", name)
    if not 0 < len(found) <= 200 or not found.strip():
        raise SettingsError(
            "name",
            f"{found[:40]!r} cannot name a pin",
            "give 1 to 200 characters, not all blank",
        )
    return found


def pin_text(
    name: str, text: object, pins: Sequence[tuple[str, str]], profile: Profile
) -> str:
    """The text of a pin.

    Args:
        name: The pin's name.
        text: The text.
        pins: The other pins, which are sent together with it.
        profile: The settings of the conversation.

    Raises:
        SettingsError: It is not text, or the API refuses it in every request.
    """
    found = _text("text", text)
    together = (*(pin for pin in pins if pin[0] != name), (name, found))
    _demand_sayable("text", text_block(found), pinned_blocks(together), profile)
    return found


def _text(name: str, given: object) -> str:
    """Text that can be stored and sent.

    Raises:
        SettingsError: The value is not a str, or has a lone surrogate.
    """
    if not isinstance(given, str):
        raise SettingsError(name, f"{shown(given)} is not text", "give a str")
    found: str = plain(given)  # the journal accepts only plain str
    try:
        found.encode()
    except UnicodeEncodeError:
        raise SettingsError(
            name, "the text has a lone surrogate", "give text that UTF-8 can encode"
        ) from None
    return found


def _demand_sayable(setting: str, given: bytes, said: bytes, profile: Profile) -> None:
    """Refuse blocks that no request with these settings can carry, in the rule's words.

    The blocks are checked alone in a request: a fault found there exists after any
    history, because the engine itself adds the results that a history requires.

    Args:
        setting: The setting to name in the error.
        given: The blocks as given, comma-separated.
        said: The blocks as they will be sent, which decides their size.
        profile: The settings of the conversation.
    """
    content = cast("list[dict[str, Any]]", json.loads(b"[" + given + b"]"))
    size = len(profile.plain_opening) + len(user_message(said)) + len(b"]}")
    if plainly_legal(content, []) and size <= ApiLimits().request_bytes_max:
        return
    message = {"role": "user", "content": content}
    body = {"model": profile.model, "max_tokens": 1, "messages": [message]}
    context = Context(betas=frozenset(profile.betas), body_bytes=size)
    for finding in check(body, context):
        at = _place(finding, len(content))
        raise SettingsError(
            setting,
            f"{at}{finding.reason} ({finding.rule})",
            "nothing was stored or sent, because the API refuses this in every request;"
            f" see `turnlatch check --explain {finding.rule}`",
        )


def _place(finding: Finding, blocks: int) -> str:
    """The block that a finding is about, in words; empty if there is only one block."""
    for path in (finding.path, *finding.related) if blocks > 1 else ():
        _, inside, place = path.partition("messages.0.content.")
        if inside:
            return f"block {place}: "
    return ""


def unmarked(value: object) -> object:
    """A block without cache markers, in nested blocks too.

    Each request places its own markers. A marker stored with a message would count in
    every later request, and the API allows four.
    """
    if isinstance(value, Mapping):
        block = cast("Mapping[str, Any]", value)
        return {
            name: unmarked(inner) if name in _NESTED else inner
            for name, inner in block.items()
            if name != "cache_control"
        }
    if isinstance(value, list | tuple):
        return [unmarked(one) for one in cast("Sequence[object]", value)]
    return value

"""The shape of a request: R1 to R6, R32 and R34."""

import math
from collections.abc import Iterator

import attrs

from turnlatch_states.api.rules._base import (
    Context,
    Finding,
    digits,
    is_array,
    is_integer,
    is_object,
    member,
)
from turnlatch_states.api.rules._request import Block, Body
from turnlatch_states.api.rules._rule import Rule, silent


def body_is_legal_json(request: Body, context: Context) -> Iterator[Finding]:
    """The body is UTF-8 JSON of bounded size and has no field the API does not know.

    A field that belongs to a beta is unknown without its header. Sources: Anthropic
    docs api/errors and api/migration-2026-10-21; the wording is the live server's.
    Confidence: documented, wording seen live.
    """
    size, most = context.body_bytes, context.limits.request_bytes_max
    if size is not None and size > most:
        reason = "Request exceeds the maximum size"
        yield Finding("R1", "", reason, status=413, type="request_too_large")
    for place, fault in _no_json(request.raw):
        reason = f"The request body is not valid JSON: {fault}"
        yield Finding("R1", "", reason, related=(place,))
    yield from request.shape_of("R1")


def _no_json(body: object) -> Iterator[tuple[str, str]]:
    """Strings and numbers that have no JSON form, and where they are."""
    # A stack of our own: JSON may be nested deeper than Python recurses.
    waiting: list[tuple[str, object]] = [("", body)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, str):
            if not value.isascii() and _lone_surrogate(value):
                yield place, "no low surrogate in string"
        elif isinstance(value, float):
            if not math.isfinite(value):
                yield place, "NaN and Infinity are not JSON"
        elif is_object(value):
            for key, part in value.items():
                if not key.isascii() and _lone_surrogate(key):
                    yield place, "no low surrogate in string"
                if type(part) is not str or not part.isascii():
                    waiting.append((f"{place}.{key}" if place else key, part))
        elif is_array(value):
            waiting += [
                (f"{place}.{index}" if place else str(index), part)
                for index, part in enumerate(value)
            ]


def _lone_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def required_fields(request: Body, context: Context) -> Iterator[Finding]:
    """`model`, `max_tokens` and `messages` are there, and `max_tokens` is in range.

    Zero asks only for the cache to be written, which excludes whatever needs a reply
    (Anthropic docs: build-with-claude/prompt-caching). Confidence: documented; the
    wording for zero is ours.
    """
    yield from request.shape_of("R2")
    asked = request.body.get("max_tokens")
    if not is_integer(asked):
        return
    spec = request.spec
    most = context.limits.output_max or (spec.output_max if spec else None)
    if most is not None and asked > most and not _long_output(context):
        name = request.body.get("model")
        shown = name if isinstance(name, str) else "this model"
        yield Finding(
            "R2",
            "max_tokens",
            f"{digits(asked)} > {most}, which is the maximum allowed number of output "
            f"tokens for {shown}",
        )
    if asked == 0:
        for obstacle in _needs_reply(request):
            reason = f"`max_tokens` of 0 cannot be combined with {obstacle}"
            yield Finding("R2", "max_tokens", reason)


def _long_output(context: Context) -> bool:
    return "output-300k-2026-03-24" in context.betas


def _needs_reply(request: Body) -> Iterator[str]:
    body = request.body
    if body.get("stream") is True:
        yield "`stream`"
    if member(body, "thinking", "type") == "enabled":
        yield '`thinking.type: "enabled"`'
    if member(body, "output_config", "format") is not None:
        yield "`output_config.format`"
    if member(body, "tool_choice", "type") in ("any", "tool"):
        yield "a forced `tool_choice`"


def message_count(request: Body, context: Context) -> Iterator[Finding]:
    """There is at least one message, and no more than 100,000.

    A continued thread may send none, to resume a paused turn. Sources: SDK
    `message_create_params.py`. Confidence: certain; the wording of the upper bound is
    that of the validator the server is believed to use.
    """
    yield from request.shape_of("R3")
    sent = request.body.get("messages")
    if not is_array(sent):
        return
    most = context.limits.messages_max
    if not sent and not request.continues:
        yield Finding("R3", "messages", "at least one message is required")
    elif len(sent) > most:
        reason = f"List should have at most {most} items after validation"
        yield Finding("R3", "messages", f"{reason}, not {len(sent)}")


def roles_and_content(request: Body, context: Context) -> Iterator[Finding]:
    """Every message has a known role, and content that is a string or a list.

    `system` only where the model supports it (Anthropic docs: build-with-claude/
    mid-conversation-system-messages). Confidence: certain, wording seen live.
    """
    yield from request.shape_of("R4")
    spec = request.spec
    if spec is not None and spec.mid_conversation_system is False:
        places = tuple(m.path for m in request.messages if m.role == "system")
        if places:
            reason = "role 'system' is not supported on this model"
            yield Finding("R4", "", reason, related=places)


def content_not_empty(request: Body, context: Context) -> Iterator[Finding]:
    """No message is empty, and no text block is empty or only white space.

    The last assistant message is exempt, as a prefill. A tool result without content
    is fine; the text blocks inside one are held to the same rule. Blank text next to the
    calls of a reply was accepted in a recorded exchange of 2026-04. Sources: GitHub
    anthropics/claude-code#59812, home-assistant/core#175637. Confidence: seen live.
    """
    last = request.messages[-1] if request.messages else None
    for message in request.messages:
        if message.broken or message.place < 0 or not message.empty:
            continue
        if message.role == "system":
            if not message.value.get("output_config"):
                reason = "system content must contain at least one block"
                yield Finding("R6", message.path, reason)
        elif not (message is last and message.role == "assistant"):
            yield Finding(
                "R6",
                message.path,
                "all messages must have non-empty content except for the optional final "
                "assistant message",
            )
    for message in request.messages:
        if message.place >= 0 and not message.empty:
            calls = message.role == "assistant" and any(
                block.type == "tool_use" for block in message.blocks
            )
            for block in message.blocks:
                taken = (
                    calls and block.type == "text" and member(block.value, "text") != ""
                )
                for found in _texts(block):
                    yield attrs.evolve(found, accepted_too=taken)
    system = request.body.get("system")
    if is_array(system):
        for place, part in enumerate(system):
            if is_object(part) and part.get("type") == "text":
                yield from _text(part, "system", f"system.{place}")


def _texts(block: Block) -> Iterator[Finding]:
    if block.type == "text":
        yield from _text(block.value, "messages", block.path)
    elif block.type == "tool_result":
        content = block.value.get("content")
        if is_array(content):
            for place, part in enumerate(content):
                if is_object(part) and part.get("type") == "text":
                    where = f"{block.path}.tool_result.content.{place}"
                    yield from _text(part, "messages", where)


def _text(block: object, path: str, where: str) -> Iterator[Finding]:
    text = member(block, "text")
    if not isinstance(text, str) or (text and not text.isspace()):
        return
    if text:
        reason = "text content blocks must contain non-whitespace text"
    elif member(block, "cache_control") is not None:
        return  # R24 has a special text for this, which is known to come first
    else:
        reason = "text content blocks must be non-empty"
    yield Finding("R6", path, reason, related=(where,))


def stop_sequences(request: Body, context: Context) -> Iterator[Finding]:
    """Every stop sequence contains something besides white space.

    Confidence: seen live.
    """
    yield from request.shape_of("R32")
    sequences = request.body.get("stop_sequences")
    if is_array(sequences):
        blank = tuple(
            f"stop_sequences.{place}"
            for place, word in enumerate(sequences)
            if isinstance(word, str) and not word.strip()
        )
        if blank:
            reason = "each stop sequence must contain non-whitespace"
            yield Finding("R32", "stop_sequences", reason, related=blank)


def citations_and_format(request: Body, context: Context) -> Iterator[Finding]:
    """Citations are not enabled together with a structured output format.

    Sources: Anthropic docs build-with-claude/structured-outputs. Confidence:
    documented; the wording is ours.
    """
    if member(request.body, "output_config", "format") is None:
        return
    for message in request.messages:
        for block in message.blocks:
            for place, part in _citable(block):
                if member(part, "citations", "enabled") is True:
                    reason = (
                        "citations cannot be enabled with a structured output format"
                    )
                    yield Finding(
                        "R34", "output_config.format", reason, related=(place,)
                    )


def _citable(block: Block) -> Iterator[tuple[str, object]]:
    yield block.path, block.value
    content = block.value.get("content")
    if block.type == "tool_result" and is_array(content):
        for place, part in enumerate(content):
            yield f"{block.path}.tool_result.content.{place}", part


RULES = (
    Rule(
        "R1",
        "the body is JSON of at most 32 MB with known fields only",
        "Remove the field named by the path, or send the beta header it belongs to; "
        "replace lone surrogates and non-finite numbers before the request is built.",
        "Anthropic docs: api/errors, api/migration-2026-10-21 (documented)",
        body_is_legal_json,
    ),
    Rule(
        "R2",
        "model, max_tokens and messages are present and in range",
        "Give a model, messages, and a max_tokens within the model's output limit.",
        "Anthropic docs: api/messages, build-with-claude/prompt-caching (documented)",
        required_fields,
    ),
    Rule(
        "R3",
        "there are between 1 and 100,000 messages",
        "Send at least one message; compact a conversation that has grown too long.",
        "anthropic SDK: types/message_create_params.py (certain)",
        message_count,
    ),
    Rule(
        "R4",
        "every message has a known role and readable content",
        "Use user or assistant, and system only on models that support it; content is "
        "a string or a list of blocks.",
        "anthropic SDK: types/message_param.py (certain)",
        roles_and_content,
    ),
    Rule(
        "R5",
        "adjacent messages of one role are merged, not refused",
        "Nothing to do: the API reads them as one turn.",
        "Anthropic docs: api/messages (documented)",
        silent,
    ),
    Rule(
        "R6",
        "no message and no text block is empty or blank",
        "Leave the block or the message out; models do emit empty text that the API "
        "does not take back.",
        "GitHub anthropics/claude-code#59812 (seen live)",
        content_not_empty,
    ),
    Rule(
        "R32",
        "stop sequences contain non-whitespace",
        "Remove the blank stop sequence.",
        "error text of the live server (seen live)",
        stop_sequences,
    ),
    Rule(
        "R34",
        "citations and a structured output format exclude each other",
        "Disable citations on the documents, or leave output_config.format out.",
        "Anthropic docs: build-with-claude/structured-outputs (documented)",
        citations_and_format,
    ),
)
"""The rules of this module."""

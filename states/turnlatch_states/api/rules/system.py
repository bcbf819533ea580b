"""System messages in the middle of a conversation: R25 and R26."""

from collections.abc import Iterator

from turnlatch_states.api.rules._base import Context, Finding, member, objects
from turnlatch_states.api.rules._request import Body, CheckedMessage, RoleTurn
from turnlatch_states.api.rules._rule import Rule

_SCOPED = "next_user_message"
_SCOPE = f"(clear_at: '{_SCOPED}')"


def _directive_only(message: CheckedMessage) -> bool:
    return not message.blocks and bool(message.value.get("output_config"))


def system_messages_are_in_place(request: Body, context: Context) -> Iterator[Finding]:
    """A system message follows the user and precedes the assistant or the end.

    A run of them counts as one; one that holds only an output_config may stand anywhere.
    Tool changes name tools that exist. Sources: Anthropic docs build-with-claude/
    mid-conversation-system-messages. Confidence: documented, wording seen live; the text
    for a wrong predecessor is ours.
    """
    yield from request.shape_of("R25")
    turns = request.turns
    for place, turn in enumerate(turns):
        if turn.role != "system" or turn.broken:
            continue
        spoken = [m for m in turn.messages if m.place >= 0 and not _directive_only(m)]
        if not spoken:
            continue
        if place == 0 and not request.start_unknown:
            reason = (
                "use the top-level 'system' parameter for the initial system prompt"
            )
            yield Finding("R25", spoken[0].path, reason)
        elif place and _ends_on_own_words(turns[place - 1]):
            yield Finding(
                "R25",
                spoken[0].path,
                "role 'system' must follow a 'user' message or an 'assistant' message "
                "that ends with a server tool result",
            )
        following = turns[place + 1] if place + 1 < len(turns) else None
        if (
            following is not None
            and following.role == "user"
            and not _scoped(spoken[-1])
        ):
            yield Finding(
                "R25",
                spoken[-1].path,
                "role 'system' must precede an 'assistant' message or end the array; the "
                "directive-only form (content: [] with output_config) is accepted at any "
                "position",
            )
    yield from _unknown_tools(request)


def _ends_on_own_words(turn: RoleTurn) -> bool:
    """True for an assistant turn that does not end with a server tool's result.

    One that ends on a call of ours is R13's.
    """
    if turn.role != "assistant" or turn.broken or not turn.blocks:
        return False
    return not (turn.blocks[-1].type.endswith("_tool_result") or turn.of("tool_use"))


def _unknown_tools(request: Body) -> Iterator[Finding]:
    names = (tool.get("name") for _, tool in request.tools)
    known: set[object] = {name for name in names if isinstance(name, str)}
    for message in request.messages:
        for block in message.blocks:
            if block.type not in ("tool_addition", "tool_removal"):
                continue
            tool = block.value.get("tool")
            if member(tool, "type") == "tool_definition":
                defined = member(tool, "definition", "name")
                known |= {defined} if isinstance(defined, str) else set()
            name = member(tool, "name")
            named = member(tool, "type") == "tool_reference" and isinstance(name, str)
            if named and name not in known and not request.continues:
                yield Finding(
                    "R25",
                    f"{block.path}.{block.type}.tool",
                    f"tool reference '{name}' does not name a tool of this request",
                    code="tool_reference_unresolved",
                )


def _scoped(message: CheckedMessage) -> bool:
    return message.value.get("clear_at") == _SCOPED


def turn_scoped_system(request: Body, context: Context) -> Iterator[Finding]:
    """A system message that clears itself holds only unmarked text, before the assistant.

    Sources: Anthropic docs build-with-claude/mid-conversation-system-messages.
    Confidence: documented; the text for one before a user message is ours.
    """
    yield from request.shape_of("R26")
    for place, message in enumerate(request.messages):
        scope = message.value.get("clear_at")
        if scope is None or message.place < 0:
            continue
        if message.role != "system":
            reason = "clear_at is only permitted on role 'system' messages"
            yield Finding("R26", f"{message.path}.clear_at", reason)
        elif scope == _SCOPED:
            following = request.messages[place + 1 : place + 2]
            yield from _scoped_content(message)
            if following and following[0].role == "user":
                yield Finding(
                    "R26",
                    message.path,
                    "a turn-scoped system message must precede an 'assistant' message or "
                    f"end the array {_SCOPE}",
                )


def _scoped_content(message: CheckedMessage) -> Iterator[Finding]:
    if any(block.type != "text" for block in message.blocks):
        reason = f"a turn-scoped system message supports text blocks only {_SCOPE}"
        yield Finding("R26", message.path, reason)
    if message.value.get("output_config") is not None:
        what = "output_config is not permitted on a turn-scoped system message"
        yield Finding("R26", message.path, f"{what} {_SCOPE}")
    for place, part in objects(message.value.get("content")):
        if part.get("cache_control") is not None:
            what = "cache_control is not permitted on a turn-scoped system message"
            yield Finding("R26", f"{message.path}.content.{place}", f"{what} {_SCOPE}")


RULES = (
    Rule(
        "R25",
        "a system message follows the user and precedes the assistant",
        "Move it behind a user message, put the first one into the top-level system "
        "field, and name only tools of this request.",
        "Anthropic docs: build-with-claude/mid-conversation-system-messages (documented)",
        system_messages_are_in_place,
    ),
    Rule(
        "R26",
        "a turn-scoped system message is plain text before the assistant",
        "Send only unmarked text in it, or remove clear_at.",
        "Anthropic docs: build-with-claude/mid-conversation-system-messages (documented)",
        turn_scoped_system,
    ),
)
"""The rules of this module."""

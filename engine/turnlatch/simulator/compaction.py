"""Summaries the server makes, and edits it makes to what the model sees.

Two kinds of summary: on demand (the `compaction` field; a signed block and nothing else,
https://platform.claude.com/docs/en/build-with-claude/compaction-on-demand) and by
threshold (an edit in `context_management`; an unsigned block before the reply,
https://platform.claude.com/docs/en/build-with-claude/compaction). The edits that clear old
tool results or thinking are those of
https://platform.claude.com/docs/en/build-with-claude/context-editing.
"""

import random
from collections.abc import Sequence
from typing import Final, Protocol, final, runtime_checkable

import attrs

from turnlatch.simulator.answers import Answer, Text
from turnlatch.simulator.cache import Tally
from turnlatch.simulator.signing import Notary, SignedPlace, is_thinking
from turnlatch.simulator.tokens import count_block, count_request, count_text
from turnlatch.simulator.wire import Json, as_array, as_object, blocks, integer, objects

ON_DEMAND_BETA: Final = "compact-2026-09-04"
THRESHOLD_BETA: Final = "compact-2026-01-12"

_TRIGGER_TOKENS: Final = 150_000
_CLEAR_TOKENS: Final = 100_000
_KEPT_TOOL_USES: Final = 3
_SUMMARY_CHARS: Final = 600
_PLACEHOLDER: Final = "[Old tool result content cleared]"


@runtime_checkable
class Summariser(Protocol):
    """A responder that also writes the summaries."""

    def summarise(self, request: Json, rng: random.Random, /) -> Answer | None:
        """Answer a compaction: the text of the answer is the summary.

        An answer without text is a failed compaction; its stop reason says why
        (`end_turn` by default). None: the simulator invents a summary.
        """
        ...


@final
@attrs.frozen
class Prepared:
    """A conversation as the model sees it, after the server's own edits.

    Attributes:
        seen: The body with its effective messages.
        tokens: Its length.
        applied: The edits that changed something, as the reply reports them.
        reported: Whether the reply reports edits at all.
        compact: The threshold edit that is due; None if none is.
    """

    seen: Json
    tokens: int
    applied: tuple[Json, ...] = ()
    reported: bool = False
    compact: Json | None = None


def effective(body: Json) -> Json:
    """A body without what stands before its last summary."""
    messages = objects(body.get("messages"))
    for place in range(len(messages) - 1, -1, -1):
        content = blocks(messages[place].get("content"))
        for index in range(len(content) - 1, -1, -1):
            block = content[index]
            if block.get("type") == "compaction" and block.get("content") is not None:
                head = {**messages[place], "content": list(content[index:])}
                return {**body, "messages": [head, *messages[place + 1 :]]}
    return body


def prepare(body: Json) -> Prepared:
    """Apply the server's edits to a whole conversation."""
    seen = effective(body)
    tokens = count_request(seen)
    management = as_object(body.get("context_management"))
    if management is None:
        return Prepared(seen, tokens)
    applied: list[Json] = []
    compact: Json | None = None
    for edit in objects(management.get("edits")):
        match edit.get("type"):
            case "clear_thinking_20251015":
                after, report = _without_thinking(seen, edit)
            case "clear_tool_uses_20250919":
                after, report = _without_results(seen, edit, tokens)
            case "compact_20260112":
                if tokens >= _trigger(edit, _TRIGGER_TOKENS):
                    compact = edit
                continue
            case _:
                continue
        if report is not None:
            cleared = tokens - count_request(after)
            seen, tokens = after, tokens - cleared
            applied.append({**report, "cleared_input_tokens": cleared})
    return Prepared(seen, tokens, tuple(applied), True, compact)


@final
@attrs.frozen
class Summary:
    """The outcome of a compaction.

    Attributes:
        words: The summary; None for a compaction that failed.
        stop_reason: `compaction`, or why it failed.
        usage: The scripted answer's changes to the reply's `usage`; see `Answer`.
    """

    words: str | None
    stop_reason: str = "compaction"
    usage: Json | None = None

    @property
    def tokens(self) -> int:
        """Output tokens of the summary."""
        return count_text(self.words or "")


def summary_of(seen: Json, responder: object, rng: random.Random) -> Summary:
    """A summary of a conversation, or the reason it failed."""
    answer = None
    if isinstance(responder, Summariser):
        answer = responder.summarise(seen, rng)
    if answer is None:
        return Summary(_own_summary(seen))
    words = "".join(part.text for part in answer.parts if isinstance(part, Text))
    if words:
        return Summary(words, usage=answer.usage)
    return Summary(None, answer.stop_reason or "end_turn", answer.usage)


def signed_block(
    summary: str, place: SignedPlace, notary: Notary, rng: random.Random
) -> Json:
    """The block of an on-demand compaction."""
    signature = notary.sign_compaction(summary, None, place, rng)
    return {"type": "compaction", "content": summary, "signature": signature}


def iteration(kind: str, tally: Tally, output_tokens: int) -> Json:
    """One entry of `usage.iterations`."""
    return {"type": kind, **tally.members, "output_tokens": output_tokens}


def _own_summary(seen: Json) -> str:
    """A short, honest summary: who said what, cut to a few words each."""
    messages = objects(seen.get("messages"))
    lines = [f"Summary of {len(messages)} message(s)."]
    for message in messages:
        for block in blocks(message.get("content")):
            match block:
                case {"type": "text", "text": str(words)}:
                    lines.append(f"{message.get('role')}: {words[:60]}")
                case {"type": "compaction", "content": str(words)}:
                    lines.append(words[:200])
                case {"type": "tool_use", "name": str(name)}:
                    lines.append(f"called {name}")
                case _:
                    pass
    return "\n".join(lines)[:_SUMMARY_CHARS]


def _trigger(edit: Json, default: int) -> int:
    trigger = as_object(edit.get("trigger"))
    return default if trigger is None else integer(trigger.get("value"), default)


def _without_thinking(seen: Json, edit: Json) -> tuple[Json, Json | None]:
    keep = as_object(edit.get("keep"))
    if keep is None or keep.get("type") != "thinking_turns":
        return seen, None
    messages = list(objects(seen.get("messages")))
    turns = [
        place
        for place, message in enumerate(messages)
        if any(is_thinking(block) for block in blocks(message.get("content")))
    ]
    cleared = turns[: max(0, len(turns) - integer(keep.get("value"), 1))]
    for place in cleared:
        content = blocks(messages[place].get("content"))
        kept = [block for block in content if not is_thinking(block)]
        messages[place] = {**messages[place], "content": kept}
    if not cleared:
        return seen, None
    report: Json = {"type": edit["type"], "cleared_thinking_turns": len(cleared)}
    return {**seen, "messages": messages}, report


def _without_results(seen: Json, edit: Json, tokens: int) -> tuple[Json, Json | None]:
    messages = objects(seen.get("messages"))
    excluded = set(as_array(edit.get("exclude_tools")) or ())
    uses = [
        str(block.get("id"))
        for message in messages
        for block in blocks(message.get("content"))
        if block.get("type") == "tool_use" and block.get("name") not in excluded
    ]
    trigger = as_object(edit.get("trigger")) or {}
    measured = len(uses) if trigger.get("type") == "tool_uses" else tokens
    if measured < _trigger(edit, _CLEAR_TOKENS):
        return seen, None
    keep = as_object(edit.get("keep")) or {}
    kept = integer(keep.get("value"), _KEPT_TOOL_USES)
    cleared = frozenset(uses[: max(0, len(uses) - kept)])
    after = {**seen, "messages": [_cleared(each, cleared) for each in messages]}
    least = as_object(edit.get("clear_at_least")) or {}
    won = tokens - count_request(after)
    if won <= 0 or won < integer(least.get("value")):
        return seen, None
    report: Json = {"type": edit["type"], "cleared_tool_uses": len(cleared)}
    return after, report


def _cleared(message: Json, ids: frozenset[str]) -> Json:
    content: Sequence[Json] = [
        {**block, "content": _PLACEHOLDER}
        if block.get("type") == "tool_result"
        and block.get("tool_use_id") in ids
        and count_block(block) > count_block({**block, "content": _PLACEHOLDER})
        else block
        for block in blocks(message.get("content"))
    ]
    return {**message, "content": content}

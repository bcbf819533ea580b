"""The outcome of a whole reply: a total function of its stop reason and its blocks.

Every documented stop reason has a row here (Anthropic docs: build-with-claude/
handling-stop-reasons). An unknown one rests: turnlatch executes nothing on a stop reason
that it does not know.
"""

from enum import StrEnum

from turnlatch_states.api.reply import Reply


class Outcome(StrEnum):
    """The engine's reaction to a whole reply."""

    REST = "rest"
    """The turn is done."""
    CALLS = "run calls"
    """The turn owes one result to every call of the reply."""
    RESUME = "resume"
    """The server paused; it continues when the conversation is sent back unchanged."""
    TRUNCATED = "truncated"
    """The reply hit its limit; calls in it are cut off and never executed."""
    OVERFLOW = "overflow"
    """The window is full; calls in the reply are never executed."""
    REFUSED = "refused"
    """The model declined; the reply is not committed."""
    EMPTY = "empty"
    """The reply is whole and empty; the turn is done, and nothing is sent back."""


STOP_REASONS: dict[str, Outcome] = {
    "end_turn": Outcome.REST,
    "stop_sequence": Outcome.REST,
    "tool_use": Outcome.CALLS,
    "pause_turn": Outcome.RESUME,
    "compaction": Outcome.RESUME,
    "max_tokens": Outcome.TRUNCATED,
    "model_context_window_exceeded": Outcome.OVERFLOW,
    "refusal": Outcome.REFUSED,
}
"""The documented stop reasons; a test fails when the SDK gains one."""


def outcome(reply: Reply) -> Outcome:
    """The outcome of a whole reply, for every stop reason and every content shape.

    Contradictions are resolved so that no call stays open, no call runs by accident, and
    every later request is legal. A `tool_use` stop without calls rests. A pause that is
    neither among server tools nor after a summary rests, because a request must not end
    with an assistant message. Calls under a pause run; calls under any other stop reason
    are closed as not executed.
    """
    known = STOP_REASONS.get(reply.stop_reason, Outcome.REST)
    if known is Outcome.CALLS and not reply.tool_uses:
        known = Outcome.REST
    if known is Outcome.RESUME:
        if reply.tool_uses:
            return Outcome.CALLS
        if not (_ends_among_server_tools(reply) or only_summary(reply)):
            known = Outcome.REST
    if known is Outcome.REST and not reply.content:
        return Outcome.EMPTY
    return known


def may_be_last(reply: Reply) -> bool:
    """True if a whole reply can be the last one of its turn, and so the output of it."""
    ends = (Outcome.REST, Outcome.EMPTY, Outcome.TRUNCATED, Outcome.OVERFLOW)
    return outcome(reply) in ends and not reply.tool_uses


def only_summary(reply: Reply) -> bool:
    """True if the server summarised the context in the middle of a turn and paused.

    The server then answers only messages after the summary (Anthropic docs:
    build-with-claude/compaction, `pause_after_compaction`), so the user's message is sent
    again.
    """
    return (
        reply.stop_reason == "compaction"
        and bool(reply.blocks)
        and all(block.get("type") == "compaction" for block in reply.blocks)
    )


def _ends_among_server_tools(reply: Reply) -> bool:
    """True if a reply ends with a server tool's call or result."""
    if not reply.content:
        return False
    last = str(reply.blocks[-1].get("type"))
    done = {block.get("tool_use_id") for block in reply.blocks}
    return last.endswith("_tool_result") or any(
        block.get("type") in ("server_tool_use", "mcp_tool_use")
        and block.get("id") not in done
        for block in reply.blocks
    )


def unusable_summary(reply: Reply) -> str | None:
    """Why a reply to a compaction request cannot be adopted; None if it can.

    A usable summary is exactly one signed, non-empty compaction block (Anthropic docs:
    build-with-claude/compaction-on-demand).
    """
    if reply.stop_reason != "compaction":
        return f"the server stopped with {reply.stop_reason!r} and gave no summary"
    blocks = reply.blocks
    if len(blocks) != 1 or blocks[0].get("type") != "compaction":
        return f"the reply has {len(blocks)} block(s), not exactly one compaction block"
    content = blocks[0].get("content")
    if not isinstance(content, str) or not content.strip():
        return "the summary is empty"
    return None

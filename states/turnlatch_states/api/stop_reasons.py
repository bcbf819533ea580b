"""What a whole reply asks of us: a total function of its stop reason and its blocks.

Every stop reason the API documents has a row here (Anthropic docs: build-with-claude/
handling-stop-reasons), and one that nobody has heard of rests: nothing is executed on
a word we do not understand.
"""

from enum import StrEnum

from turnlatch_states.api.reply import Reply


class Outcome(StrEnum):
    """What follows a whole reply."""

    REST = "rest"
    """The turn is done."""
    CALLS = "run calls"
    """The turn owes one result to every call of the reply."""
    RESUME = "resume"
    """The server paused; it goes on when the conversation is sent back unchanged."""
    TRUNCATED = "truncated"
    """The reply hit its limit; calls in it are cut off and never executed."""
    OVERFLOW = "overflow"
    """The window is full; calls in the reply are never executed."""
    REFUSED = "refused"
    """The model declined; the reply is not committed."""
    EMPTY = "empty"
    """A whole reply without content; the turn is done, nothing is sent back."""


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

    Contradictions are settled so that no call is left open, none runs by accident, and
    nothing is sent that cannot be accepted: a `tool_use` stop without calls rests; a
    pause that is not among server tools, nor behind a summary, rests, because a request
    must not end on an assistant's word; calls under any other stop reason are closed as not executed,
    except under a pause, where they are run like any others.
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


def only_summary(reply: Reply) -> bool:
    """True if the server summarised the context in the middle of a turn and paused.

    It answers what is said after that (Anthropic docs: build-with-claude/compaction,
    `pause_after_compaction`), so what was said is said again.
    """
    return (
        reply.stop_reason == "compaction"
        and bool(reply.blocks)
        and all(block.get("type") == "compaction" for block in reply.blocks)
    )


def _ends_among_server_tools(reply: Reply) -> bool:
    """True if the last thing in a reply is the server's own tool, or its result."""
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
    """Why a reply to a compaction request must not be adopted; None if it may be.

    A usable summary is exactly one signed, non-empty compaction block (Anthropic docs:
    build-with-claude/compaction-on-demand).
    """
    if reply.stop_reason != "compaction":
        return f"the server stopped with {reply.stop_reason!r} and gave no summary"
    blocks = reply.blocks
    if len(blocks) != 1 or blocks[0].get("type") != "compaction":
        return f"the reply holds {len(blocks)} block(s) and not one compaction block"
    content = blocks[0].get("content")
    if not isinstance(content, str) or not content.strip():
        return "the summary is empty"
    return None

"""Compaction blocks, compaction requests and context editing: R27."""

from collections.abc import Iterator, Mapping

from turnlatch_states.api.rules._base import (
    Context,
    Finding,
    is_integer,
    member,
    objects,
)
from turnlatch_states.api.rules._blocks import COMPACT_ON_DEMAND, COMPACT_THRESHOLD
from turnlatch_states.api.rules._request import Block, Body
from turnlatch_states.api.rules._rule import Rule

_THRESHOLD_EDIT = "compact_20260112"
_CLEAR_THINKING = "clear_thinking_20251015"


def compaction_is_adopted_whole(request: Body, context: Context) -> Iterator[Finding]:
    """A summary stands where it may, as it was issued, under the header it needs.

    A signed one (on demand) is the first block of the conversation and the only one; an
    unsigned one (threshold) needs its edit in every later request; one without content
    is a no-op anywhere. Sources: Anthropic docs build-with-claude/compaction and
    compaction-on-demand. Confidence: documented, wording seen live; texts for excluded
    fields are ours.
    """
    yield from request.shape_of("R27")
    yield from _blocks(request, context)
    if request.body.get("compaction") is not None:
        yield from _compaction_request(request, context)
    if request.body.get("context_management") is not None:
        yield from _edits(request, context)


def _blocks(request: Body, context: Context) -> Iterator[Finding]:
    summaries: list[Block] = []
    for message in request.messages:
        for block in message.blocks:
            if block.type != "compaction":
                continue
            if message.role == "system" and message.place >= 0:
                yield _misplaced(block)
            elif block.value.get("content") is not None:
                summaries.append(block)
    signed = [block for block in summaries if block.value.get("signature") is not None]
    edited = any(edit.get("type") == _THRESHOLD_EDIT for _, edit in _listed(request))
    for block in summaries:
        if block.message < 0:
            continue
        if block in signed:
            yield from _signed(block, request, context)
        else:
            yield from _unsigned(block, context, edited=edited)
        told = context.verify.compaction(block.value) if context.verify else None
        if told is not None:
            code, reason = told
            yield Finding("R27", block.path, reason, code=code)
    if len(signed) > 1:
        yield Finding(
            "R27",
            signed[1].path,
            "more than one `compaction` block with `content`; send only the newest",
            code="compaction_block_ambiguous",
            related=tuple(block.path for block in signed),
        )


def _misplaced(block: Block) -> Finding:
    return Finding(
        "R27",
        block.path,
        "`compaction` block must be sent first, in place of the messages it summarizes; "
        "remove those messages",
        code="compaction_block_misplaced",
    )


def _signed(block: Block, request: Body, context: Context) -> Iterator[Finding]:
    if COMPACT_ON_DEMAND not in context.betas:
        reason = f"`signature` requires anthropic-beta: {COMPACT_ON_DEMAND}"
        yield Finding("R27", block.path, reason)
    first = request.messages[0].place
    if block.message != first or block.number != 0 or request.start_unknown:
        yield _misplaced(block)


def _unsigned(block: Block, context: Context, *, edited: bool) -> Iterator[Finding]:
    if COMPACT_THRESHOLD in context.betas:
        if not edited:
            yield Finding(
                "R27",
                block.path,
                f"`compaction` blocks require a `{_THRESHOLD_EDIT}` strategy in "
                "`context_management.edits`.",
            )
    elif COMPACT_ON_DEMAND in context.betas:
        reason = "a `compaction` block with `content` requires its `signature`"
        yield Finding("R27", block.path, reason)


def _compaction_request(request: Body, context: Context) -> Iterator[Finding]:
    body = request.body
    obstacles = {
        "context_management": body.get("context_management") is not None,
        "stop_sequences": bool(body.get("stop_sequences")),
        "output_config.format": member(body, "output_config", "format") is not None,
        "tool_choice": member(body, "tool_choice", "type") in ("any", "tool"),
        "output_config.task_budget.remaining": (
            member(body, "output_config", "task_budget", "remaining") is not None
        ),
    }
    for field, present in obstacles.items():
        if present:
            reason = f"cannot be combined with `{field}`"
            yield Finding("R27", "compaction", reason, related=(field,))
    instructions = member(body, "compaction", "instructions")
    most = context.limits.compaction_instructions_chars_max
    if isinstance(instructions, str) and len(instructions) > most:
        reason = f"String should have at most {most} characters"
        yield Finding("R27", "compaction.instructions", reason)
    turns = request.turns
    if turns and turns[-1].role == "assistant" and turns[-1].of("tool_use"):
        yield Finding(
            "R27",
            "compaction",
            "the conversation ends in an unfinished assistant turn",
            code="compaction_incomplete_turn",
        )
    spoken = any(turn.role != "system" and turn.blocks for turn in turns)
    if not spoken and not request.start_unknown:
        yield Finding(
            "R27",
            "compaction",
            "there is nothing to summarize",
            code="compaction_nothing_to_summarize",
        )


def _listed(request: Body) -> Iterator[tuple[int, Mapping[str, object]]]:
    return objects(member(request.body, "context_management", "edits"))


def _edits(request: Body, context: Context) -> Iterator[Finding]:
    least = context.limits.compaction_trigger_tokens_min
    for place, edit in _listed(request):
        tag = edit.get("type")
        value = member(edit, "trigger", "value")
        if tag == _THRESHOLD_EDIT and is_integer(value) and value < least:
            path = f"context_management.edits.{place}.{_THRESHOLD_EDIT}"
            yield Finding("R27", path, f"trigger.value must be at least {least}")
        if tag == _CLEAR_THINKING and place > 0:
            yield Finding(
                "R27",
                "context_management",
                f"`{_CLEAR_THINKING}` must be the first strategy in "
                "`context_management.edits` when provided",
            )


RULES = (
    Rule(
        "R27",
        "a compaction block stands first, whole, and under its beta",
        "Send the block exactly as it came, in place of what it summarizes, with the "
        "beta header (and, unsigned, the edit) that made it.",
        "Anthropic docs: build-with-claude/compaction (documented)",
        compaction_is_adopted_whole,
    ),
)
"""The rules of this module."""

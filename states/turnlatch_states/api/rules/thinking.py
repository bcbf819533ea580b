"""Thinking: R18 to R23. Only the server can verify its signatures."""

from collections.abc import Iterator

from turnlatch_states.api.models import ModelSpec
from turnlatch_states.api.rules._base import (
    VERSION_2026,
    Context,
    Finding,
    is_integer,
    member,
)
from turnlatch_states.api.rules._request import Block, Body, RoleTurn
from turnlatch_states.api.rules._rule import Rule, silent

BOUND_ELSEWHERE = "bound to a different conversation"
"""The text that distinguishes a refused binding from a refused signature."""

_THINKING = ("thinking", "redacted_thinking")
_SEALS = {"thinking": "signature", "redacted_thinking": "data"}
_USE_ADAPTIVE = (
    'is not supported for this model. Use "thinking.type.adaptive" and '
    '"output_config.effort" to control thinking behavior.'
)
_USE_ENABLED = (
    "is not supported for this model. Thinking defaults to adaptive mode when not "
    'specified; use "thinking.type.enabled" with "budget_tokens" for extended thinking.'
)


def thinking_is_untouched(request: Body, context: Context) -> Iterator[Finding]:
    """Thinking blocks come back as they were issued.

    Without the server's knowledge only a block whose seal is empty is known to be
    broken: a stream that was cut leaves one. Sources: Anthropic docs api/errors.
    Confidence: documented; which edits the server lets pass is not, so all count.
    """
    for path, reason in request.thinking_verdicts:
        if BOUND_ELSEWHERE not in reason:
            yield Finding("R18", path, reason)
    if context.verify is not None:
        return
    for message in request.messages:
        if message.role != "assistant" or message.place < 0:
            continue
        for block in message.blocks:
            seal = _SEALS.get(block.type)
            if seal is not None and block.value.get(seal) == "":
                reason = f"Invalid `{seal}` in `{block.type}` block"
                yield Finding("R18", block.path, reason)


def manual_thinking_leads(request: Body, context: Context) -> Iterator[Finding]:
    """In manual mode an open tool round begins with thinking.

    The round is the run of assistant turns since the user last said something other
    than results. Adaptive mode has no such rule. Confidence: documented, wording seen
    live; the address at its end is assumed.
    """
    if member(request.body, "thinking", "type") != "enabled":
        return
    first = _round_start(request.turns)
    if first is not None and first.type not in _THINKING:
        yield Finding(
            "R19",
            f"{first.path}.type",
            f"Expected `thinking` or `redacted_thinking`, but found `{first.type}`. When "
            "`thinking` is enabled, a final `assistant` message must start with a "
            "thinking block (preceeding the lastmost set of `tool_use` and `tool_result` "
            "blocks). We recommend you include thinking blocks from previous turns. To "
            "avoid this requirement, disable `thinking`. Please consult our documentation "
            "at https://docs.claude.com/en/docs/build-with-claude/extended-thinking",
        )


def _round_start(turns: tuple[RoleTurn, ...]) -> Block | None:
    """The first block of the open tool round, if the last turn answers calls."""
    first: Block | None = None
    answers = False
    for turn in reversed(turns):
        if turn.role == "user":
            if turn.broken or not turn.blocks or turn.blocks[0].type != "tool_result":
                break
            answers = True
        elif turn.role == "assistant" and turn.blocks:
            if turn.broken or not answers:
                return None
            first = turn.blocks[0]
    return first if first is not None and first.message >= 0 else None


def thinking_suits_the_model(request: Body, context: Context) -> Iterator[Finding]:
    """The way to think, the effort and the sampling are ones that the model accepts.

    Switching between turns is allowed. Before version 2026-10-21 `temperature`, `top_p`
    and `top_k` are fields: models since Opus 4.7 take their defaults only, older ones
    take `temperature` or `top_p`. Sources: Anthropic docs build-with-claude/
    thinking-troubleshooting, about-claude/models/migration-guide. Confidence: documented,
    and the wordings about sampling seen live; texts for `between_tools` are ours.
    """
    yield from request.shape_of("R20")
    spec, thinking = request.spec, request.body.get("thinking")
    effort = member(request.body, "output_config", "effort")
    kind = member(thinking, "type")
    if spec is not None and isinstance(kind, str) and kind not in spec.thinking:
        yield from _kind_refused(kind, spec)
    if spec is not None and isinstance(effort, str):
        yield from _effort_refused(effort, kind, spec)
    budget, most = member(thinking, "budget_tokens"), request.body.get("max_tokens")
    interleaved = "interleaved-thinking-2025-05-14" in context.betas
    if is_integer(budget) and is_integer(most) and not interleaved and most <= budget:
        reason = "`max_tokens` must be greater than `thinking.budget_tokens`."
        yield Finding("R20", "", reason)
    if context.version < VERSION_2026:
        yield from _sampling_refused(request)


_DEFAULTS = {"temperature": (1,), "top_p": (1,), "top_k": (0,)}
"""The values of fixed sampling parameters. Those of `top_p` and `top_k` are assumed: the
documentation says "the default" and gives a number for `temperature` only."""


def _sampling_refused(request: Body) -> Iterator[Finding]:
    """Sampling parameters that the model or its thinking mode does not accept."""
    given = {
        name: value
        for name in _DEFAULTS
        if isinstance(value := request.body.get(name), int | float)
    }
    sampling = None if request.spec is None else request.spec.sampling
    if sampling == "default":
        for name, value in given.items():
            if value not in _DEFAULTS[name]:
                yield Finding("R20", "", f"`{name}` is deprecated for this model.")
    elif sampling == "one_of" and {"temperature", "top_p"} <= set(given):
        both = "`temperature` and `top_p` cannot both be specified for this model."
        yield Finding("R20", "", f"{both} Please use only one.")
    if member(request.body, "thinking", "type") not in ("enabled", "adaptive"):
        return
    while_on = "when thinking is enabled or in adaptive mode."
    if given.get("temperature", 1) != 1:
        yield Finding("R20", "", f"`temperature` may only be set to 1 {while_on}")
    if given.get("top_p", 1) < 0.95:
        least = "`top_p` must be greater than or equal to 0.95 or unset"
        yield Finding("R20", "", f"{least} {while_on}")
    if given.get("top_k", 0) != 0:
        yield Finding("R20", "", "`top_k` must be unset when thinking is enabled.")


def _kind_refused(kind: str, spec: ModelSpec) -> Iterator[Finding]:
    match kind:
        case "adaptive":
            yield Finding("R20", "", "adaptive thinking is not supported on this model")
        case "disabled" if "enabled" in spec.thinking:
            yield Finding("R20", "", f'"thinking.type.disabled" {_USE_ENABLED}')
        case "disabled" | "enabled":
            yield Finding("R20", "", f'"thinking.type.{kind}" {_USE_ADAPTIVE}')
        case "between_tools":
            reason = '"thinking.type.between_tools" is not supported for this model.'
            yield Finding("R20", "", reason)
        case _:
            pass  # an unknown tag is a finding of the schema


_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})


def _effort_refused(effort: str, kind: object, spec: ModelSpec) -> Iterator[Finding]:
    if effort not in _EFFORTS:
        return
    if not spec.efforts:
        yield Finding("R20", "", "This model does not support the effort parameter.")
    elif effort not in spec.efforts:
        levels = ", ".join(sorted(spec.efforts))
        yield Finding(
            "R20",
            "",
            f"This model does not support effort level '{effort}'. Supported levels: "
            f"{levels}.",
        )
    elif kind == "disabled" and effort not in spec.disabled_efforts:
        yield Finding(
            "R20",
            "",
            f"output_config.effort '{effort}' is not supported when thinking is disabled "
            "on this model.",
        )
    elif kind == "between_tools" and effort in ("xhigh", "max"):
        yield Finding(
            "R20",
            "",
            f"output_config.effort '{effort}' is not supported with "
            '"thinking.type.between_tools" on this model.',
        )


def thinking_is_where_it_was(request: Body, context: Context) -> Iterator[Finding]:
    """On models that bind it, thinking has the same content before it as when issued.

    Only the server can tell. Sources: Anthropic docs build-with-claude/
    thinking-troubleshooting. Confidence: documented, wording seen live.
    """
    yield from request.shape_of("R22")
    for path, reason in request.thinking_verdicts:
        if BOUND_ELSEWHERE in reason:
            yield Finding("R22", path, reason)


RULES = (
    Rule(
        "R18",
        "thinking blocks come back exactly as they were issued",
        "Send thinking verbatim and in order; do not send a block from a cut stream.",
        "Anthropic docs: api/errors (documented)",
        thinking_is_untouched,
        "whether a signature is genuine; only the server that made it can tell.",
    ),
    Rule(
        "R19",
        "with manual thinking, an open tool round starts with thinking",
        "Keep the thinking blocks of the round, or send this request without thinking.",
        "Anthropic docs: build-with-claude/extended-thinking (documented)",
        manual_thinking_leads,
    ),
    Rule(
        "R20",
        "thinking, effort and sampling suit the model; switching is allowed",
        "Use values that the model lists, and default sampling; leave them out if in doubt.",
        "Anthropic docs: build-with-claude/thinking-troubleshooting (documented)",
        thinking_suits_the_model,
    ),
    Rule(
        "R21",
        "thinking of another model is dropped by the server, not refused",
        "Nothing to do: the blocks may stay.",
        "Anthropic docs: build-with-claude/thinking-troubleshooting (documented)",
        silent,
    ),
    Rule(
        "R22",
        "bound thinking has the same content before it as when it was issued",
        "Undo the change before the block, remove the thinking of that turn, or set "
        "thinking.block_binding.prefix_mismatch_behavior to drop_block.",
        "Anthropic docs: build-with-claude/thinking-troubleshooting (documented)",
        thinking_is_where_it_was,
        "what a signature is bound to; only the server that made it can tell.",
    ),
    Rule(
        "R23",
        "appending, moving cache marks and trimming thinking keep the binding",
        "Nothing to do.",
        "Anthropic docs: build-with-claude/thinking-troubleshooting (documented)",
        silent,
    ),
)
"""The rules of this module."""

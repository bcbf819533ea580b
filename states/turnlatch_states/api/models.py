"""How each Claude model differs where the Messages API lets models differ.

One frozen row a model (Anthropic docs: about-claude/models/overview, build-with-claude/
thinking-troubleshooting, build-with-claude/prompt-caching, build-with-claude/
mid-conversation-system-messages). `None` stands for "not documented": a rule that would
need the fact is then silent. Comments mark facts that are assumed, not documented.
"""

import re
from typing import Literal, final

import attrs

_LOW_TO_HIGH = frozenset({"low", "medium", "high"})
_TO_MAX = _LOW_TO_HIGH | {"max"}
_ALL_EFFORTS = _TO_MAX | {"xhigh"}

_ADAPTIVE = frozenset({"adaptive"})
_SWITCHED = frozenset({"adaptive", "disabled"})
_EVERY = frozenset({"adaptive", "enabled", "disabled"})
_MANUAL = frozenset({"enabled", "disabled"})


@final
@attrs.frozen(kw_only=True)
class ModelSpec:
    """The request fields that one model accepts.

    Attributes:
        name: The model's id without a date.
        context_window: Tokens of prompt and reply together.
        output_max: The highest `max_tokens`.
        thinking: The `thinking.type` values it accepts.
        thinking_default: The mode when `thinking` is absent.
        efforts: The `output_config.effort` values it accepts; empty: none at all.
        disabled_efforts: The efforts at which `thinking.type: "disabled"` is accepted.
        forced_tool_choice: `tool_choice` may be `any` or `tool`.
        prefill: A conversation may end with a partial assistant message.
        mid_conversation_system: `role: "system"` messages are accepted.
        prefix_binding: Thinking is bound to everything that stands before it.
        cache_tokens_min: The shortest prefix that is cached.
        images_max: Images and documents in one request.
        pdf_pages_max: PDF pages in one request.
        sampling: What it takes of `temperature`, `top_p` and `top_k`, where the version
            of the API has them: `default`: no other values than the defaults; `one_of`:
            `temperature` or `top_p`, not both; None: not documented.
        overflow_refused: Input plus `max_tokens` above the window is refused at once.
    """

    name: str
    context_window: int = 1_000_000
    output_max: int = 128_000
    thinking: frozenset[str] = _ADAPTIVE
    thinking_default: Literal["always", "on", "off"] = "always"
    efforts: frozenset[str] = _ALL_EFFORTS
    disabled_efforts: frozenset[str] = _ALL_EFFORTS
    forced_tool_choice: bool | None = True
    prefill: bool = False
    mid_conversation_system: bool | None = True
    prefix_binding: bool | None = False
    cache_tokens_min: int | None = 512
    images_max: int = 600
    pdf_pages_max: int = 600
    sampling: Literal["default", "one_of"] | None = "default"
    overflow_refused: bool = False


def _bound(name: str) -> ModelSpec:
    return ModelSpec(name=name, forced_tool_choice=False, prefix_binding=True)


def _small(name: str, *, cache_tokens_min: int, efforts: frozenset[str]) -> ModelSpec:
    """A 4.5 model: 200k window, manual thinking, prefill."""
    return ModelSpec(
        name=name,
        context_window=200_000,
        output_max=64_000,
        thinking=_MANUAL,
        thinking_default="off",
        efforts=efforts,
        prefill=True,
        mid_conversation_system=False,
        cache_tokens_min=cache_tokens_min,
        images_max=100,
        pdf_pages_max=100,
        sampling="one_of",
    )


MODELS: tuple[ModelSpec, ...] = (
    # 5.2 is assumed to behave as 5.1; the cache minimum of both is assumed.
    _bound("claude-fable-5-2"),
    _bound("claude-mythos-5-2"),
    _bound("claude-fable-5-1"),
    _bound("claude-mythos-5-1"),
    ModelSpec(name="claude-fable-5"),
    ModelSpec(name="claude-mythos-5"),
    _bound("claude-opus-5-5"),
    ModelSpec(
        name="claude-opus-5",
        thinking=_SWITCHED,
        thinking_default="on",
        disabled_efforts=_LOW_TO_HIGH,
    ),
    ModelSpec(
        name="claude-opus-4-8",
        thinking=_SWITCHED,
        thinking_default="off",
        cache_tokens_min=1024,
    ),
    ModelSpec(
        name="claude-opus-4-7",
        thinking=_SWITCHED,
        thinking_default="off",
        mid_conversation_system=False,
        cache_tokens_min=2048,
    ),
    ModelSpec(
        name="claude-opus-4-6",
        thinking=_EVERY,
        thinking_default="off",
        efforts=_TO_MAX,
        mid_conversation_system=False,
        cache_tokens_min=4096,
        sampling="one_of",
    ),
    ModelSpec(
        name="claude-sonnet-5-5",
        thinking=frozenset({"adaptive", "between_tools"}),
        thinking_default="on",
        forced_tool_choice=False,
        prefix_binding=True,
        cache_tokens_min=1024,  # assumed
    ),
    ModelSpec(
        name="claude-sonnet-5",
        thinking=_SWITCHED,
        thinking_default="on",
        mid_conversation_system=False,  # documented so, although a 200 has been seen
        cache_tokens_min=1024,
    ),
    ModelSpec(
        name="claude-sonnet-4-6",
        thinking=_EVERY,
        thinking_default="off",
        efforts=_TO_MAX,
        mid_conversation_system=False,
        cache_tokens_min=1024,
        sampling="one_of",
    ),
    ModelSpec(
        name="claude-haiku-5-5",
        thinking_default="on",
        efforts=_ALL_EFFORTS,  # assumed
        forced_tool_choice=None,
        mid_conversation_system=None,
        prefix_binding=None,
        cache_tokens_min=None,
    ),
    _small("claude-haiku-4-5", cache_tokens_min=4096, efforts=frozenset()),
    _small("claude-sonnet-4-5", cache_tokens_min=1024, efforts=frozenset()),
    _small("claude-opus-4-5", cache_tokens_min=4096, efforts=_LOW_TO_HIGH),
    ModelSpec(
        name="claude-mythos-preview",
        thinking=frozenset({"adaptive", "enabled"}),
        efforts=_TO_MAX,
        forced_tool_choice=None,
        mid_conversation_system=False,
        cache_tokens_min=2048,
        sampling=None,
    ),
)
"""Every model with a row."""

_BY_NAME = {model.name: model for model in MODELS}
_DATED = re.compile(r"(.+)-[0-9]{8}", re.ASCII)


def spec(model: object) -> ModelSpec | None:
    """The row of `model`, dated or not; None for a name that has none."""
    if not isinstance(model, str):
        return None
    known = _BY_NAME.get(model)
    if known is not None:
        return known
    dated = _DATED.fullmatch(model)
    return _BY_NAME.get(dated[1]) if dated else None


def prefix_bound(model: str) -> bool:
    """True if a model's thinking is bound to everything that stands before it."""
    known = spec(model)
    return known is not None and known.prefix_binding is True

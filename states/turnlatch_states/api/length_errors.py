"""What servers say about length, in the words of each: hints, and the numbers in them.

A window that is full is refused with a sentence, and every server has its own. None of
them is a contract, so each is a row here with where it was seen; what has no row is found
out by trials (see `search`). The numbers are hints as well: a window, a length or a cap
that is wrong costs a summary or a shorter reply, and nothing that was said.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, final

import attrs

from turnlatch_states.api.bounds import bounded_tokens


@final
@attrs.frozen
class Length:
    """The length facts in a refusal.

    Attributes:
        window: The most tokens that are taken.
        prompt: The tokens of what was refused, or at least so many.
        cap: The longest reply that is given.
        summed: Prompt and reply must fit into the window together.
    """

    window: int | None = None
    prompt: int | None = None
    cap: int | None = None
    summed: bool = False


@final
class Hint(NamedTuple):
    """A wording.

    Attributes:
        pattern: The wording, with the numbers as groups: `window`, `prompt`, `reply`
            (what was asked for, so the two are added up) and `cap`.
        source: Whose it is.
    """

    pattern: re.Pattern[str]
    source: str


def _row(pattern: str, source: str) -> Hint:
    # `W`, `P`, `R` and `C` stand for a number that is a group, `#` for any other.
    for letter, name in (
        ("<W>", "window"),
        ("<P>", "prompt"),
        ("<R>", "reply"),
        ("<C>", "cap"),
    ):
        pattern = pattern.replace(letter, rf"(?P<{name}>\d[\d,]{{0,13}})")
    return Hint(
        re.compile(pattern.replace("#", r"\d[\d,]{0,13}"), re.IGNORECASE), source
    )


HINTS: Final = (
    _row(r"prompt is too long(?:: <P> tokens > <W> maximum)?", "Anthropic"),
    _row(r"exceed context limit(?:: <P> \+ <R> > <W>)?", "Anthropic"),
    _row(r"^max_tokens: # > <C>", "Anthropic"),
    _row(r"input is too long for requested model", "Amazon Bedrock"),
    _row(r"maximum tokens you requested exceeds? the model limit of <C>", "Bedrock"),
    _row(
        r"(?:maximum|max) context length(?: is| of|:)? \(?<W>", "OpenAI, vLLM, routers"
    ),
    _row(r"maximum context length", "OpenAI, vLLM, routers"),
    _row(
        r"context[ _](?:window|length|size)[ _](?:was |is |has been )?exceed", "OpenAI"
    ),
    _row(r"exceeds? (?:the |its |this )?(?:model'?s )?context window", "OpenAI"),
    _row(r"max_tokens is too large: #\. This model supports at most <C>", "OpenAI"),
    _row(r"ContextWindowExceeded", "LiteLLM"),
    _row(
        r"max_(?:completion_|new_)?tokens\W*(?:#)?\s*cannot be greater than (?:\w+=)*<W>",
        "vLLM",
    ),
    _row(r"max_(?:completion_|new_)?tokens\W*(?:#)?\s*cannot be greater than", "vLLM"),
    _row(r"length <P>\) is longer than the maximum model length of <W>", "vLLM"),
    _row(
        r"input \(<P> tokens\) is longer than the model'?s context length \(<W>",
        "SGLang",
    ),
    _row(
        r"input token count \(?<P>\)? .*?maximum number of tokens allowed \(?<W>",
        "Gemini",
    ),
    _row(r"input token count is <P> but model only supports up to <W>", "Vertex"),
    _row(r"maximum prompt length is <W>", "xAI"),
    _row(r"reduce the length of the (?:messages|prompt|input)", "Groq, Cerebras"),
    _row(r"current length is <P> while limit is <W>", "Cerebras"),
    _row(r"exceeds the available context size(?: \(<W> tokens\))?", "llama.cpp"),
    _row(r"context length of only <W>", "LM Studio"),
    _row(r"greater than the context length", "LM Studio"),
    _row(r"too large for model with <W> maximum context length", "Mistral"),
    _row(r"`max_new_tokens` must be <= <W>", "text-generation-inference"),
    _row(r"prompt token count of <P> exceeds the limit of <W>", "GitHub Copilot"),
    _row(
        r"(?:input )?length \(?<P>\)? exceeds (?:the )?maximum allowed input length of <W>",
        "OpenRouter",
    ),
    _row(r"exceeded model token limit: <W>(?: \(requested: <P>\))?", "Kimi"),
    _row(r"context window exceeds limit", "MiniMax"),
)
"""The wordings by which a refusal is known to be about length, the API's own first. Those
of Bedrock, vLLM and LiteLLM were seen through the servers; the others are as their users
report them."""

_DETAILS: Final = (
    _row(r"messages resulted in <P> tokens", "OpenAI"),
    _row(
        r"\(<P> in (?:the messages|your prompt)[,;] <R> (?:in|for) the completion",
        "OpenAI",
    ),
    _row(r"requested <R> output tokens", "vLLM"),
    _row(r"prompt contains (?:at least )?<P> input tokens", "vLLM"),
    _row(r"too large: <R>\. .*your request has <P> input tokens", "vLLM"),
    _row(
        r"<P> tokens from the input messages and <R> tokens for the completion",
        "SGLang",
    ),
    _row(r"\(<P> of text input, .*?<R> in the output\)", "OpenRouter"),
    _row(r"request contains <P> tokens", "xAI"),
    _row(r"request \(<P> tokens\) exceeds", "llama.cpp"),
    _row(r"input length \(?<P>\)? exceeds", "OpenRouter"),
    _row(r"prompt contains <P> tokens", "Mistral"),
    _row(
        r"given: <P> `inputs` tokens and <R> `max_new_tokens`",
        "text-generation-inference",
    ),
)
"""Where the numbers stand, in sentences that one of `HINTS` knows by another part."""

_SUMMED: Final = re.compile(r"cannot be greater than (?:\w+=)*\d", re.IGNORECASE)


def told(message: str) -> Length | None:
    """The length facts in a message; None if it is about something else."""
    if not any(hint.pattern.search(message) for hint in HINTS):
        return None
    found: dict[str, int] = {}
    for name, number in _numbers(message):
        found.setdefault(name, number)
    summed = "reply" in found or _SUMMED.search(message) is not None
    return Length(found.get("window"), found.get("prompt"), found.get("cap"), summed)


def _numbers(message: str) -> Iterator[tuple[str, int]]:
    for hint in (*HINTS, *_DETAILS):
        match = hint.pattern.search(message)
        if match is None:
            continue
        for name, digits in match.groupdict().items():
            number = bounded_tokens(int(digits.replace(",", "") or 0)) if digits else 0
            if number or name == "reply":
                yield name, number

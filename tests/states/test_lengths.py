"""A refusal is known to be about length in the words of every server, and its numbers are
read; what is about something else is not taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch_states.api.faults import FaultKind, classify
from turnlatch_states.api.length_errors import HINTS, Length, told

SAID: dict[str, Length] = {
    "prompt is too long: 213462 tokens > 200000 maximum": Length(200_000, 213_462),
    "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000,"
    " decrease input length or `max_tokens` and try again": Length(
        200_000, 188_240, summed=True
    ),
    "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens"
    " for claude-sonnet-5-5": Length(cap=64_000),
    "Input is too long for requested model.": Length(),
    "The maximum tokens you requested exceeds the model limit of 4096. Try again with a"
    " maximum tokens value that is lower than 4096.": Length(cap=4_096),
    "This model's maximum context length is 8192 tokens. However, your messages resulted"
    " in 9000 tokens. Please reduce the length of the messages.": Length(8_192, 9_000),
    "This model's maximum context length is 4097 tokens. However, you requested 4897"
    " tokens (4797 in the messages, 100 in the completion).": Length(
        4_097, 4_797, summed=True
    ),
    "This model's maximum context length is 262144 tokens. However, you requested 0"
    " output tokens and your prompt contains at least 262145 input tokens": Length(
        262_144, 262_145, summed=True
    ),
    "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum"
    " context length is 2048 tokens and your request has 10 input tokens (4096 > 2048 -"
    " 10).": Length(2_048, 10, summed=True),
    "max_tokens=4096 cannot be greater than max_model_len=max_total_tokens=2048. Please"
    " request fewer output tokens.": Length(2_048, summed=True),
    "max_completion_tokens=4096 cannot be greater than max_model_len=2048": Length(
        2_048, summed=True
    ),
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096."
    "": Length(4_096, 5_000),
    "This endpoint's maximum context length is 131072 tokens. However, you requested"
    " about 140000 tokens (135000 of text input, 5000 in the output).": Length(
        131_072, 135_000, summed=True
    ),
    "litellm.ContextWindowExceededError: litellm.BadRequestError: it is full": Length(),
    "Your input exceeds the context window of this model. Please adjust your input and"
    " try again.": Length(),
    "max_tokens is too large: 100000. This model supports at most 16384 completion"
    " tokens, whereas you provided 100000.": Length(cap=16_384),
    "Requested token count exceeds the model's maximum context length of 202752 tokens."
    " You requested a total of 202941 tokens: 170941 tokens from the input messages and"
    " 32000 tokens for the completion.": Length(202_752, 170_941, summed=True),
    "The input (5000 tokens) is longer than the model's context length (4096"
    " tokens).": Length(4_096, 5_000),
    "The input token count (1048577) exceeds the maximum number of tokens allowed"
    " (1048576).": Length(1_048_576, 1_048_577),
    "Unable to submit request because the input token count is 40000 but model only"
    " supports up to 32768.": Length(32_768, 40_000),
    "This model's maximum prompt length is 131072 but the request contains 537812"
    " tokens.": Length(131_072, 537_812),
    "Please reduce the length of the messages or completion.": Length(),
    "request (5000 tokens) exceeds the available context size (4096 tokens), try"
    " increasing it": Length(4_096, 5_000),
    "the request exceeds the available context size, try increasing it": Length(),
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768"
    " maximum context length": Length(32_768, 40_000),
    "`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 3000 `inputs` tokens and"
    " 2000 `max_new_tokens`": Length(4_097, 3_000, summed=True),
    "prompt token count of 70000 exceeds the limit of 64000": Length(64_000, 70_000),
    "Input length 131393 exceeds the maximum allowed input length of 131040"
    " tokens.": Length(131_040, 131_393),
    "Input length (265330) exceeds model's maximum context length (262144).": Length(
        262_144, 265_330
    ),
    "Invalid request: Your request exceeded model token limit: 131072 (requested:"
    " 140000)": Length(131_072, 140_000),
    "invalid params, context window exceeds limit": Length(),
    "context_length_exceeded": Length(),
    "Please reduce the length of the messages or completion. Current length is 9000"
    " while limit is 8192": Length(8_192, 9_000),
    "Trying to keep the first 5000 tokens when context the overflows. However, the model"
    " is loaded with context length of only 4096 tokens": Length(4_096),
    "The number of tokens to keep from the initial prompt is greater than the context"
    " length.": Length(),
    "max_new_tokens cannot be greater than the context": Length(),
    "This model's maximum context length is 8,192 tokens.": Length(8_192),
}

OTHERWISE = (
    "This request would exceed your organization's rate limit of 40,000 input tokens per"
    " minute",
    "Too many tokens, please wait before trying again.",
    "Request too large for model on tokens per minute (TPM): Limit 6000, Requested 9000",
    "max_tokens: must be greater than or equal to 1",
    "messages.0.content.0.text: text content blocks must be non-empty",
    "`max_tokens` must be greater than `thinking.budget_tokens`",
    "tools.0.name: String should have at most 128 characters",
    "file is too long",
    "Output blocked by content filtering policy",
    "prompt: Field required",
)


@pytest.mark.parametrize("message", SAID)
def test_a_length_is_known_in_the_words_of_every_server(message: str) -> None:
    assert told(message) == SAID[message]
    for status in (400, 422, 500):
        assert classify(status, None, None, message) is FaultKind.TOO_LONG
    assert classify(429, None, None, message) is FaultKind.TRANSIENT


@pytest.mark.parametrize("message", OTHERWISE)
def test_message_about_another_subject_is_not_a_length(message: str) -> None:
    assert told(message) is None
    assert classify(400, None, None, message) is not FaultKind.TOO_LONG
    assert classify(503, None, None, message) is FaultKind.TRANSIENT


def test_every_row_knows_a_sentence_and_says_whose_it_is() -> None:
    for hint in HINTS:
        assert hint.source.strip()
        assert any(hint.pattern.search(message) for message in SAID), hint.pattern


@given(st.text(max_size=200), st.sampled_from(sorted(SAID)))
def test_a_sentence_is_known_wherever_it_stands(before: str, message: str) -> None:
    """Gateways put their own words before it; only what must begin it is lost."""
    if message.startswith("max_tokens: "):
        return
    found = told(f"{before}: {message}")

    assert found is not None


@given(st.text(max_size=300))
def test_no_text_breaks_it(message: str) -> None:
    found = told(message)

    assert found is None or all(
        number is None or number > 0
        for number in (found.window, found.prompt, found.cap)
    )

"""A protocol oracle: would the Messages API take these messages?"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from turnlatch.tools.definition import Tool
from turnlatch_states.api.models import spec
from turnlatch_states.api.rules import Context, Finding, check

MODEL: Final = "claude-sonnet-5-5"
"""The model that messages are held against unless another one is named."""


def definition_of(tool: Tool | Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool as the API takes it: name, description, input schema."""
    return tool.definition if isinstance(tool, Tool) else tool


def accepts(
    messages: Sequence[object],
    *,
    model: str = MODEL,
    tools: Sequence[Tool | Mapping[str, Any]] = (),
    betas: frozenset[str] = frozenset(),
) -> Finding | None:
    """None if the Messages API accepts a request with these messages, else its objection.

    The rules are those of `turnlatch check`; `advice(finding)` of
    `turnlatch_states.api.rules` says what to do. Facts that only the server knows, such
    as the length of the prompt or a signature, are not judged. A form that the API has
    been seen to accept is accepted.

    Args:
        messages: The array, as JSON values; any other value gets a finding, not an
            exception.
        model: The model of the request. One that is not known here is held to the rules
            that hold for all models.
        tools: The tools of the request, declared with `tool` or as the API takes them.
        betas: The values of the `anthropic-beta` header.
    """
    body: dict[str, object] = {
        "model": model,
        "max_tokens": 1024,
        "messages": messages,
    }
    if tools:
        body["tools"] = [definition_of(one) for one in tools]
    found = check(body, Context(betas=betas, model=spec(model)))
    return next((one for one in found if not one.accepted_too), None)

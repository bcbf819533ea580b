"""Counting a request's tokens: the same bytes in another body, for another endpoint.

`POST /v1/messages/count_tokens` judges a request as `POST /v1/messages` would and says
how long it is, but refuses every member of a message's body that has no length
(Anthropic docs: build-with-claude/token-counting). Those are left out; what stays is
sliced, never printed again, so that what is judged is what would be sent.
"""

from turnlatch.sdk.sealing import IncompleteReplyError, only_object, opened, reason

COUNTED = frozenset(
    {
        "billing_policy",
        "cache_control",
        "compaction",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)
"""Members that the endpoint takes, those of betas included: a body that has one of these
travels with its beta's name. A test holds them against the SDK's parameters."""


def count_body(body: bytes) -> bytes:
    """The body that asks how long a message's body is, its values byte for byte.

    Args:
        body: The body of a message, as it would leave.

    Raises:
        IncompleteReplyError: The body is not a strict JSON object.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise IncompleteReplyError(reason(error)) from None
    kept = [
        f"{one.name}:{one.raw}"
        for name, one in only_object(text).items()
        if name in COUNTED
    ]
    return ("{" + ",".join(kept) + "}").encode()


def counted(body: bytes) -> int:
    """The count in the body of a 200.

    Where context editing applies it is the length after the edits, which is what a
    message would cost.

    Raises:
        IncompleteReplyError: It holds no count.
        ErrorEnvelopeError: The body is an error envelope.
    """
    found = opened(body)
    tokens = found["input_tokens"].value if "input_tokens" in found else None
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        raise IncompleteReplyError("the body has no count of input_tokens")
    return tokens

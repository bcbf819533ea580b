"""What is checked before a body is looked into: size, credential, version, JSON, betas.

The order, where the public documentation does not give one, is the order of the service's
layers: the edge, the gateway, the parser, the endpoint
(https://platform.claude.com/docs/en/api/errors).
"""

import json
import re
from collections.abc import Container, Sequence
from typing import Final, NoReturn

from detent.simulator.wire import ApiRequest, Json, Refusal, as_object

KNOWN_BETAS: Final = frozenset(
    {
        "admin-user-sign-out-2026-10-08",
        "advisor-tool-2026-03-01",
        "agent-memory-2026-07-22",
        "analytics-usage-cost-2026-08-24",
        "cache-diagnosis-2026-04-07",
        "ce-claude-code-managed-settings-2026-10-06",
        "ce-plugins-2026-09-01",
        "ce-user-management-2026-07-13",
        "code-execution-2025-05-22",
        "compact-2026-01-12",
        "compact-2026-09-04",
        "computer-use-2024-10-22",
        "computer-use-2025-01-24",
        "computer-use-2025-11-24",
        "context-1m-2025-08-07",
        "context-management-2025-06-27",
        "dev-full-thinking-2025-05-14",
        "dreaming-2026-04-21",
        "experimental-claude-tag-2026-10-21",
        "extended-cache-ttl-2025-04-11",
        "fallback-credit-2026-06-01",
        "fallback-credit-2026-07-01",
        "fast-mode-2026-02-01",
        "files-api-2025-04-14",
        "fine-grained-tool-streaming-2025-05-14",
        "inline-tools-2026-09-15",
        "interleaved-thinking-2025-05-14",
        "managed-agents-2026-04-01",
        "mcp-client-2025-04-04",
        "mcp-client-2025-11-20",
        "mcp-client-2026-09-15",
        "mcp-tunnels-2026-06-22",
        "message-batches-2024-09-24",
        "message-threads-2026-08-12",
        "mid-conversation-output-config-2026-07-01",
        "mid-conversation-system-clear-at-2026-08-21",
        "mid-conversation-tool-changes-2026-07-01",
        "model-context-window-exceeded-2025-08-26",
        "output-128k-2025-02-19",
        "output-300k-2026-03-24",
        "pdfs-2024-09-25",
        "prompt-caching-2024-07-31",
        "server-side-fallback-2026-06-01",
        "server-side-fallback-2026-07-01",
        "skills-2025-10-02",
        "spend-limit-reads-2026-09-26",
        "structured-outputs-2025-11-13",
        "task-budgets-2026-03-13",
        "telemetry-destinations-2026-08-11",
        "thinking-binding-controls-2026-08-01",
        "thinking-display-updates-2026-08-18",
        "thinking-token-count-2026-05-13",
        "token-counting-2024-11-01",
        "token-efficient-tools-2025-02-19",
        "user-profiles-2026-03-24",
        "user-profiles-2026-08-18",
        "user-profiles-2026-09-04",
        "user-profiles-billing-2026-10-01",
        "webhooks-2026-10-07",
    }
)
"""The betas that Anthropic's public Python SDK names (`types/anthropic_beta_param.py`),
and the older one for tool streaming."""


def invalid(message: str, code: str | None = None) -> Refusal:
    """A 400 `invalid_request_error`."""
    return Refusal(400, "invalid_request_error", message, code)


def size_refusal(request: ApiRequest, bytes_max: int) -> Refusal | None:
    """The edge's word on a body that is too long."""
    if request.size <= bytes_max:
        return None
    return Refusal(413, "request_too_large", "Request exceeds the maximum size")


def credential_refusal(
    request: ApiRequest, keys: Sequence[Container[str] | None]
) -> Refusal | None:
    """401 unless the request has a credential that is good.

    Args:
        request: Its `x-api-key` counts, else its `authorization: Bearer`.
        keys: Collections of good ones; None among them if any will do.
    """
    key, message = request.header("x-api-key"), "invalid x-api-key"
    if key is None:
        authorization = request.header("authorization") or ""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            key, message = token, "Invalid bearer token"
    if key is None:
        return Refusal(401, "authentication_error", "x-api-key header is required")
    key = key.strip()
    if not key or not any(good is None or key in good for good in keys):
        return Refusal(401, "authentication_error", message)
    return None


def version_refusal(request: ApiRequest) -> Refusal | None:
    """400 unless the request names a version of the API."""
    version = request.header("anthropic-version")
    if not version:
        return invalid("anthropic-version: header is required")
    if not re.fullmatch(r"20\d\d-\d\d-\d\d", version, re.ASCII):
        return invalid(f'anthropic-version: "{version}" is not a valid version')
    return None


def beta_values(request: ApiRequest) -> frozenset[str]:
    """The values of all `anthropic-beta` headers."""
    return frozenset(
        value.strip()
        for name, text in request.headers
        if name == "anthropic-beta"
        for value in text.split(",")
        if value.strip()
    )


def beta_refusal(betas: frozenset[str]) -> Refusal | None:
    """400 for values of `anthropic-beta` that nobody knows."""
    unknown = sorted(betas - KNOWN_BETAS)
    if not unknown:
        return None
    named = ", ".join(f"`{name}`" for name in unknown)
    return invalid(
        f"Unexpected value(s) {named} for the `anthropic-beta` header. Please consult"
        " our documentation at platform.claude.com/docs or try again without the"
        " header."
    )


def parse_body(request: ApiRequest) -> Json | Refusal:
    """The JSON object a body holds."""
    encoding = request.header("content-encoding")
    if encoding not in (None, "", "identity"):
        message = f"The content encoding {encoding} is not supported"
        return invalid(message, "request_body_encoding_unsupported")
    try:
        value: object = json.loads(request.body.decode(), parse_constant=_not_json)
        if b"\\u" in request.body:
            _check_surrogates(value)
    except UnicodeDecodeError as problem:
        return _not_valid(f"str is not valid UTF-8: {problem.reason}")
    except RecursionError:
        return nested_too_deeply()
    except ValueError as problem:
        return _not_valid(str(problem))
    body = as_object(value)
    if body is None:
        return invalid("Input should be an object")
    return body


def nested_too_deeply() -> Refusal:
    """400 for JSON that is nested more deeply than can be followed."""
    return _not_valid("recursion limit exceeded")


def _not_valid(reason: str) -> Refusal:
    return invalid(f"The request body is not valid JSON: {reason}")


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"unexpected token {name}")


def _check_surrogates(value: object) -> None:
    # Python lets a lone `\ud83d` pass; a strict parser cannot, UTF-8 has no such text.
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as problem:
        raise ValueError("no low surrogate in string") from problem

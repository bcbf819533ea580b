"""The names of the `anthropic-beta` header: which are known, and what can be one at all.

The list of the names that the service takes is published nowhere as a whole, and always
behind: clients send new ones before any SDK names them. So there are two answers, and
who asks chooses: a name that is known, and one that has the form of a beta's name.
"""

import re
from typing import Final

_SDK: Final = frozenset(
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
        "efs-2026-10-01",
        "experimental-claude-tag-2026-10-21",
        "extended-cache-ttl-2025-04-11",
        "fallback-credit-2026-06-01",
        "fallback-credit-2026-07-01",
        "fast-mode-2026-02-01",
        "files-api-2025-04-14",
        "google-managed-data-controls-2026-09-01",
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
"""Those that Anthropic's public Python SDK names (`types/anthropic_beta_param.py`)."""

_CLIENTS: Final = frozenset(
    {
        "advanced-tool-use-2025-11-20",
        "afk-mode-2026-01-31",
        "claude-code-20250219",
        "code-execution-2025-08-25",
        "code-execution-web-tools-2026-02-09",
        "dangerous-tool-use-2026-09-03",
        "effort-2025-11-24",
        "fine-grained-tool-streaming-2025-05-14",
        "mcp-servers-2025-12-04",
        "messages-2023-12-15",
        "mid-conversation-effort-2026-08-01",
        "mid-conversation-system-2026-04-07",
        "oauth-2025-04-20",
        "oidc-federation-2026-04-01",
        "per-turn-control-2026-07-01",
        "prompt-caching-scope-2026-01-05",
        "redact-thinking-2026-02-12",
        "structured-outputs-2025-12-15",
        "timing-2026-09-09",
        "tool-examples-2025-10-29",
        "tool-search-tool-2025-10-19",
        "tool-search-tool-2025-11-19",
        "web-fetch-2025-09-10",
        "web-search-2025-03-05",
    }
)
"""Those that published clients send to the first-party API without being asked to, or
have in their sources: Claude Code, the TypeScript SDK, the AI SDK, LangChain, LiteLLM,
Portkey. That the API takes them follows from that these clients work."""

KNOWN_BETAS: Final = _SDK | _CLIENTS
"""Every name that is known."""

# The oldest are of 2023, as the API is; some early ones have a date without dashes.
_FORM: Final = re.compile(
    r"[a-z0-9]+(?:-[a-z0-9]+)*-20(?:2[3-9]|[3-9][0-9])"
    r"(?:-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01]))"
)


def can_be_a_beta(name: str) -> bool:
    """Whether `name` has the form of a beta's name: `name-YYYY-MM-DD` or `name-YYYYMMDD`.

    The date is one since 2023.
    """
    return _FORM.fullmatch(name) is not None

"""The fields of a request, and the walk that judges its shape.

Derived from the request types of the `anthropic` SDK (`message_create_params.py`, GA and
beta); a test reads those types and fails when one has a field we lack.
"""

from collections.abc import Iterator

from turnlatch_states.api.rules._base import (
    VERSION_2026,
    Context,
    Finding,
    is_array,
    is_object,
)
from turnlatch_states.api.rules._blocks import (
    ADVISOR,
    COMPACT_ON_DEMAND,
    COMPACT_THRESHOLD,
    CONTENT,
    FALLBACK,
    MCP,
    SYSTEM,
    SYSTEM_CONTENT,
)
from turnlatch_states.api.rules._parts import CACHE_CONTROL, TOOL_NAME
from turnlatch_states.api.rules._references import CONTAINER, MCP_SERVER, THREAD
from turnlatch_states.api.rules._schema import (
    NOT_LIST,
    NOT_OBJECT,
    REQUIRED,
    Field,
    Fields,
    Node,
    Place,
    Sink,
    Variant,
    any_object,
    anything,
    boolean,
    integer,
    list_of,
    may,
    need,
    null_or,
    number,
    one_of,
    record,
    string,
    string_or,
    tagged,
)

BINDING_CONTROLS = "thinking-binding-controls-2026-08-01"
CONTEXT_MANAGEMENT = "context-management-2025-06-27"
_EFFORT_LATER = (
    "mid-conversation-output-config-2026-07-01",
    "per-turn-control-2026-07-01",
    "mid-conversation-effort-2026-08-01",
)

_TAG = need(anything)
_TEXT = need(string())
_MAYBE_TEXT = may(null_or(string()))
_MAYBE_NUMBER = may(null_or(integer()))
_FLAG = may(boolean())
_TEXTS = may(null_or(list_of(string())))

# ---- tools

_CALLED: Fields = {
    "type": _TAG,
    "name": need(string("R28", chars_min=1)),
    "allowed_callers": may(list_of(string())),
    "cache_control": CACHE_CONTROL,
    "defer_loading": _FLAG,
    "strict": _FLAG,
}
_SHOWN: Fields = {
    **_CALLED,
    "input_examples": may(list_of(any_object("R28"), "R28")),
}
_DISPLAY: Fields = {
    **_SHOWN,
    "display_height_px": need(integer("R28")),
    "display_width_px": need(integer("R28")),
    "display_number": _MAYBE_NUMBER,
}
_SEARCH: Fields = {
    **_CALLED,
    "allowed_domains": _TEXTS,
    "blocked_domains": _TEXTS,
    "max_uses": _MAYBE_NUMBER,
    "user_location": may(null_or(any_object())),
}
_FETCH: Fields = {
    **_CALLED,
    "allowed_domains": _TEXTS,
    "blocked_domains": _TEXTS,
    "citations": may(null_or(any_object())),
    "max_content_tokens": _MAYBE_NUMBER,
    "max_uses": _MAYBE_NUMBER,
    "url_sources": may(null_or(any_object())),
}
_INCLUSION = may(one_of("R28", "full", "excluded"))
_TOOLSET: Fields = {
    "type": _TAG,
    "cache_control": CACHE_CONTROL,
    "configs": may(null_or(any_object())),
}
TOOLS: dict[str, Fields] = {
    "custom": {
        **_SHOWN,
        "type": may(anything),
        "name": need(string("R28", pattern=TOOL_NAME)),
        "input_schema": need(any_object("R28")),
        "description": may(string("R28")),
        "eager_input_streaming": may(null_or(boolean())),
    },
    "bash_20241022": _SHOWN,
    "bash_20250124": _SHOWN,
    "code_execution_20250522": _CALLED,
    "code_execution_20250825": _CALLED,
    "code_execution_20260120": _CALLED,
    "code_execution_20260521": _CALLED,
    "browser_toolset_20260801": _TOOLSET,
    "computer_toolset_20260801": _TOOLSET,
    "computer_20241022": _DISPLAY,
    "computer_20250124": _DISPLAY,
    "computer_20251124": {**_DISPLAY, "enable_zoom": _FLAG},
    "memory_20250818": _SHOWN,
    "text_editor_20241022": _SHOWN,
    "text_editor_20250124": _SHOWN,
    "text_editor_20250429": _SHOWN,
    "text_editor_20250728": {**_SHOWN, "max_characters": _MAYBE_NUMBER},
    "web_search_20250305": _SEARCH,
    "web_search_20260209": _SEARCH,
    "web_search_20260318": {**_SEARCH, "response_inclusion": _INCLUSION},
    "web_fetch_20250910": _FETCH,
    "web_fetch_20260209": _FETCH,
    "web_fetch_20260309": {**_FETCH, "use_cache": _FLAG},
    "web_fetch_20260318": {
        **_FETCH,
        "use_cache": _FLAG,
        "response_inclusion": _INCLUSION,
    },
    "advisor_20260301": {
        **_CALLED,
        "model": _TEXT,
        "caching": CACHE_CONTROL,
        "max_tokens": _MAYBE_NUMBER,
        "max_uses": _MAYBE_NUMBER,
    },
    "tool_search_tool_bm25_20251119": _CALLED,
    "tool_search_tool_bm25": _CALLED,
    "tool_search_tool_regex_20251119": _CALLED,
    "tool_search_tool_regex": _CALLED,
    "mcp_toolset": {
        "type": _TAG,
        "mcp_server_name": _TEXT,
        "cache_control": CACHE_CONTROL,
        "configs": may(null_or(any_object())),
        "default_config": may(any_object()),
        "tools": may(null_or(list_of(any_object()))),
    },
}
"""Every tool definition, by its tag."""

_TOOL_BETAS: dict[str, tuple[str, ...]] = {
    "bash_20241022": ("computer-use-2024-10-22",),
    "computer_20241022": ("computer-use-2024-10-22",),
    "text_editor_20241022": ("computer-use-2024-10-22",),
    "computer_20250124": ("computer-use-2025-01-24",),
    "computer_20251124": ("computer-use-2025-11-24",),
    "advisor_20260301": (ADVISOR,),
    "mcp_toolset": MCP,
}
TOOL = tagged(
    {
        tag: Variant(record(fields, "R28"), frozenset(_TOOL_BETAS.get(tag, ())) or None)
        for tag, fields in TOOLS.items()
    },
    "R28",
    untagged="custom",
)
"""One entry of `tools`."""

# ---- parameters

_PARALLEL = may(boolean("R29"))
_CHOICE = tagged(
    {
        "auto": Variant(
            record({"type": _TAG, "disable_parallel_tool_use": _PARALLEL}, "R29")
        ),
        "any": Variant(
            record({"type": _TAG, "disable_parallel_tool_use": _PARALLEL}, "R29")
        ),
        "tool": Variant(
            record(
                {
                    "type": _TAG,
                    "name": need(string("R29")),
                    "disable_parallel_tool_use": _PARALLEL,
                },
                "R29",
            )
        ),
        "none": Variant(record({"type": _TAG}, "R29")),
    },
    "R29",
)
_THOUGHT: Fields = {
    "type": _TAG,
    "display": may(null_or(one_of("R20", "summarized", "omitted", "updates"))),
    "block_binding": may(
        null_or(
            record(
                {
                    "prefix_mismatch_behavior": may(
                        null_or(one_of("R22", "error", "drop_block"))
                    )
                },
                "R22",
            )
        ),
        BINDING_CONTROLS,
    ),
}
THINKING: dict[str, Fields] = {
    "adaptive": _THOUGHT,
    "enabled": {**_THOUGHT, "budget_tokens": need(integer("R20", least=1024))},
    "disabled": {"type": _TAG},
    "between_tools": {"type": _TAG},
}
"""Every way to configure thinking, by its tag."""

_THINKING = tagged(
    {tag: Variant(record(fields, "R20")) for tag, fields in THINKING.items()}, "R20"
)
_EFFORT = may(null_or(one_of("R20", "low", "medium", "high", "xhigh", "max")))
_FORMAT = null_or(
    tagged(
        {"json_schema": Variant(record({"type": _TAG, "schema": need(any_object())}))}
    )
)
OUTPUT_CONFIG: Fields = {
    "effort": _EFFORT,
    "format": may(_FORMAT),
    "task_budget": may(
        null_or(
            record(
                {
                    "type": need(one_of("R1", "tokens")),
                    "total": need(integer()),
                    "remaining": _MAYBE_NUMBER,
                }
            )
        ),
        "task-budgets-2026-03-13",
    ),
}
"""The fields of `output_config`."""


def _counted(unit: str, *, above: int | None = None) -> Variant:
    return Variant(
        record({"type": need(one_of("R27", unit)), "value": need(_value(above))}, "R27")
    )


def _value(above: int | None) -> Node:
    return integer("R27", above=above)


_BY_TOKENS = {"input_tokens": _counted("input_tokens")}
_BY_USES = {"tool_uses": _counted("tool_uses")}
EDITS: dict[str, Fields] = {
    "clear_tool_uses_20250919": {
        "type": _TAG,
        "trigger": may(tagged({**_BY_TOKENS, **_BY_USES}, "R27")),
        "keep": may(tagged(_BY_USES, "R27")),
        "clear_at_least": may(null_or(tagged(_BY_TOKENS, "R27"))),
        "clear_tool_inputs": may(anything),
        "exclude_tools": _TEXTS,
    },
    "clear_thinking_20251015": {
        "type": _TAG,
        "keep": may(
            string_or(
                tagged(
                    {
                        "thinking_turns": _counted("thinking_turns", above=0),
                        "all": Variant(record({"type": _TAG}, "R27")),
                    },
                    "R27",
                )
            )
        ),
    },
    "compact_20260112": {
        "type": _TAG,
        "instructions": _MAYBE_TEXT,
        "pause_after_compaction": _FLAG,
        "trigger": may(null_or(tagged(_BY_TOKENS, "R27"))),
    },
}
"""Every edit of `context_management`, by its tag."""

_EDITS = list_of(
    tagged(
        {
            tag: Variant(
                record(fields, "R27"),
                frozenset({COMPACT_THRESHOLD}) if tag.startswith("compact_") else None,
            )
            for tag, fields in EDITS.items()
        },
        "R27",
    ),
    "R27",
)
_FALLBACK_MODEL = record(
    {
        "model": _TEXT,
        "max_tokens": _MAYBE_NUMBER,
        "output_config": may(null_or(record(OUTPUT_CONFIG))),
        "speed": may(null_or(one_of("R1", "standard", "fast"))),
        "thinking": may(null_or(_THINKING)),
    }
)
BODY: dict[str, Field] = {
    "model": need(string("R2", chars_min=1), rule="R2"),
    "max_tokens": need(integer("R2", least=0), rule="R2"),
    "messages": Field(anything, required=True, rule="R2"),
    "cache_control": CACHE_CONTROL,
    "container": may(null_or(CONTAINER)),
    "diagnostics": may(null_or(record({"previous_message_id": may(anything)}, "R33"))),
    "inference_geo": _MAYBE_TEXT,
    "metadata": may(record({"user_id": _MAYBE_TEXT})),
    "output_config": may(record(OUTPUT_CONFIG)),
    # The older place of `output_config.format` (SDK types up to 0.125).
    "output_format": may(_FORMAT, "structured-outputs-2025-11-13"),
    # Sent by Claude Code 2.1.332 in auto mode; in no public SDK.
    "safeguards": may(
        list_of(
            tagged(
                {
                    "dangerous_tool_use": Variant(
                        record({"type": _TAG, "classifier_context": may(anything)})
                    )
                }
            )
        ),
        "dangerous-tool-use-2026-09-03",
    ),
    "service_tier": may(one_of("R1", "auto", "standard_only")),
    "speed": may(null_or(one_of("R1", "standard", "fast"))),
    "stop_sequences": may(list_of(string("R32"), "R32")),
    "stream": _FLAG,
    "system": may(SYSTEM),
    "temperature": may(null_or(number(least=0, most=1)), until=VERSION_2026),
    "thinking": may(_THINKING),
    "tool_choice": may(_CHOICE),
    "tools": may(list_of(TOOL, "R28")),
    "top_k": may(null_or(integer(least=0)), until=VERSION_2026),
    "top_p": may(null_or(number(least=0, most=1)), until=VERSION_2026),
    "billing_policy": may(
        null_or(
            record(
                {
                    "type": need(one_of("R1", "billing_policy")),
                    "bill_to": may(one_of("R1", "self", "user_profile")),
                }
            )
        ),
        "user-profiles-billing-2026-10-01",
    ),
    "compaction": may(
        null_or(
            record(
                {
                    "type": need(one_of("R27", "summarize")),
                    "instructions": may(null_or(string("R27"))),
                },
                "R27",
            )
        ),
        COMPACT_ON_DEMAND,
        absent=f"`compaction` requires anthropic-beta: {COMPACT_ON_DEMAND}",
    ),
    "context_management": may(
        null_or(record({"edits": may(_EDITS)}, "R27")),
        CONTEXT_MANAGEMENT,
        COMPACT_THRESHOLD,
    ),
    "fallback_credit_token": may(
        null_or(
            string_or(
                record(
                    {
                        "token": _TEXT,
                        "mode": may(one_of("R1", "strict", "best_effort")),
                    }
                )
            )
        ),
        "fallback-credit-2026-06-01",
        "fallback-credit-2026-07-01",
    ),
    "fallbacks": may(null_or(string_or(list_of(_FALLBACK_MODEL))), *FALLBACK),
    "mcp_servers": may(list_of(MCP_SERVER), *MCP),
    "thread": may(null_or(THREAD), "message-threads-2026-08-12"),
}
"""Every field of a request body."""

_BODY = record(BODY)

# ---- messages

_ROLE_FIELDS: Fields = {"role": _TAG, "content": need(CONTENT, rule="R4")}
_CLEAR_AT = may(
    null_or(one_of("R26", "next_user_message", "never")),
    "mid-conversation-system-clear-at-2026-08-21",
)
SYSTEM_MESSAGE: Fields = {
    "role": _TAG,
    # Required unless there is an output_config; asked for below.
    "content": may(SYSTEM_CONTENT),
    "clear_at": _CLEAR_AT,
    "output_config": may(
        null_or(record({"effort": _EFFORT})),
        # Claude Code 2.1.332 sends it with the second; public clients name the third.
        *_EFFORT_LATER,
    ),
}
"""The fields of a message whose role is `system`."""

# R26 says of a `clear_at` elsewhere that it belongs to system messages.
_SPOKEN = record({**_ROLE_FIELDS, "clear_at": _CLEAR_AT}, "R4")
_SYSTEM_MESSAGE = record(SYSTEM_MESSAGE, "R4")


def _message(value: object, place: Place, sink: Sink) -> None:
    if not is_object(value):
        sink.add("R4", place, NOT_OBJECT)
        return
    match value.get("role"):
        case "user" | "assistant":
            _SPOKEN(value, place, sink)
        case "system":
            if "content" not in value and not value.get("output_config"):
                sink.add("R4", (place, "content"), REQUIRED)
            _SYSTEM_MESSAGE(value, place, sink)
        case _:
            absent = "role" not in value
            wrong = "Input should be 'user' or 'assistant'"
            sink.add("R4", (place, "role"), REQUIRED if absent else wrong)


def walk(body: object, context: Context) -> Iterator[Finding]:
    """Everything in which `body` does not have the documented shape, in its order."""
    sink = Sink(context.betas, context.version)
    _BODY(body, None, sink)
    yield from sink.drain()
    if not is_object(body) or "messages" not in body:
        return
    messages = body["messages"]
    if not is_array(messages):
        yield Finding("R3", "messages", NOT_LIST)
        return
    for index, message in enumerate(messages):
        _message(message, (((None, "messages"), index)), sink)
        if sink.found:
            yield from sink.drain()

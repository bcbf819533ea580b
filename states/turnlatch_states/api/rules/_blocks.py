"""The content blocks of the API, field by field.

Derived from the request types of the `anthropic` SDK (`types/*_block_param.py` and
`types/beta/`); a test reads those types and fails when one has a field we lack.
"""

from turnlatch_states.api.rules._parts import (
    CACHE_CONTROL,
    CALL_ID,
    DOCUMENT_FIELDS,
    IMAGE_FIELDS,
    MAYBE_NUMBER,
    MAYBE_TEXT,
    NUMBER,
    RESULT_PART,
    SEARCH_RESULT_FIELDS,
    SERVER_CALL_ID,
    TAG,
    TEXT,
    TEXT_FIELDS,
    TOOL_NAME,
    TOOL_REFERENCE_FIELDS,
    variant,
)
from turnlatch_states.api.rules._schema import (
    NOT_DICTIONARY,
    Field,
    Fields,
    Node,
    Variant,
    any_object,
    anything,
    boolean,
    list_of,
    list_or,
    may,
    need,
    null_or,
    record,
    string,
    string_or,
    tagged,
)

COMPACT_THRESHOLD = "compact-2026-01-12"
COMPACT_ON_DEMAND = "compact-2026-09-04"
TOOL_CHANGES = (
    "mid-conversation-tool-changes-2026-07-01",
    "inline-tools-2026-09-15",
)
MCP = (
    "mcp-client-2025-04-04",
    "mcp-client-2025-11-20",
    "mcp-client-2026-09-15",
)
FALLBACK = ("server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01")
ADVISOR = "advisor-tool-2026-03-01"

# Replies may say null here (SDK types/tool_use_block.py), and are sent back as they came.
_CALLER = may(
    null_or(
        tagged(
            {
                "direct": variant({"type": TAG}),
                "code_execution_20250825": variant({"type": TAG, "tool_id": TEXT}),
                "code_execution_20260120": variant({"type": TAG, "tool_id": TEXT}),
            }
        )
    )
)
_INPUT = need(any_object("R15", reason=NOT_DICTIONARY))


_OUTPUT = need(list_of(record({"type": need(anything), "file_id": TEXT})))
_ERROR: Fields = {"type": TAG, "error_code": TEXT}
_TOLD_ERROR: Fields = {**_ERROR, "error_message": MAYBE_TEXT}


def _server_result(content: Node, **fields: Field) -> Fields:
    """A block that holds what a server tool answered."""
    return {
        "type": TAG,
        "tool_use_id": need(string("R11", pattern=SERVER_CALL_ID)),
        "content": need(content),
        "cache_control": CACHE_CONTROL,
        **fields,
    }


def _answers(**fields: Fields) -> Node:
    return tagged({tag: variant({"type": TAG, **own}) for tag, own in fields.items()})


_SERVER_RESULTS: dict[str, Fields] = {
    "web_search_tool_result": _server_result(
        list_or(
            _answers(
                web_search_result={
                    "encrypted_content": TEXT,
                    "title": TEXT,
                    "url": TEXT,
                    "page_age": MAYBE_TEXT,
                }
            ),
            _answers(web_search_tool_result_error=_ERROR),
        ),
        caller=_CALLER,
    ),
    "web_fetch_tool_result": _server_result(
        _answers(
            web_fetch_tool_result_error=_ERROR,
            web_fetch_result={
                "content": need(tagged({"document": variant(DOCUMENT_FIELDS)})),
                "url": TEXT,
                "retrieved_at": MAYBE_TEXT,
            },
        ),
        caller=_CALLER,
    ),
    "advisor_tool_result": _server_result(
        _answers(
            advisor_tool_result_error=_ERROR,
            advisor_result={"text": TEXT, "stop_reason": MAYBE_TEXT},
            advisor_redacted_result={
                "encrypted_content": TEXT,
                "stop_reason": MAYBE_TEXT,
            },
        )
    ),
    "code_execution_tool_result": _server_result(
        _answers(
            code_execution_tool_result_error=_ERROR,
            code_execution_result={
                "content": _OUTPUT,
                "return_code": NUMBER,
                "stderr": TEXT,
                "stdout": TEXT,
            },
            encrypted_code_execution_result={
                "content": _OUTPUT,
                "encrypted_stdout": TEXT,
                "return_code": NUMBER,
                "stderr": TEXT,
            },
        )
    ),
    "bash_code_execution_tool_result": _server_result(
        _answers(
            bash_code_execution_tool_result_error=_ERROR,
            bash_code_execution_result={
                "content": _OUTPUT,
                "return_code": NUMBER,
                "stderr": TEXT,
                "stdout": TEXT,
            },
        )
    ),
    "text_editor_code_execution_tool_result": _server_result(
        _answers(
            text_editor_code_execution_tool_result_error=_TOLD_ERROR,
            text_editor_code_execution_view_result={
                "content": TEXT,
                "file_type": TEXT,
                "num_lines": MAYBE_NUMBER,
                "start_line": MAYBE_NUMBER,
                "total_lines": MAYBE_NUMBER,
            },
            text_editor_code_execution_create_result={
                "is_file_update": need(boolean())
            },
            text_editor_code_execution_str_replace_result={
                "lines": may(null_or(list_of(string()))),
                "new_lines": MAYBE_NUMBER,
                "new_start": MAYBE_NUMBER,
                "old_lines": MAYBE_NUMBER,
                "old_start": MAYBE_NUMBER,
            },
        )
    ),
    "tool_search_tool_result": _server_result(
        _answers(
            tool_search_tool_result_error=_TOLD_ERROR,
            tool_search_tool_search_result={
                "tool_references": need(
                    list_of(tagged({"tool_reference": variant(TOOL_REFERENCE_FIELDS)}))
                )
            },
        )
    ),
}
_TOOL_NAMED: Fields = {"type": TAG, "name": TEXT}
_MCP_TOOL_NAMED: Fields = {**_TOOL_NAMED, "server_name": TEXT}
_MCP_SERVER_NAMED: Fields = {"type": TAG, "server_name": TEXT}
_NAMED: dict[str, Variant] = {
    "tool_reference": variant(_TOOL_NAMED, rule="R25"),
    "mcp_tool_reference": variant(_MCP_TOOL_NAMED, rule="R25"),
    "mcp_toolset_reference": variant(_MCP_SERVER_NAMED, rule="R25"),
}
# A definition is judged as a tool, by R28, wherever it stands.
_DEFINED = variant(
    {"type": TAG, "definition": need(any_object("R28"), rule="R28")}, rule="R25"
)
TOOL_CHANGE_BLOCKS: dict[str, Fields] = {
    "tool_addition": {
        "type": TAG,
        "tool": need(tagged({**_NAMED, "tool_definition": _DEFINED}, "R25")),
        "cache_control": CACHE_CONTROL,
    },
    "tool_removal": {
        "type": TAG,
        "tool": need(tagged(_NAMED, "R25")),
        "cache_control": CACHE_CONTROL,
    },
}
"""The blocks that change the tools in the middle of a conversation."""

_CHANGES: dict[str, Variant] = {
    tag: variant(fields, rule="R25") for tag, fields in TOOL_CHANGE_BLOCKS.items()
}
_MODEL_NAMED = need(record({"model": TEXT}))
BLOCKS: dict[str, Fields] = {
    "text": TEXT_FIELDS,
    "image": IMAGE_FIELDS,
    "document": DOCUMENT_FIELDS,
    "search_result": SEARCH_RESULT_FIELDS,
    "thinking": {"type": TAG, "thinking": TEXT, "signature": TEXT},
    "redacted_thinking": {"type": TAG, "data": TEXT},
    "tool_use": {
        "type": TAG,
        "id": need(string("R11", pattern=CALL_ID)),
        "name": need(string(pattern=TOOL_NAME)),
        "input": _INPUT,
        "cache_control": CACHE_CONTROL,
        "caller": _CALLER,
        "toolset_name": MAYBE_TEXT,
    },
    "tool_result": {
        "type": TAG,
        "tool_use_id": need(string("R11", pattern=CALL_ID)),
        "content": may(string_or(list_of(RESULT_PART, "R15"))),
        "is_error": may(boolean("R15")),
        "cache_control": CACHE_CONTROL,
        "toolset_name": MAYBE_TEXT,
    },
    "server_tool_use": {
        "type": TAG,
        "id": need(string("R11", pattern=SERVER_CALL_ID)),
        "name": TEXT,
        "input": _INPUT,
        "cache_control": CACHE_CONTROL,
        "caller": _CALLER,
    },
    **_SERVER_RESULTS,
    "container_upload": {
        "type": TAG,
        "file_id": TEXT,
        "cache_control": CACHE_CONTROL,
    },
    "mcp_tool_use": {
        "type": TAG,
        "id": need(string("R11", pattern=CALL_ID)),
        "name": TEXT,
        "server_name": TEXT,
        "input": _INPUT,
        "cache_control": CACHE_CONTROL,
    },
    "mcp_tool_result": {
        "type": TAG,
        "tool_use_id": need(string("R11", pattern=CALL_ID)),
        "content": may(string_or(list_of(tagged({"text": variant(TEXT_FIELDS)})))),
        "is_error": may(boolean()),
        "cache_control": CACHE_CONTROL,
    },
    "mcp_tool_listing": {
        "type": TAG,
        "mcp_server_name": TEXT,
        "tools": need(
            list_of(
                record(
                    {
                        "name": TEXT,
                        "input_schema": need(any_object()),
                        "description": MAYBE_TEXT,
                    }
                )
            )
        ),
    },
    "compaction": {
        "type": TAG,
        "content": may(null_or(string("R27", chars_min=1))),
        "encrypted_content": MAYBE_TEXT,
        "signature": MAYBE_TEXT,
        "tool_changes": may(null_or(list_of(tagged(_CHANGES, "R27"), "R27"))),
        "cache_control": CACHE_CONTROL,
    },
    **TOOL_CHANGE_BLOCKS,
    "fallback": {
        "type": TAG,
        "from": _MODEL_NAMED,
        "to": _MODEL_NAMED,
        "trigger": may(anything),
    },
}
"""Every content block of a message, by its tag."""

_BLOCK_BETAS: dict[str, tuple[str, ...]] = {
    "advisor_tool_result": (ADVISOR,),
    "mcp_tool_use": MCP,
    "mcp_tool_result": MCP,
    "mcp_tool_listing": MCP,
    "compaction": (COMPACT_THRESHOLD, COMPACT_ON_DEMAND),
    "tool_addition": TOOL_CHANGES,
    "tool_removal": TOOL_CHANGES,
    "fallback": FALLBACK,
}
_BLOCK_RULES = {"compaction": "R27", "tool_addition": "R25", "tool_removal": "R25"}
# Signed thinking cannot carry a mark; the count of marks is the same rule's.
_UNMARKED = {"cache_control": "R24"}


def _block(tag: str) -> Variant:
    rule = _BLOCK_RULES.get(tag, "R1")
    node = record(BLOCKS[tag], rule, extra=_UNMARKED)
    return Variant(node, frozenset(_BLOCK_BETAS.get(tag, ())) or None)


CONTENT = string_or(list_of(tagged({tag: _block(tag) for tag in BLOCKS}), "R4"))
"""The content of a user or assistant message."""

SYSTEM_CONTENT = string_or(
    list_of(
        tagged(
            {
                tag: _block(tag)
                # A compaction block is let through so that R27 can say where it belongs.
                for tag in ("text", "tool_addition", "tool_removal", "compaction")
            },
            "R25",
        ),
        "R4",
    )
)
"""The content of a system message."""

SYSTEM = string_or(list_of(tagged({"text": variant(TEXT_FIELDS)})))
"""The `system` field of a request."""

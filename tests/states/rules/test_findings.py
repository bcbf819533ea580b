"""Each rule: bodies it accepts, and every way of breaking it, with the exact answer."""

import base64
import copy
import struct
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias, cast

import pytest

from turnlatch_states.api.models import ModelSpec
from turnlatch_states.api.rules import (
    RULES,
    ApiLimits,
    Context,
    Finding,
    check,
    explain,
)

Json: TypeAlias = "dict[str, object]"
EMPTY: Json = {}
USER: Json = {"role": "user", "content": "hi"}
REPLY: Json = {"role": "assistant", "content": [{"type": "text", "text": "hello"}]}
CALL: Json = {"type": "tool_use", "id": "toolu_A", "name": "f", "input": EMPTY}
CALL_B: Json = {**CALL, "id": "toolu_B"}
RESULT: Json = {"type": "tool_result", "tool_use_id": "toolu_A", "content": "4 C"}
RESULT_B: Json = {**RESULT, "tool_use_id": "toolu_B"}
TEXT: Json = {"type": "text", "text": "so"}
THOUGHT: Json = {"type": "thinking", "thinking": "", "signature": "EosnCk"}
TOOL: Json = {"name": "f", "input_schema": {"type": "object"}}
SERVER_CALL: Json = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": EMPTY,
}
SERVER_RESULT: Json = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [],
}
MADE_FOR_IT: Json = {
    **CALL, "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}
}  # fmt: skip
MADE_AGAIN: Json = {**MADE_FOR_IT, "id": "toolu_C"}
RESULT_AGAIN: Json = {**RESULT, "tool_use_id": "toolu_C"}
SEARCH: Json = {"type": "web_search_20260318", "name": "web_search"}
SUMMARY: Json = {"type": "compaction", "content": "so far", "signature": "sig"}
UNSIGNED: Json = {"type": "compaction", "content": "so far"}
MARK: dict[str, object] = {"type": "ephemeral"}
ON_DEMAND = frozenset({"compact-2026-09-04"})
THRESHOLD = frozenset({"compact-2026-01-12"})
THREADS = frozenset({"message-threads-2026-08-12"})
CHANGES = frozenset({"inline-tools-2026-09-15"})
CLEARS = frozenset({"mid-conversation-system-clear-at-2026-08-21"})
DIRECTIVES = frozenset({"mid-conversation-output-config-2026-07-01"})
EXTRA = "Extra inputs are not permitted"
UNANSWERED = (
    "`tool_use` ids were found without `tool_result` blocks immediately after: {}. Each "
    "`tool_use` block must have a corresponding `tool_result` block in the next message."
)


def says(*content: object) -> Json:
    return {"role": "user", "content": list(content)}


def replies(*content: object) -> Json:
    return {"role": "assistant", "content": list(content)}


def directs(content: object, **more: object) -> Json:
    return {"role": "system", "content": content, **more}


def body(*messages: object, **fields: object) -> Json:
    return {
        "model": "claude-opus-5",
        "max_tokens": 64,
        "messages": list(messages) or [USER],
        **fields,
    }


def png(width: int, height: int) -> Json:
    head = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", width, height)
    return image(head + b"\0\0", "image/png")


def image(raw: bytes, media_type: str) -> Json:
    data = base64.b64encode(raw).decode()
    source = {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "image", "source": source}


def pdf(raw: bytes) -> Json:
    data = base64.b64encode(raw).decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    return {"type": "document", "source": source}


def strict_tool(place: int, properties: int, kind: object) -> Json:
    named = {f"p{n}": {"type": kind} for n in range(properties)}
    schema = {"type": "object", "properties": named}
    return {"name": f"f{place}", "input_schema": schema, "strict": True}


class Refuses:
    """A verifier that says one thing of everything."""

    def __init__(self, thinking: str | None = None, code: str | None = None) -> None:
        self._thinking, self._code = thinking, code

    def thinking(
        self, block: Mapping[str, object], *, path: str, body: Mapping[str, object]
    ) -> str | None:
        return self._thinking

    def compaction(self, block: Mapping[str, object]) -> tuple[str, str] | None:
        return (self._code, "no") if self._code else None


class Case(NamedTuple):
    """A body, and the (path, reason) of each finding the rule must make."""

    rule: str
    name: str
    body: object
    found: tuple[tuple[str, str], ...] = ()
    context: Context = Context()


MIDDLE = directs("be brief")
CONTINUE: Json = {"type": "continue", "previous_message_id": "msg_1"}
EDIT: Json = {"edits": [{"type": "compact_20260112"}]}
MARKED: Json = {**TEXT, "cache_control": MARK}
HOUR: Json = {"type": "ephemeral", "ttl": "1h"}
SCOPE = "(clear_at: 'next_user_message')"
SCOPED = directs("brief", clear_at="next_user_message")
BLANK = "text content blocks must contain non-whitespace text"
PREFILL = (
    "This model does not support assistant message prefill. The conversation must end "
    "with a user message."
)
MISPLACED = (
    "`compaction` block must be sent first, in place of the messages it summarizes; "
    "remove those messages"
)
MUST_BE_MESSAGE = (
    "must be the `id` from a prior /v1/messages response (starts with `msg_`)"
)
INVALID_SCHEMA = (
    "JSON schema is invalid. It must match JSON Schema draft 2020-12 "
    "(https://json-schema.org/draft/2020-12)"
)
OLD = {"model": "claude-haiku-4-5"}

# One row a case, so that the table can be read as one.
# fmt: off
ACCEPTED = (
    Case("R1", "plain", body(system="s", stream=True, metadata={"user_id": "u"})),
    Case("R1", "beta field", body(mcp_servers=[]), (), Context(frozenset({"mcp-client-2025-11-20"}))),
    Case("R2", "zero", body(max_tokens=0)),
    Case("R2", "unknown model", body(model="other", max_tokens=10**9)),
    Case("R3", "resumed thread", {**body(thread=CONTINUE), "messages": []}, (), Context(THREADS)),
    Case("R4", "system", body(USER, MIDDLE)),
    Case("R5", "merged", body(USER, USER, REPLY, REPLY, USER)),
    Case("R6", "result without content", body(USER, replies(CALL), says({"type": "tool_result", "tool_use_id": "toolu_A"}))),
    Case("R6", "empty result", body(USER, replies(CALL), says({**RESULT, "content": ""}))),
    Case("R7", "prefill", body(USER, REPLY, **OLD)),
    Case("R7", "paused", body(USER, replies(SERVER_CALL), tools=[SEARCH])),
    Case("R7", "compaction request", body(USER, REPLY, compaction={"type": "summarize"}), (), Context(ON_DEMAND)),
    Case("R8", "parallel", body(USER, replies(CALL, CALL_B), says(RESULT_B, RESULT))),
    Case("R9", "held unknown", body(says(RESULT), thread=CONTINUE), (), Context(THREADS)),
    Case("R9", "held", body(says(RESULT), thread=CONTINUE), (), Context(THREADS, held=(USER, replies(CALL)))),
    Case("R10", "text behind", body(USER, replies(CALL), says(RESULT, TEXT))),
    Case("R11", "ids differ", body(USER, replies(CALL), says(RESULT), replies(CALL_B), says(RESULT_B))),
    Case("R12", "resolved", body(USER, replies(SERVER_CALL, SERVER_RESULT, TEXT), USER)),
    Case("R12", "carried", body(USER, replies(SERVER_CALL, CALL), says(RESULT), replies(SERVER_RESULT, TEXT), USER, tools=[SEARCH, TOOL])),
    Case("R12", "carried on", body(USER, replies(SERVER_CALL, MADE_FOR_IT), says(RESULT), replies(MADE_AGAIN), says(RESULT_AGAIN), replies(SERVER_RESULT, TEXT), USER, tools=[SEARCH, TOOL])),
    Case("R13", "system behind", body(USER, replies(CALL), says(RESULT), MIDDLE)),
    Case("R14", "nested document", body(USER, replies(CALL), says({**RESULT, "content": [pdf(b"%PDF-1.7")]}))),
    Case("R14", "before the version", body(USER, replies(pdf(b"%PDF-1.7")), USER), (), Context(version="2023-06-01")),
    Case("R15", "error text", body(USER, replies(CALL), says({**RESULT, "is_error": True, "content": [TEXT]}))),
    Case("R16", "echoed", body(USER, replies({**CALL, "toolset_name": "t"}), says({**RESULT, "toolset_name": "t"}))),
    Case("R17", "apart", body(USER, replies(CALL, CALL_B), says(RESULT), says(RESULT_B))),
    Case("R18", "sealed", body(USER, replies(THOUGHT, TEXT), USER)),
    Case("R19", "leads", body(USER, replies(THOUGHT, CALL), says(RESULT), replies(CALL_B), says(RESULT_B), model="claude-opus-4-6", max_tokens=4096, thinking={"type": "enabled", "budget_tokens": 1024})),
    Case("R20", "adaptive", body(thinking={"type": "adaptive"}, output_config={"effort": "max"})),
    Case("R20", "toggled", body(USER, replies(THOUGHT, CALL), says(RESULT), thinking={"type": "disabled"})),
    Case("R21", "of another model", body(USER, replies({**THOUGHT, "signature": "other"}, TEXT), USER)),
    Case("R22", "fine", body(USER, replies(THOUGHT, TEXT), USER), (), Context(verify=Refuses())),
    Case("R23", "front trimmed", body(USER, REPLY, USER, replies(THOUGHT, TEXT), says(MARKED), MIDDLE)),
    Case("R24", "four", body(says(MARKED, MARKED, MARKED), cache_control=MARK, system=[{**TEXT, "cache_control": HOUR}], messages=[says(MARKED, MARKED)])),
    Case("R25", "run", body(USER, MIDDLE, MIDDLE, REPLY, USER)),
    Case("R25", "directive", body(directs([], output_config={"effort": "low"}), USER, directs([], output_config={"effort": "low"}), USER), (), Context(DIRECTIVES)),
    Case("R25", "tool addition", body(USER, directs([{"type": "tool_addition", "tool": {"type": "tool_reference", "name": "f"}}]), tools=[TOOL]), (), Context(CHANGES)),
    Case("R26", "scoped", body(USER, SCOPED), (), Context(CLEARS)),
    Case("R27", "first", body(replies(SUMMARY), USER), (), Context(ON_DEMAND)),
    Case("R27", "in the user's", body(says(SUMMARY, TEXT)), (), Context(ON_DEMAND)),
    Case("R27", "threshold", body(USER, replies(UNSIGNED, TEXT), USER, context_management=EDIT), (), Context(THRESHOLD)),
    Case("R27", "null is a no-op", body(USER, replies({"type": "compaction", "content": None}, TEXT), USER), (), Context(THRESHOLD)),
    Case("R28", "schema", body(tools=[{"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": True}, "required": ["a"]}, "input_examples": [{"a": "x"}]}])),
    Case("R29", "forced", body(tools=[TOOL], tool_choice={"type": "tool", "name": "f"})),
    Case("R29", "none", body(tool_choice={"type": "none"})),
    Case("R30", "image", body(says(png(8000, 8000), pdf(b"%PDF-1.7 /Type /Page")))),
    Case("R31", "fits", body(), (), Context(count_tokens=lambda _: 1_000_000)),
    Case("R32", "words", body(stop_sequences=["END"])),
    Case("R33", "null id", body(diagnostics={"previous_message_id": None})),
    Case("R34", "format", body(output_config={"format": {"type": "json_schema", "schema": EMPTY}})),
)
# fmt: on

# One row a case, so that the table can be read as one.
# fmt: off
REFUSED = (
    Case("R1", "not an object", [], (("", "Input should be an object"),)),
    Case("R1", "unknown field", body(temperature=1), (("temperature", EXTRA),)),
    Case("R1", "nested", body(says({**TEXT, "x": 1})), (("messages.0.content.0.text.x", EXTRA),)),
    Case("R1", "beta missing", body(thread=CONTINUE), (("thread", EXTRA),)),
    Case("R1", "compaction beta missing", body(compaction={"type": "summarize"}), (("compaction", "`compaction` requires anthropic-beta: compact-2026-09-04"),)),
    Case("R1", "surrogate", body(says({"type": "text", "text": "\ud83d"})), (("", "The request body is not valid JSON: no low surrogate in string"),)),
    Case("R1", "infinity", body(metadata={"user_id": float("inf")}), (("metadata.user_id", "Input should be a valid string"), ("", "The request body is not valid JSON: NaN and Infinity are not JSON"))),
    Case("R1", "size", body(), (("", "Request exceeds the maximum size"),), Context(body_bytes=33 * 1024 * 1024)),
    Case("R2", "missing", {"messages": [USER]}, (("model", "Field required"), ("max_tokens", "Field required"))),
    Case("R2", "negative", body(max_tokens=-1), (("max_tokens", "Input should be greater than or equal to 0"),)),
    Case("R2", "boolean", body(max_tokens=True), (("max_tokens", "Input should be a valid integer"),)),
    Case("R2", "cap", body(max_tokens=128_001), (("max_tokens", "128001 > 128000, which is the maximum allowed number of output tokens for claude-opus-5"),)),
    Case("R2", "zero streamed", body(max_tokens=0, stream=True), (("max_tokens", "`max_tokens` of 0 cannot be combined with `stream`"),)),
    Case("R2", "zero forced", body(max_tokens=0, tools=[TOOL], tool_choice={"type": "any"}), (("max_tokens", "`max_tokens` of 0 cannot be combined with a forced `tool_choice`"),)),
    Case("R2", "zero formatted", body(max_tokens=0, output_config={"format": {"type": "json_schema", "schema": EMPTY}}), (("max_tokens", "`max_tokens` of 0 cannot be combined with `output_config.format`"),)),
    Case("R2", "zero thinking", body(max_tokens=0, thinking={"type": "enabled", "budget_tokens": 1024}), (("max_tokens", '`max_tokens` of 0 cannot be combined with `thinking.type: "enabled"`'),)),
    Case("R3", "none", {**body(), "messages": []}, (("messages", "at least one message is required"),)),
    Case("R3", "too many", body(USER, USER), (("messages", "List should have at most 1 items after validation, not 2"),), Context(limits=ApiLimits(messages_max=1))),
    Case("R3", "no list", {**body(), "messages": "hi"}, (("messages", "Input should be a valid list"),)),
    Case("R4", "role", body({"role": "tool", "content": "x"}), (("messages.0.role", "Input should be 'user' or 'assistant'"),)),
    Case("R4", "no role", body({"content": "x"}), (("messages.0.role", "Field required"),)),
    Case("R4", "no content", body({"role": "user"}), (("messages.0.content", "Field required"),)),
    Case("R4", "no system content", body(USER, {"role": "system"}), (("messages.1.content", "Field required"),)),
    Case("R4", "content", body({"role": "user", "content": 1}), (("messages.0.content", "Input should be a valid list"),)),
    Case("R4", "message", body(7), (("messages.0", "Input should be an object"),)),
    Case("R4", "system on this model", body(USER, MIDDLE, model="claude-opus-4-7"), (("", "role 'system' is not supported on this model"),)),
    Case("R6", "empty string", body({"role": "user", "content": ""}), (("messages.0", "all messages must have non-empty content except for the optional final assistant message"),)),
    Case("R6", "empty reply", body(USER, replies(), USER), (("messages.1", "all messages must have non-empty content except for the optional final assistant message"),)),
    Case("R6", "empty system", body(USER, directs([])), (("messages.1", "system content must contain at least one block"),)),
    Case("R6", "empty text", body(says({"type": "text", "text": ""})), (("messages", "text content blocks must be non-empty"),)),
    Case("R6", "blank", body(says({"type": "text", "text": " \n"})), (("messages", BLANK),)),
    Case("R6", "blank in a result", body(USER, replies(CALL), says({**RESULT, "content": [{"type": "text", "text": " "}]})), (("messages", BLANK),)),
    Case("R6", "system field", body(system=[{"type": "text", "text": ""}]), (("system", "text content blocks must be non-empty"),)),
    Case("R32", "blank", body(stop_sequences=["a", " "]), (("stop_sequences", "each stop sequence must contain non-whitespace"),)),
    Case("R34", "citations", body(says({**pdf(b"%PDF-1.7"), "citations": {"enabled": True}}), output_config={"format": {"type": "json_schema", "schema": EMPTY}}), (("output_config.format", "citations cannot be enabled with a structured output format"),)),
    Case("R7", "not a prefill", body(USER, REPLY), (("", PREFILL),)),
    Case("R7", "trailing space", body(USER, replies({"type": "text", "text": "a "}), **OLD), (("messages", "final assistant content cannot end with trailing whitespace"),)),
    Case("R7", "prefill and format", body(USER, REPLY, **OLD, output_config={"format": {"type": "json_schema", "schema": EMPTY}}), (("output_config.format", "assistant message prefill cannot be combined with `output_config.format`"),)),
    Case("R7", "prefill and thinking", body(USER, REPLY, model="claude-haiku-4-5", max_tokens=2048, thinking={"type": "enabled", "budget_tokens": 1024}), (("thinking", "assistant message prefill cannot be combined with thinking"),)),
    Case("R8", "last", body(USER, replies(CALL)), (("messages.1", UNANSWERED.format("toolu_A")),)),
    Case("R8", "some", body(USER, replies(CALL, CALL_B), says(RESULT)), (("messages.1", UNANSWERED.format("toolu_B")),)),
    Case("R8", "all", body(USER, replies(CALL, CALL_B), says(TEXT)), (("messages.1", UNANSWERED.format("toolu_A, toolu_B")),)),
    Case("R8", "held", body(says(TEXT), thread=CONTINUE), (("messages", UNANSWERED.format("toolu_A")),), Context(THREADS, held=(USER, replies(CALL)))),
    Case("R9", "never called", body(says(RESULT)), (("messages.0.content.0", "unexpected `tool_use_id` found in `tool_result` blocks: toolu_A. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."),)),
    Case("R9", "called earlier", body(USER, replies(CALL), says(RESULT), REPLY, says(TEXT, RESULT)), (("messages.4.content.1", "unexpected `tool_use_id` found in `tool_result` blocks: toolu_A. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."),)),
    Case("R9", "server result", body(USER, replies(SERVER_RESULT, TEXT), USER), (("messages.1.content.0", "unexpected `tool_use_id` found in `web_search_tool_result` blocks: srvtoolu_1. Each `web_search_tool_result` block must have a corresponding `server_tool_use` block before it."),)),
    Case("R10", "late", body(USER, replies(CALL), says(TEXT, RESULT)), (("messages.1", UNANSWERED.format("toolu_A")),)),
    Case("R10", "late after merging", body(USER, replies(CALL), USER, says(RESULT)), (("messages.1", UNANSWERED.format("toolu_A")),)),
    Case("R11", "call twice", body(USER, replies(CALL, CALL), says(RESULT)), (("messages.1.content.1", "`tool_use` ids must be unique"),)),
    Case("R11", "result twice", body(USER, replies(CALL), says(RESULT, RESULT)), (("messages.2.content.1", "each tool_use must have a single result. Found multiple `tool_result` blocks with id: toolu_A"),)),
    Case("R11", "pattern", body(USER, replies({**CALL, "id": "a b"}), says({**RESULT, "tool_use_id": "a b"})), (("messages.1.content.0.tool_use.id", "String should match pattern '^[a-zA-Z0-9_-]+$'"), ("messages.2.content.0.tool_result.tool_use_id", "String should match pattern '^[a-zA-Z0-9_-]+$'"))),
    Case("R11", "newline", body(USER, replies({**SERVER_CALL, "id": "srvtoolu_1\n"}), tools=[SEARCH]), (("messages.1.content.0.server_tool_use.id", "String should match pattern '^srvtoolu_[a-zA-Z0-9_]+$'"),)),
    Case("R12", "torn", body(USER, replies(SERVER_CALL, TEXT), USER, tools=[SEARCH]), (("messages.1", "`web_search` tool use with id `srvtoolu_1` was found without a corresponding `web_search_tool_result` block"),)),
    Case("R12", "beside text", body(USER, replies(SERVER_CALL, CALL), says(RESULT, TEXT), tools=[SEARCH, TOOL]), (("messages.1", "`web_search` tool use with id `srvtoolu_1` was found without a corresponding `web_search_tool_result` block"),)),
    Case("R12", "tool gone", body(USER, replies(SERVER_CALL)), (("messages.1", "`web_search` tool use with id `srvtoolu_1` was found without a corresponding `web_search_tool_result` block, but no `web_search` tool was provided"),)),
    Case("R12", "never answered", body(USER, replies(SERVER_CALL, CALL), says(RESULT), REPLY, USER, tools=[SEARCH, TOOL]), (("messages.1", "`web_search` tool use with id `srvtoolu_1` was found without a corresponding `web_search_tool_result` block"),)),
    Case("R12", "words in the second round", body(USER, replies(SERVER_CALL, MADE_FOR_IT), says(RESULT), replies(MADE_AGAIN), says(RESULT_AGAIN, TEXT), tools=[SEARCH, TOOL]), (("messages.1", "`web_search` tool use with id `srvtoolu_1` was found without a corresponding `web_search_tool_result` block"),)),
    Case("R13", "system between", body(USER, replies(CALL), MIDDLE, says(RESULT)), (("messages.1", UNANSWERED.format("toolu_A")),)),
    Case("R13", "turns between", body(USER, replies(CALL), USER, REPLY, says(RESULT)), (("messages.1", UNANSWERED.format("toolu_A")),)),
    Case("R14", "call of the user", body(says(CALL)), (("messages.0", "`tool_use` blocks can only be in `assistant` messages"),)),
    Case("R14", "result of the assistant", body(USER, replies(CALL), says(RESULT), replies(RESULT), USER), (("messages.3", "`tool_result` blocks can only be in `user` messages"),)),
    Case("R14", "thinking of the user", body(says(THOUGHT, TEXT)), (("messages.0.content", "thinking blocks may only be in `assistant` messages"),)),
    Case("R14", "document", body(USER, replies(pdf(b"%PDF-1.7")), USER), (("messages.1", "`document` blocks can only be in `user` messages"),)),
    Case("R14", "citations", body(says({**TEXT, "citations": [{"type": "char_location", "cited_text": "", "document_index": 0, "document_title": None, "start_char_index": 0, "end_char_index": 1}]})), (("messages.0.content.0.text.citations", "citations are only permitted on text in `assistant` messages"),)),
    Case("R15", "input null", body(USER, replies({**CALL, "input": None}), says(RESULT)), (("messages.1.content.0.tool_use.input", "Input should be a valid dictionary"),)),
    Case("R15", "image in an error", body(USER, replies(CALL), says({**RESULT, "is_error": True, "content": [png(1, 1)]})), (("messages.2.content.0.tool_result.content", 'all content must be type "text" if "is_error" is true'),)),
    Case("R15", "part", body(USER, replies(CALL), says({**RESULT, "content": [THOUGHT]})), (("messages.2.content.0.tool_result.content.0", "Input tag 'thinking' found using 'type' does not match any of the expected tags: 'browser_state', 'document', 'image', 'search_result', 'text', 'tool_reference'"),)),
    Case("R16", "not echoed", body(USER, replies({**CALL, "toolset_name": "t"}), says(RESULT)), (("messages.2.content.0.tool_result.toolset_name", "must be the `toolset_name` of the corresponding `tool_use` block"),)),
    Case("R18", "cut", body(USER, replies({**THOUGHT, "signature": ""}, TEXT), USER), (("messages.1.content.0", "Invalid `signature` in `thinking` block"),)),
    Case("R18", "redacted", body(USER, replies({"type": "redacted_thinking", "data": ""}, TEXT), USER), (("messages.1.content.0", "Invalid `data` in `redacted_thinking` block"),)),
    Case("R18", "verified", body(USER, replies(THOUGHT, TEXT), USER), (("messages.1.content.0", "cannot be modified"),), Context(verify=Refuses("cannot be modified"))),
    Case("R20", "enabled", body(max_tokens=2048, thinking={"type": "enabled", "budget_tokens": 1024}), (("", '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'),)),
    Case("R20", "disabled", body(model="claude-mythos-preview", thinking={"type": "disabled"}), (("", '"thinking.type.disabled" is not supported for this model. Thinking defaults to adaptive mode when not specified; use "thinking.type.enabled" with "budget_tokens" for extended thinking.'),)),
    Case("R20", "no adaptive", body(**OLD, thinking={"type": "adaptive"}), (("", "adaptive thinking is not supported on this model"),)),
    Case("R20", "between tools", body(thinking={"type": "between_tools"}), (("", '"thinking.type.between_tools" is not supported for this model.'),)),
    Case("R20", "between tools effort", body(model="claude-sonnet-5-5", thinking={"type": "between_tools"}, output_config={"effort": "max"}), (("", "output_config.effort 'max' is not supported with \"thinking.type.between_tools\" on this model."),)),
    Case("R20", "budget", body(model="claude-opus-4-6", max_tokens=2048, thinking={"type": "enabled", "budget_tokens": 5}), (("thinking.enabled.budget_tokens", "Input should be greater than or equal to 1024"),)),
    Case("R20", "budget above", body(model="claude-opus-4-6", thinking={"type": "enabled", "budget_tokens": 1024}), (("", "`max_tokens` must be greater than `thinking.budget_tokens`."),)),
    Case("R20", "effort", body(model="claude-opus-4-6", output_config={"effort": "xhigh"}), (("", "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium."),)),
    Case("R20", "no effort", body(**OLD, output_config={"effort": "low"}), (("", "This model does not support the effort parameter."),)),
    Case("R20", "effort disabled", body(thinking={"type": "disabled"}, output_config={"effort": "max"}), (("", "output_config.effort 'max' is not supported when thinking is disabled on this model."),)),
    Case("R22", "bound", body(USER, replies(THOUGHT, TEXT), USER), (("messages.1.content.0", "is bound to a different conversation."),), Context(verify=Refuses("is bound to a different conversation."))),
    Case("R24", "five", body(says(*[MARKED] * 4), cache_control=MARK), (("", "A maximum of 4 blocks with cache_control may be provided. Found 5."),)),
    Case("R24", "nested", body(USER, replies(CALL), says({**RESULT, "content": [MARKED] * 4, "cache_control": MARK})), (("", "A maximum of 4 blocks with cache_control may be provided. Found 5."),)),
    Case("R24", "thread", body(says(*[MARKED] * 4), thread={"type": "create"}), (("thread", "a maximum of 3 blocks with cache_control may be provided when thread is set -- the fourth marker slot is reserved for the marker the server places on the conversation last cache-eligible block. Found 4."),), Context(THREADS)),
    Case("R24", "thinking", body(USER, replies({**THOUGHT, "cache_control": MARK}, TEXT), USER), (("messages.1.content.0.thinking.cache_control", EXTRA),)),
    Case("R24", "empty text", body(says(TEXT, {"type": "text", "text": "", "cache_control": MARK})), (("messages.0.content.1.text", "cache_control cannot be set for empty text blocks"),)),
    Case("R24", "hour late", body(says({**TEXT, "cache_control": HOUR}), system=[MARKED]), (("messages.0.content.0.cache_control.ttl", "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are processed in the following order: `tools`, `system`, `messages`."),)),
    Case("R24", "two lifetimes", body(says(MARKED), cache_control=HOUR), (("cache_control.ttl", "the automatic and the explicit cache_control of the last block must have the same ttl"),)),
    Case("R24", "ttl", body(says({**TEXT, "cache_control": {"type": "ephemeral", "ttl": "2h"}})), (("messages.0.content.0.text.cache_control.ttl", "Input should be '5m' or '1h'"),)),
    Case("R25", "first", body(MIDDLE, USER), (("messages.0", "use the top-level 'system' parameter for the initial system prompt"), ("messages.0", "role 'system' must precede an 'assistant' message or end the array; the directive-only form (content: [] with output_config) is accepted at any position"))),
    Case("R25", "before the user", body(USER, MIDDLE, USER), (("messages.1", "role 'system' must precede an 'assistant' message or end the array; the directive-only form (content: [] with output_config) is accepted at any position"),)),
    Case("R25", "after the assistant", body(USER, REPLY, MIDDLE), (("messages.2", "role 'system' must follow a 'user' message or an 'assistant' message that ends with a server tool result"),)),
    Case("R25", "unknown tool", body(USER, directs([{"type": "tool_removal", "tool": {"type": "tool_reference", "name": "g"}}]), tools=[TOOL]), (("messages.1.content.0.tool_removal.tool", "tool reference 'g' does not name a tool of this request"),), Context(CHANGES)),
    Case("R26", "of the user", body({**USER, "clear_at": "never"}), (("messages.0.clear_at", "clear_at is only permitted on role 'system' messages"),), Context(CLEARS)),
    Case("R26", "word", body(USER, directs("b", clear_at="x")), (("messages.1.clear_at", "Input should be 'next_user_message' or 'never'"),), Context(CLEARS)),
    Case("R26", "tools", body(USER, directs([{"type": "tool_addition", "tool": {"type": "tool_reference", "name": "f"}}], clear_at="next_user_message"), tools=[TOOL]), (("messages.1", f"a turn-scoped system message supports text blocks only {SCOPE}"),), Context(CLEARS | CHANGES)),
    Case("R26", "output_config", body(USER, {**SCOPED, "output_config": {"effort": "low"}}), (("messages.1", f"output_config is not permitted on a turn-scoped system message {SCOPE}"),), Context(CLEARS | DIRECTIVES)),
    Case("R26", "mark", body(USER, directs([MARKED], clear_at="next_user_message")), (("messages.1.content.0", f"cache_control is not permitted on a turn-scoped system message {SCOPE}"),), Context(CLEARS)),
    Case("R26", "before the user", body(USER, SCOPED, USER), (("messages.1", f"a turn-scoped system message must precede an 'assistant' message or end the array {SCOPE}"),), Context(CLEARS)),
    Case("R27", "not first", body(USER, replies(SUMMARY), USER), (("messages.1.content.0", MISPLACED),), Context(ON_DEMAND)),
    Case("R27", "in system", body(USER, directs([SUMMARY])), (("messages.1.content.0", MISPLACED),), Context(ON_DEMAND)),
    Case("R27", "two", body(replies(SUMMARY, SUMMARY), USER), (("messages.0.content.1", MISPLACED), ("messages.0.content.1", "more than one `compaction` block with `content`; send only the newest")), Context(ON_DEMAND)),
    Case("R27", "unsigned", body(replies(UNSIGNED), USER), (("messages.0.content.0", "a `compaction` block with `content` requires its `signature`"),), Context(ON_DEMAND)),
    Case("R27", "signed under the old beta", body(replies(SUMMARY), USER), (("messages.0.content.0", "`signature` requires anthropic-beta: compact-2026-09-04"),), Context(THRESHOLD)),
    Case("R27", "no edit", body(USER, replies(UNSIGNED, TEXT), USER), (("messages.1.content.0", "`compaction` blocks require a `compact_20260112` strategy in `context_management.edits`."),), Context(THRESHOLD)),
    Case("R27", "empty", body(replies({**SUMMARY, "content": ""}), USER), (("messages.0.content.0.compaction.content", "String should have at least 1 character"),), Context(ON_DEMAND)),
    Case("R27", "forged", body(replies(SUMMARY), USER), (("messages.0.content.0", "no"),), Context(ON_DEMAND, verify=Refuses(code="compaction_content_mismatch"))),
    Case("R27", "combined", body(compaction={"type": "summarize"}, stop_sequences=["x"]), (("compaction", "cannot be combined with `stop_sequences`"),), Context(ON_DEMAND)),
    Case("R27", "incomplete", body(USER, replies(CALL), compaction={"type": "summarize"}), (("compaction", "the conversation ends in an unfinished assistant turn"),), Context(ON_DEMAND)),
    Case("R27", "nothing", {**body(compaction={"type": "summarize"}), "messages": []}, (("compaction", "there is nothing to summarize"),), Context(ON_DEMAND)),
    Case("R27", "instructions", body(compaction={"type": "summarize", "instructions": "x" * 16_385}), (("compaction.instructions", "String should have at most 16384 characters"),), Context(ON_DEMAND)),
    Case("R27", "trigger", body(context_management={"edits": [{"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 9}}]}), (("context_management.edits.0.compact_20260112", "trigger.value must be at least 50000"),), Context(THRESHOLD)),
    Case("R27", "edit beta", body(context_management=EDIT), (("context_management.edits.0", "Input tag 'compact_20260112' found using 'type' does not match any of the expected tags: 'clear_thinking_20251015', 'clear_tool_uses_20250919'"),), Context(frozenset({"context-management-2025-06-27"}))),
    Case("R27", "thinking first", body(context_management={"edits": [{"type": "clear_tool_uses_20250919"}, {"type": "clear_thinking_20251015"}]}), (("context_management", "`clear_thinking_20251015` must be the first strategy in `context_management.edits` when provided"),), Context(frozenset({"context-management-2025-06-27"}))),
    Case("R28", "name", body(tools=[{**TOOL, "name": "a b"}]), (("tools.0.custom.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"),)),
    Case("R28", "unique", body(tools=[TOOL, TOOL]), (("tools", "Tool names must be unique."),)),
    Case("R28", "no schema", body(tools=[{"name": "f"}]), (("tools.0.custom.input_schema", "Field required"),)),
    Case("R28", "no type", body(tools=[{"name": "f", "input_schema": EMPTY}]), (("tools.0.custom.input_schema.type", "Field required"),)),
    Case("R28", "type", body(tools=[{"name": "f", "input_schema": {"type": "array"}}]), (("tools.0.custom.input_schema.type", "Input should be 'object'"),)),
    Case("R28", "union", body(tools=[{"name": "f", "input_schema": {"type": "object", "anyOf": [EMPTY]}}]), (("tools.0.custom.input_schema", "input_schema does not support oneOf, allOf, or anyOf at the top level"),)),
    Case("R28", "invalid", body(tools=[{"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "text"}}}}]), (("tools.0.custom.input_schema", INVALID_SCHEMA),)),
    Case("R28", "example", body(tools=[{"name": "f", "input_schema": {"type": "object", "required": ["a"]}, "input_examples": [EMPTY]}]), (("tools.0.custom.input_examples.0", "example does not match the input_schema"),)),
    Case("R28", "deferred", body(tools=[{**TOOL, "defer_loading": True}]), (("", "All tools have defer_loading: true"),)),
    Case("R28", "strict", body(tools=[strict_tool(n, 0, "string") for n in range(21)]), (("tools", "too many strict tools: 21 > 20"),)),
    Case("R28", "optional", body(tools=[strict_tool(0, 25, "string")]), (("tools", "too many optional parameters in strict schemas: 25 > 24"),)),
    Case("R28", "unions", body(tools=[strict_tool(0, 17, ["string", "null"])]), (("tools", "too many union parameters in strict schemas: 17 > 16"),)),
    Case("R29", "no tools", body(tool_choice={"type": "auto"}), (("", "tool_choice may only be specified while providing tools."),)),
    Case("R29", "not an object", body(tool_choice="auto"), (("tool_choice", "Input should be an object"),)),
    Case("R29", "unknown", body(tools=[TOOL], tool_choice={"type": "tool", "name": "g"}), (("", "Tool 'g' not found in provided tools"),)),
    Case("R29", "model", body(tools=[TOOL], tool_choice={"type": "any"}, model="claude-sonnet-5-5"), (("tool_choice", 'type "tool" and "any" are not supported for this model.'),)),
    Case("R29", "thinking", body(tools=[TOOL], tool_choice={"type": "any"}, model="claude-opus-4-6", max_tokens=2048, thinking={"type": "enabled", "budget_tokens": 1024}), (("", "Thinking may not be enabled when tool_choice forces tool use."),)),
    Case("R30", "bytes", body(says(png(1, 1))), (("messages.0.content.0.image.source.base64", "image exceeds 0 MB maximum: 36 bytes > 10 bytes"),), Context(limits=ApiLimits(image_base64_bytes_max=10))),
    Case("R30", "pixels", body(USER, replies(CALL), says({**RESULT, "content": [png(8001, 1)]})), (("messages.2.content.0.tool_result.content.0.image.source.base64.data", "At least one of the image dimensions exceed max allowed size: 8000 pixels"),)),
    Case("R30", "many", body(says(*[png(1, 1)] * 20, png(1, 2001))), (("messages.0.content.20.image.source.base64.data", "At least one of the image dimensions exceed max allowed size for many-image requests: 2000 pixels"),)),
    Case("R30", "type", body(says(image(b"\xff\xd8\xff\xc0\0\0\0\0\x01\0\x01", "image/png"))), (("messages.0.content.0.image.source.base64", "The image was specified using the image/png media type, but the image appears to be a image/jpeg image"),)),
    Case("R30", "no image", body(says(image(b"hello", "image/png"))), (("", "Could not process image"),)),
    Case("R30", "count", body(says(png(1, 1), png(1, 1))), (("", "too many images and documents: 2 + 0 > 1"),), Context(limits=ApiLimits(images_max=1))),
    Case("R30", "empty pdf", body(says(pdf(b""))), (("messages.0.content.0.pdf.source.base64.data", "PDF cannot be empty"),)),
    Case("R30", "no pdf", body(says(pdf(b"hello"))), (("messages.0.content.0.pdf.source.base64.data", "The PDF specified was not valid."),)),
    Case("R30", "pages", body(says(pdf(b"%PDF-1.7 /Type /Pages" + b"/Type/Page " * 3))), (("", "A maximum of 2 PDF pages may be provided."),), Context(limits=ApiLimits(pdf_pages_max=2))),
    Case("R30", "media type", body(says({"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 16).decode()}})), (("messages.0.content.0.image.source.base64.media_type", "Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"), ("messages.0.content.0.image.source.base64", "The image was specified using the image/bmp media type, but the image appears to be a image/png image"))),
    Case("R31", "too long", body(), (("", "prompt is too long: 1000001 tokens > 1000000 maximum"),), Context(count_tokens=lambda _: 1_000_001)),
    Case("R31", "with the reply", body(), (("", "input length and `max_tokens` exceed context limit: 90 + 64 > 100, decrease input length or `max_tokens` and try again"),), Context(count_tokens=lambda _: 90, model=ModelSpec(name="old", context_window=100, overflow_refused=True))),
    Case("R33", "system", body(thread=CONTINUE, system="s"), (("thread", "`system` must be absent when a thread is continued"),), Context(THREADS)),
    Case("R33", "previous", body(thread={"type": "continue", "previous_message_id": "x"}), (("thread.continue.previous_message_id", MUST_BE_MESSAGE),), Context(THREADS)),
    Case("R33", "no previous", body(thread={"type": "continue"}), (("thread.continue.previous_message_id", "Field required"),), Context(THREADS)),
    Case("R33", "diagnostics", body(diagnostics={"previous_message_id": "b1c2"}), (("diagnostics.previous_message_id", MUST_BE_MESSAGE),)),
)
# fmt: on


def run(case: Case, *, only: set[str] | None = None) -> list[Finding]:
    return list(check(cast(Json, case.body), case.context, only=only))


def _id(case: Case) -> str:
    return f"{case.rule} {case.name}"


@pytest.mark.parametrize("case", ACCEPTED, ids=_id)
def test_a_legal_body_is_accepted_by_every_rule(case: Case) -> None:
    assert run(case) == []


@pytest.mark.parametrize("case", [c for c in REFUSED if c.found], ids=_id)
def test_a_broken_body_is_refused_with_the_servers_words(case: Case) -> None:
    found = run(case, only={case.rule})

    assert tuple((f.path, f.reason) for f in found) == case.found
    assert {f.rule for f in found} == {case.rule}


@pytest.mark.parametrize("case", [*ACCEPTED, *REFUSED], ids=_id)
def test_checking_leaves_the_body_as_it_was(case: Case) -> None:
    before = copy.deepcopy(case.body)

    run(case)

    assert case.body == before


@pytest.mark.parametrize("case", REFUSED, ids=_id)
def test_selecting_rules_only_filters(case: Case) -> None:
    """`only` shows a part of the whole: it never makes a finding appear."""
    whole = run(case)

    for rule in RULES:
        own = [finding for finding in whole if finding.rule == rule.id]
        assert run(case, only={rule.id}) == own


def test_manual_thinking_must_lead_the_open_round() -> None:
    manual = {"type": "enabled", "budget_tokens": 1024}
    broken = body(
        USER,
        replies(CALL),
        says(RESULT),
        model="claude-opus-4-6",
        max_tokens=4096,
        thinking=manual,
    )

    [found] = check(broken)

    assert (found.rule, found.path) == ("R19", "messages.1.content.0.type")
    assert found.reason.startswith(
        "Expected `thinking` or `redacted_thinking`, but found `tool_use`. When "
        "`thinking` is enabled, a final `assistant` message must start with a thinking "
        "block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
    )


@pytest.mark.parametrize("tag", ["nope", "compaction", "fallback"])
def test_a_block_of_an_absent_beta_is_an_unknown_tag(tag: str) -> None:
    [found] = check(body(says({"type": tag})))

    assert found.path == "messages.0.content.0"
    assert found.reason.startswith(
        f"Input tag '{tag}' found using 'type' does not match any of the expected tags: "
        "'bash_code_execution_tool_result', "
    )


def test_codes_and_statuses_are_the_servers() -> None:
    [size] = check(body(), Context(body_bytes=2**30))
    [misplaced] = check(body(USER, replies(SUMMARY), USER), Context(ON_DEMAND))
    [marks] = check(
        body(says(*[MARKED] * 4), thread={"type": "create"}), Context(THREADS)
    )

    assert (size.status, size.type) == (413, "request_too_large")
    assert misplaced.code == "compaction_block_misplaced"
    assert marks.code == "thread_unsupported_request"


def test_a_finding_without_a_path_is_its_reason() -> None:
    assert Finding("R7", "", "no").message == "no"
    assert Finding("R8", "messages.1", "no").message == "messages.1: no"


def test_a_wrong_shape_is_reported_once_and_not_echoed() -> None:
    """The call whose id cannot be read is not also reported as unanswered."""
    broken = body(USER, replies({**CALL, "id": 7}), says(RESULT))

    found = [(f.rule, f.path) for f in check(broken)]

    assert found == [("R11", "messages.1.content.0.tool_use.id")]


def test_an_unknown_model_is_held_to_the_rules_of_all_models() -> None:
    assert not list(check(body(USER, REPLY, model="other", max_tokens=10**7)))


def test_every_rule_is_there_once_and_explained() -> None:
    assert sorted(int(rule.id[1:]) for rule in RULES) == list(range(1, 35))
    for rule in RULES:
        assert rule.title
        assert rule.help
        assert rule.source
        assert rule.help in explain(rule.id)


def test_the_first_finding_comes_before_the_rest_is_read() -> None:
    """The engine asks for one finding; the remaining rules must not run for it."""

    def never(_: Mapping[str, object]) -> int:
        raise AssertionError

    first = next(check(body(temperature=1), Context(count_tokens=never)))

    assert first.path == "temperature"

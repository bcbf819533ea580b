"""Whatever is sent, an answer comes back: no body makes the simulator itself fail."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.simulator import ApiRequest, Seeded, Simulator

BETAS = ",".join(
    (
        "compact-2026-01-12",
        "compact-2026-09-04",
        "context-management-2025-06-27",
        "message-threads-2026-08-12",
        "thinking-binding-controls-2026-08-01",
    )
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
TYPES = st.sampled_from(
    [
        *("text", "thinking", "redacted_thinking", "tool_use", "tool_result"),
        *("compaction", "image", "document", "create", "continue", "summarize"),
        *("compact_20260112", "clear_tool_uses_20250919", "clear_thinking_20251015"),
        *(
            "user",
            "assistant",
            "system",
            "msg_01",
            "toolu_1",
            "input_tokens",
            "adaptive",
        ),
    ]
)
KEYS = st.sampled_from(
    [
        *("type", "role", "content", "text", "id", "name", "input", "tool_use_id"),
        *("signature", "thinking", "data", "source", "edits", "trigger", "value"),
        *("keep", "previous_message_id", "input_schema", "cache_control", "block"),
    ]
)
FIELDS = st.sampled_from(
    [
        *("messages", "system", "tools", "tool_choice", "thinking", "stop_sequences"),
        *("thread", "compaction", "context_management", "diagnostics", "metadata"),
        *("output_config", "max_tokens", "stream", "model", "unheard_of"),
    ]
)
VALUES = st.recursive(
    SCALARS | TYPES | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)
BASE: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}


def post(simulator: Simulator, body: Any, path: str = "/v1/messages") -> Any:
    headers = (
        ("x-api-key", "k"),
        ("anthropic-version", "2026-10-21"),
        ("anthropic-beta", BETAS),
    )
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = simulator.handle(ApiRequest("POST", path, headers, data))
    simulator.finish(response)
    return response


@given(
    st.dictionaries(FIELDS, VALUES, max_size=4),
    st.sampled_from(["/v1/messages", "/v1/messages/count_tokens"]),
    st.booleans(),
)
def test_a_request_with_any_fields_is_answered(
    fields: dict[str, Any], path: str, strict: bool
) -> None:
    simulator = Simulator(Seeded(), strict=strict)

    response = post(simulator, {**BASE, **fields}, path)

    assert response.status in (200, 400, 404)


@given(VALUES)
def test_any_json_is_answered(body: Any) -> None:
    assert post(Simulator(), body).status in (400, 404)


@given(st.binary(max_size=60))
def test_any_bytes_are_answered(body: bytes) -> None:
    assert post(Simulator(), body).status == 400


@pytest.mark.parametrize("depth", [100, 400, 700, 900, 2_000, 200_000])
def test_any_depth_is_answered(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    head = '{"model": "claude-opus-5", "max_tokens": 9, "messages": '
    schema = '[{"name": "a", "input_schema": {"type": "object", "x": NESTED}}]}'
    for body in (
        '{"messages": NESTED}',
        head + '[{"role": "user", "content": "a"}], "tools": ' + schema,
        head + '[{"role": "user", "content": NESTED}]}',
    ):
        data = body.replace("NESTED", nested).encode()
        assert post(Simulator(), data).status in (200, 400)

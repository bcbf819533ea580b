"""The seeded model: repeatable, and never in breach of the rules it is held to."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.simulator import ApiRequest, ClientCall, Seeded, Simulator
from turnlatch.simulator.samples import sample
from turnlatch_states.api.models import MODELS

HEADERS = (("authorization", "Bearer k"), ("anthropic-version", "2026-10-21"))
TOOLS: list[dict[str, Any]] = [
    {
        "name": "read_file",
        "input_schema": {
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
        },
    },
    {
        "name": "weather",
        "description": "What it is like outside.",
        "input_schema": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 2},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
                "unit": {"enum": ["C", "F"]},
                "places": {"type": "array", "items": {"$ref": "#/$defs/place"}},
            },
            "required": ["city", "places"],
            "$defs": {"place": {"type": "object", "properties": {}}},
        },
    },
]
WORDS = st.text(min_size=1, max_size=40).filter(lambda text: bool(text.strip()))


def turn(simulator: Simulator, model: str, messages: list[Any], tools: Any) -> Any:
    body: dict[str, Any] = {"model": model, "max_tokens": 4_000, "messages": messages}
    if tools:
        body["tools"] = tools
    data = json.dumps(body).encode()
    response = simulator.handle(ApiRequest("POST", "/v1/messages", HEADERS, data))
    message = json.loads(response.body)
    assert response.status == 200, message
    return message


@given(
    model=st.sampled_from([each.name for each in MODELS]),
    seed=st.integers(0, 2**32),
    words=st.lists(WORDS, min_size=1, max_size=6),
    tools=st.sampled_from([[], TOOLS[:1], TOOLS]),
)
def test_seeded_replies_are_always_accepted_as_input(
    model: str, seed: int, words: list[str], tools: list[Any]
) -> None:
    """A closed loop of at least 20 exchanges under the strict rules."""
    simulator = Simulator(Seeded(seed, tool_use=0.7), seed=seed)
    messages: list[Any] = []
    for number in range(20):
        if not messages or messages[-1]["role"] == "assistant":
            messages.append({"role": "user", "content": words[number % len(words)]})
        message = turn(simulator, model, messages, tools)
        messages.append({"role": "assistant", "content": message["content"]})
        results = [
            {
                "type": "tool_result",
                "tool_use_id": block["id"],
                "content": f"result {number}",
                "is_error": number % 5 == 0,
            }
            for block in message["content"]
            if block["type"] == "tool_use"
        ]
        if results:
            messages.append({"role": "user", "content": results})

    assert simulator.unscripted_rejections() == ()


def test_the_tools_are_used_and_then_the_answer_is_given() -> None:
    simulator = Simulator(Seeded(3, tool_use=1.0))
    messages: list[Any] = [{"role": "user", "content": "Please read notes.txt"}]

    message = turn(simulator, "claude-opus-5", messages, TOOLS[:1])
    called = [block for block in message["content"] if block["type"] == "tool_use"]
    assert message["stop_reason"] == "tool_use"
    assert {block["name"] for block in called} == {"read_file"}
    assert called[0]["input"]["path"].startswith("/dev/null/inert-")
    for _ in range(4):
        messages.append({"role": "assistant", "content": message["content"]})
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "4 apples"}
            for block in message["content"]
            if block["type"] == "tool_use"
        ]
        if not results:
            break
        messages.append({"role": "user", "content": results})
        message = turn(simulator, "claude-opus-5", messages, TOOLS[:1])
    assert message["stop_reason"] == "end_turn"
    assert "4 apples" in json.dumps(message["content"])


def test_no_more_than_three_rounds_of_tools_are_asked_for() -> None:
    used: Any = {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
    one: list[Any] = [
        {"role": "assistant", "content": [used]},
        {"role": "user", "content": [result]},
    ]
    begun = [{"role": "user", "content": "read it"}]

    def calls(rounds: int) -> int:
        request = {"messages": [*begun, *one * rounds], "tools": TOOLS}
        models = [Seeded(n, tool_use=0.7) for n in range(40)]
        answers = [m.answer(request, random.Random(n)) for n, m in enumerate(models)]
        return sum(
            isinstance(p, ClientCall) for answer in answers for p in answer.parts
        )

    assert calls(2) > 0
    assert calls(3) == 0


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "none"}, set[str]()),
        ({"type": "tool", "name": "weather"}, {"weather"}),
        ({"type": "any", "disable_parallel_tool_use": True}, None),
    ],
    ids=["none", "tool", "any"],
)
def test_the_tool_choice_is_respected(
    choice: dict[str, Any], names: set[str] | None
) -> None:
    request = {
        "messages": [{"role": "user", "content": "hello there"}],
        "tools": TOOLS,
        "tool_choice": choice,
    }

    for seed in range(40):
        model = Seeded(seed, tool_use=0.7)
        answer = model.answer(request, random.Random(seed))
        called = [part.name for part in answer.parts if isinstance(part, ClientCall)]
        if names is None:
            assert len(called) == 1
        else:
            assert set(called) == names


SCHEMAS: dict[str, tuple[dict[str, Any], Callable[[Any], bool]]] = {
    "const": ({"const": 3}, lambda value: bool(value == 3)),
    "enum": ({"enum": ["a", "b"]}, lambda value: value in ("a", "b")),
    "integer": (
        {"type": "integer", "minimum": 3, "maximum": 9, "multipleOf": 3},
        lambda value: value in (3, 6, 9),
    ),
    "exclusive": (
        {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
        lambda value: bool(value == 4),
    ),
    "string": (
        {"type": "string", "minLength": 5, "maxLength": 8},
        lambda value: 5 <= len(value) <= 8,
    ),
    "array": (
        {"type": "array", "minItems": 2, "maxItems": 3, "items": {"const": 1}},
        lambda value: value in ([1, 1], [1, 1, 1]),
    ),
    "nullable": ({"type": ["null", "boolean"]}, lambda value: value in (True, False)),
    "choice": (
        {"anyOf": [{"type": "object", "required": []}, {"type": "null"}]},
        lambda value: bool(value == {}),
    ),
}


@pytest.mark.parametrize(("schema", "satisfied"), SCHEMAS.values(), ids=list(SCHEMAS))
def test_made_up_values_satisfy_simple_schemas(
    schema: dict[str, Any], satisfied: Callable[[Any], bool]
) -> None:
    for seed in range(30):
        assert satisfied(sample(schema, random.Random(seed)))


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema: dict[str, Any] = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/node"}},
                "required": ["next"],
            }
        },
    }

    assert isinstance(sample(schema, random.Random(0)), dict)


def test_a_format_is_answered_in_that_format() -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    request = {
        "messages": [{"role": "user", "content": "hello"}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }

    answer = Seeded(0).answer(request, random.Random(0))

    told = [getattr(part, "text", "") for part in answer.parts]
    assert isinstance(json.loads(told[-1])["ok"], bool)


def test_the_older_place_of_a_format_is_heeded() -> None:
    schema = {"type": "object", "properties": {"n": {"const": 3}}, "required": ["n"]}
    request = {
        "messages": [{"role": "user", "content": "hello"}],
        "output_format": {"type": "json_schema", "schema": schema},
    }

    answer = Seeded(0).answer(request, random.Random(0))

    assert json.loads(getattr(answer.parts[-1], "text", "")) == {"n": 3}

"""Summaries and edits: made, carried back, tampered with, and not made."""

import json
from typing import Any

import pytest

from turnlatch.simulator import (
    Answer,
    ApiRequest,
    Scripted,
    Simulator,
    Thinking,
    call,
    parse_events,
    reply,
    stream_problems,
)

ON_DEMAND = "compact-2026-09-04"
THRESHOLD = "compact-2026-01-12"
EDITING = "context-management-2025-06-27"
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "tell me about rivers"},
    {"role": "assistant", "content": "They flow."},
    {"role": "user", "content": "and lakes?"},
]


def send(
    simulator: Simulator, messages: Any, *betas: str, **fields: Any
) -> tuple[int, Any]:
    """One request; status and body."""
    body = {
        "model": "claude-opus-5-5",
        "max_tokens": 4_000,
        "messages": messages,
        **fields,
    }
    headers = (
        ("authorization", "Bearer k"),
        ("anthropic-version", "2026-10-21"),
        *([("anthropic-beta", ",".join(betas))] if betas else []),
    )
    data = json.dumps(body).encode()
    response = simulator.handle(ApiRequest("POST", "/v1/messages", headers, data))
    if fields.get("stream"):
        return response.status, parse_events(response.body)
    return response.status, json.loads(response.body)


def compact(simulator: Simulator, messages: Any = TALK, **fields: Any) -> Any:
    asked = {"type": "summarize"}
    return send(simulator, messages, ON_DEMAND, compaction=asked, **fields)


def code(answer: tuple[int, Any]) -> Any:
    status, body = answer
    assert status == 400, body
    return body["error"].get("details", {}).get("error_code")


def test_a_summary_on_demand_is_one_signed_block() -> None:
    status, message = compact(Simulator())

    assert status == 200
    [block] = message["content"]
    assert (block["type"], message["stop_reason"]) == ("compaction", "compaction")
    assert block["content"]
    assert block["signature"]
    usage = message["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (0, 0)
    [iteration] = usage["iterations"]
    assert iteration["type"] == "compaction"
    assert iteration["input_tokens"] > 0


def test_a_streamed_summary_is_whole_at_its_start() -> None:
    _, events = compact(Simulator(), stream=True)

    assert stream_problems(events) == ()
    assert [event.name for event in events if event.name != "ping"] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start = next(event for event in events if event.name == "content_block_start")
    assert "signature" in json.dumps(start.data)


@pytest.mark.parametrize("role", ["assistant", "user"])
def test_a_summary_is_taken_back_as_it_was(role: str) -> None:
    simulator = Simulator()
    block = compact(simulator)[1]["content"][0]
    rest = [{"type": "text", "text": "and ponds?"}]
    messages = (
        [{"role": "user", "content": [block, *rest]}]
        if role == "user"
        else [
            {"role": "assistant", "content": [block]},
            {"role": "user", "content": rest},
        ]
    )

    assert send(simulator, messages, ON_DEMAND)[0] == 200
    # Without the header that made it there is no such block.
    assert send(simulator, messages)[0] == 400


def test_a_summary_that_was_touched_is_refused_by_code() -> None:
    simulator = Simulator()
    block = compact(simulator)[1]["content"][0]

    def back(*blocks: Any, before: Any = ()) -> Any:
        adopted = {"role": "assistant", "content": list(blocks)}
        after = {"role": "user", "content": "and ponds?"}
        return code(send(simulator, [*before, adopted, after], ON_DEMAND))

    mark = block["signature"]
    flipped = ("B" if mark[20] == "A" else "A").join((mark[:20], mark[21:]))
    assert back({**block, "content": "x"}) == "compaction_content_mismatch"
    assert back({**block, "signature": flipped}) == "compaction_signature_invalid"
    assert back({**block, "signature": "!"}) == "compaction_signature_invalid"
    changes: Any = {**block, "tool_changes": []}
    assert back(changes) == "compaction_tool_changes_mismatch"
    assert back(block, block) in (
        "compaction_block_misplaced",
        "compaction_block_ambiguous",
    )
    assert back(block, before=TALK[:1]) == "compaction_block_misplaced"


def test_another_servers_summary_is_refused() -> None:
    block = compact(Simulator(seed=1))[1]["content"][0]
    messages = [{"role": "assistant", "content": [block]}, TALK[2]]

    found = code(send(Simulator(seed=2), messages, ON_DEMAND))

    assert found == "compaction_signature_invalid"


def test_unsuitable_conversation_is_refused_with_its_code() -> None:
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    called: Any = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    unfinished: Any = [TALK[0], {"role": "assistant", "content": [called]}]

    refused = compact(Simulator(), unfinished, tools=tools)
    combined = compact(Simulator(), stop_sequences=["x"])
    bare = send(Simulator(), TALK, compaction={"type": "summarize"})

    assert code(refused) == "compaction_incomplete_turn"
    assert "stop_sequences" in combined[1]["error"]["message"]
    assert ON_DEMAND in bare[1]["error"]["message"]


def test_a_compaction_that_fails_leaves_no_block() -> None:
    summaries: list[Answer | str] = [Answer((), "refusal"), "A summary of my own."]
    simulator = Simulator(Scripted([], summaries=summaries))

    refused = compact(simulator)[1]
    assert (refused["content"], refused["stop_reason"]) == ([], "refusal")
    made = compact(simulator)[1]
    assert made["content"][0]["content"] == "A summary of my own."
    short = compact(simulator, max_tokens=1)[1]
    assert (short["content"], short["stop_reason"]) == ([], "max_tokens")


def test_kept_turns_keep_their_thinking_after_a_summary() -> None:
    thinking = [reply(Thinking("hm"), word) for word in ("one", "two", "three")]
    simulator = Simulator(Scripted(thinking))
    messages: list[Any] = []
    for word in ("a", "b"):
        messages.append({"role": "user", "content": word})
        message = send(simulator, messages, ON_DEMAND)[1]
        messages.append({"role": "assistant", "content": message["content"]})
    block = compact(simulator, messages[:2])[1]["content"][0]
    summary = {"role": "assistant", "content": [block]}
    onward = {"role": "user", "content": "c"}

    kept = send(simulator, [summary, *messages[2:], onward], ON_DEMAND)
    altered = {"role": "user", "content": "another b"}
    moved = send(simulator, [summary, altered, messages[3], onward], ON_DEMAND)

    assert kept[0] == 200
    assert moved[0] == 400
    assert "bound to a different conversation" in moved[1]["error"]["message"]


LONG = [{"role": "user", "content": "river " * 50_000}]
EDIT = {
    "type": "compact_20260112",
    "trigger": {"type": "input_tokens", "value": 50_000},
}


def by_threshold(messages: Any = LONG, edit: Any = EDIT, **fields: Any) -> Any:
    management = {"edits": [edit]}
    simulator = Simulator(Scripted(["Lakes.", "Ponds."]))
    return send(simulator, messages, THRESHOLD, context_management=management, **fields)


def test_a_long_conversation_is_summarised_before_the_reply() -> None:
    status, message = by_threshold()

    assert status == 200
    block, words = message["content"]
    assert (block["type"], set(block)) == ("compaction", {"type", "content"})
    assert words["text"] == "Lakes."
    assert message["stop_reason"] == "end_turn"
    kinds = [each["type"] for each in message["usage"]["iterations"]]
    assert kinds == ["compaction", "message"]
    assert message["context_management"] == {"applied_edits": []}


def test_a_paused_summary_comes_alone() -> None:
    _, message = by_threshold(edit={**EDIT, "pause_after_compaction": True})

    assert [block["type"] for block in message["content"]] == ["compaction"]
    assert message["stop_reason"] == "compaction"
    assert message["usage"]["input_tokens"] == 0


def test_a_short_conversation_is_left_alone_but_counted() -> None:
    _, message = by_threshold(TALK)

    assert [block["type"] for block in message["content"]] == ["text"]
    assert [each["type"] for each in message["usage"]["iterations"]] == ["message"]


def test_a_streamed_threshold_summary_comes_in_one_delta() -> None:
    _, events = by_threshold(stream=True)

    assert stream_problems(events) == ()
    deltas = [
        event.data["delta"]
        for event in events
        if event.name == "content_block_delta" and event.data is not None
    ]
    kinds = [json.loads(json.dumps(delta))["type"] for delta in deltas]
    assert kinds.count("compaction_delta") == 1
    closing = next(event for event in events if event.name == "message_delta")
    assert closing.data is not None
    assert closing.data["context_management"] == {"applied_edits": []}


def test_messages_before_an_unsigned_summary_are_not_counted() -> None:
    _, message = by_threshold()
    content = {"role": "assistant", "content": message["content"]}

    status, after = by_threshold([*LONG, content, TALK[2]])

    assert status == 200
    assert [block["type"] for block in after["content"]] == ["text"]
    assert after["usage"]["input_tokens"] < 1_000


def test_old_results_are_cleared_for_the_model_only() -> None:
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    messages: list[Any] = [TALK[0]]
    for number in range(5):
        used = {"type": "tool_use", "id": f"toolu_{number}", "name": "look"}
        given = {"type": "tool_result", "tool_use_id": f"toolu_{number}"}
        messages.append({"role": "assistant", "content": [{**used, "input": {}}]})
        messages.append({"role": "user", "content": [{**given, "content": "x" * 800}]})
    edit = {
        "type": "clear_tool_uses_20250919",
        "trigger": {"type": "tool_uses", "value": 4},
        "keep": {"type": "tool_uses", "value": 2},
    }

    simulator = Simulator(Scripted([call("look"), call("look")]))
    fields = {"tools": tools, "context_management": {"edits": [edit]}}
    status, message = send(simulator, messages, EDITING, **fields)

    assert status == 200
    [applied] = message["context_management"]["applied_edits"]
    assert applied["type"] == "clear_tool_uses_20250919"
    assert applied["cleared_tool_uses"] == 3
    assert applied["cleared_input_tokens"] > 500
    plain = send(simulator, messages, tools=tools)[1]
    spared = plain["usage"]["input_tokens"] - message["usage"]["input_tokens"]
    assert spared == applied["cleared_input_tokens"]

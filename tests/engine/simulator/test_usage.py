"""Usage as a scripted answer wants it: missing, doubled, cumulative."""

import json
from typing import Any

import pytest

from turnlatch.simulator import (
    Answer,
    ApiRequest,
    ScenarioError,
    Scripted,
    Simulator,
    call,
    parse_events,
    read_scenario,
    reply,
    stream_problems,
    text,
)

BETAS = "compact-2026-01-12,compact-2026-09-04,context-management-2025-06-27"
BODY: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}


def post(simulator: Simulator, **fields: Any) -> bytes:
    headers = (
        ("x-api-key", "k"),
        ("anthropic-version", "2026-10-21"),
        ("anthropic-beta", BETAS),
    )
    data = json.dumps({**BODY, **fields}).encode()
    response = simulator.handle(ApiRequest("POST", "/v1/messages", headers, data))
    assert response.status == 200, response.body
    return response.body


def told(answer: Answer | str, **fields: Any) -> dict[str, Any]:
    """The `usage` of a plain reply."""
    message = json.loads(post(Simulator(Scripted([answer])), **fields))
    usage: dict[str, Any] = message["usage"]
    return usage


def streamed(
    answer: Answer, *, problems: int = 0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `usage` at the start and at the end of a stream."""
    events = parse_events(post(Simulator(Scripted([answer])), stream=True))
    assert len(stream_problems(events)) == problems
    told: list[Any] = [event.data for event in events]
    start = next(data for data in told if data["type"] == "message_start")
    [end] = [data for data in told if data["type"] == "message_delta"]
    return start["message"]["usage"], end["usage"]


def test_without_a_word_of_the_answer_usage_is_the_simulators() -> None:
    assert told(reply("Hi.", usage={})) == told("Hi.")
    assert told("Hi.")["input_tokens"] == 6


@pytest.mark.parametrize(
    "said",
    [
        {"input_tokens": 12},
        {"input_tokens": 9_999, "output_tokens": 777},
        {"cache_creation": {"ephemeral_1h_input_tokens": 5}},
        {"server_tool_use": {"web_search_requests": 1}, "odd": [1]},
    ],
)
def test_given_members_of_usage_replace_the_simulators(said: dict[str, Any]) -> None:
    assert told(reply("Hi.", usage=said)) == {**told("Hi."), **said}


def test_members_of_usage_given_as_null_are_missing() -> None:
    usual = told("Hi.")

    for name in usual:
        assert name not in told(reply("Hi.", usage={name: None}))
    assert told(reply("Hi.", usage=dict.fromkeys(usual))) == {}


def test_a_stream_has_them_at_both_ends() -> None:
    start, end = streamed(
        reply("Hi.", usage={"input_tokens": 12, "service_tier": None})
    )

    assert start["input_tokens"] == end["input_tokens"] == 12
    assert (start["output_tokens"], end["output_tokens"]) == (1, 1)
    assert "service_tier" not in {**start, **end}


def test_a_stream_tells_the_whole_output_at_its_end_only() -> None:
    start, end = streamed(reply("Hi.", usage={"output_tokens": 50, "iterations": []}))

    assert (start["output_tokens"], end["output_tokens"]) == (1, 50)
    assert ("iterations" in start, end["iterations"]) == (False, [])
    # No such stream follows the grammar, and whoever checks it will notice.
    start, end = streamed(reply("Hi.", usage={"output_tokens": None}), problems=1)
    assert "output_tokens" not in {**start, **end}


def test_pieces_bring_their_usage_and_the_last_word_wins() -> None:
    first, second = text("a"), Answer(usage={"input_tokens": 1, "output_tokens": 2})

    joined = reply(first, second, call("look"), usage={"output_tokens": 3})

    assert joined.usage == {"input_tokens": 1, "output_tokens": 3}
    assert reply(first, "b").usage is None


def test_a_summary_has_a_word_on_its_usage_too() -> None:
    said = {"iterations": None, "input_tokens": 5}
    summary = reply("Rivers.", usage=said)

    on_demand = Simulator(Scripted([], summaries=[summary]))
    usage = json.loads(post(on_demand, compaction={"type": "summarize"}))["usage"]
    assert ("iterations" in usage, usage["input_tokens"]) == (False, 5)

    edit = {
        "type": "compact_20260112",
        "trigger": {"type": "input_tokens", "value": 50_000},
        "pause_after_compaction": True,
    }
    paused = Simulator(Scripted([], summaries=[summary]))
    long = [{"role": "user", "content": "river " * 50_000}]
    body = post(paused, messages=long, context_management={"edits": [edit]})
    usage = json.loads(body)["usage"]
    assert ("iterations" in usage, usage["input_tokens"]) == (False, 5)


def test_a_file_may_say_it() -> None:
    written = '[{"text": "Hi.", "usage": {"input_tokens": 12, "service_tier": null}}]'

    message = json.loads(post(Simulator(read_scenario(written))))

    assert message["usage"]["input_tokens"] == 12
    assert "service_tier" not in message["usage"]
    with pytest.raises(ScenarioError, match="answer 1: usage is an object"):
        read_scenario('[{"usage": 3}]')

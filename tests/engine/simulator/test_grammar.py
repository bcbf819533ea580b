"""Every streamed reply obeys the grammar, and the checker of the grammar finds bugs."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.simulator import (
    Answer,
    ApiRequest,
    ClientCall,
    Event,
    Redacted,
    Scripted,
    Simulator,
    Text,
    Thinking,
    parse_events,
    reply,
    stream_problems,
)

HEADERS = (("authorization", "Bearer k"), ("anthropic-version", "2026-10-21"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
PARTS = st.one_of(
    st.builds(Text, st.text(max_size=200)),
    st.builds(Thinking, st.text(max_size=100)),
    st.builds(Redacted),
    st.builds(
        ClientCall, NAMES, st.dictionaries(st.text(max_size=8), VALUES, max_size=4)
    ),
)


def exchange(answer: Answer, **fields: Any) -> tuple[tuple[Event, ...], Any]:
    """The events of an answer, and the same answer without streaming."""
    body: Mapping[str, Any] = {
        "model": "claude-opus-5-5",
        "max_tokens": 4_000,
        "messages": [{"role": "user", "content": "hello"}],
        **fields,
    }
    got: list[bytes] = []
    for stream in (True, False):
        simulator = Simulator(Scripted([answer]))
        data = json.dumps({**body, "stream": stream}).encode()
        request = ApiRequest("POST", "/v1/messages", HEADERS, data)
        got.append(simulator.handle(request).body)
    return parse_events(got[0]), json.loads(got[1])


def assembled(events: tuple[Event, ...]) -> dict[str, Any]:
    """A client's view of a stream: the message it adds up to."""
    message: dict[str, Any] = {}
    fragments = ""
    for event in events:
        data: Any = event.data
        match event.name:
            case "message_start":
                message = data["message"]
            case "content_block_start":
                message["content"].append(data["content_block"])
                fragments = ""
            case "content_block_delta":
                block, delta = message["content"][-1], data["delta"]
                if delta["type"] == "input_json_delta":
                    fragments += delta["partial_json"]
                    if fragments and fragments.endswith("}"):
                        try:
                            block["input"] = json.loads(fragments)
                        except ValueError:
                            continue
                elif delta["type"] == "signature_delta":
                    block["signature"] = delta["signature"]
                else:
                    kind = delta["type"].removesuffix("_delta")
                    block[kind] = (block[kind] or "") + delta[kind]
            case "message_delta":
                message.update(data["delta"])
                message["usage"] = data["usage"]
            case _:
                pass
    return message


@given(st.lists(PARTS, max_size=5), st.sampled_from(["omitted", "summarized"]))
def test_every_streamed_reply_obeys_the_grammar_and_adds_up(
    parts: list[Any], display: str
) -> None:
    answer = Answer(tuple(parts))
    thinking = {"type": "adaptive", "display": display}
    events, plain = exchange(answer, thinking=thinking)

    assert stream_problems(events) == ()
    streamed = assembled(events)
    for message in (streamed, plain):
        # Two samples differ in their ids and signatures only.
        message.pop("id")
        for block in message["content"]:
            for sealed in ("id", "signature", "data"):
                block.pop(sealed, None)
    assert streamed == plain


def test_a_ping_comes_and_a_call_comes_in_fragments() -> None:
    call = ClientCall("look", {"path": "somewhere/over/there.txt", "lines": 3})
    events, _ = exchange(reply("Looking.", call))

    names = [event.name for event in events]
    recorded: list[Any] = [event.data for event in events]
    fragments = [
        data["delta"]["partial_json"]
        for data in recorded
        if data.get("delta", {}).get("type") == "input_json_delta"
    ]
    assert "ping" in names
    assert fragments[0] == ""
    assert len(fragments) >= 3


def test_an_omitted_thought_has_its_signature_only() -> None:
    events, _ = exchange(Answer((Thinking("hm"), Text("yes"))))

    recorded: list[Any] = [event.data for event in events]
    deltas = [
        data["delta"]["type"]
        for data in recorded
        if data["type"] == "content_block_delta"
    ]
    assert deltas == ["signature_delta", "text_delta"]


def swap(place: int, other: int) -> Callable[[list[Event]], list[Event]]:
    def swapped(events: list[Event]) -> list[Event]:
        changed = list(events)
        changed[place], changed[other] = changed[other], changed[place]
        return changed

    return swapped


PLANTED: Mapping[str, tuple[Callable[[list[Event]], list[Event]], str]] = {
    "block before message": (swap(0, 1), "not allowed while the stream is new"),
    "stop before delta": (swap(3, 4), "not allowed"),
    "message_stop before message_delta": (swap(-1, -2), "not allowed"),
    "no message_stop": (lambda events: events[:-1], "ends while it is closing"),
    "cut in a block": (lambda events: events[:3], "ends while it is open"),
    "two ends": (lambda events: [*events, events[-1]], "nothing may follow"),
    "block in a block": (
        lambda events: [*events[:4], events[1], *events[4:]],
        "not allowed while the stream is open",
    ),
    "unopened block": (lambda events: [events[0], *events[4:]], "not allowed"),
    "wrong name": (lambda _: [Event("error", {"type": "ping"})], "data says type"),
    "no object": (lambda _: [Event("ping", None)], "not a JSON object"),
}


@pytest.mark.parametrize(("plant", "complaint"), PLANTED.values(), ids=list(PLANTED))
def test_a_planted_bug_in_a_stream_is_found(
    plant: Callable[[list[Event]], list[Event]], complaint: str
) -> None:
    events, _ = exchange(reply("Hello."))
    assert stream_problems(events) == ()

    problems = stream_problems(plant(list(events)))

    assert complaint in " / ".join(problems)


def test_an_error_may_end_a_stream_anywhere() -> None:
    events, _ = exchange(reply("Hello."))
    error = Event("error", {"type": "error", "error": {}})

    for place in range(len(events)):
        assert stream_problems((*events[:place], error)) == ()

"""Thinking: signed, taken back as it was, refused where it was touched or moved."""

import json
from typing import Any

import pytest

from detent.simulator import (
    ApiRequest,
    Redacted,
    Scripted,
    Simulator,
    Thinking,
    call,
    reply,
    think,
)

BOUND, FREE = "claude-opus-5-5", "claude-opus-5"
CONTROLS = "thinking-binding-controls-2026-08-01"
TOOLS = [{"name": "look", "input_schema": {"type": "object"}}]
ADAPTIVE: dict[str, Any] = {"type": "adaptive", "display": "summarized"}


def send(
    simulator: Simulator, messages: Any, *betas: str, **fields: Any
) -> tuple[int, Any]:
    body: dict[str, Any] = {
        "model": BOUND,
        "max_tokens": 4_000,
        "system": "Be kind.",
        "tools": TOOLS,
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
    return response.status, json.loads(response.body)


def talk(model: str = BOUND, **fields: Any) -> tuple[Simulator, list[Any]]:
    """Two turns with thinking, and a third user message."""
    answers = [reply(think("hm " * 20), word) for word in "abcdefgh"]
    simulator = Simulator(Scripted(answers))
    messages: list[Any] = []
    for word in ("one", "two"):
        messages.append({"role": "user", "content": word})
        status, message = send(simulator, messages, model=model, **fields)
        assert status == 200
        messages.append({"role": "assistant", "content": message["content"]})
    return simulator, [*messages, {"role": "user", "content": "three"}]


def edited(messages: list[Any], place: int, **members: Any) -> list[Any]:
    """The messages with members of the thinking block of one of them replaced."""
    message = messages[place]
    first, *rest = message["content"]
    changed = {**message, "content": [{**first, **members}, *rest]}
    return [*messages[:place], changed, *messages[place + 1 :]]


@pytest.mark.parametrize("model", [BOUND, FREE])
@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_thinking_is_taken_back_as_it_was(model: str, display: str) -> None:
    thinking = {"type": "adaptive", "display": display}
    simulator, messages = talk(model, thinking=thinking)

    shown = messages[1]["content"][0]["thinking"]
    assert bool(shown) == (display == "summarized")
    status, _ = send(simulator, messages, model=model, thinking=thinking)
    assert status == 200


@pytest.mark.parametrize("model", [BOUND, FREE])
@pytest.mark.parametrize(
    "members",
    [{"signature": ""}, {"signature": "QUJD"}, {"thinking": "other"}],
    ids=["no signature", "false signature", "other text"],
)
def test_thinking_that_was_touched_is_refused(
    model: str, members: dict[str, str]
) -> None:
    simulator, messages = talk(model, thinking=ADAPTIVE)

    status, body = send(simulator, edited(messages, 3, **members), model=model)

    assert status == 400
    assert "messages.3.content.0" in body["error"]["message"]


def test_a_tampered_signature_has_the_documented_words() -> None:
    simulator, messages = talk()
    mark = messages[1]["content"][0]["signature"]
    flipped = ("B" if mark[40] == "A" else "A").join((mark[:40], mark[41:]))

    _, body = send(simulator, edited(messages, 1, signature=flipped))

    assert body["error"]["message"] == (
        "messages.1.content.0: Invalid `signature` in `thinking` block"
    )


def test_text_in_an_omitted_thought_is_ignored() -> None:
    simulator, messages = talk()

    assert send(simulator, edited(messages, 3, thinking="mine"))[0] == 200


MOVES: dict[str, dict[str, Any]] = {
    "system": {"system": "Be terse."},
    "tools": {"tools": [*TOOLS, {**TOOLS[0], "name": "act"}]},
}


@pytest.mark.parametrize("fields", MOVES.values(), ids=list(MOVES))
def test_bound_thinking_is_refused_in_another_conversation(
    fields: dict[str, Any],
) -> None:
    simulator, messages = talk()

    status, body = send(simulator, messages, **fields)

    assert status == 400
    said = body["error"]["message"]
    assert "The block is bound to a different conversation." in said
    assert said.endswith(f"`{CONTROLS}` value in the `anthropic-beta` header.")


def test_bound_thinking_is_refused_after_another_message() -> None:
    simulator, messages = talk()
    other = [{"role": "user", "content": "uno"}, *messages[1:]]

    assert send(simulator, other)[0] == 400


def test_free_thinking_may_move() -> None:
    simulator, messages = talk(FREE)

    assert send(simulator, messages, model=FREE, system="Be terse.")[0] == 200


def test_what_does_not_move_a_block_does_not_break_it() -> None:
    simulator, messages = talk()
    marked = [{"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}}]
    first = {"role": "user", "content": marked}
    deferred = {**TOOLS[0], "name": "later", "defer_loading": True}
    without_first = [
        messages[0],
        {"role": "assistant", "content": messages[1]["content"][1:]},
        *messages[2:],
    ]

    for changed, fields in (
        ([first, *messages[1:]], {}),
        (messages, {"tools": [*TOOLS, deferred]}),
        (without_first, {}),
        (messages, {"max_tokens": 99}),
    ):
        assert send(simulator, changed, **fields)[0] == 200


def test_thinking_taken_from_the_middle_breaks_what_follows() -> None:
    simulator, messages = talk()
    status, message = send(simulator, messages)
    assert status == 200
    whole = [
        *messages,
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": "four"},
    ]
    cut = {"role": "assistant", "content": messages[3]["content"][1:]}

    status, body = send(simulator, [*whole[:3], cut, *whole[4:]])

    assert status == 400
    assert body["error"]["message"].startswith("messages.5.content.0: ")


def test_a_moved_block_may_be_dropped_and_is_reported() -> None:
    simulator, messages = talk()
    dropping = {
        "type": "adaptive",
        "block_binding": {"prefix_mismatch_behavior": "drop_block"},
    }

    status, body = send(
        simulator, messages, CONTROLS, system="Be terse.", thinking=dropping
    )

    assert status == 200
    assert body["input_transformations"] == [
        {
            "type": "thinking_dropped",
            "path": f"messages.{place}.content.0",
            "reason": "prefix_binding_mismatch",
        }
        for place in (1, 3)
    ]


def test_an_older_account_is_told_only() -> None:
    simulator = Simulator(
        Scripted([reply(think("hm"), "a"), "b"]), binds_thinking=False
    )
    first = {"role": "user", "content": "one"}
    _, message = send(simulator, [first])
    messages = [
        first,
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": "two"},
    ]

    assert send(simulator, messages, system="Be terse.")[0] == 200


def test_another_models_thinking_is_dropped_in_silence() -> None:
    simulator, messages = talk(FREE)

    status, body = send(simulator, messages, CONTROLS, model=BOUND)

    assert status == 200
    reasons = {each["reason"] for each in body["input_transformations"]}
    assert reasons == {"model_binding_mismatch"}


def test_redacted_thinking_is_sealed_as_well() -> None:
    simulator = Simulator(Scripted([reply(Redacted(), call("look")), "done", "done"]))
    first = {"role": "user", "content": "one"}
    _, message = send(simulator, [first])
    called = message["content"][1]["id"]
    result = {"type": "tool_result", "tool_use_id": called, "content": "4 C"}
    messages = [
        first,
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": [result]},
    ]

    assert send(simulator, messages)[0] == 200
    status, body = send(simulator, edited(messages, 1, data="QUJD"))
    assert status == 400
    assert "Invalid `data` in `redacted_thinking` block" in body["error"]["message"]


def test_a_model_that_does_not_think_sends_no_thoughts() -> None:
    simulator = Simulator(Scripted([reply(Thinking("hm"), "a")]))

    _, message = send(
        simulator,
        [{"role": "user", "content": "one"}],
        model=FREE,
        thinking={"type": "disabled"},
    )

    assert [block["type"] for block in message["content"]] == ["text"]

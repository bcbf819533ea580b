"""Thinking: signed, taken back as it was, refused where it was touched or moved."""

import json
from typing import Any

import pytest

from turnlatch.simulator import (
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


def test_change_that_does_not_move_a_block_does_not_break_it() -> None:
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


def test_changed_prompt_before_thinking_is_only_noted_for_an_older_account() -> None:
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


BOTH = pytest.mark.parametrize("model", [BOUND, FREE, "claude-haiku-4-5"])
ON: dict[str, Any] = {"type": "enabled", "budget_tokens": 1_024}
CANNOT_BE_MODIFIED = (
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be"
    " modified. These blocks must remain as they were in the original response."
)


def open_round(model: str) -> tuple[Simulator, list[Any], dict[str, Any]]:
    """A tool round whose reply thought three times, and its result."""
    thought = reply(think("a"), Redacted(), "Hm.", think("c"), call("look"))
    simulator = Simulator(Scripted([thought, *["done"] * 9]))
    fields = {"model": model, "thinking": ON if "haiku" in model else ADAPTIVE}
    first = {"role": "user", "content": "one"}
    status, message = send(simulator, [first], **fields)
    assert status == 200
    kinds = [block["type"] for block in message["content"]]
    assert kinds == ["thinking", "redacted_thinking", "text", "thinking", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": message["content"][4]["id"]}
    return simulator, [first, message["content"], [result]], fields


def again(round_: list[Any], *kept: int) -> list[Any]:
    """The round with only these blocks of its reply, in this order."""
    first, content, results = round_
    chosen = [content[place] for place in kept]
    return [
        first,
        {"role": "assistant", "content": chosen},
        {"role": "user", "content": results},
    ]


@BOTH
def test_the_latest_thinking_comes_back_whole_or_not_at_all(model: str) -> None:
    simulator, talked, fields = open_round(model)
    adaptive = {**fields, "thinking": ADAPTIVE} if model != "claude-haiku-4-5" else {}

    assert send(simulator, again(talked, 0, 1, 2, 3, 4), **fields)[0] == 200
    # In manual mode the round has to start with thinking; in the others all of it may go.
    assert (
        send(simulator, again(talked, 2, 4), **{"model": model, **adaptive})[0] == 200
    )
    assert simulator.unscripted_rejections() == ()


@BOTH
@pytest.mark.parametrize(
    ("kept", "place"),
    [
        ((1, 2, 3, 4), 0),
        ((0, 2, 3, 4), 2),
        ((0, 1, 2, 4), 1),
        ((0, 2, 4), 0),
        ((1, 0, 2, 3, 4), 0),
        ((0, 3, 2, 1, 4), 1),
        ((0, 0, 1, 2, 3, 4), 1),
    ],
    ids=["first", "middle", "last", "two", "swapped", "crossed", "doubled"],
)
def test_the_latest_thinking_in_part_or_reordered_is_refused(
    model: str, kept: tuple[int, ...], place: int
) -> None:
    simulator, talked, fields = open_round(model)

    status, body = send(simulator, again(talked, *kept), **fields)

    assert status == 400
    said = f"messages.1.content.{place}: {CANNOT_BE_MODIFIED}"
    assert body["error"]["message"] == said


def test_that_the_latest_thinking_is_out_of_order_no_setting_excuses() -> None:
    simulator, talked, fields = open_round(BOUND)
    dropping = {**ADAPTIVE, "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    fields["thinking"] = dropping

    moved = send(
        simulator, again(talked, 0, 1, 2, 3, 4), CONTROLS, **fields, system="x"
    )
    status, body = send(simulator, again(talked, 1, 2, 3, 4), CONTROLS, **fields)

    assert (moved[0], len(moved[1]["input_transformations"])) == (200, 3)
    assert (status, CANNOT_BE_MODIFIED in body["error"]["message"]) == (400, True)


def test_touched_block_is_reported_first() -> None:
    simulator, talked, fields = open_round(FREE)
    first, content, results = talked
    thought = {**content[3], "thinking": "x"}
    touched = [first, [content[0], thought, content[4]], results]

    status, body = send(simulator, again(touched, 0, 1, 2), **fields)

    assert (status, body["error"]["message"]) == (
        400,
        "messages.1.content.1: Invalid `signature` in `thinking` block",
    )


def test_earlier_thinking_may_be_removed_in_part() -> None:
    simulator, talked, fields = open_round(FREE)
    whole = again(talked, 0, 1, 2, 3, 4)
    _, message = send(simulator, whole, **fields)
    onward = [
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": "two"},
    ]

    assert send(simulator, [*again(talked, 1, 2, 4), *onward], **fields)[0] == 200


def test_the_latest_turn_may_be_several_messages() -> None:
    simulator, talked, fields = open_round(FREE)
    first, content, results = talked

    def parted(*cuts: list[Any]) -> int:
        halves = [{"role": "assistant", "content": cut} for cut in cuts]
        answer = {"role": "user", "content": results}
        return send(simulator, [first, *halves, answer], **fields)[0]

    assert parted(content[:2], content[2:]) == 200
    assert parted(content[:1], content[2:]) == 400


def test_another_models_thinking_may_be_there_in_part() -> None:
    simulator, talked, _ = open_round(FREE)

    assert send(simulator, again(talked, 1, 2, 4), model=BOUND)[0] == 200


def test_thoughts_that_were_not_sent_are_not_missed() -> None:
    thought = reply(think("a"), Redacted(), call("look"), think("never " * 400))
    simulator = Simulator(Scripted([thought, "done"]))
    first = {"role": "user", "content": "one"}
    fields: dict[str, Any] = {"model": FREE, "thinking": {"type": "disabled"}}
    _, message = send(simulator, [first], **fields, max_tokens=60)
    assert [each["type"] for each in message["content"]][:1] == ["redacted_thinking"]
    results = [
        {"type": "tool_result", "tool_use_id": each["id"]}
        for each in message["content"]
        if each["type"] == "tool_use"
    ]

    whole = again([first, message["content"], results], *range(len(message["content"])))

    assert send(simulator, whole, **fields)[0] == 200

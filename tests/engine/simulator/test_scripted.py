"""Scripted answers: which request gets which, and what happens to a spoiled one."""

import json
from pathlib import Path
from typing import Any

import pytest

from turnlatch import SettingsError
from turnlatch.simulator import (
    Answer,
    ApiRequest,
    Asked,
    Scripted,
    Seeded,
    Simulator,
    Text,
    call,
    read_scenario,
    reply,
)

HEADERS = (("x-api-key", "k"), ("anthropic-version", "2026-10-21"))
HAIKU, OPUS = "claude-haiku-5-5", "claude-opus-5"
SHELL = {"name": "shell", "input_schema": {"type": "object"}}
CLOCK = {"name": "clock", "input_schema": {"type": "object"}}


def user(words: Any) -> dict[str, Any]:
    return {"role": "user", "content": words}


def ask(simulator: Simulator, *messages: Any, **fields: Any) -> str:
    """One request: the text of the reply, or of what went wrong."""
    body = {
        "model": OPUS,
        "max_tokens": 400,
        "messages": messages or [user("hello")],
        **fields,
    }
    asked = ApiRequest("POST", "/v1/messages", HEADERS, json.dumps(body).encode())
    response = simulator.handle(asked)
    simulator.finish(response)
    try:
        told = json.loads(response.body)
    except ValueError:
        return "spoiled"
    if response.status != 200:
        return str(told["error"]["message"])
    return "".join(block.get("text", block["type"]) for block in told["content"])


def test_a_title_does_not_eat_the_first_answer_of_the_turn() -> None:
    script = Scripted(
        [
            reply(call("shell"), when=Asked(tools=True)),
            reply("A title", when=Asked(model=HAIKU)),
            "Anybody's.",
        ]
    )
    simulator = Simulator(script)

    assert ask(simulator, model=HAIKU) == "A title"
    assert ask(simulator, tools=[SHELL]) == "tool_use"
    assert ask(simulator) == "Anybody's."
    assert script.left == 0


@pytest.mark.parametrize(
    ("asked", "fields", "met"),
    [
        (Asked(), {}, True),
        (Asked(model=OPUS), {}, True),
        (Asked(model=HAIKU), {}, False),
        (Asked(tools=True), {"tools": []}, False),
        (Asked(tools=False), {"tools": []}, True),
        (Asked(tools=("shell",)), {"tools": [CLOCK, SHELL]}, True),
        (Asked(tools=("shell", "clock")), {"tools": [SHELL]}, False),
        (Asked(text="ell"), {}, True),
        (Asked(text="Hell"), {}, False),
        (Asked(text="hello", tools=True), {}, False),
    ],
)
def test_every_condition_has_to_hold(
    asked: Asked, fields: dict[str, Any], met: bool
) -> None:
    simulator = Simulator(Scripted([reply("Yes.", when=asked)], then=Scripted(["No."])))

    assert ask(simulator, **fields) == ("Yes." if met else "No.")


def test_the_text_is_that_of_the_last_message_of_the_user() -> None:
    called: dict[str, Any] = {
        "type": "tool_use",
        "id": "toolu_1",
        "name": "shell",
        "input": {},
    }
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "4 apples"}
    messages: list[Any] = [
        user("pears"),
        {"role": "assistant", "content": [called]},
        user([result, {"type": "text", "text": "and now?"}]),
        {"role": "system", "content": "plums"},
    ]
    for words, met in (("apples", 1), ("now?", 1), ("pears", 0), ("plums", 0)):
        asked = Asked(text=words)
        body: dict[str, Any] = {"messages": messages}
        assert asked.met_by(body) is bool(met), words


def test_a_request_that_no_answer_is_for_says_so() -> None:
    simulator = Simulator(Scripted([reply("x", when=Asked(model=HAIKU))]))

    assert "1 answer(s) left, but this request meets the condition of none" in ask(
        simulator
    )


# Spoiled answers.


@pytest.mark.parametrize(
    "fault", ["cut 50% eof", "cut 0% clean", "truncated json", "malformed json"]
)
def test_an_answer_that_a_fault_spoiled_is_given_again(fault: str) -> None:
    script = Scripted(["One.", "Two."])
    simulator = Simulator(script, faults=f"{fault} @1-2")

    told = [ask(simulator) for _ in range(4)]

    assert told[:2] == ["spoiled", "spoiled"]
    assert told[2:] == ["One.", "Two."]


@pytest.mark.parametrize("fault", ["cut 3 eof", "error overloaded_error after 4"])
def test_a_stream_that_breaks_is_begun_again(fault: str) -> None:
    script = Scripted(["One.", "Two."])
    simulator = Simulator(script, faults=f"{fault} @1")

    ask(simulator, stream=True)

    assert (script.left, ask(simulator), ask(simulator)) == (2, "One.", "Two.")


def test_a_repetition_may_get_the_next_answer_instead() -> None:
    simulator = Simulator(
        Scripted(["One.", "Two."], again=False), faults="truncated json @1"
    )

    assert [ask(simulator), ask(simulator)] == ["spoiled", "Two."]


def test_continued_answer_is_not_given_again() -> None:
    """A client may accept a stream whose closing event is all that is missing."""
    script = Scripted(["One.", "Two."])
    simulator = Simulator(script, faults="cut 6 eof @1")
    ask(simulator, user("hello"), stream=True)
    marked: dict[str, Any] = {"type": "text", "text": "hello"}
    onward = [
        user([{**marked, "cache_control": {"type": "ephemeral"}}]),
        {"role": "assistant", "content": "One."},
        user("more"),
    ]

    assert ask(simulator, *onward) == "Two."


def test_a_spoiled_answer_is_for_whom_it_was_for() -> None:
    script = Scripted([reply("Yes.", when=Asked(tools=True)), "Any."])
    simulator = Simulator(script, faults="truncated json @1")

    told = [ask(simulator, tools=tools) for tools in ([SHELL], [], [SHELL])]

    assert told == ["spoiled", "Any.", "Yes."]


def test_an_answer_that_was_only_slow_was_given() -> None:
    simulator = Simulator(
        Scripted(["One.", "Two."]), faults="slow headers 1s @1, cut 99 eof @1"
    )

    assert [ask(simulator), ask(simulator)] == ["One.", "Two."]


def test_next_responder_hears_of_spoiled_answers() -> None:
    inner = Scripted(["One.", "Two."])
    simulator = Simulator(Scripted([], then=inner), faults="truncated json @1")

    assert [ask(simulator), ask(simulator)] == ["spoiled", "One."]
    Simulator(Scripted([], then=Seeded()), faults="truncated json")  # that takes it


# The file.


def test_a_scenario_says_which_requests_an_answer_is_for(tmp_path: Path) -> None:
    written = [
        {"text": "Title", "when": {"model": HAIKU, "tools": False}},
        {"text": "Ran", "when": {"tools": ["shell"], "text": "run"}},
        "Else",
    ]
    simulator = Simulator(read_scenario(json.dumps(written)))

    assert ask(simulator, user("please run it"), tools=[SHELL]) == "Ran"
    assert ask(simulator, model=OPUS) == "Else"
    assert ask(simulator, model=HAIKU) == "Title"


@pytest.mark.parametrize("setting", ["answers", "summaries"])
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("Hello", ""),
        (None, ""),
        (b"bytes", ""),
        (7, ""),
        (reply("Hello"), ""),
        (["Hello", [call("shell"), call("clock")]], "[1]"),
        (["Hello", reply("Hello"), Text("Hello")], "[2]"),
        ([None], "[0]"),
        ([{"text": "Hello"}], "[0]"),
    ],
)
def test_script_refuses_a_value_that_is_not_an_answer(
    setting: str, given: Any, named: str
) -> None:
    options: dict[str, Any] = {"answers": (), setting: given}
    with pytest.raises(SettingsError) as caught:
        Scripted(**options)
    assert caught.value.setting == setting + named


@pytest.mark.parametrize("given", [["Hello"], [Text("Hello")], ("Hello",), None, 7])
def test_answer_refuses_a_value_that_is_not_a_part(given: Any) -> None:
    with pytest.raises(SettingsError, match="a tuple of parts"):
        Answer(given)
    with pytest.raises(SettingsError, match="a tuple of parts"):
        reply(call("shell"), given)

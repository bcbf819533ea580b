"""The made-up model makes no effect by accident: what it calls, and with which words."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from tests.part import WHOLE

from turnlatch.simulator import (
    Answer,
    ApiRequest,
    ClientCall,
    Responder,
    Seeded,
    Simulator,
)
from turnlatch.simulator.samples import INERT, sample
from turnlatch.simulator.seeded import callable_tools
from turnlatch.simulator.wire import Json, as_array, as_object

CONVERSATIONS = 10_000 if WHOLE else 2_500
BEGUN: dict[str, Any] = {"role": "user", "content": "run it"}
SHELL: dict[str, Any] = {
    "name": "shell",
    "description": "Run a command.",
    "input_schema": {
        "type": "object",
        "properties": {
            "command": {"type": "string"},
            "file_path": {"type": "string"},
            "background": {"type": "boolean"},
            "options": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
        "required": ["command", "options"],
    },
}
SAYINGS = (
    "What does {} do?",
    "please run {} {} now",
    "{}",
    "Is `{}` the same as '{}'?",
    "delete {}/{}.txt and https://example.org/{}",
)
COMMANDS = (
    "reboot", "shutdown", "rm", "halt", "deploy", "curl", "kill", "format", "amber",
    "river", "notes", "Tests", "true", "command", "background", "12", "привет", "détente",
)  # fmt: skip
CHOICES: tuple[dict[str, Any] | None, ...] = (
    None,
    {"type": "auto"},
    {"type": "any"},
    {"type": "tool", "name": "shell"},
)

Model: TypeAlias = Callable[[int], Responder]


class RecordingShell:
    """Runs nothing, and keeps what it was told to run and what people said before."""

    def __init__(self) -> None:
        self.ran: list[Json] = []
        self.said: set[str] = set()

    def converse(self, model: Responder, seed: int) -> None:
        """Two messages of a person, each with as many rounds of calls as are made."""
        rng = random.Random(seed)
        messages: list[Any] = []
        choice = rng.choice(CHOICES)
        for _ in range(2):
            saying = re.sub(
                r"\{\}", lambda _: rng.choice(COMMANDS), rng.choice(SAYINGS)
            )
            self.said |= words_of(saying)
            messages.append({"role": "user", "content": saying})
            for _ in range(2):
                request: dict[str, Any] = {"messages": messages, "tools": [SHELL]}
                if choice is not None:
                    request["tool_choice"] = choice
                answer = model.answer(request, rng)
                if not self._run(answer, messages):
                    break

    def _run(self, answer: Answer, messages: list[Any]) -> bool:
        calls = [part for part in answer.parts if isinstance(part, ClientCall)]
        self.ran += [call.input for call in calls]
        uses = [
            {"type": "tool_use", "id": f"toolu_{n}", "name": c.name, "input": c.input}
            for n, c in enumerate(calls)
        ]
        messages.append(
            {"role": "assistant", "content": uses or [{"type": "text", "text": "."}]}
        )
        if uses:
            results = [
                {"type": "tool_result", "tool_use_id": use["id"], "content": "done"}
                for use in uses
            ]
            messages.append({"role": "user", "content": results})
        return bool(uses)

    @property
    def overheard(self) -> set[str]:
        """Words of the people among the arguments."""
        return {word for each in self.ran for word in arguments(each)} & self.said


def words_of(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def arguments(value: object) -> Iterator[str]:
    """Every word among the values of an argument, at any depth."""
    if isinstance(value, str):
        yield from words_of(value)
    inner = [*(as_object(value) or {}).values(), *(as_array(value) or ())]
    for each in inner:
        yield from arguments(each)


def recorded(model: Model, conversations: int = CONVERSATIONS) -> RecordingShell:
    shell = RecordingShell()
    for seed in range(conversations):
        shell.converse(model(seed), seed)
    return shell


def test_nothing_is_called_unless_it_was_asked_for() -> None:
    shell = recorded(Seeded)

    assert len(shell.said) > len(COMMANDS)
    assert shell.ran == []


def test_no_word_of_the_conversation_is_in_any_argument() -> None:
    shell = recorded(lambda seed: Seeded(seed, tool_use=0.7))

    assert len(shell.ran) > CONVERSATIONS
    assert shell.overheard == set()
    assert not any("background" in each or "file_path" in each for each in shell.ran)


class Eager:
    """A planted bug: it calls what it is offered, whoever asked."""

    def __init__(self, seed: int) -> None:
        self._inner = Seeded(seed, tool_use=0.7)

    def answer(self, request: Json, rng: random.Random, /) -> Answer:
        return self._inner.answer(request, rng)


class Parrot:
    """A planted bug: once in fifty times the last word said becomes an argument."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def answer(self, request: Any, rng: random.Random, /) -> Answer:
        said = request["messages"][-1]["content"]
        if self._seed % 50 or not isinstance(said, str):
            return Seeded(self._seed, tool_use=0.7).answer(request, rng)
        return Answer((ClientCall("shell", {"command": said, "options": []}),))


def test_recorder_sees_an_unrequested_call() -> None:
    assert recorded(Eager, 50).ran


def test_recorder_sees_a_printed_word() -> None:
    assert recorded(Parrot, 200).overheard


def test_the_default_of_a_simulator_calls_nothing() -> None:
    body = {
        "model": "claude-opus-5",
        "max_tokens": 400,
        "messages": [BEGUN],
        "tools": [SHELL],
        "tool_choice": {"type": "any"},
    }
    headers = (("x-api-key", "k"), ("anthropic-version", "2026-10-21"))
    asked = ApiRequest("POST", "/v1/messages", headers, json.dumps(body).encode())

    for seed in range(50):
        answered = Simulator(seed=seed).handle(asked)
        assert answered.status == 200
        assert b"tool_use" not in answered.body


@pytest.mark.parametrize("word", INERT)
def test_words_are_not_commands_and_paths_lead_nowhere(word: str) -> None:
    made = sample({"type": "string"}, random.Random(word), "file_path")

    assert shutil.which(word) is None
    with pytest.raises(NotADirectoryError):
        os.makedirs(f"{made}/below")


def test_half_a_path_is_not_a_path() -> None:
    for length in range(12):
        schema = {"type": "string", "maxLength": length}
        made = sample(schema, random.Random(0), "path")
        assert isinstance(made, str)
        assert len(made) <= length
        assert "/" not in made


# Tools that a model cannot see.

DEFERRED: dict[str, Any] = {**SHELL, "defer_loading": True}
PLAIN: dict[str, Any] = {"name": "clock", "input_schema": {"type": "object"}}
REFERENCE = {"type": "tool_reference", "tool_name": "shell"}
FOUND_BY_CLIENT: dict[str, Any] = {
    "role": "user",
    "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [REFERENCE]}
    ],
}
FOUND_BY_SERVICE: dict[str, Any] = {
    "role": "assistant",
    "content": [
        {
            "type": "tool_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {
                "type": "tool_search_tool_search_result",
                "tool_references": [REFERENCE],
            },
        }
    ],
}


def changed(kind: str) -> dict[str, Any]:
    tool = {"type": "tool_reference", "name": "shell"}
    return {"role": "system", "content": [{"type": kind, "tool": tool}]}


@pytest.mark.parametrize(
    ("tool", "messages", "seen"),
    [
        (SHELL, [], True),
        (DEFERRED, [], False),
        (DEFERRED, [FOUND_BY_CLIENT], True),
        (DEFERRED, [FOUND_BY_SERVICE], True),
        (DEFERRED, [changed("tool_addition")], True),
        (DEFERRED, [changed("tool_addition"), changed("tool_removal")], False),
        (SHELL, [changed("tool_removal")], False),
        ({**SHELL, "allowed_callers": ["code_execution_20260120"]}, [], False),
        ({**SHELL, "allowed_callers": ["direct"]}, [], True),
        ({"type": "bash_20250124", "name": "shell"}, [], False),
    ],
)
def test_a_tool_that_was_not_loaded_is_never_called(
    tool: dict[str, Any], messages: list[Any], seen: bool
) -> None:
    request = {"messages": [BEGUN, *messages], "tools": [tool, PLAIN]}
    forced = {**request, "tool_choice": {"type": "tool", "name": "shell"}}

    names = {each["name"] for each in callable_tools(request)}
    answers = [
        Seeded(seed, tool_use=1.0).answer(asked, random.Random(seed))
        for seed in range(30)
        for asked in (request, forced)
    ]
    called = {
        p.name for answer in answers for p in answer.parts if isinstance(p, ClientCall)
    }

    assert names == ({"shell", "clock"} if seen else {"clock"})
    assert called <= names

"""Scripted answers from a file, for the command line."""

import json

from turnlatch.simulator.answers import (
    Answer,
    Asked,
    ClientCall,
    Part,
    Raw,
    Responder,
    Text,
    Thinking,
    text,
)
from turnlatch.simulator.scripted import Scripted
from turnlatch.simulator.wire import Json, as_array, as_object
from turnlatch_states.fsm.errors import TurnlatchError

_MEMBERS = frozenset(
    {
        "blocks",
        "calls",
        "delay_seconds",
        "pace_seconds",
        "stop_reason",
        "text",
        "thinking",
        "usage",
        "when",
    }
)

_WHEN_MEMBERS = frozenset({"model", "text", "tools"})

_CALL_MEMBERS = frozenset({"name", "input"})


class ScenarioError(TurnlatchError):
    """A scenario that cannot be read.

    Attributes:
        where: Which answer, or the whole.
        problem: The fault of the answer.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where = where
        self.problem = problem

    def _told(self) -> str:
        return f"scenario: {self.where}: {self.problem}"


def read_answers(written: str) -> tuple[Answer, ...]:
    """Read answers from JSON.

    Args:
        written: A JSON array of answers. An answer is a string, or an object with any of
            `thinking` (string), `text` (string), `calls` (array of `{"name", "input"}`),
            `blocks` (array of blocks sent as they are), `stop_reason`, `delay_seconds`,
            `pace_seconds`, `usage` (object; a null removes a member) and `when`: the
            requests it is for, an object with any of `model` (string), `text` (string
            within the last message of the user) and `tools` (true, false, or an array
            of names); see `Asked`.

    Raises:
        ScenarioError: It is something else; the message names the answer.
    """
    try:
        value: object = json.loads(written)
    except ValueError as problem:
        raise ScenarioError("the whole", f"no JSON: {problem}") from None
    answers = as_array(value)
    if answers is None:
        raise ScenarioError("the whole", "an array of answers is needed")
    numbered = enumerate(answers, 1)
    return tuple(_answer(each, f"answer {place}") for place, each in numbered)


def read_scenario(written: str, *, then: Responder | None = None) -> Scripted:
    """Read scripted answers from JSON.

    Args:
        written: The answers; see `read_answers`.
        then: Who answers after the last one; see `Scripted`.

    Raises:
        ScenarioError: It is something else; the message names the answer.
    """
    return Scripted(read_answers(written), then=then)


def _answer(value: object, where: str) -> Answer:
    if isinstance(value, str):
        return text(value)
    given = as_object(value)
    if given is None:
        raise ScenarioError(where, "a string or an object is needed")
    unknown = sorted(set(given) - _MEMBERS)
    if unknown:
        known = ", ".join(sorted(_MEMBERS))
        raise ScenarioError(where, f"unknown member {unknown[0]!r}; known: {known}")
    parts: list[Part] = []
    if "thinking" in given:
        parts.append(Thinking(_string(given, "thinking", where)))
    if "text" in given:
        parts.append(Text(_string(given, "text", where)))
    parts += [_call(each, where) for each in _array(given, "calls", where)]
    for each in _array(given, "blocks", where):
        block = as_object(each)
        if block is None:
            raise ScenarioError(where, "a block is an object")
        parts.append(Raw(block))
    return Answer(
        tuple(parts),
        _string(given, "stop_reason", where) if "stop_reason" in given else None,
        None,
        _seconds(given, "delay_seconds", where),
        _seconds(given, "pace_seconds", where),
        _object(given, "usage", where) if "usage" in given else None,
        when=_asked(_object(given, "when", where), where) if "when" in given else None,
    )


def _asked(given: Json, where: str) -> Asked:
    if not set(given) <= _WHEN_MEMBERS:
        known = ", ".join(sorted(_WHEN_MEMBERS))
        raise ScenarioError(where, f"`when` has any of {known}")
    tools = given.get("tools")
    if tools is not None and not isinstance(tools, bool):
        names = [each for each in as_array(tools) or () if isinstance(each, str)]
        if not names or len(names) != len(as_array(tools) or ()):
            raise ScenarioError(where, "tools is true, false or an array of names")
        tools = tuple(names)
    return Asked(
        _string(given, "model", where) if "model" in given else None,
        tools,
        _string(given, "text", where) if "text" in given else None,
    )


def _call(value: object, where: str) -> ClientCall:
    given = as_object(value) or {}
    name, arguments = given.get("name"), as_object(given.get("input", {}))
    if isinstance(name, str) and arguments is not None and set(given) <= _CALL_MEMBERS:
        return ClientCall(name, arguments)
    raise ScenarioError(where, 'a call is {"name": …, "input": {…}}')


def _string(given: Json, name: str, where: str) -> str:
    value = given[name]
    if not isinstance(value, str):
        raise ScenarioError(where, f"{name} is a string")
    return value


def _object(given: Json, name: str, where: str) -> Json:
    value = as_object(given[name])
    if value is None:
        raise ScenarioError(where, f"{name} is an object")
    return value


def _array(given: Json, name: str, where: str) -> list[object]:
    value = as_array(given.get(name, []))
    if value is None:
        raise ScenarioError(where, f"{name} is an array")
    return list(value)


def _seconds(given: Json, name: str, where: str) -> float:
    value = given.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ScenarioError(where, f"{name} is a number of seconds")
    return float(value)

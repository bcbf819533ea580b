"""A model that makes up its answers from a seed: the default of a simulator.

It is not a language model and does not pretend to be one. It talks in short, plausible
sentences about the prompt. Its replies are always accepted when they are sent back.

The clients in front of it are agents that run what a model calls. So it calls a tool only
where the person who set it up asked for that (`tool_use`), never one that a client has
deferred and not loaded, and what it passes to a tool never comes from the conversation
(`samples`). Nothing in a request can change that, a forced `tool_choice` included.
"""

import json
import random
from collections.abc import Sequence
from typing import Final, final

from turnlatch.simulator.answers import Answer, ClientCall, Part, Text, Thinking
from turnlatch.simulator.samples import sample
from turnlatch.simulator.wire import Json, as_array, as_object, blocks, objects

_WORDS: Final = (
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island",
    "juniper", "kettle", "lantern", "meadow", "north", "orchard", "pebble", "quarry",
    "river", "summit", "timber", "upland", "valley", "willow", "yarrow",
)  # fmt: skip

_ROUNDS_MAX: Final = 3
"""How many times in a row tools are called before the answer is given."""

_OPENINGS: Final = (
    "Here is what I can say about {topic}.",
    "Let me put it briefly: {topic} comes down to two things.",
    "Good question about {topic}.",
    "About {topic}: I would start small.",
)

_CLOSINGS: Final = (
    "Tell me if you want the long version.",
    "I am a simulated model, so take it as an example.",
    "What would you like to do next?",
    "That is all I have on it.",
)

_BEFORE_CALLS: Final = (
    "I will look that up.",
    "Let me check.",
    "One moment, I need {tool} for that.",
)


@final
class Seeded:
    """Talks and thinks, the same way for the same seed and request, and calls tools only
    where that is asked for.

    Args:
        seed: Added to the randomness that the simulator hands in.
        tool_use: How likely an offered tool is called, 0 to 1. By default none ever is,
            also where `tool_choice` demands one. Above 0 a demanded one always is.
    """

    def __init__(self, seed: int = 0, *, tool_use: float = 0.0) -> None:
        if not 0 <= tool_use <= 1:
            raise ValueError(f"tool_use is a likelihood, 0 to 1, not {tool_use}")
        self._seed = seed
        self._tool_use = tool_use

    def answer(self, request: Json, rng: random.Random, /) -> Answer:
        """Make up an answer; see `Responder.answer`."""
        rng = random.Random(f"{self._seed}:{rng.random()}")
        messages = objects(request.get("messages"))
        thoughts: list[Part] = []
        if rng.random() < 0.8:
            thoughts.append(Thinking(f"The user wants {_topic(messages, rng)}."))
        calls = self._calls(request, messages, rng)
        if calls:
            said = rng.choice(_BEFORE_CALLS).format(tool=calls[0].name)
            words = [Text(said)] if rng.random() < 0.7 else []
            return Answer((*thoughts, *words, *calls))
        schema = asked_schema(request)
        if schema is not None:
            return Answer((Text(json.dumps(sample(schema, rng))),))
        return Answer((*thoughts, Text(_words(request, messages, rng))))

    def _calls(
        self, request: Json, messages: Sequence[Json], rng: random.Random
    ) -> list[ClientCall]:
        if not self._tool_use:
            return []
        choice = as_object(request.get("tool_choice")) or {}
        tools = callable_tools(request)
        if choice.get("type") == "tool":
            tools = [tool for tool in tools if tool.get("name") == choice.get("name")]
        if not tools or choice.get("type") == "none":
            return []
        if choice.get("type") not in ("any", "tool"):
            rounds = _rounds(messages)
            likely = self._tool_use if not rounds else 0.25
            if rounds >= _ROUNDS_MAX or rng.random() >= likely:
                return []
        single = choice.get("disable_parallel_tool_use") is True
        count = 1 if single else rng.choice((1, 1, 1, 2, 3))
        return [_call(rng.choice(tools), rng) for _ in range(count)]


def asked_schema(request: Json) -> Json | None:
    """The JSON Schema that the request asks the answer to fit; None if it asks for text."""
    config = as_object(request.get("output_config")) or {}
    asked = as_object(config.get("format")) or {}
    return as_object(asked.get("schema"))


def callable_tools(request: Json) -> list[Json]:
    """The tools of the client that a model could call: those whose schema it can see.

    A tool with `defer_loading` is callable only after a reference to it, a removed tool is
    not, and a tool without `direct` among its `allowed_callers` never is.
    """
    changed = _changed(request)
    return [
        tool
        for tool in objects(request.get("tools"))
        if _is_client(tool)
        and changed.get(_name(tool["name"]), tool.get("defer_loading") is not True)
        and "direct" in (as_array(tool.get("allowed_callers")) or ("direct",))
    ]


def _changed(request: Json) -> dict[str | None, bool]:
    """Tools that the conversation loads or removes, and whether they are there at its end.

    A search, of the client or of the service, loads what it finds; system messages add
    and remove.
    """
    changed: dict[str | None, bool] = {}
    for message in objects(request.get("messages")):
        for block in blocks(message.get("content")):
            inner = block.get("content")
            match block.get("type"):
                case "tool_result":
                    found = objects(inner)
                case "tool_search_tool_result":
                    found = objects((as_object(inner) or {}).get("tool_references"))
                case "tool_addition" | "tool_removal" as change:
                    named = (as_object(block.get("tool")) or {}).get("name")
                    changed[_name(named)] = change == "tool_addition"
                    continue
                case _:
                    continue
            for part in found:
                if part.get("type") == "tool_reference":
                    changed[_name(part.get("tool_name"))] = True
    return changed


def _name(name: object) -> str | None:
    return name if isinstance(name, str) else None


def _call(tool: Json, rng: random.Random) -> ClientCall:
    made = sample(as_object(tool.get("input_schema")) or {}, rng)
    return ClientCall(str(tool["name"]), as_object(made) or {})


def _words(request: Json, messages: Sequence[Json], rng: random.Random) -> str:
    configured = (as_object(request.get("output_config")) or {}).get("format")
    form = as_object(configured) or as_object(request.get("output_format")) or {}
    schema = as_object(form.get("schema"))
    if schema is not None:
        return json.dumps(sample(schema, rng))
    results = _results(messages[-1]) if messages else []
    if results:
        told = "; ".join(results)
        return (
            f"The tools gave {len(results)} result(s): {told}. {rng.choice(_CLOSINGS)}"
        )
    opening = rng.choice(_OPENINGS).format(topic=_topic(messages, rng))
    return f"{opening} {rng.choice(_CLOSINGS)}"


def _is_client(tool: Json) -> bool:
    return isinstance(tool.get("name"), str) and "input_schema" in tool


def _rounds(messages: Sequence[Json]) -> int:
    """How many times tools were called since somebody last said something."""
    rounds = 0
    for message in reversed(messages):
        kinds = [block.get("type") for block in blocks(message.get("content"))]
        if message.get("role") == "assistant" and "tool_use" in kinds:
            rounds += 1
        elif message.get("role") == "user" and "tool_result" not in kinds:
            break
    return rounds


def _results(message: Json) -> list[str]:
    told: list[str] = []
    for block in blocks(message.get("content")):
        if block.get("type") != "tool_result":
            continue
        inner = [
            str(each.get("text"))
            for each in blocks(block.get("content"))
            if each.get("type") == "text"
        ]
        first = " ".join(" ".join(inner).split())[:80] or "nothing to read"
        told.append(f"an error, {first}" if block.get("is_error") is True else first)
    return told


def _hints(messages: Sequence[Json]) -> list[str]:
    """The words of the last thing somebody said, without their punctuation."""
    for message in reversed(messages):
        if message.get("role") != "user":
            continue
        said = [
            str(block.get("text"))
            for block in blocks(message.get("content"))
            if block.get("type") == "text"
        ]
        if said:
            stripped = (word.strip(".,;:!?\"'()[]") for word in said[-1][:2000].split())
            return [word for word in stripped if word.isprintable() and word]
    return []


def _topic(messages: Sequence[Json], rng: random.Random) -> str:
    hints = [hint for hint in _hints(messages) if len(hint) > 3]
    # A prompt may hold half of a surrogate pair, which the reply must not repeat.
    safe = [hint[:40] for hint in hints if hint.isascii()]
    return rng.choice(safe or _WORDS)

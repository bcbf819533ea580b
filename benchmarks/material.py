"""The inputs of every measurement: the same bytes on every machine and in every run."""

import json
import random
from enum import StrEnum
from typing import Any

MODEL = "claude-sonnet-5-5"
MAX_TOKENS = 4096
MESSAGE_BYTES = 500
DELTAS = 200
DELTA_TEXT = "five."

TOOL_NAME = "echo"
TOOL_ID = "toolu_01BenchmarkBenchmarkBench"
TOOL_INPUT = {"text": "the same words again"}

USAGE = {
    "input_tokens": 120,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 110,
}


class Case(StrEnum):
    """What kind of turn is taken; also the path the server answers it under."""

    PLAIN = "plain"
    TOOL = "tool"
    BURST = "burst"
    CHUNKS = "chunks"

    @property
    def words(self) -> str:
        """The case in words."""
        return _TITLES[self]

    @property
    def streams(self) -> bool:
        """True if the reply comes as a stream of events."""
        return self in (Case.BURST, Case.CHUNKS)


_TITLES = {
    Case.PLAIN: "plain turn",
    Case.TOOL: "turn with one tool call",
    Case.BURST: f"streaming {DELTAS} deltas, one chunk",
    Case.CHUNKS: f"streaming {DELTAS} deltas, one chunk each",
}

_PROSE = (
    "a state holds until some definite event moves it and every row of the table says"
    " which one while nothing else ever changes what was confirmed before"
)


def _corpus() -> str:
    chance = random.Random(2)
    words = _PROSE.split()
    return " ".join(chance.choice(words) for _ in range(20_000))


_CORPUS = _corpus()


def text(number: int, size: int = MESSAGE_BYTES) -> str:
    """The text of message `number`: that many bytes of words, always the same."""
    start = number * 7919 % (len(_CORPUS) - size)
    return _CORPUS[start : start + size]


def encode(value: object) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def history(size: int) -> list[Any]:
    """A history of `size` messages as the SDK takes it, users and replies in turn.

    In the form that costs the SDK least to send: plain text, no blocks, no models.
    """
    return [
        {"role": "assistant" if number % 2 else "user", "content": text(number)}
        for number in range(size)
    ]


def tool_definition() -> dict[str, Any]:
    """The one tool of the tool case, as the API takes it."""
    return {
        "name": TOOL_NAME,
        "description": "Say the text again.",
        "input_schema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
    }


async def echo(text: str) -> str:
    """Say the text again."""
    return text


def reply_text() -> str:
    """What every plain reply says."""
    return text(1)


def streamed_text() -> str:
    """What every streamed reply says."""
    return DELTA_TEXT * DELTAS

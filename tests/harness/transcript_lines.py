"""What a transcript prints of events, requests and turns: each in one line, without ids."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, final

import attrs

from turnlatch import (
    Turn,
)
from turnlatch.simulator import (
    LoggedRequest,
)
from turnlatch_states.api.faults import Fault
from turnlatch_states.api.reply import Reply
from turnlatch_states.machine.events import CallStarted, Event, Probed
from turnlatch_states.request.profile import Profile

WIDTH: Final = 110
"""The longest text that is printed whole."""

DEFAULT_TOKENS: Final = 4096
"""The limit of a reply that is not printed."""

HIDDEN: Final = frozenset(
    {"arguments", "attempts_max", "digest", "due", "identity", "output", "spent"}
)
"""Fields of events that are not printed: hashes, and what another field or line says."""


def quoted(text: str) -> str:
    """A text in quotes, its middle left out if it is long."""
    if len(text) > WIDTH:
        text = f"{text[: WIDTH - 4]} ..."
    return json.dumps(text, ensure_ascii=False)


@final
class Names:
    """The short names of ids, by the order in which they appear."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def of(self, id_: str, letter: str) -> str:
        """The name of an id: the letter, and a number."""
        count = sum(one[0] == letter for one in self._found.values())
        return self._found.setdefault(id_, f"{letter}{count + 1}")

    def block(self, block: Mapping[str, Any]) -> str:
        """A content block in a few words."""
        match block:
            case {"type": "text", "text": str() as text}:
                return quoted(text)
            case {"type": "tool_use", "id": str() as id_, "name": name}:
                given = json.dumps(block["input"])
                return f"{self.of(id_, 'c')} {name} {given}"
            case {"type": "tool_result", "tool_use_id": str() as id_}:
                error = " error" if block.get("is_error") else ""
                return f"{self.of(id_, 'c')}{error} {self.content(block['content'])}"
            case {"type": "compaction"}:
                return f"compaction {quoted(str(block['content']))}"
            case _:
                return str(block["type"])

    def content(self, content: Any) -> str:
        """A message's content, or a result's."""
        if isinstance(content, str):
            return quoted(content)
        return " + ".join(map(self.block, content))

    def event(self, event: Event, start: float) -> str:
        """An entry of the journal, in one line."""
        words = [type(event).__name__]
        for field in attrs.fields(type(event)):
            value = getattr(event, field.name)
            # A key of the engine's is a hash.
            key = field.name == "key" and isinstance(event, CallStarted | Probed)
            if key or field.name in HIDDEN or value == field.default:
                continue
            words.append(self._field(field.name, value, start))
        return " ".join(words)

    def _field(self, name: str, value: Any, start: float) -> str:
        match value:
            case bytes():
                return self.content(json.loads(b"[%b]" % value)) or "nothing"
            case Reply():
                blocks = self.content(value.blocks)
                return f"{self.of(value.message_id, 'm')} {value.stop_reason} {blocks}"
            case Fault():
                return f"{value.kind.value} {quoted(value.message)}"
            case Profile():
                return value.model
            case float() if name in ("until", "expires"):
                return f"{name}=+{value - start:g}s"
            case float():
                return f"{name}={value:g}"
            case str() if name == "call":
                return self.of(value, "c")
            case str():
                plain = re.fullmatch(r"[\w.-]+", value)
                return f"{name}={value}" if plain else f"{name}={quoted(value)}"
            case int() | None:
                return f"{name}={value}"
            case _:
                ops = getattr(value, "ops", None)
                told = value if ops is None else ", ".join(map(_op, ops))
                return f"{name}=[{told}]"

    def wire(self, exchange: LoggedRequest, number: int) -> str:
        """A request, and the status that answered it, in one line."""
        body: Any = exchange.body or {}
        messages = body.get("messages", [])
        told = [f"{one['role']} {self.content(one['content'])}" for one in messages]
        if len(told) > 8:
            told = [*told[:3], f"({len(told) - 6} more)", *told[-3:]]
        diagnostics: dict[str, Any] = body.get("diagnostics") or {}
        after: str | None = diagnostics.get("previous_message_id")
        most = body.get("max_tokens")
        marks = [
            *(["stream"] if body.get("stream") else []),
            *(["compaction"] if "compaction" in body else []),
            *([f"after {self.of(after, 'm')}"] if after else []),
            *([f"max_tokens={most}"] if most != DEFAULT_TOKENS else []),
            *self._thread(body.get("thread")),
        ]
        head = f"wire {number}{''.join(f' {mark}' for mark in marks)}"
        fault = f" ({exchange.fault})" if exchange.fault else ""
        return f"{head}: {' | '.join(told)} -> {exchange.status}{fault}"

    def _thread(self, thread: Mapping[str, str] | None) -> list[str]:
        match thread:
            case {"type": kind, "previous_message_id": id_}:
                return [f"thread {kind} {self.of(id_, 'm')}"]
            case {"type": kind}:
                return [f"thread {kind}"]
            case _:
                return []

    def within(self, text: str) -> str:
        """A text with the short names in the place of ids."""
        for id_, name in self._found.items():
            text = text.replace(id_, name)
        return text


def _op(op: Any) -> str:
    values = ",".join(str(one) for one in attrs.astuple(op))
    return f"{type(op).__name__}({values})"


def told(turn: Turn) -> str:
    """A turn in one line."""
    state = f"= {turn.state}.{turn.substate}"
    if turn.fault is not None:
        return f"{state} {turn.fault.kind.value} {quoted(turn.fault.message)}"
    said = turn.replies[-1].text if turn.replies else ""
    return f"{state} {quoted(said)}"

"""The grammar of a streamed reply, and a checker for it.

    stream = message_start  block*  message_delta+  message_stop
    block  = content_block_start(k)  content_block_delta(k)*  content_block_stop(k)

with `ping` and unknown events anywhere, and `error` ending the stream at any point, as
https://platform.claude.com/docs/en/build-with-claude/streaming describes it. Anybody who
writes a client or a server for this API can hold a recorded stream against it.
"""

import json
from collections.abc import Iterable
from typing import Final, final

import attrs

from turnlatch.simulator.wire import Json, as_object

DELTAS: Final = {
    "text": frozenset({"text_delta", "citations_delta"}),
    "thinking": frozenset({"thinking_delta", "signature_delta"}),
    "redacted_thinking": frozenset[str](),
    "tool_use": frozenset({"input_json_delta"}),
    "server_tool_use": frozenset({"input_json_delta"}),
    "compaction": frozenset({"compaction_delta"}),
    "fallback": frozenset[str](),
}
"""Which deltas a block type may have; types that are not listed may have any."""

_KNOWN: Final = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    }
)


@final
@attrs.frozen
class Event:
    """One server-sent event.

    Attributes:
        name: Its `event:` line.
        data: Its `data:` line, parsed; None if it is not a JSON object.
    """

    name: str
    data: Json | None


def parse_events(body: bytes) -> tuple[Event, ...]:
    """Read the whole events of a stream body; an unfinished last one is left out."""
    events: list[Event] = []
    for frame in body.split(b"\n\n")[:-1]:
        name, data = "", b""
        for line in frame.split(b"\n"):
            field, _, value = line.partition(b": ")
            if field == b"event":
                name = value.decode()
            elif field == b"data":
                data += value
        try:
            parsed: object = json.loads(data)
        except ValueError:
            parsed = None
        events.append(Event(name, as_object(parsed)))
    return tuple(events)


def stream_problems(events: Iterable[Event]) -> tuple[str, ...]:
    """The faults of a stream that claims to be whole.

    Args:
        events: All its events, as `parse_events` gives them.

    Returns:
        One sentence a problem, in order, each with the number of its event from 0.
    """
    checker = _Checker()
    for number, event in enumerate(events):
        problem = checker.step(event)
        if problem is not None:
            checker.problems.append(f"event {number} ({event.name}): {problem}")
    if checker.state not in ("done", "failed"):
        checker.problems.append(f"the stream ends while it is {checker.state}")
    return tuple(checker.problems)


@final
class _Checker:
    """The state machine: new, idle, open, closing, done, failed."""

    def __init__(self) -> None:
        self.state = "new"
        self.problems: list[str] = []
        self._index = 0
        self._block = ""
        self._fragments: list[str] = []
        self._signed = False

    def step(self, event: Event) -> str | None:
        data = event.data
        if data is None:
            return "its data is not a JSON object"
        if data.get("type") != event.name:
            return f"its data says type {data.get('type')!r}"
        if self.state in ("done", "failed"):
            return f"nothing may follow once the stream is {self.state}"
        if event.name == "error":
            self.state = "failed"
            return None
        if event.name not in _KNOWN:
            return None
        return self._known(event.name, data)

    def _known(self, name: str, data: Json) -> str | None:
        match (self.state, name):
            case ("new", "message_start"):
                self.state = "idle"
                return _start_problem(as_object(data.get("message")))
            case ("idle", "content_block_start"):
                self.state = "open"
                return self._opened(data)
            case ("open", "content_block_delta"):
                return self._delta(data)
            case ("open", "content_block_stop"):
                self.state = "idle"
                return self._stopped(data)
            case ("idle" | "closing", "message_delta"):
                self.state = "closing"
                return _delta_problem(data)
            case ("closing", "message_stop"):
                self.state = "done"
                return None
            case _:
                return f"not allowed while the stream is {self.state}"

    def _opened(self, data: Json) -> str | None:
        block = as_object(data.get("content_block")) or {}
        self._block = str(block.get("type"))
        self._fragments = []
        self._signed = False
        if data.get("index") != self._index:
            return f"index {data.get('index')} where {self._index} is next"
        if self._block in ("tool_use", "server_tool_use") and block.get("input") != {}:
            return "a call starts with the placeholder input {}"
        if self._block == "text" and block.get("text") != "":
            return "a text starts empty"
        return None

    def _delta(self, data: Json) -> str | None:
        if data.get("index") != self._index:
            return f"index {data.get('index')} while block {self._index} is open"
        delta = as_object(data.get("delta")) or {}
        kind = str(delta.get("type"))
        if self._block in DELTAS and kind not in DELTAS[self._block]:
            return f"a {self._block} block has no {kind}"
        if self._signed:
            return "nothing follows a signature but the end of the block"
        self._signed = kind == "signature_delta"
        if kind == "input_json_delta":
            self._fragments.append(str(delta.get("partial_json")))
        return None

    def _stopped(self, data: Json) -> str | None:
        index, self._index = self._index, self._index + 1
        if data.get("index") != index:
            return f"index {data.get('index')} while block {index} is open"
        if self._block == "thinking" and not self._signed:
            return "a thinking block ends without its signature"
        joined = "".join(self._fragments)
        if self._block in ("tool_use", "server_tool_use") and joined:
            try:
                value: object = json.loads(joined)
            except ValueError:
                return "the fragments of the input are not JSON"
            if as_object(value) is None:
                return "the fragments of the input are not a JSON object"
        return None


def _start_problem(message: Json | None) -> str | None:
    if message is None:
        return "it has no message"
    if message.get("content") != []:
        return "its message has content already"
    if message.get("stop_reason") is not None:
        return "its message has a stop reason already"
    if as_object(message.get("usage")) is None:
        return "its message has no usage"
    return None


def _delta_problem(data: Json) -> str | None:
    if as_object(data.get("delta")) is None:
        return "it has no delta"
    usage = as_object(data.get("usage"))
    if usage is None or not isinstance(usage.get("output_tokens"), int):
        return "it has no cumulative output_tokens"
    return None

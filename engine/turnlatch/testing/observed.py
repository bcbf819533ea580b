"""The requests of a client and the answers that reached it, read from the simulator's log.

A verdict is about these values alone, so it holds for any client in any language. A
*dialogue* is a series of requests about the same conversation: they begin with the same
first message, or continue a server thread by the id of its last reply.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Final, cast, final

import attrs

from turnlatch.simulator.core import Simulator
from turnlatch.simulator.grammar import parse_events
from turnlatch.simulator.log import LoggedRequest, is_unscripted_rejection
from turnlatch.simulator.threads import continued_id
from turnlatch.simulator.wire import (
    NO_HEADERS,
    ApiResponse,
    Json,
    Refusal,
    as_object,
    blocks,
    objects,
)

_PASSING: Final = frozenset({408, 409, 425, 429})
"""Statuses below 500 that say: the same request may be answered later."""


class Arrival(StrEnum):
    """How much of an answer was sent."""

    WHOLE = "whole"
    CUT = "cut"
    REFUSED = "refused"
    NOTHING = "nothing"


@final
@attrs.frozen
class ObservedRequest:
    """One POST to /v1/messages.

    Attributes:
        number: The exchange's number in the simulator's log.
        at: When it arrived, in seconds of the simulator's clock.
        left_at: When its answer had left or the client had gone; None if neither.
        body: The body, parsed.
        messages: The whole conversation it stands for: its messages, after those of the
            server thread that it continues. Content is always a tuple of blocks, without
            cache markers.
        arrival: How much of the answer was sent.
        status: HTTP status of the answer; 0 if there were no headers.
        error: The error it was answered with.
        illegal: The rules' objection, if a correct client would not have sent it.
        retry_after: Seconds that the answer asks to wait; None if it does not say.
        retry_told: Value of `x-should-retry`; None without that header.
        stalled: The answer stopped and the connection stayed open.
        message_id: Id of the reply that was made for it, whether or not it arrived.
        reply: The blocks of the reply, as far as they were sent.
        last: The client died after it, or in the middle of it, or a person asked it
            again: the next request is not its own decision.
    """

    number: int
    at: float
    left_at: float | None
    body: Json = attrs.field(repr=False)
    messages: "tuple[ObservedMessage, ...]" = attrs.field(repr=False)
    arrival: Arrival
    status: int
    error: Refusal | None
    illegal: Refusal | None
    retry_after: float | None
    retry_told: bool | None
    stalled: bool
    message_id: str | None
    reply: tuple[Json, ...] = attrs.field(repr=False)
    last: bool = False

    @property
    def failed(self) -> bool:
        """True if no whole reply was sent."""
        return self.arrival is not Arrival.WHOLE

    @property
    def may_pass(self) -> bool:
        """True if it failed for a reason that may pass by itself."""
        if not self.failed:
            return False
        if self.arrival is not Arrival.REFUSED:
            return True
        if self.retry_told is not None:
            return self.retry_told
        return self.status in _PASSING or self.status >= 500

    @property
    def reply_text(self) -> str:
        """The text of the reply, as far as it was sent."""
        return text_of(self.reply)

    def same_request(self, other: "ObservedRequest") -> bool:
        """True if both have the same body."""
        return _canonical(self.body) == _canonical(other.body)


@final
@attrs.frozen
class ObservedMessage:
    """One message of a conversation.

    Attributes:
        role: `user`, `assistant` or `system`.
        content: Its blocks, without cache markers.
    """

    role: str
    content: tuple[Json, ...]

    @property
    def text(self) -> str:
        """The text of its text blocks, joined."""
        return text_of(self.content)


def text_of(content: Iterable[Json]) -> str:
    """The text of the text blocks, joined."""
    return "".join(str(one.get("text", "")) for one in content if _is_text(one))


def calls_of(content: Iterable[Json]) -> tuple[Json, ...]:
    """The `tool_use` blocks."""
    return tuple(one for one in content if one.get("type") == "tool_use")


def observe(
    simulator: Simulator, deaths: Collection[int] = ()
) -> tuple[tuple[ObservedRequest, ...], ...]:
    """The dialogues that a simulator's log holds, each in the order of its requests.

    Args:
        simulator: The server.
        deaths: The numbers of the requests after which the client was killed, or a
            person asked it again.
    """
    found: list[list[ObservedRequest]] = []
    made_by: dict[str, tuple[ObservedRequest, list[ObservedRequest]]] = {}
    for exchange in simulator.log:
        body = exchange.body
        if exchange.method != "POST" or body is None:
            continue
        if not exchange.path.rstrip("/").endswith("/v1/messages"):
            continue
        before = made_by.get(continued_id(body) or "")
        messages = _messages(body, None if before is None else before[0])
        one = _observed(exchange, simulator.left_at(exchange.number), body, messages)
        one = attrs.evolve(one, last=exchange.number in deaths)
        dialogue = before[1] if before is not None else _belongs_to(found, one)
        if dialogue is None:
            dialogue = list[ObservedRequest]()
            found.append(dialogue)
        dialogue.append(one)
        if one.message_id is not None:
            made_by[one.message_id] = (one, dialogue)
    return tuple(tuple(one) for one in found)


def _belongs_to(
    dialogues: Sequence[list[ObservedRequest]], one: ObservedRequest
) -> list[ObservedRequest] | None:
    """The dialogue that a request goes on with: its first message holds the first message
    of that one, or it has one of its replies as history."""
    for dialogue in dialogues:
        first = dialogue[0]
        if _begins_with(one, first) and _system(first) == _system(one):
            return dialogue
    history = [each.content for each in one.messages if each.role == "assistant"]
    for dialogue in reversed(dialogues):
        if any(each.reply and each.reply in history for each in dialogue):
            return dialogue
    return None


def _begins_with(one: ObservedRequest, first: ObservedRequest) -> bool:
    if not one.messages or not first.messages:
        return not one.messages and not first.messages
    mine, message = one.messages[0], first.messages[0]
    return mine.role == message.role and all(
        block in mine.content for block in message.content
    )


def _system(one: ObservedRequest) -> bytes:
    return _canonical(_unmarked(one.body.get("system")))


def _observed(
    exchange: LoggedRequest,
    left_at: float | None,
    body: Json,
    messages: tuple[ObservedMessage, ...],
) -> ObservedRequest:
    response = exchange.response
    assert response is not None, "the simulator logs what it answered"
    arrival, reply = _arrived(exchange, response)
    illegal = is_unscripted_rejection(exchange)
    told = response.header("x-should-retry")
    return ObservedRequest(
        exchange.number,
        exchange.at,
        left_at,
        body,
        messages,
        arrival,
        exchange.status,
        exchange.error,
        (exchange.objection or exchange.error) if illegal else None,
        _retry_after(response),
        None if told is None else told == "true",
        response.ending == "stall",
        exchange.message_id,
        reply,
    )


def _messages(
    body: Json, before: ObservedRequest | None
) -> tuple[ObservedMessage, ...]:
    own = tuple(
        ObservedMessage(
            str(one.get("role")),
            tuple(_without_marker(block) for block in blocks(one.get("content"))),
        )
        for one in objects(body.get("messages"))
    )
    if before is None:
        return own
    answered = ObservedMessage("assistant", before.reply)
    return (*before.messages, answered, *own)


def _arrived(
    exchange: LoggedRequest, response: ApiResponse
) -> tuple[Arrival, tuple[Json, ...]]:
    """How much of an answer was sent, and the blocks of it."""
    if response.status == NO_HEADERS or exchange.message_id is None:
        refused = response.status >= 400
        return Arrival.REFUSED if refused else Arrival.NOTHING, ()
    kind = response.header("content-type") or ""
    if not kind.startswith("text/event-stream"):
        try:
            message: object = json.loads(response.body)
        except ValueError:
            return Arrival.CUT, ()
        parsed = as_object(message) or {}
        return Arrival.WHOLE, tuple(blocks(parsed.get("content")))
    reply, stopped = _assembled(response.body)
    whole = stopped and response.ending == "complete"
    return Arrival.WHOLE if whole else Arrival.CUT, reply


def _assembled(stream: bytes) -> tuple[tuple[Json, ...], bool]:
    """The blocks that a stream brought, and whether it came to its end."""
    built: dict[int, dict[str, object]] = {}
    written: dict[int, str] = {}
    stopped = False
    for event in parse_events(stream):
        data = event.data or {}
        place = data.get("index")
        index = place if isinstance(place, int) else -1
        match data.get("type"):
            case "content_block_start":
                built[index] = dict(as_object(data.get("content_block")) or {})
            case "content_block_delta" if index in built:
                _extend(
                    built[index], as_object(data.get("delta")) or {}, written, index
                )
            case "message_stop":
                stopped = True
            case _:
                pass
    for index, text in written.items():
        try:
            built[index]["input"] = json.loads(text)
        except ValueError:
            built[index]["input"] = text  # the part of it that was sent
    return tuple(built[index] for index in sorted(built)), stopped


def _extend(
    block: dict[str, object], delta: Json, written: dict[int, str], index: int
) -> None:
    for name in ("text", "thinking", "signature"):
        if isinstance(piece := delta.get(name), str):
            block[name] = str(block.get(name) or "") + piece
    if isinstance(piece := delta.get("partial_json"), str):
        written[index] = written.get(index, "") + piece


def _retry_after(response: ApiResponse) -> float | None:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return float(response.header(name) or "") * unit
        except ValueError:
            continue
    return None


def _is_text(block: Json) -> bool:
    return block.get("type") == "text"


def _without_marker(block: Json) -> Json:
    return {name: value for name, value in block.items() if name != "cache_control"}


def _unmarked(value: object) -> object:
    """A JSON value without its cache markers."""
    if isinstance(value, list):
        return [_unmarked(one) for one in cast("list[object]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        kept = {name: _unmarked(one) for name, one in members.items()}
        kept.pop("cache_control", None)
        return kept
    return value


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def prefix(body: Json, *, marked: bool) -> tuple[bytes, ...]:
    """The parts of a request in the order in which the prompt cache reads them.

    Args:
        body: The request's body.
        marked: Only up to the last cache marker; empty without one.
    """
    parts: list[tuple[object, object]] = [("model", body.get("model"))]
    parts += [("tool", one) for one in objects(body.get("tools"))]
    parts += [("system", one) for one in blocks(body.get("system"))]
    for message in objects(body.get("messages")):
        role = message.get("role")
        parts += [(role, one) for one in blocks(message.get("content"))]
    end = len(parts)
    if marked and body.get("cache_control") is None:
        places = [place for place, (_, one) in enumerate(parts) if _has_marker(one)]
        end = places[-1] + 1 if places else 0
    return tuple(_canonical([role, _unmarked(one)]) for role, one in parts[:end])


def reply_parts(reply: Iterable[Json]) -> tuple[bytes, ...]:
    """The blocks of a reply, as `prefix` has them once they are history."""
    return tuple(_canonical(["assistant", _unmarked(one)]) for one in reply)


def _has_marker(value: object) -> bool:
    return _canonical(value) != _canonical(_unmarked(value))

"""What the simulated model says: answers as values, and where they come from.

A `Responder` is asked once for every accepted request. `Scripted` reads its answers off a
list; `turnlatch.simulator.seeded.Seeded` makes them up. The simulator adds what only a
server knows: ids, signatures, usage, and the limits that cut an answer short.
"""

import base64
import random
from typing import Final, Protocol, TypeAlias, final, runtime_checkable

import attrs

from turnlatch.simulator.wire import Json, blocks, objects
from turnlatch_states.api.checks import Allowed
from turnlatch_states.fsm.errors import TurnlatchError


@final
@attrs.frozen
class Text:
    """A text block.

    Attributes:
        text: The text.
    """

    text: str


@final
@attrs.frozen
class Thinking:
    """A thinking block; the simulator signs it.

    Attributes:
        text: The thought. It is left out of the reply when the display is `omitted`.
    """

    text: str


@final
@attrs.frozen
class Redacted:
    """A `redacted_thinking` block; the simulator makes and signs its data."""


@final
@attrs.frozen
class ClientCall:
    """A `tool_use` block.

    Attributes:
        name: The tool.
        input: Its arguments.
        id: The `toolu_…` id; None for a fresh one.
    """

    name: str
    input: Json = attrs.field(factory=dict[str, object])
    id: str | None = None


@final
@attrs.frozen
class ServerCall:
    """A `server_tool_use` block: the call of a tool that the service runs itself.

    Attributes:
        name: The tool: `web_search`, `web_fetch`, `code_execution`, …
        input: Its arguments.
        id: The `srvtoolu_…` id; None for a fresh one.
    """

    name: str
    input: Json = attrs.field(factory=dict[str, object])
    id: str | None = None


@final
@attrs.frozen
class ServerResult:
    """The result of a server tool's call, in the same turn of the assistant.

    Attributes:
        type: Of the block: `web_search_tool_result`, `code_execution_tool_result`, …
        content: The content, as the API defines it for this type.
        id: Of the call; None for the first one without a result, in this answer or in
            the paused turn that it goes on with.
    """

    type: str
    content: object
    id: str | None = None


@final
@attrs.frozen
class Raw:
    """A block that is sent exactly as it is written here, legal or not.

    Attributes:
        block: The block.
    """

    block: Json


Part: TypeAlias = (
    Text | Thinking | Redacted | ClientCall | ServerCall | ServerResult | Raw
)
"""One content block of an answer, before the server has added its share."""

_PARTS: Final = Allowed(
    "a tuple of parts: Text, Thinking, Redacted, ClientCall, ServerCall, ServerResult, Raw",
    lambda x: isinstance(x, tuple) and all(isinstance(p, Part) for p in x),  # pyright: ignore[reportUnknownVariableType] # of a tuple of anything
)


@final
@attrs.frozen
class Asked:
    """The conditions on a request for a scripted answer; all given ones must hold.

    A client may send requests that the script is not about: for a title, for a summary,
    for a subagent.

    Attributes:
        model: The `model` of the request.
        tools: True: it offers tools; False: it offers none; names: it offers these.
        text: A text within the last message of the user, results of tools included.
    """

    model: str | None = None
    tools: bool | tuple[str, ...] | None = None
    text: str | None = None

    def met_by(self, request: Json) -> bool:
        """Whether the conditions hold for a request body."""
        if self.model is not None and self.model != request.get("model"):
            return False
        offered = objects(request.get("tools"))
        if isinstance(self.tools, bool) and self.tools is not bool(offered):
            return False
        if isinstance(self.tools, tuple) and not set(self.tools) <= {
            tool.get("name") for tool in offered
        }:
            return False
        return self.text is None or self.text in _last_words(request)


def _last_words(request: Json) -> str:
    said = [m for m in objects(request.get("messages")) if m.get("role") == "user"]
    told: list[str] = []
    for block in blocks(said[-1].get("content")) if said else ():
        inner = blocks(block.get("content")) if "content" in block else ()
        told += [str(each.get("text", "")) for each in (block, *inner)]
    return "\n".join(told)


@final
@attrs.frozen
class Answer:
    """The model's answer to one request.

    Attributes:
        parts: The content blocks, in order.
        stop_reason: None to let the simulator say: `tool_use` if there is a call,
            `pause_turn` if a server tool's call has no result yet, else `end_turn`, or
            `max_tokens`, `stop_sequence` or `model_context_window_exceeded` where that
            limit is reached, in which case the answer is cut there. A reason given here
            is sent as it is and nothing is cut.
        stop_details: Sent along with the stop reason (a refusal has them).
        delay_seconds: How long the model takes before it begins.
        pace_seconds: How long it takes between two events of a stream.
        usage: Members that replace those of the reply's own `usage`, true or not; one
            that is None here is missing there. A stream has them at its start and at its
            end, but `output_tokens` above 1 and `iterations` at its end only.
        container: The id of the container it ran in, if it ran code.
        when: Which requests a script gives it to; None for any.

    Raises:
        SettingsError: `parts` is not a tuple of parts.
    """

    parts: tuple[Part, ...] = attrs.field(default=(), validator=_PARTS)
    stop_reason: str | None = None
    stop_details: Json | None = None
    delay_seconds: float = 0.0
    pace_seconds: float = 0.0
    usage: Json | None = None
    container: str | None = None
    when: Asked | None = None


class Responder(Protocol):
    """Whatever answers as the model."""

    def answer(self, request: Json, rng: random.Random, /) -> Answer:
        """Answer one request.

        Args:
            request: The request body. On a server thread: the whole conversation, with
                the system prompt and the tools that the thread holds.
            rng: The only randomness an answer may use; it depends on the simulator's
                seed and on the request, so equal runs give equal answers.
        """
        ...


@runtime_checkable
class Recalling(Protocol):
    """A responder that is told when a fault spoiled the reply it has just made."""

    def take_back(self, request: Json, /) -> None:
        """The answer to this request, which was the last one, will not arrive whole."""
        ...


class UnlinkedResultError(TurnlatchError):
    """An answer has the result of a server tool, but no call is open that it could be of."""

    def _told(self) -> str:
        return (
            "the answer holds the result of a server tool, but every server_tool_use of"
            " this turn has its result; put a server_call before it, or give its id"
        )


def text(words: str, *, stop_reason: str | None = None) -> Answer:
    """An answer of one text block."""
    return Answer((Text(words),), stop_reason)


def think(words: str) -> Answer:
    """A thinking block, to be joined to an answer with `reply`."""
    return Answer((Thinking(words),))


def call(name: str, /, **arguments: object) -> Answer:
    """An answer that calls one tool."""
    return Answer((ClientCall(name, arguments),))


def say_and_call(words: str, name: str, /, **arguments: object) -> Answer:
    """An answer that says something and calls one tool."""
    return Answer((Text(words), ClientCall(name, arguments)))


def server_call(name: str, /, **arguments: object) -> Answer:
    """An answer that calls a tool of the service; alone, it pauses the turn.

    For an id of your own: `reply(ServerCall(name, arguments, "srvtoolu_1"))`.
    """
    return Answer((ServerCall(name, arguments),))


def server_result(
    *urls: str, error: str | None = None, id: str | None = None
) -> Answer:
    """The result of a web search, to be joined to an answer with `reply`.

    For the results of other tools see `ServerResult`.

    Args:
        urls: The pages found; their titles are the URLs.
        error: The `error_code` of a search that failed, in place of pages.
        id: As in `ServerResult`.
    """
    content: object = [
        {
            "type": "web_search_result",
            "url": url,
            "title": url,
            "encrypted_content": base64.b64encode(url.encode()).decode(),
            "page_age": None,
        }
        for url in urls
    ]
    if error is not None:
        content = {"type": "web_search_tool_result_error", "error_code": error}
    return Answer((ServerResult("web_search_tool_result", content, id),))


def refuse(category: str = "cyber", explanation: str = "I cannot help.") -> Answer:
    """A refusal by the classifiers: no content, and the details that name a category."""
    return Answer(
        (),
        "refusal",
        {"type": "refusal", "category": category, "explanation": explanation},
    )


def reply(
    *pieces: Answer | Part | str,
    stop_reason: str | None = None,
    delay_seconds: float = 0.0,
    pace_seconds: float = 0.0,
    usage: Json | None = None,
    when: Asked | None = None,
) -> Answer:
    """Join pieces to one answer: `reply(think("hm"), "Reading.", call("read", path="x"))`.

    Args:
        pieces: Answers, parts, or strings (text), in order.
        stop_reason: As in `Answer`; else the first one a piece names.
        delay_seconds: As in `Answer`.
        pace_seconds: As in `Answer`.
        usage: As in `Answer`; over those that the pieces have.
        when: As in `Answer`; else the first one a piece has.
    """
    parts: list[Part] = []
    told: dict[str, object] = {}
    details: Json | None = None
    for piece in pieces:
        match piece:
            case str():
                parts.append(Text(piece))
            case Answer():
                parts.extend(piece.parts)
                stop_reason = stop_reason or piece.stop_reason
                details = details or piece.stop_details
                when = when or piece.when
                told.update(piece.usage or {})
            case _:
                parts.append(piece)
    told.update(usage or {})
    return Answer(
        tuple(parts),
        stop_reason,
        details,
        delay_seconds,
        pace_seconds,
        told or None,
        when=when,
    )

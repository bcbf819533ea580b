"""From what the model says to the message the server sends."""

import base64
import random
from collections.abc import Iterable, Sequence
from typing import Final, assert_never, final

import attrs

from turnlatch.simulator.answers import (
    Answer,
    ClientCall,
    Part,
    Raw,
    Redacted,
    ServerCall,
    ServerResult,
    Text,
    Thinking,
    UnlinkedResultError,
)
from turnlatch.simulator.cache import Tally
from turnlatch.simulator.signing import Notary, Share, SignedPlace, shares
from turnlatch.simulator.tokens import OVERHEAD_TOKENS, count_block, count_text
from turnlatch.simulator.wire import Json, as_array, as_object, integer, latest_turn
from turnlatch_states.api.models import ModelSpec
from turnlatch_states.api.reply import SIMULATED_ID

# Measured on the older models; every later one leaves thoughts out unless asked.
_SHOWS_THINKING: Final = frozenset(
    {
        "claude-opus-4-6",
        "claude-sonnet-4-6",
        "claude-haiku-4-5",
        "claude-sonnet-4-5",
        "claude-opus-4-5",
    }
)

MESSAGE: Final = SIMULATED_ID.removesuffix("_")
"""The prefix of message ids: a stored reply shows that it was invented."""

_LETTERS: Final = bytes.maketrans(b"+/", b"Zz")


def fresh_id(prefix: str, rng: random.Random) -> str:
    """An id such as `req_01…`: the prefix, `01`, and 22 letters and digits."""
    encoded = base64.b64encode(rng.randbytes(18)).translate(_LETTERS)
    return f"{prefix}_01{encoded[:22].decode()}"


@final
@attrs.frozen
class Prompt:
    """The prompt that a reply answers.

    Attributes:
        body: The request, with the conversation as the model sees it.
        model: Its row; None for a model without one.
        input_tokens: Its length.
        place: Where the reply will stand, if thinking is to be bound to it.
        notary: Who signs.
    """

    body: Json
    model: ModelSpec | None
    input_tokens: int
    place: SignedPlace | None
    notary: Notary


def thinks(body: Json, model: ModelSpec | None) -> bool:
    """Whether the request lets the model think."""
    thinking = as_object(body.get("thinking"))
    if thinking is not None:
        return thinking.get("type") != "disabled"
    return model is not None and model.thinking_default != "off"


def shows_thinking(body: Json, model: ModelSpec | None) -> bool:
    """Whether the text of thoughts is in the reply."""
    display = (as_object(body.get("thinking")) or {}).get("display")
    if isinstance(display, str):
        return display != "omitted"
    return model is not None and model.name in _SHOWS_THINKING


def usage(tally: Tally, output_tokens: int) -> dict[str, object]:
    """A `usage` object."""
    return {**tally.members, "output_tokens": output_tokens, "service_tier": "standard"}


def overridden(counted: Json, said: Json | None) -> Json:
    """A `usage` object with the members that an answer sets or removes."""
    merged = {**counted, **(said or {})}
    return {name: value for name, value in merged.items() if value is not None}


_EXPIRES = "2099-01-01T00:00:00Z"
"""When a container ends, as far as the server says; it may be gone before."""


def message(
    message_id: str, body: Json, content: Sequence[Json], stop_reason: str | None
) -> dict[str, object]:
    """A message with its usual members, `usage` left to the caller."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "diagnostics": None,
    }


def build_message(
    answer: Answer, prompt: Prompt, rng: random.Random
) -> tuple[dict[str, object], int]:
    """The message of an answer, without `usage`, and its output tokens.

    Unless the answer names its stop reason it is cut where a limit is reached:
    `max_tokens`, a stop sequence, or the context window.

    Raises:
        UnlinkedResultError: There is no call that a server tool's result could be of.
    """
    body = prompt.body
    parts: Sequence[Part] = answer.parts
    reason, sequence = answer.stop_reason, None
    if reason is None:
        parts, reason, sequence = _limited(parts, prompt)
    spent = sum(_tokens(part) for part in parts)
    if not thinks(body, prompt.model):
        parts = [part for part in parts if not isinstance(part, Thinking)]
    message_id = fresh_id(MESSAGE, rng)
    thoughts = sum(isinstance(part, Thinking | Redacted) for part in parts)
    signed = shares(message_id, thoughts)
    content: list[Json] = []
    place = prompt.place
    for part in parts:
        match part:
            case Thinking() | Redacted():
                block = _thought(part, prompt, place, next(signed), rng)
            case ServerResult(kind, told, known):
                call_id = known or _answered(prompt, content)
                block = {"type": kind, "tool_use_id": call_id, "content": told}
            case _:
                block = _block(part, rng)
        content.append(block)
        place = place and place.after("assistant", block)
    if reason is None:
        called = any(block.get("type") == "tool_use" for block in content)
        paused = "pause_turn" if open_calls(content) else "end_turn"
        reason = "tool_use" if called else paused
    built = message(message_id, body, content, reason)
    built["stop_sequence"] = sequence
    built["stop_details"] = answer.stop_details
    if answer.container is not None:
        built["container"] = {"id": answer.container, "expires_at": _EXPIRES}
    return built, spent


def open_calls(content: Iterable[Json]) -> list[str]:
    """The ids of the server tools' calls that have no result yet, the first one first."""
    found: list[str] = []
    for block in content:
        kind, answered = block.get("type"), block.get("tool_use_id")
        if kind == "server_tool_use":
            found.append(str(block.get("id")))
        elif isinstance(answered, str) and answered in found and kind != "tool_result":
            found.remove(answered)
    return found


def _answered(prompt: Prompt, content: Sequence[Json]) -> str:
    """The id of the call that a result without one is of."""
    found = open_calls([*latest_turn(prompt.body), *content])
    if not found:
        raise UnlinkedResultError
    return found[0]


def _thought(
    part: Thinking | Redacted,
    prompt: Prompt,
    place: SignedPlace | None,
    share: Share,
    rng: random.Random,
) -> Json:
    model = str(prompt.body.get("model"))
    shown = ""
    if isinstance(part, Thinking) and shows_thinking(prompt.body, prompt.model):
        shown = part.text
    mark = prompt.notary.sign_thinking(shown, place, share, model, rng)
    if isinstance(part, Redacted):
        return {"type": "redacted_thinking", "data": mark}
    return {"type": "thinking", "thinking": shown, "signature": mark}


def _block(part: Text | ClientCall | ServerCall | Raw, rng: random.Random) -> Json:
    match part:
        case Text(words):
            return {"type": "text", "text": words}
        case ClientCall(name, arguments, known):
            kind, prefix = "tool_use", "toolu"
        case ServerCall(name, arguments, known):
            kind, prefix = "server_tool_use", "srvtoolu"
        case Raw(block):
            return block
        case _:
            assert_never(part)
    return {
        "type": kind,
        "id": known or fresh_id(prefix, rng),
        "name": name,
        "input": dict(arguments),
        "caller": {"type": "direct"},
    }


def _limited(
    parts: Sequence[Part], prompt: Prompt
) -> tuple[Sequence[Part], str | None, str | None]:
    """The parts up to the first limit, the stop reason, and the stop sequence."""
    parts, sequence = _until_sequence(parts, prompt.body)
    reason = None if sequence is None else "stop_sequence"
    room, overflow = integer(prompt.body.get("max_tokens"), 1 << 30), "max_tokens"
    if prompt.model is not None:
        left = max(0, prompt.model.context_window - prompt.input_tokens)
        if left < room:
            room, overflow = left, "model_context_window_exceeded"
    kept: list[Part] = []
    for part in parts:
        tokens = _tokens(part)
        if tokens > room:
            shortened = _shortened(part, room)
            return [*kept, *([shortened] if shortened else [])], overflow, None
        room -= tokens
        kept.append(part)
    if prompt.body.get("max_tokens") == 0:
        return kept, "max_tokens", None
    return kept, reason, sequence


def _until_sequence(parts: Sequence[Part], body: Json) -> tuple[list[Part], str | None]:
    sequences = [each for each in as_array(body.get("stop_sequences")) or () if each]
    kept: list[Part] = []
    for part in parts:
        if isinstance(part, Text):
            found = [
                (part.text.index(each), each)
                for each in sequences
                if isinstance(each, str) and each in part.text
            ]
            if found:
                start, sequence = min(found)
                if part.text[:start].strip():
                    kept.append(Text(part.text[:start]))
                return kept, sequence
        kept.append(part)
    return kept, None


def _tokens(part: Part) -> int:
    match part:
        case Text(words) | Thinking(words):
            return count_text(words)
        case Redacted():
            return OVERHEAD_TOKENS
        case ClientCall(name, arguments) | ServerCall(name, arguments):
            return count_block({"type": "tool_use", "name": name, "input": arguments})
        case ServerResult(kind, told):
            return count_block({"type": kind, "content": told})
        case Raw(block):
            return count_block(block)
        case _:
            assert_never(part)


def _shortened(part: Part, room: int) -> Part | None:
    """As much of a part as fits; None if nothing does."""
    match part:
        case Text(words):
            cut = words.encode(errors="surrogatepass")[: room * 4]
            text = cut.decode(errors="ignore")
            return Text(text) if text.strip() else None
        case Thinking(words):
            return Thinking(words[:room])
        case ClientCall(name, arguments, known):
            # The service holds an input back until each member of it is complete.
            whole: dict[str, object] = {}
            spent = OVERHEAD_TOKENS + count_text(name)
            for key, value in arguments.items():
                spent += count_block({"type": key, key: value})
                if spent > room:
                    break
                whole[key] = value
            return ClientCall(name, whole, known) if room else None
        case Redacted() | ServerCall() | ServerResult() | Raw():
            return None
        case _:
            assert_never(part)

"""From what the model says to the message the server sends."""

import base64
import random
from collections.abc import Sequence
from typing import Final, assert_never, final

import attrs

from detent.simulator.answers import Answer, Call, Part, Raw, Redacted, Text, Thinking
from detent.simulator.signing import Notary, Place
from detent.simulator.tokens import OVERHEAD_TOKENS, count_block, count_text
from detent.simulator.wire import Json, as_array, as_object, integer
from detent_states.models import ModelSpec

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

_LETTERS: Final = bytes.maketrans(b"+/", b"Zz")


def fresh_id(prefix: str, rng: random.Random) -> str:
    """An id such as `msg_01…`: the prefix, `01`, and 22 letters and digits."""
    encoded = base64.b64encode(rng.randbytes(18)).translate(_LETTERS)
    return f"{prefix}_01{encoded[:22].decode()}"


@final
@attrs.frozen
class Prompt:
    """What a reply answers.

    Attributes:
        body: The request as it was sent.
        model: Its row; None for a model without one.
        input_tokens: Its length.
        place: Where the reply will stand, if thinking is to be bound to it.
        notary: Who signs.
    """

    body: Json
    model: ModelSpec | None
    input_tokens: int
    place: Place | None
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


def usage(
    input_tokens: int, output_tokens: int, *, read: int = 0, written: int = 0
) -> dict[str, object]:
    """A `usage` object; cached tokens are taken from the input tokens."""
    return {
        "input_tokens": input_tokens - read - written,
        "output_tokens": output_tokens,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written,
            "ephemeral_1h_input_tokens": 0,
        },
        "service_tier": "standard",
    }


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
    """
    body = prompt.body
    parts: Sequence[Part] = answer.parts
    reason, sequence = answer.stop_reason, None
    if reason is None:
        parts, reason, sequence = _limited(parts, prompt)
    content: list[Json] = []
    place = prompt.place
    for part in parts:
        block = _block(part, prompt, place, rng)
        if block is None:
            continue
        content.append(block)
        place = place and place.after("assistant", block)
    if reason is None:
        called = any(block.get("type") == "tool_use" for block in content)
        reason = "tool_use" if called else "end_turn"
    built = message(fresh_id("msg", rng), body, content, reason)
    built["stop_sequence"] = sequence
    built["stop_details"] = answer.stop_details
    return built, sum(_tokens(part) for part in parts)


def _block(
    part: Part, prompt: Prompt, place: Place | None, rng: random.Random
) -> Json | None:
    match part:
        case Text(words):
            return {"type": "text", "text": words}
        case Thinking(words):
            if not thinks(prompt.body, prompt.model):
                return None
            shown = words if shows_thinking(prompt.body, prompt.model) else ""
            model = str(prompt.body.get("model"))
            signature = prompt.notary.sign_thinking(shown, place, model, rng)
            return {"type": "thinking", "thinking": shown, "signature": signature}
        case Redacted():
            model = str(prompt.body.get("model"))
            data = prompt.notary.sign_thinking("", place, model, rng)
            return {"type": "redacted_thinking", "data": data}
        case Call(name, arguments, known):
            return {
                "type": "tool_use",
                "id": known or fresh_id("toolu", rng),
                "name": name,
                "input": dict(arguments),
                "caller": {"type": "direct"},
            }
        case Raw(block):
            return block
        case _:
            assert_never(part)


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
        case Call(name, arguments):
            return count_block({"type": "tool_use", "name": name, "input": arguments})
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
        case Call(name, arguments, known):
            # The service holds an input back until each member of it is complete.
            whole: dict[str, object] = {}
            spent = OVERHEAD_TOKENS + count_text(name)
            for key, value in arguments.items():
                spent += count_block({"type": key, key: value})
                if spent > room:
                    break
                whole[key] = value
            return Call(name, whole, known) if room else None
        case Redacted() | Raw():
            return None
        case _:
            assert_never(part)

"""One whole reply of the server, sealed as the bytes it came in.

`content` is never parsed and printed again: the received bytes are stored, digested and
sent back. The core reads facts from them on demand.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, cast, final

import attrs

from turnlatch_states.api.added_fields import added
from turnlatch_states.api.bounds import bounded_tokens
from turnlatch_states.api.json_bytes import copied
from turnlatch_states.api.resendable import call_ids


@final
@attrs.frozen
class Usage:
    """Tokens, as the server counted them.

    Attributes:
        input: Tokens read that no cache served (`input_tokens`).
        output: Tokens written (`output_tokens`).
        cache_read: Tokens served by the prompt cache.
        cache_write: Tokens written to the prompt cache.
        cache_write_1h: Those of them that it keeps for an hour, which cost more.
        web_searches: Web searches by the server, which cost extra.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = added(0)
    web_searches: int = added(0)

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.cache_write_1h + other.cache_write_1h,
            self.web_searches + other.web_searches,
        )

    @property
    def read_in(self) -> int:
        """Tokens of the request: what was read, from the cache or not."""
        return self.input + self.cache_read + self.cache_write

    @property
    def context(self) -> int:
        """Tokens in the window after this reply: everything read plus the reply."""
        return self.read_in + self.output

    @classmethod
    def read(cls, usage: Any) -> "Usage":
        """Usage from the `usage` object of a reply; what is missing counts as 0.

        A compaction reply reports zeros at the top and its cost under `iterations`
        (Anthropic docs: build-with-claude/compaction): those are summed.
        """
        if not isinstance(usage, dict):
            return cls()
        told = cast("dict[str, Any]", usage)
        total = cls(
            bounded_tokens(told.get("input_tokens")),
            bounded_tokens(told.get("output_tokens")),
            bounded_tokens(told.get("cache_read_input_tokens")),
            bounded_tokens(told.get("cache_creation_input_tokens")),
            bounded_tokens(
                _within(told, "cache_creation", "ephemeral_1h_input_tokens")
            ),
            bounded_tokens(_within(told, "server_tool_use", "web_search_requests")),
        )
        match told.get("iterations"):
            case [*parts]:
                for part in parts:
                    match part:
                        case {"type": "compaction", **counts}:
                            total += cls.read({**counts, "iterations": None})
                        case _:
                            pass
            case _:
                pass
        return total


SIMULATED_ID: Final = "msg_sim_"
"""How the id of every message begins that the simulator made up, as test keys and test
objects say elsewhere what they are. The API gives no such id."""

_SIMULATED: Final = f'"{SIMULATED_ID}'.encode()


def simulated(meta: bytes) -> bool:
    """True if the reply with this `meta` was made up by the simulator."""
    return _SIMULATED in meta


def _within(told: Mapping[str, Any], name: str, member: str) -> object:
    inner: Any = told.get(name)
    if not isinstance(inner, dict):
        return None
    return cast("dict[str, object]", inner).get(member)


@final
@attrs.frozen
class Charge:
    """The usage of one request, and the price that applies.

    Attributes:
        model: The model that answered; the one that was asked where none did.
        speed: The speed that was paid for, where the server said one (`fast`).
        usage: The usage, as far as it is known.
    """

    model: str
    speed: str
    usage: Usage

    @property
    def tariff(self) -> tuple[str, str]:
        """The model and the speed, which decide the price."""
        return self.model, self.speed


def given_id(facts: Mapping[str, Any]) -> str:
    """The id in the facts of a reply, as a text; empty where the server gave none.

    Only one that has the API's own form is ever named to a server.
    """
    found = facts.get("id")
    return "" if found is None else str(found)


@final
class Spent:
    """A running total of usage that is only added up when somebody looks.

    A loaded conversation may hold thousands of replies, and few need their usage: their
    `meta` is parsed on first access.
    """

    __slots__ = ("_known", "_metas")

    def __init__(self, known: Usage | None = None, metas: Sequence[bytes] = ()) -> None:
        self._known = known or Usage()
        self._metas = metas

    @property
    def total(self) -> Usage:
        """Everything added up."""
        if self._metas:
            known = self._known
            for meta in self._metas:
                known += Usage.read(json.loads(meta).get("usage"))
            self._known, self._metas = known, ()
        return self._known

    def __add__(self, usage: Usage) -> "Spent":
        return Spent(self._known + usage, self._metas)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spent) and self.total == other.total

    def __hash__(self) -> int:
        return hash(self.total)

    def __repr__(self) -> str:
        return f"Spent({self.total})"


@final
@attrs.frozen
class ToolUse:
    """One tool call that a reply proposes.

    Attributes:
        id: The `tool_use` id, which no other call of the reply has: as the model gave
            it, or a name made from it where it was illegal, empty or not unique.
        name: The tool's name.
        broken: The raw text of the arguments where they could not be used.
    """

    id: str
    name: str
    _input: Mapping[str, Any] | None = attrs.field(converter=copied)
    broken: str | None = None

    @property
    def input(self) -> Mapping[str, Any] | None:
        """The arguments, as a new copy; None if they were cut off or are not an object."""
        return copied(self._input)

    def repeats(self, other: "ToolUse") -> bool:
        """True if the other call is for the same tool with the same arguments."""
        return self.name == other.name and self._input == other._input


@final
@attrs.frozen
class Reply:
    """A reply whose end was seen.

    Attributes:
        content: The content blocks as JSON, comma-separated, without the brackets;
            empty for a reply without content.
        meta: A JSON object with everything else the reply said (`id`, `model`,
            `stop_reason`, `usage`, …) and what the adapter noted about it:
            `request_id`, `end` ("stop", or "inferred" where the closing event was
            missing) and `broken` (raw tool input by `ToolUse.id`, where it was
            unusable).
    """

    content: bytes
    meta: bytes

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """`meta`, parsed."""
        facts: Mapping[str, Any] = json.loads(self.meta)
        return facts

    @property
    def blocks(self) -> tuple[Mapping[str, Any], ...]:
        """The content blocks, as a new copy; for reading, never for sending."""
        return tuple(json.loads(b"[" + self.content + b"]"))

    @property
    def message_id(self) -> str:
        """The server's id for this reply (`msg_…`); empty where it gave none."""
        return given_id(self.facts)

    @property
    def simulated(self) -> bool:
        """True if the simulator made it up."""
        return simulated(self.meta)

    @cached_property
    def stop_reason(self) -> str:
        """Why the server stopped, in its own word."""
        return str(self.facts["stop_reason"])

    @property
    def model(self) -> str:
        """The model that answered."""
        return str(self.facts.get("model") or "")

    def charge(self, asked: str) -> Charge:
        """The charge of this reply.

        Args:
            asked: The model that was asked.
        """
        speed = _within(self.facts, "usage", "speed")
        return Charge(self.model or asked, str(speed or ""), self.usage)

    @property
    def request_id(self) -> str | None:
        """The server's id for the request, for support."""
        found = self.facts.get("request_id")
        return found if isinstance(found, str) else None

    @property
    def inferred(self) -> bool:
        """True if the closing event was missing and the end was inferred."""
        return self.facts.get("end") == "inferred"

    @cached_property
    def usage(self) -> Usage:
        """The usage of this reply."""
        return Usage.read(self.facts.get("usage"))

    @cached_property
    def text(self) -> str:
        """The text blocks, joined."""
        return "".join(
            block["text"]
            for block in self.blocks
            if block.get("type") == "text" and isinstance(block.get("text"), str)
        )

    @cached_property
    def tool_uses(self) -> tuple[ToolUse, ...]:
        """The calls of this reply that are ours to answer, in order."""
        if b'"tool_use"' not in self.content:
            return ()
        calls = [one for one in self.blocks if one.get("type") == "tool_use"]
        broken: Any = self.facts.get("broken")
        raw = cast("dict[str, str]", broken) if isinstance(broken, dict) else {}
        given = [block.get("id") for block in calls]
        return tuple(
            # An earlier version noted an id that is illegal as it came.
            _tool_use(id_, block, raw.get(id_, raw.get(str(block.get("id")))))
            for id_, block in zip(call_ids(given), calls, strict=True)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the sealed content, in hex."""
        return sha256(self.content).hexdigest()


def _tool_use(id_: str, block: Mapping[str, Any], broken: str | None) -> ToolUse:
    """One call; its input is None if it was cut off, or is not an object."""
    name, given = str(block["name"]), block.get("input")
    if broken is not None:
        return ToolUse(id_, name, None, broken)
    if not isinstance(given, dict):
        return ToolUse(id_, name, None, json.dumps(given))
    return ToolUse(id_, name, cast("dict[str, Any]", given))

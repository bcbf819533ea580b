"""One request body as the structural rules see it: readable messages, merged turns."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple, final

from turnlatch_states.api.models import ModelSpec, spec
from turnlatch_states.api.rules._base import (
    Context,
    Finding,
    is_array,
    is_object,
    member,
    objects,
)
from turnlatch_states.api.rules._fields import walk

_ROLES = frozenset({"user", "assistant", "system"})
_ID_FIELD = {
    "tool_use": "id",
    "server_tool_use": "id",
    "mcp_tool_use": "id",
    "tool_result": "tool_use_id",
}


class Block(NamedTuple):
    """One content block, and where it stands in the array as sent."""

    message: int
    number: int
    type: str
    value: Mapping[str, object]

    @property
    def path(self) -> str:
        """Where it is; held messages have no place in the array."""
        if self.message < 0:
            return "messages"
        return f"messages.{self.message}.content.{self.number}"

    @property
    def call(self) -> str:
        """The id of the call it is or answers; empty if it is or does neither."""
        field = _ID_FIELD.get(self.type, "tool_use_id")
        found = self.value.get(field)
        return found if isinstance(found, str) else ""

    def word(self, name: str) -> str | None:
        """The string in the field `name`."""
        found = self.value.get(name)
        return found if isinstance(found, str) else None


class CheckedMessage(NamedTuple):
    """One message as sent; a negative place is one the server already holds.

    `broken`: the shape of it is wrong, so that nothing can be concluded from what
    seems to be missing in it.
    """

    place: int
    role: str
    blocks: tuple[Block, ...]
    value: Mapping[str, object]
    broken: bool

    @property
    def path(self) -> str:
        """Where it is."""
        return f"messages.{self.place}" if self.place >= 0 else "messages"

    @property
    def empty(self) -> bool:
        """True for `""` and `[]`."""
        content = self.value.get("content")
        return content == "" or (is_array(content) and not content)


class RoleTurn(NamedTuple):
    """Adjacent messages of one role, which the server reads as one."""

    role: str
    messages: tuple[CheckedMessage, ...]
    blocks: tuple[Block, ...]
    broken: bool

    def of(self, *types: str) -> list[Block]:
        """The blocks of these types, in order."""
        return [block for block in self.blocks if block.type in types]


@final
class Body:
    """A body with its views, each made at most once and only if a rule asks.

    Attributes:
        body: The body; empty if it is not an object.
        context: Facts that the body does not contain.
        spec: The model's row, if it has one.
    """

    def __init__(self, body: object, context: Context) -> None:
        self.raw = body
        self.body: Mapping[str, object] = body if is_object(body) else {}
        self.context = context
        self.spec: ModelSpec | None = context.model or spec(self.body.get("model"))
        self._walk = walk(body, context)
        self._shape: list[Finding] = []
        self._walked = False

    @property
    def shape(self) -> Iterator[Finding]:
        """The findings of the schema, made as they are read and then remembered."""
        yield from self._shape
        for finding in self._walk:
            self._shape.append(finding)
            yield finding
        self._walked = True

    def shape_of(self, rule: str) -> Iterator[Finding]:
        """The findings of the schema that belong to `rule`."""
        if self._walked and not self._shape:
            return iter(())
        return (finding for finding in self.shape if finding.rule == rule)

    @cached_property
    def continues(self) -> bool:
        """The server holds what came before these messages."""
        return member(self.body, "thread", "type") == "continue"

    @property
    def start_unknown(self) -> bool:
        """True if messages precede the first one and are unknown."""
        return self.continues and self.context.held is None

    @cached_property
    def messages(self) -> tuple[CheckedMessage, ...]:
        """Every message, the held ones first."""
        sent = self.body.get("messages")
        found = [_message(i, m) for i, m in enumerate(sent)] if is_array(sent) else []
        held = self.context.held if self.continues else None
        if held:
            first = -len(held)
            found[:0] = [_message(first + i, m) for i, m in enumerate(held)]
        return tuple(found)

    @cached_property
    def turns(self) -> tuple[RoleTurn, ...]:
        """The messages, adjacent ones of one role merged."""
        runs: list[list[CheckedMessage]] = []
        for message in self.messages:
            if runs and message.role == runs[-1][-1].role:
                runs[-1].append(message)
            else:
                runs.append([message])
        return tuple(_turn(run) for run in runs)

    @cached_property
    def tools(self) -> tuple[tuple[int, Mapping[str, object]], ...]:
        """The tool definitions that are objects, with their places."""
        return tuple(objects(self.body.get("tools")))

    @cached_property
    def thinking_verdicts(self) -> tuple[tuple[str, str], ...]:
        """What the server says of each thinking block it refuses: (path, reason)."""
        verify = self.context.verify
        if verify is None:
            return ()
        told = (
            (block.path, verify.thinking(block.value, path=block.path, body=self.body))
            for message in self.messages
            if message.role == "assistant" and message.place >= 0
            for block in message.blocks
            if block.type in ("thinking", "redacted_thinking")
        )
        return tuple((path, reason) for path, reason in told if reason is not None)


def _message(index: int, value: object) -> CheckedMessage:
    if not is_object(value):
        return CheckedMessage(index, "", (), {}, broken=True)
    role = value.get("role")
    broken = not isinstance(role, str) or role not in _ROLES
    named = role if isinstance(role, str) and not broken else ""
    content = value.get("content")
    if isinstance(content, str):
        block = Block(index, 0, "text", {"type": "text", "text": content})
        return CheckedMessage(index, named, (block,), value, broken)
    if not is_array(content):
        return CheckedMessage(index, named, (), value, broken or named != "system")
    blocks: list[Block] = []
    for number, part in enumerate(content):
        tag = part.get("type") if is_object(part) else None
        if not is_object(part) or not isinstance(tag, str):
            broken = True
            continue
        blocks.append(Block(index, number, tag, part))
        identified = _ID_FIELD.get(tag)
        if identified is not None and not isinstance(part.get(identified), str):
            broken = True
    return CheckedMessage(index, named, tuple(blocks), value, broken)


def _turn(run: list[CheckedMessage]) -> RoleTurn:
    if len(run) == 1:
        only = run[0]
        return RoleTurn(only.role, (only,), only.blocks, only.broken)
    blocks = tuple(block for message in run for block in message.blocks)
    return RoleTurn(run[0].role, tuple(run), blocks, any(m.broken for m in run))

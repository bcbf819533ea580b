"""What was confirmed: sealed exchanges, in a list that only grows.

An exchange is encoded once, when it is confirmed; a request joins what is encoded
already, so a turn costs the bytes it adds. Every list in here is shared between
snapshots: a snapshot knows how much of it is its own.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import Any, final

import attrs

from turnlatch_states.api.json_bytes import parts, text_block
from turnlatch_states.api.reply import Reply, given_id
from turnlatch_states.api.resendable import mended, to_resendable

_USER = b'{"role":"user","content":['
_ASSISTANT = b'{"role":"assistant","content":['
_END = b"]}"
_BETWEEN = _END + b"," + _ASSISTANT

_UNMARKABLE = frozenset({"thinking", "redacted_thinking"})
_HOLDS_CONTAINER = re.compile(rb'"container"\s*:\s*\{')


def user_message(blocks: bytes) -> bytes:
    """The user message around comma-separated blocks; nothing around nothing."""
    return _USER + blocks + _END if blocks else b""


def assistant_message(blocks: bytes) -> bytes:
    """The assistant message around comma-separated blocks; nothing around nothing."""
    return _ASSISTANT + blocks + _END if blocks else b""


def media_in(blocks: bytes) -> int:
    """How many images and documents some encoded blocks hold, or a few more."""
    return blocks.count(b'"type":"image"') + blocks.count(b'"type":"document"')


def container_in(meta: bytes) -> str | None:
    """The container that a reply ran in; None where no code ran for it.

    Args:
        meta: The reply's `meta`.
    """
    if _HOLDS_CONTAINER.search(meta) is None:
        return None
    match json.loads(meta):
        case {"container": {"id": str() as found}} if found:
            return found
        case _:
            return None


@final
@attrs.frozen
class Exchange:
    """One confirmed request and its reply, sealed.

    Attributes:
        turn: Number of the turn it belongs to.
        wire: Both messages as they stand in every later request.
        user_size: Bytes of the user's blocks in `wire`.
        reply_size: Bytes of the reply's blocks in `wire`.
        meta: The reply's `meta`.
        received: The reply's blocks as they were received, where they may not be sent
            back like that; empty where `wire` holds them.
    """

    turn: int
    wire: bytes
    user_size: int
    reply_size: int
    meta: bytes
    received: bytes = b""

    @classmethod
    def seal(
        cls, turn: int, user: bytes, reply: Reply, taken: Collection[str] = ()
    ) -> "Exchange":
        """Encode an exchange, once and for all.

        Args:
            turn: Number of the turn.
            user: The blocks that were sent, comma-separated.
            reply: The confirmed reply.
            taken: The ids that other calls of the turn are shown with.
        """
        content = to_resendable(reply.content, taken)
        if user and content:
            wire = _USER + user + _BETWEEN + content + _END
        else:
            wire = user_message(user) or assistant_message(content)
        received = b"" if content == reply.content else reply.content
        return cls(turn, wire, len(user), len(content), reply.meta, received)

    @property
    def user(self) -> bytes:
        """The blocks that were sent, comma-separated."""
        return self.wire[len(_USER) : len(_USER) + self.user_size]

    @property
    def resendable(self) -> bytes:
        """The reply's blocks as they are sent back, comma-separated."""
        end = len(self.wire) - len(_END)
        return self.wire[end - self.reply_size : end] if self.reply_size else b""

    @cached_property
    def call_ids(self) -> tuple[str, ...]:
        """The ids of its calls as they are sealed, in order."""
        if b'"tool_use"' not in self.wire:
            return ()
        blocks = json.loads(b"[" + self.resendable + b"]")
        return tuple(b["id"] for b in blocks if b["type"] == "tool_use")

    @property
    def content(self) -> bytes:
        """The blocks that were confirmed, comma-separated, byte for byte."""
        return self.received or self.resendable

    def marked(self, mark: bytes, *, reply: bool) -> bytes | None:
        """The exchange as it is sent, with a cache marker on the last block of a message.

        None where there is no such message, or its last block takes no marker.

        Args:
            mark: The marker, as JSON.
            reply: On the reply; else on what was sent for it.
        """
        blocks = self.resendable if reply else self.user
        if not blocks.endswith(b"}"):
            return None
        last: dict[str, Any] = json.loads(parts(blocks)[-1])
        if last.get("type") in _UNMARKABLE or "cache_control" in last:
            return None
        at = len(_USER) + self.user_size - 1
        if reply:
            at = len(self.wire) - len(_END) - 1
        return self.wire[:at] + b',"cache_control":' + mark + self.wire[at:]

    @property
    def reply(self) -> Reply:
        """The reply, made from the sealed bytes."""
        return Reply(self.content, self.meta)

    @property
    def message_id(self) -> str:
        """The server's id for the reply; empty where it gave none."""
        return given_id(json.loads(self.meta))


@final
class History:
    """The confirmed exchanges from the root to the head: a value that only grows.

    Appending gives a new history and leaves the old one as it was. Both share one list,
    so it costs the same at message 5,000 as at message 1.
    """

    __slots__ = ("_bytes", "_containers", "_exchanges", "_media", "_size", "_wires")

    def __init__(self, exchanges: Sequence[Exchange] = ()) -> None:
        self._exchanges = list(exchanges)
        self._wires = [one.wire for one in self._exchanges]
        self._size = len(self._exchanges)
        self._bytes = list(accumulate(map(len, self._wires), initial=0))
        self._media = list(accumulate(map(media_in, self._wires), initial=0))
        self._containers: list[str | None] = [None]
        for one in self._exchanges:
            self._containers.append(container_in(one.meta) or self._containers[-1])

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Exchange]:
        return iter(self._exchanges[: self._size])

    def __getitem__(self, index: int) -> Exchange:
        if not -self._size <= index < self._size:
            raise IndexError(index)
        return self._exchanges[index + self._size if index < 0 else index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return self.wires() == other.wires() and list(self) == list(other)

    def __hash__(self) -> int:
        return hash((self._size, self._wires[self._size - 1] if self._size else b""))

    def __repr__(self) -> str:
        return f"<History of {self._size} exchanges>"

    @property
    def head(self) -> Exchange | None:
        """The last confirmed exchange."""
        return self._exchanges[self._size - 1] if self._size else None

    def wires(self, start: int = 0) -> list[bytes]:
        """The encoded exchanges from `start` on, to be joined."""
        found = self._wires[start : self._size]
        return found if all(found) else [wire for wire in found if wire]

    def appended(self, exchange: Exchange) -> "History":
        """This history and one more exchange. Called by the commit and nowhere else."""
        grown = History.__new__(History)
        if self._size == len(self._exchanges):
            grown._exchanges, grown._wires = self._exchanges, self._wires
            grown._bytes, grown._media = self._bytes, self._media
            grown._containers = self._containers
        else:  # a rewound head starts another branch
            grown._exchanges = self._exchanges[: self._size]
            grown._wires = self._wires[: self._size]
            grown._bytes = self._bytes[: self._size + 1]
            grown._media = self._media[: self._size + 1]
            grown._containers = self._containers[: self._size + 1]
        grown._exchanges.append(exchange)
        grown._wires.append(exchange.wire)
        grown._bytes.append(grown._bytes[-1] + len(exchange.wire))
        grown._media.append(grown._media[-1] + media_in(exchange.wire))
        named = container_in(exchange.meta)
        grown._containers.append(named or grown._containers[-1])
        grown._size = self._size + 1
        return grown

    def until(self, size: int) -> "History":
        """The first `size` exchanges. Called by rewind and nowhere else."""
        if not 0 <= size <= self._size:
            raise IndexError(size)
        cut = History.__new__(History)
        cut._exchanges, cut._wires, cut._size = self._exchanges, self._wires, size
        cut._bytes, cut._media = self._bytes, self._media
        cut._containers = self._containers
        return cut

    @property
    def container(self) -> str | None:
        """The container that code ran in last; None where none ran."""
        return self._containers[self._size]

    def bytes_of(self, start: int, until: int | None = None) -> int:
        """Bytes of the exchanges from `start` to before `until`, as they are sent."""
        return self._bytes[self._size if until is None else until] - self._bytes[start]

    def media_of(self, start: int, until: int | None = None) -> int:
        """How many images and documents those exchanges hold; see `media_in`."""
        return self._media[self._size if until is None else until] - self._media[start]

    def of_turn(self, number: int) -> tuple[Exchange, ...]:
        """The exchanges of one turn, in order."""
        start = self.end_of_turn(number - 1)
        return tuple(self._exchanges[start : self.end_of_turn(number)])

    def end_of_turn(self, number: int) -> int:
        """How many exchanges there are up to and including that turn."""
        return bisect_left(
            self._exchanges, number + 1, 0, self._size, key=lambda one: one.turn
        )


class Method(StrEnum):
    """How a summary is made."""

    SIGNED = "signed"
    """By the server's own compaction; it signs the block."""
    TOLD = "told"
    """By an ordinary request that holds the conversation as a written record."""


@final
@attrs.frozen
class Base:
    """A confirmed summary that stands for the first exchanges of the history.

    Attributes:
        covers: How many exchanges it stands for; they stay readable in the history.
        block: The block that stands for them, byte for byte.
        message_id: The id of the reply that carried it.
        method: How it was made, and with that whose word it is.
        pins: The pinned texts that go with it, as blocks.
    """

    covers: int
    block: bytes
    message_id: str
    method: Method = Method.SIGNED
    pins: bytes = b""

    @property
    def wire(self) -> bytes:
        """The messages that stand for what it covers."""
        if self.method is Method.TOLD:  # ours to tell, and never the assistant's word
            blocks = self.block + b"," + self.pins if self.pins else self.block
            return user_message(blocks)
        first = assistant_message(self.block)
        return first + b"," + user_message(self.pins) if self.pins else first

    @property
    def size(self) -> int:
        """How many messages `wire` holds."""
        return 2 if self.pins and self.method is Method.SIGNED else 1


def told_block(summary: str) -> bytes:
    """The block that tells a summary which the server did not sign."""
    return text_block(mended(f"[Summary of the conversation so far]\n{summary}"))

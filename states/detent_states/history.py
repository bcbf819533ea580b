"""What was confirmed, what is staged, and the one builder that makes every request.

History is append-only and made of exchanges. An exchange is encoded once, when it is
confirmed; a request joins what is encoded already, so a turn costs the bytes it adds.
Every list in here is shared between snapshots and only ever grows: a snapshot knows how
much of it is its own.
"""

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any, final

import attrs

from detent_states.reply import Reply

_USER = b'{"role":"user","content":['
_ASSISTANT = b'{"role":"assistant","content":['
_END = b"]}"
_BETWEEN = _END + b"," + _ASSISTANT

COMPACT_BETA = "compact-2026-09-04"
"""The beta that on-demand compaction needs, then and on every later request."""


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_ESCAPED = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def encode(value: object) -> bytes:
    """JSON as it travels: UTF-8, no spaces, no NaN, surrogates only as escapes.

    Raises:
        ValueError: NaN or infinity.
        TypeError: Not a JSON value.
    """
    try:
        return _COMPACT.encode(value).encode()
    except UnicodeEncodeError:  # a lone surrogate: only an ASCII escape can carry it
        return _ESCAPED.encode(value).encode()


def user_message(blocks: bytes) -> bytes:
    """The user message around comma-separated blocks; nothing around nothing."""
    return _USER + blocks + _END if blocks else b""


def assistant_message(blocks: bytes) -> bytes:
    """The assistant message around comma-separated blocks; nothing around nothing."""
    return _ASSISTANT + blocks + _END if blocks else b""


class Purpose(StrEnum):
    """What a turn was opened for."""

    MESSAGE = "message"
    COMPACTION = "compaction"


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
    """

    turn: int
    wire: bytes
    user_size: int
    reply_size: int
    meta: bytes

    @classmethod
    def seal(cls, turn: int, user: bytes, reply: Reply) -> "Exchange":
        """Encode an exchange, once and for all."""
        content = reply.content
        if user and content:
            wire = _USER + user + _BETWEEN + content + _END
        else:
            wire = user_message(user) or assistant_message(content)
        return cls(turn, wire, len(user), len(content), reply.meta)

    @property
    def user(self) -> bytes:
        """The blocks that were sent, comma-separated."""
        return self.wire[len(_USER) : len(_USER) + self.user_size]

    @property
    def content(self) -> bytes:
        """The blocks that were confirmed, comma-separated, byte for byte."""
        end = len(self.wire) - len(_END)
        return self.wire[end - self.reply_size : end] if self.reply_size else b""

    @property
    def reply(self) -> Reply:
        """The reply, made anew from the sealed bytes."""
        return Reply(self.content, self.meta)

    @property
    def message_id(self) -> str:
        """The server's id for the reply."""
        return str(json.loads(self.meta)["id"])


@final
class History:
    """The confirmed exchanges from the root to the head: a value that only grows.

    Appending gives a new history and leaves the old one as it was. Both share one list,
    so it costs the same at message 5,000 as at message 1.
    """

    __slots__ = ("_exchanges", "_size", "_wires")

    def __init__(self, exchanges: Sequence[Exchange] = ()) -> None:
        self._exchanges = list(exchanges)
        self._wires = [one.wire for one in self._exchanges]
        self._size = len(self._exchanges)

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
        else:  # a rewound head grows a branch of its own
            grown._exchanges = self._exchanges[: self._size]
            grown._wires = self._wires[: self._size]
        grown._exchanges.append(exchange)
        grown._wires.append(exchange.wire)
        grown._size = self._size + 1
        return grown

    def until(self, size: int) -> "History":
        """The first `size` exchanges. Called by rewind and nowhere else."""
        if not 0 <= size <= self._size:
            raise IndexError(size)
        cut = History.__new__(History)
        cut._exchanges, cut._wires, cut._size = self._exchanges, self._wires, size
        return cut

    def of_turn(self, number: int) -> tuple[Exchange, ...]:
        """The exchanges of one turn, in order."""
        start = self.end_of_turn(number - 1)
        return tuple(self._exchanges[start : self.end_of_turn(number)])

    def end_of_turn(self, number: int) -> int:
        """How many exchanges there are up to and including that turn."""
        return bisect_left(
            self._exchanges, number + 1, 0, self._size, key=lambda one: one.turn
        )


@final
@attrs.frozen
class Base:
    """A confirmed summary that stands for the first exchanges of the history.

    Attributes:
        covers: How many exchanges it stands for; they stay readable in the history.
        block: The compaction block, byte for byte as the server signed it.
        message_id: The id of the reply that carried it.
    """

    covers: int
    block: bytes
    message_id: str


@final
@attrs.frozen
class Profile:
    """The requested settings of a conversation: journaled, restored on resume.

    Attributes:
        model: Model id.
        max_tokens: Most tokens one reply may have.
        settings: Further body fields as (name, JSON), in the order they are sent.
        betas: Names for the `anthropic-beta` header.
        diagnostics: Send `diagnostics.previous_message_id`, from confirmed replies.
    """

    model: str
    max_tokens: int
    settings: tuple[tuple[str, bytes], ...] = ()
    betas: tuple[str, ...] = ()
    diagnostics: bool = True

    @cached_property
    def opening(self) -> bytes:
        """The request up to its messages; byte-stable while the profile is."""
        return self._opening(self.settings)

    @cached_property
    def compaction_opening(self) -> bytes:
        """The same for a compaction request.

        On-demand compaction does not combine with some fields (Anthropic docs:
        build-with-claude/compaction-on-demand): those are left out.
        """
        kept = tuple((n, v) for n, v in self.settings if n not in _NOT_WITH_COMPACTION)
        return self._opening((*kept, ("compaction", b'{"type":"summarize"}')))

    def _opening(self, settings: tuple[tuple[str, bytes], ...]) -> bytes:
        parts = [
            b'{"model":' + encode(self.model),
            b'"max_tokens":%d' % self.max_tokens,
            *(encode(name) + b":" + value for name, value in settings),
        ]
        return b",".join(parts) + b',"messages":['

    def setting(self, name: str) -> Any:
        """One setting, parsed; None where it is not set."""
        for key, value in self.settings:
            if key == name:
                return json.loads(value)
        return None

    def as_body(self) -> Mapping[str, Any]:
        """The settings as a request body without messages, to look at and to check."""
        return {
            "model": self.model,
            "max_tokens": self.max_tokens,
            **{name: json.loads(value) for name, value in self.settings},
        }


_NOT_WITH_COMPACTION = frozenset(
    {"context_management", "stop_sequences", "tool_choice", "output_config"}
)


@final
@attrs.frozen
class Request:
    """One request, ready to leave.

    Attributes:
        turn: The turn it is sent for.
        attempt: Which request of that turn it is, from 1.
        purpose: Whether it asks for a reply or for a summary.
        body: The exact bytes of the body.
        betas: Names for the `anthropic-beta` header.
        stream: Whether the body asks for a stream.
    """

    turn: int
    attempt: int
    purpose: Purpose
    body: bytes
    betas: tuple[str, ...] = ()
    stream: bool = False


def build(
    profile: Profile,
    history: History,
    base: Base | None,
    staged: bytes,
    *,
    purpose: Purpose = Purpose.MESSAGE,
    stream: bool = False,
) -> bytes:
    """The body of a request, by joining what is encoded already.

    Args:
        profile: The settings.
        history: The confirmed exchanges.
        base: The summary in force, standing for the first exchanges.
        staged: The new user message's blocks, comma-separated; empty to resume a
            paused turn or to compact.
        purpose: An ordinary request, or a request for a summary.
        stream: Ask for a stream of events.
    """
    messages: list[bytes] = []
    if base is not None:
        messages.append(assistant_message(base.block))
    messages += history.wires(base.covers if base is not None else 0)
    if staged:
        messages.append(user_message(staged))
    compacting = purpose is Purpose.COMPACTION
    tail = b"]"
    if profile.diagnostics and not compacting:
        tail += b',"diagnostics":{"previous_message_id":%s}' % _previous(history)
    tail += b',"stream":true}' if stream else b"}"
    opening = profile.compaction_opening if compacting else profile.opening
    if not messages:
        return opening + tail
    # The ends are joined to the outer messages, so that the body is copied once.
    messages[0] = opening + messages[0]
    messages[-1] += tail
    return b",".join(messages)


def betas(profile: Profile, base: Base | None, purpose: Purpose) -> tuple[str, ...]:
    """The beta names a request needs: the profile's, and compaction's where in force."""
    needs = base is not None or purpose is Purpose.COMPACTION
    if needs and COMPACT_BETA not in profile.betas:
        return (*profile.betas, COMPACT_BETA)
    return profile.betas


def _previous(history: History) -> bytes:
    # Only a confirmed reply has an id here, and only an id that has the server's form
    # is ever named: a foreign one would make every later request a 400.
    head = history.head
    if head is None:
        return b"null"
    found = head.message_id
    return encode(found) if found.startswith("msg_") else b"null"

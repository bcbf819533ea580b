"""The prompt cache: what a request reads from it, what it writes, and the rest.

    tools, system, messages = one line of blocks; a mark closes a prefix of it
    a request writes the prefix at each of its marks, if it is long enough
    a mark reads the longest prefix that was written at it or up to 19 blocks before it

This follows https://platform.claude.com/docs/en/build-with-claude/prompt-caching, to the
point where a client sees it: in `usage`. An entry lives from the start of the last
request that used it, and is there once the response that wrote it begins; a refused
request leaves none that can be read.

It is an approximation. Tokens are those of `tokens.py`. Two prefixes are the same if
their blocks are, as JSON, but for cache marks, `null` members, `caller` and the order of
keys outside of `input` and `input_schema`; the real cache compares what they are rendered
to. Not imitated: that images and citations anywhere change how the rest is rendered, that
on some models a change of thinking or effort reaches back to tools and system, what
happens to thinking that the server drops, and marks the server places by itself.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, TypeAlias, final

import attrs

from turnlatch.simulator.signing import digest_of, unmarked
from turnlatch.simulator.tokens import OVERHEAD_TOKENS, count_block, count_tool
from turnlatch.simulator.wire import Json, as_object, blocks, objects
from turnlatch_states.api.models import ModelSpec

Section: TypeAlias = Literal["tools", "system", "messages"]

LOOKBACK: Final = 20
"""How many positions a mark is compared at, its own the first."""

LIFETIMES: Final = {"5m": 300.0, "1h": 3600.0}
"""Seconds that an entry lives after its last use, by the `ttl` of its mark."""

_SECTIONS: Final[tuple[Section, ...]] = ("tools", "system", "messages")
_LONGEST: Final = max(LIFETIMES.values())
# For models whose minimum is not documented.
_TOKENS_MIN: Final = 1_024
_AS_WRITTEN: Final = ("input", "input_schema")
_UNTOLD: Final = frozenset({"cache_control", "caller", *_AS_WRITTEN})
_RUNS: Final = frozenset({"tool_use", "tool_result"})


@final
@attrs.frozen
class Tally:
    """How the tokens of one prompt are paid for.

    Attributes:
        total: The length of the prompt.
        read: Read from the cache.
        written_5m: Written to it for five minutes.
        written_1h: Written to it for an hour.
    """

    total: int
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def members(self) -> dict[str, object]:
        """The members of a `usage` object that tell it; the first three sum to it."""
        written = self.written_5m + self.written_1h
        return {
            "input_tokens": self.total - self.read - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": self.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.written_5m,
                "ephemeral_1h_input_tokens": self.written_1h,
            },
        }


Writes: TypeAlias = tuple[tuple[bytes, str], ...]
"""Prefixes to be written, as digests, each with the `ttl` of its mark."""


class CachePiece(NamedTuple):
    """The smallest part of a prompt that a mark may close, and what it is to the cache.

    Attributes:
        section: The part of the request it is in.
        kind: The type of the block it is, or is in.
        content: The bytes that identify the piece.
        tokens: Its length, with the preceding tokens that belong to no piece.
        ttl: The `ttl` of its mark; None for no mark.
        last: It ends a block that the automatic mark may stand on.
    """

    section: Section
    kind: str
    content: str
    tokens: int
    ttl: str | None
    last: bool


class _Prefix(NamedTuple):
    digest: bytes
    tokens: int
    position: int
    ttl: str | None
    last: bool


@final
@attrs.define(eq=False)
class _Entry:
    seconds: float
    used_at: float
    ready_at: float = math.inf


@final
class PromptCache:
    """All entries of a simulator."""

    def __init__(self) -> None:
        # In the order of their last use.
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._begun_by: dict[int, tuple[bytes, ...]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def look(
        self, body: Json, model: ModelSpec | None, tokens: int, at: float
    ) -> tuple[Tally, Writes]:
        """The pieces that a prompt reads and will write; read pieces count as used.

        Args:
            body: The conversation as the model sees it.
            model: Its row; None for a model without one.
            tokens: Its length.
            at: The clock when the request came.
        """
        if not _is_marked(body):
            return Tally(tokens), ()
        line = _prefixes(body)
        least = model.cache_tokens_min if model is not None else None
        if least is None:
            least = _TOKENS_MIN
        marks = [
            (place, ttl)
            for place, ttl in _marks(line, body.get("cache_control"))
            if line[place].tokens >= least
        ]
        read, writes = 0, list[tuple[bytes, str]]()
        for place, ttl in marks:
            found = self._nearest(line, place, at)
            if found is not None:
                self._use(line[found].digest, at)
                read = max(read, line[found].tokens)
            if found == place:
                entry = self._entries[line[place].digest]
                entry.seconds = max(entry.seconds, LIFETIMES[ttl])
            else:
                writes.append((line[place].digest, ttl))
        hour = max(
            (line[place].tokens for place, ttl in marks if ttl == "1h"), default=0
        )
        end = max((line[place].tokens for place, _ in marks), default=0)
        hour = max(hour, read)
        end = max(end, hour)
        return Tally(tokens, read, end - hour, hour - read), tuple(writes)

    def write(self, number: int, writes: Writes, at: float) -> None:
        """Write entries, to be read from when the response to exchange `number` begins.

        Args:
            number: The exchange.
            writes: As `look` gave them.
            at: The clock when the request came.
        """
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if at - oldest.used_at < _LONGEST:
                break
            self._entries.popitem(last=False)
        for digest, ttl in writes:
            known = self._live(digest, at)
            # Another request may be writing the same, and its response be the first.
            ready_at = math.inf if known is None else known.ready_at
            self._entries[digest] = _Entry(LIFETIMES[ttl], at, ready_at)
            self._entries.move_to_end(digest)
        if writes:
            self._begun_by[number] = tuple(digest for digest, _ in writes)

    def begin(self, number: int, at: float) -> None:
        """The response to exchange `number` begins at that time."""
        for digest in self._begun_by.get(number, ()):
            entry = self._entries.get(digest)
            if entry is not None:
                entry.ready_at = min(entry.ready_at, at)

    def finish(self, number: int) -> None:
        """The response to exchange `number` has left, whole or not."""
        # Whatever its delay was: time need not pass in a test.
        self.begin(number, -math.inf)
        self._begun_by.pop(number, None)

    def _live(self, digest: bytes, at: float) -> _Entry | None:
        entry = self._entries.get(digest)
        if entry is None or at - entry.used_at >= entry.seconds:
            return None
        return entry

    def _use(self, digest: bytes, at: float) -> None:
        self._entries[digest].used_at = at
        self._entries.move_to_end(digest)

    def _nearest(self, line: Sequence[_Prefix], place: int, at: float) -> int | None:
        """Where the longest entry ends that a mark at a place can read."""
        first = line[place].position - LOOKBACK + 1
        for index in range(place, -1, -1):
            if line[index].position < first:
                return None
            entry = self._live(line[index].digest, at)
            if entry is not None and entry.ready_at <= at:
                return index
        return None


def pieces(body: Json) -> Iterator[CachePiece]:
    """The pieces of a prompt in the order of the cache: tools, system, messages.

    Tools that load later are left out; their tokens, and those of the messages
    themselves, are counted with the next piece.
    """
    spare = 0
    for tool in objects(body.get("tools")):
        tokens = count_tool(tool)
        if tool.get("defer_loading") is True:
            spare += tokens
            continue
        yield CachePiece(
            "tools", "tool", _written(tool), tokens + spare, _ttl(tool), True
        )
        spare = 0
    for block in blocks(body.get("system")):
        tokens, last = count_block(block) + spare, _can_be_marked(block)
        yield CachePiece("system", "text", _written(block), tokens, _ttl(block), last)
        spare = 0
    for message in objects(body.get("messages")):
        spare += OVERHEAD_TOKENS
        scoped = message.get("clear_at") is not None
        for block in blocks(message.get("content")):
            for piece in _of_block(str(message.get("role")), block):
                last = piece.last and not scoped
                yield piece._replace(tokens=piece.tokens + spare, last=last)
                spare = 0


def rendering(body: Json) -> bytes:
    """A digest of the parameters that the messages, and only they, are rendered with.

    They are how to think, the choice of tools and the effort; `high` is its default.
    """
    thinking = as_object(body.get("thinking")) or {}
    effort = (as_object(body.get("output_config")) or {}).get("effort")
    mode = (thinking.get("type"), thinking.get("budget_tokens"))
    return digest_of([mode, body.get("tool_choice"), effort or "high"])


def chained(digest: bytes, content: bytes) -> bytes:
    """The digest of a line that is longer by some content."""
    return blake2b(content, key=digest, digest_size=16).digest()


def _of_block(role: str, block: Json) -> Iterator[CachePiece]:
    kind, ttl = str(block.get("type")), _ttl(block)
    inner = blocks(block.get("content")) if kind == "tool_result" else ()
    if not inner:
        content, last = f"{role}\n{_written(block)}", _can_be_marked(block)
        yield CachePiece("messages", kind, content, count_block(block), ttl, last)
        return
    head = {key: value for key, value in block.items() if key != "content"}
    content = f"{role}\n{_written(head)}"
    yield CachePiece("messages", kind, content, OVERHEAD_TOKENS, None, False)
    for part in inner[:-1]:
        yield CachePiece(
            "messages", kind, _written(part), count_block(part), _ttl(part), False
        )
    part = inner[-1]
    ttl = ttl or _ttl(part)
    yield CachePiece("messages", kind, _written(part), count_block(part), ttl, True)


def _prefixes(body: Json) -> list[_Prefix]:
    """Every prefix of a prompt that ends with a piece, the shortest first."""
    parameters = (
        digest_of(body.get("model")),
        digest_of(body.get("speed")),
        rendering(body),
    )
    line: list[_Prefix] = []
    digest, tokens, position, section, before = parameters[0], 0, 0, 0, ""
    for piece in pieces(body):
        while _SECTIONS[section] != piece.section:
            section += 1
            digest = chained(digest, parameters[section])
        digest = chained(digest, piece.content.encode(errors="surrogatepass"))
        tokens += piece.tokens
        # Calls made in parallel, and their results, count as one position each.
        position += not (piece.kind == before and piece.kind in _RUNS)
        before = piece.kind
        line.append(_Prefix(digest, tokens, position, piece.ttl, piece.last))
    return line


def _marks(line: Sequence[_Prefix], automatic: object) -> list[tuple[int, str]]:
    """The places of the marks and their `ttl`, in order."""
    marks = {place: each.ttl for place, each in enumerate(line) if each.ttl is not None}
    if as_object(automatic) is not None:
        for place in range(len(line) - 1, -1, -1):
            if line[place].last:
                marks.setdefault(place, _ttl({"cache_control": automatic}) or "5m")
                break
    return sorted(marks.items())


def _is_marked(body: Json) -> bool:
    """Whether there is any mark; most requests of a test have none, and pay no more."""
    if body.get("cache_control") is not None:
        return True
    for value in (body.get("tools"), body.get("system")):
        if any("cache_control" in each for each in objects(value)):
            return True
    for message in objects(body.get("messages")):
        for block in objects(message.get("content")):
            if "cache_control" in block:
                return True
            if block.get("type") == "tool_result" and any(
                "cache_control" in each for each in objects(block.get("content"))
            ):
                return True
    return False


def _ttl(value: Json) -> str | None:
    control = as_object(value.get("cache_control"))
    if control is None:
        return None
    return "1h" if control.get("ttl") == "1h" else "5m"


def _can_be_marked(block: Json) -> bool:
    kind = block.get("type")
    if kind in ("thinking", "redacted_thinking"):
        return False
    return kind != "text" or bool(block.get("text"))


def _written(value: Json) -> str:
    told = {
        key: each
        for key, each in value.items()
        if each is not None and key not in _UNTOLD
    }
    text = _dumped(told, ordered=True)
    if '"cache_control"' in text:
        text = _dumped(unmarked(told), ordered=True)
    for name in _AS_WRITTEN:
        if name in value:
            text += "\n" + _dumped(value[name], ordered=False)
    return text


def _dumped(value: object, *, ordered: bool) -> str:
    return json.dumps(value, sort_keys=ordered, separators=(",", ":"))

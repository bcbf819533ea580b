"""A reply, put together from the events of a stream.

The grammar (Anthropic docs: build-with-claude/streaming):

    stream := message_start block* message_delta+ message_stop
    block  := content_block_start(k) content_block_delta(k)* content_block_stop(k)

with k = 0, 1, 2 …; `ping` and unknown events may come anywhere, `error`
ends the stream. Any other event is refused, because a reply assembled from a
misunderstood stream would be part of every later request.

Decided here: an unknown kind of delta is refused, too. Its block cannot be sealed
faithfully without it, and half a block is worse than a failed attempt. Unknown fields in a
known delta are left out, as the SDK does.

A block that had no deltas is sealed from the exact bytes of its opening event. A block
that had some keeps every member of its opening event as it came, save those that the
deltas fill. A call's arguments are the fragments, joined, byte for byte: they are
never repaired; if they are not a strict JSON object, they are kept with the reply as text,
and nothing runs on them.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, cast, final

from turnlatch.ports import (
    BlockClosed,
    BlockOpened,
    Delta,
    InputDelta,
    TextDelta,
    ThinkingDelta,
)
from turnlatch.sdk.sealing import (
    BLOCKS_MAX,
    NOTED,
    OPENAI,
    ErrorEnvelopeError,
    IncompleteReplyError,
    Member,
    OtherFormatError,
    check_blocks,
    checked_block,
    joined,
    members,
    meta,
    one_line,
    read,
    scan,
)
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply, Usage
from turnlatch_states.api.resendable import call_ids

_KNOWN = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    }
)

_TEXTS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("input", "partial_json"),
}
"""Deltas that add to a text: the member of the block they fill, and their own."""

_SHOWN: dict[str, Callable[[int, str], Delta]] = {
    "text": TextDelta,
    "thinking": ThinkingDelta,
    "input": InputDelta,
}

DONE = "[DONE]"
"""The end of an OpenAI stream; gateways send it after, or instead of, `message_stop`."""

_FIXED = frozenset({"id", "type", "role", "content", "usage"}) | NOTED
"""The fields that a `message_delta` never changes, or changes by special rules."""


@final
class _Block:
    """A content block that is still open."""

    __slots__ = ("citations", "filled", "grows", "members", "pieces", "raw")

    def __init__(self, raw: str, found: dict[str, Member]) -> None:
        self.raw = raw
        self.members = found
        self.filled: dict[str, str] = {}  # member to raw value
        self.citations: list[str] = []
        self.pieces: list[str] = []
        self.grows: str | None = None  # the member that `pieces` fill
        for name in ("text", "thinking"):
            member = found.get(name)
            if member is not None and isinstance(member.value, str):
                self.grows = name
                self.pieces = [member.value] if member.value else []
        if self.grows is None and "input" in found:
            self.grows = "input"

    @property
    def started_with(self) -> str:
        """Text that came with the opening event."""
        return self.pieces[0] if self.pieces else ""

    def seal(self, touched: bool) -> tuple[bytes, str | None]:
        """The block's JSON, and the raw arguments where they could not be used."""
        broken = None
        filled = self.filled
        if touched and self.grows is not None:
            whole = "".join(self.pieces)
            if self.grows != "input":
                filled[self.grows] = encode(whole).decode()
            elif whole:
                arguments = _arguments(whole)
                filled["input"] = "{}" if arguments is None else arguments
                broken = whole if arguments is None else None
        if self.citations:
            had = self.members.get("citations")
            inside = had.raw[1:-1] if had is not None and had.value else ""
            filled["citations"] = (
                "[" + ",".join(([inside] if inside else []) + self.citations) + "]"
            )
        if not filled:
            return self.raw.encode(), None
        raw = {
            name: filled.pop(name, member.raw) for name, member in self.members.items()
        }
        return joined({**raw, **filled}).encode(), broken


def _arguments(text: str) -> str | None:
    """A call's arguments as they came, if they are one strict JSON object."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # The two halves of one character may have come in two fragments.
        try:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            return None
    try:
        return text if isinstance(read(text), dict) else None
    except IncompleteReplyError:
        return None


@final
class Assembly:
    """One reply in the making.

    Attributes:
        finished: The closing event was seen.
        endings: How many `message_delta` events came; the grace time counts from the
            last.
    """

    def __init__(
        self, report: Callable[[Delta], None], blocks_max: int = BLOCKS_MAX
    ) -> None:
        self.finished = False
        self._blocks_max = blocks_max
        self.endings = 0
        self._report = report
        self._head: dict[str, str] | None = None  # the message's members, raw
        self._usage: dict[str, str] = {}
        self._sealed: list[bytes] = []
        self._calls: list[tuple[Any, str | None]] = []  # id, arguments of no use
        self._broken: dict[str, str] = {}  # the same of the server's own calls
        self._open: _Block | None = None
        self._touched = False  # the open block's text has grown
        self._stopped = False  # a stop reason was given
        self._served_by: str | None = None
        # The beginning, up to its text, of an ordinary delta of the open block; any
        # other event is parsed in full.
        self._usual = "\0"
        self._show: Callable[[int, str], Delta] = TextDelta

    @property
    def whole(self) -> bool:
        """All blocks are closed and a stop reason was given."""
        return self._stopped and self._open is None

    @property
    def used(self) -> Usage | None:
        """The usage that the server has reported so far; None before the first report."""
        return Usage.read(json.loads(joined(self._usage))) if self._usage else None

    def take(self, events: Iterable[str]) -> None:
        """Go on with these events; what follows the closing event is ignored.

        Raises:
            IncompleteReplyError: The stream breaks the grammar.
            ErrorEnvelopeError: The stream says that the request failed.
        """
        usual, at = self._usual, len(self._usual) - 1
        index, show, report = len(self._sealed), self._show, self._report
        pieces = self._open.pieces if self._open is not None else []
        for event in events:
            if event.startswith(usual):
                try:
                    piece, end = scan(event, at)
                except ValueError:
                    piece, end = "", len(event)
                # The API pads events with spaces before the last braces.
                if (rest := event[end:]) == "}}" or rest.replace(" ", "") == "}}":
                    pieces.append(piece)
                    self._touched = True
                    if piece:
                        report(show(index, piece))
                    continue
            self._take(event)
            if self.finished:
                return
            usual, at = self._usual, len(self._usual) - 1
            index, show = len(self._sealed), self._show
            pieces = self._open.pieces if self._open is not None else []

    def reply(self, request_id: str | None) -> Reply:
        """The whole reply."""
        assert self.whole
        assert self._head is not None
        head = dict(self._head)
        if self._usage:
            head["usage"] = joined(self._usage)
        if self._served_by is not None:
            head["model"] = self._served_by
        end = "stop" if self.finished else "inferred"
        ids = call_ids(id_ for id_, _ in self._calls)
        mine = zip(ids, (text for _, text in self._calls), strict=True)
        broken = self._broken | {id_: text for id_, text in mine if text is not None}
        return Reply(
            b",".join(self._sealed),
            meta((joined(head)[1:-1],), request_id, end, broken),
        )

    def _take(self, event: str) -> None:
        name, text = _fields(event)
        if name is not None and name not in _KNOWN:
            return
        if not text:
            if name == "error":
                raise ErrorEnvelopeError(None)
            return
        if self.whole and text.strip() == DONE:
            return  # the end as others write it
        try:
            found, end = members(text)
        except IncompleteReplyError as error:
            if name == "error":
                raise ErrorEnvelopeError(text) from None
            raise type(error)(f"event {name}: {error}") from None
        if text[end:].strip():
            raise IncompleteReplyError(
                f"event {name}: there is something behind its JSON"
            )
        kind = found["type"].value if "type" in found else None
        if name == "error" or kind == "error":
            raise ErrorEnvelopeError({key: one.value for key, one in found.items()})
        if name is not None and kind != name:
            raise OtherFormatError(f"event {name} carries the type {kind!r}")
        if kind is None and "choices" in found:
            raise OtherFormatError(OPENAI)
        self._go(kind, text, found)

    def _go(self, kind: object, text: str, found: dict[str, Member]) -> None:
        match kind:
            case "message_start":
                self._start(text, found)
            case "content_block_start":
                self._expect(
                    "content_block_start", self._open is None and not self.endings
                )
                self._open_block(text, found)
            case "content_block_delta":
                self._delta(text, found, self._block("content_block_delta", found))
            case "content_block_stop":
                self._close(self._block("content_block_stop", found))
            case "message_delta":
                self._expect("message_delta", self._open is None)
                self._ending(text, found)
            case "message_stop":
                self._expect("message_stop", self._open is None)
                if not self._stopped:
                    raise OtherFormatError("the stream ended without a stop reason")
                self.finished = True
            case _:  # the API may add events; they are to be ignored
                pass

    def _expect(self, kind: str, legal: bool) -> None:
        if self._head is None or not legal:
            raise OtherFormatError(f"event {kind} is out of order")

    def _block(self, kind: str, found: dict[str, Member]) -> _Block:
        self._expect(kind, self._open is not None)
        self._check_index(kind, found)
        assert self._open is not None
        return self._open

    def _check_index(self, kind: str, found: dict[str, Member]) -> None:
        index = found["index"].value if "index" in found else None
        if isinstance(index, bool) or index != len(self._sealed):
            raise OtherFormatError(
                f"event {kind} has the index {index!r}, not {len(self._sealed)}"
            )

    def _start(self, text: str, found: dict[str, Member]) -> None:
        if self._head is not None:
            raise OtherFormatError("a second message_start")
        message = _object(text, found, "message")
        if _value(message, "type") not in ("message", None):
            raise OtherFormatError("message_start carries no message")
        if _value(message, "content") not in ([], None):
            raise OtherFormatError("message_start carries content already")
        if isinstance(_value(message, "usage"), dict):
            usage, _ = members(message["usage"].raw)
            self._usage = {name: one.raw for name, one in usage.items()}
        self._head = {
            name: one.raw
            for name, one in message.items()
            if name != "content" and name not in NOTED
        }

    def _open_block(self, text: str, found: dict[str, Member]) -> None:
        self._check_index("content_block_start", found)
        check_blocks(len(self._sealed) + 1, self._blocks_max)
        block = _object(text, found, "content_block")
        parsed = found["content_block"].value
        wrong = checked_block(parsed)
        if wrong is not None:
            raise OtherFormatError(wrong)
        index, kind = len(self._sealed), parsed["type"]
        self._open = opened = _Block(found["content_block"].raw, block)
        self._touched = False
        self._served_by = _served_by(parsed) or self._served_by
        self._report(
            BlockOpened(index, kind, _string(parsed, "name"), _string(parsed, "id"))
        )
        for delta, (member, own) in _TEXTS.items():
            if opened.grows == member:
                self._show = _SHOWN[member]
                self._usual = (
                    'event: content_block_delta\ndata: {"type":"content_block_delta",'
                    f'"index":{index},"delta":{{"type":"{delta}","{own}":"'
                )
        if opened.started_with:
            self._report(self._show(index, opened.started_with))

    def _delta(self, text: str, found: dict[str, Member], block: _Block) -> None:
        delta = _object(text, found, "delta")
        kind = _value(delta, "type")
        if kind in _TEXTS:
            member, own = _TEXTS[kind]
            piece = _value(delta, own)
            if block.grows != member or not isinstance(piece, str):
                raise OtherFormatError(f"a {kind} does not fit its block")
            block.pieces.append(piece)
            self._touched = True
            if piece:
                self._report(self._show(len(self._sealed), piece))
        elif kind == "signature_delta" and "signature" in delta:
            block.filled["signature"] = delta["signature"].raw
        elif kind == "citations_delta" and "citation" in delta:
            block.citations.append(delta["citation"].raw)
        elif kind == "compaction_delta":
            # Whole in one delta: its members are the block's.
            block.filled.update(
                {name: one.raw for name, one in delta.items() if name != "type"}
            )
        else:
            raise OtherFormatError(f"nothing is known of a delta of the type {kind!r}")

    def _close(self, block: _Block) -> None:
        sealed, broken = block.seal(self._touched)
        id_ = _value(block.members, "id")
        if _value(block.members, "type") == "tool_use":
            self._calls.append((id_, broken))
        elif broken is not None and isinstance(id_, str):
            self._broken[id_] = broken
        index = len(self._sealed)
        self._sealed.append(sealed)
        self._open = None
        self._usual = "\0"
        self._report(BlockClosed(index))

    def _ending(self, text: str, found: dict[str, Member]) -> None:
        assert self._head is not None
        delta = _object(text, found, "delta")
        reason = _value(delta, "stop_reason")
        if reason is not None and not isinstance(reason, str):
            raise OtherFormatError(f"the stop reason is {one_line(repr(reason))}")
        self.endings += 1
        self._stopped = self._stopped or reason is not None
        # Counts are totals: what is given replaces, what is null says nothing new.
        said = {name: one for name, one in found.items() if name != "delta"}
        for name, one in (*delta.items(), *said.items()):
            if name not in _FIXED and (one.value is not None or name not in self._head):
                self._head[name] = one.raw
        if isinstance(_value(found, "usage"), dict):
            usage, _ = members(found["usage"].raw)
            for name, one in usage.items():
                if one.value is not None or name not in self._usage:
                    self._usage[name] = one.raw


def _fields(event: str) -> tuple[str | None, str]:
    """An event's name and its text (HTML standard: event stream interpretation)."""
    name: str | None = None
    lines: list[str] = []
    for line in event.split("\n"):
        field, _, value = line.partition(":")
        if field == "data":
            lines.append(value.removeprefix(" "))
        elif field == "event":
            name = value.removeprefix(" ")
    return name or None, "\n".join(lines)


def _object(text: str, found: dict[str, Member], name: str) -> dict[str, Member]:
    if not isinstance(_value(found, name), dict):
        raise OtherFormatError(f"an event has no {name}")
    return members(text, found[name].at)[0]


def _value(found: dict[str, Member], name: str) -> Any:
    member = found.get(name)
    return member.value if member is not None else None


def _string(block: dict[str, Any], name: str) -> str | None:
    found = block.get(name)
    return found if isinstance(found, str) else None


def _served_by(block: dict[str, Any]) -> str | None:
    """The model that answers from a fallback block on, as JSON."""
    to: Any = block.get("to")
    if block["type"] != "fallback" or not isinstance(to, dict):
        return None
    name = cast("dict[str, Any]", to).get("model")
    return encode(name).decode() if isinstance(name, str) else None

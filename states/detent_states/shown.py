"""What a view makes of the history: messages, and where each of their blocks comes from.

Rules of this file:

* The record is read and never changed; what no operation touches is sent as the very
  bytes that were sealed.
* Whatever the operations are, no result is shown without its call: a result whose call
  is not shown becomes a line of a written record.
* No text is put into the assistant's mouth: what is told instead of something is told in
  a user message.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast, final

import attrs

from detent_states.encoding import encode, parts, text_block
from detent_states.history import (
    Base,
    Exchange,
    History,
    assistant_message,
    user_message,
)
from detent_states.view import (
    Flatten,
    Hide,
    Shrink,
    Side,
    StripThinking,
    Stub,
    View,
)

_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_MEDIA: Final = frozenset({"image", "document"})


@final
@attrs.frozen
class Piece:
    """One block that is sent.

    Attributes:
        data: The block.
        source: Which block of the record it is, or stands for; -1 for one that is made.
    """

    data: bytes
    source: int


@final
@attrs.frozen
class Message:
    """One message that is sent.

    Attributes:
        exchange: The exchange it shows; -1 for one that is made.
        side: Which message of it, and with that the role.
        pieces: Its blocks; None where they are the record's, as they are.
        wire: It, encoded.
    """

    exchange: int
    side: Side
    pieces: tuple[Piece, ...] | None
    wire: bytes


def base_in_force(view: View, base: Base | None) -> Base | None:
    """The summary that is shown, if one is."""
    if base is None or view.ignores(base.covers):
        return None
    return base


def wires(
    view: View, history: History, base: Base | None, staged: bytes
) -> list[bytes]:
    """The messages of a request, encoded, to be joined.

    What no operation reaches is not looked at; what one does is made once a view.
    """
    base = base_in_force(view, base)
    start = 0 if base is None else base.covers
    found = [] if base is None else [base.wire]
    size = len(history)
    reach = max(start, min(view.reach, size))
    if reach > start:
        found += _memoised(view, history, start, reach)
    found += history.wires(reach)
    if staged:
        if view.reach > size:
            staged = _staged(view, history, start, staged)
        found.append(user_message(staged))
    return [one for one in found if one]


def messages(
    view: View, history: History, base: Base | None, staged: bytes
) -> list[Message]:
    """The same, with where each message and block comes from; slower, to look at."""
    base = base_in_force(view, base)
    start = 0 if base is None else base.covers
    size = len(history)
    reach = max(start, min(view.reach, size))
    found: list[Message] = []
    if base is not None:
        found += [Message(-1, Side.USER, (), base.wire)] * base.size
    found += _Rendering(view, history, start).exchanges(start, reach)
    for index in range(reach, size):
        exchange = history[index]
        if exchange.user_size:
            wire = user_message(exchange.user)
            found.append(Message(index, Side.USER, None, wire))
        if exchange.reply_size:
            wire = assistant_message(exchange.replayed)
            found.append(Message(index, Side.REPLY, None, wire))
    if staged:
        if view.reach > size:
            pieces = _Rendering(view, history, start).user(size, parts(staged))
            found.append(_message(size, Side.USER, pieces))
        else:
            found.append(Message(size, Side.USER, None, user_message(staged)))
    return found


@final
@attrs.frozen
class Place:
    """What a path of the server names.

    Attributes:
        exchange: The exchange; the size of the history for what is staged.
        side: Which message of it.
        block: Which block of the record; -1 for the whole message.
        inner: Which part of a tool result's content; -1 for all of it.
    """

    exchange: int
    side: Side
    block: int = -1
    inner: int = -1


_PATH: Final = re.compile(
    r"messages\.(\d+)(?:\.content\.(\d+)(?:(?:\.tool_result)?\.content\.(\d+))?)?"
)


def locate(path: str, sent: Sequence[Message]) -> Place | None:
    """The place in the record that a path names; None if it names none of ours.

    Args:
        path: As the server writes it; its indices count the messages as they were sent.
        sent: The messages that were sent.
    """
    found = _PATH.match(path)
    if found is None or int(found[1]) >= len(sent):
        return None
    message = sent[int(found[1])]
    if message.exchange < 0:
        return None
    block = int(found[2]) if found[2] is not None else -1
    inner = int(found[3]) if found[3] is not None else -1
    if block >= 0 and message.pieces is not None:
        if block >= len(message.pieces):
            return None
        block = message.pieces[block].source
        inner = -1 if block < 0 else inner
    return Place(message.exchange, message.side, block, inner)


def _memoised(view: View, history: History, start: int, reach: int) -> list[bytes]:
    """What the operations reach, made once for a view and its history."""
    key, last = (start, reach), history[reach - 1]
    known = view.memo.get("wires")
    if known is not None and known[0] == key and known[1] is last:
        made: list[bytes] = known[2]
        return made
    rendering = _Rendering(view, history, start)
    made = [m.wire for m in rendering.exchanges(start, reach)]
    view.memo["wires"] = (key, last, made)
    return made


def _staged(view: View, history: History, start: int, staged: bytes) -> bytes:
    pieces = _Rendering(view, history, start).user(len(history), parts(staged))
    return b",".join(piece.data for piece in pieces)


def _message(exchange: int, side: Side, pieces: Sequence[Piece]) -> Message:
    blocks = b",".join(piece.data for piece in pieces)
    made = user_message(blocks) if side is Side.USER else assistant_message(blocks)
    return Message(exchange, side, tuple(pieces), made)


@final
class _Rendering:
    """One pass over the exchanges that a view's operations reach."""

    def __init__(self, view: View, history: History, start: int) -> None:
        self._history = history
        self._start = start
        ops = view.ops
        self._stubs: dict[tuple[int, Side], list[Stub]] = {}
        for op in ops:
            if isinstance(op, Stub):
                self._stubs.setdefault((op.exchange, op.side), []).append(op)
        self._shrinks = [op for op in ops if isinstance(op, Shrink)]
        self._strips = max(
            (op.until for op in ops if isinstance(op, StripThinking)), default=0
        )
        self._flat = [op for op in ops if isinstance(op, Flatten)]
        self._hidden = [op for op in ops if isinstance(op, Hide)]

    def exchanges(self, start: int, until: int) -> list[Message]:
        """The messages of the exchanges from `start` to before `until`."""
        found: list[Message] = []
        told: Hide | None = None
        for index in range(start, until):
            hide = self._hiding(index)
            if hide is not None:
                if hide is not told:
                    note = Piece(text_block(hide.note), -1)
                    found.append(_message(index, Side.USER, [note]))
                told = hide
                continue
            told = None
            exchange = self._history[index]
            user = self.user(index, parts(exchange.user)) if exchange.user_size else []
            reply = self._reply(index, exchange)
            if user:
                found.append(_message(index, Side.USER, user))
            if reply:
                found.append(_message(index, Side.REPLY, reply))
        return found

    def user(self, index: int, blocks: Sequence[bytes]) -> list[Piece]:
        """The user's blocks of one exchange, or of what is staged."""
        asked = self._asked(index - 1)
        stubs = self._stubs.get((index, Side.USER), ())
        most = min(
            (op.bytes_max for op in self._shrinks if index < op.until), default=None
        )
        made: list[Piece] = []
        for place, data in enumerate(blocks):
            block = json.loads(data)
            changed = block
            for stub in stubs:
                if stub.block == place:
                    changed = _stubbed(changed, stub)
            if most is not None:
                changed = shrunk(changed, most)
            if changed.get("type") == "tool_result" and not asked.get(
                str(changed.get("tool_use_id")), False
            ):
                changed = self._record(index, changed)
            made.append(Piece(data if changed is block else encode(changed), place))
        return made

    def _hiding(self, index: int) -> Hide | None:
        for op in self._hidden:
            if op.start <= index < op.until:
                return op
        return None

    def _flattening(self, index: int) -> Flatten | None:
        for op in self._flat:
            if op.start <= index < op.until:
                return op
        return None

    def _asked(self, index: int) -> dict[str, bool]:
        """The calls of an exchange, if it is shown with them."""
        if index < self._start or self._flattening(index) or self._hiding(index):
            return {}
        return dict.fromkeys(_calls(self._history[index]), True)

    def _reply(self, index: int, exchange: Exchange) -> list[Piece]:
        blocks = parts(exchange.replayed)
        stubbed = {op.block for op in self._stubs.get((index, Side.REPLY), ())}
        flat = self._flattening(index) is not None
        strip = index < self._strips
        made: list[Piece] = []
        for place, data in enumerate(blocks):
            type_ = str(json.loads(data).get("type"))
            gone = (
                place in stubbed
                or (strip and type_ in _THINKING)
                or (flat and type_ != "text")
            )
            if not gone:
                made.append(Piece(data, place))
        return made

    def _record(self, index: int, result: Mapping[str, Any]) -> dict[str, Any]:
        """A result whose call is not shown, as a line that tells both."""
        call: Mapping[str, Any] = {}
        if index > 0:
            known = _calls(self._history[index - 1])
            call = known.get(str(result.get("tool_use_id")), {})
        flat = self._flattening(index - 1)
        most = flat.bytes_max if flat is not None else 1024
        given = cut_text(json.dumps(call.get("input", {}), ensure_ascii=False), most)
        told = cut_text(told_result(result), most)
        name = call.get("name", "a tool")
        text = f"[Record: {name} was called with {given}. It answered:]\n{told}"
        return {"type": "text", "text": text}


def _calls(exchange: Exchange) -> dict[str, dict[str, Any]]:
    if b'"tool_use"' not in exchange.wire:
        return {}
    blocks: list[dict[str, Any]] = json.loads(b"[" + exchange.replayed + b"]")
    return {str(b.get("id")): b for b in blocks if b.get("type") == "tool_use"}


def _stubbed(block: dict[str, Any], stub: Stub) -> dict[str, Any]:
    note = {"type": "text", "text": stub.note}
    if block.get("type") != "tool_result":
        return note
    content = block.get("content")
    if stub.inner >= 0 and isinstance(content, list):
        inner = list(cast("list[dict[str, Any]]", content))
        if stub.inner < len(inner):
            inner[stub.inner] = note
            return {**block, "content": inner}
    return {**block, "content": stub.note}


def shrunk(block: dict[str, Any], most: int) -> dict[str, Any]:
    """A user's block with its results cut and its media told; itself if it is short."""
    type_ = block.get("type")
    if type_ in _MEDIA:
        return {"type": "text", "text": f"[An earlier {type_} was left out here.]"}
    if type_ != "tool_result":
        return block
    content = block.get("content")
    if isinstance(content, str):
        cut = cut_text(content, most)
        return block if cut == content else {**block, "content": cut}
    if not isinstance(content, list):
        return block
    inner = cast("list[dict[str, Any]]", content)
    changed = [_shrunk_part(part, most) for part in inner]
    if all(new is old for new, old in zip(changed, inner, strict=True)):
        return block
    return {**block, "content": changed}


def _shrunk_part(part: dict[str, Any], most: int) -> dict[str, Any]:
    if part.get("type") in _MEDIA:
        return {
            "type": "text",
            "text": f"[An earlier {part['type']} was left out here.]",
        }
    text = part.get("text")
    if not isinstance(text, str):
        return part
    cut = cut_text(text, most)
    return part if cut == text else {**part, "text": cut}


def cut_text(text: str, most: int) -> str:
    """A text of at most about `most` bytes: its beginning and its end, and what is gone."""
    size = len(text.encode(errors="surrogatepass"))
    if size <= most + 64:
        return text
    keep = max(most, 16)
    data = text.encode(errors="surrogatepass")
    head = data[: keep * 2 // 3].decode(errors="ignore")
    tail = data[size - keep // 3 :].decode(errors="ignore")
    return f"{head}\n[… {size - keep} bytes were left out here …]\n{tail}"


def told_result(result: Mapping[str, Any]) -> str:
    """What a tool result says, as text."""
    content = result.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    said = [
        str(part.get("text")) if part.get("type") == "text" else f"[{part.get('type')}]"
        for part in cast("list[dict[str, Any]]", content)
    ]
    return "\n".join(said)

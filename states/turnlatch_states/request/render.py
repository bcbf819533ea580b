"""What a view makes of the history: messages, and where each of their blocks comes from.

Rules of this file:

* The record is read and never changed; what no operation touches is sent as the very
  bytes that were sealed.
* Whatever the operations are, no result is shown without its call: a result whose call
  is not shown becomes a line of a written record. A server's tool and its result are
  shown together, or not at all.
* No text is put into the assistant's mouth: what is told instead of something is told in
  a user message.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast, final

import attrs

from turnlatch_states.api.json_bytes import encode, parts, text_block
from turnlatch_states.api.resendable import distinct_ids
from turnlatch_states.request.history import (
    Base,
    Exchange,
    History,
    assistant_message,
    user_message,
)
from turnlatch_states.request.truncate import cut_text, shrunk, told_result
from turnlatch_states.request.view import (
    LEFT_OUT,
    REFUSED_PART,
    Flatten,
    Hide,
    Shrink,
    Side,
    StripThinking,
    Stub,
    View,
)

_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_SERVER_CALLS: Final = frozenset({"server_tool_use", "mcp_tool_use"})
_SERVED: Final = (b'"server_tool_use"', b'"mcp_tool_use"', b'_tool_result"')


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

    Exchanges that no operation reaches are not parsed; the others are rendered once for
    each view.
    """
    base = base_in_force(view, base)
    start = 0 if base is None else base.covers
    found = [] if base is None else [base.wire]
    size = len(history)
    reach = _reach(view, history, start)
    if reach > start:
        found += _memoised(view, history, start, reach)
    found += history.wires(reach)
    if staged:
        if view.reach > size:
            staged = _staged(view, history, start, staged)
        found.append(user_message(staged))
    return found


def messages(
    view: View, history: History, base: Base | None, staged: bytes
) -> list[Message]:
    """The same, with where each message and block comes from; slower, to look at."""
    base = base_in_force(view, base)
    start = 0 if base is None else base.covers
    size = len(history)
    reach = _reach(view, history, start)
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
            wire = assistant_message(exchange.resendable)
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
    """The part of a request that a path of the server names.

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


_AT: Final = r"(\d{1,9})(?!\d)"  # no list is longer, and no message is to be trusted
_PATH: Final = re.compile(
    rf"messages\.{_AT}(?:\.content\.{_AT}(?:(?:\.tool_result)?\.content\.{_AT})?)?",
    re.ASCII,
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
    if block >= 0:
        blocks: list[object] = json.loads(message.wire)["content"]
        if block >= len(blocks):
            return None
        if message.pieces is not None:
            block = message.pieces[block].source
            inner = -1 if block < 0 else inner
    return Place(message.exchange, message.side, block, inner)


def ends_openly(wire: bytes) -> bool:
    """True if messages may end a request: in the user's word, or among server tools."""
    last = json.loads(b"[" + wire + b"]")[-1]
    if last["role"] == "user":
        return True
    done = {block.get("tool_use_id") for block in last["content"]}
    return str(last["content"][-1].get("type")).endswith("_tool_result") or any(
        block.get("type") in _SERVER_CALLS and block.get("id") not in done
        for block in last["content"]
    )


def _reach(view: View, history: History, start: int) -> int:
    """The exchange after the last that has to be looked at.

    Where a view ends between a call of a server's tool and its result, which comes with
    a later reply of that turn, both are looked at.
    """
    reach = min(view.reach, len(history))
    if reach <= start:
        return start
    turn = history[reach - 1].turn
    opened: set[str] = set()
    at = max(start, history.end_of_turn(turn - 1))
    while at < reach or (opened and at < len(history) and history[at].turn == turn):
        if _serves(history[at]):
            for block in _resendable(history[at]):
                if block.get("type") in _SERVER_CALLS:
                    opened.add(str(block.get("id")))
                opened.discard(str(block.get("tool_use_id")))
        at += 1
    return at


def _memoised(view: View, history: History, start: int, reach: int) -> list[bytes]:
    """The exchanges that operations reach, rendered once for a view and its history."""
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
        self._names = _names(view, history, start)

    def exchanges(self, start: int, until: int) -> list[Message]:
        """The messages of the exchanges from `start` to before `until`."""
        found: list[Message] = []
        told: Hide | None = None
        parted = self._parted(start, until)
        for index in range(start, until):
            hide = self._hiding(index)
            if hide is not None:
                if hide is not told:
                    note = Piece(text_block(hide.note.strip() or LEFT_OUT), -1)
                    found.append(_message(-1, Side.USER, [note]))
                told = hide
                continue
            told = None
            exchange = self._history[index]
            user = self.user(index, parts(exchange.user)) if exchange.user_size else []
            reply = self._reply(index, exchange, parted.get(index))
            if user:
                found.append(_message(index, Side.USER, user))
            if reply:
                found.append(_message(index, Side.REPLY, reply))
        return found

    def user(self, index: int, blocks: Sequence[bytes]) -> list[Piece]:
        """The user's blocks of one exchange, or of what is staged."""
        asked, hidden = self._asked(index - 1), self._hiding(index - 1) is not None
        stubs = self._stubs.get((index, Side.USER), ())
        most = min(
            (op.bytes_max for op in self._shrinks if index < op.until), default=None
        )
        made: list[Piece] = []
        results = 0
        for place, data in enumerate(blocks):
            block = json.loads(data)
            changed = block
            for stub in stubs:
                if stub.block == place:
                    changed = _stubbed(changed, stub)
            if most is not None:
                changed = shrunk(changed, most)
            answers = changed.get("type") == "tool_result"
            if answers and str(changed.get("tool_use_id")) not in asked:
                answers = False
                changed = self._record(index, changed)
                for stub in stubs:
                    if stub.block == place and stub.inner < 0 and hidden:
                        # Neither the call nor its result is to be told.
                        changed = _note(stub)
            elif answers:
                changed = _named(changed, "tool_use_id", self._names.get(index - 1))
            piece = Piece(data if changed is block else encode(changed), place)
            # The remaining results come first, before parts that became a record.
            made.insert(results if answers else len(made), piece)
            results += answers
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

    def _asked(self, index: int) -> frozenset[str]:
        """The calls of an exchange that it is shown with."""
        if index < self._start or b'"tool_use"' not in self._history[index].wire:
            return frozenset()
        blocks = _resendable(self._history[index])
        gone = self._dropped(index, blocks)
        return frozenset(
            str(block.get("id"))
            for place, block in enumerate(blocks)
            if block.get("type") == "tool_use" and place not in gone
        )

    def _dropped(self, index: int, blocks: Sequence[Mapping[str, Any]]) -> set[int]:
        """The blocks of a reply that the operations leave out."""
        hidden = self._hiding(index) is not None
        unanswered = self._hiding(index + 1) is not None
        stubbed = {op.block for op in self._stubs.get((index, Side.REPLY), ())}
        flat = self._flattening(index) is not None
        strip = index < self._strips
        return {
            place
            for place, type_ in enumerate(str(block.get("type")) for block in blocks)
            if hidden
            or place in stubbed
            or (strip and type_ in _THINKING)
            or (flat and type_ != "text")
            or (unanswered and type_ == "tool_use")
        }

    def _parted(self, start: int, until: int) -> dict[int, set[int]]:
        """The blocks to leave out of replies with server tools, by exchange.

        A call and its result are left out together. A call without a result yet is left
        out, too, if a client call next to it is left out: the answer to that call is then
        not a result, and only results may stand between.
        """
        gone: dict[int, set[int]] = {}
        opened: dict[str, tuple[set[int], int]] = {}
        for index in range(start, until):
            if not _serves(self._history[index]):
                continue
            blocks = _resendable(self._history[index])
            mine = gone[index] = self._dropped(index, blocks)
            types = [str(block.get("type")) for block in blocks]
            answered = {str(block.get("tool_use_id")) for block in blocks}
            torn = any(types[place] == "tool_use" for place in mine)
            for place, (type_, block) in enumerate(zip(types, blocks, strict=True)):
                id_ = str(block.get("id"))
                if type_ in _SERVER_CALLS:
                    opened[id_] = mine, place
                    if torn and id_ not in answered:
                        mine.add(place)
                elif type_.endswith("_tool_result"):
                    call = opened.pop(str(block.get("tool_use_id")), (mine, place))
                    if place in mine or call[1] in call[0]:
                        mine.add(place)
                        call[0].add(call[1])
        return gone

    def _reply(
        self, index: int, exchange: Exchange, gone: set[int] | None
    ) -> list[Piece]:
        blocks = parts(exchange.resendable)
        if gone is None:
            gone = self._dropped(index, [json.loads(data) for data in blocks])
        names = self._names.get(index)
        if names is not None:
            read = ((data, json.loads(data)) for data in blocks)
            blocks = [
                data
                if (shown := _named(block, "id", names)) is block
                else encode(shown)
                for data, block in read
            ]
        return [
            Piece(data, place) for place, data in enumerate(blocks) if place not in gone
        ]

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


def call_names(view: View, history: History, base: Base | None) -> Mapping[str, str]:
    """The names that calls of the last exchange are shown with, by the id they are
    sealed with; only of those that are shown with another."""
    base = base_in_force(view, base)
    start = 0 if base is None else base.covers
    return _names(view, history, start).get(len(history) - 1, {})


def _names(view: View, history: History, start: int) -> dict[int, dict[str, str]]:
    """The same for each exchange that has such calls."""
    found: dict[int, dict[str, str]] = {}
    seen: set[str] = set()
    for index in range(start, min(view.renames, len(history))):
        ids = history[index].call_ids
        shown = distinct_ids(ids, seen, f"{index} ")
        names = {id_: name for id_, name in zip(ids, shown, strict=True) if id_ != name}
        if names:
            found[index] = names
        seen.update(shown)
    return found


def _named(
    block: dict[str, Any], field: str, names: Mapping[str, str] | None
) -> dict[str, Any]:
    """A call or a result with the name of the call in that field."""
    name = (names or {}).get(str(block.get(field)))
    return block if name is None else {**block, field: name}


def _resendable(exchange: Exchange) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(b"[" + exchange.resendable + b"]")
    return found


def _serves(exchange: Exchange) -> bool:
    """True if a reply has a server's tool in it, or may have."""
    return any(mark in exchange.wire for mark in _SERVED)


def _calls(exchange: Exchange) -> dict[str, dict[str, Any]]:
    if b'"tool_use"' not in exchange.wire:
        return {}
    blocks = _resendable(exchange)
    return {str(b.get("id")): b for b in blocks if b.get("type") == "tool_use"}


def _note(stub: Stub) -> dict[str, Any]:
    return {"type": "text", "text": stub.note.strip() or REFUSED_PART}


def _stubbed(block: dict[str, Any], stub: Stub) -> dict[str, Any]:
    note = _note(stub)
    if block.get("type") != "tool_result":
        return note
    content = block.get("content")
    if stub.inner >= 0 and isinstance(content, list):
        inner = list(cast("list[dict[str, Any]]", content))
        if stub.inner < len(inner):
            inner[stub.inner] = note
            return {**block, "content": inner}
    return {**block, "content": note["text"]}

"""Parts that the service refused, known again by their content.

A place says where a part stood; a tool that gives the same bad picture for every message
puts it in a new place each time. So what was refused is remembered by the digest of its
bytes, and is left out before sending: a note replaces it in a result and in the
history. The user's own message is not changed: the turn fails at once, names
the block and costs no request; `retry()` sends it all the same.

Remembered is a picture or a document that was named in a refusal, and the one part of
the results that a request was confirmed without, after it was refused with it.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final, cast, final

import attrs

from turnlatch_states.api.faults import Fault
from turnlatch_states.api.json_bytes import parts
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.request.render import Place, locate, messages
from turnlatch_states.request.view import Side

_MEDIA: Final = ("image", "document")


@final
@attrs.frozen
class Part:
    """A part of a user's message that can be refused for what is in it.

    Attributes:
        block: Which block of the message.
        inner: Which part of a result's content; -1 for all of it.
        own: It is the user's own, and no part of a result.
        media: It is a picture or a document.
        digest: Digest of its content.
    """

    block: int
    inner: int
    own: bool
    media: bool
    digest: str


def parts_of(user: bytes) -> Iterator[Part]:
    """The parts of a user's message, those of its results one by one."""
    for place, data in enumerate(parts(user)):
        block: dict[str, Any] = json.loads(data)
        if block.get("type") != "tool_result":
            yield _part(place, -1, block, own=True)
            continue
        content = block.get("content")
        if isinstance(content, list):
            for inner, one in enumerate(cast("list[dict[str, Any]]", content)):
                yield _part(place, inner, one, own=False)
        elif content:
            yield _part(place, -1, {"type": "text", "text": content}, own=False)


def _part(place: int, inner: int, block: dict[str, Any], *, own: bool) -> Part:
    said = {name: one for name, one in block.items() if name != "cache_control"}
    written = json.dumps(said, sort_keys=True).encode()
    media = block.get("type") in _MEDIA
    return Part(place, inner, own, media, sha256(written).hexdigest())


def named(snapshot: Snapshot, turn: Turn, fault: Fault) -> frozenset[str]:
    """The pictures and documents that a refusal names, by what is in them."""
    found: set[str] = set()
    for path in fault.paths or ((fault.path,) if fault.path else ()):
        place = place_of(snapshot, turn, path)
        if place is None or place.side is not Side.USER or place.block < 0:
            continue
        found.update(
            part.digest
            for part in parts_of(user_part(snapshot, turn, place.exchange))
            if part.media
            and part.block == place.block
            and place.inner in (-1, part.inner)
        )
    return frozenset(found)


def left_out(snapshot: Snapshot, turn: Turn) -> frozenset[str]:
    """The part of the results that a request was confirmed without, where a search had
    found that it is refused with it; nothing where it may have been another."""
    if turn.trial is None or Remedy.BISECT not in turn.tried or not turn.calls:
        return frozenset()
    if turn.lent:
        return frozenset()  # nothing was refused for good
    given = [part for part in parts_of(turn.staged) if not part.own]
    suspects = [part for part in given if part.media] or given
    digests = {part.digest for part in suspects}
    if len(digests) != 1:
        return frozenset()
    sent = messages(turn.trial, snapshot.history, snapshot.base, turn.staged)
    shown: list[Any] = json.loads(sent[-1].wire)["content"] if sent else []
    still = {part.digest for part in parts_of(json.dumps(shown)[1:-1].encode())}
    return frozenset(digests - still)


def user_part(snapshot: Snapshot, turn: Turn, exchange: int) -> bytes:
    """The user message of an exchange; the staged one behind the last exchange."""
    history = snapshot.history
    return turn.staged if exchange >= len(history) else history[exchange].user


def place_of(snapshot: Snapshot, turn: Turn, path: str) -> Place | None:
    """The place in the record that the server names; None if it names none of ours."""
    sent = messages(snapshot.showing, snapshot.history, snapshot.base, turn.staged)
    return locate(path, sent)

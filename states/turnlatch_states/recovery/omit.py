"""What is left out of a request because it is refused by name: blocks, files, turns.

Each function gives a view that leaves out a little more, or None where nothing is left to
try; none of them gives a request that is, byte for byte, the one that was refused.
"""

import json
import re
from typing import Any, Final, cast

from turnlatch_states.api.faults import Fault
from turnlatch_states.api.json_bytes import parts
from turnlatch_states.api.resendable import mended
from turnlatch_states.machine.refused_parts import place_of
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot, Turn, cuttable
from turnlatch_states.recovery.context_window import (
    OLD_RESULT_BYTES,
    RECORD_BYTES,
    boundary,
)
from turnlatch_states.recovery.decisions import ChangeRequest
from turnlatch_states.recovery.rung import Failure, Rung
from turnlatch_states.request.build import betas, build
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.render import Place
from turnlatch_states.request.view import (
    REFUSED_PART,
    Flatten,
    Hide,
    Op,
    Rename,
    Shrink,
    Side,
    Stub,
    View,
)

_MESSAGES: Final = "messages."

STUBS_MAX: Final = 4
"""Blocks that are stubbed one by one before a whole part is left out, and such parts."""


def changes(snapshot: Snapshot, turn: Turn, view: View) -> bool:
    """True if the next request is another one under a view than as it is shown now."""
    return _sent(snapshot, turn, view) != _sent(snapshot, turn, snapshot.showing)


def _sent(snapshot: Snapshot, turn: Turn, view: View) -> tuple[bytes, tuple[str, ...]]:
    profile, base = snapshot.profile, snapshot.base
    body = build(profile, snapshot.history, base, turn.staged, view=view)
    return body, betas(profile, base, Purpose.MESSAGE, view=view)


def _named(failure: Failure) -> tuple[Place, ...]:
    """The places of the history and of the results that the fault names; none if one of
    them is in the user's own words, which are never touched: the turn names them."""
    snapshot, turn, fault = failure.snapshot, failure.turn, failure.fault
    paths = fault.paths if len(fault.paths) > 1 else (fault.path or "",)
    found = [
        place_of(snapshot, turn, path) for path in paths if path.startswith(_MESSAGES)
    ]
    places = tuple(place for place in found if place is not None)
    size = len(snapshot.history)
    own = any(
        place.exchange >= size and not 0 <= place.block < len(turn.calls)
        for place in places
    )
    return () if own else places


def place_unknown(failure: Failure) -> bool:
    """True if the fault names no place, or one that no message of the request has."""
    fault = failure.fault
    if fault.path is None:
        return True
    if not fault.path.startswith(_MESSAGES) or len(fault.paths) > 1:
        return False
    return place_of(failure.snapshot, failure.turn, fault.path) is None


def _stub(failure: Failure) -> ChangeRequest | None:
    """A note in every place that is named."""
    snapshot = failure.snapshot
    made = (_instead(snapshot, place, failure.fault) for place in _named(failure))
    ops = [op for op in made if op is not None and op not in snapshot.showing.ops]
    if not ops:
        return None
    return failure.change(Remedy.STUB, failure.view_with(*ops))


def _shrink(failure: Failure) -> ChangeRequest | None:
    """Shorter results up to the place, where notes did not help."""
    places = _named(failure)
    if not places or failure.tried(Remedy.STUB) < STUBS_MAX:
        return None
    op = Shrink(places[0].exchange + 1, OLD_RESULT_BYTES)
    return _changed(failure, Remedy.SHRINK, op)


def _flatten(failure: Failure) -> ChangeRequest | None:
    """The open turn as a record, if the place is in it."""
    snapshot, places = failure.snapshot, _named(failure)
    closed = boundary(snapshot)
    if not places or places[0].exchange < closed or not failure.turn.staged:
        return None  # a paused turn goes back as it came, or not at all
    op = Flatten(closed, len(snapshot.history), RECORD_BYTES * 8)
    return _changed(failure, Remedy.FLATTEN, op)


def _hide(failure: Failure) -> ChangeRequest | None:
    """Leave out the whole closed turn that the place is in."""
    snapshot, places = failure.snapshot, _named(failure)
    history, closed = snapshot.history, boundary(snapshot)
    if not places or places[0].exchange >= closed:
        return None
    number = history[places[0].exchange].turn
    start = max(history.end_of_turn(number - 1), snapshot.covered)
    while start > snapshot.covered and not cuttable(history, start):
        start -= 1  # what it answers was asked in the turn before: they go together
    op = Hide(start, min(history.end_of_turn(number), closed), REFUSED_PART)
    return _changed(failure, Remedy.HIDE, op)


def _changed(failure: Failure, remedy: Remedy, op: Op) -> ChangeRequest | None:
    """The change to a view with one operation more, if the next request differs."""
    if op in failure.snapshot.showing.ops:
        return None
    view = failure.view_with(op)
    if not changes(failure.snapshot, failure.turn, view):
        return None
    return failure.change(remedy, view)


def _instead(snapshot: Snapshot, place: Place, fault: Fault) -> Op | None:
    """The operation that replaces a named block."""
    note = f"[Left out: the service refuses this block ({_short(fault.message)}).]"
    history = snapshot.history
    if place.block < 0:
        return None
    if place.side is Side.USER:
        return Stub(place.exchange, place.side, place.block, place.inner, note)
    blocks = parts(history[place.exchange].resendable)
    if place.block >= len(blocks):
        return None
    if b'tool_use"' in blocks[place.block] or b'_tool_result"' in blocks[place.block]:
        # A call and its result go together, and so does whatever is around them.
        return Flatten(place.exchange, place.exchange + 1, RECORD_BYTES * 8)
    return Stub(place.exchange, place.side, place.block, -1, "")


_REPEATED: Final = re.compile(r"\bids? must be unique\b")


def _rename(failure: Failure) -> ChangeRequest | None:
    """New ids for calls that share one, if the server refuses that.

    Most services take an id back that was used again in a later turn.
    """
    if not _REPEATED.search(failure.fault.message):
        return None
    op, snapshot = Rename(len(failure.snapshot.history)), failure.snapshot
    if not changes(snapshot, failure.turn, snapshot.showing.adding(op)):
        return None
    return _changed(failure, Remedy.RENAME, op)


_FILE: Final = re.compile(r"\bfile_\w{1,64}")


def stub_files(failure: Failure) -> ChangeRequest | None:
    """A note for each block of the past whose file is named as gone."""
    snapshot, message = failure.snapshot, failure.fault.message
    history, view = snapshot.history, snapshot.showing
    gone = set(_FILE.findall(message))
    note = f"[Left out: the service no longer has this file ({_short(message)}).]"
    ops = [
        Stub(index, Side.USER, block, inner, note)
        for index in range(snapshot.covered, len(history))
        if any(name.encode() in history[index].user for name in gone)
        for block, data in enumerate(parts(history[index].user))
        for inner in _holding(data, gone)
    ]
    shown = failure.view_with(*ops) if ops else view
    return None if shown is view else failure.change(Remedy.STUB, shown)


def _holding(block: bytes, gone: set[str]) -> list[int]:
    """The parts of a result that hold one of these files; -1 for a block that does."""
    found: dict[str, Any] = json.loads(block)
    content = found.get("content")
    if found.get("type") == "tool_result" and isinstance(content, list):
        inner = cast("list[dict[str, Any]]", content)
        return [at for at, part in enumerate(inner) if _file_of(part) in gone]
    return [-1] if _file_of(found) in gone else []


def _file_of(block: dict[str, Any]) -> str | None:
    source = block.get("source")
    if not isinstance(source, dict):
        return None
    found: object = cast("dict[str, object]", source).get("file_id")
    return found if isinstance(found, str) else None


def _short(message: str) -> str:
    message = mended(message)
    return message if len(message) <= 80 else message[:77] + "..."


def _stub_files(failure: Failure) -> ChangeRequest | None:
    return stub_files(failure) if place_unknown(failure) else None


RENAME_CALLS: Final = Rung(
    Remedy.RENAME, _rename, 1, "only if the server says that ids must be unique"
)
STUB_FILES: Final = Rung(
    Remedy.STUB, _stub_files, note="for each file that is named as gone, once"
)
STUB_NAMED: Final = Rung(
    Remedy.STUB, _stub, STUBS_MAX, "never in what you said last: the turn names that"
)
SHRINK_NAMED: Final = Rung(
    Remedy.SHRINK, _shrink, 1, f"after {STUBS_MAX} notes, up to the block that is named"
)
FLATTEN_NAMED: Final = Rung(
    Remedy.FLATTEN, _flatten, 1, "if the block is in the open turn"
)
HIDE_NAMED: Final = Rung(
    Remedy.HIDE, _hide, STUBS_MAX, "the turn that the block is in, if it is closed"
)

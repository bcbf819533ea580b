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
    unbound,
)
from turnlatch_states.recovery.decisions import ChangeRequest
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

STUBS_MAX: Final = 4
"""Blocks that are stubbed one by one before a whole part is left out, and such parts."""


def changes(snapshot: Snapshot, turn: Turn, view: View) -> bool:
    """True if the next request is another one under a view than as it is shown now."""
    return _sent(snapshot, turn, view) != _sent(snapshot, turn, snapshot.showing)


def _sent(snapshot: Snapshot, turn: Turn, view: View) -> tuple[bytes, tuple[str, ...]]:
    profile, base = snapshot.profile, snapshot.base
    body = build(profile, snapshot.history, base, turn.staged, view=view)
    return body, betas(profile, base, Purpose.MESSAGE, view=view)


def without_block(
    snapshot: Snapshot, turn: Turn, place: Place, fault: Fault
) -> ChangeRequest | None:
    """A note in the place that is named, or the part it stands in is left out."""
    staged = place.exchange >= len(snapshot.history)
    results = len(turn.calls) if staged else 0
    if staged and (place.block < 0 or place.block >= results):
        return None  # the user's own words: he is told which
    op = _instead(snapshot, place, fault)
    if turn.tried.count(Remedy.STUB) >= STUBS_MAX:
        shorter = Shrink(place.exchange + 1, OLD_RESULT_BYTES)
        made = _tried(snapshot, turn, Remedy.SHRINK, fault, shorter)
        return made or _leave_out(snapshot, turn, place, fault)
    if op is None or op in snapshot.showing.ops:
        return _leave_out(snapshot, turn, place, fault)
    view = snapshot.showing.adding(op, *unbound(snapshot))
    return ChangeRequest(Remedy.STUB, fault.message, view)


def without_blocks(
    snapshot: Snapshot, turn: Turn, fault: Fault
) -> ChangeRequest | None:
    """A note in every place that is named, all at once; None where one of them is the
    user's own, or where nothing is left to be noted."""
    size, ops = len(snapshot.history), list[Op]()
    for path in fault.paths:
        place = place_of(snapshot, turn, path)
        if place is None:
            continue
        if place.exchange >= size and not 0 <= place.block < len(turn.calls):
            return None
        op = _instead(snapshot, place, fault)
        if op is not None and op not in snapshot.showing.ops:
            ops.append(op)
    if not ops or turn.tried.count(Remedy.STUB) >= STUBS_MAX:
        place = place_of(snapshot, turn, fault.paths[0])
        return None if place is None else without_block(snapshot, turn, place, fault)
    view = snapshot.showing.adding(*ops, *unbound(snapshot))
    return ChangeRequest(Remedy.STUB, fault.message, view)


def _instead(snapshot: Snapshot, place: Place, fault: Fault) -> Op | None:
    """What stands in the place of a block that is named."""
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


def _leave_out(
    snapshot: Snapshot, turn: Turn, place: Place, fault: Fault
) -> ChangeRequest | None:
    """Leave out the whole turn in which a place stands; flatten the one going on."""
    history, size = snapshot.history, len(snapshot.history)
    closed = boundary(snapshot)
    if place.exchange >= closed:
        if not turn.staged:
            return None  # a paused turn goes back as it came, or not at all
        flat = Flatten(closed, size, RECORD_BYTES * 8)
        return _tried(snapshot, turn, Remedy.FLATTEN, fault, flat)
    number = history[place.exchange].turn
    start = max(history.end_of_turn(number - 1), snapshot.covered)
    while start > snapshot.covered and not cuttable(history, start):
        start -= 1  # what it answers was asked in the turn before: they go together
    hide = Hide(start, min(history.end_of_turn(number), closed), REFUSED_PART)
    return _tried(snapshot, turn, Remedy.HIDE, fault, hide)


def _tried(
    snapshot: Snapshot, turn: Turn, remedy: Remedy, fault: Fault, op: Op
) -> ChangeRequest | None:
    """A view with one operation more, if it was not tried and changes something."""
    most = STUBS_MAX if remedy is Remedy.HIDE else 1
    view = snapshot.showing.adding(op, *unbound(snapshot))
    if turn.tried.count(remedy) >= most or op in snapshot.showing.ops:
        return None
    return (
        ChangeRequest(remedy, fault.message, view)
        if changes(snapshot, turn, view)
        else None
    )


_REPEATED: Final = re.compile(r"\bids? must be unique\b")


def with_own_names(
    snapshot: Snapshot, turn: Turn, fault: Fault
) -> ChangeRequest | None:
    """Names of their own for calls that have one id, where that is what is refused.

    Most services take an id back that was used again in a later turn.
    """
    op = Rename(len(snapshot.history))
    if not _REPEATED.search(fault.message):
        return None
    if not changes(snapshot, turn, snapshot.showing.adding(op)):
        return None
    return _tried(snapshot, turn, Remedy.RENAME, fault, op)


_FILE: Final = re.compile(r"\bfile_\w{1,64}")


def without_files(snapshot: Snapshot, fault: Fault) -> ChangeRequest | None:
    """A note for each block of the past whose file is named as gone."""
    history, view = snapshot.history, snapshot.showing
    gone = set(_FILE.findall(fault.message))
    note = f"[Left out: the service no longer has this file ({_short(fault.message)}).]"
    ops = [
        Stub(index, Side.USER, block, inner, note)
        for index in range(snapshot.covered, len(history))
        if any(name.encode() in history[index].user for name in gone)
        for block, data in enumerate(parts(history[index].user))
        for inner in _holding(data, gone)
    ]
    shown = view.adding(*ops, *unbound(snapshot)) if ops else view
    return None if shown is view else ChangeRequest(Remedy.STUB, fault.message, shown)


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

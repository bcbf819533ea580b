"""What was refused before is not sent again: a note stands for it, or nothing is sent."""

from collections.abc import Iterable
from typing import Final

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.machine.refused_parts import parts_of, user_part
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.recovery.decisions import ChangeRequest
from turnlatch_states.recovery.rung import unbound
from turnlatch_states.request.history import media_in
from turnlatch_states.request.render import messages
from turnlatch_states.request.view import Side, Stub

NOTE: Final = "[Left out: the service refused exactly this before.]"


def without_known(snapshot: Snapshot) -> ChangeRequest | None:
    """A note for each part that was refused before, in the results and in the history;
    None where none is shown."""
    turn = snapshot.turn
    if turn is None or not snapshot.known_bad:
        return None
    view, size = snapshot.showing, len(snapshot.history)
    noted = {
        (op.exchange, op.block, op.inner)
        for op in view.ops
        if isinstance(op, Stub) and op.side is Side.USER
    }
    ops = [
        Stub(index, Side.USER, part.block, part.inner, NOTE)
        for index in _looked_at(snapshot, turn)
        for part in parts_of(user_part(snapshot, turn, index))
        if part.digest in snapshot.known_bad
        and not (part.own and index == size)
        and noted.isdisjoint({(index, part.block, part.inner), (index, part.block, -1)})
    ]
    if not ops:
        return None
    why = "the service refused exactly this before"
    return ChangeRequest(Remedy.STUB, why, view.adding(*ops, *unbound(snapshot)))


def known_in_own(snapshot: Snapshot) -> Fault | None:
    """Why the user's own message is not sent: it holds what was refused before, and he
    has not asked for it to be sent all the same."""
    turn = snapshot.turn
    if turn is None or not (snapshot.known_bad and turn.content):
        return None
    if any(move.trigger == "retry" for move in turn.path):
        return None
    sent = messages(snapshot.showing, snapshot.history, snapshot.base, turn.staged)
    paths = tuple(
        f"messages.{len(sent) - 1}.content.{part.block}"
        for part in parts_of(turn.staged)
        if part.own and part.media and part.digest in snapshot.known_bad
    )
    if not paths:
        return None
    said = (
        f"{', '.join(paths)}: the service refused exactly this before, so nothing was"
        " sent; send() it without, or retry() to send it all the same"
    )
    return Fault(FaultKind.BLOCK, said, path=paths[0], paths=paths)


def _looked_at(snapshot: Snapshot, turn: Turn) -> Iterable[int]:
    """The exchanges that may hold such a part, the one that is staged last."""
    history = snapshot.history
    for index in range(snapshot.covered, len(history)):
        if media_in(history[index].user):
            yield index
    if turn.staged:
        yield len(history)

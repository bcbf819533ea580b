"""Loading: the snapshot that a journal's events add up to.

`fold_events` gives what folding `step` would give; a property test holds it to that. Most of
a long journal is plain turns (opened, sent, confirmed, and then another turn opened, so
nothing was owed): those are taken whole.
"""

from collections.abc import Sequence

import attrs

from turnlatch_states.api.reply import Spent, simulated
from turnlatch_states.fsm.table import Table
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.commit import written_elsewhere
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import begin, fold
from turnlatch_states.machine.thread import ThreadState
from turnlatch_states.machine.turn import TURN
from turnlatch_states.request.build import Copy
from turnlatch_states.request.history import Exchange, History
from turnlatch_states.request.profile import Purpose


def fold_events(events: Sequence[Event]) -> Snapshot:
    """The snapshot after all the events of a conversation.

    Args:
        events: Every event, beginning with `ConversationOpened`.

    Raises:
        IllegalEventError: The tables do not allow the events.
    """
    if not events or not isinstance(events[0], ev.ConversationOpened):
        TURN.refuse("nothing", "load", legal=("ConversationOpened",))
    return _tail(begin(events[0]), events, 1)


def _tail(snapshot: Snapshot, events: Sequence[Event], start: int) -> Snapshot:
    """Take plain turns whole, and everything else through the machine."""
    index = start
    while index < len(events):
        plain = _plain_turns(snapshot, events, index)
        if plain:
            snapshot, index = _taken(snapshot, events, index, plain)
            continue
        snapshot = fold(snapshot, events[index])
        index += 1
    return snapshot


def _plain_turns(snapshot: Snapshot, events: Sequence[Event], index: int) -> int:
    """How many plain turns follow, each known to be settled by the turn after it."""
    turn = snapshot.turn
    if snapshot.usual is not None:
        return 0  # the next turn has other settings than the last
    if not snapshot.resting or snapshot.said or (turn is not None and turn.calls):
        return 0
    count, number = 0, snapshot.turns
    while index + 3 < len(events):
        opened, sent, confirmed, after = events[index : index + 4]
        number += 1
        if not (
            isinstance(opened, ev.TurnOpened)
            and isinstance(sent, ev.RequestSent)
            and isinstance(confirmed, ev.ReplyConfirmed)
            and isinstance(after, ev.TurnOpened)
            and opened.purpose is Purpose.MESSAGE
            and opened.content
            and opened.profile is None
            and opened.turn == sent.turn == confirmed.turn == number
            and sent.attempt == confirmed.attempt == 1
            and b'"tool_use"' not in confirmed.reply.content
            and not confirmed.misfit
        ):
            break
        count += 1
        index += 3
    return count


def _taken(
    snapshot: Snapshot, events: Sequence[Event], index: int, count: int
) -> tuple[Snapshot, int]:
    """The snapshot after `count` plain turns, the last of them through the machine.

    The last one goes through the machine so that what a turn remembers is what the
    machine would have left.
    """
    sealed: list[Exchange] = []
    metas: list[bytes] = []
    thread = snapshot.thread
    for _ in range(count - 1):
        opened, sent, confirmed = events[index : index + 3]
        assert isinstance(opened, ev.TurnOpened)
        assert isinstance(sent, ev.RequestSent)
        assert isinstance(confirmed, ev.ReplyConfirmed)
        reply = confirmed.reply
        if sent.copy is not Copy.NONE or thread.state is not ThreadState.OFF:
            thread = thread.sent(sent.copy, Table.choose)
            elsewhere = written_elsewhere(reply)
            thread = thread.confirmed(sent.copy, Table.choose, elsewhere=elsewhere)
        sealed.append(Exchange.seal(opened.turn, opened.content, reply))
        metas.append(reply.meta)
        index += 3
    if sealed:
        snapshot = attrs.evolve(
            snapshot,
            history=History((*snapshot.history, *sealed)),
            spent=Spent(snapshot.usage, metas),
            simulated=snapshot.simulated or any(map(simulated, metas)),
            thread=thread,
            turn=None,
            turns=snapshot.turns + len(sealed),
            entries=snapshot.entries + 3 * len(sealed),
        )
    for event in events[index : index + 3]:
        snapshot = fold(snapshot, event)
    return snapshot, index + 3

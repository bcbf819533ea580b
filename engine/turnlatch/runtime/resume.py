"""Opening what is on disk: the confirmed prefix, and the truth about the rest.

Loading only reads. Work that the last process left unfinished is settled by the next
writer that opens the conversation, as ordinary events.
"""

from collections.abc import Sequence

import attrs

from turnlatch.errors import JournalCorruptError
from turnlatch.journal.repeated import events_of, without_repetitions
from turnlatch.logs import LOG_STORE
from turnlatch.ports import Entry
from turnlatch.runtime.record import Record
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.effects.calls import lost_calls
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.load import fold_events
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.turn import TurnState


@attrs.frozen
class Loaded:
    """The contents of a journal.

    Attributes:
        snapshot: Where the conversation stands.
        keys: The turn that each idempotency key opened last.
        said: The idempotency keys of steered messages.
    """

    snapshot: Snapshot
    keys: dict[str, int]
    said: set[str]


def load(entries: Sequence[Entry], where: str = "journal") -> Loaded | None:
    """Read a conversation; None if nothing was ever recorded.

    Entries that an interrupted append left twice are read once, which a warning in the
    log says.

    Raises:
        JournalCorruptError: The tables do not allow the recorded events.
    """
    if not entries:
        return None
    try:
        return _loaded(events_of(entries))
    except IllegalEventError as error:
        once = without_repetitions(entries)
        if once is entries:
            raise JournalCorruptError(
                where,
                f"it records what cannot have happened ({error})",
                "restore it from a backup; nothing was changed",
            ) from error
    LOG_STORE.warning(
        "%s: %d of its %d entries were appended a second time when an append was"
        " interrupted; they are read once, and the record was not changed",
        where,
        len(entries) - len(once),
        len(entries),
    )
    return _loaded(events_of(once))


def _loaded(events: Sequence[Event]) -> Loaded:
    keys = {
        event.key: event.turn
        for event in events
        if isinstance(event, ev.TurnOpened) and event.key is not None
    }
    said = {
        event.key
        for event in events
        if isinstance(event, ev.Steered) and event.key is not None
    }
    return Loaded(fold_events(events), keys, said)


def recover(record: Record) -> None:
    """Settle what the last process left open, and say so in the journal.

    A request that was in flight failed with an unknown outcome. A call that was started
    is lost: its end was not seen. Where nothing can be found out about it, and it may
    not be repeated, it is closed as unknown at once. A scheduled retry does not come by
    itself. Calls that nothing was done about wait as they did.
    """
    turn = record.snapshot.turn
    if turn is None:
        return
    if turn.state == TurnState.CONFIRMED:
        for event in lost_calls(record.snapshot, record.world.facts):
            record.apply(event)
        return
    record.bring_to_rest(
        "the process ended in the middle of the turn", FaultKind.INTERRUPTED
    )

"""Does a journal conform to the tables? The record of a conversation, judged by itself."""

import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Final, final

import attrs

from turnlatch.journal.repeated import without_repetitions
from turnlatch.ports import Entry
from turnlatch.rulebook import Rulebook
from turnlatch.runtime.preflight import findings
from turnlatch_states.api.rules import member
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import begin, fold


class NonconformityKind(StrEnum):
    """A way in which a journal contradicts what a conversation is."""

    NUMBERING = "numbering"
    """The entries are not numbered from 1 without gaps."""
    NOT_OPENED = "not_opened"
    """The first entry does not open a conversation."""
    ILLEGAL_EVENT = "illegal_event"
    """The tables refuse an event where it stands."""
    REPEATED_ENTRIES = "repeated_entries"
    """A run of entries stands there twice, as interrupted appends once left it; a
    conversation reads it once."""
    STALE_EVENT = "stale_event"
    """An event is about a turn, an attempt or a call that was over: it changes nothing,
    and such events are not recorded."""
    WRONG_RESULT = "wrong_result"
    """A call was closed with what is not a `tool_result` for that call."""
    KEY_REUSED = "key_reused"
    """Two calls were started with the same idempotency key, or one call with two."""
    MISPLACED_FORK = "misplaced_fork"
    """A fork says that it was made after another entry than the one before it."""
    ILLEGAL_HISTORY = "illegal_history"
    """The Messages API refuses the messages that the conversation would send."""


@final
@attrs.frozen
class Nonconformity:
    """The first contradiction in a journal.

    Attributes:
        kind: The kind of contradiction.
        sequence: Number of the entry that shows it; the last entry's for the history as
            a whole, 0 in an empty journal.
        problem: The contradiction, as a sentence without its full stop.
    """

    kind: NonconformityKind
    sequence: int
    problem: str

    def __str__(self) -> str:
        return f"entry {self.sequence}: {self.kind}: {self.problem}"


_CLOSED_LATER: Final = "R12"
"""A server tool that a reply left open: it is closed when the next request is prepared."""

_SERVERS_OWN: Final = Rulebook(own=False)
"""The rules of the format, without those about the fields and models of one service."""


def conforms(entries: Sequence[Entry]) -> Nonconformity | None:
    """None if a journal conforms to the tables, else the first contradiction.

    Every event is given to the machine in the order of the record: each has to be a row
    of the tables. Results are held to their calls, idempotency keys to each other, and
    the messages of the next request to the rules that all servers of the Messages API
    share. A journal may end anywhere, in the middle of a turn or of a call. Message ids
    are not judged: services give some twice.

    Args:
        entries: Every entry of one conversation, a fork's inherited entries included,
            as `Store.read` and `Journal.entries` return them. An empty journal conforms.
    """
    if not entries:
        return None
    return next(_contradictions(entries), None)


def _contradictions(entries: Sequence[Entry]) -> Iterator[Nonconformity]:
    first = entries[0].event
    if not isinstance(first, ev.ConversationOpened):
        yield _found(
            NonconformityKind.NOT_OPENED,
            entries[0],
            f"the first event is {type(first).__name__}, not ConversationOpened",
        )
        return
    snapshot, known = begin(first), _Known()
    for number, entry in enumerate(entries, 1):
        if entry.sequence != number:
            yield _found(
                NonconformityKind.NUMBERING,
                entry,
                f"it has the number {entry.sequence}, and {number} is next",
            )
        if number == 1:
            continue
        try:
            after = fold(snapshot, entry.event)
        except IllegalEventError as refused:
            yield _refused(entries, entry, refused)
            return
        if after is snapshot:
            yield _found(
                NonconformityKind.STALE_EVENT,
                entry,
                f"{type(entry.event).__name__} is about what was over; turn"
                f" {snapshot.turns} is {snapshot.substate}",
            )
        yield from known.contradictions(snapshot, entry)
        snapshot = after
    yield from _history(snapshot, entries[-1])


def _found(kind: NonconformityKind, entry: Entry, problem: str) -> Nonconformity:
    return Nonconformity(kind, entry.sequence, problem)


def _refused(
    entries: Sequence[Entry], entry: Entry, refused: IllegalEventError
) -> Nonconformity:
    once = without_repetitions(entries)
    if once is not entries:
        return _found(
            NonconformityKind.REPEATED_ENTRIES,
            entry,
            f"{len(entries) - len(once)} entries repeat those before them",
        )
    return _found(NonconformityKind.ILLEGAL_EVENT, entry, str(refused))


@attrs.define
class _Known:
    """Idempotency keys in a record, each with the call that it belongs to.

    Attributes:
        keys: By idempotency key, the call that was started with it.
        places: By call, the idempotency key that it was started with.
    """

    keys: dict[str, str] = attrs.field(factory=dict[str, str])
    places: dict[str, str] = attrs.field(factory=dict[str, str])

    def contradictions(self, before: Snapshot, entry: Entry) -> Iterator[Nonconformity]:
        """Contradictions of an event that the tables allow.

        Args:
            before: The conversation before it.
            entry: The event's entry.
        """
        match entry.event:
            case ev.CallClosed() as closed:
                yield from _result(entry, closed)
            case ev.CallStarted() as started:
                yield from self._key(_place(before, started), entry, started)
            case ev.Forked() as forked if forked.sequence != entry.sequence - 1:
                yield _found(
                    NonconformityKind.MISPLACED_FORK,
                    entry,
                    f"it was forked after entry {forked.sequence}",
                )
            case _:
                pass

    def _key(
        self, place: str, entry: Entry, started: ev.CallStarted
    ) -> Iterator[Nonconformity]:
        key = started.key
        other = self.keys.setdefault(key, place)
        former = self.places.setdefault(place, key)
        if other != place:
            yield _found(
                NonconformityKind.KEY_REUSED,
                entry,
                f"calls {other} and {place} were started with the key {key!r}",
            )
        if former != key:
            yield _found(
                NonconformityKind.KEY_REUSED,
                entry,
                f"call {place} was started with the keys {former!r} and {key!r}",
            )


def _place(snapshot: Snapshot, event: ev.CallStarted) -> str:
    call = None if snapshot.turn is None else snapshot.turn.call(event.call)
    return event.call if call is None else call.place


def _result(entry: Entry, closed: ev.CallClosed) -> Iterator[Nonconformity]:
    try:
        block: Any = json.loads(closed.result)
    except ValueError:
        block = None
    told = (member(block, "type"), member(block, "tool_use_id"))
    if told != ("tool_result", closed.call):
        yield _found(
            NonconformityKind.WRONG_RESULT,
            entry,
            f"call {closed.call!r} was closed with a block of type and id {told}",
        )


def _history(snapshot: Snapshot, last: Entry) -> Iterator[Nonconformity]:
    try:
        found = findings(snapshot, _SERVERS_OWN)
    except ValueError:
        yield _found(
            NonconformityKind.ILLEGAL_HISTORY, last, "a message is not valid JSON"
        )
        return
    for one in found:
        if not one.accepted_too and one.rule != _CLOSED_LATER:
            yield _found(NonconformityKind.ILLEGAL_HISTORY, last, one.message)

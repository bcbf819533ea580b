"""Entries that were appended a second time, and how they are told from damage.

A turnlatch that was interrupted at the end of an append could append the same events again.
Such a record says nothing wrong, it says something twice. It is read without the second
time, and is left as it is.

An exact repetition is a run of entries

* whose events equal those of the run right before it, one by one,
* of which one is not legal where it stands,
* without which the record goes on legally, at least up to where it did not before.

Of several runs that fit, the shortest is taken.
"""

from collections.abc import Sequence

from turnlatch.ports import Entries, Entry
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.step import begin, fold


def without_repetitions(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries without those that exactly repeat what stands before them.

    A record that is legal comes back as it is, and so does one that is not legal for
    another reason: what is wrong with it is for `verify_chain` to say.
    """
    found = list(entries)
    at = _illegal(found)
    while at is not None:
        shorter = _shorter(found, at)
        if shorter is None:
            return entries
        found, at = shorter
    return entries if len(found) == len(entries) else found


def events_of(entries: Sequence[Entry]) -> Sequence[Event]:
    """The events of entries."""
    if isinstance(entries, Entries):
        return entries.events
    return [entry.event for entry in entries]


def _illegal(entries: Sequence[Entry]) -> int | None:
    """The index of the first entry that is not legal where it stands."""
    first = entries[0].event if entries else None
    if not isinstance(first, ev.ConversationOpened):
        return 0
    snapshot = begin(first)
    for index, entry in enumerate(entries[1:], 1):
        try:
            snapshot = fold(snapshot, entry.event)
        except IllegalEventError:
            return index
    return None


def _shorter(entries: list[Entry], at: int) -> tuple[list[Entry], int | None] | None:
    """The entries without the shortest repetition around one that is not legal, and the
    index of the next such; None if the record goes on no further for any."""
    events = events_of(entries)
    for size in range(1, at):
        if events[at - size] != events[at]:
            continue
        first, end = at, at + 1
        while first > size + 1 and events[first - 1] == events[first - 1 - size]:
            first -= 1
        while end < len(events) and events[end] == events[end - size]:
            end += 1
        if end - first < size:
            continue
        shorter = entries[:first] + entries[first + size :]
        found = _illegal(shorter)
        if found is None or found + size > at:
            return shorter, found
    return None

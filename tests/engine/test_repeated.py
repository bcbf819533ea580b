"""A record that says something twice, because an append was interrupted, is read once."""

import logging
from collections.abc import Sequence

import pytest
from tests.around import append_now
from tests.harness.world import World

from turnlatch import JournalCorruptError
from turnlatch.journal import SQLiteStore
from turnlatch.journal.repeated import events_of, without_repetitions
from turnlatch.ports import Entries, Entry
from turnlatch.runtime.resume import load
from turnlatch.simulator import call
from turnlatch.watching.events import Cursor
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.machine.events import Event, Steered
from turnlatch_states.machine.load import fold_events


async def recorded(world: World) -> list[Event]:
    """Real turns: a call, a failure that was waited out, something said while it ran."""
    world.script("One.", call("act", what="a"), "Two.", "Three.", faults="529")
    async with world.open() as chat:
        await chat.send("1")
        await chat.send("2", key="k")
        await chat.steer("by the way", key="s")
        await chat.send("3")
    store = SQLiteStore(world.store)
    events = [one.event for one in store.read("a")]
    store.close()
    return events


def legal(events: Sequence[Event]) -> bool:
    try:
        fold_events(events)
    except IllegalEventError:
        return False
    return True


@pytest.mark.anyio
async def test_every_run_that_stands_there_twice_is_read_once(world: World) -> None:
    """Every run of every length, at every place: where the record is not legal any more
    it is read as what it was; where it is, nothing is left out."""
    events = await recorded(world)
    whole = repr(fold_events(events))
    read_once = 0
    for first in range(1, len(events)):
        for end in range(first + 1, len(events) + 1):
            twice = [*events[:end], *events[first:end], *events[end:]]
            entries = Entries(twice)
            once = without_repetitions(entries)
            if legal(twice):
                assert once is entries
                continue
            read_once += 1
            assert once is not entries, (first, end)
            found = load(entries)
            assert found is not None
            assert repr(found.snapshot) == whole, (first, end)
    assert read_once > 100


@pytest.mark.anyio
async def test_several_repetitions_are_each_read_once(world: World) -> None:
    events = await recorded(world)
    end = len(events)
    twice = [*events[:4], *events[1:4], *events[1:4], *events[4:], *events[end - 3 :]]

    found = load(Entries(twice))

    assert found is not None
    assert repr(found.snapshot) == repr(fold_events(events))
    assert found.keys == {"k": 2}


@pytest.mark.anyio
async def test_inexact_repetition_is_still_refused(world: World) -> None:
    """A run with a gap, a run out of order, a run that comes later."""
    events = await recorded(world)
    for wrong in (
        [*events[:4], events[1], events[3], *events[4:]],
        [*events[:4], events[2], events[1], *events[4:]],
        [*events[:7], *events[1:4], *events[7:]],
        [*events[:2], *events[3:]],
        events[1:],
    ):
        with pytest.raises(JournalCorruptError):
            load(Entries(wrong))


@pytest.mark.anyio
@pytest.mark.spoils_journals("entries are appended twice")
async def test_a_store_that_was_damaged_so_opens_says_so_and_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.script("One.", "Two.", "Three.", "Four.")
    async with world.open() as chat:
        await chat.send("1")
        await chat.send("2")
    store = SQLiteStore(world.store)
    journal = store.open("a")
    last = [one.event for one in journal.entries()][-2:]
    append_now(journal, last)  # what an interrupt around COMMIT once did
    entries = journal.sequence
    store.close()

    for text, expected in (("3", 3), ("4", 4)):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "turnlatch"):
            async with world.open() as chat:
                assert "2 of its" in caplog.text
                assert "appended a second time" in caplog.text
                await chat.send(text)
                assert len(chat.history) == expected
                assert chat.watch(Cursor()) is not None, "its past is told again"
    store = SQLiteStore(world.store)
    assert len(store.read("a")) > entries, "nothing was taken away"
    store.close()


def test_nothing_legal_is_left_out_however_often_it_stands_there() -> None:
    """Words said twice are two times the words."""
    said = Steered(0, b'{"type":"text","text":"x"}')
    entries = [Entry(1, said), Entry(2, said)]

    assert events_of(without_repetitions(entries)) == [said, said]

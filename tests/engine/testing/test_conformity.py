"""A journal conforms to the tables, or its first contradiction is named with its place."""

from collections.abc import Sequence

import pytest
from tests.harness.world import World
from tests.states.strategies import PROFILE, call, reply, search, text

from turnlatch.journal import MemoryStore, SQLiteStore
from turnlatch.ports import Entries, Entry
from turnlatch.simulator import call as called
from turnlatch.testing import Nonconformity, NonconformityKind, conforms
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.synthetic_results import closed_result

SAID = encode(text("Go"))


def closed(call_id: str, result: bytes) -> ev.CallClosed:
    return ev.CallClosed(1, call_id, Closing.RESULT, result)


WHOLE: Sequence[Event] = (
    ev.ConversationOpened(PROFILE),
    ev.TurnOpened(1, SAID),
    ev.RequestSent(1, 1),
    ev.ReplyConfirmed(1, 1, reply(1, "tool_use", call("toolu_a"), call("toolu_b"))),
    ev.CallStarted(1, "toolu_a", "key a"),
    closed("toolu_a", closed_result("toolu_a", "done")),
    ev.CallStarted(1, "toolu_b", "key b", safe=True),
    ev.CallLost(1, "toolu_b"),
    ev.CallStarted(1, "toolu_b", "key b", safe=True),
    closed("toolu_b", closed_result("toolu_b", "done")),
    ev.TurnContinued(1),
    ev.RequestSent(1, 2),
    ev.ReplyConfirmed(1, 2, reply(2, "end_turn", text())),
    ev.TurnOpened(2, SAID),
)
"""A turn with two calls, one of which a crash interrupted."""


def judged(events: Sequence[Event]) -> Nonconformity | None:
    return conforms(Entries(events))


def replaced(at: int, *events: Event) -> Sequence[Event]:
    """The whole journal with other events in the place of entry `at` (from 1)."""
    return (*WHOLE[: at - 1], *events, *WHOLE[at:])


def test_every_beginning_of_a_journal_conforms() -> None:
    for size in range(len(WHOLE) + 1):
        assert judged(WHOLE[:size]) is None


EMPTY = ev.TurnOpened(1, encode(text("")))

PLANTED: Sequence[tuple[NonconformityKind, int, Sequence[Entry]]] = (
    (NonconformityKind.NOT_OPENED, 1, Entries(WHOLE[1:])),
    (NonconformityKind.NUMBERING, 2, Entries(WHOLE, before=1)),
    (
        NonconformityKind.NUMBERING,
        9,
        [one for one in Entries(WHOLE) if one.sequence != 8],
    ),
    (NonconformityKind.ILLEGAL_EVENT, 2, Entries(replaced(2))),
    (
        NonconformityKind.ILLEGAL_EVENT,
        7,
        Entries(replaced(6, ev.CallLost(1, "toolu_a"), WHOLE[4])),
    ),
    (NonconformityKind.ILLEGAL_EVENT, 11, Entries(replaced(11, WHOLE[0], WHOLE[10]))),
    (NonconformityKind.REPEATED_ENTRIES, 3, Entries(replaced(2, WHOLE[1], WHOLE[1]))),
    (NonconformityKind.STALE_EVENT, 7, Entries(replaced(6, WHOLE[5], WHOLE[5]))),
    (
        NonconformityKind.STALE_EVENT,
        5,
        Entries(replaced(4, WHOLE[3], WHOLE[3])),
    ),
    (
        NonconformityKind.WRONG_RESULT,
        6,
        Entries(replaced(6, closed("toolu_a", closed_result("toolu_b", "x")))),
    ),
    (
        NonconformityKind.WRONG_RESULT,
        6,
        Entries(replaced(6, closed("toolu_a", b"{"))),
    ),
    (
        NonconformityKind.KEY_REUSED,
        7,
        Entries(replaced(7, ev.CallStarted(1, "toolu_b", "key a", safe=True))),
    ),
    (
        NonconformityKind.KEY_REUSED,
        9,
        Entries(replaced(9, ev.CallStarted(1, "toolu_b", "key c", safe=True))),
    ),
    (
        NonconformityKind.MISPLACED_FORK,
        3,
        Entries(replaced(3, ev.Forked("parent", 1), WHOLE[2])),
    ),
    (
        NonconformityKind.ILLEGAL_HISTORY,
        14,
        Entries(replaced(2, EMPTY)),
    ),
    (
        NonconformityKind.ILLEGAL_HISTORY,
        2,
        Entries((WHOLE[0], ev.TurnOpened(1, b'{"type":"text"'))),
    ),
)


@pytest.mark.parametrize(
    ("kind", "sequence", "entries"),
    PLANTED,
    ids=[f"{kind}-{number}" for number, (kind, _, _) in enumerate(PLANTED)],
)
def test_a_planted_contradiction_is_found_where_it_stands(
    kind: NonconformityKind, sequence: int, entries: Sequence[Entry]
) -> None:
    found = conforms(entries)
    assert found is not None
    assert (found.kind, found.sequence) == (kind, sequence)
    assert str(found).startswith(f"entry {sequence}: {kind}: ")


def test_each_kind_of_contradiction_is_planted() -> None:
    assert {kind for kind, _, _ in PLANTED} == set(NonconformityKind)


def test_open_server_tool_of_a_paused_reply_conforms() -> None:
    paused = ev.ReplyConfirmed(1, 1, reply(1, "pause_turn", search()))
    failed = ev.TurnFailed(1, 1, Fault(FaultKind.CANCELLED, "stopped"))
    assert judged((*WHOLE[:3], paused, failed)) is None


def test_a_fork_says_after_which_entry_it_was_made() -> None:
    assert judged((*WHOLE[:2], ev.Forked("parent", 2), *WHOLE[2:])) is None


@pytest.mark.anyio
async def test_record_of_a_conversation_conforms_in_a_file_and_in_memory(
    world: World,
) -> None:
    memory = MemoryStore()
    for store in (world.store, memory):
        world.script(called("act", what="a"), "Done.", faults="529 @2")
        async with world.open(store=store) as chat:
            await chat.send("Go")
            fork = chat.fork("b")
        async with fork:
            await fork.send("And?")
    file = SQLiteStore(world.store)
    for read in (file.read, memory.read):
        for name in ("a", "b"):
            assert len(read(name)) > 6
            assert conforms(read(name)) is None
    file.close()

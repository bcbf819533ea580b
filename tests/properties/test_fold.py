"""Loading takes runs of plain turns whole; it must give what folding them gives."""

import attrs
from hypothesis import given
from hypothesis import strategies as st
from tests.states.strategies import PROFILE, reply, text

from turnlatch_states.api.json_bytes import encode
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.load import fold_events
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import begin, fold
from turnlatch_states.request.build import Copy
from turnlatch_states.request.profile import Threads

OPENED = ev.ConversationOpened(attrs.evolve(PROFILE, threads=Threads.ON))
TURNS = st.lists(st.tuples(st.sampled_from(Copy), st.booleans()), max_size=12)


def plain(turns: list[tuple[Copy, bool]]) -> list[Event]:
    """Turns that were opened, sent and confirmed, as far as the tables allow them.

    Each is a copy mode, and whether another model wrote the reply.
    """
    events: list[Event] = [OPENED]
    snapshot = begin(OPENED)
    for copy, elsewhere in turns:
        number = snapshot.turns + 1
        usage = {"iterations": [{"type": "fallback_message"}]} if elsewhere else {}
        said = reply(number, "end_turn", text(), usage=usage)
        new: list[Event] = [
            ev.TurnOpened(number, encode(text(f"say {number}"))),
            ev.RequestSent(number, 1, copy),
            ev.ReplyConfirmed(number, 1, said),
        ]
        try:
            after = snapshot
            for event in new:
                after = fold(after, event)
        except IllegalEventError:
            continue  # it would continue a copy that nobody has
        events += new
        snapshot = after
    return events


def folded(events: list[Event]) -> Snapshot:
    """What the machine makes of the events, one by one."""
    snapshot = begin(OPENED)
    for event in events[1:]:
        snapshot = fold(snapshot, event)
    return snapshot


@given(TURNS)
def test_runs_of_plain_turns_load_as_the_machine_would_have_left_them(
    turns: list[tuple[Copy, bool]],
) -> None:
    events = plain(turns)

    assert fold_events(events) == folded(events)


def test_the_check_sees_a_load_that_forgets_the_servers_copy() -> None:
    events = plain([(Copy.CREATE, False), *[(Copy.CONTINUE, False)] * 4])

    loaded = fold_events(events)
    forgot = attrs.evolve(loaded, thread=begin(OPENED).thread)
    assert loaded == folded(events)
    assert forgot != folded(events)

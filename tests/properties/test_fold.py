"""Loading takes runs of plain turns whole; it must give what folding them gives."""

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.states.strategies import PROFILE, reply, text

from turnlatch_states.api.faults import Fault, FaultKind
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
OWN = attrs.evolve(PROFILE, max_tokens=7, threads=Threads.ON)
TURNS = st.lists(
    st.tuples(
        st.sampled_from(Copy), st.sampled_from(["", "elsewhere", "own", "misfit"])
    ),
    max_size=12,
)


def plain(turns: list[tuple[Copy, str]]) -> list[Event]:
    """Turns that were opened, sent and confirmed, as far as the tables allow them.

    Each is a copy mode, and what else it is: another model wrote the reply, the turn has
    its settings, or the first reply was not the output asked for.
    """
    events: list[Event] = [OPENED]
    snapshot = begin(OPENED)
    for copy, kind in turns:
        number = snapshot.turns + 1
        elsewhere = {"iterations": [{"type": "fallback_message"}]}
        usage = elsewhere if kind == "elsewhere" else {}
        said = reply(number, "end_turn", text(), usage=usage)
        own = OWN if kind == "own" else None
        new: list[Event] = [
            ev.TurnOpened(number, encode(text(f"say {number}")), profile=own),
            ev.RequestSent(number, 1, copy),
            ev.ReplyConfirmed(number, 1, said),
        ]
        if kind == "misfit":
            new[2:] = [
                ev.ReplyConfirmed(number, 1, said, "another form"),
                ev.TurnContinued(number),
                ev.RequestSent(number, 2),
                ev.ReplyConfirmed(number, 2, said),
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
@example([(Copy.NONE, "own"), (Copy.CREATE, ""), *[(Copy.CONTINUE, "")] * 3])
def test_runs_of_plain_turns_load_as_the_machine_would_have_left_them(
    turns: list[tuple[Copy, str]],
) -> None:
    events = plain(turns)

    assert fold_events(events) == folded(events)


def test_the_check_sees_a_load_that_forgets_the_servers_copy() -> None:
    events = plain([(Copy.CREATE, ""), *[(Copy.CONTINUE, "")] * 4])

    loaded = fold_events(events)
    forgot = attrs.evolve(loaded, thread=begin(OPENED).thread)
    assert loaded == folded(events)
    assert forgot != folded(events)


def test_load_refuses_a_turn_that_begins_where_an_answer_is_owed() -> None:
    events = plain([(Copy.NONE, "")] * 3)
    confirmed = events[3]
    assert isinstance(confirmed, ev.ReplyConfirmed)
    events[3] = attrs.evolve(confirmed, misfit="another form")

    with pytest.raises(IllegalEventError):
        fold_events(events)


def test_turn_with_its_settings_forgets_what_was_learned_under_the_usual_ones() -> None:
    """The window that a refusal told of is that of one model, say."""
    said = "prompt is too long: 210000 tokens > 200000 maximum"
    first: list[Event] = [
        OPENED,
        ev.TurnOpened(1, encode(text("say 1"))),
        ev.RequestSent(1, 1),
        ev.TurnFailed(1, 1, Fault(FaultKind.TOO_LONG, said)),
        ev.TurnRetried(1, asked=True),
        ev.RequestSent(1, 2),
        ev.ReplyConfirmed(1, 2, reply(1, "end_turn", text())),
    ]
    assert folded(first).window == 200_000
    rest = [
        event
        for number in range(2, 7)
        for event in (
            ev.TurnOpened(
                number,
                encode(text(f"say {number}")),
                profile=OWN if number == 3 else None,
            ),
            ev.RequestSent(number, 1),
            ev.ReplyConfirmed(number, 1, reply(number, "end_turn", text())),
        )
    ]

    assert folded([*first, *rest]).window is None
    assert fold_events([*first, *rest]) == folded([*first, *rest])

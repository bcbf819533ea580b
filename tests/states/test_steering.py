"""What is said while a turn runs: in order, once, and never lost without a word."""

import json

from hypothesis import given
from hypothesis import strategies as st
from tests.states.strategies import PROFILE, legal_events, text

from turnlatch_states.api.json_bytes import encode
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import begin, step


def said_in(snapshot: Snapshot) -> list[int]:
    """The numbers of the waiting messages that the history holds, in its order."""
    return [
        int(block["text"].split()[1])
        for wire in snapshot.history.wires()
        for message in json.loads(b"[" + wire + b"]")
        for block in message["content"]
        if block.get("text", "").startswith("said ")
    ]


def waiting(snapshot: Snapshot) -> list[int]:
    return [int(json.loads(one)["text"].split()[1]) for one in snapshot.said]


@given(st.lists(st.integers(0, 10**6), max_size=60))
def test_steered_message_is_sent_or_waits_or_was_given_up_and_never_twice(
    choices: list[int],
) -> None:
    """Over any course of events. Only giving up a turn may drop what it had taken, and
    only a rewind may take out of the history what stood in it."""
    snapshot = begin(ev.ConversationOpened(PROFILE))
    count, gone = 0, set[int]()
    for number, choice in enumerate(choices):
        steers = ev.Steered(snapshot.turns, encode(text(f"said {count}")))
        events = [steers, *legal_events(snapshot, number, threads=False)]
        chosen = events[choice % len(events)]
        if isinstance(chosen, ev.Steered):
            chosen = steers
        before = set(said_in(snapshot)) | set(waiting(snapshot))
        try:
            made = step(snapshot, chosen)
        except IllegalEventError:
            continue
        count += isinstance(chosen, ev.Steered)
        snapshot = made.snapshot
        found, left = said_in(snapshot), waiting(snapshot)
        lost = before - set(found) - set(left)
        if lost:
            assert isinstance(chosen, ev.TurnAbandoned | ev.TurnOpened | ev.Rewound)
        gone |= lost

        assert found == sorted(set(found)), "twice, or out of order"
        assert left == sorted(set(left))
        assert not set(found) & set(left)
        assert set(found) | set(left) | gone == set(range(count))
        turn = snapshot.turn
        if turn is not None:
            assert 0 <= turn.taken <= len(snapshot.said)

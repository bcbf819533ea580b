"""A pinned text goes along with a summary until it is let go of, and no longer."""

import attrs
from hypothesis import given
from hypothesis import strategies as st
from tests.states.conversation_strategies import Conversation, body_of
from tests.states.strategies import text

from turnlatch_states.machine import events as ev
from turnlatch_states.machine.thread import Thread, ThreadState
from turnlatch_states.request.history import Method
from turnlatch_states.request.pins import pinned_blocks, without_pin
from turnlatch_states.request.view import View

NAMES = st.text(min_size=1, max_size=8)


@given(st.dictionaries(NAMES, st.text(max_size=20), max_size=4), NAMES)
def test_a_pin_is_taken_out_and_every_other_stays_as_it_was(
    pins: dict[str, str], name: str
) -> None:
    every = tuple(pins.items())
    others = tuple((n, said) for n, said in every if n != name)

    assert without_pin(pinned_blocks(every), name) == pinned_blocks(others)


def summed_up(method: Method) -> Conversation:
    """A conversation with a summary and two pinned texts."""
    chat = Conversation()
    chat.says(text("One."))
    chat.do(ev.Pinned("a", "mind the gap"))
    chat.do(ev.Pinned("b", "mind the step"))
    chat.opens(text("Go on."))
    assert chat.summarises(method)
    return chat


def test_removed_pin_is_not_sent_with_the_summary_in_force() -> None:
    for method in Method:
        chat = summed_up(method)
        held = attrs.evolve(chat.snapshot, thread=Thread(ThreadState.CONTINUING))
        chat.snapshot = held
        assert b"mind the gap" in body_of(chat.snapshot, View())
        chat.do(ev.Pinned("a", None))

        sent = body_of(chat.snapshot, View())
        assert b"mind the gap" not in sent
        assert b"mind the step" in sent
        assert chat.snapshot.bases == held.bases, "the record stays as it is"
        assert chat.snapshot.thread.state is ThreadState.LOST, "the server has it still"
        chat.do(ev.Pinned("a", "mind the gap"))
        assert b"mind the gap" not in body_of(chat.snapshot, View()), (
            "only the next has"
        )


def test_to_let_go_of_what_no_summary_holds_changes_nothing_that_is_sent() -> None:
    chat = summed_up(Method.SIGNED)
    held = attrs.evolve(chat.snapshot, thread=Thread(ThreadState.CONTINUING))
    chat.snapshot = held
    chat.do(ev.Pinned("c", None))

    assert chat.snapshot.base == held.base
    assert chat.snapshot.thread == held.thread

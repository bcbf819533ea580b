"""What is next is a function of the snapshot: a search that a crash cut short goes on."""

from collections.abc import Callable
from typing import Final

import attrs
import pytest
from tests.states.conversation_strategies import Conversation
from tests.states.recovery_simulator import Recovery, Sent
from tests.states.test_search import past, with_calls, with_words, word
from tests.states.test_trials import conversation_at

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.effects.effect import REST, Conditions, Probe
from turnlatch_states.effects.next_effect import next_effect
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import fold
from turnlatch_states.recovery.policies import Policies

TURNS: Final = 9
DIED: Final = Fault(FaultKind.INTERRUPTED, "the process ended")
NO: Final = Fault(FaultKind.INVALID, "No.", status=400)
FAILS: Final = Fault(FaultKind.TRANSIENT, "m", status=500)

PLACES: Final[dict[str, Callable[[], Snapshot]]] = {
    "words": lambda: with_words(past(TURNS)),
    "open calls": lambda: with_calls(past(TURNS)),
}


def refusing(fault: Fault) -> Callable[[Sent], Fault | None]:
    """A service that cannot stand some words of the past."""
    return lambda sent: fault if word(4).encode() in sent.body else None


def settled(recovery: Recovery) -> list[str]:
    """The keys of the trials that were settled, in order."""
    probed = (one for one in recovery.events if isinstance(one, ev.Probed))
    return [one.key for one in probed if one.key]


def cut_short(chat: Conversation, fault: Fault, trials: int) -> Recovery | None:
    """A recovery whose process dies after so many settled trials; None if it got through."""
    recovery = Recovery(chat, refusing(fault))
    while len(settled(recovery)) < trials:
        if not recovery.goes_on():
            return None
    turn = recovery.turn
    if turn.state != "failed":
        return None
    recovery.do(ev.RetryCancelled(turn.number, DIED))
    return recovery


@pytest.mark.parametrize("fault", [NO, FAILS], ids=lambda fault: fault.kind)
@pytest.mark.parametrize("place", PLACES)
def test_a_search_that_a_crash_cut_short_pays_for_no_settled_trial_again(
    place: str, fault: Fault
) -> None:
    crashes = 0
    for trials in range(1, 12):
        chat = conversation_at(PLACES[place]())
        dead = cut_short(chat, fault, trials)
        if dead is None:
            break
        crashes += 1
        after = Recovery(chat, refusing(fault))
        after.do(ev.TurnRetried(chat.turn.number, asked=True))
        after.run()

        assert after.turn.state == "confirmed", after.told
        assert not set(settled(dead)) & set(settled(after)), trials
    assert crashes >= 3


def test_the_check_sees_an_engine_that_forgets_its_trials() -> None:
    """Planted: the keys are not kept."""
    chat = conversation_at(PLACES["words"]())
    dead = cut_short(chat, NO, 3)
    assert dead is not None
    chat.snapshot = attrs.evolve(chat.snapshot, trials=())
    after = Recovery(chat, refusing(NO))
    after.do(ev.TurnRetried(chat.turn.number, asked=True))
    after.run()

    assert set(settled(dead)) & set(settled(after))


@pytest.mark.parametrize("fault", [NO, FAILS], ids=lambda fault: fault.kind)
@pytest.mark.parametrize("place", PLACES)
def test_next_effect_is_the_same_after_a_reload(place: str, fault: Fault) -> None:
    """A search stands in the snapshot: there is nothing else to lose."""
    recovery = Recovery(conversation_at(PLACES[place]()), refusing(fault))
    folded, seen, probes = recovery.before, 0, 0
    goes_on = True
    while goes_on:
        for event in recovery.events[seen:]:
            folded = fold(folded, event)
        seen = len(recovery.events)
        given = Conditions(Policies(), draw=0.5)
        effect = next_effect(folded, given)
        assert effect == next_effect(recovery.snapshot, given)
        probes += isinstance(effect, Probe)
        goes_on = recovery.goes_on()
    assert recovery.turn.state == "confirmed"
    assert probes > 3 or fault is NO


def test_nothing_is_next_before_the_first_turn() -> None:
    assert next_effect(Conversation().snapshot, Conditions()) is REST

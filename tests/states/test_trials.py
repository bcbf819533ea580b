"""A trial that is refused for another reason is made again without that, and what is
found leaves out no more than both reasons need."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from tests.states.conversation_strategies import Conversation
from tests.states.recovery_simulator import Recovery, Sent, Service
from tests.states.strategies import text
from tests.states.test_search import (
    behind_a_summary,
    hidden,
    past,
    with_calls,
    with_words,
    word,
)

from turnlatch_states.api.faults import DEFINITE, Fault, FaultKind
from turnlatch_states.machine.doubt import RULES
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.recovery.probes import (
    fresh_snapshot,
    probe_result,
    view_without_named,
    with_view,
)
from turnlatch_states.request.view import (
    DropBound,
    DropField,
    Hide,
    IgnoreBase,
    Shrink,
    View,
)

K = FaultKind
TURNS = 6
NO = Fault(K.INVALID, "No.", status=400)
MARKED = "A maximum of 0 blocks with cache_control may be provided. Found 2."
SUMMARY = "compaction_signature_invalid"

NAMED: dict[bytes, Fault] = {
    b'"cache_control"': Fault(K.OPTIONAL_FIELD, MARKED, status=400),
    b'"diagnostics"': Fault(
        K.OPTIONAL_FIELD, "diagnostics: Extra inputs are not permitted", status=400
    ),
    b'"type":"compaction"': Fault(K.COMPACTION, "No.", status=400, code=SUMMARY),
}
"""What a request holds, and how it is refused for that."""


def conversation_at(snapshot: Snapshot) -> Conversation:
    """A conversation that stands there, refused once before."""
    chat = Conversation()
    chat.snapshot = attrs.evolve(snapshot, refused=1)
    return chat


def service(words: str, name: bytes, *, named_first: bool) -> Service:
    """What refuses some words for nothing it names, and one more thing by its name."""

    def refuses(sent: Sent) -> Fault | None:
        found = [NO] if words.encode() in sent.body else []
        if name in sent.body:
            found.insert(0 if named_first else 1, NAMED[name])
        return found[0] if found else None

    return refuses


def refusing_words(words: str) -> Service:
    """What refuses some words for nothing it names."""
    return lambda sent: NO if words.encode() in sent.body else None


MORE = 2
"""Requests that a named reason may cost beside the search: it is met, and put aside."""


HINTS = (b'"cache_control"', b'"diagnostics"')
"""What the engine adds to a request by itself."""


def hints_in(recovery: Recovery) -> list[bytes]:
    """The hints of the last request."""
    return [hint for hint in HINTS if hint in recovery.sent[-1].body]


@pytest.mark.parametrize("named_first", [True, False])
@pytest.mark.parametrize("open_", [True, False])
@pytest.mark.parametrize("name", NAMED)
def test_named_reason_in_addition_to_the_searched_one_is_put_aside(
    name: bytes, open_: bool, named_first: bool
) -> None:
    for culprit in range(TURNS // 2, TURNS):
        if b"compaction" in name:
            snapshot = behind_a_summary(TURNS // 2, open_=open_)
        else:
            snapshot = (with_calls if open_ else with_words)(past(TURNS))
        refuses = service(word(culprit), name, named_first=named_first)
        recovery = Recovery(conversation_at(snapshot), refuses).run()

        assert recovery.turn.state == "confirmed", recovery.told
        view = recovery.snapshot.view
        assert hidden(snapshot, view, TURNS) == [culprit]
        assert name not in recovery.sent[-1].body
        assert hints_in(recovery) == [hint for hint in HINTS if hint != name]
        alone = Recovery(conversation_at(snapshot), refusing_words(word(culprit))).run()
        assert len(recovery.sent) <= len(alone.sent) + MORE


def test_the_check_sees_a_search_that_concludes_from_another_reason() -> None:
    """Planted: whatever is refused is taken for what is searched for."""
    marked = b'"cache_control"'
    refuses = service(word(3), marked, named_first=False)
    snapshot = with_words(past(TURNS))
    recovery = Recovery(
        conversation_at(snapshot), lambda sent: NO if refuses(sent) else None
    ).run()

    assert recovery.turn.state == "confirmed", recovery.told
    assert hints_in(recovery) == [], "a hint that nothing refuses is left out as well"


def test_only_what_has_its_own_remedy_is_put_aside() -> None:
    snapshot = with_words(past(2))
    for kind in FaultKind:
        found = view_without_named(
            snapshot, NO, Fault(kind, "No.", status=400), Policies()
        )
        assert found is None or kind in (K.THINKING, K.COMPACTION)
    (marked, *_) = NAMED.values()
    view = view_without_named(snapshot, NO, marked, Policies())
    bare = View((DropField("cache_control"),))
    assert view == bare
    assert (
        view_without_named(with_view(snapshot, bare), NO, marked, Policies()) is None
    ), "and only once"


@pytest.mark.parametrize("kind", FaultKind)
def test_answer_of_a_trial_decides_its_verdict(kind: FaultKind) -> None:
    answer = Fault(kind, "m", status=503)
    failing = Fault(K.TRANSIENT, "m", status=503)

    declined = True if kind is K.REFUSAL else None  # the model has read it
    assert probe_result(NO, None) is True
    assert probe_result(NO, answer) is (False if kind in DEFINITE else declined)
    stays = kind in DEFINITE or kind is K.TRANSIENT
    assert probe_result(failing, answer) is (False if stays else declined)
    other = attrs.evolve(answer, status=529)
    assert probe_result(failing, other) is (False if kind in DEFINITE else declined)
    asked_for = kind in DEFINITE or kind in RULES or kind is K.COMPACTION
    assert probe_result(answer, answer) is (False if asked_for else None)
    unsent = Fault(K.TRANSIENT, "m")
    assert probe_result(unsent, unsent) is None, "what reached no server shows nothing"
    lost = attrs.evolve(unsent, outcome_unknown=True)
    assert probe_result(lost, lost) is False


def test_a_search_begins_without_what_was_left_out_in_vain() -> None:
    snapshot = with_calls(past(3))
    tried = View((Shrink(3, 100), Hide(0, 3, "x"), DropField("metadata"), DropBound()))
    fresh = fresh_snapshot(with_view(snapshot, tried), Policies())

    assert fresh.showing == View((DropField("metadata"), DropBound()))
    assert fresh.history is snapshot.history


# What the server always fails at.

FAILS = Fault(K.TRANSIENT, "m", status=500)

CULPRITS: dict[str, Callable[[], Snapshot]] = {
    word(0): lambda: with_words(past(TURNS)),
    word(5): lambda: with_calls(past(TURNS)),
    "toolu_open": lambda: with_calls(past(TURNS)),
    "[open]": lambda: with_calls(past(TURNS)),
    "look was called": lambda: with_calls(past(TURNS)),
    '"type":"compaction"': lambda: behind_a_summary(2, open_=True),
    "So far.": lambda: behind_a_summary(2, open_=False),
}
"""What the server fails at, and where that stands."""


@pytest.mark.parametrize("culprit", CULPRITS)
def test_part_that_the_server_always_fails_at_is_left_out(culprit: str) -> None:
    chat = conversation_at(CULPRITS[culprit]())

    def fails(sent: Sent) -> Fault | None:
        return FAILS if culprit.encode() in sent.body else None

    recovery = Recovery(chat, fails).run()
    assert recovery.turn.state == "confirmed", recovery.told


@pytest.mark.parametrize("fault", [NO, FAILS], ids=lambda fault: fault.kind)
@pytest.mark.parametrize("culprit", [word(0), word(5), "So far."])
def test_part_refused_with_other_words_is_asked_about_again(
    culprit: str, fault: Fault
) -> None:
    """Both those words and a part of the conversation are refused: all trials fail, and
    the next message is not told that there is nothing to find."""
    summed = culprit == "So far."
    snapshot = behind_a_summary(2, open_=False) if summed else with_words(past(TURNS))
    chat = conversation_at(snapshot)

    def fails(sent: Sent) -> Fault | None:
        found = any(one.encode() in sent.body for one in (culprit, "[staged]"))
        return fault if found else None

    assert Recovery(chat, fails).run().turn.state == "failed"
    chat.opens(text("Other words."))
    recovery = Recovery(chat, fails).run()
    assert recovery.turn.state == "confirmed", recovery.told


def test_the_check_sees_a_search_that_believes_the_answers_to_other_words() -> None:
    """Planted: a refusal is believed whatever the words were that it was given to."""
    chat = conversation_at(with_words(past(TURNS)))

    def fails(sent: Sent) -> Fault | None:
        found = any(one.encode() in sent.body for one in (word(0), "[staged]"))
        return NO if found else None

    assert Recovery(chat, fails).run().turn.state == "failed"
    chat.opens(text("Other words."))
    here = chat.turn.number
    believed = tuple((key, passed, here) for key, passed, _ in chat.snapshot.trials)
    chat.snapshot = attrs.evolve(chat.snapshot, trials=believed)
    assert Recovery(chat, fails).run().turn.state == "failed"


def test_while_all_is_refused_a_message_costs_one_trial_more() -> None:
    """What was refused with other words is asked again only if these words pass."""
    chat = conversation_at(with_calls(past(TURNS)))
    for number in range(4):
        recovery = Recovery(chat, lambda sent: NO).run()
        trials = [sent for sent in recovery.sent if sent.what == "trial"]
        assert len(trials) == (1 if number else 5)
        chat.opens(text("Again."))


@pytest.mark.parametrize("until", range(1, 40))
def test_nothing_is_left_out_for_an_outage_whenever_it_ends(until: int) -> None:
    """All fails, what is small too, and then nothing does."""
    chat = conversation_at(with_calls(past(3)))
    seen: list[Any] = []

    def fails(sent: Sent) -> Fault | None:
        seen.append(sent)
        return FAILS if len(seen) <= until else None

    recovery = Recovery(chat, fails).run()
    while recovery.turn.state != "confirmed":
        chat.opens(text("Again."))
        recovery = Recovery(chat, fails).run()
    assert recovery.snapshot.view == View()
    assert not recovery.snapshot.bases
    assert set(recovery.turn.remedies) <= {Remedy.PROBE}


def test_a_summary_that_is_not_taken_is_put_aside_by_a_trial() -> None:
    snapshot = behind_a_summary(2, open_=False)
    (_, __, refused) = NAMED.values()
    view = view_without_named(snapshot, NO, refused, Policies())

    assert view is not None
    assert IgnoreBase(snapshot.covered) in view.ops

"""A search finds exactly the turn that is refused, and never hides one for an outage."""

from collections.abc import Callable
from itertools import combinations
from math import ceil, log2
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.part import examples
from tests.states.conversation_strategies import (
    Block,
    Conversation,
    body_of,
    conversations,
    findings,
)
from tests.states.strategies import text

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.recovery.bisect import PARTS_MAX, STILL, Bisection
from turnlatch_states.recovery.candidates import Candidate, candidates
from turnlatch_states.recovery.context_window import cuts_of
from turnlatch_states.recovery.decisions import ChangeRequest
from turnlatch_states.recovery.probes import with_view
from turnlatch_states.request.history import Method
from turnlatch_states.request.view import LEFT_OUT, DropField, Hide, View

ROOT = Path(__file__).parents[2]
TURNS_MAX = 14
NO = Fault(FaultKind.INVALID, "No.", status=400)
EXTRA = 4
"""Trials beside the halvings: without the past, without that turn only, as it is, and
without another part of its size."""
HINTS = 2
"""Trials where no part of the past helps: without hints, and without everything."""

Passes = Callable[[int, bytes], bool]
"""Whether the service takes a body; the number says which trial it is, from 0."""


def word(turn: int) -> str:
    """What only that turn says."""
    return f"[turn-{turn}]"


def past(turns: int, *, calls: bool = False) -> Conversation:
    """So many turns, each known by its word; every third one uses a tool."""
    chat = Conversation()
    for number in range(turns):
        said: list[Block] = [text(word(number))]
        if calls and number % 3 == 0:
            chat.opens(*said)
            chat.sends()
            chat.calls(number)
            chat.closes(number)
            chat.goes_on()
            chat.sends()
            chat.replies("end_turn", text("Done."))
        else:
            chat.says(*said)
    return chat


def with_words(chat: Conversation) -> Snapshot:
    """Something is said and is to be sent."""
    chat.opens(text("[staged]"))
    return chat.snapshot


def with_calls(chat: Conversation) -> Snapshot:
    """A tool turn is open, and what its calls gave is to be sent."""
    chat.opens(text("[asked]"))
    chat.sends()
    chat.replies(
        "tool_use",
        text("[open]"),
        {"type": "tool_use", "id": "toolu_open", "name": "look", "input": {}},
    )
    chat.closes(0)
    chat.goes_on()
    return chat.snapshot


def searched(
    snapshot: Snapshot, passes: Passes, *, trusting: bool = False
) -> tuple[View | None, int]:
    """What a search finds, and how many trials it took."""
    search = Bisection(snapshot, NO, lambda: False).run()
    trial, trials = next(search), 0
    while trials < 99:
        passed = passes(trials, body_of(snapshot, trial.view))
        if trusting and trial.question is STILL:
            passed = False
        trials += 1
        try:
            trial = search.send(passed)
        except StopIteration as over:
            made: ChangeRequest | None = over.value
            return made and made.view, trials
    raise AssertionError("a search has an end")


def without(*words: str) -> Passes:
    """A service that refuses whatever holds one of some words."""
    return lambda _, body: not any(word.encode() in body for word in words)


def hidden(snapshot: Snapshot, view: View, turns: int) -> list[int]:
    """The turns whose words are not sent under a view."""
    body = body_of(snapshot, view)
    return [n for n in range(turns) if word(n).encode() not in body]


def trials_max(turns: int, parts: int = 1) -> int:
    """The most trials for so many turns, of which so many are to blame."""
    halvings = ceil(log2(max(turns, 1)))
    return halvings + EXTRA + (parts - 1) * (halvings + 2)


# The list.

LOSSES: dict[str, list[str]] = {
    "words": ["its past"],
    "calls": [
        "its past",
        "its past, the calls of its open turn",
        "its past, its open turn",
    ],
    "summary": ["its past", "its past, its summary, what that stands for"],
    "summary and calls": [
        "its past",
        "its past, the calls of its open turn",
        "its past, its open turn",
        "its past, its summary, what that stands for",
        "its past, its summary, what that stands for, its open turn",
    ],
}
"""What a request is tried without, from least to most loss, by what it holds."""


def with_parts(name: str) -> Snapshot:
    """A conversation whose request holds a past and those parts."""
    if "summary" in name:
        return behind_a_summary(3, open_="calls" in name)
    return with_calls(past(3)) if name == "calls" else with_words(past(3))


@pytest.mark.parametrize("name", LOSSES)
def test_the_candidates_are_these_from_least_to_most_loss(name: str) -> None:
    """The same list as in docs/design.md, each once more without hints."""
    asked = [one.question for one in candidates(with_parts(name))]

    losses = [f"the conversation without {loss}" for loss in LOSSES[name]]
    hints = [f"{loss}, its hints" for loss in losses]
    assert asked == [*losses, "the conversation without its hints", *hints]
    design = (ROOT / "docs" / "design.md").read_text("utf-8")
    assert all(f"\n| {loss}" in design for loss in LOSSES[name])


@pytest.mark.parametrize("name", LOSSES)
def test_no_candidate_shows_less_than_one_behind_it_that_leaves_out_the_same_parts(
    name: str,
) -> None:
    snapshot = with_parts(name)
    listed = candidates(snapshot)
    for index, one in enumerate(listed):
        for later in listed[index + 1 :]:
            assert not {*later.parts} < {*one.parts} or later.past > one.past
    last = body_of(snapshot, whole_view(snapshot, listed[-1]))
    marks = (
        *map(word, range(6)),
        "[open]",
        "toolu_open",
        '"compaction"',
        "diagnostics",
    )
    assert not any(mark.encode() in last for mark in marks)


def whole_view(snapshot: Snapshot, one: Candidate) -> View:
    """How the conversation is shown without the past and a candidate's parts."""
    cuts = cuts_of(snapshot)
    return one.view(snapshot, (cuts[0], cuts[-1]))


def test_refused_hint_of_the_engine_costs_no_message() -> None:
    for name in LOSSES:
        snapshot = with_parts(name)
        found, trials = searched(snapshot, without("diagnostics"))
        assert found is not None
        assert {type(op) for op in found.ops} == {DropField}
        assert trials == len(LOSSES[name]) + 2, "each, the hints, and as it is"


@pytest.mark.parametrize("turns", [1, 4, 9])
def test_a_hint_and_a_turn_of_the_past_are_both_found(turns: int) -> None:
    snapshot = with_words(past(turns))
    for culprit in range(turns):
        passes = without("diagnostics", word(culprit))
        found, trials = searched(snapshot, passes)
        assert found is not None
        assert hidden(snapshot, found, turns) == [culprit]
        assert passes(0, body_of(snapshot, found))
        assert trials <= trials_max(turns) + HINTS


# What is found in it.


@pytest.mark.parametrize("calls", [False, True])
@pytest.mark.parametrize("turns", range(1, TURNS_MAX + 1))
def test_one_turn_that_is_refused_is_found_exactly(turns: int, calls: bool) -> None:
    snapshot = with_words(past(turns, calls=calls))
    for culprit in range(turns):
        found, trials = searched(snapshot, without(word(culprit)))
        assert found is not None
        assert hidden(snapshot, found, turns) == [culprit]
        assert trials <= trials_max(turns)
        assert findings(snapshot, found) == []


@pytest.mark.parametrize("calls", [False, True])
@pytest.mark.parametrize("turns", [2, 5, 10])
@pytest.mark.parametrize("parts", [2, PARTS_MAX])
def test_of_several_turns_that_are_refused_each_is_found_and_no_other(
    turns: int, parts: int, calls: bool
) -> None:
    snapshot = with_words(past(turns, calls=calls))
    for culprits in combinations(range(turns), parts):
        passes = without(*map(word, culprits))
        found, trials = searched(snapshot, passes)
        assert found is not None
        assert hidden(snapshot, found, turns) == list(culprits)
        assert findings(snapshot, found) == []
        assert trials <= trials_max(turns, parts)


@pytest.mark.parametrize("turns", [4, 9])
def test_of_too_many_turns_that_are_refused_nothing_later_is_hidden(turns: int) -> None:
    snapshot = with_words(past(turns))
    for culprits in combinations(range(turns), PARTS_MAX + 1):
        passes = without(*map(word, culprits))
        found, trials = searched(snapshot, passes)
        assert found is not None
        last = culprits[-PARTS_MAX:]
        assert hidden(snapshot, found, turns) == [*range(last[0]), *last]
        assert passes(0, body_of(snapshot, found))
        assert trials <= trials_max(turns, PARTS_MAX)


@pytest.mark.parametrize("turns", [6, 10])
def test_size_fault_after_room_was_made_is_not_taken_for_several_parts(
    turns: int,
) -> None:
    plain = with_words(past(turns))
    snapshot = with_view(plain, View((Hide(0, 2, LEFT_OUT),)))
    whole = len(body_of(snapshot, snapshot.showing))
    for over in range(150, whole // 2, 50):

        def passes(_: int, body: bytes, over: int = over) -> bool:
            return len(body) <= whole - over

        found, trials = searched(snapshot, passes)
        assert found is None or passes(0, body_of(snapshot, found))
        assert trials <= trials_max(turns) + HINTS


@pytest.mark.parametrize("turns", range(1, TURNS_MAX + 1))
@pytest.mark.parametrize("culprit", ["[open]", "toolu_open", '"tool_result"'])
def test_a_refused_part_of_the_open_turn_and_a_turn_of_the_past_are_both_found(
    turns: int, culprit: str
) -> None:
    snapshot = with_calls(past(turns))
    for other in range(turns):
        passes = without(culprit, word(other))
        found, trials = searched(snapshot, passes)
        assert found is not None
        assert hidden(snapshot, found, turns) == [other]
        assert passes(0, body_of(snapshot, found))
        assert findings(snapshot, found) == []
        assert trials <= trials_max(turns, 2)


@pytest.mark.parametrize("turns", range(TURNS_MAX + 1))
@pytest.mark.parametrize("culprit", ["[open]", "toolu_open", '"tool_result"'])
def test_a_refused_part_of_the_open_turn_costs_no_turn_of_the_past(
    turns: int, culprit: str
) -> None:
    snapshot = with_calls(past(turns))
    passes = without(culprit)
    found, trials = searched(snapshot, passes)

    assert found is not None
    assert hidden(snapshot, found, turns) == []
    assert passes(0, body_of(snapshot, found))
    assert findings(snapshot, found) == []
    assert trials <= EXTRA + 1


@pytest.mark.parametrize("turns", range(1, TURNS_MAX + 1))
def test_refused_turn_is_found_next_to_an_open_one(turns: int) -> None:
    snapshot = with_calls(past(turns))
    for culprit in range(turns):
        found, trials = searched(snapshot, without(word(culprit)))
        assert found is not None
        assert hidden(snapshot, found, turns) == [culprit]
        assert b"[open]" in body_of(snapshot, found)
        assert trials <= trials_max(turns)


@pytest.mark.parametrize("turns", range(TURNS_MAX + 1))
def test_refused_last_message_hides_no_history(turns: int) -> None:
    found, trials = searched(with_words(past(turns)), without("[staged]"))

    assert found is None
    assert trials <= EXTRA


def outages(turns: int) -> list[Snapshot]:
    """Conversations with so many turns, and a request of either kind."""
    return [with_words(past(turns)), with_calls(past(turns))]


@pytest.mark.parametrize("turns", range(TURNS_MAX + 1))
def test_nothing_is_hidden_for_an_outage(turns: int) -> None:
    for snapshot in outages(turns):
        found, trials = searched(snapshot, lambda _, __: False)
        assert found is None
        assert trials <= len(candidates(snapshot)), "each candidate is asked once"
        assert trials <= 3 + HINTS


def both(one: Passes, other: Passes) -> Passes:
    """A service that refuses what either of two refuses."""
    return lambda number, body: one(number, body) and other(number, body)


def ends_at(trial: int) -> Passes:
    """An outage that is over when that trial is made."""
    return lambda number, _: number >= trial


@pytest.mark.parametrize("turns", range(TURNS_MAX + 1))
def test_nothing_is_hidden_for_an_outage_that_ends_at_any_trial(turns: int) -> None:
    for snapshot in outages(turns):
        for trial in range(trials_max(turns) + 2):
            found, _ = searched(snapshot, ends_at(trial))
            assert found is None, trial


@pytest.mark.parametrize("turns", [3, 8])
def test_end_of_an_outage_accuses_no_part(turns: int) -> None:
    """What is found is proved by trials: it passes where the whole is refused."""
    snapshot = with_words(past(turns))
    for culprit in range(turns):
        for trial in range(trials_max(turns)):
            found, _ = searched(snapshot, both(without(word(culprit)), ends_at(trial)))
            if found is not None:
                assert culprit in hidden(snapshot, found, turns)


def test_the_check_sees_a_search_that_never_looks_back() -> None:
    """Planted: it believes the trial that passed, though the outage ended with it."""
    hides = [
        trial
        for turns in (1, 5)
        for snapshot in outages(turns)
        for trial in range(4)
        if searched(snapshot, ends_at(trial), trusting=True)[0] is not None
    ]

    assert hides


# A summary, and what stands behind it.


def behind_a_summary(turns: int, *, open_: bool) -> Snapshot:
    """Turns that a summary stands for, and as many behind it."""
    chat = past(turns)
    chat.opens(text("Sum it up."))
    assert chat.summarises(Method.SIGNED)
    chat.sends()
    chat.replies("end_turn", text("On."))
    for number in range(turns, 2 * turns):
        chat.says(text(word(number)))
    return with_calls(chat) if open_ else with_words(chat)


@pytest.mark.parametrize("turns", range(1, 8))
@pytest.mark.parametrize("open_", [False, True])
def test_behind_a_summary_a_turn_is_found_as_well(turns: int, open_: bool) -> None:
    snapshot = behind_a_summary(turns, open_=open_)
    for culprit in range(turns, 2 * turns):
        found, trials = searched(snapshot, without(word(culprit)))
        assert found is not None
        assert hidden(snapshot, found, 2 * turns) == [*range(turns), culprit]
        assert b'"compaction"' in body_of(snapshot, found)
        assert trials <= trials_max(turns + 1)


@pytest.mark.parametrize("turns", range(1, 8))
@pytest.mark.parametrize("open_", [False, True])
def test_a_summary_that_is_refused_is_done_without(turns: int, open_: bool) -> None:
    snapshot = behind_a_summary(turns, open_=open_)
    found, trials = searched(snapshot, without('"compaction"'))

    assert found is not None
    assert hidden(snapshot, found, 2 * turns) == []
    assert findings(snapshot, found) == []
    assert trials <= EXTRA + 2


@given(
    conversations,
    st.sets(st.integers(0, 40), max_size=3),
    st.lists(st.booleans(), max_size=12),
)
@settings(max_examples=examples(100))
def test_whatever_is_answered_a_search_ends_and_what_it_finds_has_passed(
    chat: Conversation, culprits: set[int], answers: list[bool]
) -> None:
    """Also where the answers make no sense."""
    snapshot = chat.snapshot
    passed: list[bytes] = []

    def service(number: int, body: bytes) -> bool:
        found = not any(b"#%d " % one in body for one in culprits)
        found = answers[number] if number < len(answers) else found
        if found:
            passed.append(body)
        return found

    found, trials = searched(snapshot, service)
    assert trials <= trials_max(len(snapshot.history), PARTS_MAX) + EXTRA
    assert found is None or body_of(snapshot, found) in passed
    assert found is None or findings(snapshot, found) == []
    assert attrs.evolve(snapshot) == snapshot
    assert Remedy.BISECT not in (snapshot.turn.tried if snapshot.turn else ())

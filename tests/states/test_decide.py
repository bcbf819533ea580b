"""Every recovery comes to an end, and no rung sends again what was refused."""

import json
from collections.abc import Sequence
from functools import cache

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.part import WHOLE, examples
from tests.states.conversation_strategies import (
    ENDS,
    PARTS,
    Conversation,
    conversation_of,
    conversations,
    plain,
    with_turn,
)
from tests.states.recovery_simulator import Recovery, Sent, Service
from tests.states.strategies import FAULTS as PLAIN
from tests.states.view_strategies import seeds, view_of
from tests.states.wordings import MODES, PLANS, WORDINGS, in_a_thread, refusing, said

from turnlatch_states.api.faults import SUSPENDING, Fault, FaultKind
from turnlatch_states.machine.doubt import ALTERNATIONS, RULES, Doubt, suspicious
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.recovery.context_window import CONTEXT_LADDER, boundary
from turnlatch_states.recovery.decide import decide
from turnlatch_states.recovery.decisions import (
    BisectHistory,
    ChangeRequest,
    Compact,
    Decision,
    Stop,
    Suspend,
    WaitThenRetry,
)
from turnlatch_states.recovery.ladder import LADDERS
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.request.history import Method
from turnlatch_states.request.view import DropField, IgnoreBase, View

K = FaultKind
ENDINGS = (Stop, Suspend, BisectHistory)
"""What a recovery may end with; a search does if it finds nothing."""

REDUCTIONS = frozenset(rung.remedy for rung in CONTEXT_LADDER)

DECISIONS_MAX = 24
"""The longest recovery is no longer; the turn's budget of 60 requests is beyond that."""


@cache
def recoveries_from(fault: Fault) -> tuple[tuple[str, Recovery], ...]:
    """Recoveries from one fault, from places of all kinds, made once."""
    made: list[tuple[str, Recovery]] = []
    first = WORDINGS.index(fault)
    for number, plan in enumerate(PLANS):
        for end in range(len(ENDS)):
            mode = MODES[(first + number + end) % len(MODES)]
            if not WHOLE and (first + number * len(ENDS) + end) % 4:
                continue  # a quarter of all, every place with every mode
            chat = conversation_of(plan, (end, number))
            chat.snapshot = attrs.evolve(chat.snapshot, refused=end % 2)
            if mode in ("small", "told"):
                chat = in_a_thread(chat)
            recovery = Recovery(chat, refusing(fault, mode)).run()
            made.append((f"{mode}: plan {number}, end {end}", recovery))
    return tuple(made)


def unlawful(recovery: Recovery) -> list[str]:
    """What a recovery did against the law that nothing refused is sent again."""
    seen: set[Sent] = set()
    found = [f"{one} changed nothing" for one in recovery.again]
    for sent in recovery.sent:
        if sent.what == "message" and sent in seen:
            found.append("the same body was sent again")
        if sent in recovery.refused:
            seen.add(sent)
    return found


@pytest.mark.parametrize("kind", FaultKind)
def test_every_ladder_has_an_end_and_repeats_nothing_that_was_refused(
    kind: FaultKind,
) -> None:
    longest = 0
    for fault in WORDINGS:
        for where, recovery in recoveries_from(fault) if fault.kind is kind else ():
            assert isinstance(recovery.decisions[-1], ENDINGS), where
            assert recovery.snapshot.history is recovery.before.history
            if not recovery.turn.compactions:
                assert recovery.snapshot.view is recovery.before.view
            assert unlawful(recovery) == [], where
            longest = max(longest, len(recovery.decisions))
    assert 0 < longest <= DECISIONS_MAX, longest


@given(
    conversations,
    seeds,
    st.sampled_from(WORDINGS),
    st.sampled_from(MODES),
    st.booleans(),
)
@settings(max_examples=examples(120))
def test_every_recovery_ends(
    chat: Conversation,
    given_: list[tuple[int, ...]],
    fault: Fault,
    mode: str,
    threaded: bool,
) -> None:
    ends(chat, given_, fault, mode, threaded=threaded)


def ends(
    chat: Conversation,
    given_: Sequence[tuple[int, ...]],
    fault: Fault,
    mode: str,
    *,
    threaded: bool = False,
) -> Recovery:
    """A recovery from there, which has an end and repeats nothing."""
    many, view = len(given_), view_of(chat.snapshot, given_)
    doubt = Doubt(fault.kind, fault.status, many, many)
    doubts = (doubt,) if suspicious(fault) else ()
    chat.snapshot = attrs.evolve(chat.snapshot, view=view, refused=many, doubts=doubts)
    if threaded:
        chat = in_a_thread(chat)
    recovery = Recovery(chat, refusing(fault, mode)).run()

    assert isinstance(recovery.decisions[-1], ENDINGS)
    assert len(recovery.decisions) <= DECISIONS_MAX, recovery.told
    assert unlawful(recovery) == []
    return recovery


def test_a_summary_made_in_the_place_of_an_ignored_one_is_in_force() -> None:
    """Else it makes no room, and is asked for until no more may be."""
    plan = [(1, 7326), (7, 10), (2, 27755), (2, 1615)]
    given_ = [(3019, 284, 222, 1397, 0), (1157, 293, 0, 863, 2262)]
    full = said(K.TOO_LONG, "prompt is too long: 213462 tokens > 200000 maximum")
    recovery = ends(conversation_of(plan, (1, 7621)), given_, full, "summaries")

    asked = [one for one in recovery.sent if one.what in ("summary", "told")]
    assert len(asked) == recovery.turn.compactions == 1
    assert recovery.snapshot.covered > 0


@pytest.mark.parametrize("method", Method)
def test_an_ignored_summary_says_nothing_about_the_next(method: Method) -> None:
    chat = conversation_of([(PARTS.index(plain), 0)] * 2, (0, 0))
    covers = boundary(chat.snapshot)
    chat.snapshot = attrs.evolve(
        chat.snapshot, view=View((IgnoreBase(covers), DropField("metadata")))
    )
    assert chat.summarises(method)

    assert chat.snapshot.covered == covers
    assert DropField("metadata") in chat.snapshot.view.ops
    assert IgnoreBase(covers) not in chat.snapshot.view.ops


def naming(seed: int) -> Service:
    """A service that names another block whenever the request is another one."""

    def service(sent: Sent) -> Fault | None:
        if sent.what != "message":
            return None
        messages = json.loads(sent.body)["messages"]
        at = (len(sent.body) * 7 + seed) % max(len(messages), 1)
        block = (len(sent.body) + seed) % 4
        return said(K.BLOCK, f"messages.{at}.content.{block}: bad")

    return service


@given(conversations, st.integers(0, 2**16))
@settings(max_examples=examples(60))
def test_a_service_that_finds_fault_with_everything_is_given_up(
    chat: Conversation, seed: int
) -> None:
    recovery = Recovery(chat, naming(seed)).run()

    assert len(recovery.decisions) <= DECISIONS_MAX, recovery.told
    assert unlawful(recovery) == []


def test_the_check_sees_a_rung_that_changes_nothing() -> None:
    """Planted: a client that drops a field which was never sent, and sends that."""
    fault = said(K.OPTIONAL_FIELD, "metadata: Extra inputs are not permitted")
    recovery = Recovery(conversation_of([], (0, 0)), refusing(fault))
    view = View((DropField("metadata"),))
    recovery.decides = lambda: (
        ChangeRequest(Remedy.DROP_FIELD, "m", view)
        if not recovery.decisions
        else Stop()
    )
    recovery.run()

    assert unlawful(recovery)


def test_the_check_sees_a_ladder_without_an_end() -> None:
    """Planted: a client that waits out a definite refusal."""
    recovery = Recovery(
        conversation_of([], (0, 0)), refusing(said(K.INVALID, "no idea"))
    )
    recovery.decides = lambda: WaitThenRetry(1.0)
    recovery.run()

    assert len(recovery.decisions) > DECISIONS_MAX, "only the budget ended it"


# What a rung may do.


def test_fault_without_a_server_is_only_waited_out() -> None:
    for fault in WORDINGS:
        if fault.kind is not K.TRANSIENT or suspicious(fault):
            continue
        for _, recovery in recoveries_from(fault):
            kinds = {type(one) for one in recovery.decisions}
            assert kinds <= {WaitThenRetry, Stop, Suspend}, recovery.told
            assert len({sent.body for sent in recovery.sent}) == 1


def without_proof(recovery: Recovery) -> list[str]:
    """What a recovery from a passing fault did without the proof that it needs."""
    found = [
        f"{one} for a passing fault"
        for one in recovery.decisions
        if isinstance(one, Compact)
        or (isinstance(one, ChangeRequest) and one.remedy in REDUCTIONS)
        or (isinstance(one, ChangeRequest) and one.view is not None and not one.passing)
    ]
    kinds = [type(one) for one in recovery.decisions]
    if BisectHistory in kinds:
        asked = sum(1 for one in recovery.sent if one.what == "small")
        if asked < ALTERNATIONS - recovery.alternations:
            found.append(f"a search after {asked} alternations")
    sent = [one.what for one in recovery.sent if one.what in ("message", "small")]
    burst = sum(1 for one in sent if one == "message") - 1
    if len(recovery.waited) < burst:
        found.append(f"{len(recovery.waited)} waits among {burst + 1} failures")
    return found


def test_for_a_passing_fault_nothing_is_left_out_without_proof() -> None:
    for fault in WORDINGS:
        if fault.kind is not K.TRANSIENT:
            continue
        for where, recovery in recoveries_from(fault):
            if recovery.before.thread.state == "off":
                assert without_proof(recovery) == [], (where, recovery.told)


def test_the_check_sees_a_search_after_a_single_question() -> None:
    """Planted: one question that is answered passes for proof."""
    busy = Fault(K.TRANSIENT, "busy", status=529)
    recovery = Recovery(conversation_of(PLANS[1], (0, 0)), refusing(busy, "trials"))
    decides = recovery.decides

    def hasty() -> Decision:
        made = decides()
        return BisectHistory() if isinstance(made, ChangeRequest) else made

    recovery.decides = hasty
    recovery.run()

    assert without_proof(recovery)


@pytest.mark.parametrize("message", ["no idea", "Output blocked by content filtering"])
def test_the_first_unknown_refusal_changes_nothing(message: str) -> None:
    for plan in PLANS:
        for end in range(len(ENDS)):
            chat = conversation_of(plan, (end, 0))
            recovery = Recovery(chat, refusing(said(K.INVALID, message))).run()
            assert recovery.told == ["Stop"]
            assert recovery.turn.trial is None or recovery.turn.remedies == (
                Remedy.CLOSE,
            )
            assert recovery.snapshot.refused == 1


def test_the_second_unknown_refusal_is_searched_for_once() -> None:
    for plan in PLANS:
        chat = conversation_of(plan, (0, 0))
        chat.snapshot = attrs.evolve(chat.snapshot, refused=1)
        recovery = Recovery(chat, refusing(said(K.INVALID, "no idea"))).run()
        assert [one for one in recovery.told if one == "BisectHistory"] == [
            "BisectHistory"
        ]
        assert recovery.turn.trial in (None, recovery.turn.trial)


@pytest.mark.parametrize("kind", [k for k in FaultKind if not LADDERS[k].rungs])
def test_a_kind_without_a_ladder_rests_at_once(kind: FaultKind) -> None:
    for fault in PLAIN:
        for where, recovery in recoveries_from(fault) if fault.kind is kind else ():
            assert recovery.told == ["Stop"], where


@pytest.mark.parametrize("kind", sorted(SUSPENDING))
def test_external_condition_suspends(kind: FaultKind) -> None:
    for fault in PLAIN:
        for where, recovery in recoveries_from(fault) if fault.kind is kind else ():
            assert recovery.told == ["Suspend"], where
            assert recovery.turn.suspended is not None


# Everywhere.


@given(
    conversations, seeds, st.sampled_from(WORDINGS), st.floats(0, 1, exclude_max=True)
)
@settings(max_examples=examples(80))
def test_every_fault_has_a_decision_in_every_state(
    chat: Conversation, given_: list[tuple[int, ...]], fault: Fault, draw: float
) -> None:
    snapshot = attrs.evolve(chat.snapshot, view=view_of(chat.snapshot, given_))
    for met in (0, 1, 5, 99):
        for well in (None, True, False):
            doubt = Doubt(fault.kind, fault.status, met, met, well)
            doubts = (doubt,) if suspicious(fault) else ()
            doubted = attrs.evolve(snapshot, doubts=doubts)
            failed = with_turn(doubted, substate="resting", fault=fault, failures=met)
            made = decide(failed, Policies(), draw)
            assert isinstance(made, WaitThenRetry) == (
                type(made).__name__ == "WaitThenRetry"
            )  # it is one of them, and nothing is raised
            if isinstance(made, BisectHistory):
                proved = well and met >= RULES[fault.kind].alternations
                assert proved or fault.kind is K.REFUSAL or failed.refused > 0

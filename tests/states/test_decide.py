"""The ladders are climbed to an end, and no rung sends again what was refused."""

import json
from collections.abc import Iterator
from functools import cache

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.states.climbs import Climb, Sent, Service
from tests.states.strategies import FAULTS as PLAIN
from tests.states.talks import (
    ENDS,
    PARTS,
    Talk,
    body_of,
    given_up,
    paused,
    plain,
    says_more,
    seeds,
    stopped,
    summarised,
    talk_of,
    talks,
    tools,
    view_of,
    with_turn,
)

from detent_states.decide import (
    RAISED_MAX,
    GiveUp,
    Policies,
    Search,
    Suspend,
    Wait,
    cut_off,
    decide,
)
from detent_states.encoding import encode
from detent_states.faults import (
    OPTIONAL_FIELDS,
    SUSPENDING,
    Fault,
    FaultKind,
    RetryPolicy,
    named_path,
)
from detent_states.history import Method
from detent_states.outcome import Outcome
from detent_states.profile import Threads
from detent_states.remedy import LADDERS, ROOM, Remedy
from detent_states.request import Copy
from detent_states.room import Choose, Compact
from detent_states.snapshot import Snapshot
from detent_states.thread import Thread, ThreadState
from detent_states.view import DropField, Hide, Side, Stub, View

K = FaultKind
ENDINGS = (GiveUp, Suspend, Search)
"""What a climb may end with; a search does if it finds nothing."""

DECISIONS_MAX = 24
"""The longest climb is no longer; the turn's budget of 60 requests is beyond that."""


def said(kind: FaultKind, message: str, status: int = 400, code: str = "") -> Fault:
    """A fault as the adapter makes it of an answer."""
    path = named_path(message)
    return Fault(kind, message, status=status, code=code or None, path=path)


def _wordings() -> Iterator[Fault]:
    """Each kind in every wording that a ladder tells apart."""
    yield from PLAIN
    yield said(K.INVALID, "no idea")
    yield said(K.INVALID, "Output blocked by content filtering policy")
    for at in range(5):
        yield said(K.BLOCK, f"messages.{at}: bad")
        for block in range(3):
            yield said(K.BLOCK, f"messages.{at}.content.{block}: bad")
    inner = "messages.2.content.0.tool_result.content.1.image.source: bad"
    yield said(K.BLOCK, inner)
    yield said(K.BLOCK, "system.0: bad")
    yield Fault(K.BLOCK, "file_011 has expired", status=400, code="file_expired")
    lost = "messages.1.content.0: Invalid `signature` in `thinking` block"
    yield said(K.THINKING, lost)
    for words in (
        "prompt is too long: 213462 tokens > 200000 maximum",
        "prompt is too long: 900 tokens > 500 maximum",
        "input length and `max_tokens` exceed context limit: 1 + 1024 > 900, and",
        "input length and `max_tokens` exceed context limit: 1 + 1024 > 1025, and",
        "max_tokens: 1024 > 512, which is the maximum allowed number of output tokens",
        "max_tokens: 1024 > 9999, which is the maximum allowed number of output tokens",
        "too many images and documents: 601 + 0 > 600",
    ):
        yield said(K.TOO_LONG, words)
    yield said(K.TOO_LONG, "Request exceeds the maximum size", 413)
    for name in (*OPTIONAL_FIELDS, "Unexpected value(s) `a-beta` for the"):
        words = f"{name} `anthropic-beta` header: Extra inputs are not permitted"
        yield said(K.OPTIONAL_FIELD, words)
    for code in (
        "thread_not_found",
        "thread_already_continued",
        "thread_unsupported_request",
        "thread_fingerprint_mismatch",
    ):
        yield said(K.THREAD, code, 404 if code.endswith("found") else 400, code)
    yield said(K.COMPACTION, "bad", 400, "compaction_signature_invalid")
    for status in (None, 429, 500, 529):
        for hint in (None, 5.0, 9999.0):
            yield Fault(K.TRANSIENT, "busy", status=status, retry_after=hint)
    yield Fault(K.TRANSIENT, "no", status=500, retry_refused=True)


WORDINGS = tuple(_wordings())
MODES = ("nothing", "small", "summaries", "told", "trials")
"""What the service does answer, beside the message, which it never does."""

_ANSWERED = {
    "nothing": (),
    "small": ("small",),
    "summaries": ("small", "summary", "told"),
    "told": ("small", "told"),
    "trials": ("small", "told", "trial"),
}
PLANS: tuple[list[tuple[int, int]], ...] = (
    [],
    [(PARTS.index(plain), 3), (PARTS.index(tools), 5)],
    [
        (PARTS.index(plain), 4),
        (PARTS.index(paused), 0),
        (PARTS.index(stopped), 1),
        (PARTS.index(plain), 2),
        (PARTS.index(summarised), 1),
        (PARTS.index(given_up), 2),
        (PARTS.index(tools), 7),
    ],
)


def refusing(fault: Fault, mode: str = "nothing") -> Service:
    """A service that answers every message with the same fault."""
    return lambda sent: None if sent.what in _ANSWERED[mode] else fault


def in_a_thread(talk: Talk) -> Talk:
    """The talk, with a copy of it at the server and a container there."""
    snapshot = talk.snapshot
    settings_ = (*snapshot.profile.settings, ("container", b'"c_1"'))
    profile = attrs.evolve(
        snapshot.profile, threads=Threads.ON, settings=settings_, betas=("a-beta",)
    )
    held = Thread(ThreadState.CONTINUING if snapshot.history.head else ThreadState.OFF)
    talk.snapshot = attrs.evolve(snapshot, profile=profile, thread=held)
    return talk


@cache
def climbed(fault: Fault) -> tuple[tuple[str, Climb], ...]:
    """Climbs out of one fault, from places of all kinds, made once."""
    made: list[tuple[str, Climb]] = []
    first = WORDINGS.index(fault)
    for number, plan in enumerate(PLANS):
        for end in range(len(ENDS)):
            mode = MODES[(first + number + end) % len(MODES)]
            if (first + number * len(ENDS) + end) % 2:
                continue  # half of all, every place with every mode
            talk = talk_of(plan, (end, number))
            talk.snapshot = attrs.evolve(talk.snapshot, refused=end % 2)
            if mode in ("small", "told"):
                talk = in_a_thread(talk)
            climb = Climb(talk, refusing(fault, mode)).run()
            made.append((f"{mode}: plan {number}, end {end}", climb))
    return tuple(made)


def unlawful(climb: Climb) -> list[str]:
    """What a climb did against the law that nothing refused is sent again."""
    seen: set[Sent] = set()
    found = [f"{one} changed nothing" for one in climb.again]
    for sent in climb.sent:
        if sent.what == "message" and sent in seen:
            found.append("the same body was sent again")
        if sent in climb.refused:
            seen.add(sent)
    return found


@pytest.mark.parametrize("kind", FaultKind)
def test_every_ladder_has_an_end_and_repeats_nothing_that_was_refused(
    kind: FaultKind,
) -> None:
    longest = 0
    for fault in WORDINGS:
        for where, climb in climbed(fault) if fault.kind is kind else ():
            assert isinstance(climb.decisions[-1], ENDINGS), where
            assert climb.snapshot.history is climb.before.history
            if not climb.turn.compactions:
                assert climb.snapshot.view is climb.before.view
            assert unlawful(climb) == [], where
            longest = max(longest, len(climb.decisions))
    assert 0 < longest <= DECISIONS_MAX, longest


@given(talks, seeds, st.sampled_from(WORDINGS), st.sampled_from(MODES), st.booleans())
@settings(max_examples=120)
def test_it_has_an_end_from_everywhere(
    talk: Talk,
    given_: list[tuple[int, ...]],
    fault: Fault,
    mode: str,
    threaded: bool,
) -> None:
    talk.snapshot = attrs.evolve(
        talk.snapshot, view=view_of(talk.snapshot, given_), refused=len(given_)
    )
    if threaded:
        talk = in_a_thread(talk)
    climb = Climb(talk, refusing(fault, mode)).run()

    assert isinstance(climb.decisions[-1], ENDINGS)
    assert len(climb.decisions) <= DECISIONS_MAX, climb.told
    assert unlawful(climb) == []


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


@given(talks, st.integers(0, 2**16))
@settings(max_examples=60)
def test_a_service_that_finds_fault_with_everything_is_given_up(
    talk: Talk, seed: int
) -> None:
    climb = Climb(talk, naming(seed)).run()

    assert len(climb.decisions) <= DECISIONS_MAX, climb.told
    assert unlawful(climb) == []


def test_the_check_sees_a_rung_that_changes_nothing() -> None:
    """Planted: a client that drops a field which was never sent, and sends that."""
    fault = said(K.OPTIONAL_FIELD, "metadata: Extra inputs are not permitted")
    climb = Climb(talk_of([], (0, 0)), refusing(fault))
    view = View((DropField("metadata"),))
    climb.decides = lambda: (
        Choose(Remedy.DROP_FIELD, "m", view) if not climb.decisions else GiveUp()
    )
    climb.run()

    assert unlawful(climb)


def test_the_check_sees_a_ladder_without_an_end() -> None:
    """Planted: a client that waits out a definite refusal."""
    climb = Climb(talk_of([], (0, 0)), refusing(said(K.INVALID, "no idea")))
    climb.decides = lambda: Wait(1.0)
    climb.run()

    assert len(climb.decisions) > DECISIONS_MAX, "only the budget ended it"


# What a rung may do.


def test_what_no_server_answered_is_only_waited_out() -> None:
    for fault in WORDINGS:
        if fault.kind is not K.TRANSIENT or fault.status is not None:
            continue
        for _, climb in climbed(fault):
            kinds = {type(one) for one in climb.decisions}
            assert kinds <= {Wait, GiveUp, Suspend}, climb.told
            assert len({sent.body for sent in climb.sent}) == 1


def test_room_is_made_only_where_the_server_is_well() -> None:
    for fault in WORDINGS:
        if fault.kind is not K.TRANSIENT or fault.status is None:
            continue
        for where, climb in climbed(fault):
            asked = [sent for sent in climb.sent if sent.what == "small"]
            less = [o for o in climb.decisions if isinstance(o, Compact)]
            assert len(asked) <= 1
            assert not less or (asked and not where.startswith("nothing")), where


@pytest.mark.parametrize("message", ["no idea", "Output blocked by content filtering"])
def test_the_first_unknown_refusal_changes_nothing(message: str) -> None:
    for plan in PLANS:
        for end in range(len(ENDS)):
            talk = talk_of(plan, (end, 0))
            climb = Climb(talk, refusing(said(K.INVALID, message))).run()
            assert climb.told == ["GiveUp"]
            assert climb.turn.trial is None or climb.turn.remedies == (Remedy.CLOSE,)
            assert climb.snapshot.refused == 1


def test_the_second_unknown_refusal_is_searched_for_once() -> None:
    for plan in PLANS:
        talk = talk_of(plan, (0, 0))
        talk.snapshot = attrs.evolve(talk.snapshot, refused=1)
        climb = Climb(talk, refusing(said(K.INVALID, "no idea"))).run()
        assert [one for one in climb.told if one == "Search"] == ["Search"]
        assert climb.turn.trial in (None, climb.turn.trial)


_MEANT: dict[Remedy, frozenset[Remedy]] = {
    Remedy.MAKE_ROOM: frozenset({*ROOM, Remedy.SKIP}),
    Remedy.TELL: frozenset({Remedy.SKIP}),
    Remedy.COMPACT: frozenset({Remedy.SKIP}),
    Remedy.STUB: frozenset({Remedy.SHRINK, Remedy.HIDE, Remedy.FLATTEN}),
    Remedy.BISECT: frozenset({Remedy.DROP_FIELD, Remedy.IGNORE_BASE}),
}
"""What a rung may come to: the part around a block, or what stands around all of it."""


def test_what_is_chosen_is_a_rung_of_the_ladder() -> None:
    for fault in WORDINGS:
        rungs = LADDERS[fault.kind]
        may = {*rungs, *(more for rung in rungs for more in _MEANT.get(rung, ()))}
        if fault.kind in (K.INVALID, K.TRANSIENT):
            # What the server held for us may be gone, whatever it says.
            may |= {Remedy.REPLAY, Remedy.DROP_FIELD}
        if fault.kind is K.OPTIONAL_FIELD:
            may |= {Remedy.REPLAY, Remedy.UNTHREAD}  # the thread is one
        if fault.path is not None:
            may |= {Remedy.IGNORE_BASE}  # what is named may be the summary
        for where, climb in climbed(fault):
            chosen = {one.remedy for one in climb.decisions if isinstance(one, Choose)}
            assert chosen <= may, (where, fault)


@pytest.mark.parametrize("kind", [k for k in FaultKind if not LADDERS[k]])
def test_a_kind_without_a_ladder_rests_at_once(kind: FaultKind) -> None:
    for fault in PLAIN:
        for where, climb in climbed(fault) if fault.kind is kind else ():
            assert climb.told == ["GiveUp"], where


@pytest.mark.parametrize("kind", sorted(SUSPENDING))
def test_what_waits_for_the_world_is_suspended(kind: FaultKind) -> None:
    for fault in PLAIN:
        for where, climb in climbed(fault) if fault.kind is kind else ():
            assert climb.told == ["Suspend"], where
            assert climb.turn.suspended is not None


def test_a_long_hint_suspends_and_a_short_one_is_kept() -> None:
    snapshot = failing(Fault(K.TRANSIENT, "m", status=429, retry_after=60.0))
    made = decide(snapshot, Policies(), 0.5)
    long = Policies(RetryPolicy(hint_max_seconds=30.0))

    assert isinstance(made, Wait)
    assert made.seconds >= 60.0
    assert decide(snapshot, long, 0.5) == Suspend("the server asks to wait 60 s", 60.0)


# Some rungs by hand.


def failing(fault: Fault, talk: Talk | None = None, copy: Copy = Copy.NONE) -> Snapshot:
    """A conversation whose turn has failed so."""
    talk = talk or talk_of([(PARTS.index(plain), 4)] * 3, (0, 0))
    talk.sends(copy)
    talk.fails(fault)
    return talk.snapshot


def test_a_block_of_the_users_own_last_words_is_not_touched() -> None:
    talk = Talk()
    says_more(talk, 0)
    snapshot = failing(said(K.BLOCK, "messages.0.content.0: bad"), talk)

    assert decide(snapshot, Policies(), 0.5) == GiveUp()


def test_a_block_of_the_past_gets_a_note() -> None:
    made = decide(failing(said(K.BLOCK, "messages.2.content.0: b")), Policies(), 0.5)

    assert isinstance(made, Choose)
    assert made.view is not None
    (stub, *_) = made.view.ops
    assert isinstance(stub, Stub)
    assert (stub.exchange, stub.side, stub.block) == (1, Side.USER, 0)


def test_a_result_that_is_about_to_be_sent_gets_a_note() -> None:
    talk = talk_of([], (1, 0))
    at = len(json.loads(body_of(talk.snapshot, View()))["messages"]) - 1
    fault = said(K.BLOCK, f"messages.{at}.content.0: bad")
    made = decide(failing(fault, talk), Policies(), 0.5)

    assert isinstance(made, Choose)
    assert made.remedy is Remedy.STUB


def test_in_a_continued_thread_messages_are_counted_from_what_is_new() -> None:
    talk = in_a_thread(talk_of([(PARTS.index(plain), 0)], (1, 0)))
    made = decide(
        failing(said(K.BLOCK, "messages.0.content.0: b"), talk, Copy.CONTINUE),
        Policies(),
        0.5,
    )

    assert isinstance(made, Choose)
    assert made.view is not None
    stub = made.view.ops[-2]
    assert isinstance(stub, Stub)
    assert stub.exchange == len(talk.snapshot.history)


def test_a_turn_that_carries_results_is_left_out_with_the_turn_that_asked() -> None:
    """What is hidden must not part a call from its result, which travels a turn later."""
    talk = talk_of([(PARTS.index(stopped), 0), (PARTS.index(plain), 0)], (0, 0))
    fault = said(K.BLOCK, "messages.2: bad")
    snapshot = failing(fault, talk)
    made = decide(snapshot, Policies(), 0.5)

    assert isinstance(made, Choose)
    assert made.view is not None
    hide = made.view.ops[0]
    assert isinstance(hide, Hide)
    assert (hide.start, hide.until) == (0, 2)


def test_two_turns_that_are_refused_as_a_whole_are_both_left_out() -> None:
    talk = talk_of([(PARTS.index(plain), 0)] * 4, (0, 0))
    bad = {b"#1 ", b"#7 "}

    def service(sent: Sent) -> Fault | None:
        if sent.what != "message":
            return None
        for at, message in enumerate(json.loads(sent.body)["messages"]):
            if any(mark in encode(message) for mark in bad):
                return said(K.BLOCK, f"messages.{at}: bad")
        return None

    climb = Climb(talk, service).run()

    assert climb.turn.state == "confirmed"
    assert climb.told == ["Choose hide", "Choose hide"]


def test_a_reply_that_was_cut_off_is_asked_for_once_more() -> None:
    talk = talk_of([], (0, 0))
    snapshot = talk.snapshot

    assert cut_off(snapshot, Outcome.TRUNCATED, calls=True)
    assert not cut_off(snapshot, Outcome.TRUNCATED, calls=False)
    assert not cut_off(snapshot, Outcome.REST, calls=True)
    tried = with_turn(snapshot, tried=(Remedy.RAISE,))
    assert not cut_off(tried, Outcome.TRUNCATED, calls=True)
    most = attrs.evolve(snapshot.profile, max_tokens=RAISED_MAX)
    assert not cut_off(
        attrs.evolve(snapshot, profile=most), Outcome.TRUNCATED, calls=True
    )
    made = decide(failing(Fault(K.CUT_OFF, "c", status=200), talk), Policies(), 0.5)
    assert made == Choose(Remedy.RAISE, "c", max_tokens=4096)


@given(talks, seeds, st.sampled_from(WORDINGS), st.floats(0, 1, exclude_max=True))
@settings(max_examples=80)
def test_there_is_a_decision_for_every_fault_wherever_a_turn_stands(
    talk: Talk, given_: list[tuple[int, ...]], fault: Fault, draw: float
) -> None:
    snapshot = attrs.evolve(talk.snapshot, view=view_of(talk.snapshot, given_))
    for failures in (0, 1, 5, 99):
        for answered in (None, True, False):
            failed = with_turn(
                snapshot,
                state="failed",
                fault=fault,
                failures=failures,
                answered=answered,
            )
            made = decide(failed, Policies(), draw)
            assert isinstance(made, Wait) == (
                type(made).__name__ == "Wait"
            )  # it is one of them, and nothing is raised
            if isinstance(made, Search):
                assert failed.refused > 0


@pytest.mark.parametrize("kind", [k for k in FaultKind if not LADDERS[k]])
def test_what_is_no_word_about_a_summary_costs_none(kind: FaultKind) -> None:
    """A turn that is stopped, or refused here, once a summary was confirmed."""
    talk = talk_of([(PARTS.index(plain), 0)], (0, 0))
    assert talk.summarises(Method.SIGNED)
    talk.fails(Fault(kind, "x"))

    assert talk.turn.compacting is None, "it is made, and makes nothing fail"
    assert decide(talk.snapshot, Policies(), 0.5) == GiveUp()

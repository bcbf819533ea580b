"""Some rungs by hand: what is left out, shortened, or asked for otherwise."""

import json

import attrs
import pytest
from tests.states.climbs import Climb, Sent
from tests.states.strategies import text
from tests.states.talks import (
    PARTS,
    Talk,
    body_of,
    plain,
    says_more,
    stopped,
    talk_of,
    with_turn,
)
from tests.states.wordings import K, in_a_thread, said

from turnlatch_states.api.faults import Fault, FaultKind, RetryPolicy
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.stop_reasons import Outcome
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.doubt import ALTERNATIONS
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.recovery.context_window import boundary
from turnlatch_states.recovery.decide import cut_off, decide
from turnlatch_states.recovery.decisions import (
    BisectHistory,
    ChangeRequest,
    PingServer,
    Stop,
    Suspend,
    WaitThenRetry,
)
from turnlatch_states.recovery.ladder import LADDERS, RAISED_MAX
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.request.build import Copy
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.view import Hide, Side, Stub, View


def failing(fault: Fault, talk: Talk | None = None, copy: Copy = Copy.NONE) -> Snapshot:
    """A conversation whose turn has failed so."""
    talk = talk or talk_of([(PARTS.index(plain), 4)] * 3, (0, 0))
    talk.sends(copy)
    talk.fails(fault)
    return talk.snapshot


def test_a_long_hint_suspends_and_a_short_one_is_kept() -> None:
    snapshot = failing(Fault(K.TRANSIENT, "m", status=429, retry_after=60.0))
    made = decide(snapshot, Policies(), 0.5)
    long = Policies(RetryPolicy(hint_max_seconds=30.0))

    assert isinstance(made, WaitThenRetry)
    assert made.seconds >= 60.0
    assert decide(snapshot, long, 0.5) == Suspend("the server asks to wait 60 s", 60.0)


ONE_TRY = Policies(RetryPolicy(attempts_max=1))
NO_MORE = Fault(K.TRANSIENT, "m", status=503, retry_refused=True)
LONG_HINT = Fault(K.TRANSIENT, "m", status=503, retry_after=9999.0)


@pytest.mark.parametrize(
    ("fault", "policies"),
    [
        (NO_MORE, Policies()),
        (LONG_HINT, Policies()),
        (Fault(K.TRANSIENT, "m", status=503), ONE_TRY),
        (Fault(K.TRANSIENT, "m"), ONE_TRY),
    ],
)
@pytest.mark.parametrize("method", Method)
def test_a_summary_that_cannot_be_had_now_is_done_without(
    fault: Fault, policies: Policies, method: Method
) -> None:
    talk = talk_of([(PARTS.index(plain), 0)], (0, 0))
    covers = boundary(talk.snapshot)
    talk.do(ev.CompactionSent(talk.turn.number, 1, covers, method))
    talk.fails(fault)

    made = decide(talk.snapshot, policies, 0.5)
    assert made == ChangeRequest(Remedy.SKIP, "m")


def test_a_summary_that_was_asked_for_is_waited_for_by_who_asked() -> None:
    talk = talk_of([], (0, 0))
    talk.sends()
    talk.replies("end_turn", text("On."))
    number = talk.snapshot.turns + 1
    talk.do(ev.TurnOpened(number, b"", None, Purpose.COMPACTION))
    talk.do(ev.CompactionSent(number, 1, 1, Method.SIGNED))
    talk.fails(NO_MORE)

    assert decide(talk.snapshot, Policies(), 0.5) == Stop()


@pytest.mark.parametrize(("refused", "often"), [(False, 4), (True, 2)])
def test_what_fails_again_and_again_is_asked_about_in_turn_in_whatever_turn(
    refused: bool, often: int
) -> None:
    talk = talk_of([(PARTS.index(plain), 0)], (0, 0))
    fault = Fault(K.TRANSIENT, "m", status=503, retry_refused=refused)
    for number in range(1, often + 1):
        talk.sends()
        talk.fails(fault)
        made = decide(talk.snapshot, ONE_TRY, 0.0)
        assert made == (PingServer(0.5) if number == often else Stop())
        if number < often:
            talk.opens(text("Again."))
    for number in range(1, ALTERNATIONS + 1):
        asks(talk, None)
        again = decide(talk.snapshot, ONE_TRY, 0.0)
        if number == ALTERNATIONS:
            assert again == BisectHistory(), "only now is it proved"
            break
        assert isinstance(again, ChangeRequest)
        assert (again.remedy, again.view) == (Remedy.PROBE, None), "the same, again"
        talk.chooses(again)
        talk.do(ev.TurnRetried(talk.turn.number, asked=False))
        talk.sends()
        talk.fails(fault)
        assert isinstance(decide(talk.snapshot, ONE_TRY, 0.0), PingServer)


def asks(talk: Talk, fault: Fault | None) -> None:
    """Something short is asked."""
    about = ev.Question.SMALL
    talk.do(ev.Probed(talk.turn.number, "small", fault is None, about, fault))


def test_where_the_server_is_not_well_either_nothing_is_proved() -> None:
    talk = talk_of([(PARTS.index(plain), 0)], (0, 0))
    busy = Fault(K.TRANSIENT, "m", status=529)
    waits: list[float] = []
    for _ in range(4):
        talk.sends()
        talk.fails(busy)
        if len(waits) < 3:
            goes_on(talk, waits)
    asks(talk, None)
    assert talk.snapshot.doubts[0].alternations == 1
    talk.do(ev.TurnRetried(talk.turn.number, asked=True))
    talk.sends()
    talk.fails(busy)
    asks(talk, attrs.evolve(busy, retry_after=7.0))
    assert talk.snapshot.doubts[0].alternations == 0
    made = decide(talk.snapshot, Policies(), 0.0)
    assert made == WaitThenRetry(7.0), "as whoever was asked last said"


def goes_on(talk: Talk, waits: list[float]) -> None:
    """A turn goes on as it is decided: it waits, and sends the same again."""
    made = decide(talk.snapshot, Policies(), 0.0)
    assert isinstance(made, WaitThenRetry)
    waits.append(made.seconds)
    talk.do(ev.RetryScheduled(talk.turn.number, 1, made.seconds, 1.0))
    talk.do(ev.TurnRetried(talk.turn.number, asked=False))


def test_a_hint_is_kept_before_anything_is_asked() -> None:
    talk = talk_of([(PARTS.index(plain), 0)], (0, 0))
    hinted = Fault(K.TRANSIENT, "m", status=429, retry_after=5.0)
    for number in range(1, 5):
        talk.sends()
        talk.fails(hinted)
        made = decide(talk.snapshot, Policies(), 0.0)
        if number < 4:
            goes_on(talk, [])
        else:
            assert made == PingServer(5.0)


@pytest.mark.parametrize("kind", [K.AUTH, K.TRANSIENT])
def test_a_403_is_asked_about_before_it_is_taken_for_credentials(
    kind: FaultKind,
) -> None:
    """The second time in a row: who lets something short pass has no word on access."""
    talk = talk_of([(PARTS.index(plain), 0)], (0, 0))
    page = Fault(kind, "<html>", status=403)
    talk.sends()
    talk.fails(page)
    first = decide(talk.snapshot, ONE_TRY, 0.0)
    assert isinstance(first, Suspend if kind is K.AUTH else Stop)
    talk.opens(text("Again."))
    talk.sends()
    talk.fails(page)
    assert isinstance(decide(talk.snapshot, ONE_TRY, 0.0), PingServer)
    asked = talk.snapshot

    asks(talk, page)
    made = decide(talk.snapshot, ONE_TRY, 0.0)
    assert isinstance(made, Suspend)
    assert (made.fault is None) == (kind is K.AUTH), "it is known now what it is"
    assert made.fault is None or made.fault.kind is K.AUTH
    talk.snapshot = asked
    asks(talk, None)
    assert isinstance(decide(talk.snapshot, ONE_TRY, 0.0), ChangeRequest)


@pytest.mark.parametrize("faults", [(429, 500, 503, 529), (500, None, 500, 429)])
def test_what_fails_now_so_and_now_so_is_not_suspected(
    faults: tuple[int | None, ...],
) -> None:
    talk = talk_of([(PARTS.index(plain), 0)], (0, 0))
    for status in faults * 3:
        talk.sends()
        talk.fails(Fault(K.TRANSIENT, "m", status=status, outcome_unknown=True))
        assert decide(talk.snapshot, ONE_TRY, 0.0) == Stop()
        talk.opens(text("Again."))


def test_what_was_confirmed_since_is_no_reason_to_suspect() -> None:
    talk = talk_of([(PARTS.index(plain), 0)], (0, 0))
    for _ in range(3):
        talk.sends()
        talk.fails(Fault(K.TRANSIENT, "m", status=503))
        talk.opens(text("Again."))
    talk.sends()
    talk.replies("end_turn", text("At last."))

    assert talk.snapshot.doubts == ()


def test_a_block_of_the_users_own_last_words_is_not_touched() -> None:
    talk = Talk()
    says_more(talk, 0)
    snapshot = failing(said(K.BLOCK, "messages.0.content.0: bad"), talk)

    assert decide(snapshot, Policies(), 0.5) == Stop()


def test_a_block_of_the_past_gets_a_note() -> None:
    made = decide(failing(said(K.BLOCK, "messages.2.content.0: b")), Policies(), 0.5)

    assert isinstance(made, ChangeRequest)
    assert made.view is not None
    (stub, *_) = made.view.ops
    assert isinstance(stub, Stub)
    assert (stub.exchange, stub.side, stub.block) == (1, Side.USER, 0)


def test_a_result_that_is_about_to_be_sent_gets_a_note() -> None:
    talk = talk_of([], (1, 0))
    at = len(json.loads(body_of(talk.snapshot, View()))["messages"]) - 1
    fault = said(K.BLOCK, f"messages.{at}.content.0: bad")
    made = decide(failing(fault, talk), Policies(), 0.5)

    assert isinstance(made, ChangeRequest)
    assert made.remedy is Remedy.STUB


def test_a_path_that_counts_the_messages_of_a_continuation_stubs_nothing() -> None:
    talk = in_a_thread(talk_of([(PARTS.index(plain), 0)], (1, 0)))
    made = decide(
        failing(said(K.BLOCK, "messages.0.content.0: b"), talk, Copy.CONTINUE),
        Policies(),
        0.5,
    )

    assert made == ChangeRequest(Remedy.REPLAY, "messages.0.content.0: b")


def test_a_turn_that_carries_results_is_left_out_with_the_turn_that_asked() -> None:
    """What is hidden must not part a call from its result, which travels a turn later."""
    talk = talk_of([(PARTS.index(stopped), 0), (PARTS.index(plain), 0)], (0, 0))
    fault = said(K.BLOCK, "messages.2: bad")
    snapshot = failing(fault, talk)
    made = decide(snapshot, Policies(), 0.5)

    assert isinstance(made, ChangeRequest)
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
    assert climb.told == ["ChangeRequest hide", "ChangeRequest hide"]


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
    assert made == ChangeRequest(Remedy.RAISE, "c", max_tokens=4096)


@pytest.mark.parametrize("kind", [k for k in FaultKind if not LADDERS[k].rungs])
def test_what_is_no_word_about_a_summary_costs_none(kind: FaultKind) -> None:
    """A turn that is stopped, or refused here, once a summary was confirmed."""
    talk = talk_of([(PARTS.index(plain), 0)], (0, 0))
    assert talk.summarises(Method.SIGNED)
    talk.fails(Fault(kind, "x"))

    assert talk.turn.compacting is None, "it is made, and makes nothing fail"
    assert decide(talk.snapshot, Policies(), 0.5) == Stop()

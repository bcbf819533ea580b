"""Some rungs by hand: what is left out, shortened, or asked for otherwise."""

import json

import attrs
import pytest
from tests.states.conversation_strategies import (
    PARTS,
    Conversation,
    body_of,
    conversation_of,
    plain,
    says_more,
    stopped,
    with_turn,
)
from tests.states.recovery_simulator import Recovery, Sent
from tests.states.strategies import text
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


def failing(
    fault: Fault, chat: Conversation | None = None, copy: Copy = Copy.NONE
) -> Snapshot:
    """A conversation whose turn has failed so."""
    chat = chat or conversation_of([(PARTS.index(plain), 4)] * 3, (0, 0))
    chat.sends(copy)
    chat.fails(fault)
    return chat.snapshot


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
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    covers = boundary(chat.snapshot)
    chat.do(ev.CompactionSent(chat.turn.number, 1, covers, method))
    chat.fails(fault)

    made = decide(chat.snapshot, policies, 0.5)
    assert made == ChangeRequest(Remedy.SKIP, "m")


def test_a_summary_that_was_asked_for_is_waited_for_by_who_asked() -> None:
    chat = conversation_of([], (0, 0))
    chat.sends()
    chat.replies("end_turn", text("On."))
    number = chat.snapshot.turns + 1
    chat.do(ev.TurnOpened(number, b"", None, Purpose.COMPACTION))
    chat.do(ev.CompactionSent(number, 1, 1, Method.SIGNED))
    chat.fails(NO_MORE)

    assert decide(chat.snapshot, Policies(), 0.5) == Stop()


@pytest.mark.parametrize(("refused", "often"), [(False, 4), (True, 2)])
def test_repeated_failures_alternate_between_probes_over_all_turns(
    refused: bool, often: int
) -> None:
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    fault = Fault(K.TRANSIENT, "m", status=503, retry_refused=refused)
    for number in range(1, often + 1):
        chat.sends()
        chat.fails(fault)
        made = decide(chat.snapshot, ONE_TRY, 0.0)
        assert made == (PingServer(0.5) if number == often else Stop())
        if number < often:
            chat.opens(text("Again."))
    for number in range(1, ALTERNATIONS + 1):
        asks(chat, None)
        again = decide(chat.snapshot, ONE_TRY, 0.0)
        if number == ALTERNATIONS:
            assert again == BisectHistory(), "only now is it proved"
            break
        assert isinstance(again, ChangeRequest)
        assert (again.remedy, again.view) == (Remedy.PROBE, None), "the same, again"
        chat.chooses(again)
        chat.do(ev.TurnRetried(chat.turn.number, asked=False))
        chat.sends()
        chat.fails(fault)
        assert isinstance(decide(chat.snapshot, ONE_TRY, 0.0), PingServer)


def asks(chat: Conversation, fault: Fault | None) -> None:
    """Something short is asked."""
    about = ev.Question.SMALL
    chat.do(ev.Probed(chat.turn.number, "small", fault is None, about, fault))


def test_failure_of_the_small_request_proves_nothing() -> None:
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    busy = Fault(K.TRANSIENT, "m", status=529)
    waits: list[float] = []
    for _ in range(4):
        chat.sends()
        chat.fails(busy)
        if len(waits) < 3:
            goes_on(chat, waits)
    asks(chat, None)
    assert chat.snapshot.doubts[0].alternations == 1
    chat.do(ev.TurnRetried(chat.turn.number, asked=True))
    chat.sends()
    chat.fails(busy)
    asks(chat, attrs.evolve(busy, retry_after=7.0))
    assert chat.snapshot.doubts[0].alternations == 0
    made = decide(chat.snapshot, Policies(), 0.0)
    assert made == WaitThenRetry(7.0), "as whoever was asked last said"


def goes_on(chat: Conversation, waits: list[float]) -> None:
    """A turn goes on as it is decided: it waits, and sends the same again."""
    made = decide(chat.snapshot, Policies(), 0.0)
    assert isinstance(made, WaitThenRetry)
    waits.append(made.seconds)
    chat.do(ev.RetryScheduled(chat.turn.number, 1, made.seconds, 1.0))
    chat.do(ev.TurnRetried(chat.turn.number, asked=False))


def test_a_hint_is_kept_before_anything_is_asked() -> None:
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    hinted = Fault(K.TRANSIENT, "m", status=429, retry_after=5.0)
    for number in range(1, 5):
        chat.sends()
        chat.fails(hinted)
        made = decide(chat.snapshot, Policies(), 0.0)
        if number < 4:
            goes_on(chat, [])
        else:
            assert made == PingServer(5.0)


@pytest.mark.parametrize("kind", [K.AUTH, K.TRANSIENT])
def test_a_403_is_asked_about_before_it_is_taken_for_credentials(
    kind: FaultKind,
) -> None:
    """The second time in a row: who lets something short pass has no word on access."""
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    page = Fault(kind, "<html>", status=403)
    chat.sends()
    chat.fails(page)
    first = decide(chat.snapshot, ONE_TRY, 0.0)
    assert isinstance(first, Suspend if kind is K.AUTH else Stop)
    chat.opens(text("Again."))
    chat.sends()
    chat.fails(page)
    assert isinstance(decide(chat.snapshot, ONE_TRY, 0.0), PingServer)
    asked = chat.snapshot

    asks(chat, page)
    made = decide(chat.snapshot, ONE_TRY, 0.0)
    assert isinstance(made, Suspend)
    assert (made.fault is None) == (kind is K.AUTH), "it is known now what it is"
    assert made.fault is None or made.fault.kind is K.AUTH
    chat.snapshot = asked
    asks(chat, None)
    assert isinstance(decide(chat.snapshot, ONE_TRY, 0.0), ChangeRequest)


@pytest.mark.parametrize("faults", [(429, 500, 503, 529), (500, None, 500, 429)])
def test_changing_failures_raise_no_suspicion(
    faults: tuple[int | None, ...],
) -> None:
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    for status in faults * 3:
        chat.sends()
        chat.fails(Fault(K.TRANSIENT, "m", status=status, outcome_unknown=True))
        assert decide(chat.snapshot, ONE_TRY, 0.0) == Stop()
        chat.opens(text("Again."))


def test_confirmed_turns_remove_the_suspicion() -> None:
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    for _ in range(3):
        chat.sends()
        chat.fails(Fault(K.TRANSIENT, "m", status=503))
        chat.opens(text("Again."))
    chat.sends()
    chat.replies("end_turn", text("At last."))

    assert chat.snapshot.doubts == ()


def test_a_block_of_the_users_own_last_words_is_not_touched() -> None:
    chat = Conversation()
    says_more(chat, 0)
    snapshot = failing(said(K.BLOCK, "messages.0.content.0: bad"), chat)

    assert decide(snapshot, Policies(), 0.5) == Stop()


def test_a_block_of_the_past_gets_a_note() -> None:
    made = decide(failing(said(K.BLOCK, "messages.2.content.0: b")), Policies(), 0.5)

    assert isinstance(made, ChangeRequest)
    assert made.view is not None
    (stub, *_) = made.view.ops
    assert isinstance(stub, Stub)
    assert (stub.exchange, stub.side, stub.block) == (1, Side.USER, 0)


def test_a_result_that_is_about_to_be_sent_gets_a_note() -> None:
    chat = conversation_of([], (1, 0))
    at = len(json.loads(body_of(chat.snapshot, View()))["messages"]) - 1
    fault = said(K.BLOCK, f"messages.{at}.content.0: bad")
    made = decide(failing(fault, chat), Policies(), 0.5)

    assert isinstance(made, ChangeRequest)
    assert made.remedy is Remedy.STUB


def test_a_path_that_counts_the_messages_of_a_continuation_stubs_nothing() -> None:
    chat = in_a_thread(conversation_of([(PARTS.index(plain), 0)], (1, 0)))
    made = decide(
        failing(said(K.BLOCK, "messages.0.content.0: b"), chat, Copy.CONTINUE),
        Policies(),
        0.5,
    )

    assert made == ChangeRequest(Remedy.REPLAY, "messages.0.content.0: b")


def test_a_turn_that_carries_results_is_left_out_with_the_turn_that_asked() -> None:
    """What is hidden must not part a call from its result, which travels a turn later."""
    chat = conversation_of([(PARTS.index(stopped), 0), (PARTS.index(plain), 0)], (0, 0))
    fault = said(K.BLOCK, "messages.2: bad")
    snapshot = failing(fault, chat)
    made = decide(snapshot, Policies(), 0.5)

    assert isinstance(made, ChangeRequest)
    assert made.view is not None
    hide = made.view.ops[0]
    assert isinstance(hide, Hide)
    assert (hide.start, hide.until) == (0, 2)


def test_two_turns_that_are_refused_as_a_whole_are_both_left_out() -> None:
    chat = conversation_of([(PARTS.index(plain), 0)] * 4, (0, 0))
    bad = {b"#1 ", b"#7 "}

    def service(sent: Sent) -> Fault | None:
        if sent.what != "message":
            return None
        for at, message in enumerate(json.loads(sent.body)["messages"]):
            if any(mark in encode(message) for mark in bad):
                return said(K.BLOCK, f"messages.{at}: bad")
        return None

    recovery = Recovery(chat, service).run()

    assert recovery.turn.state == "confirmed"
    assert recovery.told == ["ChangeRequest hide", "ChangeRequest hide"]


def test_a_reply_that_was_cut_off_is_asked_for_once_more() -> None:
    chat = conversation_of([], (0, 0))
    snapshot = chat.snapshot

    assert cut_off(snapshot, Outcome.TRUNCATED, calls=True)
    assert not cut_off(snapshot, Outcome.TRUNCATED, calls=False)
    assert not cut_off(snapshot, Outcome.REST, calls=True)
    tried = with_turn(snapshot, tried=(Remedy.RAISE,))
    assert not cut_off(tried, Outcome.TRUNCATED, calls=True)
    most = attrs.evolve(snapshot.profile, max_tokens=RAISED_MAX)
    assert not cut_off(
        attrs.evolve(snapshot, profile=most), Outcome.TRUNCATED, calls=True
    )
    made = decide(failing(Fault(K.CUT_OFF, "c", status=200), chat), Policies(), 0.5)
    assert made == ChangeRequest(Remedy.RAISE, "c", max_tokens=4096)


@pytest.mark.parametrize("kind", [k for k in FaultKind if not LADDERS[k].rungs])
def test_fault_that_is_not_about_a_summary_costs_none(kind: FaultKind) -> None:
    """A turn that is stopped, or refused here, once a summary was confirmed."""
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    assert chat.summarises(Method.SIGNED)
    chat.fails(Fault(kind, "x"))

    assert chat.turn.compacting is None, "it is made, and makes nothing fail"
    assert decide(chat.snapshot, Policies(), 0.5) == Stop()

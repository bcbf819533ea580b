"""What proves that a server holds what it is asked to continue, and what does not."""

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.states.strategies import PROFILE, call, reply, search, text

from turnlatch_states.api.faults import DEFINITE, Fault, FaultKind
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply, Usage
from turnlatch_states.effects.copy_proof import least_count, provable, unproved
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.server_copy import without_copy
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.machine.step import begin, step
from turnlatch_states.machine.synthetic_results import closed_result
from turnlatch_states.machine.thread import ThreadState
from turnlatch_states.request.build import Copy
from turnlatch_states.request.history import user_message
from turnlatch_states.request.profile import Threads
from turnlatch_states.request.tokens import bound

THREADED = attrs.evolve(PROFILE, threads=Threads.ON)


def after(snapshot: Snapshot, *events: ev.Event) -> Snapshot:
    """A conversation once these events happened."""
    for event in events:
        snapshot = step(snapshot, event).snapshot
    return snapshot


def counting(tokens: Any, *blocks: dict[str, Any], **meta: Any) -> Reply:
    """A reply for which so many tokens were read."""
    usage = {"input_tokens": tokens, "output_tokens": 3}
    return reply(1, "end_turn", *(blocks or (text(),)), **{"usage": usage, **meta})


def kept(read: Any, said: str = "Hello", *blocks: dict[str, Any]) -> Snapshot:
    """A conversation whose copy is kept, and whose next message is about to leave."""
    return after(
        begin(ev.ConversationOpened(THREADED)),
        ev.TurnOpened(1, encode(text("first"))),
        ev.RequestSent(1, 1, Copy.CREATE),
        ev.ReplyConfirmed(1, 1, counting(read, *blocks)),
        ev.TurnOpened(2, encode(text(said))),
    )


def continued(snapshot: Snapshot) -> Snapshot:
    """The same, once its message has left as a continuation."""
    turn = snapshot.turn
    assert turn is not None
    sent = ev.RequestSent(turn.number, turn.attempt + 1, Copy.CONTINUE)
    return after(snapshot, sent)


Judge = Callable[[Snapshot, Reply], Fault | None]


def wrongs(judge: Judge, base: int, said: str, density: float, more: int) -> list[str]:
    """What a judge gets wrong about one continuation, by a server that keeps the copy
    and by gateways that do not."""
    snapshot = kept(base, said)
    turn = snapshot.turn
    assert turn is not None
    if not provable(snapshot):
        return []
    flying = continued(snapshot)
    alone = min(int(len(said) * density) + 8, bound(user_message(turn.staged)))
    answers = {
        "holds it": (base + alone + more + 1, True),
        "sees the message only": (alone, False),
        "counts nothing": (None, False),
        "counts zero": (0, False),
        "says the same each time": (base, False),
        "says one more each time": (base + 1, False),
    }
    return [
        name
        for name, (tokens, proof) in answers.items()
        if (judge(flying, counting(tokens)) is None) != proof
    ]


CASES = {
    "base": st.integers(1, 3_000),
    "said": st.text("abc def", min_size=1, max_size=2_000).filter(str.strip),
    "density": st.floats(1 / 60, 0.5),
    "more": st.integers(0, 500),
}


@given(**CASES)
def test_only_a_server_that_holds_the_copy_proves_it(
    base: int, said: str, density: float, more: int
) -> None:
    """For every length of what is held and what is new, however dense the tokens are."""
    assert wrongs(unproved, base, said, density, more) == []


def test_the_check_sees_a_count_that_is_only_no_smaller() -> None:
    """Planted: any count is proof that is at least the one before."""

    def trusting(snapshot: Snapshot, reply: Reply) -> Fault | None:
        head = snapshot.history.head
        assert head is not None
        enough = reply.usage.input >= head.reply.usage.input
        return None if enough else Fault(FaultKind.THREAD, "fewer")

    found = wrongs(trusting, 400, "word " * 20, 0.25, 0)

    assert found == ["says the same each time", "says one more each time"]


def test_server_thread_without_proof_by_count_is_not_continued() -> None:
    """A message as long as all that is held, and a server that does not count."""
    assert provable(kept(400))
    assert not provable(kept(400, "x" * 1_000))
    for nothing in (0, None, -3, "12", True):
        assert not provable(kept(nothing))
        assert least_count(kept(nothing)) is None


@given(CASES["base"], CASES["said"])
def test_whatever_is_continued_could_not_be_explained_by_the_message(
    base: int, said: str
) -> None:
    snapshot = kept(base, said)
    turn, least = snapshot.turn, least_count(snapshot)
    assert turn is not None

    if provable(snapshot):
        assert least is not None
        assert least > bound(user_message(turn.staged))


def test_the_cache_and_what_the_server_says_it_cleared_were_read() -> None:
    flying = continued(kept(400))
    cached = {
        "input_tokens": 3,
        "cache_read_input_tokens": 390,
        "cache_creation_input_tokens": 20,
    }
    edits = [{"type": "clear_tool_uses_20250919", "cleared_input_tokens": 350}]
    summarised = [{"type": "compaction", "input_tokens": 420, "output_tokens": 50}]

    assert unproved(flying, counting(60)) is not None
    assert unproved(flying, counting(0, usage=cached)) is None
    cleared = {"applied_edits": edits}
    assert unproved(flying, counting(60, context_management=cleared)) is None
    usage = {"input_tokens": 60, "output_tokens": 3, "iterations": summarised}
    assert unproved(flying, counting(0, usage=usage)) is None


@pytest.mark.parametrize("odd", [{}, {"applied_edits": None}, {"applied_edits": [3]}])
def test_context_edits_of_another_form_prove_nothing(odd: object) -> None:
    flying = continued(kept(400))

    assert unproved(flying, counting(60, context_management=odd)) is not None


def test_thinking_that_is_over_need_not_be_read_again() -> None:
    """It counts within its tool turn, and not any more behind it."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    usage = {"input_tokens": 300, "output_tokens": 250}
    called = reply(1, "tool_use", thought, call("toolu_1"), usage=usage)
    inside = after(
        begin(ev.ConversationOpened(THREADED)),
        ev.TurnOpened(1, encode(text("first"))),
        ev.RequestSent(1, 1, Copy.CREATE),
        ev.ReplyConfirmed(1, 1, called),
        ev.CallStarted(1, "toolu_1", "key"),
        ev.CallClosed(1, "toolu_1", Closing.RESULT, closed_result("toolu_1", "x")),
        ev.TurnContinued(1),
    )
    assert least_count(inside) == 300 + 1

    behind = after(
        continued(inside),
        ev.ReplyConfirmed(1, 2, counting(560)),
        ev.TurnOpened(2, encode(text("next"))),
    )
    assert least_count(behind) == 560 - 250 + 2


def test_the_count_of_a_reply_among_server_tools_may_be_a_sum() -> None:
    assert least_count(kept(900, "Hello", text(), search(1), search(2))) == 300 + 2


@pytest.mark.parametrize("kind", FaultKind)
def test_every_definite_refusal_of_a_continuation_is_first_put_down_to_the_copy(
    kind: FaultKind,
) -> None:
    """As a new thread, then without: whatever is named, and wherever."""
    turn = continued(kept(400)).turn
    assert turn is not None
    fault = Fault(kind, "messages.0.content.0: no", 400, path="messages.0.content.0")

    definite = kind in DEFINITE
    assert without_copy(turn, fault) is (Remedy.REPLAY if definite else None)
    anew = attrs.evolve(turn, copy=Copy.CREATE, tried=(Remedy.REPLAY,))
    assert without_copy(anew, fault) is (Remedy.UNTHREAD if definite else None)
    whole = attrs.evolve(turn, copy=Copy.NONE, tried=(Remedy.REPLAY, Remedy.UNTHREAD))
    assert without_copy(whole, fault) is None


def fails(snapshot: Snapshot, fault: Fault) -> Snapshot:
    """The conversation, once its request failed."""
    turn = snapshot.turn
    assert turn is not None
    return after(snapshot, ev.TurnFailed(turn.number, turn.attempt, fault))


def test_a_refusal_that_may_be_the_copys_says_nothing_about_the_conversation() -> None:
    unknown = Fault(FaultKind.INVALID, "no", 400)
    first = fails(continued(kept(400)), unknown)
    assert first.refused == 0
    assert first.thread.state is ThreadState.LOST

    again = after(
        first,
        ev.RemedyChosen(2, Remedy.REPLAY, "no"),
        ev.TurnRetried(2, asked=False),
        ev.RequestSent(2, 2, Copy.CREATE),
    )
    assert fails(again, unknown).refused == 0


def test_a_reply_that_proved_nothing_is_counted_as_lost_and_no_copy_is_asked_for() -> (
    None
):
    flying = continued(kept(400))
    fault = unproved(flying, counting(7))
    assert fault is not None
    after_it = fails(flying, fault)

    assert fault.spent == Usage(7, 3)
    assert len(after_it.history) == len(flying.history)
    assert (after_it.lost.replies, after_it.lost.input_tokens) == (1, 7)
    assert after_it.lost.output_tokens == 3
    assert after_it.thread.unproved
    assert after_it.thread.state is ThreadState.OFF
    configured = after(
        after_it, ev.TurnAbandoned(2), ev.ProfileChanged(after_it.profile)
    )
    assert not configured.thread.unproved


def test_request_that_passes_only_without_a_thread_is_remembered() -> None:
    opened = after(
        begin(ev.ConversationOpened(THREADED)),
        ev.TurnOpened(1, encode(text("first"))),
        ev.RequestSent(1, 1, Copy.CREATE),
    )
    refused = fails(opened, Fault(FaultKind.INVALID, "what is a thread?", 400))
    turn = refused.turn
    assert turn is not None
    assert turn.fault is not None
    assert without_copy(turn, turn.fault) is Remedy.UNTHREAD
    confirmed = after(
        refused,
        ev.RemedyChosen(1, Remedy.UNTHREAD, "no"),
        ev.TurnRetried(1, asked=False),
        ev.RequestSent(1, 2),
        ev.ReplyConfirmed(1, 2, counting(10)),
    )

    assert confirmed.thread.refused


def test_json_of_a_staged_message_is_read_whatever_its_blocks_are() -> None:
    odd = [
        {"type": "image", "source": {"type": "url", "url": "https://a.example"}},
        {"type": "tool_result", "tool_use_id": "toolu_1"},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": [text("x" * 70)]},
    ]
    snapshot = kept(10_000)
    turn = snapshot.turn
    assert turn is not None
    content = json.dumps(odd)[1:-1].encode()
    changed: Turn = attrs.evolve(turn, content=content)

    assert least_count(attrs.evolve(snapshot, turn=changed)) == 10_000 + 1 + 2

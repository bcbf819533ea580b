"""How much room there is, and that it is made: any history, under any window."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.part import examples
from tests.states.conversation_strategies import (
    IMAGE,
    LINKED,
    LONG,
    PAPER,
    PARTS,
    PROFILE,
    Block,
    Conversation,
    body_of,
    conversation_of,
    conversations,
    plain,
    says_more,
    tools,
    with_turn,
)
from tests.states.recovery_simulator import Recovery, Sent, Service
from tests.states.strategies import text
from tests.states.view_strategies import seeds, view_of

from turnlatch.simulator.tokens import count_block, count_request
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.models import spec
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.context_size import added, context
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot, cuttable
from turnlatch_states.machine.step import begin
from turnlatch_states.recovery.context_window import (
    WINDOW_UNKNOWN,
    boundary,
    next_reduction,
    prepare,
    window,
)
from turnlatch_states.recovery.decisions import ChangeRequest, Compact
from turnlatch_states.recovery.policies import CompactionPolicy
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Profile
from turnlatch_states.request.tokens import IMAGE_TOKENS_MAX, bound
from turnlatch_states.request.view import EMPTY, View

POLICY = CompactionPolicy()

# The arithmetic.

words = st.text(max_size=40) | st.sampled_from(["a", "", LONG, "é" * 50, "\x01\x02"])
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
values: st.SearchStrategy[Any] = st.recursive(
    leaves.filter(lambda one: one not in (float("inf"), float("-inf"))),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
    ),
    max_leaves=6,
)
named: Block = {"type": "document", "source": {"type": "url", "url": "u"}}
scanned: Block = {
    "type": "document",
    "source": {
        "type": "base64",
        "media_type": "application/pdf",
        "data": "JVBERi0" * 99,
    },
}
quoted: Block = {
    "type": "document",
    "source": {"type": "content", "content": [text("a"), IMAGE, text(LONG)]},
}
media = st.sampled_from([IMAGE, LINKED, PAPER, named, scanned, quoted])
flat = words.map(text)


def calls_with(given: Any) -> Block:
    """A call with that input."""
    return {"type": "tool_use", "id": "a", "name": "b", "input": given}


def gives(inner: Any) -> Block:
    """A result with that content."""
    return {"type": "tool_result", "tool_use_id": "a", "content": inner}


def unknown(value: Any) -> Block:
    """A block of tomorrow."""
    return {"type": "hologram", "made": value}


block: st.SearchStrategy[Block] = st.one_of(
    flat,
    media,
    st.dictionaries(words, values, max_size=3).map(calls_with),
    (words | st.lists(flat | media, max_size=4)).map(gives),
    values.map(unknown),
)


@given(st.lists(block, min_size=1, max_size=5))
@settings(max_examples=examples(200))
def test_bound_is_at_least_the_counted_size(blocks: list[Any]) -> None:
    counted = sum(count_block(one) for one in blocks)

    assert bound(b",".join(map(encode, blocks))) >= counted


def test_the_check_sees_a_bound_that_forgets_names_and_links() -> None:
    """Planted: the first version of it, which counted values and bytes only."""

    def careless(value: Any) -> int:
        match value:
            case {"type": "document"}:
                return len(json.dumps(value)) // 4
            case {**members}:
                return sum(map(careless, members.values())) + len(members)
            case _:
                return len(str(value)) // 2

    for bad in ({"type": "hologram", "made": {"x" * 99: 1}}, named):
        assert (
            careless(bad)
            < count_block(bad)
            <= bound(encode(bad) + b"," + encode(IMAGE))
        )


@given(conversations)
@settings(max_examples=examples(60))
def test_context_and_staged_message_are_at_least_the_counted_size(
    chat: Conversation,
) -> None:
    """Where the server reported nothing, so that everything is told from the bytes."""
    snapshot = chat.snapshot
    silent = attrs.evolve(
        snapshot,
        history=type(snapshot.history)(
            [attrs.evolve(one, meta=b'{"id":"msg_1"}') for one in snapshot.history]
        ),
    )
    whole = json.loads(body_of(silent, EMPTY))
    assert silent.turn is not None
    if silent.history.wires() and all(w.isascii() for w in silent.history.wires()):
        assert context(silent) + added(silent.turn) >= count_request(whole)


def test_a_count_is_believed_unless_it_cannot_be_true() -> None:
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    (only,) = chat.snapshot.history

    def holding(tokens: int) -> int:
        meta = encode({"id": "msg_1", "usage": {"input_tokens": tokens}})
        past = type(chat.snapshot.history)([attrs.evolve(only, meta=meta)])
        return context(attrs.evolve(chat.snapshot, history=past))

    around = len(PROFILE.plain_opening) + len(only.wire)
    assert holding(40) == 40
    assert holding(around) == around
    assert holding(around + 1) == holding(10**9) == holding(0) == around // 2


def test_an_image_that_is_only_named_may_be_more_tokens_than_bytes() -> None:
    chat = conversation_of([(PARTS.index(plain), 2)], (0, 0))
    (only,) = chat.snapshot.history
    meta = encode({"id": "msg_1", "usage": {"input_tokens": 3_000}})
    past = type(chat.snapshot.history)([attrs.evolve(only, meta=meta)])

    assert context(attrs.evolve(chat.snapshot, history=past)) == 3_000
    assert len(encode(LINKED)) < IMAGE_TOKENS_MAX


def test_context_window_is_the_smallest_reported_one() -> None:
    small = Profile("claude-haiku-4-5", 64)
    snapshot = begin(ev.ConversationOpened(small))
    unknown = begin(ev.ConversationOpened(Profile("claude-of-tomorrow", 64)))
    known = spec(small.model)

    assert known is not None
    assert window(snapshot, POLICY) == known.context_window
    assert window(unknown, POLICY) == WINDOW_UNKNOWN
    assert window(snapshot, CompactionPolicy(window=9)) == 9
    assert window(attrs.evolve(snapshot, window=7), POLICY) == 7
    assert window(attrs.evolve(snapshot, window=7), CompactionPolicy(window=9)) == 7
    assert window(attrs.evolve(snapshot, window=10**9), POLICY) == known.context_window


# What is done before a request.


def counted(chat: Conversation, tokens: int) -> Snapshot:
    """The conversation, as if the server had counted so many tokens in every reply."""
    snapshot = chat.snapshot
    past = [
        attrs.evolve(
            one,
            meta=encode({**json.loads(one.meta), "usage": {"input_tokens": tokens}}),
        )
        for one in snapshot.history
    ]
    return attrs.evolve(snapshot, history=type(snapshot.history)(past))


def answered(chat: Conversation, made: ChangeRequest | Compact, fails: bool) -> None:
    """What happens to what was prepared: it is chosen, or a summary comes or does not."""
    if isinstance(made, ChangeRequest):
        chat.chooses(made)
        return
    turn = chat.turn
    size, covers = len(chat.snapshot.history), made.covers
    assert made.covers <= boundary(chat.snapshot)
    assert size == covers or cuttable(chat.snapshot.history, covers)
    number, attempt = turn.number, turn.attempt + 1
    chat.do(ev.CompactionSent(number, attempt, covers, made.method))
    recovery = Recovery(
        chat, lambda _: Fault(FaultKind.COMPACTION, "no") if fails else None
    )
    recovery.goes_on()
    if fails:
        assert recovery.goes_on()


@given(
    conversations,
    seeds,
    st.integers(0, 2000),
    st.integers(16, 4000),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=examples(120))
def test_preparing_comes_to_an_end(
    chat: Conversation,
    given_: list[tuple[int, ...]],
    tokens: int,
    most: int,
    fails: bool,
    auto: bool,
) -> None:
    """Whatever it asks for and however that ends, soon it asks for nothing more."""
    chat.snapshot = counted(chat, tokens)
    chat.snapshot = attrs.evolve(chat.snapshot, view=view_of(chat.snapshot, given_))
    policy = CompactionPolicy(auto=auto, window=most)
    steps = 0
    while (made := prepare(chat.snapshot, policy)) is not None:
        answered(chat, made, fails)
        steps += 1
        assert steps <= STEPS_MAX, made


STEPS_MAX = 16
"""Most things that are done before one request."""


@given(conversations, st.integers(0, 2000), st.integers(16, 4000))
@settings(max_examples=examples(60))
def test_no_summary_parts_a_call_from_its_result(
    chat: Conversation, tokens: int, most: int
) -> None:
    snapshot = counted(chat, tokens)
    policy = CompactionPolicy(window=most)
    for made in (prepare(snapshot, policy), next_reduction(snapshot, policy, "full")):
        if isinstance(made, Compact):
            turn = snapshot.turn
            assert turn is not None
            assert made.covers <= boundary(snapshot)
            chat.snapshot = snapshot
            chat.do(ev.CompactionSent(turn.number, turn.attempt + 1, made.covers))


def full(turn: dict[str, Any], **changes: Any) -> Snapshot:
    """A conversation whose window is full, with a turn that has some past."""
    chat = conversation_of([(PARTS.index(plain), 4)] * 4, (0, 0))
    snapshot = attrs.evolve(counted(chat, 900), window=1000, **changes)
    return with_turn(snapshot, **turn)


def test_a_full_window_is_summarised_before_it_is_sent() -> None:
    made = prepare(full({}), POLICY)

    assert made == Compact(4, Method.SIGNED)
    assert prepare(full({}), CompactionPolicy(auto=False)) is None


@pytest.mark.parametrize(
    ("turn", "changes"),
    [
        ({"compactions": POLICY.per_turn_max}, {}),
        ({"tried": (Remedy.SKIP,)}, {}),
        ({}, {"futile": POLICY.futile_max}),
        ({}, {"futile": POLICY.futile_max + 1}),
    ],
)
def test_no_summary_is_asked_for_beyond_its_bounds(
    turn: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert not isinstance(prepare(full(turn, **changes), POLICY), Compact)


def test_a_summary_whose_request_would_not_fit_is_not_asked_of_the_server() -> None:
    made = next_reduction(attrs.evolve(full({}), window=500), POLICY, "full")
    told = next_reduction(
        attrs.evolve(full({"tried": (Remedy.SHRINK,)}), window=500), POLICY, "full"
    )

    assert isinstance(told, Compact)
    assert told.method is Method.TOLD
    assert made is not None


# The ladder, to its end.


def least(snapshot: Snapshot) -> int:
    """The smallest window into which the next request can be made to fit.

    What was said last stays as it is, and so do the settings and the last summary; a
    result becomes a short record with its call, and a note stands for all the rest.
    """
    turn = snapshot.turn
    assert turn is not None
    said = json.loads(b"[" + turn.content + b"]")
    kept: Block = {**snapshot.profile.as_body()}
    kept["messages"] = [{"role": "user", "content": said}] if said else []
    if snapshot.base is not None:
        kept["messages"] += json.loads(b"[" + snapshot.base.wire + b"]")
    paused = 0
    if not turn.staged:  # a paused turn goes back as it came
        end = boundary(snapshot)
        paused = sum(len(one.wire) for one in list(snapshot.history)[end:])
    return count_request(kept) + 420 * len(turn.calls) + paused + 120


def narrow(most: int) -> Service:
    """A service with a window of so many tokens."""

    def service(sent: Sent) -> Fault | None:
        length = count_request(json.loads(sent.body)) if sent.what != "small" else 0
        if length <= most:
            return None
        said = f"prompt is too long: {length} tokens > {most} maximum"
        return Fault(FaultKind.TOO_LONG, said, status=400)

    return service


@given(conversations, st.integers(0, 3000))
@settings(max_examples=examples(100))
def test_every_history_is_brought_under_every_window(
    chat: Conversation, more: int
) -> None:
    recovery = Recovery(chat, narrow(least(chat.snapshot) + more)).run()

    assert recovery.turn.state == "confirmed", (recovery.told, recovery.turn.fault)


@given(conversations, st.integers(0, 3000))
@settings(max_examples=examples(60))
def test_context_fits_without_any_summary(chat: Conversation, more: int) -> None:
    """The last rungs need no server."""
    service = narrow(least(chat.snapshot) + more)

    def without(sent: Sent) -> Fault | None:
        if sent.what in ("summary", "told"):
            return Fault(FaultKind.COMPACTION, "the summary is empty")
        return service(sent)

    recovery = Recovery(chat, without).run()

    assert recovery.turn.state == "confirmed", (recovery.told, recovery.turn.fault)


def test_the_check_sees_a_ladder_without_its_last_rungs() -> None:
    """Planted: a client that can shorten, and cannot leave out."""
    chat = conversation_of(
        [(PARTS.index(tools), 1), (PARTS.index(plain), 4)] * 3, (0, 0)
    )
    recovery = Recovery(chat, narrow(least(chat.snapshot)))
    recovery.without = frozenset({Remedy.HIDE, Remedy.COMPACT, Remedy.TELL})
    recovery.run()

    assert recovery.turn.state == "failed"


def test_last_message_is_never_cut() -> None:
    chat = Conversation()
    says_more(chat, 4)
    recovery = Recovery(chat, narrow(30)).run()

    assert recovery.turn.state == "failed"
    assert View(recovery.snapshot.showing.ops) == recovery.snapshot.showing
    assert recovery.told[-1] == "Stop"

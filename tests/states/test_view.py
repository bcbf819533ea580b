"""Whatever a view does: what is sent is legal, nothing is torn, the record is untouched."""

import json
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.part import examples
from tests.states.conversation_strategies import (
    IMAGE,
    LONG,
    PARTS,
    Block,
    Conversation,
    body_of,
    conversation_of,
    conversations,
    findings,
    plain,
    says_more,
    tools,
    with_turn,
)
from tests.states.strategies import text
from tests.states.view_strategies import hide_places, op_of, seeds, view_of

from turnlatch_states.api.json_bytes import encode, parts
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.request.build import build
from turnlatch_states.request.view import (
    EMPTY,
    DropBeta,
    DropBound,
    DropField,
    Flatten,
    Hide,
    IgnoreBase,
    Op,
    Rename,
    Shrink,
    Side,
    StripThinking,
    Stub,
    View,
)

OPS: tuple[Op, ...] = (
    Stub(0, Side.USER, 1, -1, "[A note.]"),
    Shrink(2, 64),
    StripThinking(2),
    Flatten(0, 1, 64),
    Hide(0, 2, "[Left out.]"),
    Rename(2),
    IgnoreBase(1),
    DropField("diagnostics"),
    DropBeta("a-beta"),
    DropBound(),
)
"""One operation of every kind."""


def torn(messages: list[dict[str, Any]]) -> list[str]:
    """Calls without their result in the next message, and results without their call.

    What the rules find too, found without them: adjacent messages of one role are one.
    """
    turns: list[tuple[str, list[Block]]] = []
    for message in messages:
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(message["content"])
        else:
            turns.append((message["role"], list(message["content"])))
    found: list[str] = []
    asked: list[str] = []
    for role, blocks in turns:
        if role == "user":
            got = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
            lead = blocks[: len(got)]
            found += sorted(set(asked) ^ set(got)) + got[len(set(got)) :]
            found += ["late" for b in lead if b["type"] != "tool_result"]
            asked = []
        else:
            found += asked
            asked = [b["id"] for b in blocks if b["type"] == "tool_use"]
    return found + asked


def put_into_its_mouth(snapshot: Snapshot, body: dict[str, Any]) -> list[Block]:
    """What is shown as the assistant's word and is not in the record."""
    known = [b for one in snapshot.history for b in parts(one.resendable)]
    known += [] if snapshot.base is None else [snapshot.base.block]
    said = [json.loads(block) for block in known]
    return [
        block
        for message in body["messages"]
        if message["role"] == "assistant"
        for block in message["content"]
        if block not in said
    ]


@given(conversations, seeds)
@settings(max_examples=examples(150))
def test_legal_conversation_is_legal_under_every_view(
    chat: Conversation, given_: list[tuple[int, ...]]
) -> None:
    snapshot = chat.snapshot
    view = view_of(snapshot, given_)

    assert findings(snapshot, snapshot.showing) == []
    assert findings(snapshot, view) == []


@given(conversations, seeds)
@settings(max_examples=examples(80))
def test_no_view_tears_a_call_from_its_result(
    chat: Conversation, given_: list[tuple[int, ...]]
) -> None:
    body = json.loads(body_of(chat.snapshot, view_of(chat.snapshot, given_)))

    assert torn(body["messages"]) == []


@given(conversations, seeds)
@settings(max_examples=examples(80))
def test_no_view_puts_words_into_the_assistants_mouth(
    chat: Conversation, given_: list[tuple[int, ...]]
) -> None:
    body = json.loads(body_of(chat.snapshot, view_of(chat.snapshot, given_)))

    assert put_into_its_mouth(chat.snapshot, body) == []


@given(conversations, seeds)
@settings(max_examples=examples(50))
def test_no_view_changes_the_record(
    chat: Conversation, given_: list[tuple[int, ...]]
) -> None:
    snapshot = chat.snapshot
    before = b"\n".join(snapshot.history.wires()), list(snapshot.history)

    body_of(snapshot, view_of(snapshot, given_))

    assert (b"\n".join(snapshot.history.wires()), list(snapshot.history)) == before
    assert body_of(snapshot, EMPTY) == build(
        snapshot.profile,
        snapshot.history,
        snapshot.base,
        snapshot.turn.staged if snapshot.turn else b"",
    )


@given(
    conversations, st.lists(st.sampled_from(range(10)), min_size=1, max_size=3), seeds
)
@settings(max_examples=examples(50))
def test_everything_an_operation_does_it_does_at_every_place(
    chat: Conversation, kinds: list[int], given_: list[tuple[int, ...]]
) -> None:
    """The same claims, with every operation at every exchange of a small chat."""
    snapshot = chat.snapshot
    kind, size = kinds[0], len(snapshot.history)
    for place in range(min(size, 6) + 1):
        more = view_of(snapshot, given_).adding(
            op_of(snapshot, (kind, place, place + 1, place, kinds[-1]))
        )
        assert findings(snapshot, more) == []


def test_the_check_sees_a_call_that_is_left_out_without_its_result() -> None:
    """Planted: a view that drops a call and leaves its result where it is."""
    chat = conversation_of([], (1, 0))
    body = json.loads(body_of(chat.snapshot, EMPTY))
    reply = body["messages"][1]
    reply["content"] = [b for b in reply["content"] if b["type"] != "tool_use"]

    assert torn(body["messages"])
    assert torn(body["messages"][:1] + body["messages"][1:2]) == []


def test_check_sees_invented_words() -> None:
    """Planted: a view that tells in the assistant's place what was left out."""
    chat = conversation_of([(0, 0)], (0, 0))
    body = json.loads(body_of(chat.snapshot, EMPTY))
    body["messages"][1]["content"].append(text("[Left out.]"))

    assert put_into_its_mouth(chat.snapshot, body) == [text("[Left out.]")]


# What is journaled.

indexes = st.integers(0, 10**6)
notes = st.text(st.characters(), max_size=8)
any_op: st.SearchStrategy[Op] = st.one_of(
    st.builds(
        Stub, indexes, st.sampled_from(Side), indexes, st.integers(-1, 99), notes
    ),
    st.builds(Shrink, indexes, indexes),
    st.builds(StripThinking, indexes),
    st.builds(Flatten, indexes, indexes, indexes),
    st.builds(Hide, indexes, indexes, notes),
    st.builds(Rename, indexes),
    st.builds(IgnoreBase, indexes),
    st.builds(DropField, notes),
    st.builds(DropBeta, notes),
    st.builds(DropBound),
)
any_view = st.lists(any_op, max_size=5).map(lambda ops: View(tuple(ops)))


def test_the_strategies_know_every_operation() -> None:
    snapshot = conversation_of([], (0, 0)).snapshot
    known = {
        type(op_of(snapshot, (kind, n, 0, 0, 0))) for kind in range(11) for n in (0, 1)
    }

    assert known == {type(op) for op in OPS} == set(get_args(Op))


@given(any_view)
def test_a_view_is_written_and_read_exactly(view: View) -> None:
    written = view.encoded()

    assert View.decoded(written) == view
    assert View.decoded(written).encoded() == written


ODD: list[Any] = [1.0, -0.0, 1e999, "user", "x", [], {}, [0], {"a": 1}, [[]]]
json_values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from(ODD)
)
tags = st.sampled_from([json.loads(View((op,)).encoded())[0][0] for op in OPS])


def refused(written: bytes) -> bool:
    """True if these bytes are no view, said in the one declared way."""
    try:
        return View.decoded(written).encoded() != written
    except ValueError:
        return True


@given(
    st.binary(max_size=12)
    | json_values.map(lambda v: json.dumps(v).encode())
    | st.lists(st.tuples(tags, json_values, json_values), max_size=2).map(
        lambda ops: json.dumps([[t, a, b] for t, a, b in ops]).encode()
    )
)
@settings(max_examples=examples(200))
def test_bytes_that_are_not_a_view_are_refused(written: bytes) -> None:
    try:
        view = View.decoded(written)
    except ValueError:
        return
    assert view.encoded() == written


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"null",
        b"{}",
        b"[ ]",
        b'["hide"]',
        b'[["hide"]]',
        b'[["hide",0,1]]',
        b'[["hide",0,1,"x",2]]',
        b'[["hide", 0,1,"x"]]',
        b'[["hide",-1,1,"x"]]',
        b'[["hide",0.0,1,"x"]]',
        b'[["hide",true,1,"x"]]',
        b'[["hide",0,1,null]]',
        b'[["stub",0,"model",0,-1,"x"]]',
        b'[["stub",0,"user",0,true,"x"]]',
        b'[["conceal",0]]',
        b'[[["hide"],0,1,"x"]]',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_damaged_bytes_of_a_view_are_refused(foreign: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the messages are many, the type is one
        View.decoded(foreign)


@given(any_view, any_view)
def test_adding_repeats_nothing_and_forgets_nothing(one: View, other: View) -> None:
    both = one.adding(*other.ops)

    assert both.ops[: len(one.ops)] == one.ops
    assert set(both.ops) == {*one.ops, *other.ops}
    assert both.adding(*other.ops) is both
    assert one.adding() is one


# A history that was cut back.


@given(conversations, seeds, st.integers(0, 64))
@settings(max_examples=examples(80))
def test_a_view_of_a_rewound_history_reaches_no_further_and_is_legal(
    chat: Conversation, given_: list[tuple[int, ...]], cut: int
) -> None:
    whole = chat.snapshot
    view = view_of(whole, given_)
    places = hide_places(whole)
    size = places[cut % len(places)]
    said = encode(text("Something else."))
    shorter = attrs.evolve(
        with_turn(whole, content=said, calls=(), outcome=None),
        history=whole.history.until(size),
        bases=tuple(base for base in whole.bases if base.covers <= size),
    )
    after = view.until(size)

    assert set(after.until(size).ops) == set(after.ops)
    near = [op for op in view.ops if not isinstance(op, IgnoreBase)]
    assert all(op in after.ops for op in near if View((op,)).reach <= size)
    assert after.reach <= size + 1
    assert findings(shorter, after) == []
    assert view.until(10**9) is view


def test_a_cut_keeps_what_holds_for_what_is_left() -> None:
    view = View(OPS)

    assert view.until(2) == view
    assert view.until(1).ops == (
        Stub(0, Side.USER, 1, -1, "[A note.]"),
        Shrink(1, 64),
        StripThinking(1),
        Flatten(0, 1, 64),
        Rename(1),
        IgnoreBase(1),
        DropField("diagnostics"),
        DropBeta("a-beta"),
        DropBound(),
    )
    assert view.until(0).ops == (
        Shrink(0, 64),
        StripThinking(0),
        Rename(0),
        DropField("diagnostics"),
        DropBeta("a-beta"),
        DropBound(),
    )


# Some things people would look for.


def shown(chat: Conversation, *ops: Op) -> list[dict[str, Any]]:
    """The messages of the next request under some operations."""
    body = json.loads(body_of(chat.snapshot, View(ops)))
    messages: list[dict[str, Any]] = body["messages"]
    return messages


def test_hidden_part_has_one_note() -> None:
    chat = conversation_of([(PARTS.index(plain), 0)] * 3, (0, 0))

    notes = [
        m for m in shown(chat, Hide(0, 3, "Gone.")) if m["content"] == [text("Gone.")]
    ]
    assert len(notes) == 1
    assert len(shown(chat, Hide(0, 3, "Gone."))) == 2
    assert "left out here" in str(shown(chat, Hide(0, 3, " "))[0])


def test_flattened_turn_is_sent_as_a_record() -> None:
    chat = conversation_of([(PARTS.index(tools), 0)], (0, 0))

    told = shown(chat, Flatten(0, 1, 64))
    assert b"tool_use" not in encode(told)
    assert "look was called with" in str(told)
    assert "It answered" in str(told)


def test_media_become_a_note_and_long_results_short() -> None:
    chat = Conversation()
    chat.opens(text("See."), IMAGE)
    chat.sends()
    chat.calls(0)
    chat.closes(1)
    chat.goes_on()

    told = encode(shown(chat, Shrink(9, 32)))
    assert b'"image"' not in told
    assert LONG.encode() not in told
    assert b"[An earlier image was left out here.]" in told
    assert b"bytes were left out here" in told


def test_a_paused_turn_that_is_shown_without_its_pause_goes_on_in_our_words() -> None:
    chat = conversation_of([], (2, 0))
    last = shown(chat, Flatten(0, 1, 64))[-1]

    assert shown(chat)[-1]["role"] == "assistant"
    assert last == {"role": "user", "content": [text("[Go on.]")]}


def test_a_server_tool_and_its_result_go_together() -> None:
    """Both places, and across the replies of a paused turn."""
    for kind in (0, 1, 2):
        chat = Conversation()
        PARTS[3](chat, kind)
        says_more(chat, 0)
        size = len(chat.snapshot.history)
        for index in range(size):
            for place in range(4):
                view = View((Stub(index, Side.REPLY, place, -1, ""),))
                assert findings(chat.snapshot, view) == []
                told = body_of(chat.snapshot, view)
                calls = told.count(b'"server_tool_use"')
                assert told.count(b'"web_search_tool_result"') == calls

"""The guard of the cache speaks exactly where a request departs from the last one."""

from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.part import examples
from tests.states.conversation_strategies import (
    PARTS,
    PROFILE,
    Conversation,
    conversation_of,
    plans,
)
from tests.states.strategies import text
from tests.states.view_strategies import hide_places, seeds, view_of

from turnlatch_states.machine import events as ev
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.recovery.cache_guard import PrefixChange, prefix_change
from turnlatch_states.request.build import build
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Cache, Profile
from turnlatch_states.request.render import base_in_force
from turnlatch_states.request.view import EMPTY, DropBound, Hide, Shrink, View

Guard = Callable[[Snapshot], PrefixChange | None]

PROFILES = (
    PROFILE,
    Profile(PROFILE.model, PROFILE.max_tokens, PROFILE.settings, cache=Cache.LONG),
    Profile(PROFILE.model, 2048, PROFILE.settings, cache=Cache.SHORT),
    Profile(PROFILE.model, PROFILE.max_tokens, PROFILE.settings[1:]),
    Profile("claude-opus-5", PROFILE.max_tokens, PROFILE.settings, cache=Cache.SHORT),
)
"""What somebody may change the settings to; the first is no change."""


def sent(snapshot: Snapshot, view: View) -> tuple[bytes, bytes]:
    """A request up to its messages, and its messages."""
    staged = snapshot.turn.staged if snapshot.turn else b""
    body = build(snapshot.profile, snapshot.history, snapshot.base, staged, view=view)
    opening, found, rest = body.partition(b'"messages":[')
    end = rest.rindex(b"]")
    return opening + found, rest[:end]


def confirmed(chat: Conversation) -> tuple[bytes, bytes]:
    """Have the request that is waiting confirmed; what it was."""
    paid = sent(chat.snapshot, chat.snapshot.showing)
    chat.sends()
    chat.replies("end_turn", text("Well."))
    return paid


def first_difference(one: bytes, other: bytes) -> int:
    """The slow way to say it."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


def agrees(guard: Guard, snapshot: Snapshot, paid: tuple[bytes, bytes]) -> bool:
    """What is said of the next request is what its bytes say."""
    told = guard(snapshot)
    now = sent(snapshot, snapshot.showing)
    for part, old, new in zip(("settings", "messages"), paid, now, strict=True):
        starts = new == old if part == "settings" else new.startswith(old)
        if starts:
            continue
        at = first_difference(old, new)
        return told is not None and (told.part, told.at, told.before, told.after) == (
            part,
            at,
            old[at : at + 24],
            new[at : at + 24],
        )
    return told is None


changes = st.tuples(
    st.integers(0, len(PROFILES) - 1), seeds, st.booleans(), st.integers(0, 1)
)


def changed(
    chat: Conversation, change: tuple[int, list[tuple[int, ...]], bool, int]
) -> None:
    """Something happens between two requests: settings, a summary, another view."""
    profile, given_, summary, method = change
    if PROFILES[profile] != chat.snapshot.profile:
        chat.do(ev.ProfileChanged(PROFILES[profile]))
    chat.opens(text("And?"), text("What else?"))
    if summary:
        chat.summarises(tuple(Method)[method])
    view = view_of(chat.snapshot, given_)
    if given_:
        event = ev.RemedyChosen(chat.turn.number, Remedy.SHRINK, "a test", view)
        chat.do(event)


@given(plans, st.integers(0, 4), changes, changes)
@settings(max_examples=examples(120))
def test_prefix_change_is_reported_exactly_where_the_bytes_differ(
    plan: list[tuple[int, int]], end: int, first: Any, second: Any
) -> None:
    chat = conversation_of(plan, (end, 5))
    for change in (first, second):
        paid = confirmed(chat)
        assert chat.snapshot.paid is not None
        changed(chat, change)
        assert agrees(prefix_change, chat.snapshot, paid)


@given(plans, seeds)
@settings(max_examples=examples(40))
def test_a_conversation_that_only_grows_is_silent(
    plan: list[tuple[int, int]], given_: list[tuple[int, ...]]
) -> None:
    """Also under a view, once a request that used it was confirmed."""
    chat = conversation_of(plan, (0, 0))
    view = view_of(chat.snapshot, given_)
    chat.do(ev.RemedyChosen(chat.turn.number, Remedy.SHRINK, "a test", view))
    confirmed(chat)
    for _ in range(3):
        chat.opens(text("And?"))
        if chat.turn.trial is None:  # a server tool that never ended is closed once
            assert prefix_change(chat.snapshot) is None
        confirmed(chat)


def test_nothing_was_paid_for_before_the_first_reply() -> None:
    chat = conversation_of([], (0, 0))

    assert prefix_change(chat.snapshot) is None


def test_prefix_change_names_its_cause() -> None:
    chat = conversation_of([(PARTS.index(PARTS[0]), 0)] * 3, (0, 0))
    quiet = chat.snapshot
    assert prefix_change(quiet) is None
    other = attrs.evolve(quiet, profile=PROFILES[4])
    told = prefix_change(other)
    assert told is not None
    assert (told.part, told.at) == ("settings", len('{"model":"claude-'))
    assert told.tokens > 0

    hidden = attrs.evolve(quiet, view=View((Hide(0, 2, "Gone."),)))
    told = prefix_change(hidden)
    assert told is not None
    assert told.part == "messages"
    assert "otherwise" in told.why

    chat.summarises(Method.SIGNED)
    told = prefix_change(chat.snapshot)
    assert told is not None
    assert "summary" in told.why
    assert (told.part, told.at) == ("messages", len('{"role":"'))


def test_changed_last_reply_is_not_a_prefix_change() -> None:
    """The last reply was written, not read: what follows it was never in the cache."""
    chat = conversation_of([(0, 0), (4, 0)], (0, 0))

    assert chat.turn.trial is not None, "a server tool that never ended is closed"
    told = prefix_change(chat.snapshot)
    assert told is None or told.part == "settings"


def test_thinking_that_the_server_may_drop_is_another_setting() -> None:
    chat = conversation_of([(0, 0)], (0, 0))
    bound = attrs.evolve(chat.snapshot, view=View((DropBound(),)))
    told = prefix_change(bound)

    assert told is not None
    assert told.part == "settings"
    assert b"thinking" in told.after


def test_a_history_that_was_cut_back_begins_as_it_did() -> None:
    """What is left of the last request is begun again with the same bytes."""
    chat = conversation_of([(0, 0)] * 4, (0, 0))
    confirmed(chat)
    for size in reversed(hide_places(chat.snapshot)):
        chat.do(ev.Rewound(size))
        assert prefix_change(chat.snapshot) is None
    chat.opens(text("From the start."))
    assert prefix_change(chat.snapshot) is None


def test_the_check_sees_a_guard_that_looks_at_the_view_only() -> None:
    """Planted: it forgets that a summary and other settings change the bytes."""

    def hasty(snapshot: Snapshot) -> PrefixChange | None:
        paid = snapshot.paid
        same = paid is None or paid.view == snapshot.showing
        return None if same else prefix_change(snapshot)

    chat = conversation_of([(0, 0)] * 2, (0, 0))
    paid = confirmed(chat)
    chat.opens(text("And?"))
    assert agrees(hasty, chat.snapshot, paid)
    chat.summarises(Method.SIGNED)
    assert base_in_force(EMPTY, chat.snapshot.base) is not None
    assert not agrees(hasty, chat.snapshot, paid)
    assert agrees(prefix_change, chat.snapshot, paid)


def test_the_check_sees_a_guard_that_is_off_by_one() -> None:
    """Planted: the place is counted from 1."""

    def late(snapshot: Snapshot) -> PrefixChange | None:
        told = prefix_change(snapshot)
        return told and attrs.evolve(told, at=told.at + 1)

    chat = conversation_of([(0, 4)] * 2, (0, 0))
    paid = confirmed(chat)
    chat.opens(text("And?"))
    view = View((Shrink(2, 16), Hide(0, 1, "Gone.")))
    chat.do(ev.RemedyChosen(chat.turn.number, Remedy.HIDE, "a test", view))

    assert agrees(prefix_change, chat.snapshot, paid)
    assert not agrees(late, chat.snapshot, paid)

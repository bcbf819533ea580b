"""Which call is which: by its place in the record, whatever ids the model gives."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, Final, TypeAlias, final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.part import one_in

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.api.resendable import call_ids, distinct_ids, resendable_id
from turnlatch_states.api.rules import Context, check
from turnlatch_states.effects.call_history import call_key
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.load import fold_events
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Call, Snapshot, Turn
from turnlatch_states.machine.step import begin, step
from turnlatch_states.machine.synthetic_results import closed_result
from turnlatch_states.recovery.decide import decide
from turnlatch_states.recovery.decisions import ChangeRequest
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.request.build import build
from turnlatch_states.request.profile import Profile

PROFILE: Final = Profile("claude-sonnet-5-5", 1024)
SAID: Final = b'{"type":"text","text":"Pay."}'

Id: TypeAlias = str | None
IDS: Final[dict[str, Sequence[Id]]] = {
    "distinct": ("toolu_1", "toolu_2", "toolu_3", "toolu_4"),
    "equal": ("call_0",) * 4,
    "empty": ("",) * 4,
    "missing": (None,) * 4,
    "illegal": ("a b",) * 4,
    "mixed": ("call_0", "", "call_0", ""),
    "made": ("call_0", "call_0", call_ids(["call_0"] * 2)[0], "call_0"),
}
"""Ids as backends give them."""


@final
class Record:
    """A conversation that is had, and its journal."""

    def __init__(self, identity: str = "record") -> None:
        opened = ev.ConversationOpened(PROFILE, identity)
        self.events: list[Event] = [opened]
        self.snapshot = begin(opened)
        self.replies = 0

    @property
    def turn(self) -> Turn:
        """The current turn."""
        assert self.snapshot.turn is not None
        return self.snapshot.turn

    def do(self, event: Event) -> None:
        """What happens; it is journaled."""
        made = step(self.snapshot, event)
        assert not made.dropped
        self.events.append(event)
        self.snapshot = made.snapshot

    def opens(self) -> None:
        """The user says something."""
        self.do(ev.TurnOpened(self.snapshot.turns + 1, SAID))

    def replies_with(self, *ids: Id) -> None:
        """The model calls a tool for each id, always with the same arguments."""
        self.replies += 1
        calls = [
            {"type": "tool_use", "id": id_, "name": "pay", "input": {"amount": 5}}
            for id_ in ids
        ]
        blocks = calls or [{"type": "text", "text": "Done."}]
        stop = "tool_use" if calls else "end_turn"
        # Such servers give each reply one id, too.
        meta = encode({"id": "chatcmpl-1", "stop_reason": stop})
        self.do(ev.RequestSent(self.turn.number, self.turn.attempt + 1))
        reply = Reply(b",".join(map(encode, blocks)), meta)
        self.do(ev.ReplyConfirmed(self.turn.number, self.turn.attempt, reply))
        assert self.snapshot.history[-1].content == reply.content, "sealed as it came"

    def runs(self, name: str = "notes") -> None:
        """Every call is run; the last end is not seen and is found out."""
        number, calls = self.turn.number, self.turn.open_calls
        for call in calls:
            key = call_key(self.snapshot, name, call)
            self.do(ev.CallStarted(number, call.use.id, key))
        for call in calls:
            if call is calls[-1]:
                self.do(ev.CallLost(number, call.use.id))
            result = closed_result(call.use.id, f"paid by {call.place}")
            closed = ev.CallClosed(number, call.use.id, Closing.RESULT, result)
            self.do(closed)
        self.do(ev.TurnContinued(number))

    def rewinds(self) -> None:
        """The last turn is taken back."""
        self.do(ev.Rewound(self.snapshot.history.end_of_turn(self.turn.number - 1)))

    def stops(self) -> None:
        """The turn is stopped and given up; what it was told outlives it."""
        fault = Fault(FaultKind.CANCELLED, "stopped")
        self.do(ev.TurnFailed(self.turn.number, self.turn.attempt, fault))
        self.do(ev.TurnAbandoned(self.turn.number))


def one_reply(record: Record, ids: Sequence[Id]) -> None:
    record.opens()
    record.replies_with(*ids)
    record.runs()
    record.replies_with()


def one_turn(record: Record, ids: Sequence[Id]) -> None:
    record.opens()
    for two in (ids[:2], ids[2:]):
        record.replies_with(*two)
        record.runs()
    record.replies_with()


def stopped_turn(record: Record, ids: Sequence[Id]) -> None:
    record.opens()
    record.replies_with(*ids[:2])
    record.stops()
    record.opens()
    record.replies_with(*ids[2:])
    record.runs()
    record.replies_with()


def two_turns(record: Record, ids: Sequence[Id]) -> None:
    one_reply(record, ids[:2])
    one_reply(record, ids[2:])


def rewound(record: Record, ids: Sequence[Id]) -> None:
    one_reply(record, ids[:2])
    record.rewinds()
    one_reply(record, ids[2:])
    record.rewinds()
    one_reply(record, ids[2:])


Layout: TypeAlias = Callable[[Record, Sequence[Id]], None]
LAYOUTS: Final = (one_reply, one_turn, stopped_turn, two_turns, rewound)
STORIES: Final = [
    pytest.param(layout, ids, id=f"{layout.__name__}-{name}")
    for layout, (name, ids) in product(LAYOUTS, IDS.items())
]
stories = pytest.mark.parametrize(("layout", "ids"), one_in(2, STORIES))

Key: TypeAlias = Callable[[Snapshot, Call], str]


def key_of(snapshot: Snapshot, call: Call) -> str:
    """The key that a call has, or would be started with."""
    return call.key or call_key(snapshot, "notes", call)


def told(layout: Layout, ids: Sequence[Id], identity: str = "record") -> Record:
    """A record of that story."""
    record = Record(identity)
    layout(record, ids)
    return record


def lives(record: Record) -> Iterator[tuple[Snapshot, Call]]:
    """Every call at every point where a process may end, as the next one finds it."""
    for size in range(1, len(record.events) + 1):
        snapshot = fold_events(record.events[:size])
        assert snapshot.entries == size, "what was replayed was counted"
        for call in () if snapshot.turn is None else snapshot.turn.calls:
            yield snapshot, call


def confusions(record: Record, key: Key) -> list[str]:
    """Calls that have one key together, and calls that have several."""
    of_call: dict[str, set[str]] = {}
    of_key: dict[str, set[str]] = {}
    for snapshot, call in lives(record):
        found = key(snapshot, call)
        of_call.setdefault(call.place, set()).add(found)
        of_key.setdefault(found, set()).add(call.place)
    assert of_call.keys() == {
        f"{entry}.{index}"
        for entry, event in enumerate(record.events, 1)
        if isinstance(event, ev.ReplyConfirmed)
        for index in range(len(event.reply.tool_uses))
    }, "the place of a call is the entry of its reply, and its index"
    several = [
        f"{place} has {keys}" for place, keys in of_call.items() if len(keys) > 1
    ]
    shared = [
        f"{found} is of {calls}" for found, calls in of_key.items() if len(calls) > 1
    ]
    return several + shared


@stories
def test_each_call_has_one_key_and_no_other_call_has_it(
    layout: Layout, ids: Sequence[Id]
) -> None:
    assert confusions(told(layout, ids), key_of) == []


def by_the_models_id(snapshot: Snapshot, call: Call) -> str:
    return f"{snapshot.turns} {call.use.id}"


def by_exchange(snapshot: Snapshot, call: Call) -> str:
    return f"{len(snapshot.history)} {call.index}"


def by_reply(snapshot: Snapshot, call: Call) -> str:
    del snapshot
    return f"{call.reply} {call.index}"


def by_reload(snapshot: Snapshot, call: Call) -> str:
    return f"{snapshot.entries} {call.index}"


@pytest.mark.parametrize("key", [by_the_models_id, by_exchange, by_reply, by_reload])
def test_keys_that_confuse_calls_are_found(key: Key) -> None:
    found = [
        name
        for layout in LAYOUTS
        for name, ids in IDS.items()
        if confusions(told(layout, ids), key)
    ]
    assert found, f"{key.__name__} confuses nothing that is tried here"


@stories
def test_another_record_fork_or_past_shares_no_key(
    layout: Layout, ids: Sequence[Id]
) -> None:
    record, other = told(layout, ids), told(layout, ids, "another record")
    older = told(layout, ids, "")
    seen: dict[str, str] = {}
    for name, one in (("a", record), ("b", record), ("a", other), ("a", older)):
        for snapshot, call in lives(one):
            what = f"{name} {snapshot.identity} {call.place}"
            assert seen.setdefault(call_key(snapshot, name, call), what) == what


@stories
def test_a_copy_has_the_same_keys_until_it_goes_its_own_way(
    layout: Layout, ids: Sequence[Id]
) -> None:
    record, copy = told(layout, ids), told(layout, ids)
    mine = [key_of(*life) for life in lives(record)]
    assert mine == [key_of(*life) for life in lives(copy)]

    record.opens()
    copy.opens()
    record.replies_with(*ids[:2])
    copy.replies_with(*ids[:2], "of the copy only")
    both = [
        {key_of(one.snapshot, call) for call in one.turn.open_calls}
        for one in (record, copy)
    ]
    assert both[0].isdisjoint(both[1]), "other replies, in the same places"


def test_a_call_keeps_the_key_that_an_earlier_version_started_it_with() -> None:
    record = Record("")
    record.opens()
    record.replies_with("call_0", "call_1")
    record.do(ev.CallStarted(1, "call_0", "the former key", safe=True))
    record.do(ev.CallLost(1, "call_0"))
    for snapshot, call in lives(record):
        if call.state is CallState.UNKNOWN:
            assert key_of(snapshot, call) == "the former key"
        else:
            assert key_of(snapshot, call) in (
                "the former key",
                call_key(snapshot, "notes", call),
            )


PAIRS: Final = frozenset({"R7", "R8", "R9", "R10", "R13"})


def refused(snapshot: Snapshot, rules: frozenset[str]) -> list[str]:
    """What the rules about calls have to say about the next request."""
    turn = snapshot.turn
    assert turn is not None
    staged, view = turn.staged or SAID, snapshot.showing
    body = build(snapshot.profile, snapshot.history, None, staged, view=view)
    return [str(one) for one in check(json.loads(body), Context(), only=rules)]


@stories
def test_every_request_names_calls_and_results_so_that_they_pair(
    layout: Layout, ids: Sequence[Id]
) -> None:
    rules = PAIRS if layout is two_turns or layout is rewound else PAIRS | {"R11"}
    record = told(layout, ids)
    for size in range(2, len(record.events) + 1):
        snapshot = fold_events(record.events[:size])
        turn = snapshot.turn
        if turn is not None and not turn.open_calls:
            assert refused(snapshot, rules) == []


@stories
def test_a_result_says_what_its_own_call_came_to(
    layout: Layout, ids: Sequence[Id]
) -> None:
    record = told(layout, ids)
    for event, snapshot in zip(record.events, map_replay(record), strict=True):
        if not isinstance(event, ev.TurnContinued):
            continue
        turn = snapshot.turn
        assert turn is not None
        results = json.loads(b"[" + turn.staged + b"]")
        asked = [
            block["id"]
            for block in json.loads(b"[" + snapshot.history[-1].resendable + b"]")
            if block["type"] == "tool_use"
        ]
        mine = [one for one in results if one.get("content", "").startswith("paid by")]
        assert [one["tool_use_id"] for one in mine] == asked
        places = [f"paid by {call.place}" for call in turn.calls]
        assert [one["content"] for one in mine] == places


def map_replay(record: Record) -> Iterator[Snapshot]:
    """The conversation after each of its events."""
    for size in range(1, len(record.events) + 1):
        yield fold_events(record.events[:size])


def test_ids_that_are_used_again_in_a_later_turn_are_left_alone() -> None:
    record = told(two_turns, IDS["equal"])
    sent = json.loads(
        build(PROFILE, record.snapshot.history, None, SAID, view=record.snapshot.view)
    )
    ids = [
        block["id"]
        for message in sent["messages"]
        if message["role"] == "assistant"
        for block in message["content"]
        if block["type"] == "tool_use"
    ]
    assert ids[:2] == ids[2:], "the request of each turn was legal, and stays as it was"


UNIQUE: Final = "messages.1.content.0: `tool_use` ids must be unique"


@stories
@pytest.mark.parametrize("asked", [False, True], ids=["words", "results"])
def test_a_server_that_refuses_ids_used_again_is_given_names_once_and_for_all(
    layout: Layout, ids: Sequence[Id], asked: bool
) -> None:
    rules = PAIRS | {"R11"}
    record = told(layout, ids)
    sealed = [one.content for one in record.snapshot.history]
    record.opens()
    if asked:
        record.replies_with(*ids)
        record.runs()
    again = bool(refused(record.snapshot, rules))
    record.do(ev.RequestSent(record.turn.number, record.turn.attempt + 1))
    fault = Fault(FaultKind.BLOCK, UNIQUE, status=400, path="messages.1.content.0")
    record.do(ev.TurnFailed(record.turn.number, record.turn.attempt, fault))
    made = decide(record.snapshot, Policies(), 0.5)
    assert isinstance(made, ChangeRequest)
    if not again:
        assert made.remedy is not Remedy.RENAME, "no id is used again: it is no help"
        return
    assert made.remedy is Remedy.RENAME
    number = record.turn.number
    record.do(ev.RemedyChosen(number, made.remedy, made.why, made.view))
    record.do(ev.TurnRetried(number, asked=False))
    assert refused(record.snapshot, rules) == []
    for _ in range(3):  # the rest of the turn, and two more
        record.replies_with(*ids)
        record.runs()
        assert refused(record.snapshot, rules) == []
        record.replies_with()
        record.opens()
        assert refused(record.snapshot, rules) == []
    assert [one.content for one in record.snapshot.history][: len(sealed)] == sealed


words = st.text(max_size=3) | st.sampled_from(["call_0", "", "a b", "toolu_1"])


@given(st.lists(st.none() | words, max_size=8), st.sets(words.map(resendable_id)))
def test_ids_are_distinct_legal_stable_and_changed_only_where_they_must_be(
    given_: list[Any], taken: set[str]
) -> None:
    mine = call_ids(given_)
    sent = distinct_ids(mine, taken)

    assert len(set(sent)) == len(sent)
    assert taken.isdisjoint(sent)
    assert all(resendable_id(id_) == id_ for id_ in sent)
    assert mine == call_ids(given_)
    assert mine == distinct_ids(mine)
    legal = [resendable_id("" if id_ is None else id_) for id_ in given_]
    for before, between, after in zip(legal, mine, sent, strict=True):
        assert (between == before) is (legal.count(before) == 1)
        assert (after == between) is (between not in taken)


def test_unusable_arguments_belong_to_their_call() -> None:
    calls = [
        {"type": "tool_use", "id": "call_0", "name": "pay", "input": given}
        for given in ({}, {"amount": 5})
    ]
    broken = {call_ids(["call_0", "call_0"])[0]: '{"amount":'}
    meta = {"id": "m", "stop_reason": "tool_use", "broken": broken}
    reply = Reply(b",".join(map(encode, calls)), encode(meta))

    first, second = reply.tool_uses
    assert (first.input, first.broken) == (None, '{"amount":')
    assert (second.input, second.broken) == ({"amount": 5}, None)
    assert first.id != second.id

"""Each bound of a turn has its effect at exactly its number."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.states.strategies import PROFILE, text

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Charge, Reply, Spent, Usage
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.snapshot import Turn
from turnlatch_states.machine.step import begin, step
from turnlatch_states.recovery.budget import Budget, Price

PRICE = Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75)
NOTHING = Usage()
counts = st.integers(0, 10**9)


def usage_of(read: int, out: int, hit: int, short: int, hour: int, found: int) -> Usage:
    return Usage(read, out, hit, short + hour, hour, found)


usages = st.builds(usage_of, counts, counts, counts, counts, counts, st.integers(0, 99))


def turn(
    requests: int = 0,
    probes: int = 0,
    granted: int = 0,
    usage: Usage = NOTHING,
    charges: tuple[Charge, ...] = (),
) -> Turn:
    """A turn that has cost so much since somebody asked for it."""
    one = Turn(1, "failed", attempt=requests, probes=probes, granted=granted)
    if usage != NOTHING:
        charges = (Charge("m", "", usage),)
    return attrs.evolve(one, charges=charges)


@given(st.integers(1, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_requests_and_questions_are_counted_since_somebody_asked(
    most: int, sent: int, asked: int, granted: int
) -> None:
    one = turn(sent + granted, asked, granted)

    assert one.requests == sent + asked
    told = Budget(requests=most).spent(one, 0.0)
    assert (told is not None) == (sent + asked >= most)
    assert told is None or str(most) in told


@given(st.floats(0.001, 1e6), st.floats(0, 2e6))
def test_time_is_up_at_its_end(most: float, seconds: float) -> None:
    told = Budget(seconds=most).spent(turn(), seconds)

    assert (told is not None) == (seconds >= most)


charges = st.lists(
    st.builds(Charge, st.sampled_from("ab"), st.sampled_from(["", "fast"]), usages),
    max_size=5,
).map(tuple[Charge, ...])
DEAR = Price(input=30.0, output=150.0, cache_read=3.0, cache_write=37.5)
PRICES = {
    ("a", ""): PRICE,
    ("b", ""): DEAR,
    ("a", "fast"): DEAR,
    ("b", "fast"): PRICE,
}


@given(charges, st.integers(1, 10**9))
def test_tokens_of_every_request_are_counted(
    used: tuple[Charge, ...], most: int
) -> None:
    told = Budget(tokens=most).spent(turn(charges=used), 0.0)

    total = sum(one.usage.context for one in used)
    assert (told is not None) == (total >= most)


@given(charges, st.floats(0.01, 1e6))
def test_money_is_counted_by_the_price_of_each_request(
    used: tuple[Charge, ...], most: float
) -> None:
    one = turn(charges=used)
    given_once = Budget(dollars=most, price=PRICE).spent(one, 0.0)
    looked_up = Budget(dollars=most, prices=PRICES).spent(one, 0.0)

    alike = sum(PRICE.of(each.usage) for each in used)
    each_its_own = sum(PRICES[each.tariff].of(each.usage) for each in used)
    assert (given_once is not None) == (alike >= most), "what the caller gives wins"
    assert (looked_up is not None) == (each_its_own >= most)


def test_unpriced_turn_with_a_dollar_budget_stops() -> None:
    used = turn(charges=(Charge("unknown", "", Usage(1)),))

    told = Budget(dollars=1e9, prices=PRICES).spent(used, 0.0)

    assert told is not None
    assert "'unknown'" in told


def test_a_price_is_for_a_million_of_each() -> None:
    million = 1_000_000

    assert PRICE.of(Usage(million)) == 3.0
    assert PRICE.of(Usage(0, million)) == 15.0
    assert PRICE.of(Usage(0, 0, million)) == 0.3
    assert PRICE.of(Usage(0, 0, 0, million)) == 3.75
    assert PRICE.of(Usage(0, 0, 0, million, million)) == 6.0, "kept for an hour"
    assert PRICE.of(Usage(web_searches=1000)) == 10.0


def test_cached_tokens_are_never_for_nothing_by_default() -> None:
    plain, million = Price(input=2.0, output=10.0), 1_000_000

    assert plain.of(Usage(cache_read=million)) == pytest.approx(0.2)
    assert plain.of(Usage(cache_write=million)) == 2.5
    assert plain.of(Usage(cache_write=million, cache_write_1h=million)) == 4.0
    free = Price(input=2.0, output=10.0, cache_read=0.0)
    assert free.of(Usage(cache_read=million)) == 0.0


@given(usages, st.integers(1, 10**9))
def test_a_long_request_costs_its_own_price_as_a_whole(
    usage: Usage, above: int
) -> None:
    longest = Price(input=300.0, output=1500.0)
    price = attrs.evolve(PRICE, long=((above * 2, longest), (above, DEAR)))

    expected = PRICE if usage.read_in <= above else DEAR
    if usage.read_in > above * 2:
        expected = longest
    assert price.of(usage) == expected.of(usage)


def test_usage_is_read_from_the_reply() -> None:
    told = {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_1h_input_tokens": 20},
        "server_tool_use": {"web_search_requests": 4},
        "speed": "fast",
    }
    meta = encode({"stop_reason": "end_turn", "model": "m-1", "usage": told})

    charge = Reply(b"", meta).charge("m")

    assert charge == Charge("m-1", "fast", Usage(1, 2, 0, 30, 20, 4))
    bare = Reply(b"", encode({"stop_reason": "end_turn", "usage": 3})).charge("m")
    assert bare == Charge("m", "", Usage())
    shapes: tuple[object, ...] = ([], "x", None, {"ephemeral_1h_input_tokens": "many"})
    for wrong in shapes:
        assert Usage.read({"cache_creation": wrong}) == Usage()


ENDS = [
    ev.TurnFailed(1, 1, Fault(FaultKind.TRANSIENT, "cut", spent=Usage(7))),
    ev.ReplyConfirmed(
        1,
        1,
        Reply(b"", encode({"stop_reason": "end_turn", "usage": {"input_tokens": 7}})),
    ),
]


@pytest.mark.parametrize("end", ENDS, ids=["failed", "confirmed"])
def test_usage_of_a_request_counts_for_every_ending(end: ev.Event) -> None:
    snapshot = begin(ev.ConversationOpened(PROFILE))
    for event in (ev.TurnOpened(1, encode(text())), ev.RequestSent(1, 1), end):
        snapshot = step(snapshot, event).snapshot

    assert snapshot.turn is not None
    assert snapshot.turn.charges == (Charge(PROFILE.model, "", Usage(7)),)


def test_usage_of_a_probe_counts_and_is_granted_again() -> None:
    snapshot = begin(ev.ConversationOpened(PROFILE))
    for event in (
        ev.TurnOpened(1, encode(text())),
        ev.RequestSent(1, 1),
        ev.TurnFailed(1, 1, Fault(FaultKind.INVALID, "no")),
        ev.Probed(1, "a part of it", True, spent=Usage(9)),
    ):
        snapshot = step(snapshot, event).snapshot
    assert snapshot.turn is not None
    assert [one.usage for one in snapshot.turn.charges] == [Usage(9)]

    again = step(snapshot, ev.TurnRetried(1, asked=True)).snapshot

    assert again.turn is not None
    assert again.turn.charged == (), "the budget counts from here"
    assert len(again.turn.charges) == 1, "the cost of the turn is known"


@pytest.mark.parametrize(
    ("budget", "used", "seconds"),
    [
        (Budget(requests=1), turn(1), 0.0),
        (Budget(seconds=1.0), turn(), 1.0),
        (Budget(tokens=1), turn(usage=Usage(1)), 0.0),
        (Budget(dollars=1e-9, price=PRICE), turn(usage=Usage(1)), 0.0),
    ],
)
def test_each_bound_says_what_was_used_up(
    budget: Budget, used: Turn, seconds: float
) -> None:
    told = budget.spent(used, seconds)

    assert told is not None
    assert told.startswith("the turn has ")
    assert Budget().spent(used, seconds) is None


def test_requested_retry_is_granted_as_much_again() -> None:
    """Through the machine: what was sent and paid before counts no more."""
    snapshot = begin(ev.ConversationOpened(PROFILE))
    for event in (
        ev.TurnOpened(1, encode(text())),
        ev.RequestSent(1, 1),
        ev.TurnFailed(1, 1, Fault(FaultKind.TRANSIENT, "no")),
    ):
        snapshot = step(snapshot, event).snapshot
    assert snapshot.turn is not None
    assert Budget(requests=1).spent(snapshot.turn, 0.0)

    again = step(snapshot, ev.TurnRetried(1, asked=True)).snapshot
    by_itself = step(
        step(snapshot, ev.RetryScheduled(1, 1, 1.0, 2.0)).snapshot,
        ev.TurnRetried(1, asked=False),
    ).snapshot

    assert again.turn is not None
    assert by_itself.turn is not None
    assert Budget(requests=1).spent(again.turn, 0.0) is None
    assert Budget(requests=1).spent(by_itself.turn, 0.0)


# Usage: sums and differences of what was counted.


@given(usages, usages, usages)
def test_usage_is_added_field_by_field(one: Usage, two: Usage, three: Usage) -> None:
    assert (one + two) + three == one + (two + three)
    assert (one + two).context == one.context + two.context


@given(st.lists(usages, max_size=5), usages)
def test_a_running_total_is_the_same_added_up_early_or_late(
    given_: list[Usage], known: Usage
) -> None:
    metas = [
        encode(
            {
                "usage": {
                    "input_tokens": one.input,
                    "output_tokens": one.output,
                    "cache_read_input_tokens": one.cache_read,
                    "cache_creation_input_tokens": one.cache_write,
                    "cache_creation": {"ephemeral_1h_input_tokens": one.cache_write_1h},
                    "server_tool_use": {"web_search_requests": one.web_searches},
                }
            }
        )
        for one in given_
    ]
    total = sum(given_, known)

    assert Spent(known, metas).total == total
    assert Spent(known, metas) + known == Spent(total + known)
    assert hash(Spent(known, metas)) == hash(Spent(total))

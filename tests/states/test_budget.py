"""Each bound of a turn has its effect at exactly its number."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.states.strategies import PROFILE, text

from detent_states import events as ev
from detent_states.budget import Budget, Price
from detent_states.encoding import encode
from detent_states.faults import Fault, FaultKind
from detent_states.reply import Spent, Usage
from detent_states.snapshot import Turn
from detent_states.step import begin, step

PRICE = Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75)
NOTHING = Usage()
counts = st.integers(0, 10**9)
usages = st.builds(Usage, counts, counts, counts, counts)


def turn(
    requests: int = 0,
    probes: int = 0,
    granted: int = 0,
    usage: Usage = NOTHING,
    credited: Usage = NOTHING,
) -> Turn:
    """A turn that has cost so much."""
    one = Turn(1, "failed", attempt=requests, probes=probes, granted=granted)
    return attrs.evolve(one, usage=usage, credited=credited)


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


@given(usages, usages, st.integers(1, 10**9))
def test_tokens_are_counted_since_somebody_asked(
    before: Usage, since: Usage, most: int
) -> None:
    one = turn(usage=before + since, credited=before)
    told = Budget(tokens=most).spent(one, 0.0)

    assert (told is not None) == (since.context >= most)


@given(usages, usages, st.floats(0.01, 1e6))
def test_money_is_counted_since_somebody_asked(
    before: Usage, since: Usage, most: float
) -> None:
    one = turn(usage=before + since, credited=before)
    told = Budget(dollars=most, price=PRICE).spent(one, 0.0)

    assert (told is not None) == (PRICE.of(since) >= most)
    assert Budget(dollars=most).spent(one, 0.0) is None, "there is no price"


def test_a_price_is_for_a_million_of_each() -> None:
    million = 1_000_000

    assert PRICE.of(Usage(million)) == 3.0
    assert PRICE.of(Usage(0, million)) == 15.0
    assert PRICE.of(Usage(0, 0, million)) == 0.3
    assert PRICE.of(Usage(0, 0, 0, million)) == 3.75


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


def test_who_asks_again_is_granted_as_much_again() -> None:
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
def test_usage_is_added_and_taken_away_field_by_field(
    one: Usage, two: Usage, three: Usage
) -> None:
    assert (one + two) - two == one
    assert one - one == Usage()
    assert (one + two) + three == one + (two + three)
    assert (one + two).context == one.context + two.context
    assert (one - two).context == one.context - two.context


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
                }
            }
        )
        for one in given_
    ]
    total = sum(given_, known)

    assert Spent(known, metas).total == total
    assert Spent(known, metas) + known == Spent(total + known)
    assert hash(Spent(known, metas)) == hash(Spent(total))

"""A bound in money binds: it has a price, and everything that was used counts against it."""

import subprocess
import sys
from typing import Any, Final

import pytest
from genai_prices import Usage as TableUsage
from genai_prices import calc_price
from hypothesis import example, given
from hypothesis import strategies as st
from tests.harness.world import World

from turnlatch import Limits, Price, SettingsError
from turnlatch.prices import list_price
from turnlatch.runtime.pricing import budgeted
from turnlatch.settings import DEFAULT_MODEL
from turnlatch.simulator import call, reply
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.api.models import MODELS
from turnlatch_states.api.reply import Charge, Usage

UNKNOWN: Final = "claude-nobody-1"
WITHOUT_PRICE: Final = {
    "claude-mythos-5",
    "claude-mythos-5-1",
    "claude-fable-preview",
    "claude-mythos-preview",
}
"""Models of ours that the table does not have: they need a `Price`."""

CENT: Final = Limits(dollars_per_turn_max=0.01)
EXPLICIT: Final = Limits(dollars_per_turn_max=0.01, price=Price(input=1, output=5))

tokens = st.integers(0, 2_000_000)


# The table.


@given(
    st.sampled_from([m.name for m in MODELS if m.name not in WITHOUT_PRICE]),
    st.sampled_from(["", "fast", "standard"]),
    st.tuples(tokens, tokens, tokens, tokens, tokens),
    st.integers(0, 20),
)
@example("claude-haiku-5-5", "", (100_000, 1, 0, 0, 0), 0)
@example("claude-haiku-5-5", "", (100_001, 1, 0, 0, 0), 0)
@example("claude-sonnet-4-5", "", (0, 1, 200_001, 0, 0), 1)
def test_a_list_price_is_what_the_table_itself_makes_of_it(
    model: str, speed: str, used: tuple[int, int, int, int, int], searches: int
) -> None:
    plain, out, hit, short, hour = used
    usage = Usage(plain, out, hit, short + hour, hour, searches)
    price = list_price(model, speed)
    assert price is not None

    expected = calc_price(
        TableUsage(
            input_tokens=usage.read_in,
            output_tokens=out,
            cache_read_tokens=hit,
            cache_write_tokens=short + hour,
            cache_write_1h_tokens=hour,
            web_searches=searches,
        ),
        model,
        provider_id="anthropic",
        price_context={"speed": speed} if speed else None,
    )

    assert price.of(usage) == pytest.approx(float(expected.total_price))


def test_every_model_of_ours_has_a_price_or_is_known_to_have_none() -> None:
    missing = {m.name for m in MODELS if list_price(m.name) is None}

    assert missing <= WITHOUT_PRICE
    assert list_price(DEFAULT_MODEL) is not None


@pytest.mark.parametrize(
    ("name", "same_as"),
    [
        ("claude-sonnet-5-5-20260901", "claude-sonnet-5-5"),
        ("anthropic/claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("claude-sonnet-5-5@20260901", "claude-sonnet-5-5"),
        ("vertex_ai/claude-sonnet-5-5@default", "claude-sonnet-5-5"),
        ("global.anthropic.claude-sonnet-5-5-v1:0", "claude-sonnet-5-5"),
    ],
)
def test_other_names_of_a_model_have_its_price(name: str, same_as: str) -> None:
    one, other = list_price(name), list_price(same_as)

    assert one is not None
    assert other is not None
    assert (one.input, one.output) == (other.input, other.output)


def test_a_region_of_bedrock_has_the_price_of_that_region() -> None:
    regional = list_price("us.anthropic.claude-sonnet-5-5-v1:0")
    own = list_price("claude-sonnet-5-5")

    assert regional is not None
    assert own is not None
    assert regional.input > own.input


@pytest.mark.parametrize("name", [UNKNOWN, "my-model", "", "claude", "x/y", "@", "a.b"])
def test_unknown_model_has_no_price(name: str) -> None:
    assert list_price(name) is None


def test_the_table_is_not_imported_before_it_is_needed() -> None:
    script = (
        "import sys, anyio, turnlatch\n"
        "async def main():\n"
        "    async with turnlatch.Conversation.open('a', client='simulator') as chat:\n"
        "        await chat.send('Hi')\n"
        "anyio.run(main)\n"
        "assert 'genai_prices' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# A bound without a price is refused.


@pytest.mark.anyio
@pytest.mark.parametrize(
    "options",
    [
        {"model": UNKNOWN},
        {"model": "claude-mythos-5-1"},
        {
            "settings": {"fallbacks": [{"model": UNKNOWN}]},
            "betas": ["server-side-fallback-2026-07-01"],
        },
    ],
    ids=["unknown", "no list price", "fallback"],
)
async def test_a_bound_without_a_price_is_refused(
    world: World, options: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError, match="unknown, so the bound") as caught:
        async with world.open(limits=CENT, **options):
            pass
    assert caught.value.setting == "dollars_per_turn_max"

    async with world.open(limits=EXPLICIT, **options):
        pass  # the caller's own price is one for every model
    async with world.open("b", **options):
        pass  # and without a bound nobody asks


@pytest.mark.anyio
async def test_a_model_that_is_configured_needs_a_price_as_well(world: World) -> None:
    async with world.open(limits=CENT) as chat:
        before = chat.snapshot
        with pytest.raises(SettingsError, match="unknown, so the bound"):
            await chat.configure(model=UNKNOWN, system="Be brief.")
        assert chat.snapshot is before
        await chat.configure(model="claude-opus-4-8")


@pytest.mark.anyio
async def test_a_journaled_model_needs_a_price_once_there_is_a_bound(
    world: World,
) -> None:
    async with world.open(model=UNKNOWN):
        pass
    with pytest.raises(SettingsError, match=UNKNOWN):
        async with world.open(limits=CENT, tools=None):
            pass
    async with world.open(limits=CENT, model=DEFAULT_MODEL):
        pass


# What was used counts, by the price of whoever was paid.


def test_a_reply_that_names_an_unknown_model_costs_what_the_asked_one_does() -> None:
    used = (Charge("gateway-7", "", Usage(10**6)), Charge("claude-opus-5", "", Usage()))

    budget = budgeted(Limits(dollars_per_turn_max=1), DEFAULT_MODEL, used)

    assert budget.prices["gateway-7", ""] == list_price(DEFAULT_MODEL)
    assert budget.prices["claude-opus-5", ""] == list_price("claude-opus-5")
    assert budget.spent(turn_of(used), 0.0) is not None


def turn_of(used: tuple[Charge, ...]) -> Any:
    from turnlatch_states.machine.snapshot import Turn

    return Turn(1, "failed", charges=used)


def cost(chat: Any) -> list[float]:
    """What each request of the turn cost, by the list."""
    used = chat.snapshot.turn.charged
    price = list_price(chat.profile.model)
    assert price is not None
    return [price.of(one.usage) for one in used]


@pytest.mark.anyio
@pytest.mark.parametrize("dollars", [0.0001, 0.004, 0.02, 0.05])
@pytest.mark.parametrize(
    "faults",
    [
        "",
        "529 @2",
        "cut 1 eof @1",
        "cut 3 reset @2-3",
        "error overloaded_error after 2 @1",
    ],
)
async def test_the_bound_is_overrun_by_one_request_at_most(
    world: World, dollars: float, faults: str
) -> None:
    steps = [
        reply(call("look", path=str(n)), usage={"input_tokens": 900 * n * n})
        for n in range(6)
    ]
    world.script(*steps, "Done.", faults=faults)
    async with world.open(limits=Limits(dollars_per_turn_max=dollars)) as chat:
        turn = await chat.stream("Go on").turn()
        paid = cost(chat)
        assert sum(paid[:-1]) < dollars
        if turn.fault is None:
            assert turn.text == "Done."
            return
        assert turn.fault.kind in (FaultKind.BUDGET, FaultKind.TRANSIENT)
        assert sum(paid) >= dollars, "nothing else stops it"
        sent = len(world.simulator.log)
        again = await chat.retry()
        assert len(world.simulator.log) > sent, (
            "who asks again is granted as much again"
        )
        assert sum(cost(chat)[:-1]) < dollars or again.fault is None


@pytest.mark.anyio
async def test_sixty_million_tokens_do_not_go_through_a_cent(world: World) -> None:
    huge = {"input_tokens": 60_000_000}
    world.script(*(reply(call("look", path=str(n)), usage=huge) for n in range(9)))
    async with world.open(limits=CENT) as chat:
        turn = await chat.send("Go on")

    assert turn.fault is not None
    assert turn.fault.kind is FaultKind.BUDGET
    assert len(world.simulator.log) == 1


@pytest.mark.anyio
async def test_known_usage_of_a_cut_attempt_counts(world: World) -> None:
    world.script("One.", "Two.", faults="cut 3 eof @1-3")
    async with world.open(limits=CENT) as chat:
        turn = await chat.stream("Hi").turn()
        assert turn.text
        used = chat.snapshot.turn
        assert used is not None
        assert len(used.charges) == turn.requests == 4
        assert all(one.usage.input for one in used.charges)


@pytest.mark.anyio
async def test_usage_of_a_refused_reply_counts(world: World) -> None:
    from turnlatch.simulator import refuse

    world.script(refuse(), "Two.")
    async with world.open(limits=CENT) as chat:
        turn = await chat.send("Hi")
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.REFUSAL
        used = chat.snapshot.turn
        assert used is not None
        assert used.charges[0].usage.input > 0


@pytest.mark.anyio
async def test_usage_of_a_trial_counts_and_stays_within_the_bound(
    world: World,
) -> None:
    world.script("One.", "Two.", faults="500 @2+ body=poison forever")
    async with world.open(limits=Limits(dollars_per_turn_max=100)) as chat:
        await chat.send("Hello")
        await chat.send("poison")
        turn = chat.snapshot.turn
        assert turn is not None
        answered = [one for one in turn.charges if one.usage.input]
        assert turn.probes
        assert answered, "what was asked beside the requests was answered"

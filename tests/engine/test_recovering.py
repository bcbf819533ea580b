"""What follows a failure: waiting, searching, suspending, and what each may cost."""

import json
from itertools import pairwise, product
from typing import Any

import httpx2
import pytest
from tests.harness.published import prefix_changes, recorded
from tests.harness.world import World, mentions
from tests.part import one_in

from turnlatch import (
    CompactionPlan,
    CompactionPolicy,
    Conversation,
    FaultKind,
    Limits,
    Price,
    Probed,
    Remedy,
    RemedyChosen,
    RetryPolicy,
    RetryScheduled,
    SettingsError,
    TurnState,
    TurnSuspended,
)
from turnlatch.simulator import Scripted, Simulator, call, text
from turnlatch_states.machine.doubt import ALTERNATIONS, LASTING
from turnlatch_states.request.view import Hide, View

pytestmark = pytest.mark.anyio


MORE = ["And more."] * 12
"""What is left to say, also where trials have used some of it up."""


async def confirmed(chat: Conversation, *said: str) -> None:
    """Say some things, each of which must be confirmed."""
    for words in said:
        assert (await chat.send(words)).state is TurnState.CONFIRMED, words


async def test_a_hint_beyond_the_budget_suspends_and_says_until_when(
    world: World,
) -> None:
    world.script("One.", faults="429 retry-after=3600 @1")
    async with world.open() as chat:
        told = recorded([h async for h in chat.stream("1")], TurnSuspended)
        turn = chat.turn
        assert turn is not None
        assert turn.state is TurnState.FAILED
        assert turn.suspended is not None
        assert turn.suspended.until == world.clock.now() + 3600
        assert [one.why for one in told] == ["the server asks to wait 3600 s"]
        assert world.clock.slept == []
    async with world.open() as chat:
        assert chat.turn is not None
        assert chat.turn.suspended == turn.suspended, "a reload says the same"
        assert (await chat.retry()).text == "One."


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("401", FaultKind.AUTH),
        ("403", FaultKind.AUTH),
        ("402", FaultKind.BILLING),
        ('400 message="Your credit balance is too low"', FaultKind.BILLING),
        ("429 code=enforced_spend_limit_reached", FaultKind.BILLING),
        ('404 type=not_found_error message="model: gone"', FaultKind.MODEL_GONE),
    ],
)
async def test_external_condition_suspends_the_turn_without_another_request(
    world: World, fault: str, kind: FaultKind
) -> None:
    world.script("One.", "Two.", faults=f"{fault} @2")
    async with world.open() as chat:
        await confirmed(chat, "1")
        turn = await chat.send("2")
        assert turn.fault is not None
        assert turn.fault.kind is kind
        assert turn.suspended is not None
        assert turn.requests == 1
        assert (await chat.retry()).text == "Two."
        assert len(chat.history) == 2


async def test_new_credentials_go_on_with_the_same_turn(world: World) -> None:
    good = Simulator(Scripted(["Two."]), clock=world.clock.now)
    world.script("One.", faults="401 @2+")
    async with world.open() as chat:
        await confirmed(chat, "1")
        turn = await chat.send("2")
        assert turn.suspended is not None
        bad, world.simulator = world.simulator, good
        await chat.configure(client=world.client())
        again = await chat.retry()
        assert (again.number, again.text) == (turn.number, "Two.")
    assert len(bad.log) == 2


async def test_a_successor_takes_over_with_the_history_as_it_was(world: World) -> None:
    world.script("One.", "Two.", faults='404 message="model: x" @2')
    async with world.open(model="claude-sonnet-5") as chat:
        await confirmed(chat, "1")
        before = chat.history.wires()
        assert (await chat.send("2")).suspended is not None
        await chat.configure(model="claude-opus-5")
        assert (await chat.retry()).text == "Two."
        assert chat.history.wires()[:1] == before
    async with world.open(model=None) as chat:
        assert chat.profile.model == "claude-opus-5", "it is journaled"
    assert [b["model"] for b in world.bodies] == [
        "claude-sonnet-5",
        "claude-sonnet-5",
        "claude-opus-5",
    ]


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(tokens_per_turn_max=10), "of its 10 tokens"),
        (
            Limits(dollars_per_turn_max=1e-6, price=Price(input=3, output=15)),
            "of its $1e-06",
        ),
        (Limits(requests_per_turn_max=1), "has sent its 1 requests"),
    ],
)
async def test_a_turn_stops_at_its_budget_and_goes_on_when_asked(
    world: World, limits: Limits, says: str
) -> None:
    world.script(call("look", path="x"), "Done.")
    async with world.open(limits=limits) as chat:
        turn = await chat.send("1")
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.BUDGET
        assert says in turn.fault.message
        assert world.ran == ["look x"], "what was done stays done"
        assert (await chat.retry()).text == "Done."
    assert world.ran == ["look x"]


async def test_a_wait_beyond_the_wall_time_of_a_turn_suspends_it(world: World) -> None:
    world.script("One.", faults="529 @1-5")
    async with world.open(limits=Limits(seconds_per_turn_max=3)) as chat:
        turn = await chat.send("1")
        assert turn.state is TurnState.FAILED
        assert turn.suspended is not None
        assert sum(world.clock.slept) < 3
        again = await chat.retry()
        while again.state is TurnState.FAILED:
            again = await chat.retry()
        assert again.text == "One."


@pytest.mark.parametrize("culprit", range(6))
async def test_the_part_that_is_refused_is_found_and_nothing_else_is_hidden(
    world: World, culprit: int
) -> None:
    said = [f"number {n}" for n in range(6)]
    said[culprit] = "number P"
    world.script(
        *[f"Answer {n}." for n in range(6)],
        *MORE,
        faults='400 message="No." @7+ body="number P" forever',
    )
    async with world.open() as chat:
        await confirmed(chat, *said)
        before = chat.history.wires()
        assert (await chat.send("6")).state is TurnState.FAILED, "once proves nothing"
        stream = chat.stream("7")
        trials = recorded([h async for h in stream], Probed)
        turn = await stream.turn()
        assert turn.state is TurnState.CONFIRMED
        assert turn.remedies == (Remedy.BISECT,)
        assert len(trials) == turn.trials <= 7, "and whoever watches is told of each"
        hidden = [op for op in chat.snapshot.view.ops if isinstance(op, Hide)]
        assert [(op.start, op.until) for op in hidden] == [(culprit, culprit + 1)]
        assert chat.history.wires()[:6] == before, "the record stays as it is"
        view = chat.snapshot.view
    async with world.open() as chat:
        assert chat.snapshot.view == view
        assert (await chat.send("8")).requests == 1


async def test_nothing_is_hidden_because_of_an_outage(world: World) -> None:
    world.script("One.", "Two.", *MORE, faults='400 message="No." @3-12')
    async with world.open() as chat:
        await confirmed(chat, "1", "2")
        for number in range(3):
            turn = await chat.send(f"outage {number}")
            assert turn.state is TurnState.FAILED
            assert Remedy.BISECT not in turn.remedies
        while (await chat.send("is it over?")).state is TurnState.FAILED:
            pass
        assert chat.snapshot.view == View()
        assert len(chat.history) == 3


async def test_an_optional_field_is_left_out_once_it_is_named_and_stays_out(
    world: World,
) -> None:
    world.script(
        "One.",
        "Two.",
        "Three.",
        "Four.",
        faults='400 message="metadata: not today" @2 body="user_id"',
    )
    async with world.open(settings={"metadata": {"user_id": "u"}}) as chat:
        await confirmed(chat, "1")
        told = recorded([h async for h in chat.stream("2")], RemedyChosen)
        assert [h.remedy for h in told] == [Remedy.DROP_FIELD]
        await confirmed(chat, "3")
    async with world.open() as chat:
        await confirmed(chat, "4")
    assert ["metadata" in b for b in world.bodies] == [True, True, False, False, False]


async def test_the_guard_tells_which_byte_changed_before_it_is_paid_for(
    world: World,
) -> None:
    world.script("One.", "Two.", "Three.", "Four.")
    async with world.open(system="Be brief.") as chat:
        await confirmed(chat, "1", "2")
        assert chat.prefix_change is None
        assert not prefix_changes([h async for h in chat.stream("3")])
    async with world.open(system="Be brief!") as chat:
        change = chat.prefix_change
        assert change is not None
        assert change.part == "settings"
        assert (change.before[:1], change.after[:1]) == (b".", b"!")
        assert prefix_changes([h async for h in chat.stream("4")]) == [change]
        assert chat.prefix_change is None, "it was paid"


async def test_a_fault_that_stays_while_the_server_is_well_is_the_conversations_own(
    world: World,
) -> None:
    big = "x" * 8_000
    world.script(
        call("look", path=big), "One.", *MORE, faults=f'500 @3+ body="{big}" forever'
    )
    async with world.open(retry=RetryPolicy(attempts_max=10)) as chat:
        await confirmed(chat, "1")
        turn = await chat.send("2")
        assert turn.state is TurnState.CONFIRMED
        assert turn.remedies == (*[Remedy.PROBE] * (ALTERNATIONS - 1), Remedy.BISECT)
        assert chat.snapshot.view == View(), "it is only lent"
        assert chat.snapshot.found is not None


async def test_configure_refuses_what_open_would(world: World) -> None:
    async with world.open() as chat:
        before = chat.profile
        for bad in ({"threads": "maybe"}, {"cache": "2h"}, {"settings": {"top_k": 1}}):
            given: dict[str, Any] = bad
            with pytest.raises(SettingsError):
                await chat.configure(**given)
        assert chat.profile == before


async def test_a_search_that_is_interrupted_leaves_everything_as_it_was(
    world: World,
) -> None:
    world.script(
        text("One."), text("Two."), *MORE, faults='400 message="No." @3-4, stall @5-9'
    )
    async with world.open(timeout=0.05, retry=RetryPolicy(attempts_max=1)) as chat:
        await confirmed(chat, "1", "2")
        for said in ("3", "4"):
            assert (await chat.send(said)).state is TurnState.FAILED
        assert chat.snapshot.view == View()


# What lasts, and hangs on what was said.


@pytest.mark.parametrize(
    ("culprit", "fault", "attempts"),
    one_in(
        3,
        list(product([0, 2], ["503", "500 x-should-retry=false", "529"], [1, 2, 3, 8])),
    ),
)
async def test_part_that_the_server_always_fails_at_is_left_out(
    world: World, culprit: int, fault: str, attempts: int
) -> None:
    said = [f"number {n}" for n in range(3)]
    said[culprit] = "number P"
    faults = f'{fault} @4+ body="number P" forever'
    world.script(*[f"Answer {n}." for n in range(3)], *MORE, faults=faults)
    async with world.open(retry=RetryPolicy(attempts_max=attempts)) as chat:
        await confirmed(chat, *said)
        before = chat.history.wires()
        for _ in range(4):  # as often as it is suspected after, one attempt a message
            if (await chat.send("And now?")).state is TurnState.CONFIRMED:
                break
        assert chat.history.wires()[:3] == before, "the record stays as it is"
        await confirmed(chat, "And on?")


@pytest.mark.parametrize("attempts", [1, 3, 8])
async def test_arguments_that_the_server_always_fails_at_are_left_out(
    world: World, attempts: int
) -> None:
    """No record of a call helps where its words are what the server fails at."""
    world.script(
        *("One.", call("look", path="poison")),
        *MORE,
        faults="500 @3+ body=poison forever",
    )
    async with world.open(retry=RetryPolicy(attempts_max=attempts)) as chat:
        await confirmed(chat, "1")
        turn = await chat.send("2")
        for _ in range(4):
            if turn.state is TurnState.CONFIRMED:
                break
            turn = await chat.send("And now?")
        assert turn.state is TurnState.CONFIRMED
        assert Remedy.BISECT in turn.remedies
        assert b"One." in world.simulator.log[-1].raw, "the past is not to blame"
        await confirmed(chat, "And on?")
    assert world.ran == ["look poison"], "what was done stays done"


async def test_a_summary_that_the_server_always_fails_at_is_done_without(
    world: World,
) -> None:
    """It stands for everything, and there is nothing else that could be left out."""
    world.script("One.", "Two.", *MORE, faults='500 @4+ body="Summary of" forever')
    async with world.open() as chat:
        await confirmed(chat, "1", "2")
        await chat.compact()
        turn = await chat.send("3")
        assert turn.state is TurnState.CONFIRMED
        assert b'"Two."' in world.simulator.log[-1].raw, "what it stood for is shown"
        await confirmed(chat, "And on?")


# What is left out only as long as the trouble lasts.


async def troubled(chat: Conversation, *, turns: int = 3) -> None:
    """A conversation whose turn "number 1" the server fails at from then on."""
    await confirmed(chat, *(f"number {n}" for n in range(turns)))


def always(fault: str, word: str = "number 1") -> str:
    """A service that fails so at a word, from the fourth request on."""
    return f'{fault} @4+ body="{word}" forever'


async def test_everything_is_shown_again_first_until_it_is_proved(world: World) -> None:
    world.script("One.", "Two.", "Three.", *MORE, *MORE, faults=always("529"))
    async with world.open() as chat:
        await troubled(chat)
        await confirmed(chat, "And now?")
        found = chat.snapshot.found
        assert found is not None
        turns = 0
        while chat.snapshot.found is not None:
            before = len(world.bodies)
            turn = await chat.send("And on?")
            assert turn.state is TurnState.CONFIRMED
            assert turn.remedies == (Remedy.RECALL,)
            whole, under = (json.dumps(body) for body in world.bodies[before:])
            assert "number 1" in whole
            assert "number 1" not in under
            turns += 1
        assert turns == LASTING - found.proofs
        assert chat.snapshot.view == found.view, "now it lasts"
        assert (await chat.send("And on?")).requests == 1


async def test_a_view_that_fails_as_well_has_proved_nothing(world: World) -> None:
    """As many turns as one likes pass in the end while a server fails at random."""
    world.script("One.", "Two.", "Three.", *MORE, faults=always("529"))
    async with world.open() as chat:
        await troubled(chat)
        await confirmed(chat, "And now?")
        found = chat.snapshot.found
        assert found is not None
        assert found.proofs > 0
        world.simulator.inject("529 @2")

        turn = await chat.send("And on?")

        assert turn.state is TurnState.CONFIRMED
        assert turn.requests == 3, "whole, and under the view twice"
        found = chat.snapshot.found
        assert found is not None
        assert found.proofs == 1


async def test_left_out_part_comes_back_with_the_first_request_that_passes(
    world: World,
) -> None:
    world.script("One.", "Two.", "Three.", *MORE, faults=always("529"))
    async with world.open() as chat:
        await troubled(chat)
        await confirmed(chat, "And now?")
        assert chat.snapshot.found is not None
    world.simulator = Simulator(Scripted(["Calm."] * 2), clock=world.clock.now)
    async with world.open() as chat:
        assert chat.snapshot.found is not None, "a reload says the same"
        turn = await chat.send("Is it over?")
        assert (turn.requests, turn.remedies) == (1, ())
        assert chat.snapshot.found is None
        assert b"number 1" in world.simulator.log[-1].raw


async def test_a_copy_of_less_than_everything_is_not_continued(world: World) -> None:
    """The server would hold the conversation without what is only left out for now."""
    world.script("One.", "Two.", "Three.", *MORE, faults=always("529"))
    async with world.open(threads="on") as chat:
        await troubled(chat)
        world.simulator.inject("expire threads")
        await confirmed(chat, "And now?")
        assert chat.snapshot.found is not None
        sent = len(world.bodies)
        await confirmed(chat, "And on?")
        assert mentions(world.bodies[sent], "number 1"), "all of it is sent again"


class Narrow(httpx2.AsyncBaseTransport):
    """A way to the service on which what is longer than that is reset."""

    def __init__(self, world: World, bytes_max: int) -> None:
        self._inner = world.transport()
        self._most = bytes_max

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass a request on, or reset the connection."""
        if len(await request.aread()) > self._most:
            raise httpx2.WriteError("reset by peer")
        return await self._inner.handle_async_request(request)


async def test_a_length_that_is_reset_leaves_room_for_the_next_messages(
    world: World,
) -> None:
    """Else each message would be too long again, and be searched for anew."""
    world.script(*["noted " + "x" * 600] * 99)
    client = world.client(Narrow(world, 6_000))
    searched: list[int] = []
    async with world.open(client=client, tools=[]) as chat:
        for number in range(20):
            turn = await chat.send(f"fact {number}")
            assert turn.state is TurnState.CONFIRMED
            if Remedy.BISECT in turn.remedies:
                searched.append(number)
        assert chat.snapshot.view == View(), "what is left out is only lent"
        assert not chat.snapshot.bases, "and nothing is summed up for it"
    assert len(searched) <= 3
    assert all(later - one > 3 for one, later in pairwise(searched))


async def test_between_a_failure_and_what_is_sent_next_lies_a_wait(
    world: World,
) -> None:
    world.script("One.", "Two.", "Three.", *MORE, faults=always("529 retry-after=2"))
    async with world.open() as chat:
        await troubled(chat)
        sent = len(world.simulator.log)
        told = recorded([h async for h in chat.stream("And now?")], RetryScheduled)
        failed = [e.status for e in world.simulator.log[sent:]].count(529)
        assert len(world.clock.slept) == len(told) == failed
        assert min(world.clock.slept) >= 2, "and as long as the server asks for"


@pytest.mark.parametrize("auto", [True, False])
async def test_no_summary_is_asked_for_because_of_an_outage(
    world: World, auto: bool
) -> None:
    """Neither where the caller wants none, nor where a hook would say no, nor else."""
    plans: list[CompactionPlan] = []

    def never(plan: CompactionPlan) -> bool:
        plans.append(plan)
        return False

    world.script("One.", "Two.", "Three.", *MORE, faults="529 @4+")
    policy = CompactionPolicy(auto=auto)
    async with world.open(compaction=policy, before_compaction=never) as chat:
        await troubled(chat)
        for number in range(4):
            turn = await chat.send(f"outage {number}")
            assert turn.state is TurnState.FAILED
            assert set(turn.remedies) <= {Remedy.PROBE}
        assert chat.snapshot.view == View()
        assert chat.snapshot.found is None
    assert plans == []


async def test_found_part_is_remembered_after_its_turn_failed(
    world: World,
) -> None:
    faults = always("529") + ', 500 @22-29 body="left out here"'
    world.script("One.", "Two.", "Three.", *MORE, faults=faults)
    async with world.open() as chat:
        await troubled(chat)
        turn = await chat.send("And now?")
        assert turn.state is TurnState.FAILED, "the server has a bad moment, too"
        assert Remedy.BISECT in turn.remedies
        again = await chat.retry()
        assert again.state is TurnState.CONFIRMED
        assert Remedy.RECALL in again.remedies
        assert again.remedies.count(Remedy.BISECT) == 1


async def test_a_search_that_its_budget_cuts_short_goes_on_in_the_next_turn(
    world: World,
) -> None:
    world.script(*MORE, *MORE, faults=always("529").replace("@4+", "@13+"))
    limits = Limits(requests_per_turn_max=12)
    async with world.open(limits=limits, retry=RetryPolicy(attempts_max=20)) as chat:
        await troubled(chat, turns=12)
        states: list[TurnState] = []
        while TurnState.CONFIRMED not in states:
            turn = await chat.send("And now?")
            assert turn.requests + turn.trials <= 12
            states.append(turn.state)
        assert 1 < len(states) <= 4


@pytest.mark.parametrize("requests", one_in(2, range(9, 20)))
async def test_a_budget_too_small_to_tell_parts_apart_is_enough_to_go_on(
    world: World, requests: int
) -> None:
    """Two of nine turns are refused: each is found, or what stands before the second of
    them is left out, too, rather than that the turn comes to nothing."""
    said = [f"number {'P' if n in (1, 7) else n}." for n in range(9)]
    world.script(*MORE, *MORE, faults='400 message="No." @10+ body="number P" forever')
    limits = Limits(requests_per_turn_max=requests)
    async with world.open(limits=limits) as chat:
        await confirmed(chat, *said)
        assert (await chat.send("And now?")).state is TurnState.FAILED
        turn = await chat.send("And now?")
        assert turn.state is TurnState.CONFIRMED
        assert turn.requests <= requests
        shown = json.dumps(world.bodies[-1]["messages"])
        left = [n for n in range(9) if f"number {n}." in shown]
        assert left[-1] == 8, "what stands behind them is not to blame"
        if requests > 16:
            assert left == [0, 2, 3, 4, 5, 6, 8]


# Two reasons at once.

BOUND = '400 message="No." @7+ body="number P" forever'


OTHERS = [
    "limit cache_markers_max=0 @8+",
    "limit cache_markers_max=1 on count_tokens",
    '400 message="No." @7+ body=cache_control forever',
    '400 message="No." body="number 1" forever on count_tokens',
    '400 message="No." forever on count_tokens',
    '503 @7+ body="number 4" forever',
    '500 x-should-retry=false @7+ body="number 4" forever',
]


@pytest.mark.parametrize(
    ("other", "culprit", "first"),
    one_in(3, list(product(OTHERS, [0, 5], [True, False]))),
)
async def test_two_refused_parts_are_both_left_out(
    world: World, culprit: int, other: str, first: bool
) -> None:
    said = [f"number {n}" for n in range(6)]
    said[culprit] = "number P"
    faults = [BOUND, other] if first else [other, BOUND]
    answers = [f"Answer {n}." for n in range(6)]
    world.script(*answers, *MORE, *MORE, faults=", ".join(faults))
    async with world.open(cache="5m") as chat:
        await confirmed(chat, *said)
        before = chat.history.wires()
        for _ in range(3):
            if (await chat.send("And now?")).state is TurnState.CONFIRMED:
                break
        assert chat.history.wires()[:6] == before
        await confirmed(chat, "And on?", "And on?")
        if "count_tokens" in other:
            hidden = [op for op in chat.snapshot.view.ops if isinstance(op, Hide)]
            spans = [(op.start, op.until) for op in hidden]
            assert spans == [(culprit, culprit + 1)], "and without nothing else"

"""What a tool did is done once: that a call begins is on record before it begins, and one
whose end is not on record is told as unknown and never begun again.

Recovery that ran an unanswered call again paid, posted or deleted twice; one that left it
out told the model that nothing had happened:

- https://github.com/andrewyng/openworker/issues/443
- https://github.com/GEMISIS/leviath/issues/96
- https://github.com/anthony-chaudhary/fak/issues/8268
"""

import anyio
import pytest
from tests.harness.processes import kill_at
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch import FaultKind, Limits, Reconciled, Tool, tool
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio


@asyncio_only
@pytest.mark.parametrize("again", ["retry", "send", "key"])
@pytest.mark.parametrize(
    ("point", "effects"), [("in act", 0), ("after act", 1), ("before CallClosed", 1)]
)
async def test_effect_killed_around_its_end_is_reported_as_unknown_and_not_repeated(
    scenario: Scenario, point: str, effects: int, again: str
) -> None:
    scenario.script(call("act", what="a"), "I see.")
    kill_at(scenario, point, "first")
    async with scenario.open() as chat:
        match again:
            case "retry":
                turn = await chat.retry()
            case "send":
                turn = await chat.send("And?")
            case _:
                turn = await chat.send("first", key="first")
        assert turn.state is CONFIRMED
        result = scenario.said(2)[0]
        assert result["is_error"] is True
        assert "outcome unknown" in result["content"]
        expected = {"act a": effects} if effects else {}
        await scenario.finish(chat, ended=CONFIRMED, effects=expected, budget=2)


@asyncio_only
async def test_killed_before_the_intent_is_on_record_nothing_was_done(
    scenario: Scenario,
) -> None:
    """Nor is the reply on record that asked for it; whoever goes on asks again."""
    scenario.script(call("act", what="a"), call("act", what="b"), "Done.")
    kill_at(scenario, "before CallStarted", "first")
    assert scenario.effects == {}
    async with scenario.open() as chat:
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"act b": 1}, budget=3, unheard=[1]
        )


async def test_a_retry_of_the_request_repeats_no_tool(scenario: Scenario) -> None:
    scenario.script(call("act", what="a"), "Done.", faults="529 @2-4, cut 2 reset @5")
    async with scenario.open() as chat:
        await chat.stream("Go").turn()
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=7)


async def test_a_cancelled_call_is_not_begun_again_and_keeps_its_key(
    scenario: Scenario,
) -> None:
    keys: list[str] = []

    @tool
    async def pay(amount: int, idempotency_key: str) -> str:
        """Pay, and lose the answer."""
        keys.append(idempotency_key)
        scenario.note(f"pay {amount}")
        scenario.begun.set()
        await anyio.sleep_forever()
        return ""

    scenario.script(call("pay", amount=5), "I see.")
    async with scenario.open(tools=[pay]) as chat:
        scenario.begun = anyio.Event()
        await scenario.cancelled_while_it_hangs(chat, "Go")
        assert chat.turn is not None
        assert chat.turn.fault is not None
        assert chat.turn.fault.kind is FaultKind.CANCELLED
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        assert len(keys) == 1
        await scenario.finish(chat, ended=CONFIRMED, effects={"pay 5": 1}, budget=2)


def act_that_can_tell(scenario: Scenario, asked: list[str]) -> Tool:
    """The tool `act` of a next process, which can look up what the last one did."""

    async def look_up(key: str) -> object:
        asked.append(key)
        return "did a" if scenario.effects["act a"] else Reconciled.NOT_DONE

    @tool(reconcile=look_up)
    async def act(what: str) -> str:
        """Do something that counts."""
        scenario.note(f"act {what}")
        return f"did {what}"

    return act


@asyncio_only
@pytest.mark.parametrize(
    ("point", "effects", "says", "again"),
    [
        ("in act", 0, "Not executed", "retry"),
        ("in act", 0, "Not executed", "restart"),
        ("after act", 1, "did a", "send"),
        ("before CallClosed", 1, "did a", "restart"),
    ],
)
async def test_effect_killed_around_its_end_is_reconciled_and_reported(
    scenario: Scenario, point: str, effects: int, says: str, again: str
) -> None:
    """Also by the process after next, where the first that came asked nobody."""
    scenario.script(call("act", what="a"), "I see.")
    kill_at(scenario, point, "first")
    asked: list[str] = []
    tools = [act_that_can_tell(scenario, asked)]
    if again == "restart":
        async with scenario.open(tools=tools) as chat:
            assert asked == [], "opening asks nobody"
    async with scenario.open(tools=tools) as chat:
        turn = await (chat.send("And?") if again == "send" else chat.retry())
        assert turn.state is CONFIRMED
        assert says in scenario.said(2)[0]["content"]
        assert len(asked) == 1
        expected = {"act a": 1} if effects else {}
        await scenario.finish(chat, ended=CONFIRMED, effects=expected, budget=2)
    assert len(asked) == 1, "what was found out is on record"


@asyncio_only
@pytest.mark.parametrize(("point", "reads"), [("in look", 1), ("after look", 2)])
async def test_killed_in_a_call_that_only_reads_it_is_read_again(
    scenario: Scenario, point: str, reads: int
) -> None:
    scenario.script(call("look", path="a"), "Seen.")
    kill_at(scenario, point, "first")
    async with scenario.open() as chat:
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        assert scenario.said(2)[0]["content"] == "contents of a"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"look a": reads}, budget=2
        )


async def test_effect_with_a_cancelled_reconcile_is_reported_as_unknown(
    scenario: Scenario,
) -> None:
    """The call timed out after its effect; its tool is asked, and no answer comes."""
    asked: list[str] = []
    left = anyio.Event()

    async def look_up(key: str) -> object:
        asked.append(key)
        if len(asked) == 1:
            left.set()
            await anyio.sleep_forever()
        return "paid before"

    @tool(timeout=0.05, reconcile=look_up)
    async def pay(amount: int, idempotency_key: str) -> str:
        """Pay, and never come back."""
        scenario.note(f"pay {amount} as {idempotency_key}")
        await anyio.sleep_forever()
        return ""

    scenario.script(call("pay", amount=5), "Paid.")
    async with scenario.open(tools=[pay]) as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "Go")
            await left.wait()
            group.cancel_scope.cancel()
        assert chat.turn is not None
        assert "outcome unknown" in str(chat.turn.calls[0].result)
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        assert asked == [asked[0]], "it was closed as unknown, and that stays so"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={f"pay 5 as {asked[0]}": 1}, budget=2
        )


async def test_the_same_process_finds_out_about_a_call_past_its_time(
    scenario: Scenario,
) -> None:
    paid: dict[str, str] = {}

    @tool(
        timeout=0.3,
        grace=0.01,
        reconcile=lambda key: paid.get(key, Reconciled.UNKNOWN),
    )
    async def pay(amount: int, idempotency_key: str) -> str:
        """Pay, and never come back."""
        scenario.note(f"pay {amount}")
        paid[idempotency_key] = f"paid {amount}"
        await anyio.sleep_forever()
        return ""

    scenario.script(reply(call("pay", amount=5), call("pay", amount=6)), "Paid.")
    async with scenario.open(tools=[pay]) as chat:
        turn = await chat.send("Go")
        assert turn.state is CONFIRMED
        assert [one["content"] for one in scenario.said(2)] == ["paid 5", "paid 6"]
        assert ["is_error" in one for one in scenario.said(2)] == [False, False]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"pay 5": 1, "pay 6": 1}, budget=2
        )


async def test_a_model_that_asks_for_the_same_thing_over_and_over_is_stopped(
    scenario: Scenario,
) -> None:
    """The guard counts on after a failure and in another process."""
    limits = Limits(repeats_max=3)
    scenario.script(*[call("act", what="a")] * 4, "Enough.", faults="401 @3")
    async with scenario.open(limits=limits) as chat:
        await chat.send("Go")
        assert scenario.effects == {"act a": 2}
    async with scenario.open(limits=limits) as chat:
        turn = await chat.retry()
        assert turn.text == "Enough."
        (told,) = scenario.said(6)
        assert "Not executed" in told["content"]
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 3}, budget=6)


@asyncio_only
async def test_killed_among_many_calls_the_turn_still_runs_no_more_than_it_may(
    scenario: Scenario,
) -> None:
    """A call whose end nobody saw may have run: it counts."""
    limits = Limits(calls_per_turn_max=2)
    three = [call("act", what=name) for name in "abc"]
    scenario.script(*three, "Enough.")
    kill_at(scenario, "after act 2", "first")
    async with scenario.open(limits=limits) as chat:
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        assert "Not executed" in scenario.said(4)[0]["content"]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"act a": 1, "act b": 1}, budget=4
        )

"""What a turn says of its answer: nothing that is not one can be taken for it."""

import pytest
from tests.harness.world import World

from turnlatch import (
    Limits,
    NotNowError,
    Price,
    Recorded,
    TurnFailedError,
    TurnNotDoneError,
    TurnState,
    TurnStream,
)
from turnlatch.prices import cost_of
from turnlatch.simulator import call, reply
from turnlatch_states.api.reply import Charge, Usage

pytestmark = pytest.mark.anyio

ASKS = reply("I ask first.", call("ask", what="a"))


async def test_text_of_a_turn_that_waits_is_not_an_answer(world: World) -> None:
    world.script(ASKS, "Done.")
    async with world.open() as chat:
        turn = await chat.send("Go")
        assert not turn.done
        with pytest.raises(TurnNotDoneError, match="wait for approve") as caught:
            _ = turn.text
        assert caught.value.waiting == (turn.awaiting[0].id,)
        assert turn.replies[0].text == "I ask first."
        done = await chat.approve(turn.awaiting[0].id)

    assert done.done
    assert done.text == "Done."


async def test_text_of_a_turn_that_failed_is_not_an_answer(world: World) -> None:
    world.script(reply("I look.", call("look", path="a")), "Done.", faults="401 @2+")
    async with world.open() as chat:
        turn = await chat.send("Go")

    assert not turn.done
    assert turn.replies[0].text == "I look."
    with pytest.raises(TurnFailedError):
        _ = turn.text


async def test_failed_turn_raises_only_where_that_is_asked_for(world: World) -> None:
    world.script("Done.", faults="401 @1-2")
    async with world.open() as chat:
        assert (await chat.send("Go")).state is TurnState.FAILED
        with pytest.raises(TurnFailedError):
            await chat.send("Go", raise_on_failure=True)
        assert (await chat.retry()).text == "Done.", "it is not lost"


async def test_waiting_for_a_person_is_not_a_failure(world: World) -> None:
    world.script(ASKS)
    async with world.open() as chat:
        turn = await chat.send("Go", raise_on_failure=True)

    assert turn.awaiting


async def test_cost_counts_failed_attempts_and_survives_a_retry(world: World) -> None:
    price = Price(input=1_000_000, output=0)
    world.script(reply("Done.", usage={"input_tokens": 3}), faults="cut 3 eof @1")
    async with world.open(limits=Limits(price=price)) as chat:
        turn = await chat.stream("Go").turn()
        spent = chat.snapshot.turn
        assert spent is not None
        assert len(spent.charges) == 2

    assert turn.cost == pytest.approx(sum(one.usage.input for one in spent.charges))


async def test_given_price_is_that_of_every_way_to_the_turn(world: World) -> None:
    price = Price(input=1_000_000, output=0)
    world.script(reply("One.", usage={"input_tokens": 3}), "Two.")
    async with world.open(limits=Limits(price=price)) as chat:
        first = await chat.send("Go", key="k")
        assert chat.turn is not None
        assert chat.turn.cost == first.cost
        await chat.send("On")
        again = await chat.send("Go", key="k")

    assert again.cost == first.cost


def test_cost_without_a_known_price_is_unknown() -> None:
    known = Charge("claude-haiku-4-5", "", Usage(1000))
    unknown = Charge("a-model-of-a-proxy", "", Usage(1000))

    assert cost_of([known]) is not None
    assert cost_of([known, unknown]) is None


# Streams of what continues a turn.


async def kinds_of(stream: TurnStream) -> list[str]:
    """The kinds of the events of a stream."""
    found: list[str] = []
    async for event in stream:
        name = type(event.event if isinstance(event, Recorded) else event).__name__
        found.append(name)
    return found


async def test_approval_is_watched_from_the_decision_to_the_end(world: World) -> None:
    world.script(ASKS, "Done.")
    async with world.open() as chat:
        waiting = (await chat.send("Go")).awaiting[0]
        stream = chat.stream_approve(waiting.id, digest=waiting.digest)
        kinds = await kinds_of(stream)
        turn = await stream.turn()

    assert turn.text == "Done."
    assert kinds[0] == "CallApproved"
    assert kinds[-1] == "TurnEnded"
    assert "Arrived" in kinds
    assert world.bodies[-1]["stream"] is True
    assert world.ran == ["ask a"]


async def test_denial_is_watched_from_the_decision_to_the_end(world: World) -> None:
    world.script(ASKS, "Done.")
    async with world.open() as chat:
        waiting = (await chat.send("Go")).awaiting[0]
        stream = chat.stream_deny(waiting.id, "no, thanks")
        kinds = await kinds_of(stream)

    assert kinds[0] == "CallDenied"
    assert kinds[-1] == "TurnEnded"
    assert world.ran == []


async def test_retry_is_watched_from_there_to_the_end(world: World) -> None:
    world.script("Done.", faults="401 @1")
    async with world.open() as chat:
        await chat.send("Go")
        stream = chat.stream_retry()
        kinds = await kinds_of(stream)
        turn = await stream.turn()

    assert kinds[0] == "TurnRetried"
    assert turn.text == "Done."


async def test_stream_that_decides_about_nothing_raises_what_the_method_raises(
    world: World,
) -> None:
    async with world.open() as chat:
        for stream in (chat.stream_approve("x"), chat.stream_deny("x")):
            with pytest.raises(NotNowError, match="nothing to decide"):
                await stream.turn()
        with pytest.raises(NotNowError, match="nothing to retry"):
            await chat.stream_retry().turn()


async def test_stream_that_is_left_at_once_says_that_no_turn_has_begun(
    world: World,
) -> None:
    async with world.open() as chat:
        for stream in (
            chat.stream_retry(),
            chat.stream_approve("x"),
            chat.stream_deny("x"),
        ):
            async with stream:
                pass
            with pytest.raises(NotNowError, match="no turn has begun"):
                await stream.turn()

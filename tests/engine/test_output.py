"""Structured output: a reply is held to the type that the caller asked for.

A reply that does not fit is confirmed like every other, and the turn goes on: the model is
told why, as often as the limit says. What a caller reads as `Turn.output` always fits.
"""

import json
import logging
from dataclasses import dataclass
from typing import Annotated, Any, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field
from tests.harness.world import World

from turnlatch import (
    FaultKind,
    Limits,
    OutputError,
    SettingsError,
    TurnFailedError,
    TurnState,
)
from turnlatch.output import Output
from turnlatch.simulator import call, reply
from turnlatch_states.machine.commit import MISFIT_SAID

pytestmark = pytest.mark.anyio


class City(BaseModel):
    """A town."""

    name: str
    people: int = Field(ge=0)


@dataclass
class Pair:
    """Two numbers."""

    one: int
    other: int


LIMA = '{"name": "Lima", "people": 10}'
WRONG = '{"name": "Lima", "people": "many"}'
KINDS: dict[str, tuple[Any, str, object]] = {
    "model": (City, LIMA, City(name="Lima", people=10)),
    "dataclass": (Pair, '{"one": 1, "other": 2}', Pair(1, 2)),
    "list": (list[int], "[1, 2]", [1, 2]),
    "union": (int | None, "null", None),
    "bounded": (Annotated[int, Field(gt=2)], "3", 3),
    "new type": (NewType("Count", int), "3", 3),
}


def last_said(body: dict[str, Any]) -> str:
    """The text of the last message of a request."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


@pytest.mark.parametrize("kind", KINDS)
async def test_answer_is_a_value_of_the_type(world: World, kind: str) -> None:
    asked, said, value = KINDS[kind]
    world.script(said)
    async with world.open() as chat:
        turn = await chat.send("Which?", output=asked)

    assert turn.output == value
    assert turn.text == said
    config = world.bodies[0]["output_config"]
    assert config["format"]["type"] == "json_schema"


async def test_only_the_turn_that_asks_for_an_output_asks_the_server_for_it(
    world: World,
) -> None:
    world.script(LIMA, "Words.")
    async with world.open(settings={"output_config": {"effort": "low"}}) as chat:
        await chat.send("Which?", output=City)
        turn = await chat.send("And?")

    assert world.bodies[0]["output_config"]["effort"] == "low"
    assert world.bodies[1]["output_config"] == {"effort": "low"}
    assert turn.text == "Words."
    with pytest.raises(SettingsError, match="no output was asked for"):
        _ = turn.output


async def test_reply_that_does_not_fit_is_followed_by_a_request_that_says_why(
    world: World,
) -> None:
    world.script(WRONG, "Lima.", LIMA)
    async with world.open() as chat:
        turn = await chat.send("Which?", output=City)
        texts = [one.text for one in turn.replies]
        assert chat.messages[-1]["role"] == "assistant"

    assert turn.output == City(name="Lima", people=10)
    assert texts == [WRONG, "Lima.", LIMA], "each reply is confirmed"
    assert [move.trigger for move in turn.path].count("answer") == 2
    first, second = (last_said(body) for body in world.bodies[1:])
    assert first.startswith(MISFIT_SAID)
    assert "people" in first
    assert "Invalid JSON" in second
    assert "many" not in first, "the values of the reply are not repeated"


async def test_turn_fails_after_as_many_replies_as_the_limit_says(world: World) -> None:
    world.script(WRONG, WRONG, WRONG, WRONG, LIMA)
    async with world.open(limits=Limits(outputs_max=2)) as chat:
        turn = await chat.send("Which?", output=City)
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.OUTPUT
        assert len(turn.replies) == 2
        with pytest.raises(TurnFailedError, match="not the output asked for"):
            _ = turn.output
        again = await chat.retry()
        assert again.fault is not None, "two more"
        done = await chat.retry()

    assert done.output == City(name="Lima", people=10)
    assert len(world.bodies) == 5


async def test_next_message_follows_a_turn_without_its_output(world: World) -> None:
    world.script(WRONG, "Fine.")
    async with world.open(limits=Limits(outputs_max=1)) as chat:
        failed = await chat.send("Which?", output=City)
        turn = await chat.send("Never mind.")

    assert failed.state is TurnState.FAILED
    assert turn.text == "Fine."
    assert MISFIT_SAID not in json.dumps(world.bodies[-1]["messages"])


async def test_calls_run_first_and_only_the_last_reply_is_judged(world: World) -> None:
    world.script(reply("I look.", call("look", path="a")), LIMA)
    async with world.open() as chat:
        turn = await chat.send("Which?", output=City)

    assert turn.output == City(name="Lima", people=10)
    assert world.ran == ["look a"]
    assert len(world.bodies) == 2


async def test_cut_off_reply_is_asked_for_again(world: World) -> None:
    world.script(reply('{"name": "Li', stop_reason="max_tokens"), LIMA)
    async with world.open() as chat:
        turn = await chat.send("Which?", output=City)

    assert turn.output == City(name="Lima", people=10)
    assert "cut off at its limit of tokens" in last_said(world.bodies[1])


async def test_fault_on_the_way_costs_no_attempt_at_the_output(world: World) -> None:
    world.script(WRONG, LIMA, faults="529 @1, reset @3")
    async with world.open(limits=Limits(outputs_max=2)) as chat:
        turn = await chat.send("Which?", output=City)

    assert turn.output == City(name="Lima", people=10)
    assert len(turn.replies) == 2


async def test_same_key_after_a_restart_has_the_output(world: World) -> None:
    world.script(LIMA)
    async with world.open() as chat:
        await chat.send("Which?", key="k", output=City)
    async with world.open() as chat:
        known = chat.turn
        assert known is not None
        with pytest.raises(SettingsError, match="in this process"):
            _ = known.output
        turn = await chat.send("Which?", key="k", output=City)

    assert turn.output == City(name="Lima", people=10)
    assert len(world.bodies) == 1


async def test_reply_that_another_process_confirmed_is_held_to_the_type_when_read(
    world: World,
) -> None:
    world.script("Words.")
    async with world.open() as chat:
        await chat.send("Which?", key="k")
    async with world.open() as chat:
        turn = await chat.send("Which?", key="k", output=City)

    with pytest.raises(OutputError, match="Invalid JSON"):
        _ = turn.output
    assert turn.text == "Words."


async def test_failing_code_of_the_type_loses_no_reply(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def divide(given: int) -> int:
        return given // 0

    world.script("3")
    async with world.open() as chat:
        with caplog.at_level(logging.ERROR):
            turn = await chat.send(
                "How many?", output=Annotated[int, AfterValidator(divide)]
            )

    assert turn.done
    assert turn.text == "3"
    with pytest.raises(ZeroDivisionError):
        _ = turn.output
    assert "the type of the output raised" in caplog.text


async def test_watched_turn_has_its_output(world: World) -> None:
    world.script(WRONG, LIMA)
    async with world.open() as chat:
        stream = chat.stream("Which?", output=City)
        kinds = [type(event).__name__ async for event in stream]
        turn = await stream.turn()

    assert turn.output == City(name="Lima", people=10)
    assert kinds[-1] == "TurnEnded"


@pytest.mark.parametrize(
    "wrong",
    [7, "City", len, {}, lambda: 1, type],
    ids=["number", "text", "built-in", "dict", "lambda", "type"],
)
async def test_wrong_type_is_refused_before_anything_is_sent(
    world: World, wrong: Any
) -> None:
    async with world.open() as chat:
        with pytest.raises(SettingsError, match="output"):
            await chat.send("Which?", output=wrong)
        assert chat.turn is None

    assert not world.bodies


async def test_made_up_model_answers_in_the_form_asked_for(world: World) -> None:
    async with world.open() as chat:
        turn = await chat.send("Which?", output=City)

    assert isinstance(turn.output, City)
    assert turn.output.name.startswith("inert")


@given(said=st.text())
def test_reading_any_text_gives_a_value_or_the_differences(said: str) -> None:
    problem = "none"
    try:
        Output(City).read(1, said)
    except OutputError as error:
        problem = error.problem
    assert problem.encode()


async def test_another_output_for_a_turn_that_is_under_way_is_refused(
    world: World,
) -> None:
    world.script(LIMA, faults="401 @1")
    async with world.open() as chat:
        await chat.send("Which?", key="k", output=City)
        with pytest.raises(SettingsError, match="begun with another output"):
            await chat.send("Which?", key="k", output=Pair)
        turn = await chat.send("Which?", key="k", output=City)

    assert turn.output == City(name="Lima", people=10)


async def test_turn_of_a_conversation_has_the_output_too(world: World) -> None:
    world.script(LIMA)
    async with world.open() as chat:
        await chat.send("Which?", output=City)
        assert chat.turn is not None
        assert chat.turn.output == City(name="Lima", people=10)

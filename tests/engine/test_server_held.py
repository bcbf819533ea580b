"""Tools that the server runs, and the container it runs them in."""

import attrs
import pytest
from tests.engine.lab import Lab, lab

from detent import Remedy, SettingsError, TurnState
from detent.simulator import Answer, reply, server_call

__all__ = ["lab"]
pytestmark = pytest.mark.anyio

CODE = {"type": "code_execution_20260120", "name": "code_execution"}
RUNS = server_call("code_execution", code="1 + 1")


def inside(container: str, answer: Answer) -> Answer:
    """An answer for which code ran in a container."""
    return attrs.evolve(answer, container=container)


def containers(lab: Lab) -> list[object]:
    """The container each request names."""
    return [body.get("container") for body in lab.bodies]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_paused_goes_on_in_its_own_container(
    lab: Lab, stream: bool
) -> None:
    lab.script(inside("container_1", reply("Let me see.", RUNS)), "Two.", "Fine.")
    async with lab.open(tools=[*lab.tools(), CODE]) as chat:
        turn = await (chat.stream("1 + 1?").turn() if stream else chat.send("1 + 1?"))
        assert turn.text == "Two."
        await chat.send("Thanks")

    assert containers(lab) == [None, "container_1", None]
    names = [one["name"] for one in lab.bodies[0]["tools"]]
    assert names[-1] == "code_execution"


async def test_one_that_is_gone_is_done_without_until_there_is_another(
    lab: Lab,
) -> None:
    lab.script(
        inside("container_1", reply("One.")),
        inside("container_2", reply("Two.")),
        "Three.",
        faults='400 message="container: container_1 has expired" body=container_1 @2+',
    )
    async with lab.open(tools=[CODE]) as chat:
        await chat.send("1")
        second = await chat.send("2")
        assert second.remedies == (Remedy.DROP_FIELD,)
        third = await chat.send("3")

        assert third.state is TurnState.CONFIRMED
        assert third.remedies == ()
    assert containers(lab) == [None, "container_1", None, "container_2"]


async def test_one_that_the_settings_name_is_the_one(lab: Lab) -> None:
    lab.script(inside("container_1", reply("One.")), "Two.")
    async with lab.open(tools=[CODE], settings={"container": "mine"}) as chat:
        await chat.send("1")
        await chat.send("2")

    assert containers(lab) == ["mine", "mine"]


async def test_a_reopened_conversation_offers_the_same_tools(lab: Lab) -> None:
    lab.script(inside("container_1", reply("One.")), "Two.")
    async with lab.open(tools=[CODE]) as chat:
        await chat.send("1")
    async with lab.open(tools=None) as chat:
        await chat.send("2")

    assert lab.bodies[0]["tools"] == lab.bodies[1]["tools"]
    assert containers(lab) == [None, "container_1"]


async def test_what_is_no_tool_at_all_is_refused(lab: Lab) -> None:
    for wrong in ({"name": "no type"}, "code_execution", len):
        with pytest.raises(SettingsError, match="is no tool"):
            async with lab.open(tools=[wrong]):
                pass

"""Tools that the server runs, and the container it runs them in."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.world import World
from tests.states.strategies import reply as reply_of

from turnlatch import Conversation, Remedy, SettingsError, Tool, TurnState, tool
from turnlatch.simulator import (
    Answer,
    Raw,
    ServerCall,
    ServerResult,
    Text,
    reply,
    server_call,
)
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.history import Exchange, History

pytestmark = pytest.mark.anyio


def replied(number: int, **meta: Any) -> Reply:
    """A reply with some facts."""
    return reply_of(number, "end_turn", {"type": "text", "text": "a"}, **meta)


CODE = {"type": "code_execution_20260120", "name": "code_execution"}
RUNS = server_call("code_execution", code="1 + 1")


def inside(container: str, answer: Answer) -> Answer:
    """An answer for which code ran in a container."""
    return attrs.evolve(answer, container=container)


def containers(world: World) -> list[object]:
    """The container each request names."""
    return [body.get("container") for body in world.bodies]


@pytest.mark.parametrize("stream", [False, True])
async def test_paused_turn_continues_in_its_container(
    world: World, stream: bool
) -> None:
    world.script(inside("container_1", reply("Let me see.", RUNS)), "Two.", "Fine.")
    async with world.open(tools=[*world.tools(), CODE]) as chat:
        turn = await (chat.stream("1 + 1?").turn() if stream else chat.send("1 + 1?"))
        assert turn.text == "Two."
        await chat.send("Thanks")

    assert containers(world) == [None, "container_1", "container_1"]
    names = [one["name"] for one in world.bodies[0]["tools"]]
    assert names[-1] == "code_execution"


async def test_one_that_is_gone_is_done_without_until_there_is_another(
    world: World,
) -> None:
    world.script(
        inside("container_1", reply("One.")),
        inside("container_2", reply("Two.")),
        "Three.",
        faults='400 message="container: container_1 has expired" body=container_1 @2+',
    )
    async with world.open(tools=[CODE]) as chat:
        await chat.send("1")
        second = await chat.send("2")
        assert second.remedies == (Remedy.DROP_FIELD,)
        third = await chat.send("3")

        assert third.state is TurnState.CONFIRMED
        assert third.remedies == ()
    assert containers(world) == [None, "container_1", None, "container_2"]


async def test_the_newest_that_any_reply_named_is_kept_whatever_comes_between(
    world: World,
) -> None:
    """Words, a summary, another model, a fork, a restart; a rewind goes back to the one
    before."""
    world.script(
        inside("container_1", reply("Made it.")),
        "You are welcome.",
        inside("container_2", reply("Made another.")),
        *["Words."] * 9,
    )
    async with world.open(tools=[CODE]) as chat:
        for said in ("Make it", "Thanks", "Another", "Thanks"):
            await chat.send(said)
        assert containers(world) == [None, "container_1", "container_1", "container_2"]
        await chat.compact()
        await chat.send("Behind the summary")
        await chat.configure(model="claude-opus-5")
        await chat.send("With another model")
        async with chat.fork("b") as fork:
            await fork.send("In a fork")
    async with world.open(tools=[CODE]) as chat:
        await chat.send("After a restart")
        assert containers(world)[4:] == [None, *["container_2"] * 4]
        await chat.rewind(turns=5)
        await chat.send("Before it was made")
    assert containers(world)[-1] == "container_1"


@given(st.lists(st.sampled_from([None, "container_1", "container_2", "null"])))
def test_a_history_knows_the_newest_container_at_every_length(
    named: list[str | None],
) -> None:
    history = History()
    for number, one in enumerate(named):
        held = {"container": None} if one == "null" else {"container": {"id": one}}
        said = replied(number, **({} if one is None else held))
        history = history.appended(Exchange.seal(number, b'{"type":"text"}', said))
    for size in range(len(named) + 1):
        newest = [one for one in named[:size] if one not in (None, "null")]
        cut = history.until(size)
        assert cut.container == (newest[-1] if newest else None)
        branch = cut.appended(Exchange.seal(99, b'{"type":"text"}', replied(99)))
        assert branch.container == cut.container
        assert History(list(cut)).container == cut.container


async def test_one_that_the_settings_name_is_the_one(world: World) -> None:
    world.script(inside("container_1", reply("One.")), "Two.")
    async with world.open(tools=[CODE], settings={"container": "mine"}) as chat:
        await chat.send("1")
        await chat.send("2")

    assert containers(world) == ["mine", "mine"]


async def test_a_reopened_conversation_offers_the_same_tools(world: World) -> None:
    world.script(inside("container_1", reply("One.")), "Two.")
    async with world.open(tools=[CODE]) as chat:
        await chat.send("1")
    async with world.open(tools=None) as chat:
        await chat.send("2")

    assert world.bodies[0]["tools"] == world.bodies[1]["tools"]
    assert containers(world) == [None, "container_1"]


async def test_value_that_is_not_a_tool_is_refused(world: World) -> None:
    for wrong in ({"name": "no type"}, "code_execution", len):
        with pytest.raises(SettingsError, match="is not a tool"):
            async with world.open(tools=[wrong]):
                pass


# What the service has begun and waits for us with.

ID = "srvtoolu_01abc"
RAN: dict[str, object] = {
    "type": "code_execution_result",
    "stdout": "7",
    "stderr": "",
    "return_code": 0,
    "content": [],
}


def asks(number: int, *, first: bool, made_by_code: bool) -> Answer:
    """A call of ours: beside the service's own that stays open, or made by it later."""
    caller: dict[str, Any] = {"type": "direct"}
    if made_by_code or not first:
        caller = {"type": CODE["type"], "tool_id": ID}
    use = {
        "type": "tool_use",
        "id": f"toolu_{number}",
        "name": "query",
        "input": {"number": number},
        "caller": caller,
    }
    begun = (ServerCall("code_execution", {"code": "query()"}, ID),) if first else ()
    return Answer((*begun, Raw(use)), stop_reason="tool_use", container="container_1")


def querying(during: Callable[[], Awaitable[None]]) -> Tool:
    """A tool that the service's code calls, during whose first run something happens."""
    begun: list[int] = []

    @tool(effect="safe")
    async def query(number: int) -> str:
        """Query."""
        begun.append(number)
        if len(begun) == 1:
            await during()
        return str(number)

    allowed = ["direct", CODE["type"]]
    return attrs.evolve(
        query, definition={**query.definition, "allowed_callers": allowed}
    )


def kinds(body: dict[str, Any], role: str) -> list[list[str]]:
    """The types of the blocks in the messages of one role."""
    return [
        [block["type"] for block in message["content"]]
        for message in body["messages"]
        if message["role"] == role
    ]


@pytest.mark.parametrize("made_by_code", [True, False])
@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("stopped", [False, True])
async def test_steered_messages_cost_the_service_none_of_its_open_work(
    world: World, rounds: int, made_by_code: bool, stopped: bool
) -> None:
    """They wait until the work is done, over as many rounds as it takes."""
    chats: list[Conversation] = []

    async def during() -> None:
        await chats[0].steer("and be brief")
        if stopped:
            await chats[0].interrupt()
            await anyio.lowlevel.checkpoint()

    calls = [asks(n, first=n == 0, made_by_code=made_by_code) for n in range(rounds)]
    done = (ServerResult("code_execution_tool_result", RAN, ID), Text("It is 7."))
    world.script(*calls, Answer(done, container="container_1"), "Seven.")
    async with world.open(
        tools=[querying(during), CODE], model="claude-opus-5"
    ) as chat:
        chats.append(chat)
        turn = await chat.send("Go")
        if stopped:
            assert turn.state is TurnState.FAILED
            turn = await chat.retry()
        assert turn.text == "Seven."
        assert turn.remedies == ()
        assert chat.snapshot.said == ()

    for body in world.bodies[1:]:
        assert kinds(body, "assistant")[0] == ["server_tool_use", "tool_use"]
    results = [["tool_result"]] * rounds
    assert kinds(world.bodies[-1], "user") == [["text"], *results, ["text"]]


async def test_a_conversation_that_is_opened_again_goes_on_with_that_work(
    world: World,
) -> None:
    chats: list[Conversation] = []

    async def during() -> None:
        await chats[0].steer("and be brief")
        await chats[0].interrupt()
        await anyio.lowlevel.checkpoint()

    done = (ServerResult("code_execution_tool_result", RAN, ID), Text("It is 7."))
    world.script(asks(0, first=True, made_by_code=True), Answer(done), "Seven.")
    options: dict[str, Any] = {
        "tools": [querying(during), CODE],
        "model": "claude-opus-5",
    }
    async with world.open(**options) as chat:
        chats.append(chat)
        await chat.send("Go")
    async with world.open(**options) as chat:
        before = chat.snapshot
        assert (await chat.retry()).text == "Seven."
        after = chat.snapshot
    async with world.open(**options) as chat:
        assert chat.snapshot.history == after.history
        assert before.history == after.history.until(len(before.history))
    assert kinds(world.bodies[-1], "user") == [["text"], ["tool_result"], ["text"]]

"""The tools that were offered are part of the record; one that is not there any more is
answered as such, call by call, and the conversation goes on without it.

A tool server that died, or a resume that forgot to bring the tools back, ended sessions
with errors instead of results, or had a call made again whose first one had landed:

- https://github.com/intent-hq/intent/issues/871
- https://github.com/NousResearch/hermes-agent/issues/88661
- https://github.com/QwenLM/qwen-code/issues/8433
"""

import anyio
import pytest
from tests.harness.processes import kill_at
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch import Closing, Tool, tool
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio


async def test_a_tool_that_did_not_come_back_is_answered_and_stays_offered(
    scenario: Scenario,
) -> None:
    scenario.script(
        call("act", what="a"),
        "One.",
        reply(call("act", what="b"), call("nobody")),
        "Two.",
    )
    async with scenario.open() as chat:
        await chat.send("1")
    async with scenario.open(tools=None) as chat:
        turn = await chat.send("2")
        assert [one.closing for one in turn.calls] == [Closing.ERROR] * 2
        first, last = scenario.requests[0].body, scenario.requests[-1].body
        assert first is not None
        assert last is not None
        assert first["tools"] == last["tools"]
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=4)


async def test_a_tool_that_comes_back_is_there_again(scenario: Scenario) -> None:
    scenario.script(
        "One.", call("act", what="b"), "Two.", call("act", what="c"), "Three."
    )
    async with scenario.open() as chat:
        await chat.send("1")
    async with scenario.open(tools=None) as chat:
        await chat.send("2")
    async with scenario.open() as chat:
        await chat.send("3")
        await scenario.finish(chat, ended=CONFIRMED, effects={"act c": 1}, budget=5)


async def test_a_call_that_timed_out_is_not_made_again_by_anybody_but_the_model(
    scenario: Scenario,
) -> None:
    """The first call may have landed; that it is made again is the model's decision."""
    late = True

    @tool(timeout=0.3)
    async def remote(what: str) -> str:
        """Ask a server that has just died."""
        nonlocal late
        scenario.note(f"remote {what}")
        if late:
            late = False
            await anyio.sleep_forever()
        return f"did {what}"

    scenario.script(call("remote", what="a"), call("remote", what="a"), "Done.")
    async with scenario.open(tools=[remote]) as chat:
        turn = await chat.send("Go")
        assert [one.closing for one in turn.calls] == [Closing.UNKNOWN, Closing.RESULT]
        await scenario.finish(chat, ended=CONFIRMED, effects={"remote a": 2}, budget=3)
    (told,) = scenario.said(2)
    assert "outcome unknown" in told["content"]


@asyncio_only
async def test_killed_in_a_call_whose_tool_did_not_come_back_its_end_is_unknown(
    scenario: Scenario,
) -> None:
    """Nobody can find out any more, also when the tool is there again later."""
    asked: list[str] = []

    def look_up(key: str) -> object:
        asked.append(key)
        return "did a"

    @tool(reconcile=look_up)
    async def act(what: str) -> str:
        """Do something that counts."""
        scenario.note(f"act {what}")
        return f"did {what}"

    scenario.script(call("act", what="a"), "I see.")
    kill_at(scenario, "after act", "first")
    async with scenario.open(tools=None):
        pass
    tools: list[Tool] = [act]
    async with scenario.open(tools=tools) as chat:
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        assert asked == []
        assert "outcome unknown" in scenario.said(2)[0]["content"]
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=2)


@pytest.mark.parametrize("yes", [True, False])
async def test_a_question_about_a_tool_that_is_gone_can_be_answered_and_runs_nothing(
    scenario: Scenario, yes: bool
) -> None:
    scenario.script(reply(call("ask", what="a"), call("ask", what="b")), "I see.")
    async with scenario.open() as chat:
        await chat.send("Go")
    async with scenario.open(tools=None) as chat:
        for _ in range(2):
            assert chat.turn is not None
            waiting = chat.turn.awaiting[0]
            await (chat.approve if yes else chat.deny)(waiting.id)
        results = scenario.said(2)
        said = "There is no tool" if yes else "Denied"
        assert [one["content"].startswith(said) for one in results] == [True, True]
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)

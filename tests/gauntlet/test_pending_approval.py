"""A question that waits for a person is durable and belongs to one call: it is asked again
after a crash, answered once, and closed as not executed by whatever is said instead.

Prompts that were open when a process ended were answered by a later key press, ran
without having been asked again, or left their call without a result:

- https://github.com/github/copilot-cli/issues/4469
- https://github.com/openJiuwen-ai/agent-core/issues/959
- https://github.com/anomalyco/opencode/issues/29422
"""

import anyio
import pytest
from tests.harness.processes import child_processes, kill_at
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch import ApprovalError, Closing, FaultKind, IllegalEventError, Tool, tool
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio


@asyncio_only
async def test_killed_with_a_question_open_plain_words_close_it(
    scenario: Scenario,
) -> None:
    scenario.script(call("ask", what="a"), "Fine.")
    kill_at(scenario, "after ReplyConfirmed", "first")
    async with scenario.open() as chat:
        assert chat.turn is not None
        (waiting,) = chat.turn.awaiting
        await chat.send("Never mind")
        result, text = scenario.said(2)
        assert "Not executed" in result["content"]
        assert text["text"] == "Never mind"
        for late in (chat.approve, chat.deny):
            with pytest.raises(IllegalEventError):
                await late(waiting.id)
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


@asyncio_only
@pytest.mark.parametrize(("yes", "effects"), [(True, {"ask a": 1}), (False, {})])
async def test_killed_with_a_question_open_it_is_asked_again_and_answered_once(
    scenario: Scenario, yes: bool, effects: dict[str, int]
) -> None:
    scenario.script(reply(call("ask", what="a"), call("act", what="b")), "Fine.")
    with child_processes(scenario) as children:
        child = children.start("before TurnFailed", "first", "never said")
        child.until("now")  # the question is still open, and is about to be closed
        child.kill()
    effects = {**effects, "act b": 1}
    async with scenario.open() as chat:
        assert chat.turn is not None
        (waiting,) = chat.turn.awaiting
        turn = await (chat.approve if yes else chat.deny)(waiting.id)
        assert turn.state is CONFIRMED
        closings = [one.closing for one in turn.calls]
        assert closings == [Closing.RESULT if yes else Closing.DENIED, Closing.RESULT]
        with pytest.raises(IllegalEventError):
            await chat.approve(waiting.id)
        await scenario.finish(chat, ended=CONFIRMED, effects=effects, budget=3)


async def test_a_yes_that_was_recorded_is_not_asked_again_and_runs_once(
    scenario: Scenario,
) -> None:
    """Two calls wait; one is decided, the process ends, the other is decided later."""
    scenario.script(reply(call("ask", what="a"), call("ask", what="b")), "Fine.")
    async with scenario.open() as chat:
        turn = await chat.send("Go")
        await chat.approve(turn.awaiting[0].id)
    async with scenario.open() as chat:
        assert chat.turn is not None
        (waiting,) = chat.turn.awaiting
        turn = await chat.approve(waiting.id)
        assert turn.state is CONFIRMED
        effects = {"ask a": 1, "ask b": 1}
        await scenario.finish(chat, ended=CONFIRMED, effects=effects, budget=2)


async def test_stopping_while_a_question_is_open_leaves_it_open(
    scenario: Scenario,
) -> None:
    scenario.script(call("ask", what="a"), "Fine.")
    async with scenario.open() as chat:
        turn = await chat.send("Go")
        assert not await chat.interrupt(), "nothing runs while a person thinks"
        turn = await chat.approve(turn.awaiting[0].id)
        assert turn.state is CONFIRMED
        await scenario.finish(chat, ended=CONFIRMED, effects={"ask a": 1}, budget=2)


async def test_giving_up_while_a_question_is_open_closes_it(scenario: Scenario) -> None:
    scenario.script(call("ask", what="a"), "Fine.")
    async with scenario.open() as chat:
        await chat.send("Go")
        await chat.abandon()
        await scenario.finish(chat, ended=FaultKind.CANCELLED, effects={}, budget=1)
    assert "Not executed" in scenario.said(2)[0]["content"]


def ask_more(scenario: Scenario) -> Tool:
    """The tool `ask` of a next release, which would do something else."""

    @tool(effect="ask", name="ask")
    async def ask(what: str, everywhere: bool = True) -> str:
        """Do something a person decides."""
        scenario.note(f"ask {what} everywhere")
        return f"did {what} everywhere"

    return ask


def ask_soon(scenario: Scenario) -> Tool:
    """A tool about which a person has a minute to decide."""

    @tool(effect="ask", approval_timeout=60)
    async def ask(what: str) -> str:
        """Do something a person decides, soon."""
        scenario.note(f"ask {what}")
        return f"did {what}"

    return ask


@asyncio_only
@pytest.mark.parametrize("yes", [True, False])
async def test_question_is_asked_again_after_a_kill_and_an_update_of_the_tool(
    scenario: Scenario, yes: bool
) -> None:
    """The old yes runs nothing, neither the old thing nor the new one."""
    scenario.script(call("ask", what="a"), "Fine.")
    kill_at(scenario, "after CallAsked", "first")
    async with scenario.open(tools=[ask_more(scenario)]) as chat:
        assert chat.turn is not None
        (shown,) = chat.turn.awaiting
        with pytest.raises(ApprovalError):
            await chat.approve(shown.id, digest=shown.digest)
        assert scenario.effects == {}
    async with scenario.open(tools=[ask_more(scenario)]) as chat:
        assert chat.turn is not None
        (waiting,) = chat.turn.awaiting
        assert waiting.digest != shown.digest, "that it was put anew is on record"
        if yes:
            await chat.approve(waiting.id, digest=waiting.digest)
        else:
            await chat.deny(waiting.id)
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"ask a everywhere": 1} if yes else {},
            budget=2,
        )


@pytest.mark.parametrize("go_on", ["retry", "send", "deny"])
async def test_unanswered_question_is_a_denial_in_time(
    scenario: Scenario, go_on: str
) -> None:
    """The time runs while no process lives."""
    tools = [*scenario.tools()[:2], ask_soon(scenario)]
    scenario.script(reply(call("ask", what="a"), call("act", what="b")), "Fine.")
    async with scenario.open(tools=tools) as chat:
        turn = await chat.send("Go")
        (waiting,) = turn.awaiting
    await scenario.clock.sleep(61)
    async with scenario.open(tools=tools) as chat:
        if go_on != "deny":
            with pytest.raises(ApprovalError):
                await chat.approve(waiting.id, digest=waiting.digest)
        match go_on:
            case "retry":
                await chat.retry()
            case "send":
                await chat.send("And?")
            case _:
                await chat.deny(waiting.id)
        assert scenario.said(2)[0]["content"].startswith("Denied")
        with pytest.raises(IllegalEventError):
            await chat.approve(waiting.id)
        await scenario.finish(chat, ended=CONFIRMED, effects={"act b": 1}, budget=2)


async def test_a_yes_from_two_tabs_at_once_counts_once(scenario: Scenario) -> None:
    scenario.script(call("ask", what="a"), "Fine.")
    refused: list[str] = []
    async with scenario.open() as chat:
        turn = await chat.send("Go")
        (waiting,) = turn.awaiting

        async def tab() -> None:
            try:
                await chat.approve(waiting.id, digest=waiting.digest)
            except IllegalEventError:
                refused.append(waiting.id)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(tab)
        assert len(refused) == 2
        await scenario.finish(chat, ended=CONFIRMED, effects={"ask a": 1}, budget=2)


async def test_a_record_from_between_two_answers_knows_the_first_and_asks_the_second(
    scenario: Scenario,
) -> None:
    """What is decided is on record before anything runs."""
    scenario.script(reply(call("ask", what="a"), call("ask", what="b")), "Fine.")
    async with scenario.open() as chat:
        turn = await chat.send("Go")
        first, second = turn.awaiting
        await chat.approve(first.id)
        copied = scenario.copied("died")
        await chat.deny(second.id)
        assert scenario.effects == {"ask a": 1}
        async with scenario.again("a", copied) as again:
            assert again.turn is not None
            assert [one.id for one in again.turn.awaiting] == [second.id]
            with pytest.raises(IllegalEventError):
                await again.approve(first.id)
        await scenario.finish(chat, ended=CONFIRMED, effects={"ask a": 1}, budget=2)


@pytest.mark.parametrize("yes", [True, False])
async def test_message_steered_while_a_question_waits_follows_its_result(
    scenario: Scenario, yes: bool
) -> None:
    scenario.script(call("ask", what="a"), "Fine.")
    async with scenario.open() as chat:
        await chat.send("Go")
        await chat.steer("but carefully", key="k")
    async with scenario.open() as chat:
        await chat.steer("but carefully", key="k")
        assert chat.turn is not None
        (waiting,) = chat.turn.awaiting
        await (chat.approve if yes else chat.deny)(waiting.id)
        result, text = scenario.said(2)
        assert result["content"].startswith("did a" if yes else "Denied")
        assert text["text"] == "but carefully"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"ask a": 1} if yes else {}, budget=2
        )

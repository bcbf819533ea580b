"""Text that is no valid Unicode comes from everywhere: it is told to the model as far as it
can be told, and never makes a request that no server can read.

Half a surrogate pair in the output of a tool or in a call of the model, or a NUL byte,
stood in the history and made every later body invalid JSON:

- https://github.com/anthropics/claude-code/issues/1939
- https://github.com/anthropics/claude-code/issues/68325
- https://github.com/THU-MAIC/OpenMAIC/issues/1493
"""

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import SettingsError, Tool, ToolCall, tool
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio

HALF = "\ud83d"
ODD = (
    "half \ud83d of a pair",
    "\udc00\ud83d",
    "nul \x00 inside",
    "\x00",
    "\ufffe\uffff",
)


def saying(scenario: Scenario, value: object) -> list[Tool]:
    @tool(effect="safe")
    async def say(what: str) -> object:
        """Say something odd."""
        scenario.note("say")
        del what
        return value

    @tool
    async def fail(what: str) -> str:
        """Fail in odd words."""
        scenario.note("fail")
        raise ValueError(f"{what} {value}")

    return [say, fail]


@pytest.mark.parametrize("text", ODD, ids=ascii)
@pytest.mark.parametrize("stream", [False, True])
async def test_odd_text_from_a_tool_goes_out_as_what_can_be_read(
    scenario: Scenario, text: str, stream: bool
) -> None:
    scenario.script(reply(call("say", what="a"), call("fail", what="b")), "I see.")
    async with scenario.open(tools=saying(scenario, text)) as chat:
        turn = await (chat.stream("Go").turn() if stream else chat.send("Go"))
        assert turn.state is CONFIRMED
        scenario.requests[1].raw.decode()  # valid UTF-8
        assert "\\ud83d" not in scenario.requests[1].raw.decode().lower()
        effects = {"say": 1, "fail": 1}
        await scenario.finish(chat, ended=CONFIRMED, effects=effects, budget=2)


async def test_odd_values_inside_a_structure_are_reported_too(
    scenario: Scenario,
) -> None:
    scenario.script(call("say", what="a"), "I see.")
    value = [{"type": "text", "text": f"half {HALF}"}, {"type": "text", "text": "\x00"}]
    async with scenario.open(tools=saying(scenario, value)) as chat:
        await chat.send("Go")
        await scenario.finish(chat, ended=CONFIRMED, effects={"say": 1}, budget=2)


@pytest.mark.parametrize("stream", [False, True])
async def test_half_a_character_in_a_call_of_the_model_is_run_and_sent_back(
    scenario: Scenario, stream: bool
) -> None:
    scenario.script(call("look", path=f"half {HALF}"), f"Looked at {HALF}.", "Two.")
    async with scenario.open() as chat:
        turn = await (chat.stream("Go").turn() if stream else chat.send("Go"))
        assert turn.state is CONFIRMED
        await chat.send("2")
        assert b"\\ud83d" in chat.history[0].content, "the record is what came"
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"look half \ufffd": 1},
            budget=3,
            verbatim=False,
        )


@pytest.mark.parametrize("text", ODD, ids=ascii)
async def test_odd_text_from_the_user_is_sent_or_refused_and_blocks_nothing(
    scenario: Scenario, text: str
) -> None:
    scenario.script("One.", "Two.")
    async with scenario.open() as chat:
        try:
            await chat.send(text)
        except SettingsError:
            assert scenario.requests == (), "what cannot be read never left"
        await chat.send("Plain words")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_odd_text_of_a_denial_is_sent(scenario: Scenario) -> None:
    scenario.script(call("ask", what="a"), "I see.")
    async with scenario.open() as chat:
        turn = await chat.send("Go")
        turn = await chat.deny(turn.awaiting[0].id, f"not {HALF} today")
        assert turn.state is CONFIRMED
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_odd_text_of_a_failing_approval_rule_is_sent(scenario: Scenario) -> None:
    def fails(asked: ToolCall) -> bool:
        raise ValueError(f"{asked.name} {HALF}")

    @tool(effect="ask", approve=fails)
    async def guarded(what: str) -> str:
        """Do something guarded."""
        scenario.note(f"guarded {what}")
        return "never"

    scenario.script(call("guarded", what="a"), "I see.")
    async with scenario.open(tools=[guarded]) as chat:
        turn = await chat.send("Go")
        assert turn.state is CONFIRMED
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_odd_text_deep_inside_a_block_of_a_tool_blocks_nothing(
    scenario: Scenario,
) -> None:
    found = {
        "type": "search_result",
        "source": "notes",
        "title": f"half {HALF}",
        "content": [{"type": "text", "text": "found"}],
    }
    scenario.script(call("say", what="a"), "I see.", "Two.")
    async with scenario.open(tools=saying(scenario, [found])) as chat:
        turn = await chat.send("Go")
        assert turn.state is CONFIRMED
        await scenario.finish(chat, ended=CONFIRMED, effects={"say": 1}, budget=2)

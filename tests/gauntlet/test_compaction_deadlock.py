"""Too long to go on and too long to be summarised is no dead end: what does not fit in one
request is summarised in pieces that do, and where there is no summary to be had the oldest
turns are left out here, without asking anybody.

Sessions ended where the context was full, because the only way to make room was a request
with all of it ("Conversation too long" for the message, and for the summary as well):

- https://github.com/anthropics/claude-code/issues/23047
- https://github.com/anthropics/claude-code/issues/8330
- https://github.com/esengine/DeepSeek-Reasonix/issues/9125
"""

import json
from typing import Any, Final

import pytest
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch import (
    CompactionPlan,
    CompactionPolicy,
    Conversation,
    FaultKind,
    Tool,
    tool,
)
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio

WINDOW: Final = 1000
"""Tokens of the window from some request on; before it is as large as ever."""

BIG: Final = "blah " * 2400
"""Three windows of text."""


def never(_: CompactionPlan) -> bool:
    """A hook that will have no summary."""
    return False


TELLING: Final = 'body="[Record]"'
"""The condition for a request that asks for a summary in words."""

EXITS: dict[str, tuple[str, dict[str, Any]]] = {
    "summaries": ("", {}),
    "none signed": (", 400 forever on compaction", {}),
    "none at all": (
        f", 529 forever on compaction, 529 forever {TELLING}",
        {},
    ),
    "none usable": (f", cut 5 eof forever {TELLING}", {}),
    "none wanted": ("", {"before_compaction": never}),
    "none allowed": ("", {"compaction": CompactionPolicy(per_turn_max=0)}),
}
"""Which summaries are to be had, and how the conversation is opened."""


def in_words(scenario: Scenario) -> list[int]:
    """The requests for a summary in words that were answered."""
    return [
        number
        for number, one in enumerate(scenario.requests, start=1)
        if "[Record]" in one.raw.decode() and one.status == 200
    ]


def fetching(scenario: Scenario) -> Tool:
    """A tool that brings three windows of text."""

    @tool(effect="once")
    async def fetch() -> str:
        """Fetch something long."""
        scenario.note("fetch")
        return BIG

    return fetch


async def leave(scenario: Scenario, chat: Conversation, **more: Any) -> None:
    """The end of every scenario here: what was said last was answered."""
    given: dict[str, Any] = {"ended": CONFIRMED, "effects": {}, "budget": 30, **more}
    await scenario.finish(
        chat, unheard=in_words(scenario), verbatim=False, patience=3, **given
    )


@pytest.mark.parametrize("exit_by", EXITS)
async def test_a_reply_that_fills_the_window_three_times(
    scenario: Scenario, exit_by: str
) -> None:
    faults, options = EXITS[exit_by]
    scenario.script(
        "Hello.", BIG, "Done.", faults=f"limit context_window={WINDOW} @3+{faults}"
    )
    async with scenario.open(**options) as chat:
        await chat.send("Hi")
        await chat.send("Tell me all")
        await chat.send("And now in short")
        assert len(chat.history) == 3, "what is left out is still there"
        await leave(scenario, chat)


@pytest.mark.parametrize("exit_by", EXITS)
async def test_words_of_the_users_that_fill_the_window_three_times(
    scenario: Scenario, exit_by: str
) -> None:
    faults, options = EXITS[exit_by]
    scenario.script(*["Yes."] * 3, faults=f"limit context_window={WINDOW} @4+{faults}")
    async with scenario.open(**options) as chat:
        for said in ("Hi", BIG, "Did you read it?", "All of it?"):
            await chat.send(said)
        await leave(scenario, chat)


@pytest.mark.parametrize("exit_by", EXITS)
async def test_a_result_that_fills_the_window_three_times(
    scenario: Scenario, exit_by: str
) -> None:
    """It is about to be sent and cannot be left behind, so it is shortened."""
    faults, options = EXITS[exit_by]
    scenario.script(
        "Hello.",
        "Yes.",
        call("fetch"),
        "Done.",
        faults=f"limit context_window={WINDOW} @4+{faults}",
    )
    async with scenario.open(tools=[fetching(scenario)], **options) as chat:
        for said in ("Hi", "You?", "Fetch it"):
            await chat.send(said)
        last = len(scenario.requests)
        told = json.dumps(scenario.said(last))
        assert "left out" in told, "and the model is told so"
        await leave(scenario, chat, effects={"fetch": 1}, altered=[last])


@pytest.mark.parametrize("exit_by", EXITS)
async def test_a_past_of_many_turns_that_fills_the_window_five_times(
    scenario: Scenario, exit_by: str
) -> None:
    faults, options = EXITS[exit_by]
    turns = 12
    scenario.script(
        *["I see."] * turns,
        faults=f"limit context_window={WINDOW} @{turns + 1}+{faults}",
    )
    async with scenario.open(**options) as chat:
        for turn in range(turns + 1):
            await chat.send(f"Part {turn}: " + "blah " * 300)
        await leave(scenario, chat, budget=turns + 25)


async def test_request_known_to_be_too_long_is_not_sent_between_partial_summaries(
    scenario: Scenario,
) -> None:
    """Each piece of a summary would cost a second request that is refused."""
    turns = 12
    scenario.script(
        *["I see."] * turns,
        faults=f"limit context_window={WINDOW} @{turns + 1}+, 400 forever on compaction",
    )
    async with scenario.open() as chat:
        for turn in range(turns + 1):
            await chat.send(f"Part {turn}: " + "blah " * 300)
        long = [
            one
            for one in scenario.requests
            if one.error and "too long" in one.error.message
        ]
        assert len(in_words(scenario)) >= 4
        assert len(long) <= 2, "what is left is judged by the length that was refused"
        await leave(scenario, chat, budget=turns + 12)


async def test_a_message_that_fits_no_window_fails_and_the_next_does_not(
    scenario: Scenario,
) -> None:
    scenario.script(
        "Hello.", "Yes.", "Done.", faults=f"limit context_window={WINDOW} @3+"
    )
    async with scenario.open() as chat:
        await chat.send("Hi")
        await chat.send("You?")
        await chat.send(BIG)
        await leave(scenario, chat, ended=FaultKind.TOO_LONG, budget=8)


@asyncio_only
async def test_a_model_with_a_smaller_window_takes_over(scenario: Scenario) -> None:
    """What is known beforehand is mended beforehand: nothing is refused."""
    scenario.script(*["I see."] * 7)
    async with scenario.open() as chat:
        for turn in range(7):
            await chat.send(f"Part {turn}: " + "blah " * 40_000)
        await chat.configure(model="claude-haiku-4-5")
        await chat.send("And now in short")
        assert [one.status for one in scenario.requests] == [200] * len(
            scenario.requests
        )
        await leave(scenario, chat)

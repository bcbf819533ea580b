"""What was legal piece by piece can be too much together: limits over the whole request are
computed before it is sent, and there is something to leave out for each of them.

The twenty-first picture made the first one too large, the sum of screenshots passed the
bytes of a body, and one request was longer than a minute's allowance of tokens; nothing
said afterwards was ever answered again:

- https://github.com/anthropics/claude-code/issues/45952
- https://github.com/anthropics/claude-code/issues/8092
- https://github.com/anthropics/claude-code/issues/30542
"""

import json
from typing import Any

import pytest
from tests.harness.media import Block, document, image, png, words
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only
from tests.harness.world import mentions

from turnlatch import Limits, SettingsError, Tool, tool
from turnlatch.simulator import call
from turnlatch_states.machine.doubt import ALTERNATIONS

pytestmark = pytest.mark.anyio

LARGE = image(png(2500, 1000))
SMALL = image(png(100, 100))
SCARCE = "429 {} @4+ until t=3600"
"""More than a minute's allowance, for as long as anybody waits."""

TALK = 'body="\\"role\\":\\"assistant\\""'
"""The condition for a request that holds a conversation."""


def camera(scenario: Scenario, *blocks: Block) -> Tool:
    """A tool that gives these blocks."""

    @tool(effect="once")
    async def shoot() -> list[Block]:
        """Take a picture."""
        scenario.note("shoot")
        return list(blocks)

    return shoot


def pictures(scenario: Scenario) -> int:
    """How many pictures the last request holds."""
    return json.dumps(scenario.requests[-1].body).count('"type": "image"')


def refused(scenario: Scenario) -> list[int]:
    """The requests that were not answered."""
    return [n for n, one in enumerate(scenario.requests, start=1) if one.status != 200]


async def test_the_picture_that_makes_the_others_too_large_refuses_nothing(
    scenario: Scenario,
) -> None:
    scenario.script(*["I see."] * 40)
    async with scenario.open() as chat:
        for turn in range(35):
            await chat.send([LARGE, words(f"Look at {turn}")])
            assert pictures(scenario) >= 10 or turn < 10, "the newest are still there"
        assert refused(scenario) == []
        assert json.dumps(chat.messages).count('"image"') == 35
        told = json.dumps(scenario.requests[-1].body)
        assert all(f"Look at {turn}" in told for turn in range(35))
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=35, verbatim=False
        )


async def test_a_long_row_of_screenshots_in_one_turn_refuses_nothing(
    scenario: Scenario,
) -> None:
    scenario.script(*[call("shoot")] * 30, "Seen.")
    shoot = camera(scenario, LARGE, words("A screen."))
    patient = Limits(repeats_max=None)
    async with scenario.open(tools=[shoot], limits=patient) as chat:
        await chat.send("Look thirty times")
        assert refused(scenario) == []
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"shoot": 30}, budget=31, verbatim=False
        )


async def test_more_pictures_than_a_request_may_hold_refuse_nothing(
    scenario: Scenario,
) -> None:
    scenario.script(*["I see."] * 20)
    async with scenario.open(model="claude-haiku-4-5") as chat:
        for turn in range(15):
            await chat.send([*[SMALL] * 9, words(f"Look at {turn}")])
        assert refused(scenario) == []
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=16, verbatim=False
        )


@pytest.mark.parametrize(
    ("given", "sent"), [([SMALL] * 101, 0), ([LARGE] * 21, 0)], ids=["many", "large"]
)
async def test_a_tool_that_gives_too_many_pictures_at_once_does_not_lock_the_turn(
    scenario: Scenario, given: list[Block], sent: int
) -> None:
    scenario.script("Hello.", call("shoot"), "Too many.")
    shoot = camera(scenario, words("All of them."), *given)
    async with scenario.open(model="claude-haiku-4-5", tools=[shoot]) as chat:
        await chat.send("Hi")
        await chat.send("Look")
        assert pictures(scenario) == sent
        assert mentions(scenario.said(3), "All of them.")
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"shoot": 1},
            budget=3,
            altered=[3],
            verbatim=False,
        )


@pytest.mark.parametrize("said", [[SMALL] * 101, [LARGE] * 21], ids=["many", "large"])
async def test_too_many_pictures_of_the_users_own_at_once_are_his_to_part(
    scenario: Scenario, said: list[Block]
) -> None:
    scenario.script("Hello.")
    async with scenario.open(model="claude-haiku-4-5") as chat:
        await chat.send([SMALL, words("Hi")])
        with pytest.raises(SettingsError):
            await chat.send([*said, words("Look")])
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=1)


@asyncio_only
async def test_more_bytes_than_a_body_may_have_refuse_nothing(
    scenario: Scenario,
) -> None:
    scenario.script(*["I see."] * 6)
    async with scenario.open() as chat:
        for turn in range(5):
            await chat.send([image(png(padding=6_800_000)), words(f"Look at {turn}")])
        assert refused(scenario) == []
        assert json.dumps(chat.messages).count('"image"') == 5
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=5, verbatim=False
        )


@pytest.mark.parametrize("what", ["pictures", "results", "words"])
async def test_a_gateway_that_takes_less_is_given_less_once_it_says_so(
    scenario: Scenario, what: str
) -> None:
    """Nobody could know it beforehand."""
    shot = image(png(padding=9_000)) if what == "pictures" else words("w" * 12_000)
    said = "w" * 12_000 if what == "words" else "Look"
    asks = [call("shoot"), "I see."] if what != "words" else ["I see.", "I see."]
    scenario.script(*asks * 8, faults="limit request_bytes_max=60000 @8+")
    async with scenario.open(tools=[camera(scenario, shot)]) as chat:
        for turn in range(8):
            await chat.send(f"{said} {turn}")
        # Where there is nothing to shorten, a summary is refused as well.
        assert len(refused(scenario)) == (4 if what == "words" else 1)
        effects = {} if what == "words" else {"shoot": 8}
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects=effects,
            budget=22,
            verbatim=False,
            patience=3,
        )


async def test_a_number_of_pictures_that_is_lowered_later_costs_one_refusal(
    scenario: Scenario,
) -> None:
    scenario.script(*["I see."] * 12, faults="limit images_max=4 @7+")
    async with scenario.open() as chat:
        for turn in range(9):
            await chat.send([SMALL, words(f"Look at {turn}")])
        assert len(refused(scenario)) == 1
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=10, verbatim=False, patience=2
        )


async def test_more_pages_than_a_request_may_have_cost_one_refusal(
    scenario: Scenario,
) -> None:
    """How many pages a document has is for the service to say."""
    scenario.script(*["I see."] * 9)
    pages = document(b"%PDF-1.7" + b"/Type /Page " * 100)
    async with scenario.open() as chat:
        for turn in range(8):
            await chat.send([pages, words(f"Read {turn}")])
        assert len(refused(scenario)) == 1
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=9, verbatim=False, illegal=1
        )


async def test_a_request_that_is_more_than_a_minutes_allowance_becomes_a_smaller_one(
    scenario: Scenario,
) -> None:
    """It is told to wait for ever, though anything small is answered at once. No summary
    is asked for: once the allowance is as it was, all of it is sent again."""
    scenario.script(*["I see."] * 4, faults=SCARCE.format(TALK))
    async with scenario.open() as chat:
        for number in range(3):
            await chat.send(f"{number}: " + "and so on, " * 100)
        turn = await chat.send("3: " + "and so on, " * 100)
        assert turn.trials >= ALTERNATIONS, "something short was asked in turn"
        body: Any = scenario.requests[-1].body
        assert mentions(body["messages"][-1], "3: and so on")
        await scenario.clock.sleep(7200.0)
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=40, verbatim=False
        )

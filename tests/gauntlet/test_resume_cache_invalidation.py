"""A request begins with the very bytes that the one before it began with, whoever sends
it: what was cached is found again by the next turn and by the next process.

Resumed sessions wrote the same history with other spaces, another order of members or
other ids, and paid for the whole prompt again, once for every resume:

- https://github.com/anthropics/claude-code/issues/86299
- https://github.com/anthropics/claude-code/issues/87137
- https://github.com/multica-ai/multica/issues/6008
"""

from itertools import pairwise
from typing import Any

import pytest
from tests.harness.processes import kill_at
from tests.harness.recorder import cut_request
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch.simulator import LoggedRequest, call, reply, think

pytestmark = pytest.mark.anyio

SET: dict[str, Any] = {
    "system": [
        {"type": "text", "text": "Ünïcode.", "cache_control": {"type": "ephemeral"}}
    ],
    "settings": {"thinking": {"type": "adaptive"}, "metadata": {"user_id": "u"}},
}


def opening(request: LoggedRequest) -> bytes:
    """A request up to its messages."""
    return request.raw[: request.raw.index(b'"messages":')]


def check_prefixes(scenario: Scenario) -> None:
    """Each request holds the one before it, as far as that had to be repeated."""
    requests = scenario.requests
    for before, after in pairwise(requests):
        assert opening(before) == opening(after)
        earlier, _ = cut_request(before.raw)
        later, _ = cut_request(after.raw)
        assert later.startswith(earlier)


async def test_the_prefix_is_the_same_before_and_after_every_resume(
    scenario: Scenario,
) -> None:
    scenario.script(
        reply(think("Hm."), "One.", call("look", path="ä/\u2028")),
        "Two.",
        reply(think("Hm."), "Three."),
        "Four.",
        faults="529 @2, cut 3 eof @4",
    )
    async with scenario.open(**SET) as chat:
        await chat.stream("1").turn()
        replies = list(chat.history)
    for text in ("2", "3"):
        async with scenario.open() as chat:
            await chat.stream(text).turn()
            replies = list(chat.history)
    async with scenario.open() as chat:
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"look ä/\u2028": 1}, budget=6
        )
    check_prefixes(scenario)
    # What the service itself says about its cache.
    missed = [one.reply.facts.get("diagnostics") for one in replies]
    assert missed == [None] * len(missed)


@asyncio_only
async def test_the_prefix_is_the_same_after_a_crash(scenario: Scenario) -> None:
    scenario.script("One.", call("look", path="a"), "Two.")
    kill_at(scenario, "after CallClosed", "1", "2")
    async with scenario.open() as chat:
        await chat.send("3")
        await scenario.finish(chat, ended=CONFIRMED, effects={"look a": 1}, budget=3)
    check_prefixes(scenario)


async def test_the_check_sees_a_prefix_that_moved(scenario: Scenario) -> None:
    """The planted bug: a system prompt that tells the time."""
    for prompt in ("It is noon.", "It is one past noon."):
        async with scenario.open(system=prompt) as chat:
            await chat.send("Hello")
    with pytest.raises(AssertionError):
        check_prefixes(scenario)
    async with scenario.open() as chat:
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)

"""Because nothing is kept before it is confirmed, every passing break may be tried again,
however much was on the screen; and an event of tomorrow breaks no stream of today.

Clients that refused to retry once the first byte was shown, that read only HTTP statuses
and not the error inside a stream, or that died of an event they did not know, left a turn
for dead that the next attempt would have finished:

- https://github.com/anthropics/claude-code/issues/83943
- https://github.com/anthropics/claude-agent-sdk-python/issues/599
- https://github.com/earendil-works/pi/issues/252
"""

import pytest
from tests.harness.published import texts
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio

FAULTS = (
    "error overloaded_error after 5",
    "error api_error after 5",
    "error rate_limit_error after 5",
    "cut 5 reset",
    "cut 5 eof",
    "reset",
    "empty 200",
    "html 502",
)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_break_after_something_was_shown_is_tried_again(
    scenario: Scenario, fault: str
) -> None:
    answer = reply("Some words that are shown.", call("act", what="a"))
    spoiled = [answer] if fault.startswith(("cut", "error")) else []
    scenario.script(*spoiled, answer, "Done.", faults=f"{fault} @1")
    async with scenario.open() as chat:
        stream = chat.stream("Go")
        shown = texts([event async for event in stream])
        turn = await stream.turn()
        assert turn.text == "Done."
        assert turn.requests == 3
        assert shown
        assert len(scenario.clock.slept) == 1
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)


async def test_unknown_events_are_skipped(scenario: Scenario) -> None:
    future = (
        b'event: future_event\ndata: {"type":"future_event","of":{"tomorrow":[1]}}\n\n'
        b'event: content_block_note\ndata: {"type":"content_block_note","index":0}\n\n'
        b": a comment\n\n"
    )

    def gateway(piece: bytes) -> bytes:
        return future + piece if piece.startswith(b"event: ") else piece

    scenario.script(reply("Well.", call("act", what="a")), "Done.", gateway=gateway)
    async with scenario.open() as chat:
        turn = await chat.stream("Go").turn()
        assert turn.requests == 2
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=2)


async def test_unknown_members_change_nothing(scenario: Scenario) -> None:
    def gateway(piece: bytes) -> bytes:
        known = b'data: {"type":'
        return piece.replace(known, b'data: {"of_tomorrow":{"a":[1]},"type":', 1)

    scenario.script(reply("Well.", call("act", what="a")), "Done.", gateway=gateway)
    async with scenario.open() as chat:
        await chat.stream("Go").turn()
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=2)


async def test_a_definite_no_inside_a_stream_is_not_tried_again(
    scenario: Scenario,
) -> None:
    """The other side: what was refused for good is told, and nothing is spent on it."""
    from turnlatch import FaultKind

    scenario.script(
        "One.", faults='error invalid_request_error after 0 message="No." @1'
    )
    async with scenario.open() as chat:
        await chat.stream("Go").turn()
        await scenario.finish(chat, ended=FaultKind.INVALID, effects={}, budget=1)

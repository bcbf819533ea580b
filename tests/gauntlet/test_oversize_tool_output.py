"""What a tool gives is bounded before it is on record as its result, whatever form it has;
the whole of it is kept beside that, and no later request has to carry it.

One unbounded listing, log or file made every request after it too long, and there was no
way to go on but to throw the conversation away:

- https://github.com/charmbracelet/crush/issues/3733
- https://github.com/Zoo-Code-Org/Zoo-Code/issues/648
- https://github.com/RooCodeInc/Roo-Code/issues/6463
"""

import json
from typing import Any, Final

import pytest
from tests.harness.media import document, words
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only
from tests.harness.world import mentions

from turnlatch import Limits, Tool, tool
from turnlatch.journal import SQLiteStore
from turnlatch.simulator import call, reply
from turnlatch_states.machine.events import CallClosed

pytestmark = pytest.mark.anyio

TEN: Final = 10_000_000
WINDOW: Final = "limit context_window=131000 @1+"
BOUND: Final = 64 * 1024
"""What is sent of a result, in bytes; its notes may add a little."""

LINE = "0123456789abcdef\n"
OUTPUTS: dict[str, Any] = {
    "text": LINE * (TEN // len(LINE)),
    "bytes": b"caf\xe9 " * (TEN // 5),
    "words of another script": "\u8a9e" * (TEN // 3),
    "a value": {"lines": [LINE] * (TEN // len(LINE))},
    "a long block": [words("x" * TEN), words("The end.")],
    "ten long blocks": [words("x" * (TEN // 10))] * 10,
    "very many blocks": [words("line")] * 50_000,
    "a document": [
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "x" * TEN},
        }
    ],
    "a failure": ValueError("x" * TEN),
}


def listing(scenario: Scenario, output: object, **options: Any) -> Tool:
    """A tool that gives that much."""

    @tool(effect="once", name="fetch", **options)
    async def fetch() -> object:
        """List everything."""
        scenario.note("fetch")
        if isinstance(output, Exception):
            raise output
        return output

    return fetch


def results(scenario: Scenario, request: int) -> list[int]:
    """How long the results are that a request ends on, as JSON."""
    return [
        len(json.dumps(block["content"], ensure_ascii=False).encode())
        for block in scenario.said(request)
        if block["type"] == "tool_result"
    ]


@asyncio_only
@pytest.mark.parametrize("what", OUTPUTS)
async def test_ten_megabytes_twice_are_two_short_results(
    scenario: Scenario, what: str
) -> None:
    scenario.script(call("fetch"), "Long.", call("fetch"), "Again.", faults=WINDOW)
    async with scenario.open(tools=[listing(scenario, OUTPUTS[what])]) as chat:
        await chat.send("List it")
        await chat.send("And once more")
        assert [one.status for one in scenario.requests] == [200] * 4
        for request in (2, 4):
            assert max(results(scenario, request)) < BOUND * 1.5
        await scenario.finish(chat, ended=CONFIRMED, effects={"fetch": 2}, budget=4)


@asyncio_only
@pytest.mark.parametrize("what", ["text", "a long block"])
async def test_whole_output_is_kept_in_addition_to_the_result(
    scenario: Scenario, what: str
) -> None:
    scenario.script(call("fetch"), "Long.")
    async with scenario.open(tools=[listing(scenario, OUTPUTS[what])]) as chat:
        await chat.send("List it")
        await scenario.finish(chat, ended=CONFIRMED, effects={"fetch": 1}, budget=2)
    store = SQLiteStore(scenario.store)
    closed = [e.event for e in store.read("a") if isinstance(e.event, CallClosed)]
    store.close()
    assert [len(one.output) >= TEN * 0.99 for one in closed] == [True]
    assert [len(one.result) < BOUND * 1.5 for one in closed] == [True]


async def test_a_tool_has_its_own_bound(scenario: Scenario) -> None:
    scenario.script(call("fetch"), "Short.")
    fetch = listing(scenario, LINE * 1000, max_output="1 KiB")
    async with scenario.open(tools=[fetch]) as chat:
        await chat.send("List it")
        assert max(results(scenario, 2)) < 1500
        told = json.dumps(scenario.said(2), ensure_ascii=False)
        assert "bytes left out" in told, "and the model is told"
        await scenario.finish(chat, ended=CONFIRMED, effects={"fetch": 1}, budget=2)


@pytest.mark.parametrize("window", [131_000, 40_000, 10_000])
async def test_many_results_that_are_too_long_together_are_shortened_once(
    scenario: Scenario, window: int
) -> None:
    """Each is bounded; whether all fit is seen when they are sent."""
    scenario.script(
        "Hello.",
        reply(*[call("fetch")] * 8),
        "Long.",
        faults=f"limit context_window={window} @1+",
    )
    async with scenario.open(tools=[listing(scenario, LINE * 10_000)]) as chat:
        await chat.send("Hi")
        await chat.send("List them all")
        last = len(scenario.requests)
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"fetch": 8},
            budget=6,
            altered=[last],
            verbatim=False,
        )


@pytest.mark.parametrize("window", [131_000, 40_000])
async def test_results_that_add_up_over_many_steps_make_room_for_each_other(
    scenario: Scenario, window: int
) -> None:
    scenario.script(
        "Hello.",
        *[call("fetch")] * 12,
        "Long.",
        faults=f"limit context_window={window} @2+",
    )
    patient = Limits(repeats_max=None)
    tools = [listing(scenario, LINE * 10_000)]
    async with scenario.open(tools=tools, limits=patient) as chat:
        await chat.send("Hi")
        turn = await chat.send("List it twelve times")
        assert turn.state is CONFIRMED
        refused = [one for one in scenario.requests if one.status != 200]
        assert len(refused) <= 12 * BOUND // 4 // window * 2 + 2
        altered = range(2, len(scenario.requests) + 1)
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"fetch": 12},
            budget=40,
            altered=altered,
            verbatim=False,
            patience=3,
        )


@asyncio_only
async def test_document_too_large_for_any_request_is_reported(
    scenario: Scenario,
) -> None:
    scenario.script("Hello.", call("fetch"), "Long.")
    huge = document(b"%PDF-1.7" + bytes(27_000_000))
    async with scenario.open(
        tools=[listing(scenario, [words("All of it:"), huge])]
    ) as chat:
        await chat.send("Hi")
        await chat.send("Fetch it")
        last = len(scenario.requests)
        assert len(scenario.requests[-1].raw) < 1_000_000
        assert mentions(scenario.said(last), "All of it:")
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"fetch": 1},
            budget=4,
            altered=[last],
            verbatim=False,
        )

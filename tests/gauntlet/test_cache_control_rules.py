"""Cache marks are put on a request while it is built and are no part of what was said: at
most as many as the API takes, a caller's own before ours, an hour never after five
minutes, and none on a block that cannot have one.

Clients counted their marks before a middleware added its own, kept them with the
messages, put an hour behind five minutes, and marked a thought or an empty text; every
later request was a 400:

- https://github.com/vercel/eve/issues/2753
- https://github.com/askalf/dario/issues/1066
- https://github.com/bug-ops/zeph/pull/1568
"""

from typing import Any

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import Remedy
from turnlatch.simulator import Answer, Raw, call, reply, text, think

pytestmark = pytest.mark.anyio

SHORT = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}
SETTING = {"thinking": {"type": "adaptive"}}


def prompt(*marks: dict[str, str] | None) -> list[dict[str, Any]]:
    """A system prompt with these marks, one a block."""
    blocks: list[dict[str, Any]] = []
    for number, mark in enumerate(marks):
        block: dict[str, Any] = {"type": "text", "text": f"Part {number}."}
        blocks.append(block if mark is None else {**block, "cache_control": mark})
    return blocks


def marks(scenario: Scenario, number: int) -> list[str]:
    """How long each mark of a request is asked to last, in the order they are read."""
    body: dict[str, Any] = dict(scenario.requests[number - 1].body or {})
    places: list[Any] = [*body.get("tools", ()), *body.get("system", ())]
    for message in body["messages"]:
        places += message["content"]
    blocks: list[dict[str, Any]] = [one for one in places if isinstance(one, dict)]
    found = [one.get("cache_control") for one in [*blocks, body]]
    return [mark.get("ttl", "5m") for mark in found if mark is not None]


ASKED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "ours": ({"system": "Be brief."}, ["5m", "5m"]),
    "ours, an hour": ({"system": "Be brief.", "cache": "1h"}, ["1h", "1h"]),
    "none": ({"system": "Be brief.", "cache": "off"}, []),
    "one, beside ours": ({"system": prompt(SHORT)}, ["5m", "5m"]),
    "an hour, beside ours": ({"system": prompt(LONG)}, ["1h", "5m"]),
    "ours shall not outlast": ({"system": prompt(SHORT), "cache": "1h"}, ["5m"] * 2),
    "both": ({"system": prompt(LONG, None, SHORT)}, ["1h", "5m", "5m"]),
    "three": ({"system": prompt(*[SHORT] * 3)}, ["5m"] * 4),
    "four": ({"system": prompt(*[SHORT] * 4)}, ["5m"] * 4),
    "four, an hour": ({"system": prompt(*[LONG] * 4), "cache": "1h"}, ["1h"] * 4),
    "the last": ({"system": "S.", "settings": {"cache_control": SHORT}}, ["5m"]),
    "the last, an hour": (
        {"system": "S.", "settings": {"cache_control": LONG}},
        ["1h"],
    ),
    "four, the last": (
        {"system": prompt(*[SHORT] * 3), "settings": {"cache_control": SHORT}},
        ["5m"] * 4,
    ),
}


@pytest.mark.parametrize("asked", ASKED)
async def test_requests_hold_the_legal_number_and_order_of_cache_marks(
    scenario: Scenario, asked: str
) -> None:
    options, expected = ASKED[asked]
    scenario.script(call("look", path="a"), "One.")
    async with scenario.open(**options) as chat:
        turn = await chat.send("Go")
        assert turn.requests == 2, "none was refused"
        assert marks(scenario, 1) == marks(scenario, 2) == expected
        await scenario.finish(chat, ended=CONFIRMED, effects={"look a": 1}, budget=2)
    assert marks(scenario, 3) == expected, "and so by whoever opens it next"


@pytest.mark.parametrize("own", [0, 1, 2, 3])
async def test_own_cache_mark_makes_room_for_the_mark_of_a_server_thread(
    scenario: Scenario, own: int
) -> None:
    scenario.script(call("look", path="a"), "One.")
    system = prompt(*[SHORT] * own) or "Be brief."
    async with scenario.open(system=system, threads="on") as chat:
        turn = await chat.send("Go")
        assert turn.remedies == (), "the thread is kept"
        assert len(marks(scenario, 1)) <= 3
        await chat.configure(threads="off")
        await scenario.finish(chat, ended=CONFIRMED, effects={"look a": 1}, budget=2)


async def test_four_marks_of_a_caller_on_a_thread_cost_the_thread_and_nothing_else(
    scenario: Scenario,
) -> None:
    scenario.script("One.")
    async with scenario.open(system=prompt(*[SHORT] * 4), threads="auto") as chat:
        turn = await chat.send("Go")
        assert turn.remedies == (Remedy.UNTHREAD,)
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2, illegal=1)


async def test_cache_marks_of_a_caller_are_not_history(scenario: Scenario) -> None:
    """Four of them, at each of five messages: a history that kept them held twenty."""
    marked = [{"type": "text", "text": "1", "cache_control": LONG}] * 4
    async with scenario.open() as chat:
        for _ in range(5):
            await chat.send(marked)
            assert len(marks(scenario, len(scenario.requests))) == 2
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=5)


ENDS: dict[str, tuple[Answer, bool]] = {
    "a thought": (reply("Well.", think("a thought")), True),
    "a thought only": (think("a thought"), True),
    "empty text": (reply("Well.", Raw({"type": "text", "text": ""})), False),
    "empty text only": (text(""), False),
    "nothing": (Answer(), True),
}
"""What a reply ends with, and whether that may be sent back as it is."""


@pytest.mark.parametrize("last", ENDS)
@pytest.mark.parametrize("cache", ["5m", "1h"])
async def test_whatever_a_reply_ends_with_the_next_request_is_marked_legally(
    scenario: Scenario, last: str, cache: str
) -> None:
    answer, verbatim = ENDS[last]
    scenario.script(answer)
    async with scenario.open(cache=cache, settings=SETTING) as chat:
        await chat.send("1")
        await chat.send("2")
        assert marks(scenario, 2) == [cache, cache]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=2, verbatim=verbatim
        )


async def test_a_summary_takes_no_marks_along_and_leaves_none_behind(
    scenario: Scenario,
) -> None:
    async with scenario.open(system=prompt(LONG, SHORT), cache="1h") as chat:
        await chat.send("1")
        await chat.send("2")
        await chat.compact()
        asked = len(scenario.requests)
        assert marks(scenario, asked) == ["1h", "5m", "5m"]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, summary=asked
        )
    assert marks(scenario, asked + 1) == ["1h", "5m", "5m"]


async def test_marks_that_are_changed_change_no_history(scenario: Scenario) -> None:
    async with scenario.open(system="Be brief.") as chat:
        await chat.send("1")
        before = chat.history.wires()
        for cache, lasting in (("1h", ["1h"] * 2), ("off", []), ("5m", ["5m"] * 2)):
            await chat.configure(cache=cache)
            await chat.send(cache)
            assert marks(scenario, len(scenario.requests)) == lasting
        assert chat.history.wires()[: len(before)] == before
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=4)


@pytest.mark.parametrize(
    "said",
    [
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        "messages.0.content.0.text.cache_control: Extra inputs are not permitted",
        "cache_control: Extra inputs are not permitted",
        "system.0.cache_control: Extra inputs are not permitted",
    ],
)
async def test_a_service_that_takes_none_is_asked_without_once(
    scenario: Scenario, said: str
) -> None:
    scenario.script("One.", faults=f'400 message="{said}" body=cache_control forever')
    async with scenario.open(system="Be brief.") as chat:
        turn = await chat.send("1")
        assert turn.remedies == (Remedy.DROP_FIELD,)
        assert marks(scenario, 2) == []
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)
    assert marks(scenario, 3) == [], "nobody has to be told twice"

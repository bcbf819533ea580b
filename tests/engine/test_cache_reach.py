"""What was written to the prompt cache is read from it, however many blocks come between;
and where it cannot be, that is said before it is paid for.

The simulator's cache looks back as far as the API's does.
"""

import random
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from tests.harness.published import moved_to, prefix_changes
from tests.harness.world import World

from turnlatch import Conversation, TurnState
from turnlatch.simulator import Answer, ClientCall, ServerCall, ServerResult, Text
from turnlatch_states.api.reply import Usage
from turnlatch_states.request import cache_markers as marks

pytestmark = pytest.mark.anyio

LONG = "Hello. " + "context " * 4000
SEARCH = {"type": "web_search_20260209", "name": "web_search"}
MARK = {"cache_control": {"type": "ephemeral"}}


def texts(count: int) -> tuple[Text, ...]:
    """A reply of many text blocks, as one with citations is."""
    return tuple(Text(f"Sentence {n}. ") for n in range(count))


def searches(lots: random.Random, count: int) -> Iterator[ServerCall | ServerResult]:
    """Searches of the server's own, each with its result."""
    for n in range(count):
        id_ = f"srvtoolu_{lots.getrandbits(64)}"
        yield ServerCall("web_search", {"query": str(n)}, id_)
        yield ServerResult("web_search_tool_result", [], id_)


def answer_of(lots: random.Random) -> list[Answer]:
    """The replies of one turn, the last of which ends it."""
    size = lots.choice([1, 2, 10, 18, 19, 20, 21, 25, 45])
    match lots.randrange(3):
        case 0:
            calls = tuple(ClientCall("look", {"path": str(n)}) for n in range(size))
            return [Answer(calls), Answer(texts(2))]
        case 1:
            paused = Answer(
                (
                    Text("Let me see."),
                    *searches(lots, size // 2),
                    ServerCall("web_search"),
                ),
                "pause_turn",
            )
            return [
                paused,
                Answer((ServerResult("web_search_tool_result", []), *texts(size))),
            ]
        case _:
            return [Answer(texts(size))]


def message_of(lots: random.Random) -> Any:
    """What the user says: words, or an album of notes."""
    size = lots.choice([1, 1, 2, 18, 19, 20, 25, 60])
    return [{"type": "text", "text": f"note {n}"} for n in range(size)]


async def played(chat: Conversation, said: list[Any]) -> list[tuple[Usage, bool]]:
    """Say it all: what each reply cost, and whether a loss was told before it."""
    cursor = chat.cursor
    watch = chat.watch(cursor)
    found: list[tuple[Usage, bool]] = []
    await chat.send(LONG)
    for one in said:
        turn = await chat.send(one)
        assert turn.requests == len(turn.replies), turn.fault
    told: dict[int, bool] = {}
    requests = 0
    usages = [one.reply.usage for one in chat.history]
    while len(told) < len(usages):
        event = await anext(watch)
        if moved_to(event, TurnState.SENT):
            told[requests] = bool(prefix_changes([event]))
            requests += 1
    found = [(usage, told[n]) for n, usage in enumerate(usages)]
    return found


def lost(costs: list[tuple[Usage, bool]]) -> list[int]:
    """The requests that did not read what the one before had in the cache, untold."""
    found: list[int] = []
    for n in range(1, len(costs)):
        before, (now, told) = costs[n - 1][0], costs[n]
        held = before.cache_read + before.cache_write
        if now.cache_read < held and not told:
            found.append(n)
    return found


async def drawn(world: World, seed: int, **options: Any) -> list[tuple[Usage, bool]]:
    """A random conversation."""
    lots = random.Random(seed)
    turns = [answer_of(lots) for _ in range(6)]
    said = [message_of(lots) for _ in turns]
    world.script("Hi.", *(answer for turn in turns for answer in turn))
    given = {"model": "claude-opus-5", "tools": [world.tools()[0], SEARCH], **options}
    async with world.open(str(seed), **given) as chat:
        return await played(chat, said)


@pytest.mark.parametrize("seed", range(8))
async def test_each_request_reads_all_that_the_last_one_had_in_the_cache(
    world: World, seed: int
) -> None:
    costs = await drawn(world, seed)
    assert lost(costs) == []
    assert not any(told for _, told in costs), "nothing is lost, and nothing told"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", ["marks of its own", "a thread", "an hour"])
async def test_unreadable_cache_is_reported_before_it_is_paid_for(
    world: World, options: str, seed: int
) -> None:
    given: dict[str, dict[str, Any]] = {
        "marks of its own": {
            "system": [{"type": "text", "text": f"{n}", **MARK} for n in range(3)]
        },
        "a thread": {"threads": "on"},
        "an hour": {"cache": "1h"},
    }
    costs = await drawn(world, seed, **given[options])
    assert lost(costs) == []


async def test_a_marker_that_is_left_out_is_caught(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "LOOKBACK", 10**6)
    assert [lost(await drawn(world, seed)) for seed in range(2)] != [[], []]


async def test_no_request_has_more_markers_than_it_may_and_short_ones_no_more_than_two(
    world: World,
) -> None:
    """All of what left is held against the rules when the test ends, R24 among them."""
    world.script("Hi.", Answer(texts(30)), "Yes.", "Well.")
    async with world.open(model="claude-opus-5", system="Be kind.") as chat:
        for said in (LONG, "a", "b", "c"):
            await chat.send(said)
    counts = [str(body).count("'cache_control'") for body in world.bodies]
    assert counts == [2, 2, 3, 2]


async def test_a_view_and_a_rewind_do_not_misplace_it(world: World) -> None:
    world.script("Hi.", Answer(texts(30)), "Yes.", Answer(texts(25)), "Fine.")
    async with world.open(model="claude-opus-5") as chat:
        for said in (LONG, "a", "b"):
            await chat.send(said)
        await chat.rewind(turns=1)
        turn = await chat.send("c")
        before = chat.history[-2].reply.usage
        now = turn.usage
        assert now.cache_read >= before.cache_read + before.cache_write
        after = await chat.send("d")
        assert after.usage.cache_read >= now.cache_read + now.cache_write
        assert attrs.astuple(turn.usage) != attrs.astuple(after.usage)

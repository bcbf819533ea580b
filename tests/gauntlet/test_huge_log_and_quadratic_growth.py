"""A turn costs what it adds: what is written for it does not grow with what came before,
and what was said once is stored once.

Session files grew with the square of the turns, because each checkpoint held everything
so far, until they could not be loaded any more:

- https://github.com/anthropics/claude-code/issues/23373
- https://github.com/openai/codex/issues/28866
- https://github.com/langchain-ai/langgraph/pull/7547
"""

import base64
import sqlite3

import pytest
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch.simulator import Simulator, call

pytestmark = pytest.mark.anyio

TURNS = 60
PIXEL = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89"
    b"\0\0\0\rIDATx\x9cc\xf8\xff\xff?\0\5\xfe\2\xfe\xa75\x81\x84"
    b"\0\0\0\0IEND\xaeB`\x82"
).decode()


def stored(scenario: Scenario) -> dict[int, int]:
    """Bytes that are on record for each turn."""
    file = sqlite3.connect(scenario.store)
    sizes = "sum(length(meta) + length(body) + length(extra) + length(hash))"
    rows = file.execute(f"SELECT turn, {sizes} FROM entry GROUP BY turn").fetchall()
    file.close()
    return dict(rows)


@asyncio_only
async def test_a_turn_stores_the_same_at_any_length(scenario: Scenario) -> None:
    answers = [
        step
        for turn in range(TURNS)
        for step in (call("look", path=f"file {turn:04}"), f"Answer {turn:04}.")
    ]
    scenario.script(*answers)
    async with scenario.open() as chat:
        for turn in range(TURNS):
            await chat.send(f"Question {turn:04}")
        effects = {f"look file {turn:04}": 1 for turn in range(TURNS)}
        await scenario.finish(chat, ended=CONFIRMED, effects=effects, budget=2 * TURNS)
    sizes = stored(scenario)
    early, late = sizes[10], sizes[TURNS - 1]
    assert abs(late - early) < 200, "a turn at the end costs what one at the start does"
    assert max(sizes[turn] for turn in range(1, TURNS + 1)) < 4000


async def test_image_sent_once_is_stored_once(scenario: Scenario) -> None:
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
    }
    scenario.script(*[f"Answer {turn}." for turn in range(30)])
    async with scenario.open() as chat:
        await chat.send([image, {"type": "text", "text": "What is this?"}])
        for turn in range(29):
            await chat.send(f"Question {turn}")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=30)
    file = sqlite3.connect(scenario.store)
    bodies = file.execute("SELECT meta, body, extra FROM entry").fetchall()
    file.close()
    assert sum(str(row).count(PIXEL[:40]) for row in bodies) == 1


async def test_a_file_that_copies_the_past_would_be_seen(scenario: Scenario) -> None:
    """The planted bug: what the first check sees if each turn holds all before it."""
    assert isinstance(scenario.simulator, Simulator)
    async with scenario.open() as chat:
        for turn in range(1, 21):
            await chat.send(
                " ".join(f"Question {before:04}" for before in range(2 * turn))
            )
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=20)
    sizes = stored(scenario)
    assert sizes[19] - sizes[2] > 200

"""How far a reader has to walk: the calls of our own functions that one turn takes.

Counted by the interpreter, so the numbers are the same on every machine. They may fall;
whoever raises one has made a turn harder to follow, and says why.
"""

import asyncio
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
from tests.harness.world import World

import turnlatch
import turnlatch_states
from turnlatch.simulator import Answer, call

ROOTS: Final = tuple(
    str(Path(str(one.__file__)).parent) for one in (turnlatch, turnlatch_states)
)
NOT_OURS: Final = ("/simulator/", "/testing/", "/rules/")
"""The server of the tests, and the rules, which only it applies to plain turns."""

WALKS: Final[dict[str, tuple[list[Answer | str], int, int]]] = {
    "plain": (["Hello."], 495, 70),
    "one tool call": ([call("look", path="a"), "Done."], 1235, 83),
}
"""The answers to one turn; the most calls, and the most files, that it takes."""


async def walked(world: World, answers: list[Answer | str]) -> tuple[int, int]:
    """Calls and files of the third turn of a conversation."""
    world.script("One.", "Two.", *answers)
    calls, files = 0, set[str]()

    def seen(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(ROOTS):
            return
        if code.co_name.startswith("<") or any(
            one in code.co_filename for one in NOT_OURS
        ):
            return
        calls += 1
        files.add(code.co_filename)

    async with world.open() as chat:
        await chat.send("1")
        await chat.send("2")
        sys.setprofile(seen)
        try:
            turn = await chat.send("3")
        finally:
            sys.setprofile(None)
        assert turn.state == "confirmed"
    return calls, len(files)


@pytest.mark.parametrize("which", WALKS)
def test_a_turn_is_no_longer_walk_than_it_was(which: str, tmp_path: Path) -> None:
    answers, calls_max, files_max = WALKS[which]
    calls, files = asyncio.run(walked(World(tmp_path), answers))

    assert 100 < calls <= calls_max, f"{calls} calls in {files} files"
    assert files <= files_max, f"{calls} calls in {files} files"

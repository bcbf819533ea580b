"""A run is the same in another process and place, and its replay line replays it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.engine.testing import test_machine
from tests.engine.testing.playing import play
from tests.engine.testing.test_own_machine import WrongPromiseMachine

from turnlatch.testing import AgentDefectError, ConversationMachine

ROOT = Path(__file__).parents[3]

PROGRAM = """
from hypothesis import settings
from tests.engine.testing.test_machine import machine
from turnlatch.simulator import call
from turnlatch.testing import AgentDefectError
from turnlatch.testing.machine import RUN

class Short(machine(BUG)):
    calls = (call("pay", amount=3),)
    faults = ("529 @2-9", "cut 5 clean")

Short.TestCase.settings = settings(RUN, max_examples=10)
try:
    Short.TestCase("runTest").runTest()
except AgentDefectError as broken:
    print(broken)
"""


def printed(bug: str, hash_seed: str, place: Path) -> list[str]:
    """What a test prints in another process and place, without the seconds."""
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("BUG", bug)],
        capture_output=True,
        text=True,
        check=True,
        cwd=place,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": hash_seed,
            "TMPDIR": str(place),
        },
    )
    return [line.partition("; ")[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("bug", ["'forgotten'", ""])
def test_run_is_the_same_in_another_process_and_place(bug: str, tmp_path: Path) -> None:
    one = printed(bug, "1", tmp_path / "a")
    other = printed(bug, "2", tmp_path / "a longer place")

    assert one == other
    assert any(line.startswith("Short: ") for line in one)
    assert any("Play it again: Short.replay(" in line for line in one) == bool(bug)


def broken(test: Any) -> str:
    """The report of a failing test."""
    with pytest.raises(AgentDefectError) as told:
        test()
    return str(told.value)


@pytest.mark.parametrize(
    ("kind", "moves"),
    [
        (test_machine.machine("twice"), ("effect done", "calls pay")),
        (WrongPromiseMachine, ("effect done", "calls pay", "retry")),
    ],
)
def test_replay_line_of_a_report_replays_the_run(
    kind: type[ConversationMachine], moves: tuple[str, ...]
) -> None:
    report = broken(lambda: play(kind, *moves))
    _, _, line = report.partition("Play it again: ")

    assert broken(lambda: eval(line, {kind.__name__: kind})) == report

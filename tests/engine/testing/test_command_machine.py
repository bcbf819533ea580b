"""An agent that is a command is property-tested: real processes, killed for real."""

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.engine.testing import raw_agent
from tests.engine.testing.playing import play

from turnlatch import SettingsError
from turnlatch.simulator import Answer, call
from turnlatch.testing import (
    AgentDefectError,
    AgentWorld,
    CommandAgent,
    ConversationMachine,
    DefectKind,
)


def machine(*bugs: str, **declared: Any) -> type[ConversationMachine]:
    """The machine for the light agent with some bugs."""

    class CommandMachine(ConversationMachine):
        calls: ClassVar[Sequence[Answer]] = (call("pay", amount=3),)
        faults: ClassVar[Sequence[str]] = ("cut 5 clean",)

        def agent(self, world: AgentWorld) -> CommandAgent:
            command = [sys.executable, raw_agent.__file__, "{folder}", *bugs]
            return CommandAgent(command, world)

    return type("CommandMachine", (CommandMachine,), declared)


@pytest.mark.parametrize(
    ("bug", "kind", "moves"),
    [
        ("cut", DefectKind.TRUNCATED_REPLY_ACCEPTED, ("cut 5 clean", "say something")),
        ("poison", DefectKind.POISON_RESENT, ("is refused", "say something")),
        ("twice", DefectKind.EFFECT_REPEATED, ("effect done", "calls pay")),
    ],
)
def test_moves_that_break_a_bug_leave_a_healthy_command_alone(
    bug: str, kind: DefectKind, moves: Sequence[str]
) -> None:
    play(machine(), *moves)
    with pytest.raises(AgentDefectError) as told:
        play(machine(bug), *moves)

    assert told.value.kinds == {kind}
    if bug == "twice":
        assert "(it died; it is started again)" in str(told.value)


def test_sweep_breaks_a_command_and_its_replay_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = machine("poison")

    with pytest.raises(AgentDefectError) as told:
        kind.TestCase("runTest").runTest()

    assert told.value.kinds == {DefectKind.POISON_RESENT}
    assert len(told.value.numbers) <= 2
    with pytest.raises(AgentDefectError) as again:
        kind.replay(*told.value.numbers)
    assert str(again.value) == str(told.value)
    assert "CommandMachine: " in capsys.readouterr().out


@pytest.mark.parametrize("point", ["request 1", "request 2", "reply 1", "effect begun"])
def test_healthy_command_survives_a_kill_at_each_point(point: str) -> None:
    play(machine(), point, "calls pay")


def test_failure_of_a_command_is_in_the_moves() -> None:
    with pytest.raises(AgentDefectError) as told:
        play(machine("dead"), "say something")
    words = "(it ended with status 1, its last line: 'the state cannot be read')"
    assert words in str(told.value)
    assert "\nstuck: " in str(told.value)


def commanded(*words: str) -> Callable[[Any, AgentWorld], CommandAgent]:
    """The method `agent` for a command."""
    return lambda _, world: CommandAgent(words, world)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"agent": commanded("no-such-command")}, "'no-such-command' does not start"),
        ({"agent": commanded("sh", "-c", "echo a word")}, "its last line: 'a word'"),
        ({"agent": commanded("true")}, "it sent no request to ANTHROPIC_BASE_URL"),
        ({"calls": (call("fly"),)}, "the agent has no tool 'fly'; call a tool that"),
    ],
)
def test_bad_use_of_a_command_gets_one_line(
    declared: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        machine(**declared).TestCase("runTest").runTest()
    assert told in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_machine_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "testing.md").read_text("utf-8")
    programs = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (program,) = (one for one in programs if "CommandMachine" in one)
    shutil.copy(raw_agent.__file__, tmp_path / "agent.py")
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(program, made)
    play(made["CommandMachine"], "cut 5 clean", "calls pay")

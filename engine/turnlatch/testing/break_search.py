"""Finding what breaks an agent that is a command, and playing it again."""

import itertools
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from turnlatch.simulator import read_answers
from turnlatch.testing.agents import AgentDefectError
from turnlatch.testing.break_script import (
    BreakScript,
    TroubledMessage,
    combinations,
    read_break_script,
    single_troubles,
    written,
)
from turnlatch.testing.breaking import BreakSetup, PlayedScript, play
from turnlatch.testing.command_agent import TIMEOUT_SECONDS, AgentCommand
from turnlatch.testing.declaration import demand_offered
from turnlatch.testing.defects import DefectKind
from turnlatch.testing.report import COLUMNS, failing_run

PLAIN: Final[BreakScript] = (TroubledMessage(),)
"""The script in which nothing goes wrong."""


def play_plain(setup: BreakSetup) -> PlayedScript:
    """Play the script in which nothing goes wrong, and see that the agent can be tested.

    Raises:
        SettingsError: The command does not start, never calls the base URL, or offers no
            tool of a name that the setup's calls have.
    """
    first = play(setup, PLAIN)
    demand_offered(first.requests, setup.calls, first.ended)
    return first


def troubles_of(
    first: PlayedScript, faults: Sequence[str]
) -> tuple[TroubledMessage, ...]:
    """Each thing that can go wrong with one message to an agent.

    Args:
        first: The run in which nothing went wrong.
        faults: The faults.
    """
    # The last request is that of the further message, which calls no tool.
    requests = len(first.requests) - 1
    return single_troubles(faults, requests, effects=first.effects)


def report(played: PlayedScript, replay: Sequence[str]) -> str:
    """The report of a run that broke the agent.

    Args:
        played: The run.
        replay: The words of the command line that plays it again.
    """
    return failing_run(
        played.words,
        played.verdict,
        played.requests,
        f"What happened:\n{played.picture}",
        pasteable(replay),
        stuck=played.stuck,
        hung=played.hung,
    )


def pasteable(words: Sequence[str]) -> str:
    """A command line in lines of a limited length, to be pasted into a shell."""
    lines = [""]
    for word in map(shlex.quote, words):
        if len(lines[-1]) + len(word) + 1 > COLUMNS - 20:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)


def replay_command(
    command: Sequence[str],
    script: str,
    *,
    calls: str = "[]",
    seed: int = 0,
    timeout_seconds: float = TIMEOUT_SECONDS,
    tolerated: Sequence[str] = (),
) -> None:
    """Play a script of `turnlatch break` on an agent that is a command.

    Args:
        command: The command and its arguments; `{folder}` and `{prompt}` in them stand
            for the folder of the agent's state and for the message.
        script: The script, as the report has it.
        calls: The answers to each message, as JSON; see
            `turnlatch.simulator.read_answers`.
        seed: Of everything that would be random.
        timeout_seconds: Longest time for one message.
        tolerated: Kinds of defects that do not count.

    Raises:
        AgentDefectError: The agent breaks its conversation; the text is the report.
        SettingsError: The command cannot be started, or the script cannot be read.
    """
    setup = BreakSetup(
        AgentCommand(tuple(command), timeout_seconds),
        read_answers(calls),
        seed,
        frozenset(map(DefectKind, tolerated)),
    )
    played = play(setup, read_break_script(script))
    if played.findings:
        words = ["turnlatch", "break", "--replay", script, "--", *command]
        raise AgentDefectError(report(played, words), played.verdict.kinds)


def regression_test(setup: BreakSetup, played: PlayedScript, calls: str) -> str:
    """The source of a pytest test that plays a run again."""
    arguments = [repr(list(setup.command.words)), repr(written(played.script))]
    if calls:
        arguments.append(f"calls={calls!r}")
    if setup.seed:
        arguments.append(f"seed={setup.seed}")
    if setup.command.timeout_seconds != TIMEOUT_SECONDS:
        arguments.append(f"timeout_seconds={setup.command.timeout_seconds!r}")
    if setup.tolerated:
        arguments.append(f"tolerated={sorted(map(str, setup.tolerated))!r}")
    found = ", ".join(sorted(played.findings))
    given = textwrap.indent(",\n".join(arguments), " " * 8)
    return (
        f'"""Written by `turnlatch break`, which found: {found}."""\n\n'
        "from turnlatch.testing import replay_command\n\n\n"
        "def test_conversation_survives() -> None:\n"
        f"    replay_command(\n{given},\n    )\n"
    )


def each_script(
    troubles: Sequence[TroubledMessage], seed: int
) -> Iterator[BreakScript]:
    """Each trouble alone, and then combinations by chance, each of them once."""
    tried: set[BreakScript] = {PLAIN}
    single = ((one,) for one in troubles)
    for script in itertools.chain(single, combinations(troubles, seed)):
        if script not in tried:
            tried.add(script)
            yield script

"""`turnlatch break`: run an agent against faults and kills until something breaks."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, final

import attrs
import click

from turnlatch.cli.inputs import read_file, seed_option
from turnlatch.cli.main import SettingRefusedError
from turnlatch.cli.terminal import clip, one_line
from turnlatch.errors import SettingsError
from turnlatch.simulator import parse_faults, read_answers
from turnlatch.testing.break_script import BreakScript, read_break_script, written
from turnlatch.testing.break_search import (
    PLAIN,
    each_script,
    play_plain,
    regression_test,
    report,
    troubles_of,
)
from turnlatch.testing.breaking import BreakSetup, PlayedScript, play, shortened
from turnlatch.testing.command_agent import TIMEOUT_SECONDS, AgentCommand
from turnlatch.testing.defects import DefectKind
from turnlatch.testing.moves import FAULTS
from turnlatch_states.fsm.errors import TurnlatchError

EXIT_BROKEN: Final = 1
"""Exit status if the agent was broken."""
_CALLS_BYTES_MAX: Final = 16 * 1024 * 1024
_SECONDS: Final = 30.0
_EXIT_TERMINATED: Final = 143


@click.command("break", context_settings={"allow_interspersed_args": False})
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    help="Begin no run after this time.  [default: 30, or no limit with --runs]",
)
@click.option("--runs", type=click.IntRange(1), help="Most runs.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=TIMEOUT_SECONDS,
    show_default=True,
    help="Most seconds for one message.",
)
@seed_option
@click.option(
    "--calls",
    metavar="JSON|FILE",
    default="",
    help='Answers to each message: \'[{"calls": [{"name": "pay", "input": {}}]}]\'.',
)
@click.option(
    "--fault",
    "faults",
    metavar="FAULT",
    multiple=True,
    help="A fault to try instead of the usual ones; may be repeated.",
)
@click.option(
    "--tolerate",
    type=click.Choice([str(kind) for kind in DefectKind]),
    metavar="DEFECT",
    multiple=True,
    help="A defect that does not count; may be repeated.",
)
@click.option("--replay", metavar="SCRIPT", help="Play this script, and no other.")
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a pytest test that plays what broke the agent.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def break_(
    seconds: float | None,
    runs: int | None,
    timeout: float,
    seed: int,
    calls: str,
    faults: tuple[str, ...],
    tolerate: tuple[str, ...],
    replay: str | None,
    save: Path | None,
    command: tuple[str, ...],
) -> None:
    """Break an agent: faults, refusals and kills until it fails.

    COMMAND runs once for each message. {prompt} in it stands for the message (else it is
    on standard input), {folder} for the folder of its state. It has to call
    ANTHROPIC_BASE_URL.

    \b
    Exit status: 0 nothing was found, 1 it broke, 2 it cannot be tried.
    Example: turnlatch break -- python agent.py {folder}
    """
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        text = _calls_text(calls)
        setup = BreakSetup(
            AgentCommand(_command(command), timeout),
            read_answers(text) if text else (),
            seed,
            frozenset(map(DefectKind, tolerate)),
        )
        for fault in faults:
            parse_faults(fault)
        if save is not None and save.exists():
            raise SettingsError("--save", f"{save} exists", "name a new file")
        if replay is not None:
            script = read_break_script(replay)
            broken = play(setup, script)
            if not broken.findings:
                click.echo(f"The agent survived: {written(script)}")
                return
        else:
            limit = _SECONDS if seconds is None and runs is None else seconds
            found = _search(setup, faults or FAULTS, _Budget(limit, runs))
            if found is None:
                return
            broken = found
        again = _again(calls, setup, broken.script)
        click.echo(report(broken, again))
        if save is not None:
            save.write_text(regression_test(setup, broken, text), "utf-8")
            click.echo(f"The test is in {save}.")
    except (TurnlatchError, OSError) as problem:
        raise SettingRefusedError(str(problem)) from problem
    finally:
        signal.signal(signal.SIGTERM, before)
    raise SystemExit(EXIT_BROKEN)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    """Leave as after Ctrl-C, so that no process of the agent stays."""
    raise SystemExit(_EXIT_TERMINATED)


def _command(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words:
        raise SettingsError(
            "command",
            "no command is given",
            "write it after two dashes: turnlatch break -- python agent.py {folder}",
        )
    return words


def _calls_text(calls: str) -> str:
    if not calls or calls.lstrip().startswith("["):
        return calls
    try:
        data = read_file(calls, _CALLS_BYTES_MAX)
        if data is None:
            most = _CALLS_BYTES_MAX // 2**20
            raise SettingsError(
                "--calls", f"{calls} is larger than {most} MiB", "cut it"
            )
        return data.decode()
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(
            "--calls",
            f"{calls} cannot be read: {problem}",
            "name a file with a JSON array of answers, or write the array itself",
        ) from problem


def _again(calls: str, setup: BreakSetup, script: BreakScript) -> list[str]:
    """The command line that plays a script again."""
    words = ["turnlatch", "break", "--replay", written(script)]
    words += ["--calls", calls] if calls else []
    words += ["--seed", str(setup.seed)] if setup.seed else []
    seconds = setup.command.timeout_seconds
    words += ["--timeout", f"{seconds:g}"] if seconds != TIMEOUT_SECONDS else []
    for one in sorted(map(str, setup.tolerated)):
        words += ["--tolerate", one]
    return [*words, "--", *setup.command.words]


@final
class _Budget:
    """How much may be tried."""

    def __init__(self, seconds: float | None, runs: int | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._runs = runs
        self.used = 0

    def left(self) -> bool:
        """True if a further run may begin."""
        in_time = self._end is None or time.monotonic() < self._end
        return in_time and (self._runs is None or self.used < self._runs)


def _search(
    setup: BreakSetup, faults: Sequence[str], budget: _Budget
) -> PlayedScript | None:
    """The shortest run that breaks the agent; None if nothing was found."""
    progress = _Progress()
    try:
        progress.show(1, PLAIN)
        played = play_plain(setup)
        budget.used = 1
        troubles = troubles_of(played, faults)
        scripts = each_script(troubles, setup.seed)
        while not played.findings and budget.left():
            budget.used += 1
            script = next(scripts)
            progress.show(budget.used, script)
            played = play(setup, script)
        if played.findings:
            found = ", ".join(sorted(played.findings))
            progress.tell(f"broken: {found}; looking for a shorter script")
            return shortened(setup, played)
    finally:
        progress.end()
    alone = min(budget.used - 1, len(troubles))
    click.echo(
        f"Nothing was found in {budget.used} runs: the plain one, {alone} of"
        f" {len(troubles)} troubles alone, {budget.used - 1 - alone} combinations."
    )
    if not played.effects:
        click.echo("The effects of its tools were not judged: they keep no ledger.")
    return None


@final
@attrs.frozen
class _Progress:
    """What is being tried, on standard error: one line on a terminal, else many."""

    live: bool = attrs.field(factory=lambda: sys.stderr.isatty())

    def show(self, number: int, script: BreakScript) -> None:
        """A run begins."""
        line = f"run {number}: {one_line(written(script))}"
        if self.live:
            # Directly: the guard of the stream would show the control characters.
            sys.stderr.flush()
            os.write(
                sys.stderr.fileno(), b"\r\x1b[K" + clip(one_line(line), 79).encode()
            )
        else:
            click.echo(line, err=True)

    def tell(self, line: str) -> None:
        """Something is to stay."""
        self.end()
        click.echo(line, err=True)

    def end(self) -> None:
        """Nothing is being tried any more."""
        if self.live:
            os.write(sys.stderr.fileno(), b"\r\x1b[K")

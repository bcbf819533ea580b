"""`turnlatch simulate`: a local Messages API for any client, without a key."""

import asyncio
import contextlib
import shlex
import signal
import time
from pathlib import Path
from typing import final

import attrs
import click

from turnlatch.cli.inputs import read_file, seed_option
from turnlatch.cli.main import SettingRefusedError
from turnlatch.cli.terminal import clip, one_line
from turnlatch.simulator import (
    ApiLimits,
    Responder,
    Seeded,
    Simulator,
    read_scenario,
    serve,
)
from turnlatch.testing.effects import EFFECTS_FILE, Done, Effects
from turnlatch.testing.verdict import judge
from turnlatch_command import EXIT_INTERRUPTED
from turnlatch_states.fsm.errors import TurnlatchError

_TOOL_USE = 0.7
SCENARIO_BYTES_MAX = 16 * 1024 * 1024
"""Most bytes of a scenario."""
EXIT_TERMINATED = 143
"""Exit status after SIGTERM, which only `--verdict` turns into a regular end."""
LINE_MAX = 500
"""Columns of one request in the log: a client chooses its path and its model."""


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    show_default="any free one",
    help="Port to listen on.",
)
@seed_option
@click.option(
    "--faults",
    metavar="SCRIPT",
    default="",
    help='Faults to inject, as in "429 retry-after=2 @2, cut 3 reset @4".',
)
@click.option(
    "--scenario",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file with an array of answers; later answers are made up.",
)
@click.option(
    "--tools",
    "calls_tools",
    is_flag=True,
    help="Let the made-up model call the client's tools, with fixed words.",
)
@click.option(
    "--strict-betas",
    is_flag=True,
    help="Refuse names of betas that are not known, not only what cannot be one.",
)
@click.option(
    "--model-window",
    type=click.IntRange(1),
    metavar="TOKENS",
    help="Context window of every model.",
)
@click.option(
    "--verdict",
    is_flag=True,
    help="Judge the client when stopped (Ctrl-C, SIGTERM), on stdout.",
)
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --verdict: the file of the client's effects, to judge them, too.",
)
def simulate(
    port: int,
    seed: int,
    faults: str,
    scenario: Path | None,
    model_window: int | None,
    ledger: Path | None,
    *,
    calls_tools: bool,
    strict_betas: bool,
    verdict: bool,
) -> None:
    """Run a strict local Messages API; any client, any key.

    Prints the variable to set on stdout, and one line a request on stderr. Answers are
    made up, and are text alone: clients run what a model calls, so tools are called only
    with --tools, or as a scenario says.
    """
    if ledger is not None and not verdict:
        raise SettingRefusedError("--ledger is for --verdict; give both")
    try:
        model: Responder = Seeded(seed, tool_use=_TOOL_USE if calls_tools else 0.0)
        if scenario is not None:
            model = read_scenario(_text_of(scenario), then=model)
        simulator = Simulator(
            model,
            seed=seed,
            faults=faults,
            strict_betas=strict_betas,
            limits=ApiLimits(context_window=model_window),
            clock=time.time,
            log_max=None if verdict else 1,
            observe=lambda exchange: click.echo(
                clip(one_line(exchange.line[:LINE_MAX]), LINE_MAX), err=True
            ),
        )
    except (TurnlatchError, UnicodeDecodeError) as problem:
        raise SettingRefusedError(str(problem)) from problem
    earlier = len(_effects(ledger))
    told = _Told(_promise(scenario, calls_tools=calls_tools), ledger)
    stopped = EXIT_TERMINATED
    try:
        asyncio.run(_serve(simulator, port, told, until_terminated=verdict))
    except OSError as problem:
        raise click.ClickException(f"port {port}: {problem.strerror}") from problem
    except KeyboardInterrupt:
        stopped = EXIT_INTERRUPTED
    click.echo("stopped", err=True)
    if verdict:
        done = None if ledger is None else _effects(ledger)[earlier:]
        click.echo(str(judge(simulator, done)))
    raise SystemExit(stopped)


def _effects(ledger: Path | None) -> tuple[Done, ...]:
    """The entries of a ledger's file, which need not exist yet."""
    if ledger is None:
        return ()
    try:
        return Effects(ledger).ledger
    except (OSError, ValueError, TypeError) as problem:
        raise SettingRefusedError(
            f"--ledger: {ledger} is not a ledger of effects; name a new file"
        ) from problem


def _text_of(scenario: Path) -> str:
    data = read_file(str(scenario), SCENARIO_BYTES_MAX)
    if data is None:
        most = SCENARIO_BYTES_MAX // 2**20
        raise SettingRefusedError(f"{scenario} is larger than {most} MiB; split it")
    return data.decode()


def _promise(scenario: Path | None, *, calls_tools: bool) -> str:
    """A warning about tool calls, because the client runs them, in words."""
    told = "answers are made up, and are text alone: no tool is called without --tools"
    if calls_tools:
        told = (
            "answers are made up, and call the client's tools: your client will run"
            " them, with fixed words that mean nothing"
        )
    if scenario is not None:
        return f"answers come from {scenario}, tool calls included; afterwards {told}"
    return told


@final
@attrs.frozen
class _Told:
    """The first lines of the output."""

    promise: str
    ledger: Path | None

    def show(self, base_url: str) -> None:
        """Print them: what a shell evaluates on stdout, the rest on stderr."""
        click.echo(f"export ANTHROPIC_BASE_URL={base_url}")
        if self.ledger is not None:
            file = shlex.quote(str(self.ledger.absolute()))
            click.echo(f"export {EFFECTS_FILE}={file}")
        click.echo("any key is accepted; stop with Ctrl-C", err=True)
        click.echo(one_line(self.promise), err=True)


async def _serve(
    simulator: Simulator, port: int, told: _Told, *, until_terminated: bool
) -> None:
    """Serve until Ctrl-C, or until SIGTERM if that is a regular end."""
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()
    if until_terminated:
        # Windows has no SIGTERM that can be handled.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(signal.SIGTERM, terminated.set)
    async with serve(simulator, port=port) as server:
        told.show(server.base_url)
        await terminated.wait()

"""`turnlatch simulate`: a local Messages API for any client, without a key."""

import asyncio
import time
from pathlib import Path

import click

from turnlatch.cli.inputs import read_file
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
from turnlatch_command import EXIT_INTERRUPTED
from turnlatch_states.fsm.errors import TurnlatchError

_TOOL_USE = 0.7
SCENARIO_BYTES_MAX = 16 * 1024 * 1024
"""Most bytes of a scenario."""
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
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of every answer."
)
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
def simulate(
    port: int,
    seed: int,
    faults: str,
    scenario: Path | None,
    model_window: int | None,
    *,
    calls_tools: bool,
    strict_betas: bool,
) -> None:
    """Run a strict local Messages API; any client, any key.

    Prints the variable to set on stdout, and one line a request on stderr. Answers are
    made up, and are text alone: clients run what a model calls, so tools are called only
    with --tools, or as a scenario says.
    """
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
            log_max=1,
            observe=lambda exchange: click.echo(
                clip(one_line(exchange.line[:LINE_MAX]), LINE_MAX), err=True
            ),
        )
    except (TurnlatchError, UnicodeDecodeError) as problem:
        raise SettingRefusedError(str(problem)) from problem
    try:
        asyncio.run(
            _serve(simulator, port, _promise(scenario, calls_tools=calls_tools))
        )
    except OSError as problem:
        raise click.ClickException(f"port {port}: {problem.strerror}") from problem
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from None


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


async def _serve(simulator: Simulator, port: int, promise: str) -> None:
    async with serve(simulator, port=port) as server:
        click.echo(f"export ANTHROPIC_BASE_URL={server.base_url}")
        click.echo("any key is accepted; stop with Ctrl-C", err=True)
        click.echo(one_line(promise), err=True)
        await asyncio.get_running_loop().create_future()

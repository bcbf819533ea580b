"""`detent simulate`: a local Messages API for any client, without a key."""

import asyncio
import time
from pathlib import Path

import click

from detent.cli.main import SettingRefusedError
from detent.simulator import (
    Limits,
    Responder,
    Seeded,
    Simulator,
    read_scenario,
    serve,
)
from detent_states.errors import DetentError

_INTERRUPTED = 130


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
    help='What goes wrong, as in "429 retry-after=2 @2, cut 3 reset @4".',
)
@click.option(
    "--scenario",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file with an array of answers; after the last one it is made up.",
)
@click.option(
    "--model-window",
    type=click.IntRange(1),
    metavar="TOKENS",
    help="Context window of every model, instead of its own.",
)
def simulate(
    port: int, seed: int, faults: str, scenario: Path | None, model_window: int | None
) -> None:
    """Run a strict local Messages API; any client, any key.

    Prints the variable to set on stdout, and one line a request on stderr.
    """
    try:
        model: Responder = Seeded(seed)
        if scenario is not None:
            model = read_scenario(scenario.read_text(encoding="utf-8"), then=model)
        simulator = Simulator(
            model,
            seed=seed,
            faults=faults,
            limits=Limits(context_window=model_window),
            clock=time.time,
            log_max=1,
            observe=lambda exchange: click.echo(exchange.line, err=True),
        )
    except (DetentError, UnicodeDecodeError) as problem:
        raise SettingRefusedError(str(problem)) from problem
    try:
        asyncio.run(_serve(simulator, port))
    except OSError as problem:
        raise click.ClickException(f"port {port}: {problem.strerror}") from problem
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        raise SystemExit(_INTERRUPTED) from None


async def _serve(simulator: Simulator, port: int) -> None:
    async with serve(simulator, port=port) as server:
        click.echo(f"export ANTHROPIC_BASE_URL={server.base_url}")
        click.echo("any key is accepted; stop with Ctrl-C", err=True)
        await asyncio.get_running_loop().create_future()

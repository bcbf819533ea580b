"""The command: `python -m benchmarks [--quick] [--only NAME] [--json FILE]`."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import click

from benchmarks import (
    crowd,
    kit,
    linear,
    memory,
    recovery,
    resume,
    spans,
    steady,
    storage,
    turns,
)
from benchmarks.plan import FULL, QUICK, SMOKE, Plan
from benchmarks.report import Report
from benchmarks.server import InstantServer

Measure = Callable[[Plan, InstantServer, Path], Awaitable[Report]]


async def _resume(plan: Plan, _: InstantServer, folder: Path) -> Report:
    return resume.measure(plan, folder)


async def _memory(plan: Plan, _: InstantServer, folder: Path) -> Report:
    return memory.measure(plan, folder)


async def _recovery(_: Plan, __: InstantServer, ___: Path) -> Report:
    return await recovery.measure()


async def _steady(plan: Plan, _: InstantServer, folder: Path) -> Report:
    return await steady.measure(plan.steady_turns, folder)


async def _linear(plan: Plan, _: InstantServer, __: Path) -> Report:
    return linear.measure(plan)


async def _kit(plan: Plan, _: InstantServer, folder: Path) -> Report:
    # In a thread: the machines run loops, as a test does.
    return await asyncio.to_thread(kit.measure, plan, folder)


MEASURES: dict[str, Measure] = {
    "turns": turns.measure,
    "crowd": crowd.measure,
    "storage": storage.measure,
    "resume": _resume,
    "memory": _memory,
    "spans": spans.measure,
    "recovery": _recovery,
    "steady": _steady,
    "linear": _linear,
    "kit": _kit,
}
"""Every measure by the name that `--only` takes."""


async def _run(plan: Plan, names: Sequence[str]) -> Report:
    report = Report()
    # A folder on the disk that conversations would be kept on: TMPDIR chooses it.
    with InstantServer() as server, tempfile.TemporaryDirectory() as folder:
        for name in names:
            click.echo(f"{name} …", err=True)
            place = Path(folder) / name
            place.mkdir()
            report += await MEASURES[name](plan, server, place)
    return report


@click.command()
@click.option("--quick", is_flag=True, help="Small sizes and few repetitions.")
@click.option("--smoke", is_flag=True, help="Every arm once; the numbers mean nothing.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(MEASURES)),
    help="Measure this alone; may be given again.",
)
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write rows, samples and spans to this file too.",
)
def main(quick: bool, smoke: bool, only: tuple[str, ...], file: Path | None) -> None:
    """Measure a durable turn against the bare SDK, on this machine, now."""
    plan = SMOKE if smoke else QUICK if quick else FULL
    report = asyncio.run(_run(plan, only or tuple(MEASURES)))
    click.echo(report.as_text())
    if file is not None:
        file.write_text(json.dumps(report.as_json(), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m benchmarks"))

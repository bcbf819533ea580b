"""Run the property tests with fresh seeds: `python -m tests.search --seconds 600`.

`make test` draws the same examples in every run. This draws others: round after round of
all property tests, each round from the next seed, until the time is over or a test fails.
A failure ends the search with the command that runs that test from that seed again; the
exit status is 1 then, and 0 otherwise.
"""

import os
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

SEARCH: Final = "PROPERTY_SEARCH"
"""The environment variable that asks for examples from the seed of the run."""

COMMAND: Final = "python -m tests.search"
ROOT: Final = Path(__file__).resolve().parents[1]

_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


def one_round(seed: int, seconds: float, arguments: Sequence[str]) -> str | None:
    """Run the property tests from one seed; what failed, as pytest prints it.

    Args:
        seed: Where the examples are drawn from.
        seconds: The round is cut off after this time; what it had not failed by then
            counts as passed.
        arguments: For pytest: which tests, where not all.
    """
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-x", "--no-header"),
        *("-m", "hypothesis", f"--hypothesis-seed={seed}", *arguments),
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            cwd=ROOT,
            env={**os.environ, SEARCH: "1"},
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode == 0 else done.stdout + done.stderr


def replay_line(seed: int, told: str, arguments: Sequence[str]) -> str:
    """The command that runs what failed once more."""
    names = _FAILED.findall(told) or list(arguments)
    return shlex.join([*COMMAND.split(), "--seed", str(seed), "--rounds", "1", *names])


@click.command()
@click.option("--seconds", type=float, default=600.0, help="How long to search.")
@click.option("--seed", type=int, help="The first round's seed; drawn if not given.")
@click.option("--rounds", type=int, help="At most so many rounds.")
@click.argument("arguments", nargs=-1)
def main(
    seconds: float, seed: int | None, rounds: int | None, arguments: tuple[str, ...]
) -> None:
    """Search the property tests, or those that ARGUMENTS name, with fresh seeds."""
    first = random.SystemRandom().randrange(2**31) if seed is None else seed
    end = time.monotonic() + seconds
    done = 0
    while time.monotonic() < end and (rounds is None or done < rounds):
        told = one_round(first + done, end - time.monotonic(), arguments)
        if told is not None:
            click.echo(told)
            click.echo(f"Again: {replay_line(first + done, told, arguments)}")
            sys.exit(1)
        done += 1
        click.echo(f"seed {first + done - 1}: nothing failed")


if __name__ == "__main__":
    main()

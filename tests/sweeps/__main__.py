"""Run every sweep in full: `python -m tests.sweeps`, from the root of the checkout.

One line a sweep with what it counted, then a total. The exit status is 0 if all of them
passed and none was skipped; else 1. Arguments are passed on to pytest.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import final

import attrs
import click
import pytest

HERE = Path(__file__).parent


@final
@attrs.define(eq=False)
class Lines:
    """What the sweeps counted; pytest calls it as a plugin.

    Attributes:
        sweeps: How many printed a line.
        points: At how many points something was broken off, failed, cut or spoiled.
        failed: How many tests did not pass, skipped ones included.
    """

    sweeps: int = 0
    points: int = 0
    failed: int = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print the lines of a test that ended, and count what failed."""
        if not report.passed:
            self.failed += 1
        if report.when != "teardown":
            return
        found = [tally for name, tally in report.user_properties if name == "sweep"]
        for tally in found:
            counts: dict[str, int] = getattr(tally, "counts", {})
            self.points += sum(
                counts.get(one, 0) for one in ("points", "images", "damaged")
            )
            self.sweeps += 1
            click.echo(f"\n{tally}", nl=False)


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for, print a line a sweep, and return the exit status."""
    os.environ["SWEEP_FULL"] = "1"
    lines, since = Lines(), time.monotonic()
    asked = list(arguments) or [str(HERE)]
    outcome = pytest.main(["-q", "--no-header", *asked], plugins=[lines])
    seconds = time.monotonic() - since
    click.echo(
        f"total: {lines.sweeps} sweeps, {lines.points} points, {lines.failed} failed,"
        f" {seconds:.0f} s"
    )
    return 0 if outcome == pytest.ExitCode.OK and not lines.failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

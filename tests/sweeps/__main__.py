"""Run every sweep in full: `python -m tests.sweeps`, from the root of the checkout.

One line a sweep with what it counted, then a total. The exit status is 0 if all of them
passed and none was skipped; else 1. Arguments are passed on to pytest.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import attrs
import click
import pytest
from tests.part import VARIABLE

HERE = Path(__file__).parent


@final
@attrs.define(eq=False)
class Lines:
    """What the sweeps counted; pytest calls it as a plugin.

    Attributes:
        sweeps: What each of them counted.
        failed: How many tests did not pass, skipped ones included.
    """

    sweeps: list[Any] = attrs.field(factory=list[Any])
    failed: int = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test counted that has ended, and count those that failed."""
        self.failed += not report.passed
        if report.when == "teardown":
            # To import it with this module would be before pytest is ready for it.
            from tests.sweeps.sweep import Tally

            found: list[Any] = [
                one for name, one in report.user_properties if name == "sweep"
            ]
            self.sweeps += [Tally(name, counts) for name, counts in found]

    @property
    def points(self) -> int:
        """At how many points something was broken off, failed, cut or spoiled."""
        kinds = ("points", "images", "damaged")
        return sum(one.counts.get(kind, 0) for one in self.sweeps for kind in kinds)


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for, print the lines, and return the exit status."""
    os.environ[VARIABLE] = "1"
    lines, since = Lines(), time.monotonic()
    asked = list(arguments)
    if not any(Path(one.split("::")[0]).exists() for one in asked):
        asked.append(str(HERE))
    outcome = pytest.main(["-q", "--no-header", *asked], plugins=[lines])
    seconds = time.monotonic() - since
    for one in lines.sweeps:
        click.echo(str(one))
    click.echo(
        f"total: {len(lines.sweeps)} sweeps, {lines.points} points,"
        f" {lines.failed} failed, {seconds:.0f} s"
    )
    return 0 if outcome == pytest.ExitCode.OK and not lines.failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

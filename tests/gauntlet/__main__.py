"""Run the gauntlet: `python -m tests.gauntlet`, from the root of the checkout.

One line a class, then a total. The exit status is 0 if every class of the table has a
file, every file has scenarios, and all of them passed; else 1. Arguments are passed on to
pytest (`-k`, `-x`, names of files); a class that was not asked for is then not missed.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import final

import attrs
import click
import pytest
from tests.gauntlet.classes import CLASSES, HERE, LAWS, FailureClass, Group


@final
@attrs.define(eq=False)
class Tally:
    """What became of the scenarios, by file; pytest calls it as a plugin.

    Attributes:
        passed: How many scenarios of a file passed.
        failed: How many did not, for whatever reason, skipped ones included.
    """

    passed: Counter[str] = attrs.field(factory=Counter[str])
    failed: Counter[str] = attrs.field(factory=Counter[str])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a scenario: a call that passed, or any part of one that did not."""
        file = Path(report.nodeid.split("::")[0]).name
        if not report.passed:
            self.failed[file] += 1
        elif report.when == "call":
            self.passed[file] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that cannot even be read."""
        if report.failed:
            self.failed[Path(report.nodeid.split("::")[0]).name] += 1


def word(one: FailureClass, tally: Tally) -> str:
    """How a class did: `ok`, `FAILED`, or `MISSING` where nothing ran."""
    if tally.failed[one.file]:
        return "FAILED"
    return "ok" if tally.passed[one.file] else "MISSING"


def table(classes: Sequence[FailureClass], tally: Tally) -> list[str]:
    """The lines that are printed: one a class, one a promise, and the total."""
    lines: list[str] = []
    for one in classes:
        count = tally.passed[one.file] + tally.failed[one.file]
        lines.append(
            f"{one.rank:>2}  {one.name:<36}  {word(one, tally):<7}  {count:>3}"
            f"  {one.group.value:<22}  law {one.law}: {LAWS[one.law]}"
        )
    for group in Group:
        mine = [one for one in classes if one.group is group]
        good = sum(word(one, tally) == "ok" for one in mine)
        lines.append(f"{group.value}: {good} of {len(mine)} classes")
    good = sum(word(one, tally) == "ok" for one in classes)
    count = sum(tally.passed[one.file] + tally.failed[one.file] for one in classes)
    lines.append(f"total: {good} of {len(classes)} classes, {count} scenarios")
    return lines


def status(classes: Sequence[FailureClass], tally: Tally, outcome: int) -> int:
    """The exit status: 0 if pytest is content and every class did well."""
    well = all(word(one, tally) == "ok" for one in classes)
    return 0 if well and outcome == pytest.ExitCode.OK else 1


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for, print the table, and return the exit status."""
    tally = Tally()
    asked = list(arguments) or [str(HERE)]
    outcome = int(pytest.main(["-q", "--no-header", *asked], plugins=[tally]))
    classes = CLASSES
    if arguments:
        ran = tally.passed.keys() | tally.failed.keys()
        classes = tuple(one for one in CLASSES if one.file in ran)
    for line in table(classes, tally):
        click.echo(line)
    return status(classes, tally, outcome)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

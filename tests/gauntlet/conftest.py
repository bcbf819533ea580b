"""The fixture that every test of the gauntlet takes: its world, and the questions at its end."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.harness.scenario import Scenario
from tests.part import WHOLE

_WELL: Final = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note whether a scenario came to its end, for the fixture to see."""
    report = yield
    if report.when == "call":
        item.stash[_WELL] = report.passed
    return report


LOOPS: Final = ("asyncio", "trio") if WHOLE else ("asyncio",)
"""One event loop in an ordinary run, both in `make gauntlet`: the loop decides nothing
here but how tasks are scheduled, and the tests of the engine run on both."""


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of a scenario."""
    backend: str = request.param
    return backend


@pytest.fixture
def scenario(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scenario]:
    """A world for one test, which must call `finish`."""
    world = Scenario(tmp_path)
    yield world
    if request.node.stash.get(_WELL, True):
        assert world.finished, "the scenario never called `scenario.finish`"

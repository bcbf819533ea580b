"""What the sweeps share: the shim, the warm processes, and a folder in memory."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest
from tests.part import WHOLE
from tests.sweeps import shim
from tests.sweeps.fork_server import ForkServer
from tests.sweeps.sweep import Sweep, Tally

_MEMORY: Final = Path("/dev/shm")


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether every point is asked for."""
    return WHOLE


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, compiled."""
    reason = shim.unavailable()
    if reason is not None:
        pytest.skip(reason)
    return shim.built(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def fork_server(library: Path) -> Iterator[ForkServer]:
    """Makes processes that work on a journal."""
    made = ForkServer(library)
    yield made
    made.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is fast to sync: the checkers are what most of the time goes to."""
    if not os.access(_MEMORY, os.W_OK):
        yield tmp_path_factory.mktemp("sweep")
        return
    made = Path(mkdtemp(prefix="sweep-", dir=_MEMORY))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def sweep(folder: Path, fork_server: ForkServer, full: bool) -> Sweep:
    """A place for processes."""
    return Sweep(folder, fork_server, full=full)


@pytest.fixture
def tally(
    record_property: Callable[[str, object], None],
) -> Iterator[Callable[[str], Tally]]:
    """Makes tallies; each becomes a line of the full run."""
    tallies: list[Tally] = []

    def make(name: str) -> Tally:
        tallies.append(Tally(name))
        return tallies[-1]

    yield make
    for one in tallies:
        # Plain values: a report crosses from one process to another.
        record_property("sweep", [one.name, one.counts])

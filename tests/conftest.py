"""What every test stands on."""

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, settings
from tests.part import HOWS, LOOPS, WHOLE, Run, examples, spare
from tests.search import SEARCH

if TYPE_CHECKING:
    from tests.harness.world import World

# A shell that runs the tests in the background has Ctrl-C ignored, `nohup` a terminal that
# closes, and the children to which a test sends these would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Most tests wait for nothing but for a disk to sync a store that is thrown away. In memory
# the same calls are made, and return at once. A container may have next to nothing there.
_MEMORY: Final = Path("/dev/shm")
_ENOUGH: Final = 4 << 30
if (
    "TMPDIR" not in os.environ
    and os.access(_MEMORY, os.W_OK)
    and shutil.disk_usage(_MEMORY).free > _ENOUGH
):
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)

# An ordinary run draws the same examples everywhere and every time: a red build has a
# reason that a contributor sees as CI does. Fresh examples are `python -m tests.search`.
_ALIKE = settings(
    derandomize=True,
    max_examples=examples(100),
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("alike", _ALIKE)
settings.register_profile("search", _ALIKE, derandomize=False)
settings.load_profile("search" if os.environ.get(SEARCH) else "alike")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite` records what the transcripts print, instead of comparing it."""
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write what the commands of tests/transcripts print into their files",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Let the points of a test share what goes two ways; `make sweep` takes all in both."""
    if WHOLE:
        return
    found = {item: run for item in items if (run := _run(item)) is not None}
    spared = spare(list(found.values()))
    left = [item for item, run in found.items() if run in spared]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if found.get(item) not in spared]


def _run(item: pytest.Item) -> Run | None:
    """Which test that is, at which point, if it runs in one of two ways."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return None
    given = item.callspec.params
    way = given.get("how")
    if way not in HOWS:
        way = given.get("anyio_backend", given.get("backend"))
    if way not in (*HOWS, *LOOPS):
        return None
    test, _, name = item.nodeid.partition("[")
    return Run(test, tuple(one for one in name[:-1].split("-") if one != way), way)


# What is imported and collected stays: it is not searched for garbage a thousand times.
gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Watch conversations, and search for garbage, from here on."""
    if "turnlatch.runtime.record" in sys.modules or any(
        "world" in item.fixturenames
        for item in session.items
        if isinstance(item, pytest.Function)
    ):
        from tests.harness import journals

        journals.watch()
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One process more than there are cores: tests wait for processes of their own."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) + 1
    return (os.cpu_count() or 1) + 1


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops: they show different bugs."""
    backend: str = request.param
    return backend


@pytest.fixture
def world(tmp_path: Path) -> "Iterator[World]":
    """A world for conversations; when the test ends, every request was legal."""
    from tests.harness.world import World  # the SDK: a second that others need not wait

    made = World(tmp_path)
    yield made
    assert made.simulator.unscripted_rejections() == ()


@pytest.fixture(autouse=True)
def _journals_conform(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every journal that a conversation of the test wrote conforms to the tables."""
    if "tmp_path" in request.fixturenames:
        request.getfixturevalue("tmp_path")  # its files outlive this
    journals = sys.modules.get("tests.harness.journals")
    if journals is None:
        yield
        return
    journals.forget()
    yield
    if request.node.get_closest_marker(journals.MARK) is None:
        found = list(journals.contradictions())
        assert not found, "\n".join(found)
    journals.forget()


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test talks to the API, whatever the shell has exported."""
    for name in [n for n in os.environ if n.startswith("ANTHROPIC_")]:
        monkeypatch.delenv(name)


def _sendable(value: Any) -> Any:
    """The same, with what is no Unicode spelt out: `\\udc00` where half a pair stood."""
    within: Any = value
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {_sendable(key): _sendable(one) for key, one in within.items()}
        case list() | tuple():
            return type(within)(_sendable(one) for one in within)
        case _:
            return value


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Tests log odd text on purpose, and it crosses to another process in UTF-8."""
    return _sendable((yield))

"""What every test stands on."""

import gc
import os
import signal
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tests.search import SEARCH

# A shell that runs the tests in the background has Ctrl-C ignored, `nohup` a terminal that
# closes, and the children to which a test sends these would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# An ordinary run draws the same examples everywhere and every time: a red build has a
# reason that a contributor sees as CI does. Fresh examples are `python -m tests.search`.
_ALIKE = settings(
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("alike", _ALIKE)
settings.register_profile("search", _ALIKE, derandomize=False)
settings.load_profile("search" if os.environ.get(SEARCH) else "alike")


def pytest_collection_finish() -> None:
    """What has been imported stays: it is not searched for garbage a thousand times."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops: they show different bugs."""
    backend: str = request.param
    return backend


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

"""What every test stands on."""

import os

import pytest
from hypothesis import HealthCheck, settings
from tests.search import SEARCH

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

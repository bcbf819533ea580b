"""The real SDK connected to a simulator, in the process and over loopback."""

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
import pytest

from turnlatch.simulator import (
    Answer,
    Scripted,
    Simulator,
    serve,
)
from turnlatch.simulator.transport import (
    SimulatorTransport,
)

ASK: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 400,
    "messages": [{"role": "user", "content": "hello"}],
}
TOOLS: list[Any] = [
    {
        "name": "read_file",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
    }
]
SHELLS = ("transport", "loopback")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK reads settings and proxies from the environment."""
    for name in ("API_KEY", "AUTH_TOKEN", "BASE_URL", "CUSTOM_HEADERS", "PROFILE"):
        monkeypatch.delenv(f"ANTHROPIC_{name}", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


async def no_sleep(seconds: float) -> None:
    """Time that passes at once; a wait without end would be a bug of the test."""
    assert seconds < math.inf


@asynccontextmanager
async def connected(
    shell: str, simulator: Simulator, **options: Any
) -> AsyncGenerator[Any]:
    """An SDK client of a simulator, over one of the shells.

    It is not typed: what the SDK's overloads say of a call is not under test here.
    """
    settings: dict[str, Any] = {"api_key": "k", "max_retries": 0, **options}
    if shell == "transport":
        transport = SimulatorTransport(simulator, sleep=no_sleep)
        http = httpx2.AsyncClient(transport=transport)
        async with anthropic.AsyncAnthropic(http_client=http, **settings) as client:
            yield client
    else:
        async with (
            serve(simulator, sleep=no_sleep) as server,
            anthropic.AsyncAnthropic(base_url=server.base_url, **settings) as client,
        ):
            yield client


def scripted(*answers: Answer | str, faults: str = "", **options: Any) -> Simulator:
    return Simulator(Scripted(answers), faults=faults, **options)


async def streamed(client: Any, **fields: Any) -> list[Any]:
    """The events of a reply, and the exception that ended it, if one did."""
    events: list[Any] = []
    try:
        stream = await client.messages.create(**{**ASK, **fields}, stream=True)
        async for event in stream:
            events += (event,)
    except (anthropic.APIError, httpx2.HTTPError, ValueError) as problem:
        events.append(problem)
    return events

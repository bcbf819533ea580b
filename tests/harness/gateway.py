"""A gateway in front of the simulator: it drops a field, and counts in its own way."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import anthropic
import attrs
from tests.harness.world import World

from turnlatch.simulator import ApiRequest, ApiResponse, Chunk, Simulator

Counts = Callable[[int], int | None]
"""What a gateway says was read for its nth answer; None to leave the count out."""

_USAGE = re.compile(rb'"input_tokens":\s*\d+')


class Gateway:
    """Stands where a `Simulator` does, and passes on what it is given, almost.

    Attributes:
        passed: The bodies that were passed on.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        dropped: str = "thread",
        counts: Counts | None = None,
    ) -> None:
        self.simulator = simulator
        self.passed: list[dict[str, Any]] = []
        self._dropped = dropped
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.simulator, name)

    def handle(self, request: ApiRequest) -> ApiResponse:
        """Pass a request on without the field, and its answer with other counts."""
        body = json.loads(request.body)
        body.pop(self._dropped, None)
        self.passed.append(body)
        raw = json.dumps(body).encode()
        response = self.simulator.handle(attrs.evolve(request, body=raw))
        if self._counts is None:
            return response
        counted = self._counts(len(self.passed))
        said = b'"read":1' if counted is None else b'"input_tokens":%d' % counted
        return _altered(response, lambda data: _USAGE.sub(said, data))


def _altered(response: ApiResponse, change: Callable[[bytes], bytes]) -> ApiResponse:
    chunks = tuple(Chunk(c.delay_seconds, change(c.data)) for c in response.chunks)
    size = str(sum(len(chunk.data) for chunk in chunks))
    headers = tuple(
        (name, size if name == "content-length" else value)
        for name, value in response.headers
    )
    return attrs.evolve(response, chunks=chunks, headers=headers)


def behind(world: World, gateway: Gateway) -> anthropic.AsyncAnthropic:
    """The real SDK, with a gateway between it and the simulator."""
    return world.client(world.transport(gateway))


COUNTS: Mapping[str, Counts | None] = {
    "true": None,
    "the same each time": lambda _: 2_095,
    "zero": lambda _: 0,
    "missing": lambda _: None,
    "one more each time": lambda n: 2_095 + n,
    "less and less": lambda n: 9_000 - n,
}
"""How gateways count: as the backend does, or by invention."""

"""The simulator as the model of a chat: paced for people, and spoiled on command."""

import time
from collections.abc import Callable
from random import Random
from typing import Final, final

import anthropic
import attrs
import httpx2

from turnlatch.ports import Delta
from turnlatch.sdk import SdkModel
from turnlatch.simulator import Simulator
from turnlatch.simulator.answers import Answer
from turnlatch.simulator.seeded import Seeded
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch.simulator.wire import Json
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.build import Request

DELAY_SECONDS: Final = 0.15
PACE_SECONDS: Final = 0.02


@final
class Paced:
    """The seeded model at a speed that can be watched.

    Args:
        seed: Its seed.
        tool_use: How likely it calls a tool; see `Seeded`.
    """

    def __init__(self, seed: int, tool_use: float = 0.0) -> None:
        self._model = Seeded(seed, tool_use=tool_use)

    def answer(self, request: Json, rng: Random, /) -> Answer:
        """Answer as the seeded model does, but slowly."""
        return attrs.evolve(
            self._model.answer(request, rng),
            delay_seconds=DELAY_SECONDS,
            pace_seconds=PACE_SECONDS,
        )


@final
class SimulatedModel:
    """A model port whose server is a simulator that can be replaced.

    Args:
        seed: Of everything the simulator makes up.
        faults: Its fault script, as text.
        idle_seconds: Longest silence within an attempt.
        tool_use: How likely the made-up model calls a tool; see `Seeded`.

    Attributes:
        live: False, which tells a conversation that the answers are made up.

    Raises:
        FaultScriptError: The script cannot be read.
    """

    live: Final = False

    def __init__(
        self, seed: int, faults: str, idle_seconds: float, tool_use: float = 0.0
    ) -> None:
        self._seed = seed
        self._tool_use = tool_use
        self._idle_seconds = idle_seconds
        self._made: list[tuple[SdkModel, anthropic.AsyncAnthropic]] = []
        self.inject(faults)

    def inject(self, faults: str) -> None:
        """From the next request on, which is number 1 then, these faults happen.

        It is another server with the same key, as after a restart: it knows what it
        signed, and has forgotten what it held in memory.

        Raises:
            FaultScriptError: The script cannot be read; nothing was changed.
        """
        simulator = Simulator(
            Paced(self._seed, self._tool_use),
            seed=self._seed,
            faults=faults,
            clock=time.time,
            log_max=100,
        )
        client = anthropic.AsyncAnthropic(
            api_key="simulated",
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=SimulatorTransport(simulator)),
        )
        model = SdkModel(client, idle_seconds=self._idle_seconds)
        self._made.append((model, client))

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        """Send it to the simulator; see `turnlatch.ports.Model`."""
        model, _ = self._made[-1]
        return await model.send(request, report)

    async def count(self, request: Request) -> int:
        """Have the simulator count it; see `turnlatch.ports.Model`."""
        model, _ = self._made[-1]
        return await model.count(request)

    async def aclose(self) -> None:
        """Close every client that was made."""
        for model, client in self._made:
            await model.aclose()
            await client.close()

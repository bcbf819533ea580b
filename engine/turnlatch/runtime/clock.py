"""Time, identity and chance as the real world has them."""

import random
import time
import uuid
from typing import final

import anyio


@final
class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment; it never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait that long; may be cancelled."""
        await anyio.sleep(seconds)


@final
class SystemIds:
    """Random names and random numbers."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def fresh(self) -> str:
        """A unique name."""
        return uuid.uuid4().hex

    def draw(self) -> float:
        """A random number in [0, 1)."""
        return self._random.random()

"""A clock that never waits, and chance that repeats."""

import random
from typing import final

import anyio.lowlevel


@final
class VirtualClock:
    """Time that jumps: a sleep takes no time and moves the clock by its length.

    Attributes:
        slept: The length of every sleep, in order, in seconds.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        """Start at `start`, in seconds since the epoch."""
        self._now = start
        self._passed = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._passed

    def set(self, now: float) -> None:
        """Set the clock, as a machine's clock is set: no time passes by it."""
        self._now = now

    async def sleep(self, seconds: float) -> None:
        """Jump ahead; a place where a cancellation can come, as in a real sleep."""
        await anyio.lowlevel.checkpoint()
        self.slept.append(seconds)
        self._now += seconds
        self._passed += seconds


@final
class SeededIds:
    """Names and numbers that are the same for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        """Begin the sequence of `seed`."""
        self._random = random.Random(seed)

    def fresh(self) -> str:
        """A unique name."""
        return f"{self._random.getrandbits(128):032x}"

    def draw(self) -> float:
        """A random number in [0, 1)."""
        return self._random.random()

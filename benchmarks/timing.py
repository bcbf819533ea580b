"""Timing several arms beside each other, so that a noisy moment hits all of them."""

import gc
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import final

import attrs

from benchmarks.material import Case, reply_text, streamed_text, text
from benchmarks.references import Arm, Heard


@final
@attrs.frozen
class Samples:
    """What one arm took, in milliseconds.

    Attributes:
        values: One sample a repetition, in the order they were taken.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the samples."""
        return median(self.values)

    @property
    def least(self) -> float:
        """The fastest sample."""
        return min(self.values)

    @property
    def most(self) -> float:
        """The slowest sample."""
        return max(self.values)


@contextmanager
def settled_memory() -> Generator[None]:
    """Keep the garbage collector from walking over what an arm merely holds.

    Collections still happen within; the histories of the other arms are out of their
    sight, or each arm would pay for the memory of all.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def interleaved(
    arms: Sequence[Arm], case: Case, size: int, *, rounds: int, turns: int
) -> Mapping[str, Samples]:
    """Time one turn of every arm, again and again, in rotating order.

    Every round begins anew at `size` messages and takes one turn that is not counted,
    so a history is never more than `turns` + 1 turns longer than its size says.

    Args:
        arms: What is compared.
        case: Which kind of turn.
        size: Messages of history.
        rounds: How often everything is prepared.
        turns: How many turns of every arm are timed in a round.
    """
    expected = Heard(
        streamed_text() if case.streams else reply_text(), 2 if case is Case.TOOL else 1
    )
    found: dict[str, list[float]] = {arm.name: [] for arm in arms}
    for _ in range(rounds):
        try:
            for arm in arms:
                await arm.prepare(case, size)
                await arm.turn(text(size))
            with settled_memory():
                for number in range(turns):
                    at = number % len(arms)
                    for arm in (*arms[at:], *arms[:at]):
                        said = text(size + number)
                        began = time.perf_counter()
                        heard = await arm.turn(said)
                        found[arm.name].append((time.perf_counter() - began) * 1e3)
                        if heard != expected:
                            raise AssertionError(f"{arm.name} heard {heard!r}")
        finally:
            for arm in arms:
                await arm.close()
    return {name: Samples(tuple(values)) for name, values in found.items()}

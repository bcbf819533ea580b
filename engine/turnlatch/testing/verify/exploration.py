"""Breadth first through all situations within bounds, with little memory.

A state is kept whole until what leaves it is known. After that a number stands for it, and a
hash of its key tells it from the others; a trace is found again by its moves.
"""

import gc
import resource
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import final

import attrs

from turnlatch.testing.verify.judge import BrokenError
from turnlatch.testing.verify.moves import Moves, rests, start
from turnlatch.testing.verify.process import Parts
from turnlatch.testing.verify.situation import Situation, VerifyBounds, key
from turnlatch_states.fsm.table import Transition


@final
@attrs.frozen
class Violation:
    """A property that does not hold, with a shortest way there.

    Attributes:
        name: The property's name.
        said: The contradiction, in words.
        moves: The moves from the start, in words; no other violation has fewer.
        last: The situation before the last move.
    """

    name: str
    said: str
    moves: tuple[str, ...]
    last: Situation


@final
@attrs.frozen
class Exploration:
    """The result of an exploration.

    Attributes:
        bounds: Its bounds.
        states: How many states were reached.
        edges: How many moves between them.
        depth: Length of the longest of the shortest ways.
        whole: Everything within the bounds was explored.
        rows: The rows of the turn's table that were taken.
        violation: The nearest violation; None for none.
        seconds: How long it took.
        peak_bytes: The largest memory of the process so far.
    """

    bounds: VerifyBounds
    states: int
    edges: int
    depth: int
    whole: bool
    rows: frozenset[Transition]
    violation: Violation | None
    seconds: float
    peak_bytes: int


Progress = Callable[[int, int, float], None]
"""Is told states, depth and seconds, now and then."""

TELL_EVERY = 2000
"""Every so many states the progress is told."""


def explored(
    bounds: VerifyBounds,
    parts: Parts | None = None,
    *,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Explore everything within bounds, up to the nearest violation.

    Args:
        bounds: The bounds.
        parts: The functions that decide; the engine's own by default.
        seconds: Stop after so long; what was not reached then is not judged.
        progress: Is told how far it is.
    """
    with _few_collections():
        return _Search(bounds, parts or Parts(), seconds, progress).run()


@contextmanager
def _few_collections() -> Generator[None]:
    """Without searches for garbage: frozen values have no cycles, and are many."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Search:
    def __init__(
        self,
        bounds: VerifyBounds,
        parts: Parts,
        seconds: float | None,
        progress: Progress | None,
    ) -> None:
        self.bounds, self.parts = bounds, parts
        self.seconds, self.progress = seconds, progress
        self.began = time.perf_counter()
        self.numbers: dict[int, int] = {}
        self.parents, self.labels = array("q", [-1]), array("H", [0])
        self.depths = array("H", [0])
        self.words: dict[str, int] = {}
        self.sources, self.targets = array("L"), array("L")
        self.goals: list[int] = []
        self.rows: set[Transition] = set()
        self.start = start(bounds)

    def run(self) -> Exploration:
        """Explore."""
        queue = deque([self.start])
        self.numbers[hash(key(self.start))] = 0
        moves, at = Moves(self.parts), 0
        self.rows = moves.judge.rows
        while queue:
            if self._over(at):
                return self._told(None, whole=False)
            situation = queue.popleft()
            if rests(situation):
                self.goals.append(at)
            found = self._expand(at, situation, moves, queue)
            if found is not None:
                return self._told(found, whole=False)
            at += 1
        return self._told(self._stuck(), whole=True)

    def _over(self, at: int) -> bool:
        spent = time.perf_counter() - self.began
        if self.progress is not None and at % TELL_EVERY == 0:
            self.progress(len(self.numbers), self.depths[at], spent)
        return self.seconds is not None and spent >= self.seconds

    def _expand(
        self, at: int, situation: Situation, moves: Moves, queue: deque[Situation]
    ) -> Violation | None:
        leaves = False
        for words, make in moves(situation):
            try:
                after = make()
            except BrokenError as broken:
                return self._violation(broken, at, words)
            leaves = True
            label = self.words.setdefault(words, len(self.words))
            known = hash(key(after))
            there = self.numbers.setdefault(known, len(self.numbers))
            self.sources.append(at)
            self.targets.append(there)
            if there == len(self.parents):
                self.parents.append(at)
                self.labels.append(label)
                self.depths.append(self.depths[at] + 1)
                queue.append(after)
        if not leaves and not rests(situation):
            return self._violation(BrokenError("dead end", "nothing can happen"), at)
        return None

    def _stuck(self) -> Violation | None:
        """The nearest state from which no message can be confirmed any more."""
        count = len(self.numbers)
        first = array("L", bytes(array("L").itemsize * (count + 1)))
        for target in self.targets:
            first[target + 1] += 1
        for at in range(count):
            first[at + 1] += first[at]
        place = array("L", first)
        back = array("L", bytes(array("L").itemsize * len(self.targets)))
        for source, target in zip(self.sources, self.targets, strict=True):
            back[place[target]] = source
            place[target] += 1
        seen = bytearray(count)
        queue = deque(self.goals)
        for goal in self.goals:
            seen[goal] = 1
        while queue:
            at = queue.popleft()
            for source in back[first[at] : first[at + 1]]:
                if not seen[source]:
                    seen[source] = 1
                    queue.append(source)
        nearest = seen.find(0)
        if nearest < 0:
            return None
        return self._violation(
            BrokenError("confirmable", "no message can be confirmed any more"), nearest
        )

    def _violation(
        self, broken: BrokenError, at: int, words: str | None = None
    ) -> Violation:
        names = {number: one for one, number in self.words.items()}
        path: list[str] = []
        there = at
        while there:
            path.append(names[self.labels[there]])
            there = self.parents[there]
        path.reverse()
        last = self._again(path)
        whole = (*path, *((words,) if words is not None else ()))
        return Violation(broken.name, broken.said, whole, last)

    def _again(self, path: list[str]) -> Situation:
        """The situation after some moves."""
        at, moves = self.start, Moves(self.parts)
        for words in path:
            at = next(make for one, make in moves(at) if one == words)()
        return at

    def _told(self, violation: Violation | None, *, whole: bool) -> Exploration:
        return Exploration(
            self.bounds,
            len(self.numbers),
            len(self.sources),
            max(self.depths),
            whole,
            frozenset(self.rows),
            violation,
            time.perf_counter() - self.began,
            _peak_bytes(),
        )


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

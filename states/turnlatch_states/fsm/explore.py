"""Exhaustive exploration: every state a machine can reach, and the shortest way there.

Breadth first, so the first counterexample is a shortest one. The caller gives the possible
events as labelled moves, and a key that identifies equal states, because counters and ids
would make every graph infinite.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeVar, final

import attrs

from turnlatch_states.fsm.errors import TurnlatchError

S = TypeVar("S")


class ExplorationLimitError(TurnlatchError):
    """There are more states than were allowed: the key tells too many apart.

    Attributes:
        limit: How many were allowed.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def _told(self) -> str:
        return f"more than {self.limit} states; give a coarser key or a higher limit"


@final
@attrs.frozen
class Explored(Generic[S]):
    """The whole reachable graph.

    Attributes:
        states: One representative a state, by key, in the order they were found.
        edges: (source key, label, target key), each once.
        parents: How each state was first reached: (label, source key); None for the
            first.
    """

    states: Mapping[Hashable, S]
    edges: tuple[tuple[Hashable, str, Hashable], ...]
    parents: Mapping[Hashable, tuple[str, Hashable] | None]

    def path(self, key: Hashable) -> tuple[str, ...]:
        """The labels of a shortest path to a state."""
        labels: list[str] = []
        while (step := self.parents[key]) is not None:
            labels.append(step[0])
            key = step[1]
        return tuple(reversed(labels))

    def violations(self, holds: Callable[[S], bool]) -> tuple[Hashable, ...]:
        """The states in which a property does not hold, nearest first."""
        return tuple(key for key, state in self.states.items() if not holds(state))

    def stuck(self, goal: Callable[[S], bool]) -> tuple[Hashable, ...]:
        """The states from which no path leads to a goal, nearest first."""
        back: dict[Hashable, list[Hashable]] = {}
        for source, _, target in self.edges:
            back.setdefault(target, []).append(source)
        found = {key for key, state in self.states.items() if goal(state)}
        queue = deque(found)
        while queue:
            for source in back.get(queue.popleft(), ()):
                if source not in found:
                    found.add(source)
                    queue.append(source)
        return tuple(key for key in self.states if key not in found)


def explore(
    start: S,
    moves: Callable[[S], Iterable[tuple[str, S]]],
    key: Callable[[S], Hashable],
    *,
    limit: int = 1_000_000,
) -> Explored[S]:
    """Everything that can be reached from `start`.

    Args:
        start: The first state.
        moves: The possible moves from a state, as (label, next state).
        key: The key that distinguishes two states.
        limit: Maximum number of states to visit.

    Raises:
        ExplorationLimitError: There are more states than `limit`.
    """
    first = key(start)
    states: dict[Hashable, S] = {first: start}
    parents: dict[Hashable, tuple[str, Hashable] | None] = {first: None}
    edges: dict[tuple[Hashable, str, Hashable], None] = {}
    queue = deque([first])
    while queue:
        at = queue.popleft()
        for label, state in moves(states[at]):
            target = key(state)
            edges[(at, label, target)] = None
            if target not in states:
                states[target] = state
                parents[target] = (label, at)
                queue.append(target)
                if len(states) > limit:
                    raise ExplorationLimitError(limit)
    return Explored(states, tuple(edges), parents)

"""How many tokens a conversation is at most: the server's own count, and what was added since."""

from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.request.tokens import IMAGE_TOKENS_MAX, bound


def context(snapshot: Snapshot) -> int:
    """At most how many tokens the context holds, without what is staged."""
    history, covered = snapshot.history, snapshot.covered
    if history.head is None or covered == len(history):
        return (history.bytes_of(covered) + around(snapshot)) // 2
    return until(snapshot, len(history))


def around(snapshot: Snapshot) -> int:
    """How many bytes stand before the history: the settings and the summary."""
    base = snapshot.base if snapshot.covered else None
    return len(snapshot.profile.plain_opening) + (len(base.wire) if base else 0)


def until(snapshot: Snapshot, covers: int) -> int:
    """At most how many tokens the context held after so many exchanges.

    That is the server's count, if it is plausible for the bytes. An image may be a
    reference, and any other token has at least a byte: a larger count is ignored. So is
    a count below the length that the server named when it refused such a request.
    """
    history, covered = snapshot.history, snapshot.covered
    size = history.bytes_of(covered, covers) + around(snapshot)
    seen = history.media_of(covered, covers) * IMAGE_TOKENS_MAX
    counted = history[covers - 1].reply.usage.context
    believed = counted if 0 < counted <= size + seen else size // 2 + seen
    return max(believed, int(size * snapshot.density))


def added(turn: Turn) -> int:
    """At most how many tokens the staged message adds."""
    return bound(turn.staged) if turn.staged else 0

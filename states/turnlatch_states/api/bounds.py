"""Numbers that others name, bounded where they enter: waits, moments, counts of tokens.

A server, a gateway and a file say whatever they like. What they say is recorded, added to
a clock, shown as a time and multiplied: a number that no such thing can be would fail
there, after it has become durable. What was recorded stays recorded as it is: what is
bounded is what a state, a decision or a display holds.
"""

from typing import Final

WAIT_MAX_SECONDS: Final = 30 * 86400.0
"""The longest wait that is believed; the caller may always ask again before it is over."""

MOMENT_MAX: Final = 253_402_214_400.0
"""The last moment that is believed, in seconds since the epoch: it has a date in every
time zone, with four digits for the year."""

TOKENS_MAX: Final = 10**12
"""The most tokens that are believed."""


def bounded_wait(seconds: float | None) -> float | None:
    """Seconds to wait, at most `WAIT_MAX_SECONDS`; None for NaN, 0 and negative numbers."""
    if seconds is None or not seconds > 0:  # which is so for NaN, too
        return None
    return min(seconds, WAIT_MAX_SECONDS)


def waited(seconds: float) -> float:
    """Seconds of a wait, bounded; 0 for NaN and negative numbers."""
    return bounded_wait(seconds) or 0.0


def bounded_moment(seconds: float) -> float:
    """Seconds since the epoch, from the epoch to `MOMENT_MAX`."""
    return min(seconds, MOMENT_MAX) if seconds > 0 else 0.0


def maybe_moment(seconds: float | None) -> float | None:
    """A moment, bounded, if there is one."""
    return None if seconds is None else bounded_moment(seconds)


def bounded_tokens(value: object) -> int:
    """A count of tokens, at most `TOKENS_MAX`; 0 for any other value."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return min(value, TOKENS_MAX)
    return 0

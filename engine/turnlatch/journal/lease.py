"""The lease on a conversation, as statements on a connection.

Taking it is one transaction that makes the epoch one larger. Every append asks `holds`
in its own transaction: that question, not the clock and not the process table, is what
keeps a writer that woke up late from writing.

A holder renews its lease every `RENEW_SECONDS`, with its appends or without (`renewing`).
One that lives and is not stalled is therefore never succeeded.
"""

from collections.abc import Callable
from sqlite3 import Connection
from typing import Final, TypeAlias

from turnlatch.errors import ConversationBusyError
from turnlatch.journal.owner import Owner, Until, seconds_left
from turnlatch.journal.writer import place

LEASE_SECONDS: Final = 12.0
"""How long a lease lasts without being renewed."""

RENEW_SECONDS: Final = 3.0
"""How often it is renewed: three times may fail before anybody else may take it."""

Gone: TypeAlias = Callable[[int, Owner, Until], bool]
"""Whether the holder of (epoch, who, until when) writes no more."""


def acquire(
    connection: Connection,
    conversation: int,
    name: str,
    me: Owner,
    now: Until,
    gone: Gone,
) -> int:
    """Take the lease, in a transaction that the caller began.

    Returns:
        The new epoch.

    Raises:
        ConversationBusyError: Somebody alive holds it.
    """
    found = connection.execute(
        "SELECT state, epoch, host, pid, started, boot, namespace, expires, expires_up"
        " FROM lease WHERE conversation = ?",
        (conversation,),
    ).fetchone()
    epoch = 1
    if found is not None:
        state, last, *who, wall, up = found
        holder, until = Owner(*who), Until(wall, up)
        if state == "held" and not gone(last, holder, until):
            if holder == me:
                raise ConversationBusyError(
                    place(name),
                    f"{holder} (this process) writes it already",
                    "close that handle",
                )
            left = min(max(seconds_left(until, now, holder, me), 0.0), LEASE_SECONDS)
            raise ConversationBusyError(
                place(name),
                f"{holder} writes it already",
                "close it there, or end that process; if it does not run any more, its"
                f" lease is over in {left:.0f} s",
                seconds=left,
            )
        epoch = last + 1
    until = over_at(now)
    connection.execute(
        "INSERT OR REPLACE INTO lease"
        " (conversation, state, epoch, host, pid, started, boot, namespace, expires,"
        " expires_up)"
        " VALUES (?, 'held', ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            conversation,
            epoch,
            me.host,
            me.pid,
            me.started,
            me.boot,
            me.namespace,
            until.wall,
            until.up,
        ),
    )
    return epoch


def over_at(now: Until) -> Until:
    """When a lease is over that is taken or renewed now."""
    up = now.up or 0.0
    return Until(now.wall + LEASE_SECONDS, up + LEASE_SECONDS)


def shorten(connection: Connection, most: float, now: Until) -> None:
    """Bring leases back to what one can last that was renewed just now.

    A lease that lasts longer was taken by a clock that was ahead of this one, which may
    have been set since. Its holder renews it, if it lives; else it is over in time.

    Args:
        connection: The store's, in a transaction that the caller began.
        most: How many seconds a lease lasts in the store's format.
        now: The time.
    """
    connection.execute(
        "UPDATE lease SET expires = ? WHERE state = 'held' AND expires > ?",
        (now.wall + most, now.wall + most),
    )


def is_due(renewed: Until, now: Until) -> bool:
    """True if a lease that was taken or renewed then should be renewed by now."""
    since = max(now.wall - renewed.wall, (now.up or 0.0) - (renewed.up or 0.0))
    return since >= RENEW_SECONDS


def holds(connection: Connection, conversation: int, epoch: int) -> bool:
    """True if that epoch is still the newest; asked inside the append's transaction."""
    found = connection.execute(
        "SELECT 1 FROM lease WHERE conversation = ? AND epoch = ? AND state = 'held'",
        (conversation, epoch),
    ).fetchone()
    return found is not None


def renew(connection: Connection, conversation: int, epoch: int, now: Until) -> None:
    """Make the lease last from now on, unless somebody has taken it since."""
    until = over_at(now)
    connection.execute(
        "UPDATE lease SET expires = ?, expires_up = ?"
        " WHERE conversation = ? AND epoch = ? AND state = 'held'",
        (until.wall, until.up, conversation, epoch),
    )


def release(connection: Connection, conversation: int, epoch: int) -> None:
    """Give the lease back, unless somebody has taken it since."""
    connection.execute(
        "UPDATE lease SET state = 'free' WHERE conversation = ? AND epoch = ?",
        (conversation, epoch),
    )

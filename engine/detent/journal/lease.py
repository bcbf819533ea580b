"""The lease on a conversation, as statements on a connection.

Taking it is one transaction that makes the epoch one larger. Every append asks `holds`
in its own transaction: that question, not the clock and not the process table, is what
keeps a writer that woke up late from writing.
"""

import time
from collections.abc import Callable
from sqlite3 import Connection
from typing import Final, TypeAlias

from detent.errors import ConversationBusyError
from detent.journal.owner import Owner
from detent.journal.writer import place

LEASE_SECONDS: Final = 300.0
"""How long a holder on another host is waited for after its last append."""

Gone: TypeAlias = Callable[[int, Owner, float], bool]
"""Whether the holder of (epoch, who, until when) writes no more."""


def acquire(
    connection: Connection,
    conversation: int,
    name: str,
    me: Owner,
    now: float,
    gone: Gone,
) -> int:
    """Take the lease, in a transaction that the caller began.

    Returns:
        The new epoch.

    Raises:
        ConversationBusyError: Somebody alive holds it.
    """
    found = connection.execute(
        "SELECT state, epoch, host, pid, started, boot, namespace, expires FROM lease"
        " WHERE conversation = ?",
        (conversation,),
    ).fetchone()
    epoch = 1
    if found is not None:
        state, last, host, pid, started, boot, namespace, expires = found
        holder = Owner(host, pid, started, boot, namespace)
        if state == "held" and not gone(last, holder, expires):
            raise ConversationBusyError(
                place(name),
                f"{holder} writes it already",
                "close it there, or end that process",
            )
        epoch = last + 1
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
            now + LEASE_SECONDS,
            time.monotonic() + LEASE_SECONDS,
        ),
    )
    return epoch


def holds(connection: Connection, conversation: int, epoch: int) -> bool:
    """True if that epoch is still the newest; asked inside the append's transaction."""
    found = connection.execute(
        "SELECT 1 FROM lease WHERE conversation = ? AND epoch = ? AND state = 'held'",
        (conversation, epoch),
    ).fetchone()
    return found is not None


def renew(connection: Connection, conversation: int, epoch: int, now: float) -> None:
    """Move the time until which a holder on another host is waited for."""
    connection.execute(
        "UPDATE lease SET expires = ? WHERE conversation = ? AND epoch = ?",
        (now + LEASE_SECONDS, conversation, epoch),
    )


def release(connection: Connection, conversation: int, epoch: int) -> None:
    """Give the lease back, unless somebody has taken it since."""
    connection.execute(
        "UPDATE lease SET state = 'free' WHERE conversation = ? AND epoch = ?",
        (conversation, epoch),
    )

"""Renewing leases in the background: who is idle, and lives, is not taken for dead.

One thread for each open database that holds a conversation, whatever the event loop is
busy with. It ends when nothing is held any more, and begins again with the next lease. It
is a daemon: a process that ends does not wait for it, and renews nothing from then on.
"""

import atexit
from collections.abc import Callable
from sqlite3 import Connection
from threading import Event, Thread
from typing import final

import attrs

from turnlatch.journal import lease
from turnlatch.journal.owner import Until


@final
@attrs.frozen
class HeldLease:
    """A lease that a handle of this process has.

    Attributes:
        conversation: The conversation's number.
        epoch: The epoch it was taken under.
        now: The time, as the lease counts it.
    """

    conversation: int
    epoch: int
    now: Callable[[], Until]


def renew(connection: Connection, held: list[HeldLease]) -> None:
    """Renew leases, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for one in held:
            lease.renew(connection, one.conversation, one.epoch, one.now())
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@final
class Renewer:
    """Calls a function every few seconds until it has nothing to do.

    `begin` and `end` are called under the database's lock, and so is the end of `work`.

    Args:
        work: Renews what is held; in how many seconds it is to be done again, or None if
            nothing is held, after it called `end`.
    """

    def __init__(self, work: Callable[[], float | None]) -> None:
        self._work = work
        self._stop: Event | None = None

    def begin(self) -> None:
        """Renew from now on, if that is not so already."""
        if self._stop is None:
            stop = Event()
            name = "turnlatch: renews leases"
            thread = Thread(target=self._run, args=(stop,), name=name, daemon=True)
            thread.start()
            self._stop = stop
            atexit.register(stop.set)

    def end(self) -> None:
        """Renew no more; the thread ends by itself."""
        stop, self._stop = self._stop, None
        if stop is not None:
            atexit.unregister(stop.set)
            stop.set()

    def _run(self, stop: Event) -> None:
        seconds: float | None = lease.RENEW_SECONDS
        while seconds is not None and not stop.wait(seconds):
            seconds = self._work()

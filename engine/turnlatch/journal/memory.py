"""A store in memory: nothing is durable, everything else is as on disk.

It is SQLite all the same: the schema, the chain of hashes, the leases and the handles are
those of a store in a file.
"""

import os
import socket
import time
from typing import Final, final
from weakref import finalize

from turnlatch.journal import schema
from turnlatch.journal.connection import SharedConnection
from turnlatch.journal.database import connect, demand_sqlite
from turnlatch.journal.handle import Clock, transact
from turnlatch.journal.owner import Owner
from turnlatch.journal.sqlite import StoreOfConnection
from turnlatch.options import CLOCK

_WHERE: Final = "memory store"


@final
class MemoryStore(StoreOfConnection):
    """Journals in memory, for tests and for conversations that need not last.

    Leases hold between the handles of one store. Everything is gone once the store is
    closed, or once nothing refers to it or to a handle of it any more.

    Args:
        clock: Seconds since the epoch; says when a conversation was last used.

    Raises:
        SettingsError: The clock is of the wrong type.
        JournalError: The SQLite of this Python is too old.
    """

    def __init__(self, *, clock: Clock = time.time) -> None:
        CLOCK.demand("clock", clock)
        demand_sqlite(_WHERE)
        shared = SharedConnection(_WHERE)
        shared.connection = connection = connect(":memory:")
        finalize(shared, connection.close)
        connection.execute("PRAGMA foreign_keys = ON")
        transact(connection, lambda it: schema.create(it, os.urandom(16)))
        # Names this process for readers: no other process looks for it.
        owner = Owner(socket.gethostname(), os.getpid(), "", "")
        super().__init__(_WHERE, shared, owner, clock=clock)

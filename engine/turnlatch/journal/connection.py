"""The one connection that the handles of a store share.

As it stands here it is enough for a database that no other process sees: nothing can be
locked, lost or replaced under it. `database.Database` adds what a file needs.
"""

from contextlib import suppress
from sqlite3 import Connection, ProgrammingError
from threading import RLock
from weakref import WeakKeyDictionary

from turnlatch.journal.renewing import HeldLease
from turnlatch.journal.tail_anchor import AnchorFile
from turnlatch.journal.writer import Writer


class SharedConnection:
    """A connection, its lock, and the writers that hold conversations through it.

    Attributes:
        where: The store, for errors.
        connection: The connection.
        head: The head file; None for a store that has none.
        held: The writers of this process, each with what it holds.
        notices: Notices to the user about this store.
        doubtful: True if the readable data may be only in memory; see `settle_log`.
    """

    connection: Connection

    def __init__(self, where: str) -> None:
        self.where = where
        self.head: AnchorFile | None = None
        self.held: WeakKeyDictionary[Writer, HeldLease] = WeakKeyDictionary()
        self.notices: tuple[str, ...] = ()
        self.doubtful = False
        self._lock = RLock()

    @property
    def alone(self) -> RLock:
        """What is held around every use: `with database.alone, database as connection`.

        It is taken by `with` itself and not in here, because an interrupt between the
        taking and the end of a method would leave it taken for ever.
        """
        return self._lock

    def __enter__(self) -> Connection:
        """The connection, in no transaction."""
        with suppress(ProgrammingError):  # it is closed, as its user will see
            if self.connection.in_transaction:
                # Of a use that was interrupted, and could not even take it back.
                self.connection.rollback()
        return self.connection

    def __exit__(
        self, _: object, error: BaseException | None, traceback: object
    ) -> None:
        """Leave the connection as it is."""

    def holds(self, conversation: int) -> bool:
        """True if a handle of this process may append to a conversation."""
        return any(one.conversation == conversation for one in self._holding())

    def _holding(self) -> list[HeldLease]:
        return [held for writer, held in list(self.held.items()) if writer.held]

    def begin_renewing(self) -> None:
        """Renew in the background what is held, for other processes to see."""

    def lost_its_log(self) -> bool:
        """True if what was committed may be gone."""
        return False

    def settle_log(self) -> None:
        """Have on the disk what an append would build on."""

    def reopen(self) -> None:
        """Replace the connection, after an error that leaves it in doubt."""

    def release(self) -> None:
        """Give back one use of the connection; the last one closes it."""
        self.connection.close()

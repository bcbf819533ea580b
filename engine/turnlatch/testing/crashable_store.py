"""A store whose process can die, within one process.

store = CrashableStore(MemoryStore())
...
store.crash()  # the holders of its conversations write no more
async with Conversation.open("a", store=store, ...) as chat:
    ...  # what was recorded until then is there, as after a kill -9
"""

from collections.abc import Callable, Sequence
from typing import final

from turnlatch.errors import JournalError
from turnlatch.ports import Entry, Journal, Listing, Store
from turnlatch_states.machine.events import Event


@final
class CrashableStore:
    """A store around another one, for playing the death of a process.

    Args:
        store: The store that outlives the deaths.

    Attributes:
        on_append: Called with events when they are durable. It may call `crash()`, and
            raise what stops the caller.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: list[_CrashableJournal] = []
        self.on_append: Callable[[Sequence[Event]], None] = lambda _: None

    def crash(self) -> None:
        """The process dies here: its leases end, and its handles write nothing more.

        An append of theirs raises a `JournalError`; closing them changes nothing.
        """
        held, self._held = self._held, []
        for journal in held:
            journal.die()

    def open(self, name: str) -> Journal:
        """Take the writer's lease; see `Store.open`."""
        journal = _CrashableJournal(self, self._store.open(name))
        self._held.append(journal)
        return journal

    def read(self, name: str) -> Sequence[Entry]:
        """All entries of a conversation; see `Store.read`."""
        return self._store.read(name)

    def fork(self, parent: str, name: str, sequence: int) -> None:
        """Make a fork; see `Store.fork`."""
        self._store.fork(parent, name, sequence)

    def conversations(self) -> Sequence[Listing]:
        """All conversations; see `Store.conversations`."""
        return self._store.conversations()

    def close(self) -> None:
        """Do nothing: the store outlives those who close it."""


@final
class _CrashableJournal:
    """One handle; it knows that its process has died."""

    def __init__(self, store: CrashableStore, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._dead = False

    @property
    def name(self) -> str:
        return self._journal.name

    @property
    def sequence(self) -> int:
        return self._journal.sequence

    async def append(self, events: Sequence[Event]) -> None:
        if self._dead:
            raise JournalError(
                f"conversation {self.name!r}",
                "the process that holds it has died",
                "open the conversation again",
            )
        await self._journal.append(events)
        self._store.on_append(events)

    def entries(self, after: int = 0) -> Sequence[Entry]:
        return self._journal.entries(after)

    def close(self) -> None:
        if not self._dead:
            self._journal.close()

    def die(self) -> None:
        self._journal.close()
        self._dead = True

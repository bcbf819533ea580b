"""A store and its journals with something put around them; the inside does the work."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import anyio
import anyio.lowlevel

from turnlatch.journal.lock_waiting import WAIT_SECONDS, waited
from turnlatch.ports import Entry, Journal, Listing, Store
from turnlatch_states.machine.events import Event


def run_now(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never suspends, without an event loop."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise AssertionError("it suspended, and was to end in place")


def append_now(
    journal: Journal, events: Sequence[Event], wait: float = WAIT_SECONDS
) -> None:
    """Append without an event loop, to a journal that commits in place.

    Args:
        journal: The journal; its append must not suspend.
        events: The events.
        wait: Seconds to wait while another process has the store locked; the thread
            stands still.

    Raises:
        JournalError: As the append does.
    """

    waited(lambda: run_now(journal.append(events)), wait)


class JournalAround:
    """A journal that does what the one inside does; a subclass adds to it."""

    def __init__(self, inner: Journal) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        """As inside."""
        return self.inner.name

    @property
    def sequence(self) -> int:
        """As inside."""
        return self.inner.sequence

    async def append(self, events: Sequence[Event]) -> None:
        """As inside."""
        await self.inner.append(events)

    def entries(self, after: int = 0) -> Sequence[Entry]:
        """As inside."""
        return self.inner.entries(after)

    def close(self) -> None:
        """As inside."""
        self.inner.close()


class SuspendingJournal(JournalAround):
    """A journal whose appends leave the event loop to others, before and after they
    commit, as they do where the commit is elsewhere.

    Args:
        inner: What commits.
        suspend: Suspends.
    """

    def __init__(
        self,
        inner: Journal,
        suspend: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint,
    ) -> None:
        super().__init__(inner)
        self._suspend = suspend

    async def append(self, events: Sequence[Event]) -> None:
        """As inside; other tasks run meanwhile."""
        await self._suspend()
        await super().append(events)
        await self._suspend()


class StoreAround:
    """A store that does what the one inside does; a subclass adds to it."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    def open(self, name: str) -> Journal:
        """As inside."""
        return self.inner.open(name)

    def read(self, name: str) -> Sequence[Entry]:
        """As inside."""
        return self.inner.read(name)

    def fork(self, parent: str, name: str, sequence: int) -> None:
        """As inside."""
        self.inner.fork(parent, name, sequence)

    def conversations(self) -> Sequence[Listing]:
        """As inside."""
        return self.inner.conversations()

    def close(self) -> None:
        """As inside."""
        self.inner.close()


class SuspendingStore(StoreAround):
    """A store whose journals suspend; see `SuspendingJournal`."""

    def __init__(
        self,
        inner: Store,
        suspend: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint,
    ) -> None:
        super().__init__(inner)
        self._suspend = suspend

    def open(self, name: str) -> Journal:
        """As inside."""
        return SuspendingJournal(self.inner.open(name), self._suspend)

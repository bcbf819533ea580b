"""The stream events of one conversation, published once for any number of readers."""

from bisect import bisect_right
from collections import deque
from typing import final
from weakref import WeakSet

import anyio

from turnlatch.watching.events import KEPT_MAX, PARTS_MAX, Cursor, Missed, StreamEvent


@final
class EventLog:
    """The stream events of one conversation since it was opened.

    Publishing never waits for a reader. Memory is bounded: what the journal holds is
    kept only for readers that have not come to it yet, and of everything only the newest
    `kept_max` events are kept. The pieces of a reply that is arriving are kept for
    readers that come back, because the journal does not hold them; while there are
    readers, until the entry after its end.

    Args:
        kept_max: How many events stay in memory at most.

    Attributes:
        cursor: Where it stands.
        start: Everything after this cursor is in memory.
        covered: The journal holds everything up to this cursor.
        arriving: Pieces arrived of a reply that is neither confirmed nor failed yet.
        closed: Nothing more will happen.
    """

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._kept: list[StreamEvent] = []
        self._kept_max = kept_max
        self._dropped = 0
        self._covered = 0  # the position behind `covered`
        # The position directly after each entry that is not behind `covered`.
        self._begins: dict[int, int] = {0: 0}
        self._readers: WeakSet[Reader] = WeakSet()
        self._news: anyio.Event | None = None
        self.cursor = self.start = self.covered = Cursor()
        self.arriving = False
        self.closed = False

    # Publishing.

    def begin(self, entry: int) -> None:
        """Begin behind that journal entry, and behind every stream event of it."""
        self.cursor = Cursor(entry, PARTS_MAX)
        self.start = self.cursor
        self.settle()

    def next(self) -> Cursor:
        """The cursor of the next event, if it is not a journal entry."""
        return Cursor(self.cursor.entry, self.cursor.part + 1)

    def whole(self) -> Cursor:
        """The cursor of an event that replaces arrived pieces: behind all of them."""
        return Cursor(self.cursor.entry, max(self.cursor.part, PARTS_MAX) + 1)

    def publish(self, event: StreamEvent) -> None:
        """Add one event and wake every reader."""
        self.cursor = event.cursor
        self._kept.append(event)
        if self.cursor.part == 0:
            self._begins[self.cursor.entry] = self.position
        if len(self._kept) > self._kept_max:
            self._drop(self._kept_max // 4 + 1)
        self.wake()

    def settle(self) -> None:
        """The journal holds everything up to here, and no reply is arriving."""
        self.arriving = False
        self.covered, here = self.cursor, self.position
        self._begins = {self.cursor.entry: here - self.cursor.part}
        before, self._covered = self._covered, here
        readers = tuple(self._readers)
        # A reader that leaves now and comes back at once finds the last pieces.
        upto = before if readers else self._covered
        self._drop(min([upto, *(one.position for one in readers)]) - self._dropped)

    def _drop(self, count: int) -> None:
        if count > 0:
            self.start = self._kept[count - 1].cursor
            del self._kept[:count]
            self._dropped += count

    def close(self) -> None:
        """Nothing more will happen."""
        self.closed = True
        self.wake()

    def wake(self) -> None:
        """Wake every reader, so that each looks again."""
        if self._news is not None:
            self._news.set()
            self._news = None

    # Reading.

    @property
    def position(self) -> int:
        """How many events there have been."""
        return self._dropped + len(self._kept)

    @property
    def dropped(self) -> int:
        """How many events are not in memory any more."""
        return self._dropped

    def at_position(self, position: int) -> StreamEvent | None:
        """The event at a position that was not dropped; None if none came yet."""
        index = position - self._dropped
        return self._kept[index] if index < len(self._kept) else None

    def reader(self, after: Cursor | None = None) -> "Reader":
        """A reader of what comes after a cursor; of what comes from now on for None.

        After a cursor that is in memory no longer, or never was, it begins where the
        journal ends: at `covered`.
        """
        if after is None:
            after = self.cursor
        elif after < self.start:
            after = max(after, self.covered)
        if after >= self.start:
            position = self._dropped + bisect_right(
                self._kept, after, key=lambda one: one.cursor
            )
        else:
            begins = self._begins.get(after.entry, self._dropped - after.part)
            position = min(begins + after.part, self._dropped)
        reader = Reader(self, position, after)
        self._readers.add(reader)
        return reader

    def release(self, reader: "Reader") -> None:
        """Keep nothing for that reader any more."""
        self._readers.discard(reader)

    async def wait(self) -> None:
        """Wait until somebody wakes the readers."""
        if self._news is None:
            self._news = anyio.Event()
        await self._news.wait()


@final
class Reader:
    """One reader's place in a feed; it is gone once nothing refers to it.

    Attributes:
        position: The position of what it reads next.
    """

    def __init__(self, feed: EventLog, position: int, after: Cursor) -> None:
        """Not for callers: use `EventLog.reader`."""
        self._feed = feed
        self._after = after
        self._rest: deque[StreamEvent] | None = None
        self.position = position

    def next(self) -> StreamEvent | None:
        """The next event, or one `Missed` for those no longer in memory.

        None if nothing has happened since, or if it was stopped and has read everything.
        """
        if self._rest is not None:
            return self._rest.popleft() if self._rest else None
        event: StreamEvent | None
        missing = self._feed.dropped - self.position
        if missing > 0:
            event = Missed(self._feed.start, self._after, missing)
            self.position += missing
        else:
            event = self._feed.at_position(self.position)
            if event is None:
                return None
            self.position += 1
        self._after = event.cursor
        return event

    def stop(self) -> None:
        """Read no further than the newest event. The reader keeps its unread events
        itself, and no later ones are kept for it."""
        rest: deque[StreamEvent] = deque()
        while (event := self.next()) is not None:
            rest.append(event)
        self._rest = rest
        self._feed.release(self)

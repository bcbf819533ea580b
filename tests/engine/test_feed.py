"""What readers of a feed get: everything, once, in order, or word of what they missed.

Small feeds are taken through every short course of publishing, reading, falling behind,
leaving and coming back, and through long random ones. A model that keeps everything says
what each reader must be told.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import final

import pytest

from turnlatch import Cursor, Missed, Pinned, Recorded, StreamEvent
from turnlatch.watching.event_log import EventLog, Reader

KEPT_MAX = 3


@final
class Seen:
    """A reader, and the place in everything published that it has come to."""

    def __init__(self, reader: Reader, at: int, after: Cursor) -> None:
        self.reader = reader
        self.at = at
        self.after = after
        self.end: int | None = None


@final
class Course:
    """A feed under test, beside a list of everything that was ever published."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self.feed = EventLog(kept_max)
        self.kept_max = kept_max
        self.published: list[StreamEvent] = []
        self.readers: list[Seen] = []
        self.entry = 0
        self.settled = 0  # how many were published when it was settled last
        self.last = Cursor()  # of what any reader was told last

    def do(self, move: str) -> None:
        """Make one move, and hold what can be seen against the model."""
        kind, _, which = move.partition(" ")
        match kind:
            case "piece":
                self.feed.arriving = True
                self._publish(self.feed.next())
            case "said":  # an entry of the journal in the middle of a reply
                self._record()
                if not self.feed.arriving:
                    self.feed.settle()
                    self.settled = len(self.published)
            case "end":
                self._record()
                self.feed.settle()
                ends, since = len(self.published), self.settled
                needed = [min(one.at, since) for one in self._reading()]
                assert self.kept <= ends - min(needed, default=ends), "kept for nobody"
                self.settled = ends
            case "come":
                at = len(self.published)
                self._add(self.feed.reader(), at, self.feed.cursor)
            case "back":
                self._come_back()
            case "read" if int(which) < len(self.readers):
                self.read(self.readers[int(which)])
            case "stop" if int(which) < len(self.readers):
                one = self.readers[int(which)]
                if one.end is None:
                    one.end = len(self.published)
                    one.reader.stop()
            case "leave" if int(which) < len(self.readers):
                del self.readers[int(which)]
            case _:
                pass  # no such reader
        assert self.kept <= self.kept_max, "memory is not bounded"

    @property
    def kept(self) -> int:
        """How many events are in memory."""
        return self.feed.position - self.feed.dropped

    def _reading(self) -> list[Seen]:
        return [one for one in self.readers if one.end is None]

    def _record(self) -> None:
        self.entry += 1
        self._publish(Cursor(self.entry))

    def _publish(self, cursor: Cursor) -> None:
        number = len(self.published)
        event = Recorded(cursor, number, Pinned("a", None))
        self.published.append(event)
        self.feed.publish(event)

    def _add(self, reader: Reader, at: int, after: Cursor) -> None:
        self.readers.append(Seen(reader, at, after))

    def _come_back(self) -> None:
        """Read on from where some reader was: what is covered, the journal tells."""
        after = self.last
        if after < self.feed.start:
            after = max(after, self.feed.covered)
        at = sum(one.cursor <= after for one in self.published)
        self._add(self.feed.reader(self.last), at, after)

    def read(self, one: Seen) -> bool:
        """Read once; False if there was nothing to read."""
        end = len(self.published) if one.end is None else one.end
        told = one.reader.next()
        if told is None:
            assert one.at == end, "a reader waits for what was published"
            return False
        if isinstance(told, Missed):
            least = self.kept_max - self.kept_max // 4
            assert len(self.published) - one.at > least, (
                "missed what there was room for"
            )
            assert told.count > 0
            assert told.after == one.after
            one.at += told.count
            assert one.at <= end
            assert told.cursor == self.published[one.at - 1].cursor
            assert one.end is not None or one.at >= self.feed.dropped, "told in parts"
        else:
            assert told == self.published[one.at], "not the next one"
            one.at += 1
        one.after = self.last = told.cursor
        return True

    def drain(self) -> None:
        """Read everything that is left."""
        for one in self.readers:
            while self.read(one):
                pass


MOVES = ("piece", "said", "end", "come", "back", "read 0", "stop 0", "leave 0")


def courses() -> Iterator[tuple[str, ...]]:
    """Every course of five moves behind a first reader, and random long ones."""
    yield from product(MOVES, repeat=5)
    chance = random.Random(7)
    moves = (*MOVES, "piece", "piece", "read 1", "read 2", "leave 1")
    for _ in range(1500):
        yield tuple(chance.choice(moves) for _ in range(60))


def run(every: Iterable[tuple[str, ...]]) -> None:
    """Take a new feed through each course."""
    for number, moves in enumerate(every):
        course = Course(KEPT_MAX if number % 2 else 8)
        course.do("come")
        for move in moves:
            course.do(move)
        course.drain()


def test_reader_gets_everything_once_in_order_or_the_number_it_missed() -> None:
    run(courses())


def _oldest(feed: EventLog, position: int) -> StreamEvent | None:
    index = max(position - feed.dropped, 0)
    return feed._kept[index] if index < len(feed._kept) else None  # pyright: ignore[reportPrivateUsage] - a planted bug


def _old_next(reader: Reader) -> StreamEvent | None:
    """The oldest there is, again and again, until the reader has caught up."""
    event = _oldest(reader._feed, reader.position)  # pyright: ignore[reportPrivateUsage] - a planted bug
    reader.position += event is not None
    return event


def _silent_next(reader: Reader) -> StreamEvent | None:
    """Jump over what is missing, and say nothing."""
    feed = reader._feed  # pyright: ignore[reportPrivateUsage] - a planted bug
    reader.position = max(reader.position, feed.dropped)
    return _old_next(reader)


def _keep_all(feed: EventLog) -> None:
    """Settle, and keep everything as long as there is room."""
    feed.arriving = False
    feed.covered = feed.cursor
    feed._begins = {feed.cursor.entry: feed.position - feed.cursor.part}  # pyright: ignore[reportPrivateUsage] - a planted bug


def _keep_nothing(feed: EventLog) -> None:
    """Settle, and forget the readers that are behind."""
    _keep_all(feed)
    feed._drop(feed.position - feed.dropped)  # pyright: ignore[reportPrivateUsage] - a planted bug


def _never_drop(feed: EventLog, count: int) -> None:
    """Memory without a bound."""


def _stay(reader: Reader) -> None:
    """End a reader, and read what happens later all the same."""


@pytest.mark.parametrize(
    ("where", "what", "bug"),
    [
        (Reader, "next", _old_next),
        (Reader, "next", _silent_next),
        (EventLog, "settle", _keep_all),
        (EventLog, "settle", _keep_nothing),
        (EventLog, "_drop", _never_drop),
        (Reader, "stop", _stay),
    ],
    ids=lambda given: getattr(given, "__name__", given),
)
def test_the_checker_sees_planted_bugs(
    monkeypatch: pytest.MonkeyPatch,
    where: type,
    what: str,
    bug: Callable[..., object],
) -> None:
    monkeypatch.setattr(where, what, bug)
    with pytest.raises(AssertionError):
        run(courses())

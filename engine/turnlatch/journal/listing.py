"""The conversations of a store: read in one statement, or from a file that is not open.

`list_readonly` only looks. It opens the file for reading, creates no other file, takes no
lease and leaves the log of a killed process unchanged. Only where
another process closes the store at that very moment, its log may be left behind, which
the next opening takes in.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from typing import Final, TypeAlias

from turnlatch.errors import JournalError, JournalVersionError
from turnlatch.journal import schema
from turnlatch.journal.chain import SEQUENCE_BITS, SEQUENCE_MAX
from turnlatch.journal.formats import FORMATS
from turnlatch.journal.owner import Owner, Until, is_gone, is_over
from turnlatch.journal.paths import who_else
from turnlatch.journal.records import demand_listed
from turnlatch.journal.sqlite_errors import SQLiteTrouble, translate
from turnlatch.ports import Listing
from turnlatch_states.api.bounds import bounded_moment
from turnlatch_states.api.reply import SIMULATED_ID

Gone: TypeAlias = Callable[[int, int, Owner, Until], bool]
"""Whether the holder of (conversation, epoch, who, until when) writes no more."""

_LOOKS: Final = 5
_BUSY_SECONDS: Final = 5.0

# The last entry of each is found from the end of its range of keys.
_RANGE = "e.key > (c.id << 32) AND e.key < ((c.id + 1) << 32)"

_LIST: Final = (
    "SELECT c.id, c.name, c.parent, p.name, c.fork_sequence,"
    f" (SELECT e.sequence FROM entry AS e WHERE {_RANGE} ORDER BY e.key DESC LIMIT 1),"
    f" (SELECT e.at_ms FROM entry AS e WHERE {_RANGE} ORDER BY e.key DESC LIMIT 1),"
    " coalesce(l.state, 'free'), coalesce(l.epoch, 0), {lease}"
    " FROM conversation AS c LEFT JOIN conversation AS p ON p.id = c.parent"
    " LEFT JOIN lease AS l ON l.conversation = c.id ORDER BY c.id"
)

_LISTS: Final = {
    version: _LIST.format(lease=format_.lease) for version, format_ in FORMATS.items()
}

_HOLDERS: Final = {
    version: "SELECT coalesce(l.state, 'free'), coalesce(l.epoch, 0), "
    f"{format_.lease} FROM conversation AS c LEFT JOIN lease AS l"
    " ON l.conversation = c.id WHERE c.id = ?"
    for version, format_ in FORMATS.items()
}

_TURN: Final = (
    "SELECT turn FROM entry WHERE key > ? AND key <= ? AND turn > 0"
    " ORDER BY key DESC LIMIT 1"
)


# The newest first: a conversation with invented replies mostly has one there.
_MADE_UP: Final = (
    "SELECT 1 FROM entry WHERE key > ? AND key <= ?"
    " AND kind IN ('reply_confirmed', 'compaction_confirmed')"
    " AND instr(meta, ?) > 0 ORDER BY key DESC LIMIT 1"
)
_MARK: Final = f'"{SIMULATED_ID}'.encode()


def listings(
    connection: Connection, gone: Gone, noted: Iterable[int] = (), where: str = "store"
) -> list[Listing]:
    """Every conversation, oldest first.

    Args:
        connection: The store's.
        gone: Asked for each lease that is held.
        noted: Numbers of conversations that were there before.
        where: The store, for errors.

    Raises:
        JournalCorruptError: One that was noted is missing.
    """
    found: list[Listing] = []
    with schema.reading(connection):
        application, version = schema.identity(connection)
        schema.refuse(application, version, where)
        rows = connection.execute(_LISTS[version]).fetchall()
        demand_listed(noted, rows, where)
        forks = {row[0]: (row[2], row[4]) for row in rows}
        for number, name, _, parent, begins, end, at_ms, state, epoch, *lease in rows:
            held = state == "held"
            holder = Owner(*lease[:5]) if held else None
            until = Until(*lease[5:])
            dead = holder is not None and gone(number, epoch, holder, until)
            found.append(
                Listing(
                    name,
                    (begins or 0) if end is None else end,
                    parent,
                    str(holder) if held and not dead else None,
                    epoch,
                    turns=_turns(connection, number, forks),
                    used=None if at_ms is None else bounded_moment(at_ms / 1000),
                    left=str(holder) if dead else None,
                    simulated=_simulated(connection, number, forks),
                )
            )
    return found


def holder_of(connection: Connection, number: int, gone: Gone) -> str | None:
    """The live process that holds a conversation's lease, in words; None if it is free.

    One row is read, and nothing of the record.

    Args:
        connection: The store's.
        number: The conversation's number.
        gone: Asked about the holder of a lease that is held.
    """
    with schema.reading(connection):
        _, version = schema.identity(connection)
        state, epoch, *lease = connection.execute(
            _HOLDERS[version], (number,)
        ).fetchone()
    if state != "held":
        return None
    holder, until = Owner(*lease[:5]), Until(*lease[5:])
    return None if gone(number, epoch, holder, until) else str(holder)


def _turns(
    connection: Connection, number: int, forks: dict[int, tuple[int | None, int | None]]
) -> int:
    """The number of a conversation's last turn, which may be one it inherited."""
    for first, last in _ranges(number, forks):
        found = connection.execute(_TURN, (first, last)).fetchone()
        if found is not None:
            return int(found[0])
    return 0


def _simulated(
    connection: Connection, number: int, forks: dict[int, tuple[int | None, int | None]]
) -> bool:
    """Whether an answer of a conversation was made up, which it may have inherited."""
    return any(
        connection.execute(_MADE_UP, (first, last, _MARK)).fetchone() is not None
        for first, last in _ranges(number, forks)
    )


def _ranges(
    number: int, forks: dict[int, tuple[int | None, int | None]]
) -> Iterator[tuple[int, int]]:
    """The keys of a conversation's entries, its own first, then what it inherited: each
    as what comes before the first, and the last."""
    end = SEQUENCE_MAX
    while True:
        base = number << SEQUENCE_BITS
        yield base, base + end
        parent, begins = forks.get(number, (None, None))
        if parent is None or begins is None or parent >= number:
            return
        number, end = parent, min(end, begins)


def list_readonly(
    path: str | os.PathLike[str],
    *,
    clock: Callable[[], float] = time.time,
    uptime: Callable[[], float] = time.monotonic,
) -> Sequence[Listing]:
    """Every conversation of a store that this process does not have open, oldest first.
    Nothing is changed, made or held, so it works on what cannot be written to.

    Raises:
        JournalVersionError: The file is a newer turnlatch's, somebody else's database, or
            none.
        JournalError: There is no file, or it cannot be read.
    """
    where = os.fspath(path)
    real = os.path.realpath(where)
    if not os.path.isfile(real):
        raise JournalError(
            where,
            "there is no store",
            "turnlatch chat --store makes one, or give its path",
        )
    who_else(real)
    here = Owner.current()

    def gone(_: int, epoch: int, holder: Owner, until: Until) -> bool:
        now = Until(clock(), uptime())
        return is_gone(holder, here, is_over(until, now, holder, here))

    for left in reversed(range(_LOOKS)):
        logged = os.path.exists(f"{real}-wal")
        try:
            found = _read(real, gone, logged=logged)
        except JournalVersionError as error:
            raise JournalVersionError(where, error.problem, error.remedy) from error
        except SQLiteTrouble as error:
            if not left:
                raise translate(error, where, real) from error
        else:
            # Without a log it was read without a lock: somebody may have begun one.
            if logged or not os.path.exists(f"{real}-wal"):
                return found
    raise JournalError(where, "another process keeps changing it", "try again")


def last_used_first(found: Sequence[Listing]) -> list[Listing]:
    """The same, by when each was last appended to; what never was stands at the end,
    the newest of it first."""
    by = {one.name: (one.used or 0.0, place) for place, one in enumerate(found)}
    return sorted(found, key=lambda one: by[one.name], reverse=True)


def _read(path: str, gone: Gone, *, logged: bool) -> list[Listing]:
    # Lock only if there is a log: a lock would leave files next to the database.
    query = "mode=ro" if logged else "mode=ro&immutable=1"
    with (
        closing(
            sqlite3.connect(
                f"{Path(path).as_uri()}?{query}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
            )
        ) as connection,
        schema.reading(connection),
    ):
        new = schema.is_new(connection)
        return [] if new else listings(connection, gone)

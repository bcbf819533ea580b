"""The meaning of SQLite's errors for a journal, each with its remedy."""

import sqlite3
from typing import Final

from turnlatch.errors import (
    JournalCorruptError,
    JournalError,
    JournalFullError,
    JournalVersionError,
    StoreLockedError,
)
from turnlatch.journal.chain import REMEDY
from turnlatch.journal.holder import lock_holder

_MEANING: Final = {
    sqlite3.SQLITE_READONLY: (
        JournalError,
        "the store cannot be written to",
        "make its file and its folder writable for this user",
    ),
    sqlite3.SQLITE_FULL: (
        JournalFullError,
        "there is no room left; nothing was appended",
        "make room and append again; what is already recorded is safe",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        JournalError,
        "the store cannot be opened",
        "check that its folder exists and that this user may use it",
    ),
    sqlite3.SQLITE_IOERR: (
        JournalError,
        "the disk did not do what it was asked to",
        "check the disk, then open the store again",
    ),
    sqlite3.SQLITE_CORRUPT: (
        JournalCorruptError,
        "the database is damaged",
        REMEDY,
    ),
    sqlite3.SQLITE_NOTADB: (
        JournalVersionError,
        "is not a database",
        "give the path of a store, or of a file that does not exist yet",
    ),
    sqlite3.SQLITE_INTERRUPT: (
        JournalVersionError,
        "looking at it takes more steps than a turnlatch store does",
        "give the path of a store; the file was not touched",
    ),
    sqlite3.SQLITE_TOOBIG: (
        JournalError,
        "an entry is larger than SQLite can hold; nothing was appended",
        "append smaller events",
    ),
}


SQLiteTrouble: Final = (sqlite3.Error, UnicodeError, OverflowError)
"""Exceptions of a statement. Python may fail to decode an error's text if it quotes a
damaged part of the file, and to make a number that is too large."""


def primary(error: BaseException) -> int:
    """SQLite's primary result code of an error; -1 if it has none."""
    return getattr(error, "sqlite_errorcode", -0x100) & 0xFF if _coded(error) else -1


def _coded(error: BaseException) -> bool:
    return isinstance(getattr(error, "sqlite_errorcode", None), int)


def translate(
    error: sqlite3.Error | UnicodeError | OverflowError, where: str, path: str
) -> JournalError:
    """The typed error for one of SQLite's, which becomes its cause.

    Args:
        error: SQLite's.
        where: The store or the conversation, as the error names it.
        path: The store's file.
    """
    code = primary(error)
    if code == sqlite3.SQLITE_BUSY:
        locked = _locked(where, lock_holder(path))
        locked.__cause__ = error
        return locked
    found = _MEANING.get(code)
    if found is not None:
        made, problem, remedy = found
    elif isinstance(error, UnicodeError | OverflowError) or "decode" in str(error):
        # Text in the file, or in an error about it, that is not UTF-8 any more.
        made, problem, remedy = JournalCorruptError, "the database is damaged", REMEDY
    else:
        made, problem, remedy = JournalError, "SQLite failed", "open the store again"
    translated = made(where, f"{problem} ({error})", remedy)
    translated.__cause__ = error
    return translated


def _locked(where: str, holder: str | None) -> StoreLockedError:
    return StoreLockedError(
        where,
        f"{holder or 'another process'} has the store locked",
        "nothing was changed; try again once it lets go, or end it",
        holder=holder,
    )

"""The path of a store: which one can be, and how its file is made."""

import os
import stat
from typing import Final

from turnlatch.errors import JournalError


def demand_path(path: str) -> None:
    """Refuse text that names no file: SQLite takes some of it for something else.

    Raises:
        JournalError: It names no file.
    """
    if not path or path == ":memory:" or path.startswith("file:") or "\0" in path:
        raise JournalError(
            path or "store", "is not a file path", "for memory, use MemoryStore()"
        )


def checked_path(path: str) -> str:
    """The real path of a store, which is there as a regular file or not at all.

    Raises:
        JournalError: It is anything else.
    """
    demand_path(path)
    real = os.path.realpath(path)
    try:
        mode = os.stat(real).st_mode
    except FileNotFoundError:
        return real
    except OSError as error:
        raise JournalError(
            path, f"cannot be used ({error.strerror})", "give the path of a file"
        ) from error
    if not stat.S_ISREG(mode):
        raise JournalError(path, "is not a regular file", "give the path of a file")
    return real


COMPANIONS: Final = ("-head", "-wal", "-shm", "-journal")
"""Suffixes of the files next to a store's file: its head file, and SQLite's files."""


def who_else(path: str) -> tuple[str, ...]:
    """Notices about other users who can read or write the files of a store.

    A user who may write a record may forge it: its digests detect damage, not forgery. So
    a file that everybody may write is refused, as programs refuse to use keys
    that everybody may read. A group that may write, everybody who may read, and another
    owner can be meant; they are said.

    Raises:
        JournalError: A companion file is not a regular file; or everybody may write one
            of the files.
    """
    told: list[str] = []
    for each in (path, *(path + suffix for suffix in COMPANIONS)):
        try:
            found = os.lstat(each)
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode):
            raise JournalError(
                each, "is not a regular file", "move it away; it was not touched"
            )
        if os.name != "posix":
            continue  # the mode says nothing there
        if found.st_mode & stat.S_IWOTH:
            raise JournalError(
                each,
                "everybody on this machine may write to it, so its contents prove nothing",
                "chmod o-w it, once you know that it was not changed",
            )
        if found.st_uid != os.geteuid():
            told.append(f"{each} belongs to another user ({found.st_uid})")
        if found.st_mode & stat.S_IWGRP:
            told.append(f"{each} may be written by its group: chmod g-w it")
        if found.st_mode & stat.S_IROTH:
            told.append(f"{each} may be read by everybody here: chmod o-r it")
    return tuple(told)


def make_file(path: str) -> None:
    """Make the file where it does not exist, for this user alone.

    Raises:
        JournalError: It cannot be made.
    """
    if os.path.exists(path):
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    try:
        # The descriptor is closed again at once, which is safe for this file only
        # because no process can have had it open before it existed.
        os.close(os.open(path, flags, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise JournalError(
            path,
            f"cannot be made ({error.strerror})",
            "check that its folder exists and that this user may write to it",
        ) from error

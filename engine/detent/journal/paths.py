"""The path of a store: which one can be, and how its file is made."""

import os
import stat

from detent.errors import JournalError


def checked_path(path: str) -> str:
    """The real path of a store, which is there as a regular file or not at all.

    Raises:
        JournalError: It is anything else.
    """
    if not path or path == ":memory:" or path.startswith("file:") or "\0" in path:
        raise JournalError(
            path or "store", "is no path of a file", "for memory, use MemoryStore()"
        )
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
        # because nobody can have had it open before it existed.
        os.close(os.open(path, flags, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise JournalError(
            path,
            f"cannot be made ({error.strerror})",
            "check that its folder exists and that this user may write to it",
        ) from error

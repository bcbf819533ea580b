"""Two tools for a chat: reading files, in one folder and nowhere else."""

import contextlib
import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Final

from turnlatch.errors import SettingsError
from turnlatch.tools import Tool, tool
from turnlatch.tools.definition import Effect

BYTES_MAX: Final = 256 * 1024
"""Most bytes read of one file; what is sent is bounded again by the engine."""

ENTRIES_MAX: Final = 1000
"""Most names listed of one folder."""


def file_tools(folder: Path, *, ask: bool) -> list[Tool]:
    """`read_file` and `list_files` for everything under a folder.

    Links are followed only to where they stay inside it.

    Args:
        folder: The folder.
        ask: A person decides about each call.

    Raises:
        SettingsError: The path is not a folder.
    """
    if not folder.is_dir():
        raise SettingsError("--files", f"{str(folder)!r} is not a folder", "give one")
    root = folder.resolve()
    effect: Effect = "ask" if ask else "safe"

    def read_file(path: str) -> str:
        """Read a text file.

        Args:
            path: Path of the file, relative to the folder on offer.
        """
        with _told_of(path):
            return _read(_inside(root, path))

    def list_files(path: str = ".") -> str:
        """List the files in a folder, one a line; folders end in a slash.

        Args:
            path: Path of the folder, relative to the folder on offer.
        """
        with _told_of(path):
            return _list(_inside(root, path))

    return [tool(effect=effect)(read_file), tool(effect=effect)(list_files)]


@contextlib.contextmanager
def _told_of(path: str) -> Generator[None, None, None]:
    """Name the path as it was given: errors do not reveal where the folder is."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{path!r}: {error.strerror or error}") from error


def _inside(root: Path, path: str) -> Path:
    if "\0" in path:
        raise ValueError("a path has no NUL in it")
    found = (root / path).resolve()
    if not found.is_relative_to(root):
        raise PermissionError("it is outside of the folder on offer")
    return found


def _read(path: Path) -> str:
    # O_NONBLOCK: opening a pipe must not hang. O_NOFOLLOW: a link put there since the
    # path was resolved is not followed.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is not a regular file")
        data = file.read(BYTES_MAX + 1)
    text = data[:BYTES_MAX].decode(errors="replace")
    return text + ("\n[cut here]" if len(data) > BYTES_MAX else "")


def _list(path: Path) -> str:
    names = sorted(
        entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
        for entry in os.scandir(path)
    )
    more = [f"[{len(names) - ENTRIES_MAX} more]"] if len(names) > ENTRIES_MAX else []
    return "\n".join([*names[:ENTRIES_MAX], *more]) or "[empty]"

"""Which process has a store locked, where the system tells.

Linux lists the locks of all processes. Nothing is opened for this: closing another
descriptor of a store's file would drop the locks that SQLite itself has on it.
"""

import os
from pathlib import Path
from typing import Final

from turnlatch_states.fsm.printable import printable

_LOCKS: Final = Path("/proc/locks")
_FIELDS_MIN: Final = 6
_NAME_MAX: Final = 64


def lock_holder(path: str) -> str | None:
    """The process that has locked a store, in words; None if the system does not say, or
    the lock is free by now.

    Args:
        path: The store's file.
    """
    files = {key for each in (path, f"{path}-shm") if (key := _key(each)) is not None}
    try:
        lines = _LOCKS.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    pids = [pid for line in lines if (pid := _writer(line, files)) is not None]
    here = os.getpid()
    others = [pid for pid in pids if pid != here]
    if others:
        return f"process {others[0]}{_name(others[0])}"
    return f"this process ({here}), over another connection," if pids else None


def _key(path: str) -> str | None:
    """A file, as the list of locks names it."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"


def _writer(line: str, files: set[str]) -> int | None:
    """The process of a line that says that one of the files is locked for writing."""
    fields = line.split()
    if len(fields) < _FIELDS_MIN or fields[1] == "->":  # it waits for a lock itself
        return None
    mode, pid, file = fields[3:6]
    if mode != "WRITE" or file not in files or not pid.isdigit() or pid == "0":
        return None
    return int(pid)


def _name(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/comm").read_bytes()
    except OSError:
        return ""
    name = printable(raw.decode(errors="replace").strip())[:_NAME_MAX]
    return f" ({name})" if name else ""

"""Who holds a lease, and whether that process still lives.

A process number alone proves nothing, because numbers are used again: a holder is a
host, a boot of it, a process number and the time that process started.
"""

import os
import socket
import sys
from pathlib import Path
from typing import final

import attrs


@final
@attrs.frozen
class Owner:
    """One process on one boot of one host.

    Attributes:
        host: The host's name.
        pid: The process number.
        started: When the process started, in the system's own count; empty where the
            system does not say.
        boot: Which boot of the host; empty where the system does not say.
        namespace: Which process numbers its own is one of, because two containers have
            a process 1 each; empty where the system does not say.
    """

    host: str
    pid: int
    started: str
    boot: str
    namespace: str = ""

    @classmethod
    def current(cls) -> "Owner":
        """This process."""
        pid = os.getpid()
        return cls(
            socket.gethostname(), pid, _started(pid) or "", _boot(), _namespace()
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def is_gone(holder: Owner, here: Owner, expired: bool) -> bool:
    """True if a holder cannot write any more, as far as can be told from here.

    A wrong yes costs the holder its lease and never an entry: its next append finds the
    newer epoch.

    Args:
        holder: Who took the lease.
        here: Who asks.
        expired: Whether the lease's time is over: all there is to go by for a process
            on another host.
    """
    if holder.host != here.host:
        return expired
    if holder.boot != here.boot:
        return True
    return not _lives(holder.pid, holder.started)


def may_write(holder: Owner, here: Owner, expired: bool) -> bool:
    """True if a holder that an older detent wrote down may still append. It did not say
    its namespace, and it renewed its lease with its appends only.

    Args:
        holder: Who took the lease.
        here: Who asks.
        expired: Whether the lease's time is over.
    """
    if holder.host != here.host:
        return not expired
    return holder.boot == here.boot and _lives(holder.pid, holder.started)


def _lives(pid: int, started: str) -> bool:
    found = _started(pid)
    if found is not None:
        return not started or found == started
    # No such process, or a system that does not show it: ask by signal.
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    # It is there, unshown. On Linux that is a process that ended and was not collected
    # yet, which writes nothing any more, or a hidden one of another user.
    return not _ended(pid)


def _stat(pid: int) -> list[str] | None:
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name in parentheses may hold anything, parentheses and spaces included.
    return raw.rpartition(b")")[2].decode("ascii", "replace").split()


def _started(pid: int) -> str | None:
    """When a living process started; None where there is none, or nothing to ask."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return fields[19]


def _ended(pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and fields[0] in "ZX"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""

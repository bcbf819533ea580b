"""Who holds a lease, and whether that holder still writes.

Two things tell. Time, everywhere: a holder renews its lease as long as it lives, so one
whose lease is over has stalled or is gone. And, where the process numbers of the holder
are those of who asks, the process table: a holder that is not in it is gone at once. A
process number alone proves nothing, because numbers are used again, and because each
container has a process 1: a holder is a boot of a host, a namespace of process numbers,
a number in it and the time that process started.
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
        boot: Which boot of the host, and whose clock since then; empty where the system
            does not say.
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
            socket.gethostname(),
            pid,
            _started(pid) or "",
            _boot(),
            _namespace("pid"),
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@final
@attrs.frozen
class Until:
    """When a lease is over, or what the time is now.

    Attributes:
        wall: Seconds since the epoch.
        up: Seconds on the count that a host keeps since it was booted, which setting a
            clock or sleeping does not move; None where that is not known.
    """

    wall: float
    up: float | None


def is_over(until: Until, now: Until, holder: Owner, here: Owner) -> bool:
    """True if a lease is over."""
    return seconds_left(until, now, holder, here) <= 0


def seconds_left(until: Until, now: Until, holder: Owner, here: Owner) -> float:
    """How long a lease still lasts: by the count since the boot, if holder and asker
    share it, else by the clocks of both."""
    shared = bool(holder.namespace and here.namespace) and holder.boot == here.boot
    if shared and until.up is not None and now.up is not None:
        return until.up - now.up
    return until.wall - now.wall


def is_gone(holder: Owner, here: Owner, over: bool) -> bool:
    """True if a holder writes no more, as far as can be told from here.

    A wrong yes costs the holder its lease and never an entry: its next append finds the
    newer epoch.

    Args:
        holder: Who took the lease.
        here: Who asks.
        over: Whether the lease is over.
    """
    if over:
        return True
    if holder.namespace and here.namespace:
        shared = (holder.boot, holder.namespace) == (here.boot, here.namespace)
    elif holder.host == here.host and holder.boot != here.boot:
        return True  # a system without namespaces that was rebooted
    else:
        shared = holder.host == here.host
    return shared and not _lives(holder.pid, holder.started)


def may_write(holder: Owner, here: Owner, expired: bool) -> bool:
    """True if a holder that an older turnlatch wrote down may still append. It did not say
    its namespace, and it renewed its lease with its appends only.

    Args:
        holder: Who took the lease.
        here: Who asks.
        expired: Whether the lease's time is over.
    """
    if holder.host != here.host:
        return not expired
    same_boot = _boot_id(holder.boot) == _boot_id(here.boot)
    return same_boot and _lives(holder.pid, holder.started)


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
    """The start time of a live process; None if it is gone or the system does not say."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return fields[19]


def _ended(pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and fields[0] in "ZX"


def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
    # A container may count the time since boot separately.
    return f"{boot} {_namespace('time')}".strip()


def _boot_id(boot: str) -> str:
    return boot.partition(" ")[0]


def _namespace(kind: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{kind}")
    except OSError:
        return ""

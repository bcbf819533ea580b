"""The Python side of `shim.c`: it is compiled here, armed here, and its log is read here.

A process runs with the library preloaded and calls `arm` on its own store. What the
library counts and where it can break off is said in `shim.c`.
"""

import ctypes
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from pathlib import Path
from struct import Struct
from typing import Final, final

import attrs

SOURCE: Final = Path(__file__).with_name("shim.c")
TAILS: Final = ("", "-wal", "-journal", "-head")
"""The files of a store, by the number that an operation names them with."""

FOLDER: Final = len(TAILS)
"""The number of the folder they are in."""


class Kind(IntFlag):
    """What is done to a file; `MARK` is a note of the process's between operations."""

    CREATE = 1
    WRITE = 2
    SYNC = 4
    TRUNCATE = 8
    UNLINK = 16
    MARK = 32


ANY: Final = Kind.CREATE | Kind.WRITE | Kind.SYNC | Kind.TRUNCATE | Kind.UNLINK
GROWING: Final = Kind.CREATE | Kind.WRITE
"""What needs room on the disk."""


class Mode(IntEnum):
    """What happens at the point: nothing, or a kill, half a write and a kill, an error."""

    COUNT = 0
    KILL = 1
    TEAR = 2
    FAIL = 3


FOR_GOOD: Final = 1 << 30
"""Longer than any process lives."""


@final
@attrs.frozen
class Plan:
    """Where a process is broken off, and how.

    Attributes:
        mode: How.
        at: The operation, counted from 1.
        kinds: Which kinds of operations fail.
        error: The error they fail with.
        lasting: How many more of these kinds fail after it.
        half: Whether a write that fails has written half of its data before.
        log: A file for the log of what was done; empty for none.
    """

    mode: Mode = Mode.COUNT
    at: int = 0
    kinds: Kind = ANY
    error: int = 0
    lasting: int = 0
    half: bool = False
    log: str = ""


COUNTED: Final = Plan()
"""Nothing is broken off."""


@final
@attrs.frozen
class Op:
    """One operation of a log.

    Attributes:
        kind: What was done.
        file: To which file of the store, or to `FOLDER`.
        failed: Whether it failed; what fails without a trace is not in a log.
        at: Where in the file; of a mark its number, of a cut the size that is left.
        data: What was written.
    """

    kind: Kind
    file: int
    failed: bool
    at: int
    data: bytes


def unavailable() -> str | None:
    """Why there can be no shim here; None if there can be one."""
    if sys.platform != "linux":
        return "the shim needs Linux"
    if platform.machine() not in ("x86_64", "aarch64"):
        return "the shim is written for 64-bit x86 and ARM"
    if shutil.which("cc") is None:
        return "the shim needs a C compiler"
    return None


def built(folder: Path) -> Path:
    """Compile the shim into a folder."""
    library = folder / "shim.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, "-o", str(library), str(SOURCE)], check=True)
    return library


def arm(store: str, plan: Plan, log: int) -> None:
    """Begin to count, in a process that the shim was preloaded into.

    Args:
        store: The store's path.
        plan: Where to break off.
        log: Where the log goes, as a descriptor; -1 for nowhere.
    """
    ctypes.CDLL(None).sweep_arm(
        ctypes.c_char_p(store.encode()),
        *(ctypes.c_int(plan.mode), ctypes.c_long(plan.at), ctypes.c_int(plan.kinds)),
        *(ctypes.c_int(plan.error), ctypes.c_int(plan.lasting)),
        *(ctypes.c_int(plan.half), ctypes.c_int(log)),
    )


def count() -> int:
    """How many operations there were since `arm`."""
    ask = ctypes.CDLL(None).sweep_count
    ask.restype = ctypes.c_long
    return int(ask())


def mark(number: int) -> None:
    """Put a note into the log."""
    ctypes.CDLL(None).sweep_mark(ctypes.c_long(number))


_HEAD: Final = Struct("iiiiqq")


def logged(path: Path) -> Iterator[Op]:
    """The operations of a log, in their order."""
    raw, at = path.read_bytes(), 0
    while at < len(raw):
        kind, file, failed, _, where, length = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        data = raw[at : at + length] if kind == Kind.WRITE else b""
        at += len(data)
        yield Op(Kind(kind), file, bool(failed), where, data)

"""Facts about a store's files and holders that the operating system gives, or withholds."""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from turnlatch.errors import JournalError
from turnlatch.journal import holder
from turnlatch.journal.owner import Owner, is_gone
from turnlatch.journal.paths import who_else
from turnlatch.journal.wal_recovery import write_again


def _no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that shows nothing below `/proc`."""

    def silent(real: Callable[..., Any]) -> Callable[..., Any]:
        def read(path: object, *given: Any) -> Any:
            if str(path).startswith("/proc/"):
                raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
            return real(path, *given)

        return read

    for name in ("read_text", "read_bytes"):
        monkeypatch.setattr(Path, name, silent(getattr(Path, name)))
    monkeypatch.setattr(os, "readlink", silent(os.readlink))


def test_holder_is_asked_by_signal_if_the_system_shows_no_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _no_proc(monkeypatch)
    here = Owner.current()

    assert (here.started, here.boot, here.namespace) == ("", "", "")
    assert not is_gone(here, here, over=False)
    gone = evolve(here, pid=2**22 + 1)  # more than Linux gives out
    assert is_gone(gone, here, over=False)


def test_holder_that_may_not_be_asked_counts_as_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _no_proc(monkeypatch)
    here = Owner.current()

    def refused(pid: int, number: int) -> None:
        raise PermissionError(errno.EPERM, "not yours")

    monkeypatch.setattr(os, "kill", refused)

    assert not is_gone(evolve(here, pid=here.pid + 1), here, over=False)
    assert not is_gone(evolve(here, pid=2**99), here, over=False)


def _listed(path: Path, pid: int, mode: str = "WRITE", mark: str = "") -> str:
    found = path.stat()
    major, minor = os.major(found.st_dev), os.minor(found.st_dev)
    return (
        f"1: {mark}POSIX  ADVISORY  {mode} {pid} {major:02x}:{minor:02x}:"
        f"{found.st_ino} 120 128"
    )


def test_holder_is_who_the_list_of_locks_says_writes(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path.touch()
    here, locks = os.getpid(), tmp_path / "locks"
    other = tmp_path / "other"
    other.touch()
    monkeypatch.setattr(holder, "_LOCKS", locks)

    def said(*lines: str) -> str | None:
        locks.write_text("\n".join(lines))
        return holder.lock_holder(str(path))

    assert holder.lock_holder(str(path)) is None  # the system has no such list
    assert said() is None
    assert said("1: POSIX") is None
    assert said(_listed(path, 5, mode="READ")) is None
    assert said(_listed(path, 5, mark="-> ")) is None
    assert said(_listed(other, 5)) is None
    assert said(_listed(path, 0)) is None
    assert said(_listed(path, -1)) is None
    gone = 2**22 + 1
    assert said(_listed(path, gone)) == f"process {gone}"
    assert said(_listed(path, 1)) != "process 1"
    assert str(said(_listed(path, 1))).startswith("process 1 (")
    mine = f"this process ({here}), over another connection,"
    assert said(_listed(path, here)) == mine
    assert said(_listed(path, here), _listed(path, gone)) == f"process {gone}"
    path.unlink()
    assert said(_listed(other, 5)) is None


def test_file_of_another_user_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.touch(0o600)
    assert who_else(str(path)) == ()

    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)

    assert who_else(str(path)) == (
        f"{path} belongs to another user ({path.stat().st_uid})",
    )


def test_log_that_does_not_reach_the_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "chat.db-wal"
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(JournalError, match="cannot be brought to the disk"):
        write_again(connection, str(log))

    log.write_bytes(b"frames")
    write_again(connection, str(log))
    real = os.write

    def short(descriptor: int, piece: bytes) -> int:
        return real(descriptor, piece[:3])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(JournalError, match="a short write"):
        write_again(connection, str(log))
    assert log.read_bytes() == b"frames"
    assert not connection.in_transaction
    connection.close()

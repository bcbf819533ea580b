"""The head file is a guard: what becomes of it never costs an entry."""

import os
from pathlib import Path
from typing import Any

import pytest

from turnlatch.errors import JournalError
from turnlatch.journal.tail_anchor import (
    FLAGS,
    Anchor,
    AnchorFile,
    check,
    name_digest,
    open_head,
)

STORE = bytes(range(16))
NAME = name_digest("notes")
HASH = b"h" * 32


def _opened(path: Path, store: bytes = STORE) -> AnchorFile:
    head, notices = open_head(str(path), store, accept_loss=False)
    assert head is not None
    assert notices == ()
    return head


@pytest.fixture
def head_path(tmp_path: Path) -> Path:
    """A head file with one anchor."""
    path = tmp_path / "chat.db-head"
    head = _opened(path)
    assert head.write(1, NAME, 3, HASH)
    head.close()
    return path


def _read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that was mounted for reading, as `open` shows it."""
    real = os.open

    def opened(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise OSError(30, "Read-only file system")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", opened)


@pytest.mark.parametrize("lacking", [(), ("pread", "pwrite")], ids=["posix", "windows"])
def test_anchor_is_read_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, ...]
) -> None:
    for name in lacking:
        monkeypatch.delattr(os, name)
    path = tmp_path / "chat.db-head"
    head = _opened(path)

    assert head.write(2, NAME, 7, HASH)
    assert head.write(5, name_digest("other"), 9, HASH)

    assert head.read(1) is None
    assert head.read(2) == Anchor(7, HASH)
    assert head.everything() == [(2, Anchor(7, HASH)), (5, Anchor(9, HASH))]
    assert (head.knows(NAME), head.knows(name_digest("new"))) == (True, False)
    head.keep({5})
    assert head.everything() == [(5, Anchor(9, HASH))]
    head.close()


def test_head_file_that_is_closed_knows_nothing_and_takes_nothing(
    head_path: Path,
) -> None:
    head = _opened(head_path)
    head.close()
    head.close()

    assert head.read(1) is None
    assert head.everything() == []
    assert not head.knows(NAME)
    assert not head.write(1, NAME, 4, HASH)
    assert _opened(head_path).read(1) == Anchor(3, HASH)


def test_head_file_that_may_only_be_read_is_read_and_stays(
    head_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = head_path.read_bytes()
    _read_only(monkeypatch)
    head = _opened(head_path)

    assert head.read(1) == Anchor(3, HASH)
    assert not head.write(1, NAME, 4, HASH)
    head.close()
    assert head_path.read_bytes() == before


@pytest.mark.parametrize("size", [0, 20], ids=["empty", "torn"])
def test_begun_head_file_that_may_only_be_read_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    whole, path = tmp_path / "whole", tmp_path / "chat.db-head"
    _opened(whole).close()
    path.write_bytes(whole.read_bytes()[:size])
    _read_only(monkeypatch)

    _opened(path).close()

    assert path.stat().st_size == size


def test_damaged_read_only_head_file_is_reported_and_stays(
    head_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = bytearray(head_path.read_bytes())
    raw[40] ^= 1
    head_path.write_bytes(raw)
    _read_only(monkeypatch)

    head, notices = open_head(str(head_path), STORE, accept_loss=False)

    assert head is not None
    head.close()
    assert [one for one in notices if "was damaged" in one] == list(notices) != []
    assert head_path.read_bytes() == raw


def test_head_file_that_cannot_be_opened_is_reported(
    tmp_path: Path,
) -> None:
    head, (notice,) = open_head(str(tmp_path), STORE, accept_loss=False)

    assert head is None
    assert "cannot be used" in notice
    assert "a truncated journal would not be noticed" in notice


def test_anchor_that_the_disk_refuses_is_not_noted_and_nothing_fails(
    head_path: Path,
) -> None:
    """The entries are committed by then."""
    head = AnchorFile(os.open(head_path, os.O_RDONLY | FLAGS), writable=True)

    assert not head.write(1, NAME, 4, HASH)
    head.keep(())
    assert head.read(1) == Anchor(3, HASH)
    head.close()


def test_cut_or_damaged_slot_is_not_read_as_an_anchor(head_path: Path) -> None:
    raw = head_path.read_bytes()
    for spoiled in (raw[:-1], raw[:-64] + bytes(64), raw[:70] + b"?" + raw[71:]):
        head_path.write_bytes(spoiled)
        head = _opened(head_path)
        assert head.read(1) is None
        head.close()


def test_file_of_zeros_larger_than_any_head_file_is_somebody_elses(
    tmp_path: Path,
) -> None:
    path = tmp_path / "chat.db-head"
    path.touch()
    os.truncate(path, (1 << 24) + 1)

    with pytest.raises(JournalError, match="is not a head file"):
        open_head(str(path), STORE, accept_loss=False)
    assert path.stat().st_size == (1 << 24) + 1


@pytest.mark.parametrize(
    ("anchor", "refused"),
    [
        (None, None),
        (Anchor(3, HASH), None),
        (Anchor(2, HASH), None),
        (Anchor(4, HASH), "anchor says 4, record ends at 3"),
        (Anchor(3, b"o" * 32), "entry 3"),
    ],
)
def test_record_is_as_long_as_its_anchor_says_and_the_same(
    anchor: Anchor | None, refused: str | None
) -> None:
    given: Any = (anchor, 3, HASH, "conversation 'notes'")
    if refused is None:
        check(*given)
    else:
        with pytest.raises(JournalError, match=refused):
            check(*given)

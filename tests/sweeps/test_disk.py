"""The model of the disk: what it may lose and what it may not."""

import random

from tests.sweeps.disk import SECTOR, Disk
from tests.sweeps.shim import FOLDER, Kind, Op

ONE, TWO = b"1" * SECTOR, b"2" * SECTOR


def op(kind: Kind, at: int = 0, data: bytes = b"", *, failed: bool = False) -> Op:
    """An operation on the database."""
    return Op(kind, 0, failed, at, data)


def made(*ops: Op) -> Disk:
    """A disk on which a database was made, and then these."""
    disk = Disk()
    folder = Op(Kind.SYNC, FOLDER, False, 0, b"")
    for one in (op(Kind.CREATE), folder, *ops):
        disk.take(one)
    return disk


def drawn(disk: Disk) -> set[bytes]:
    """What the database may hold."""
    dice = random.Random(0)
    return {disk.drawn(dice).get(0, b"") for _ in range(300)}


def test_synced_writes_are_kept() -> None:
    disk = made(op(Kind.WRITE, 0, ONE + TWO), op(Kind.SYNC))

    assert drawn(disk) == {ONE + TWO}
    assert disk.bare() == disk.kept() == {0: ONE + TWO}


def test_any_part_of_unsynced_writes_may_be_kept() -> None:
    disk = made(
        op(Kind.WRITE, 0, ONE + ONE), op(Kind.SYNC), op(Kind.WRITE, 0, TWO + TWO)
    )

    assert drawn(disk) == {one + other for one in (ONE, TWO) for other in (ONE, TWO)}
    assert disk.bare() == {0: ONE + ONE}
    assert disk.kept() == {0: TWO + TWO}


def test_a_file_may_have_grown_without_what_was_written() -> None:
    disk = made(op(Kind.WRITE, 0, ONE), op(Kind.SYNC), op(Kind.WRITE, SECTOR, TWO))

    assert drawn(disk) == {ONE, ONE + TWO, ONE + bytes(SECTOR)}


def test_write_within_a_sector_keeps_the_bytes_around_it() -> None:
    disk = made(op(Kind.WRITE, 0, ONE), op(Kind.SYNC), op(Kind.WRITE, 9, b"2"))

    assert drawn(disk) == {ONE, ONE[:9] + b"2" + ONE[10:]}


def test_write_with_a_failed_sync_stays_unsure_until_written_again() -> None:
    failed = (op(Kind.WRITE, 0, ONE), op(Kind.SYNC, failed=True), op(Kind.SYNC))
    disk = made(*failed)
    assert drawn(disk) == {ONE, bytes(SECTOR)}
    assert disk.kept() == {0: ONE}  # and everybody reads it

    disk = made(*failed, op(Kind.WRITE, 0, ONE), op(Kind.SYNC))
    assert drawn(disk) == {ONE}


def test_truncated_bytes_may_come_back() -> None:
    disk = made(op(Kind.WRITE, 0, ONE), op(Kind.SYNC), op(Kind.TRUNCATE, 0))
    assert drawn(disk) == {b"", ONE, bytes(SECTOR)}

    disk.take(op(Kind.SYNC))
    assert drawn(disk) == {b""}


def test_a_file_is_gone_for_certain_once_its_folder_is_synced() -> None:
    disk = made(op(Kind.WRITE, 0, ONE), op(Kind.SYNC), op(Kind.UNLINK))
    assert drawn(disk) == {b"", ONE}

    disk.take(Op(Kind.SYNC, FOLDER, False, 0, b""))
    assert disk.bare() == {}

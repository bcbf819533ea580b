"""The files of a store, as a kill leaves them: copied while a process has it open."""

import shutil
from pathlib import Path
from typing import Final

FILES: Final = ("chat.db", "chat.db-wal", "chat.db-head")


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What stands in the three files; a log that is empty says as much as none."""
    return {
        name: (folder / name).read_bytes() if (folder / name).exists() else b""
        for name in FILES
    }


def copied(folder: Path, target: Path) -> Path:
    """A new folder with the same three files."""
    target.mkdir()
    for name in FILES:
        if (folder / name).exists():
            shutil.copy(folder / name, target / name)
    return target

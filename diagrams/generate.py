"""Write the drawings of every declared machine beside this file.

Run it after a table has changed: `python diagrams/generate.py`. A test compares the
committed files with what it would write.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from turnlatch.diagrams import MACHINES, render
from turnlatch_states.fsm.table import Table

FOLDER = Path(__file__).resolve().parent


def drawings(tables: Iterable[Table]) -> Mapping[str, str]:
    """The text of every file, by file name."""
    files: dict[str, str] = {}
    for table in tables:
        files[f"{table.name}.svg"] = render(table, "svg")
        files[f"{table.name}.mmd"] = render(table, "mermaid")
    return files


def main() -> None:
    """Write the files."""
    for name, drawn in drawings(MACHINES.values()).items():
        (FOLDER / name).write_bytes(drawn.encode())


if __name__ == "__main__":
    main()

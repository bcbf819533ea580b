"""The matrix of the comparison as JSON, as a Markdown table, and as lines of a terminal."""

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast, final

import attrs

from benchmarks.peers.cells import Cell
from benchmarks.peers.environments import FOLDER, Peer
from benchmarks.peers.rows import PeerRow

FILE: Final = FOLDER / "matrix.json"
PAGE: Final = FOLDER.parents[1] / "docs" / "peers.md"
BEGIN: Final = "<!-- written by `make peers`: begin -->"
END: Final = "<!-- written by `make peers`: end -->"


@final
@attrs.frozen
class Matrix:
    """The outcome of a run.

    Attributes:
        date: The day of the run, as ISO 8601.
        versions: The versions of each agent's packages, by its column.
        rows: What goes wrong in each row, by its name.
        cells: By column, then by row.
    """

    date: str
    versions: dict[str, dict[str, str]]
    rows: dict[str, str]
    cells: dict[str, dict[str, Cell]]

    def differences(self, other: "Matrix") -> tuple[str, ...]:
        """The cells in which two runs differ, as lines."""
        return tuple(
            f"{column}, {row}: {found}, and then {other.cells[column][row]}"
            for column, cells in self.cells.items()
            for row, found in cells.items()
            if other.cells.get(column, {}).get(row, found).found != found.found
        )


def matrix(
    peers: Sequence[Peer],
    rows: Sequence[PeerRow],
    cells: Mapping[tuple[str, str], Cell],
    day: datetime.date,
) -> Matrix:
    """Put cells together, which are by the names of peer and row."""
    return Matrix(
        day.isoformat(),
        {one.title: one.versions for one in peers},
        {one.name: one.words for one in rows},
        {
            one.title: {row.name: cells[one.name, row.name] for row in rows}
            for one in peers
        },
    )


def as_json(made: Matrix) -> str:
    """The text of the file."""
    return json.dumps(attrs.asdict(made), indent=1, ensure_ascii=False) + "\n"


def read_json(text: str) -> Matrix:
    """Read the text of the file."""
    given = cast(
        "dict[str, dict[str, dict[str, dict[str, list[str]]]]]", json.loads(text)
    )
    cells = {
        column: {
            row: Cell(tuple(one["found"]), tuple(one["text"]))
            for row, one in found.items()
        }
        for column, found in given.pop("cells").items()
    }
    return Matrix(**cast("dict[str, object]", given), cells=cells)  # type: ignore[arg-type] # as written


def as_markdown(made: Matrix) -> str:
    """The table, under a line with the date and the versions."""
    versions = "; ".join(
        f"{column}: {', '.join(f'{name} {one}' for name, one in found.items())}"
        for column, found in made.versions.items()
        if found
    )
    columns = list(made.cells)
    lines = [
        f"Run on {made.date}. {versions}.",
        "",
        f"| | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for row, words in made.rows.items():
        shown = (_shown(made.cells[column][row]) for column in columns)
        lines.append(f"| {words} | {' | '.join(shown)} |")
    counts = (
        str(sum(one.found == ("ok",) for one in made.cells[column].values()))
        for column in columns
    )
    lines.append(f"| **`ok` of {len(made.rows)}** | {' | '.join(counts)} |")
    return "\n".join(lines)


def _shown(found: Cell) -> str:
    return (
        "ok" if found.found == ("ok",) else ", ".join(f"`{one}`" for one in found.found)
    )


def into_page(page: str, table: str) -> str:
    """A page with the table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def write(made: Matrix, file: Path = FILE, page: Path = PAGE) -> None:
    """Write the file, and the table into the page."""
    file.write_text(as_json(made), encoding="utf-8")
    page.write_text(
        into_page(page.read_text(encoding="utf-8"), as_markdown(made)), encoding="utf-8"
    )

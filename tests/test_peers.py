"""The comparison with other libraries: an agent's bug is in its cell, and the page says what the
file says. The agents on other libraries are not run here."""

import datetime
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from benchmarks.peers.cells import Cell

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks" / "peers"


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is no part of what is installed."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])


def played(row: str, bug: str) -> "Cell":
    """The cell of the planted agent."""
    from benchmarks.peers.cells import cell
    from benchmarks.peers.rows import ROWS

    (found,) = (one for one in ROWS if one.name == row)
    command = (sys.executable, str(ROOT / "tests" / "planted_peer.py"), bug)
    return cell(found, command, {"PYTHONPATH": str(PEERS)})


@pytest.mark.parametrize(
    "row",
    ["restart", "429 second", "refused input", "killed during", "killed after"],
)
def test_an_agent_without_a_bug_has_ok_in_its_cells(row: str) -> None:
    assert played(row, "none").found == ("ok",)


@pytest.mark.parametrize(
    ("bug", "row", "found"),
    [
        ("without memory", "restart", ("text_lost",)),
        ("saves first", "refused input", ("poison_resent", "stuck")),
        ("does it again", "killed after", ("effect_repeated",)),
        ("hasty", "429 second", ("retry_after_ignored",)),
        ("calls nothing", "429 second", ("not met",)),
    ],
)
def test_a_planted_bug_is_named_in_the_cell(
    bug: str, row: str, found: tuple[str, ...]
) -> None:
    cell = played(row, bug)

    assert cell.found == found
    named = {one.partition(":")[0] for one in cell.text}
    assert named == set(found) - {"not met"}


def test_every_row_is_a_script_that_can_be_read() -> None:
    from benchmarks.peers.rows import ROWS

    from turnlatch.testing.break_script import read_break_script

    assert len({one.name for one in ROWS}) == len(ROWS)
    for row in ROWS:
        assert [str(one) for one in read_break_script(row.script)] == [
            "say",
            row.trouble,
        ]


def made(**cells: "Cell") -> Any:
    """A matrix of one row, with a column for each cell."""
    from benchmarks.peers.environments import Peer
    from benchmarks.peers.matrix import matrix
    from benchmarks.peers.rows import ROWS

    peers = [Peer(name, name, ()) for name in cells]
    by_name = {(name, ROWS[0].name): cell for name, cell in cells.items()}
    return matrix(peers, ROWS[:1], by_name, datetime.date(2026, 12, 1))


def test_a_matrix_survives_its_file() -> None:
    from benchmarks.peers.cells import Cell
    from benchmarks.peers.matrix import as_json, read_json

    whole = made(one=Cell(("ok",)), two=Cell(("stuck", "text_lost"), ("stuck: so.",)))

    assert read_json(as_json(whole)) == whole


def test_a_cell_that_changes_between_two_runs_is_named() -> None:
    from benchmarks.peers.cells import Cell

    before, after = made(one=Cell(("ok",))), made(one=Cell(("stuck",)))

    assert before.differences(before) == ()
    assert before.differences(after) == ("one, restart: ok, and then stuck",)


def test_the_table_counts_the_rows_that_an_agent_survives() -> None:
    from benchmarks.peers.cells import Cell
    from benchmarks.peers.matrix import BEGIN, END, as_markdown, into_page

    table = as_markdown(made(one=Cell(("ok",)), two=Cell(("stuck",))))
    page = into_page(f"before\n{BEGIN}\nold\n{END}\nafter\n", table)

    assert table.splitlines()[-1] == "| **`ok` of 1** | 1 | 0 |"
    assert "| ok | `stuck` |" in table
    assert page == f"before\n{BEGIN}\n\n{table}\n\n{END}\nafter\n"


def test_the_page_and_the_readme_say_what_the_file_says() -> None:
    from benchmarks.peers.matrix import FILE, PAGE, as_markdown, read_json

    kept = read_json(FILE.read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert as_markdown(kept) in PAGE.read_text(encoding="utf-8")
    for column, cells in kept.cells.items():
        many = sum(one.found == ("ok",) for one in cells.values())
        assert re.search(rf"\| {re.escape(column)}[^|\n]*\| {many} \|", readme), column
    assert kept.date in readme


def test_the_file_has_every_agent_and_every_row() -> None:
    from benchmarks.peers.environments import PEERS as ALL
    from benchmarks.peers.matrix import FILE, read_json
    from benchmarks.peers.rows import ROWS

    kept = read_json(FILE.read_text(encoding="utf-8"))

    assert list(kept.cells) == [one.title for one in ALL]
    assert kept.rows == {one.name: one.words for one in ROWS}
    for peer in ALL:
        assert kept.versions[peer.title] == peer.versions
        assert set(kept.cells[peer.title]) == set(kept.rows)


def test_every_package_of_an_agent_is_pinned_and_comes_from_no_named_index() -> None:
    for file in PEERS.glob("agents/*/requirements.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            assert re.fullmatch(r"[\w.-]+==[\w.]+", line), (file.parent.name, line)


def test_the_command_names_an_agent_that_does_not_exist() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", "--only", "nobody"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "nobody" in done.stderr

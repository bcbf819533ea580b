"""The benchmarks run and fill their table; what the numbers are is not asked here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

ARMS = {
    "detent, durable",
    "(a) SDK loop, in memory",
    "(b) SDK, kept bytes",
    "(c) raw socket, fdatasync",
}
COLUMNS = ["measure", "ours", "reference", "ratio", "target", "met?"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """One run of every arm at the smallest size: what it printed, and what it wrote."""
    file = tmp_path_factory.mktemp("benchmarks") / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smoke", "--json", str(file)],
        capture_output=True,
        cwd=ROOT,
        env={"PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(), json.loads(file.read_text("utf-8"))


def test_table_has_its_columns_and_a_line_for_every_row(
    run: tuple[str, dict[str, Any]],
) -> None:
    printed, written = run
    machine, table, *_ = printed.split("\n\n")
    heads, _, *lines = table.splitlines()

    assert heads.split() == COLUMNS
    assert len(lines) == len(written["rows"])
    for line, row in zip(lines, written["rows"], strict=True):
        assert line.startswith(row["measure"])
    for fact in ("cores", "python", "sqlite", "anthropic"):
        assert f"{fact} {written['machine'][fact]}" in machine


def test_every_arm_takes_every_kind_of_turn(run: tuple[str, dict[str, Any]]) -> None:
    _, written = run

    assert len(written["samples"]) == 4
    for place in written["samples"]:
        assert set(place["arms"]) == ARMS
        assert all(sample > 0 for arm in place["arms"].values() for sample in arm)


def test_every_row_is_a_positive_value_and_says_what_it_is_held_against(
    run: tuple[str, dict[str, Any]],
) -> None:
    _, written = run

    for row in written["rows"]:
        assert row["ours"] > 0 or row["unit"] in ("bytes", "MB"), row
        assert row["against"], row
        assert (row["target"] is None) == (row["met"] is None) or not row["reference"]


def test_spans_add_up_to_the_whole_turn(run: tuple[str, dict[str, Any]]) -> None:
    _, written = run

    assert written["spans"]
    for spans in written["spans"].values():
        *parts, whole = spans
        assert sum(part["micros"] for part in parts) == pytest.approx(whole["micros"])

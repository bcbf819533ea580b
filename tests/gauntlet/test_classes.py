"""The table and the folder agree, and the runner misses nothing."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.gauntlet.__main__ import Tally, status, table, word
from tests.gauntlet.classes import CLASSES, HARNESS, HERE, LAWS, FailureClass, Group

FILES = sorted(one for one in HERE.glob("test_*.py") if one.name not in HARNESS)
BY_FILE = {one.file: one for one in CLASSES}
SOURCE = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+")


def problems(path: Path, text: str) -> list[str]:
    """What a file of the gauntlet lacks."""
    found: list[str] = []
    if path.name not in BY_FILE:
        found.append("it has no row in the table")
    tree = ast.parse(text)
    if not SOURCE.search(ast.get_docstring(tree) or ""):
        found.append("its docstring names no source")
    scenarios = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    ]
    found += [
        f"{one.name} does not take the fixture `scenario`"
        for one in scenarios
        if "scenario" not in [argument.arg for argument in one.args.args]
    ]
    if not scenarios:
        found.append("it has no scenario")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_a_class_with_a_law_sources_and_scenarios(path: Path) -> None:
    assert problems(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("test_nobody.py", '"""L. https://github.com/a/b/issues/1"""', "no row"),
        ("test_pause_turn.py", '"""A law."""', "no source"),
        (
            "test_pause_turn.py",
            "def test_a(world): ...",
            "does not take the fixture `scenario`",
        ),
        ("test_pause_turn.py", "", "no scenario"),
    ],
)
def test_the_check_sees_what_is_missing(name: str, text: str, says: str) -> None:
    assert any(says in one for one in problems(Path(name), text))


def test_the_table_is_whole() -> None:
    assert len(CLASSES) == 54
    assert len(BY_FILE) == 54
    assert [one.rank for one in CLASSES] == list(range(1, 55))
    assert {one.law for one in CLASSES} <= LAWS.keys()
    assert {one.group for one in CLASSES} == set(Group)


TWO = (
    FailureClass(1, "one", 1, Group.STUCK),
    FailureClass(2, "the-other", 2, Group.EFFECTS),
)


@pytest.mark.parametrize(
    ("passed", "failed", "words", "code"),
    [
        ({"test_one.py": 3, "test_the_other.py": 1}, {}, ["ok", "ok"], 0),
        ({"test_one.py": 3}, {}, ["ok", "MISSING"], 1),
        (
            {"test_one.py": 3, "test_the_other.py": 1},
            {"test_the_other.py": 1},
            ["ok", "FAILED"],
            1,
        ),
        ({}, {"test_one.py": 1}, ["FAILED", "MISSING"], 1),
    ],
)
def test_the_runner_fails_for_a_class_that_failed_or_is_missing(
    passed: dict[str, int], failed: dict[str, int], words: list[str], code: int
) -> None:
    tally = Tally(Counter(passed), Counter(failed))

    assert [word(one, tally) for one in TWO] == words
    assert status(TWO, tally, 0) == code
    assert status(TWO, tally, 1) == 1
    lines = table(TWO, tally)
    assert len(lines) == 5
    assert words[1] in lines[1]
    assert "law 2: closed pairs" in lines[1]


def test_the_runner_runs() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.gauntlet",
            str(HERE / "test_parallel_results_layout.py"),
        ],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    *_, row, _, _, total = done.stdout.splitlines()
    assert row.split()[:3] == ["31", "parallel-results-layout", "ok"]
    assert total.startswith("total: 1 of 1 classes, ")

"""The search with fresh seeds finds what the fixed examples of `make test` leave out."""

from pathlib import Path

import pytest
from tests.search import one_round, replay_line

PLANTED = """
from hypothesis import given, strategies as st

@given(st.integers(0, 400))
def test_planted(number):
    assert number != 7
"""
PATIENCE = 120.0
"""Seconds; a round over one small file takes a few."""


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A property that a few hundred examples break."""
    file = tmp_path / "test_planted.py"
    file.write_text(PLANTED)
    # Outside of `tests/` its profiles are not found by themselves.
    (tmp_path / "conftest.py").write_text("import tests.conftest\n")
    return file


def test_planted_bug_is_found_and_its_replay_line_finds_it_again(planted: Path) -> None:
    seeds = range(20)
    tried = ((seed, one_round(seed, PATIENCE, [str(planted)])) for seed in seeds)
    seed, told = next((seed, told) for seed, told in tried if told is not None)

    line = replay_line(seed, told, [])

    assert f"--seed {seed} --rounds 1" in line
    assert "test_planted" in line
    assert one_round(seed, PATIENCE, [str(planted)]) is not None


def test_a_round_that_is_cut_off_found_nothing(planted: Path) -> None:
    assert one_round(0, 0.0, [str(planted)]) is None

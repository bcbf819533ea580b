"""Up to six processes on one store, killed and stopped at random, and nothing is lost.

Forty seeds with DETENT_SWEEP_FULL=1, otherwise three."""

import os
import sys
from pathlib import Path

import pytest
from tests.sweeps.writers_process import (
    Course,
    Plant,
    grabbing,
    play,
    same_epoch,
    sound,
    unfenced,
)

FULL = os.environ.get("DETENT_SWEEP_FULL") == "1"
SEEDS = range(40) if FULL else range(3)
APPENDS = 300 if FULL else 100


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("plant", [sound, grabbing])
def test_nothing_is_lost_torn_or_written_by_two(
    seed: int, plant: Plant, tmp_path: Path
) -> None:
    """Also where everybody believes that everybody else is dead: what keeps a writer
    from writing is the epoch, and neither the clock nor the process table."""
    outcome = play(tmp_path, Course(seed, APPENDS, plant))

    told = ", ".join(f"{count} {name}" for name, count in outcome.counts.items())
    sys.stdout.write(f"seed {seed}, {plant.__name__}: {told}\n")
    assert outcome.found == []
    assert outcome.counts["acknowledged appends"] >= APPENDS
    assert outcome.counts["killed"] > 0
    assert outcome.counts["stopped"] > 0


@pytest.mark.parametrize("plant", [unfenced, same_epoch])
def test_a_broken_build_is_found(plant: Plant, tmp_path: Path) -> None:
    """The planted bugs: no fence, and a fence that is always the same."""
    found: list[str] = []
    seed = -1
    while not found and seed < 20:
        seed += 1
        found += play(tmp_path / str(seed), Course(seed, 40, plant)).found

    sys.stdout.write(f"{plant.__name__}: seed {seed}, {len(found)} problems\n")
    assert {"late:", "backwards:", "shared:"} & {one.split()[0] for one in found}

"""Up to six processes on one store, killed and stopped at random: nothing is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.sweeps.sweep import Tally
from tests.sweeps.writers_process import (
    Course,
    Plant,
    grabbing,
    play,
    same_epoch,
    sound,
    unfenced,
)

SEEDS, SEEDS_FULL = 1, 40
APPENDS, APPENDS_FULL = 100, 300


@pytest.mark.parametrize("plant", [sound, grabbing])
def test_nothing_is_lost_torn_or_written_by_two(
    plant: Plant, tmp_path: Path, tally: Callable[[str], Tally], full: bool
) -> None:
    """Also where everybody believes that everybody else is dead: what keeps a writer
    from writing is the epoch, and neither the clock nor the process table."""
    counts = tally(f"writers killed and stopped, {plant.__name__}")
    appends = APPENDS_FULL if full else APPENDS
    for seed in range(SEEDS_FULL if full else SEEDS):
        outcome = play(tmp_path / str(seed), Course(seed, appends, plant))
        counts.add("seeds")
        for name, count in outcome.counts.items():
            counts.add(name, count)

        assert outcome.found == [], f"seed {seed}"
        assert outcome.counts["acknowledged appends"] >= appends
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

    assert {"late:", "backwards:", "shared:"} & {one.split()[0] for one in found}

"""Plant bugs one at a time and see whether a test fails: `python -m tests.mutants`.

mutmut changes one expression of a function at a time and runs the tests that call the
function. Each room (`tests/mutants/rooms.py`) is mutated by itself, in a copy below
`build/mutants/`, and judged by its own tests. All mutants of all rooms take hours;
`--part` names a room or a module of one, `--sample` tries so many of each room, drawn
from `--seed`. Exit status 1 if a room scores less than 95 %.

A mutant counts as killed if a test fails or runs out of its time. One
that survives is printed with its change. If `tests/mutants/survivors.toml` says that it is
equivalent, it does not count.
"""

import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click
from attrs import asdict, frozen
from tests.mutants.rooms import ROOMS, UNFIT, Room
from tests.mutants.survivors import LISTED, ROOT, Change, Listed, listed

FLOOR: Final = 0.95
_BELOW: Final = ROOT / "build" / "mutants"

_KILLED: Final = frozenset({"killed", "timeout", "segfault"})


@frozen
class Score:
    """The results of the mutants of one room.

    Attributes:
        room: Its name.
        mutants: How many it has.
        tried: How many of them were tried.
        killed: How many a failing test or a time-out found.
        equivalent: How many survived and are listed as equivalent, by reason.
        open: How many survived and are listed with the reason why no test kills them.
        survivors: The changes that survived and are not listed.
    """

    room: str
    mutants: int
    tried: int
    killed: int
    equivalent: dict[str, int]
    open: int
    survivors: list[Change]

    @property
    def counted(self) -> int:
        """The mutants tried that are not equivalent."""
        return self.tried - sum(self.equivalent.values())

    @property
    def score(self) -> float:
        """The share of the counted that was killed."""
        return self.killed / self.counted if self.counted else 1.0

    @property
    def at_least(self) -> float:
        """The lower end of the score's 95 % interval (Wilson); all tried has none."""
        if self.tried == self.mutants or not self.counted:
            return self.score
        n, z = self.counted, 1.96
        middle = self.score + z * z / (2 * n)
        around = z * math.sqrt(self.score * (1 - self.score) / n + z * z / (4 * n * n))
        return (middle - around) / (1 + z * z / n)

    def line(self) -> str:
        """One line for a person."""
        sampled = (
            "" if self.tried == self.mutants else f", at least {self.at_least:.1%}"
        )
        return (
            f"{self.room}: {self.score:.1%}{sampled}: {self.killed} of {self.counted} "
            f"killed, {self.tried - self.counted} equivalent, {self.tried} of "
            f"{self.mutants} tried"
        )


def lay_out(room: str, given: Room) -> Path:
    """Copy the project to where mutmut can work, which wants its packages below `src/`."""
    place = _BELOW / room
    shutil.rmtree(place, ignore_errors=True)
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    tops: set[str] = set()
    for name in filter(None, files):
        source = ROOT / name
        if not source.exists():
            continue
        top, _, below = name.partition("/")
        tops.add(top)
        for target in (
            name,
            *([f"src/{below}"] if top in ("states", "engine") else ()),
        ):
            (place / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place / target)
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/{given.package}/*"],
        "also_copy": sorted(tops - {"tests", "pyproject.toml"}),
        "pytest_add_cli_args_test_selection": [
            *given.tests,
            *(f"--deselect={one}" for one in UNFIT),
        ],
        # pytest does not find a test by an id that it has escaped.
        "pytest_add_cli_args": [
            "-o",
            "disable_test_id_escaping_and_forfeit_all_rights_to_community_support=true",
        ],
        "use_git_change_detection": False,
    }
    with (place / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n[tool.mutmut]\n")
        # Lists, strings and truth values have one notation in JSON and TOML.
        file.writelines(f"{key} = {json.dumps(one)}\n" for key, one in settings.items())
    return place


def names(place: Path, modules: Sequence[str]) -> list[str]:
    """The mutants of the room laid out there, or of some modules of it."""
    # mutmut reads its settings where the process stands, once, at its import.
    from mutmut.configuration import config, reset_config
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    os.chdir(place)
    reset_config()
    found: list[str] = []
    for path in sorted(Path("src").rglob("*.py")):
        wanted = not modules or path.stem in modules
        if wanted and config().should_mutate(path):
            made = mutate_file_contents(str(path), path.read_text("utf-8"))
            found += [get_mutant_name(path, name) for name in made.mutant_names]
    return found


def verdicts(place: Path, tried: Sequence[str]) -> dict[str, str]:
    """Each mutant with the result that mutmut noted."""
    from mutmut.stats import status_by_exit_code

    noted: dict[str, Any] = {}
    for path in (place / "mutants" / "src").rglob("*.meta"):
        noted |= json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return {name: status_by_exit_code[noted.get(name)] for name in tried}


def change(name: str) -> Change:
    """The change of a mutant; the working directory is where its room is laid out."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.utils.format_utils import (
        get_module_from_key,
        orig_function_and_class_names_from_key,
    )

    lines = get_diff_for_mutant(name).splitlines()[2:]
    function, owner = orig_function_and_class_names_from_key(name)
    was, now = (
        "\n".join(line[1:].strip() for line in lines if line.startswith(sign))
        for sign in "-+"
    )
    qualified = f"{owner}.{function}" if owner else function
    return Change(get_module_from_key(name), qualified, was, now)


def judged(
    room: str, mutants: int, noted: dict[str, str], changes: list[Change], said: Listed
) -> Score:
    """Count what became of the mutants that were tried.

    Args:
        room: The room's name.
        mutants: How many mutants it has.
        noted: Each mutant that was tried with the result of mutmut.
        changes: Those that survived.
        said: The list of survivors.
    """
    equivalent: Counter[str] = Counter()
    left: list[Change] = []
    known = 0
    for one in changes:
        match said.verdict(one):
            case "equivalent", reason:
                equivalent[reason] += 1
            case "open", _:
                known += 1
            case _:
                left.append(one)
    killed = sum(one in _KILLED for one in noted.values())
    return Score(room, mutants, len(noted), killed, dict(equivalent), known, left)


def play(
    room: str, modules: Sequence[str], sample: int | None, seed: int, workers: int
) -> Score:
    """Try the mutants of one room."""
    place = lay_out(room, ROOMS[room])
    every = names(place, modules)
    tried = every
    if sample is not None and sample < len(every):
        tried = sorted(random.Random(f"{seed} {room}").sample(every, sample))
    log = place / "mutmut.log"
    with log.open("w", encoding="utf-8") as file:
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "mutmut", "run"),
                *("--max-children", str(workers)),
                *tried,
            ],
            cwd=place,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
        ).returncode
    noted = verdicts(place, tried)
    untried = [name for name, one in noted.items() if one == "not checked"]
    if untried:
        raise click.ClickException(
            f"mutmut tried {len(tried) - len(untried)} of {len(tried)} mutants of {room} "
            f"and ended with {ended}; {log} says why"
        )
    survived = [change(name) for name, one in noted.items() if one not in _KILLED]
    said = listed(LISTED.read_text("utf-8"))
    return judged(room, len(every), noted, survived, said)


@click.command()
@click.option("--part", help="A room, or a module of one: machine, machine/step.")
@click.option(
    "--sample", type=int, help="So many mutants of each room; all if not given."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the sample.")
@click.option("--workers", type=int, default=1, show_default=True, help="Processes.")
@click.option("--json", "figures", type=click.Path(path_type=Path), help="Write there.")
def main(
    part: str | None, sample: int | None, seed: int, workers: int, figures: Path | None
) -> None:
    """Try mutants of the core and of the journal."""
    room, _, module = (part or "").partition("/")
    if room and room not in ROOMS:
        raise click.BadParameter(
            f"{room} is not a room; the rooms are {', '.join(ROOMS)}"
        )
    figures = figures and figures.resolve()
    scores: list[Score] = []
    for name in [room] if room else ROOMS:
        score = play(name, [module] if module else [], sample, seed, workers)
        scores.append(score)
        for one in score.survivors:
            click.echo(f"\n{one.module} {one.function}\n- {one.was}\n+ {one.now}")
        click.echo(score.line())
        if figures:
            figures.write_text(written(scores, sample, seed), "utf-8")
    sys.exit(any(score.score < FLOOR for score in scores))


def written(scores: Sequence[Score], sample: int | None, seed: int) -> str:
    """The figures as JSON."""
    return json.dumps(
        {
            "tool": f"mutmut {version('mutmut')}",
            "date": datetime.now(UTC).date().isoformat(),
            "sample": sample,
            "seed": seed,
            "rooms": [
                {**asdict(one), "score": one.score, "at_least": one.at_least}
                for one in scores
            ],
        },
        indent=2,
    )


if __name__ == "__main__":
    main()

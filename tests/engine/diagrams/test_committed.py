"""The committed drawings are what the tables say today."""

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, cast

import attrs

from turnlatch.diagrams import MACHINES
from turnlatch_states.fsm.table import Table
from turnlatch_states.machine.thread import THREAD

FOLDER = Path(__file__).resolve().parents[3] / "diagrams"


class Generator(Protocol):
    """What `diagrams/generate.py` offers."""

    def drawings(self, tables: Iterable[Table]) -> Mapping[str, str]: ...


def generator() -> Generator:
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast(Generator, module)  # a module is whatever its file defines


def stale(tables: Iterable[Table]) -> list[str]:
    """The files that differ from what the tables say, or are missing."""
    return [
        name
        for name, drawn in generator().drawings(tables).items()
        if not (FOLDER / name).exists()
        or (FOLDER / name).read_bytes() != drawn.encode()
    ]


def test_committed_drawings_are_fresh() -> None:
    """If this fails: run `python diagrams/generate.py` and commit the result."""
    assert stale(MACHINES.values()) == []


def test_no_drawing_is_left_of_a_machine_that_is_gone() -> None:
    expected = {f"{name}.{end}" for name in MACHINES for end in ("svg", "mmd")}
    found = {path.name for path in FOLDER.iterdir() if path.suffix in {".svg", ".mmd"}}

    assert found == expected


def test_table_that_lacks_a_row_makes_its_drawings_stale() -> None:
    """Planted bug: a row was removed and nobody drew the machine again."""
    *kept, last = THREAD.transitions
    assert last.trigger == "disable"

    smaller = attrs.evolve(THREAD, transitions=tuple(kept))

    assert stale([THREAD]) == []
    assert stale([smaller]) == ["thread.svg", "thread.mmd"]

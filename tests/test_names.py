"""One word, one thing: no class name means two things, but for those listed with a reason."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = (ROOT / "engine/turnlatch", ROOT / "states/turnlatch_states")

TWICE: Final[Mapping[str, str]] = {
    "Conversation": "the synchronous twin has the names of the asynchronous class",
    "Turn": "the public value of the machine's turn",
    "TurnStream": "the synchronous twin has the names of the asynchronous class",
    "Watch": "the synchronous twin has the names of the asynchronous class",
}
"""Class names of more than one module, each with the reason. This list only shrinks."""


def classes(modules: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    """The modules that define each public class, by its name.

    Args:
        modules: Each module's name with its source.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for module, source in modules:
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    return found


def twice(modules: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The class names that more than one module defines."""
    return {name: where for name, where in classes(modules).items() if len(where) > 1}


def test_a_class_name_means_one_thing() -> None:
    found = twice(
        (path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for package in PACKAGES
        for path in sorted(package.rglob("*.py"))
    )

    assert {name: found[name] for name in found.keys() - TWICE.keys()} == {}
    assert TWICE.keys() - found.keys() == set(), "take it off the list"


def test_a_name_that_is_planted_twice_is_found() -> None:
    planted = [("a", "class Turn: ..."), ("b", "class Turn: ...\nclass _Turn: ...")]

    assert twice(planted) == {"Turn": ["a", "b"]}

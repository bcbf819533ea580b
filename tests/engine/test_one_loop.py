"""One loop, one place that appends, and performers that know neither: held by the source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import turnlatch
import turnlatch_states

ENGINE: Final = Path(turnlatch.__file__).parent
CORE: Final = Path(turnlatch_states.__file__).parent
DESIGN: Final = Path(__file__).parents[2] / "docs/design.md"

PERFORMERS: Final = (
    "runtime/perform.py",
    "runtime/tool_calls.py",
    "tools/execution.py",
)
"""What performs effects, and what those use."""

LINES_MAX: Final = 400


def appends(source: str) -> int:
    """How many calls of a journal's `append` a module has."""
    return sum(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "append"
        and ast.unparse(node.func.value).endswith("journal")
        for node in ast.walk(ast.parse(source))
    )


def arrows_back(source: str) -> Iterator[str]:
    """What of the loop and the record a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            names = {one.name for one in node.names}
        else:
            continue
        for name in sorted(names):
            if re.match(r"turnlatch\.runtime\.(loop|record)\b", name):
                yield name


def test_one_place_appends_to_the_journal() -> None:
    found = {
        str(path.relative_to(ENGINE)): count
        for path in sorted(ENGINE.rglob("*.py"))
        if path.parent.name != "testing"  # journals around others, and tests of theirs
        if (count := appends(path.read_text("utf-8")))
    }
    assert found == {"runtime/record.py": 1}


def test_no_performer_imports_the_loop_or_the_record() -> None:
    for name in PERFORMERS:
        assert not list(arrows_back((ENGINE / name).read_text("utf-8"))), name


@pytest.mark.parametrize(
    "planted",
    [
        "from turnlatch.runtime.record import Record",
        "from turnlatch.runtime import loop",
        "def late():\n    import turnlatch.runtime.loop",
    ],
)
def test_the_check_sees_a_performer_that_knows_the_loop(planted: str) -> None:
    assert list(arrows_back(planted))


def test_the_check_sees_a_second_append() -> None:
    planted = (
        "class Sender:\n    def send(self):\n        self.world.journal.append([])"
    )
    assert appends(planted) == 1


def test_the_loop_fits_a_reader() -> None:
    loop = (ENGINE / "runtime/loop.py").read_text("utf-8")
    assert len(loop.splitlines()) <= LINES_MAX


def test_the_guide_to_decisions_names_what_is_there() -> None:
    """Each line of the table in `docs/design.md` leads to a function."""
    text = DESIGN.read_text("utf-8")
    place = text.index("`effects/next_effect.py`, `_recover`")
    table = text[text.rindex("\n\n", 0, place) : text.index("\n\n", place)]
    module, found = "", 0
    for name in re.findall(r"`([\w/.]+)`", table):
        if name.endswith(".py"):
            module = name
            continue
        (path,) = (root / module for root in (CORE, ENGINE) if (root / module).exists())
        functions = {
            node.name
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        if not name[0].isupper():
            assert name in functions, (module, name)
            found += 1
    assert found >= 8

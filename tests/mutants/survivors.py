"""The mutants that no test kills, each with its reason: `tests/mutants/survivors.toml`."""

import ast
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from attrs import frozen

ROOT: Final = Path(__file__).resolve().parents[2]
LISTED: Final = Path(__file__).with_name("survivors.toml")

Verdict: TypeAlias = Literal["equivalent", "open"]


@frozen
class Change:
    """What a mutant is: one function in which some lines became others.

    A mutant's number in its function changes with every edit, this only with its lines.
    """

    module: str
    function: str
    was: str
    now: str


@frozen
class Survivor:
    """A listed mutant.

    Attributes:
        change: The mutant.
        verdict: `equivalent` if no test could tell the difference, `open` if one could.
        reason: Why that is so.
    """

    change: Change
    verdict: Verdict
    reason: str


@frozen
class Kind:
    """Mutants that are equivalent for one reason, wherever they are.

    Attributes:
        name: Its name in the figures.
        was, now: Patterns that the lines before and after match as a whole.
        reason: Why no test tells such a mutant from the original.
    """

    name: str
    was: re.Pattern[str]
    now: re.Pattern[str]
    reason: str

    def holds(self, change: Change) -> bool:
        """True if the mutant is of this kind."""
        return bool(self.was.fullmatch(change.was) and self.now.fullmatch(change.now))


@frozen
class Listed:
    """All that the file says."""

    kinds: tuple[Kind, ...]
    survivors: tuple[Survivor, ...]

    def verdict(self, change: Change) -> tuple[Verdict, str] | None:
        """The verdict of the file on a mutant and its reason; None if it has none."""
        for one in self.survivors:
            if one.change == change:
                return one.verdict, one.reason
        for kind in self.kinds:
            if kind.holds(change):
                return "equivalent", kind.name
        return None


def listed(text: str) -> Listed:
    """Read the file."""
    given: dict[str, list[dict[str, Any]]] = tomllib.loads(text)
    return Listed(
        tuple(
            Kind(
                one["name"],
                re.compile(one["was"], re.DOTALL),
                re.compile(one["now"], re.DOTALL),
                one["reason"],
            )
            for one in given.get("kind", ())
        ),
        tuple(
            Survivor(
                Change(one["module"], one["function"], one["was"], one["now"]),
                one["verdict"],
                one["reason"],
            )
            for one in given.get("survivor", ())
        ),
    )


def _functions(tree: ast.Module) -> Iterable[tuple[str, ast.stmt]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def _stripped(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


def stale(survivors: Iterable[Survivor], root: Path = ROOT) -> list[Survivor]:
    """The entries whose function, or whose lines in it, no longer exist."""
    found: list[Survivor] = []
    for one in survivors:
        name = one.change.module.replace(".", "/")
        source = next(
            (
                path.read_text("utf-8")
                for room in ("states", "engine")
                for path in (
                    root / room / f"{name}.py",
                    root / room / name / "__init__.py",
                )
                if path.exists()
            ),
            "",
        )
        bodies = dict(_functions(ast.parse(source)))
        body = bodies.get(one.change.function)
        text = (ast.get_source_segment(source, body) or "") if body else ""
        if not body or one.change.was not in _stripped(text):
            found.append(one)
    return found

"""Lists that must be complete are held complete: who adds one is told what is missing."""

import ast
import re
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import attrs
import pytest

import turnlatch
from turnlatch import Recorded, StreamEvent
from turnlatch.options import PROFILE_OPTIONS, Options
from turnlatch_states.machine.events import Event

CLOSED = {
    name: {one.__name__ for one in typing.get_args(union)}
    for name, union in (("StreamEvent", StreamEvent), ("Event", Event))
}
"""The closed unions of this project: their name, and the classes in them."""

CARRIED = {("Recorded", "event"): "Event"}
"""Attributes whose value is of a closed union: the class and the name."""


def leaky(source: str) -> Iterator[str]:
    """Functions that match a value of a closed union and let what they do not know pass.

    The last case of such a match must be `assert_never`, so that a type checker names
    every place that a new member of the union has to be decided in.
    """
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        taken = {
            one.arg: ast.unparse(one.annotation).split(".")[-1]
            for one in (*function.args.args, *function.args.kwonlyargs)
            if one.annotation is not None
        }
        for node in ast.walk(function):
            if not isinstance(node, ast.Match):
                continue
            name, _, attribute = ast.unparse(node.subject).partition(".")
            kind = taken.get(name, "")
            if (CARRIED.get((kind, attribute)) if attribute else kind) not in CLOSED:
                continue
            last = node.cases[-1]
            rest = (
                isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
            )
            if rest and "assert_never" not in ast.unparse(last):
                yield function.name


def sources(package: ModuleType) -> Iterator[tuple[str, str]]:
    for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
        yield path.name, path.read_text("utf-8")


def test_nothing_lets_an_unknown_event_pass() -> None:
    found = [
        f"{name}: {function}"
        for name, source in sources(turnlatch)
        for function in leaky(source)
    ]
    assert found == []


def test_a_planted_match_that_lets_one_pass_is_found() -> None:
    planted = """
def tell(event: StreamEvent) -> str:
    match event:
        case Recorded():
            return "recorded"
        case _:
            return ""

def note(entry: Recorded) -> str:
    match entry.event:
        case Probed():
            return "probed"
        case _:
            return ""

def turn(entry: Recorded) -> str:
    match entry.turn:
        case 1:
            return "first"
        case _:
            return ""
"""
    assert list(leaky(planted)) == ["tell", "note"]


def made(sources: Iterable[str]) -> set[str]:
    """The names of everything that is called in some sources."""
    return {
        ast.unparse(node.func).split(".")[-1]
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
    }


def test_every_stream_event_is_published_somewhere() -> None:
    called = made(source for _, source in sources(turnlatch))
    assert CLOSED["StreamEvent"] - called == set()


def test_a_planted_event_that_nothing_publishes_is_found() -> None:
    called = made(["log.publish(Recorded(cursor, 1))"])
    assert {"Recorded", "Forgotten"} - called == {"Forgotten"}


def read(sources: Iterable[str]) -> set[str]:
    """The names of everything that is read as an attribute, or by name, in some sources."""
    found: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and "options" in ast.unparse(node.value):
                found.add(node.attr)
    return found


def test_every_option_is_used_somewhere() -> None:
    options = {one.name for one in attrs.fields(Options)} - set(PROFILE_OPTIONS)
    used = read(s for name, s in sources(turnlatch) if name != "options.py")
    assert options - used == set()


def test_a_planted_option_that_nothing_uses_is_found() -> None:
    assert {"store", "label"} - read(["given = self._options.store"]) == {"label"}


def test_every_stream_event_and_every_event_it_carries_is_public() -> None:
    assert typing.get_type_hints(Recorded)["event"] == Event
    assert CLOSED["StreamEvent"] | CLOSED["Event"] <= set(turnlatch.__all__)


ROOT = Path(__file__).parent.parent
PACKAGES = ("", "states", "engine", "states/turnlatch_states", "engine/turnlatch")


def missing(text: str) -> Iterator[str]:
    """Every path or test that a document names and that does not exist."""
    for name in re.findall(r"`([\w/.]+\.py(?:::\w+)?|[\w/]+/)`", text):
        path, _, test = name.partition("::")
        found = [ROOT / one / path for one in PACKAGES if (ROOT / one / path).exists()]
        if not found or (test and f"def {test}(" not in found[0].read_text("utf-8")):
            yield name


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "README.md", "docs/design.md"])
def test_paths_and_tests_in_a_document_exist(document: str) -> None:
    assert list(missing((ROOT / document).read_text("utf-8"))) == []


def test_every_test_that_the_makefile_names_exists() -> None:
    """pytest says nothing about a test that is left out and does not exist."""
    names = re.findall(
        r"tests/[\w/]+\.py(?:::\w+)?", (ROOT / "Makefile").read_text("utf-8")
    )
    assert len(names) > 5
    assert list(missing(" ".join(f"`{name}`" for name in names))) == []


def test_a_planted_name_is_missed() -> None:
    text = (
        "`tests/test_complete.py::test_nonsense`, `nonsense.py`, `tests/test_tidy.py`"
    )
    assert list(missing(text)) == [
        "tests/test_complete.py::test_nonsense",
        "nonsense.py",
    ]

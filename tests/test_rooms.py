"""The rooms of the house: what may import what, and what a user can name."""

import ast
import importlib
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest

import turnlatch
import turnlatch_states

CORE_ORDER: Final = ("fsm", "api", "request", "machine", "recovery", "effects")
"""The rooms of the core: each imports what stands before it, and nothing behind it."""

INTERNAL: Final = frozenset(
    {"ArgumentsReader", "Call", "Charge", "EventLog", "Journal", "Work"}
)
"""Types of parameters that only the engine passes."""

DEEP: Final = frozenset({"Budget", "Model", "Snapshot", "Store", "View"})
"""Public types whose own parts are not: whoever writes a port imports `turnlatch.ports`,
and whoever reads the whole state of the machine, or how it shows the history, imports
`turnlatch_states`."""


def read(package: types.ModuleType) -> dict[str, str]:
    """The source of every module of a package, by its dotted name."""
    root = Path(str(package.__file__)).parent
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = path.read_text("utf-8")
    return found


def arrows(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which module imports which, whether it runs or only a type checker reads it."""
    found: dict[str, set[str]] = {name: set() for name in sources}
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                assert node.level == 0, f"{name}: imports are absolute"
                for one in node.names:
                    inner = f"{node.module}.{one.name}"
                    found[name].add(inner if inner in sources else node.module)
            elif isinstance(node, ast.Import):
                found[name].update(one.name for one in node.names)
        found[name] = {one for one in found[name] if one in sources and one != name}
    return found


def circles(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Every arrow from which a way leads back to where it began."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        todo = list(graph[start])
        while todo:
            one = todo.pop()
            if one not in seen:
                seen.add(one)
                todo.extend(graph[one])
        reach[start] = seen
    for start, ends in sorted(graph.items()):
        for end in sorted(ends):
            if start in reach[end]:
                yield f"{start} -> {end}"


def wrong_way(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Every arrow of the core that points to a room further up."""
    for start, ends in sorted(graph.items()):
        for end in sorted(ends):
            if start.count(".") and end.count("."):
                here, there = (CORE_ORDER.index(n.split(".")[1]) for n in (start, end))
                if there > here:
                    yield f"{start} -> {end}"


def rooms(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same arrows between whole folders; a module at the top is one of its own."""
    folders = {name.split(".")[1] for name in graph if name.count(".") > 1}

    def room(name: str) -> str:
        head = name.split(".")[1:2]
        return head[0] if head and head[0] in folders else name

    found: dict[str, set[str]] = {room(name): set() for name in graph}
    for start, ends in graph.items():
        found[room(start)].update(room(end) for end in ends if room(end) != room(start))
    return found


@pytest.mark.parametrize("package", [turnlatch_states, turnlatch])
def test_imports_make_no_circle(package: types.ModuleType) -> None:
    graph = arrows(read(package))
    assert list(circles(graph)) == []
    assert list(circles(rooms(graph))) == []


def test_core_imports_point_one_way() -> None:
    graph = arrows(read(turnlatch_states))
    assert {name.split(".")[1] for name in graph if "." in name} == {*CORE_ORDER}
    assert list(wrong_way(graph)) == []


def test_a_planted_arrow_is_printed() -> None:
    sources = {
        "p": "",
        "p.fsm.table": "from p.machine.turn import TURN",
        "p.machine.turn": "from p.fsm import table",
    }
    graph = arrows(sources)
    assert list(wrong_way(graph)) == ["p.fsm.table -> p.machine.turn"]
    assert list(circles(graph)) == [
        "p.fsm.table -> p.machine.turn",
        "p.machine.turn -> p.fsm.table",
    ]
    assert list(circles(rooms(graph))) == ["fsm -> machine", "machine -> fsm"]


def classes(hint: Any) -> Iterator[type]:
    """Every class that a type hint names."""
    if isinstance(hint, list | tuple):  # the parameters of a callable
        for one in typing.cast("typing.Sequence[Any]", hint):
            yield from classes(one)
    elif isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        yield hint
    for argument in typing.get_args(hint):
        yield from classes(argument)


def functions(public: object) -> Iterator[Any]:
    """What a user calls or reads of something public."""
    if not inspect.isclass(public):
        yield public
        return
    yield public
    for name, member in inspect.getmembers(public):
        if name.startswith("_"):
            continue
        made = member.fget if isinstance(member, property) else member
        made = getattr(made, "func", made)
        if inspect.isroutine(made):
            yield getattr(made, "__func__", made)


def test_every_type_that_a_user_can_annotate_is_public() -> None:
    public = {name: getattr(turnlatch, name) for name in turnlatch.__all__}
    names = {id(one) for one in public.values()}
    formats = importlib.import_module("turnlatch.diagrams").Format
    missing: set[str] = set()
    for label, one in public.items():
        for function in () if label in DEEP else functions(one):
            if not (inspect.isclass(function) or inspect.isfunction(function)):
                continue
            hints = typing.get_type_hints(function, localns={"Format": formats})
            for name, hint in hints.items():
                if name.startswith("_"):
                    continue
                missing.update(
                    f"{found.__qualname__} ({function.__qualname__}: {name})"
                    for found in classes(hint)
                    if found.__module__.startswith("turnlatch")
                    and found.__qualname__ not in INTERNAL
                    and id(found) not in names
                )
    assert missing == set()


def test_dir_shows_the_public_names_and_no_modules() -> None:
    assert dir(turnlatch) == sorted(turnlatch.__all__)
    shown = {name: getattr(turnlatch, name) for name in dir(turnlatch)}
    assert [name for name, one in shown.items() if inspect.ismodule(one)] == []


def test_version_is_that_of_the_distribution() -> None:
    assert turnlatch.__version__ == version("turnlatch")
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = turnlatch.nonsense

"""House rules as tests: what the core may import, how long things may be, what is public."""

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

GENERATED = frozenset({"turnlatch/sync.py"})
"""Modules that a script writes: nobody has to hold them in mind as a whole."""

CORE_IMPORTS = frozenset(
    {
        "__future__",
        "ast",
        "attrs",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "turnlatch_states",
        "enum",
        "functools",
        "hashlib",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "struct",
        "transitions",
        "types",
        "typing",
        "unicodedata",
    }
)
"""Everything the pure core may import: nothing here reads a clock, a file or a socket."""

BANNED_CALLS = {
    "eval": "parse what you need",
    "exec": "write the code",
    "print": "return it, or use click.echo in the command line",
    "input": "read through the command line's screen",
    "breakpoint": "remove it",
}


def modules(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return sorted(Path(spec.submodule_search_locations[0]).rglob("*.py"))


CORE, ENGINE = modules("turnlatch_states"), modules("turnlatch")
EVERY = [*CORE, *ENGINE]


def label(path: Path) -> str:
    """The path from its package on."""
    roots = {"turnlatch", "turnlatch_states"}
    parts = path.parts
    start = max(i for i, part in enumerate(parts) if part in roots)
    return "/".join(parts[start:])


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield (node.module or "").split(".")[0]


def hidden(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """True for what is private, and for the bare signatures of an overload."""
    bare = any(
        isinstance(d, ast.Name) and d.id == "overload" for d in node.decorator_list
    )
    return bare or node.name.startswith("_")


def impure(source: str) -> set[str]:
    """What a module of the core imports that it must not."""
    return set(imported(ast.parse(source))) - CORE_IMPORTS


@pytest.mark.parametrize("path", CORE, ids=label)
def test_the_core_imports_nothing_that_can_do_io(path: Path) -> None:
    assert impure(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "planted", ["import asyncio", "from time import time", "import turnlatch"]
)
def test_the_purity_check_sees_an_impure_import(planted: str) -> None:
    assert impure(planted) != set()


@pytest.mark.parametrize("path", EVERY, ids=label)
def test_modules_and_functions_fit_a_reader(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)

    assert text.count("\n") <= MODULE_LINES_MAX or label(path) in GENERATED
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < FUNCTION_LINES_MAX, node.name


@pytest.mark.parametrize("path", EVERY, ids=label)
def test_nothing_unfinished_or_banned_is_left(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)

    for word in (
        "TO" + "DO",
        "FIX" + "ME",
        "X" + "XX",
        "raise NotImplemented" + "Error",
    ):
        assert word not in text
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            allowed = name == "input" and label(path) == "turnlatch/cli/screen.py"
            assert allowed or name not in BANNED_CALLS, BANNED_CALLS[name]


@pytest.mark.parametrize("path", EVERY, ids=label)
def test_every_module_class_and_public_function_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert ast.get_docstring(tree)
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not hidden(node):
            assert ast.get_docstring(node), node.name
            if isinstance(node, ast.ClassDef):
                for member in node.body:
                    if not isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                        continue
                    said = f"{node.name}.{member.name}"
                    assert hidden(member) or ast.get_docstring(member), said


PUBLIC = (
    "turnlatch",
    "turnlatch_states",
    "turnlatch.journal",
    "turnlatch.sdk",
    "turnlatch.simulator",
    "turnlatch.testing",
    "turnlatch.tools",
    "turnlatch.diagrams",
    "turnlatch_states.api.rules",
)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_surface_is_a_list_of_what_is_there(name: str) -> None:
    module = importlib.import_module(name)
    exported: list[str] = module.__all__

    assert len(exported) == len(set(exported))
    for public in exported:
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), public


@pytest.mark.parametrize(
    "name", ["turnlatch", "turnlatch.cli", "turnlatch.cli.check", "turnlatch.sync"]
)
def test_importing_costs_no_sdk(name: str) -> None:
    """`--help`, `check` and `from turnlatch import tool` are instant."""
    import subprocess

    heavy = ("anthropic", "httpx2", "pydantic", "rich")
    code = (
        f"import sys, {name}; "
        f"found = [m for m in {heavy!r} if m in sys.modules]; sys.exit(', '.join(found) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


FINDINGS = Path(__file__).parent.parent / "findings"


def loose(script: str) -> list[str]:
    """What a finding lacks to prove the same thing tomorrow: strictness, and exact versions."""
    lacks = [] if "\nset -euo pipefail\n" in script else ["set -euo pipefail"]
    installs = re.search(r"/_venv\.sh\" (.+)$", script, re.MULTILINE)
    packages = installs[1].split() if installs else ["no package"]
    return lacks + [name for name in packages if not re.fullmatch(r"\w+==[\d.]+", name)]


def test_every_finding_is_pinned_strict_and_listed() -> None:
    listed = (FINDINGS / "README.md").read_text(encoding="utf-8")
    names = {p.name for p in FINDINGS.glob("*.sh")} - {"_venv.sh", "run-all.sh"}

    assert names == set(re.findall(r"^\| \[([\w-]+\.sh)\]", listed, re.MULTILINE))
    for name in names:
        assert loose((FINDINGS / name).read_text(encoding="utf-8")) == [], name


@pytest.mark.parametrize(
    ("planted", "lacks"),
    [
        ('\nset -euo pipefail\n. "x/_venv.sh" anyio>=4', ["anyio>=4"]),
        ('\n. "x/_venv.sh" anyio==4.16.0', ["set -euo pipefail"]),
        ("\nset -euo pipefail\npip install anyio", ["no package"]),
    ],
)
def test_the_check_sees_a_loose_finding(planted: str, lacks: list[str]) -> None:
    assert set(lacks) <= set(loose(planted))

"""What the package may not do at all, looked up in its own text."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from turnlatch.journal import database

PACKAGE = Path(database.__file__).parent
MODULES = sorted(PACKAGE.glob("*.py"))

BANNED_MODULES = {"pickle", "marshal", "shelve", "dill", "yaml", "base64", "subprocess"}
BANNED_NAMES = {"eval", "exec", "__import__", "compile", "open"}
EXECUTES = {"execute", "executemany", "executescript"}


def _faults(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found = {name.name.partition(".")[0] for name in names}
                yield from found & BANNED_MODULES
            case ast.ImportFrom(module=str(module)):
                yield from {module.partition(".")[0]} & BANNED_MODULES
            case ast.Call(func=ast.Name(id=name)) if name in BANNED_NAMES:
                yield name
            case ast.Call(func=ast.Attribute(attr=name), args=[first, *_]) if (
                name in EXECUTES
            ):
                if isinstance(first, ast.JoinedStr | ast.BinOp | ast.Call):
                    yield f"{name} of text that is put together"
            case _:
                pass


@pytest.mark.parametrize("module", MODULES, ids=lambda one: one.stem)
def test_module_revives_nothing_and_builds_no_sql(module: Path) -> None:
    assert list(_faults(ast.parse(module.read_text("utf-8")))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from marshal import loads", "eval('1')", "open('x')",
        "c.execute(f'SELECT {x}')", "c.execute('a' + b)", "c.executemany('%s' % x, y)",
        "c.execute('{}'.format(x))",
    ],
)  # fmt: skip
def test_the_check_sees_what_it_is_for(text: str) -> None:
    assert len(list(_faults(ast.parse(text)))) == 1


@pytest.mark.parametrize("module", MODULES, ids=lambda one: one.stem)
def test_module_stays_readable(module: Path) -> None:
    text = module.read_text("utf-8")
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 70, node.name

"""`turnlatch` answers at once, lists what there is, and never shows a traceback."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from turnlatch.cli import main
from turnlatch.cli.main import COMMANDS
from turnlatch.errors import SettingsError

HEAVY = ("anthropic", "httpx2", "rich")

WATCHED = """
import sys
from turnlatch.cli import main
try:
    main({args!r})
except SystemExit as left:
    assert not left.code, left.code
loaded = [name for name in {heavy!r} if name in sys.modules]
assert not loaded, loaded
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "args",
    [["--help"], ["--version"], ["chat", "--help"], ["explain"], ["explain", "529"]],
)
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    done = python(WATCHED.format(args=args, heavy=HEAVY))

    assert done.returncode == 0, done.stderr


def test_help_lists_every_command_and_says_where_answers_come_from() -> None:
    result = CliRunner().invoke(main, ["--help"])

    assert result.exit_code == 0
    for name, lazy in COMMANDS.items():
        assert name in result.stdout
        assert " ".join(lazy.help.split()[:4]) in " ".join(result.stdout.split())
    assert "simulator" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_static_table_says_what_the_command_itself_says(name: str) -> None:
    lazy = COMMANDS[name]
    module, _, attribute = lazy.where.partition(":")

    command = getattr(importlib.import_module(module), attribute)

    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.get_short_help_str(limit=200) == lazy.help


def test_no_command_and_an_unknown_one_are_usage_errors() -> None:
    assert CliRunner().invoke(main, []).exit_code == 2
    unknown = CliRunner().invoke(main, ["chatt"])
    assert unknown.exit_code == 2
    assert "chatt" in unknown.stderr


def test_an_error_of_turnlatch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def broken() -> None:
        raise SettingsError("colour", "it is\n\x1b[31mred", "give none")

    monkeypatch.setattr("turnlatch.cli.diagram.diagram", broken)

    result = CliRunner().invoke(main, ["diagram"])

    assert result.exit_code == 1
    assert result.stderr == "turnlatch: colour: it is\\n\\x1b[31mred; give none\n"


def test_a_bug_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("turnlatch.cli.diagram.diagram", broken)

    assert isinstance(
        CliRunner().invoke(main, ["diagram"]).exception, ZeroDivisionError
    )


def test_python_m_turnlatch_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "turnlatch", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.startswith(("turnlatch ", "python -m turnlatch "))
    assert done.returncode == 0


def test_every_command_that_is_written_is_in_the_table() -> None:
    """A module in `cli/` that makes a command and has no row would answer to nobody."""
    folder = Path(str(importlib.import_module("turnlatch.cli.main").__file__)).parent
    made = {
        f"turnlatch.cli.{path.stem}:{node.name}"
        for path in folder.glob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
        and any("click.command" in ast.unparse(one) for one in node.decorator_list)
    }
    assert made == {lazy.where for lazy in COMMANDS.values()}

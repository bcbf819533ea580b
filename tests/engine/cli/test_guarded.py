"""Nothing raw reaches a terminal, whoever wrote the text and whatever prints it.

The marks are harmless: a title and a colour. On a pseudo-terminal they may arrive as text
only. A pipe gets an answer as it is.
"""

import ast
import importlib
import os
import pkgutil
import pty
import re
import select
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import warm
from tests.engine.cli.test_chat import SECONDS_MAX, Chat, environment
from tests.engine.cli.test_simulate import BODY, ask

import turnlatch
import turnlatch_states
from turnlatch.cli.terminal import Look, shown
from turnlatch.errors import SettingsError, TurnlatchError
from turnlatch.journal import SQLiteStore
from turnlatch.simulator import Scripted, Simulator
from turnlatch.simulator.server import run_in_thread
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.fsm.printable import escape, printable

TITLE, RED = "\x1b]0;harmless\x07", "\x1b[31mharmless"
SHOWN = ("\\x1b]0;harmless", "\\x1b[31mharmless")
ENGINE = Path(turnlatch.__file__).parent

ANYTHING = st.text(st.characters(codec=None, categories=None), max_size=200)


class Window:
    """A command whose output, and nothing else, is a pseudo-terminal.

    Args:
        arguments: After `python`.
        said: What it reads, from a pipe.
        environ: Its environment.
    """

    def __init__(self, arguments: list[str], said: bytes, environ: dict[str, str]):
        self._master, slave = pty.openpty()
        read, write = os.pipe()
        self.process = warm.start(
            arguments, stdin=read, stdout=slave, stderr=slave, env=environ
        )
        os.close(read)
        os.close(slave)
        with os.fdopen(write, "wb") as stdin:
            stdin.write(said)
        self.raw = b""

    def read(self, until: bytes | None = None) -> bytes:
        """Read until something was written, or to the end; everything so far."""
        deadline = time.monotonic() + 2 * SECONDS_MAX
        while until is None or until not in self.raw:
            ready, _, _ = select.select([self._master], [], [], SECONDS_MAX)
            assert ready, self.raw
            assert time.monotonic() < deadline, self.raw
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            self.raw += data
        return self.raw

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextmanager
def window(
    home: Path, *arguments: str, said: bytes = b"", **more: str
) -> Generator[Window]:
    opened = Window(list(arguments), said, environment(home, **more))
    try:
        yield opened
    finally:
        opened.close()


def unmarked(raw: bytes) -> None:
    """Assert that the marks arrived as text, beside nothing but colours of ours."""
    told = raw.decode()
    assert any(each in told for each in SHOWN), told
    assert TITLE not in told
    assert RED not in told
    assert "\x1b" not in re.sub(r"\x1b\[\d+m", "", told)


# On a terminal.


def test_a_piped_prompt_is_answered_on_a_terminal_as_text(tmp_path: Path) -> None:
    """`echo hi | turnlatch chat`: the answer is not shown while it arrives, but at once."""
    simulator = Simulator(Scripted([f"One {TITLE}two {RED} three"]))
    with run_in_thread(simulator) as server:
        args = ("-m", "turnlatch", "chat", "notes", "--base-url", server.base_url)
        with window(tmp_path, *args, said=b"hi\n", ANTHROPIC_API_KEY="any") as seen:
            unmarked(seen.read())


def test_a_pipe_gets_the_answer_as_it_is(tmp_path: Path) -> None:
    said = f"One {TITLE}two"
    with run_in_thread(Simulator(Scripted([said]))) as server:
        done = warm.run(
            ["-m", "turnlatch", "chat", "--base-url", server.base_url],
            input=b"hi\n",
            env=environment(tmp_path, ANTHROPIC_API_KEY="any"),
            timeout=2 * SECONDS_MAX,
        )
    assert done.returncode == 0
    assert done.stdout.decode() == said + "\n"


def test_names_of_conversations_are_listed_as_text(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "chat.db")
    store.open(f"notes {TITLE}").close()
    store.close()

    for more in ((), ("--json",)):
        args = ("--store", str(tmp_path / "chat.db"), *more)
        with Chat(tmp_path, *args, command="list") as look:
            assert look.left() == 0
        assert TITLE not in look.raw
        assert "harmless" in look.raw


def test_simulator_logs_requested_paths_as_text(tmp_path: Path) -> None:
    with window(tmp_path, "-m", "turnlatch", "simulate") as seen:
        told = seen.read(until=b"without --tools").decode()
        url = told.partition("ANTHROPIC_BASE_URL=")[2].split()[0]
        ask(url, {**BODY, "model": f"claude {TITLE}{RED}" + "x" * 5000})
        unmarked(seen.read(until=b"harmless"))
        assert b"x" * 1000 not in seen.raw


@pytest.mark.parametrize(
    "arguments",
    [("diagram", TITLE), (f"--{TITLE}",), (TITLE,), ("check", f"/none/{TITLE}")],
)
def test_wrong_argument_is_reported_as_text(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with window(tmp_path, "-m", "turnlatch", *arguments) as seen:
        unmarked(seen.read())


@pytest.mark.parametrize(
    "prints",
    [
        f"print({TITLE!r})",
        f"click.echo({TITLE!r}); click.secho({RED!r}, err=True)",
        f"logging.basicConfig(); logging.getLogger('turnlatch').warning('%s', {TITLE!r})",
        f"warnings.warn({TITLE!r})",
        f"raise KeyError({TITLE!r}, Exception({RED!r}))",
        f"raise type('Odd', (Exception,), {{'__str__': lambda self: {TITLE!r}}})",
        f"Console(color_system=None).print({TITLE!r})",
        f"click.prompt({TITLE!r}, default='x')",
    ],
)
def test_whatever_prints_prints_text(tmp_path: Path, prints: str) -> None:
    """Logs, warnings, tracebacks and libraries have the same door."""
    code = (
        "import logging, sys, warnings, click; from rich.console import Console;"
        "from turnlatch.cli.terminal import guard_streams; guard_streams();"
    )
    # What it says is decoded first: the code itself is echoed by nobody.
    run = f"{code}\nexec(sys.argv[1])"
    with window(tmp_path, "-c", run, prints, said=b"\n") as seen:
        unmarked(seen.read())


def test_the_tables_of_the_demo_are_text(tmp_path: Path) -> None:
    """Its replies say what the files of a folder hold, which is no markup either."""
    code = (
        "import sys; from turnlatch.cli.demo import console; from rich.table import Table;"
        "from turnlatch.cli.terminal import guard_streams; guard_streams();"
        "table = Table(title='It'); table.add_column('said');"
        "table.add_row(sys.argv[1]); console().print(table)"
    )
    with window(tmp_path, "-c", code, f"{RED} [bold]b[/bold]") as seen:
        unmarked(seen.read())
    assert b"[bold]b[/bold]" in seen.raw


# In general.


@given(ANYTHING)
def test_only_our_colours_are_left_of_any_text(text: str) -> None:
    sure = {shown(Look(colour=True).ink("|", ink)) for ink in ("red", "dim", "cursor")}
    assert all(each.startswith("\x1b[") and each.endswith("\x1b[0m") for each in sure)
    escaped = escape(text)

    assert shown(escaped) == escaped
    left = shown(text)
    for code in ("0", "1", "2", "7", "31", "32", "33", "34", "35", "36"):
        left = left.replace(f"\x1b[{code}m", "")
    assert left == escape(left)


def test_a_colour_of_ours_cannot_be_written_by_others() -> None:
    marked = Look(colour=True).ink("x", "red")

    assert shown(marked) == "\x1b[31mx\x1b[0m"
    assert "\x1b" not in shown(escape(marked))


AROUND = {"buffer", "__stdout__", "__stderr__", "ttyname", "ctermid", "raw"}
"""Attributes by which something could be written around the guarded streams."""


def around(source: str) -> Iterator[str]:
    """What in a module writes around the guarded streams."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(ast.Name("os"), "write" | "writev" | "fdopen" as name):
                yield f"os.{name}"
            case ast.Attribute(_, name) if name in AROUND - {"raw"}:
                yield name
            case ast.Constant("/dev/tty" | "CON"):
                yield "/dev/tty"
            case _:
                pass


def test_nothing_writes_around_the_guarded_streams() -> None:
    """Descriptors are written by the screen, whose texts go through `shown`; by the demo,
    to a pipe; by the journal and by the ledger of effects, to their files; by the progress
    of `break`, to a terminal."""
    found = {
        (str(path.relative_to(ENGINE)), what)
        for path in ENGINE.rglob("*.py")
        for what in around(path.read_text(encoding="utf-8"))
    }
    assert found == {
        ("cli/screen.py", "os.write"),
        ("cli/demo_act.py", "os.write"),
        ("cli/inputs.py", "buffer"),  # of standard input
        ("cli/files.py", "os.fdopen"),  # to read
        ("journal/tail_anchor.py", "os.write"),
        ("journal/wal_recovery.py", "os.write"),
        ("testing/effects.py", "os.write"),
        ("testing/store_conformance.py", "/dev/tty"),  # a name: "CON"
        ("cli/break_.py", "os.write"),  # the progress line, cleaned by `one_line`
    }


@pytest.mark.parametrize(
    "planted",
    ["os.write(1, b'x')", "sys.stdout.buffer.write(b'x')", "open('/dev/tty', 'w')"],
)
def test_the_search_sees_what_goes_around(planted: str) -> None:
    assert list(around(planted))


# Errors.


def all_errors() -> set[type[TurnlatchError]]:
    for package in (turnlatch, turnlatch_states):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found, new = set[type[TurnlatchError]](), {TurnlatchError}
    while new:
        found |= new
        new = {sub for each in new for sub in each.__subclasses__()} - found
    return {each for each in found if each.__module__.startswith("turnlatch")}


def test_every_error_is_made_printable_in_one_place() -> None:
    """A class of its own `__str__` would be a way around it."""
    own = {each for each in all_errors() if "__str__" in vars(each)}

    assert own == {TurnlatchError}
    assert len(all_errors()) > 25


@given(ANYTHING, ANYTHING)
def test_an_error_says_nothing_that_commands(text: str, other: str) -> None:
    errors = [
        SettingsError(text, other, text),
        turnlatch.CorrectableToolError(text),
        turnlatch.TerminalToolError(other),
        TurnlatchError(text),
    ]
    said = [*map(str, errors), str(Fault(FaultKind.LOCAL, message=text, type=other))]

    for each in said:
        assert each == printable(each)
        assert "\n" not in each
    assert errors[0].args[:3] == (text, other, text)

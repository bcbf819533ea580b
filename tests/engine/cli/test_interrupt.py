"""Ctrl-C ends every command with exit status 130 and one line, whenever it comes.

The moment is made certain: the process presses the key itself, when it gets there.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engine.cli.test_chat import SECONDS_MAX, environment

from turnlatch.cli.main import COMMANDS

LINE = "turnlatch: interrupted\n"

FORKED = """
import atexit, importlib.abc, io, json, os, signal, sys
import turnlatch_command

def press():
    os.kill(os.getpid(), signal.SIGINT)

class AtImport(importlib.abc.MetaPathFinder):
    def __init__(self, name):
        self.name = name
    def find_spec(self, name, path, target=None):
        if name == self.name:
            press()

class Keyboard(io.StringIO):
    @property
    def buffer(self):
        return self
    def read(self, *size):
        press()
        return ""

def at_import(name):
    sys.meta_path.insert(0, AtImport(name))

def at_read(name):
    sys.stdin = Keyboard()
    sys.stdin.reconfigure = lambda **given: None

def at_exit(name):
    atexit.register(press)

def twice(name):
    at_import(name)
    at_exit(name)

def early(name):
    at_import("turnlatch.cli")  # nothing of ours but the entry is imported
    sys.modules.pop("turnlatch.cli", None)

if sys.argv[1] == "warm":  # what is the same for all of them is imported once
    import turnlatch.cli
for number, (moment, name, args) in enumerate(json.loads(sys.argv[2])):
    child = os.fork()
    if not child:
        with open(f"{sys.argv[3]}/{number}", "w") as told:
            os.dup2(told.fileno(), 2)
        sys.stdout = io.StringIO()
        globals()[moment](name)
        sys.argv = ["turnlatch", *args]
        sys.exit(turnlatch_command.main())
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


def pressed(
    home: Path, cases: list[tuple[str, str, list[str]]], start: str = "warm"
) -> list[tuple[int, str]]:
    """Exit status and standard error of each command whose Ctrl-C came at a moment."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED, start, json.dumps(cases), str(home)],
        capture_output=True,
        text=True,
        env=environment(home),
        timeout=SECONDS_MAX * 10,
        check=True,
    )
    codes = [int(line) for line in done.stdout.split()]
    return [(code, (home / str(n)).read_text()) for n, code in enumerate(codes)]


def children(pid: int) -> list[Path]:
    """The processes that a process began, where the system tells."""
    told = Path(f"/proc/{pid}/task/{pid}/children")
    if not told.exists():
        return []
    return [Path("/proc") / one for one in told.read_text().split()]


def ignores_ctrl_c(process: Path) -> bool:
    """True if the process has the signal of Ctrl-C blocked."""
    (blocked,) = (
        int(line.split()[1], 16)
        for line in (process / "status").read_text().splitlines()
        if line.startswith("SigBlk")
    )
    return bool(blocked >> (signal.SIGINT - 1) & 1)


def module(name: str) -> str:
    return COMMANDS[name].where.partition(":")[0]


def test_every_command_that_is_interrupted_while_it_is_imported(tmp_path: Path) -> None:
    cases = [("at_import", module(name), [name]) for name in COMMANDS]
    cases += [("at_import", "anthropic", ["chat", "--sim"])]

    assert pressed(tmp_path, cases) == [(130, LINE)] * len(cases)


def test_before_anything_is_imported(tmp_path: Path) -> None:
    cases = [("early", "", ["--help"])]

    assert pressed(tmp_path, cases, "cold") == [(130, LINE)]


def test_a_command_that_waits_for_its_input_closes_or_has_been_interrupted(
    tmp_path: Path,
) -> None:
    waits, closes, twice, chat = pressed(
        tmp_path,
        [
            ("at_read", "", ["check", "-"]),
            ("at_exit", "", ["explain", "529"]),
            ("twice", module("list"), ["list"]),
            ("at_read", "", ["chat", "--sim", "--plain"]),
        ],
    )

    assert waits == closes == twice == (130, LINE)
    assert (chat[0], chat[1].splitlines()[-1]) == (130, LINE.strip())
    assert "Traceback" not in chat[1]


@pytest.mark.parametrize("whole", [True, False], ids=["group", "process"])
def test_the_demo_leaves_nothing_behind(tmp_path: Path, whole: bool) -> None:
    """A terminal interrupts the processes of the demo, too; `kill` the demo alone."""
    with subprocess.Popen(
        [sys.executable, "-m", "turnlatch", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path, TMPDIR=str(tmp_path)),
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        while "waits" not in demo.stdout.readline():
            pass  # its process is in the middle of a turn then
        for child in children(demo.pid):
            assert ignores_ctrl_c(child)  # it would tell its own end
        (os.killpg if whole else os.kill)(demo.pid, signal.SIGINT)
        demo.stdout.read()  # to its end: no process of it is left that could write
        assert demo.stderr.read() == LINE
        assert demo.wait(SECONDS_MAX) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_piped_message_is_stopped_in_the_middle_of_its_request(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "turnlatch", "chat", "--faults", "cut 3 stall"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
    ) as chat:
        assert chat.stdin is not None
        assert chat.stderr is not None
        chat.stdin.write("hello")
        chat.stdin.close()
        while "pending->sent" not in chat.stderr.readline():
            pass
        chat.send_signal(signal.SIGINT)
        told = chat.stderr.read()
        assert chat.wait(SECONDS_MAX) == 130
    assert told.splitlines()[-1].startswith("  kept") or "interrupted" in told
    assert "Traceback" not in told

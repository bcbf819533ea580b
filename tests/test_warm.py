"""A child that begins warm is a process like any other, but for what it finds imported."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests import warm

LIMIT_SECONDS = 60.0


def warm_and_cold(code: str, *more: str) -> "list[subprocess.CompletedProcess[bytes]]":
    """The same program, as a warm child and as an interpreter of its own."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "ONLY": "this"}
    arguments = ["-c", code, *more]
    return [
        warm.run(arguments, input=b"said", env=environment, timeout=LIMIT_SECONDS),
        subprocess.run(
            [sys.executable, *arguments],
            input=b"said",
            env=environment,
            capture_output=True,
            timeout=LIMIT_SECONDS,
            check=False,
        ),
    ]


@pytest.mark.parametrize(
    "code",
    [
        "print('done')",
        "raise SystemExit(3)",
        "raise SystemExit('no more')",
        "raise KeyboardInterrupt",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import os, signal; os.kill(os.getpid(), signal.SIGINT); signal.pause()",
        "import sys; print(sys.argv, sys.stdin.read(), sys.stdout.encoding, __name__)",
        "import sys; print([each.errors for each in (sys.stdin, sys.stdout, sys.stderr)])",
        "import os; print(os.environ['ONLY'], os.getcwd(), os.isatty(0))",
        "import atexit, sys; atexit.register(print, 'last'); sys.stdout.write('first ')",
        "import threading as t; t.Thread(target=print, args=('late',)).start()",
        "from signal import *; print(getsignal(SIGINT), getsignal(SIGCHLD))",
    ],
)
def test_warm_process_prints_and_ends_like_an_interpreter(code: str) -> None:
    one, other = warm_and_cold(code, "more")

    assert (one.returncode, one.stdout) == (other.returncode, other.stdout)
    assert one.stderr.splitlines()[-1:] == other.stderr.splitlines()[-1:]


def test_warm_process_has_imported_what_the_command_needs() -> None:
    code = """
import sys
before = set(sys.modules)
import turnlatch.cli.main, turnlatch.cli.chat, turnlatch.cli.list, turnlatch.simulator
print("anthropic" in before, sorted(set(sys.modules) - before))
"""
    warmed, cold = warm_and_cold(code)

    assert warmed.stdout == b"True []\n"
    assert cold.stdout.startswith(b"False ")


def test_importing_it_reads_no_environment_and_keeps_no_process() -> None:
    """Else a child would have what was true of the process that forked it."""
    code = f"""
import os, importlib, threading
for name in {warm.PRELOADED[:4]}:
    importlib.import_module(name)
read = []
class Watched(dict):
    def __getitem__(self, name): read.append(name); return super().__getitem__(name)
    def get(self, name, default=None): read.append(name); return super().get(name, default)
    def __contains__(self, name): read.append(name); return super().__contains__(name)
os.environ = Watched(os.environ)
os.getpid = lambda: read.append("pid")
files = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
for name in {warm.PRELOADED[4:]}:
    importlib.import_module(name)
after = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
words = {{"LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"}}  # gettext looks for a catalogue
print(sorted(set(read) - words), len(after) - len(files), threading.active_count())
"""
    _, cold = warm_and_cold(code)

    assert cold.stdout == b"[] 0 1\n", cold.stderr.decode()


def test_no_two_are_alike_in_what_they_draw() -> None:
    code = "import os, random, tempfile; print(os.getpid(), random.random())"

    drawn = {warm.run(["-c", code], timeout=LIMIT_SECONDS).stdout for _ in range(3)}

    assert len(drawn) == 3


def test_one_that_is_late_is_killed(tmp_path: Path) -> None:
    late = tmp_path / "late"
    code = "import signal, sys; signal.pause(); open(sys.argv[1], 'w')"

    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(["-c", code, str(late)], timeout=0.0)

    child = warm.Spoken(["-c", "print('now', flush=True); input()"])
    assert child.stdout.readline() == "now\n"
    child.end()
    assert child.child.returncode == -signal.SIGKILL
    assert not late.exists()

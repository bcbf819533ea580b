"""Child processes that find everything imported: `warm.start(["-m", "turnlatch"])`.

To import the SDK and turnlatch takes a processor two seconds, and some hundred tests start
a process that needs them. Here they are imported once, by a process that waits for orders
and forks one child for each. A child has files, an environment and a session of its own,
takes every signal, and ends as an interpreter ends. What only a fresh interpreter can show
(the command runs as it is installed, what it imports and when) is tested with one.

`python -m tests.warm FD` is the process that waits.
"""

import atexit
import fcntl
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn, final

import attrs

PRELOADED: Final = (
    "anthropic",
    "anyio._backends._asyncio",
    "anyio._backends._trio",
    "httpcore2",
    "turnlatch.cli.chat",
    "turnlatch.cli.list",
    "turnlatch.simulator",
    "turnlatch.sync",
)
"""What children find imported. None of it has done anything: no file is open, no client
made, and nothing is kept of an environment or a process."""

ROOT: Final = Path(__file__).parents[1]


@final
@attrs.frozen
class Order:
    """What a child is to be.

    Attributes:
        arguments: As after `python`: `-m MODULE ...` or `-c CODE ...`.
        environment: All of its environment.
        folder: Where it works.
        terminal: Whether what it reads is its controlling terminal.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    terminal: bool


@final
class Child:
    """A child, from outside.

    Attributes:
        pid: Its number.
        returncode: How it ended, as `subprocess` says it; None while that is not known.
    """

    def __init__(self, told: int) -> None:
        self._told = told
        self._lines = b""
        self.returncode: int | None = None
        self.pid = self._number(None)

    def _number(self, timeout: float | None) -> int:
        while b"\n" not in self._lines:
            ready, _, _ = select.select([self._told], [], [], timeout)
            if not ready:
                assert timeout is not None
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            data = os.read(self._told, 64)
            assert data, "who watches the child is gone"
            self._lines += data
        line, self._lines = self._lines.split(b"\n", 1)
        return int(line)

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing if it is known to have ended."""
        if self.returncode is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                self.wait(60)

    def kill(self) -> None:
        """End it without a chance to say a word."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; how it ended.

        Raises:
            subprocess.TimeoutExpired: It has not ended within so many seconds.
        """
        if self.returncode is None:
            self.returncode = self._number(timeout)
            os.close(self._told)
        return self.returncode


def start(
    arguments: Sequence[str],
    *,
    stdin: int,
    stdout: int,
    stderr: int = 2,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    terminal: bool = False,
) -> Child:
    """Start a child whose first three files are these.

    Args:
        arguments: As after `python`: `-m MODULE ...` or `-c CODE ...`.
        stdin: What it reads; stays open here.
        stdout: What it writes; stays open here.
        stderr: Where it writes what went wrong; stays open here.
        env: All of its environment; ours if not given.
        cwd: Where it works; here if not given.
        terminal: Whether `stdin` is to be its controlling terminal.
    """
    order = Order(
        list(arguments), dict(env or os.environ), str(cwd or Path.cwd()), terminal
    )
    read, write = os.pipe()
    try:
        line = json.dumps(attrs.asdict(order)).encode() + b"\n"
        channel = _waiting()
        socket.send_fds(channel, [line[:1]], [stdin, stdout, stderr, write])
        channel.sendall(line[1:])
    finally:
        os.close(write)
    return Child(read)


@final
class Spoken:
    """A child that is talked to by lines.

    Attributes:
        child: The child.
        stdin: What it reads.
        stdout: What it writes.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        (asked, stdin), (said, stdout) = os.pipe(), os.pipe()
        self.child = start(arguments, stdin=asked, stdout=stdout, env=env, cwd=cwd)
        os.close(asked)
        os.close(stdout)
        self.stdin = os.fdopen(stdin, "w", encoding="utf-8")
        self.stdout = os.fdopen(said, encoding="utf-8")

    def end(self) -> None:
        """Kill it if it has not ended, and close what it read and wrote."""
        self.child.kill()
        self.child.wait()
        self.stdout.close()
        with suppress(BrokenPipeError):
            self.stdin.close()


def run(
    arguments: Sequence[str],
    *,
    input: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a child to its end, with pipes for all that it reads and writes.

    Raises:
        subprocess.TimeoutExpired: It has not ended within so many seconds; it is killed.
    """
    pipes = [os.pipe() for _ in range(3)]
    (asked, stdin), (said, stdout), (told, stderr) = pipes
    child = start(
        arguments, stdin=asked, stdout=stdout, stderr=stderr, env=env, cwd=cwd
    )
    for end in (asked, stdout, stderr):
        os.close(end)
    heard: dict[int, bytes] = {}

    def read(end: int) -> None:
        with os.fdopen(end, "rb") as file:
            heard[end] = file.read()

    def write() -> None:
        with suppress(BrokenPipeError), os.fdopen(stdin, "wb") as file:
            file.write(input)

    threads = [threading.Thread(target=read, args=(end,)) for end in (said, told)]
    threads.append(threading.Thread(target=write))
    for thread in threads:
        thread.start()
    try:
        code = child.wait(timeout)
    finally:
        child.kill()
        for thread in threads:
            thread.join()
    return subprocess.CompletedProcess(arguments, code, heard[said], heard[told])


@functools.cache
def _waiting() -> socket.socket:
    """The line to the process that waits, which is started by the first who asks."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# In the process that waits.


def _serve(channel: socket.socket) -> Order:
    """Fork a child for each order; returns in the children, each with its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that watch
    while True:
        first, files, _, _ = socket.recv_fds(channel, 1, 4)
        if not first:
            os._exit(0)
        line = first
        while not line.endswith(b"\n"):
            line += channel.recv(1 << 16)
        order = Order(**json.loads(line))
        if os.fork() == 0:
            channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            *mine, told = files
            child = os.fork()
            if child:
                _watch(child, mine, told)
            os.close(told)
            _become(order, mine)
            return order
        for each in files:
            os.close(each)


def _watch(child: int, files: Sequence[int], told: int) -> NoReturn:
    """Say the child's number, and how it ended."""
    for each in (0, 1, *files):
        os.close(each)
    os.write(told, b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(order: Order, files: Sequence[int]) -> None:
    """Have the files, the folder and the environment of the order."""
    os.setsid()
    for number, each in enumerate(files):
        os.dup2(each, number)
        os.close(each)
    if order.terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.environ.clear()
    os.environ.update(order.environment)
    os.chdir(order.folder)
    for number, (name, mode, lines) in enumerate(
        (("stdin", "r", -1), ("stdout", "w", -1), ("stderr", "w", 1))
    ):
        old: Any = getattr(sys, name)
        new = open(  # noqa: SIM115 - for as long as the process lives
            number, mode, lines, old.encoding, old.errors, closefd=False
        )
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def _be(arguments: Sequence[str]) -> None:
    """Run what stands after `python`."""
    option, what, *rest = arguments
    sys.argv = [option, *rest]
    sys.path[0] = "" if option == "-c" else os.getcwd()
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        assert option == "-c", f"{option} is not known here"
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    for _name in PRELOADED:
        importlib.import_module(_name)
    gc.freeze()  # else every child would soon have a copy of all this
    _be(_serve(socket.socket(fileno=int(sys.argv[1]))).arguments)

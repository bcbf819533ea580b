"""An agent as a command: one process group for each message, and no process left behind."""

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Final, final

import attrs

from turnlatch.errors import SettingsError
from turnlatch.testing.agents import AgentWorld
from turnlatch.testing.effects import DEATH

FOLDER: Final = "TURNLATCH_FOLDER"
"""The environment variable that names the folder for the agent's state."""

TIMEOUT_SECONDS: Final = 60.0
"""Longest time for one message, if nothing else is said."""

POINTS: Final = (
    *("request 1", "request 2"),
    *("reply 1", "reply 2"),
    *("effect begun", "effect done"),
)
"""The points at which a test kills the process of a message."""

_OUTPUT_BYTES_MAX: Final = 4000
_LINE_MAX: Final = 120
_NO_PROXY: Final = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
"""A proxy of the environment must not get what is for the loopback address."""


@final
@attrs.frozen
class AgentCommand:
    """The command of an agent.

    Attributes:
        words: The command and its arguments. `{folder}` in them stands for the folder of
            the agent's state, `{prompt}` for the message; a command without `{prompt}`
            gets the message on standard input.
        timeout_seconds: Longest time for one message.
    """

    words: tuple[str, ...]
    timeout_seconds: float

    @contextlib.contextmanager
    def started(
        self, prompt: str, folder: Path, environment: Mapping[str, str]
    ) -> "Generator[RunningCommand]":
        """Start it for one message; it has ended, with all of its group, when the block
        ends.

        Args:
            prompt: The message.
            folder: The folder of its state.
            environment: Its environment, in addition to that of this process.

        Raises:
            SettingsError: It cannot be started.
        """
        words = [
            word.replace("{folder}", str(folder)).replace("{prompt}", prompt)
            for word in self.words
        ]
        given = b"" if any("{prompt}" in one for one in self.words) else prompt.encode()
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as output:
            said.write(given)
            said.seek(0)
            running: RunningCommand | None = None
            try:
                with _interrupted_afterwards():
                    try:
                        process = subprocess.Popen(
                            words,
                            stdin=said,
                            stdout=output,
                            stderr=output,
                            env={**os.environ, **environment, FOLDER: str(folder)},
                            start_new_session=True,
                        )
                    except OSError as problem:
                        raise SettingsError(
                            "command",
                            f"{words[0]!r} does not start: {problem.strerror}",
                            "check its name and its path",
                        ) from problem
                    running = RunningCommand(process)
                # A signal that came meanwhile is raised here, where the process is known.
                yield running
            finally:
                if running is not None:
                    running.end(output)


@final
class RunningCommand:
    """A command that works on a message.

    Args:
        process: Its process, which leads a group.

    Attributes:
        last_line: The last line that it wrote; known when it has ended.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.last_line = ""

    def wait(self, seconds: float) -> int | None:
        """Its exit status; None if it has not ended within that time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self, output: IO[bytes]) -> None:
        """Kill it, and read the last line that it wrote."""
        self.kill()
        self._process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - _OUTPUT_BYTES_MAX))
        lines = output.read().decode(errors="replace").split("\n")
        self.last_line = next(filter(str.strip, reversed(lines)), "")

    def kill(self) -> None:
        """End all processes of its group at once; nothing happens if none is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


@final
class CommandAgent:
    """An agent that is a command: it runs once for each message, in a separate process
    group, and its death is SIGKILL.

    It finds the server in `ANTHROPIC_BASE_URL`, the ledger of effects in
    `TURNLATCH_EFFECTS`, and the folder of its state in `TURNLATCH_FOLDER`. Time is real
    for it: a wait that the server asks for takes that long.

    Args:
        words: The command and its arguments. `{folder}` in them stands for the folder of
            the agent's state, `{prompt}` for the message; a command without `{prompt}`
            gets the message on standard input.
        world: Its surroundings.
        timeout_seconds: Longest time for one message; then it is killed.

    Attributes:
        dies_at: The point of the next message at which its process is killed: `request N`
            has arrived, `reply N` has been sent, `effect begun`, `effect done`; empty if
            it is not.
        died: The process was killed at that point.
        overdue: The process was killed because it had not ended in time.
        last_line: The last line that the process wrote.
        failed: The process ended with another status than 0, or had to be killed.
        ended: How the process ended, in words.
    """

    def __init__(
        self,
        words: Sequence[str],
        world: AgentWorld,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        if os.name != "posix":
            raise SettingsError(
                "command", "this system has no SIGKILL", "use another one"
            )
        self._command = AgentCommand(tuple(words), timeout_seconds)
        self._api = world.api
        self._folder = world.folder
        world.effects.share(world.folder.with_name(f"{world.folder.name}.effects"))
        world.api.watch_effects(world.effects)
        self.dies_at = ""
        self.died = False
        self.overdue = False
        self.last_line = ""
        self.failed = False
        self.ended = ""
        self._before = 0
        self._running: RunningCommand | None = None
        self._known = threading.Event()

    def say(self, text: str, /) -> None:
        """Run it for one message; it has ended, with all of its group, when this returns.

        Raises:
            SettingsError: It cannot be started.
        """
        assert self._api.base_url  # reading it starts the server
        environment = {**_NO_PROXY, **self._api.environment}
        phase = self.dies_at.removeprefix("effect ")
        if phase != self.dies_at:
            environment[DEATH] = phase
        self.died = self.overdue = False
        self._before = len(self._api.requests)
        self._known.clear()
        on_request, self._api.on_request = self._api.on_request, self._arrived
        try:
            with self._command.started(text, self._folder, environment) as running:
                self._running = running
                self._known.set()
                status = running.wait(self._command.timeout_seconds)
                self.overdue = status is None
                self._api.client_ended(overdue=self.overdue)
        finally:
            self._api.on_request = on_request
        if phase != self.dies_at and status == -signal.SIGKILL:
            self.died = True
            self._api.client_died(f"effect {phase}")
        self.dies_at = ""
        self.last_line = running.last_line.replace(str(self._folder), "{folder}")
        self.failed = status != 0
        self.ended = self._how(status)

    def _how(self, status: int | None) -> str:
        if status is None:
            seconds = self._command.timeout_seconds
            return f"had not ended after {seconds:g} s and was killed"
        said = self.last_line[:_LINE_MAX]
        said = f", its last line: {said!r}" if said else ""
        return f"ended with status {status}{said}"

    # In the thread of the server.

    def _arrived(self) -> None:
        kind, _, number = self.dies_at.partition(" ")
        if number != str(len(self._api.requests) - self._before):
            return
        if kind == "request":
            self._kill()
        elif kind == "reply":
            # The reply is written to the socket in what the loop is doing now.
            asyncio.get_running_loop().call_soon(self._kill)

    def _kill(self) -> None:
        self._known.wait()
        assert self._running is not None, "it was set before that"
        point, self.dies_at = self.dies_at, ""
        self.died = True
        self._api.client_died(point)
        self._running.kill()


@contextlib.contextmanager
def _interrupted_afterwards() -> Generator[None]:
    """A Ctrl-C or a SIGTERM waits until the block is over: no process is started and not
    known."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    missed: list[tuple[int, FrameType | None]] = []
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    handled = {one: given for one, given in before.items() if callable(given)}
    for one in handled:
        signal.signal(one, lambda number, frame: missed.append((number, frame)))
    try:
        yield
    finally:
        for one, given in handled.items():
            signal.signal(one, given)
    for number, frame in missed[:1]:
        handled[signal.Signals(number)](number, frame)

"""An agent as a command: one process group for each message, and no process left behind."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from types import FrameType
from typing import IO, Final, final

import attrs

from turnlatch.errors import SettingsError

FOLDER: Final = "TURNLATCH_FOLDER"
"""The environment variable that names the folder for the agent's state."""

_OUTPUT_BYTES_MAX: Final = 4000


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

"""The window: text goes to the normal scroll-back, the footer stays below it.

While a chat is open the last two rows of the window are kept out of scrolling. Text is
printed above them as in any other program, so printed text is never drawn again: it does
not flicker, and copying from the window gives the text itself. The footer is painted with
one write, which moves the cursor there and back.
"""

import contextlib
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any, Final, Protocol, TypeAlias, final

import anyio

from turnlatch.cli.ahead import Ahead
from turnlatch.cli.keyboard import (
    CHUNK_BYTES,
    at_once,
    attributes_now,
    beginning_with,
    flush_keys,
    line_editing,
    more,
    prompt_ctrl_c,
    quiet,
    restore,
    typed,
)
from turnlatch.cli.terminal import Look, Terminal, shown

ROWS: Final = 3
"""Rows that are kept for the footer: a blank one and its two lines."""

HEIGHT_MIN: Final = 10
"""A window lower than this shows no footer."""

RELEASE: Final = "\x1b7\x1b[r\x1b8\x1b[J"
"""Scroll the whole window again, and clear what is below the cursor."""

PASTES, NO_PASTES = "\x1b[?2004h", "\x1b[?2004l"
"""Have what is pasted come between brackets, as the line editor has it, or not."""

Footer: TypeAlias = Callable[[int], tuple[str, str]]
"""The two lines for a width."""


class Screen(Protocol):
    """Where a chat is shown.

    Attributes:
        look: How things are shown.
        ahead: The line typed while a turn runs; None if the screen cannot show it.
    """

    look: Look
    ahead: Ahead | None

    def width(self) -> int:
        """Columns of the window."""
        ...

    def say(self, text: str) -> None:
        """Print finished or arriving text, already escaped."""
        ...

    def answer(self, text: str) -> None:
        """Print a confirmed answer to standard output."""
        ...

    def note(self, text: str) -> None:
        """Print the chat's lines, as opposed to the model's."""
        ...

    def log(self, line: str) -> None:
        """One line of progress, where progress is a log."""
        ...

    def paint(self) -> None:
        """Bring the footer up to date."""
        ...

    def forget_typed(self) -> None:
        """Discard keys typed so far: they do not answer the question that comes now."""
        ...

    def ask(self, prompt: str, begun: str = "") -> str:
        """Read what the person says: a line, or what is pasted with its line ends.

        Args:
            prompt: The text before the line.
            begun: Text that is already on the line, to be edited.

        Raises:
            EOFError: The input has ended.
            KeyboardInterrupt: Ctrl-C.
        """
        ...

    def busy(self) -> contextlib.AbstractContextManager[None]:
        """While a turn runs: what is typed is not echoed into what is printed."""
        ...

    async def pressed(self) -> bytes:
        """The next keys while a turn runs; empty once the input has ended."""
        ...

    def close(self) -> None:
        """Leave the window as it was found. Idempotent."""
        ...


@final
class PlainScreen:
    """Lines only: for pipes, for `--plain`, and for terminals that cannot do more.

    Args:
        terminal: The three streams.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.look = terminal.look
        self.ahead: Ahead | None = None
        self._asks = terminal.asks
        self._streams = terminal.streams
        self._mid_line = False
        if self._asks:
            line_editing()

    def width(self) -> int:
        """Columns of the window."""
        return shutil.get_terminal_size().columns

    def say(self, text: str) -> None:
        """Print arriving text, if a person is watching it arrive."""
        if self._streams and text:
            _write(sys.stdout, text)
            self._mid_line = not text.endswith("\n")

    def answer(self, text: str) -> None:
        """Print a confirmed answer, unless it was seen arriving."""
        if not self._streams:
            _write(sys.stdout, text if text.endswith("\n") else text + "\n")

    def note(self, text: str) -> None:
        """Print to standard error: standard output is for answers."""
        _write(sys.stderr, ("\n" if self._mid_line else "") + text)
        self._mid_line = False

    def log(self, line: str) -> None:
        """Print one line of progress to standard error."""
        self.note(line + "\n")

    def paint(self) -> None:
        """There is no footer here."""

    def forget_typed(self) -> None:
        """Discard keys that were typed and not read."""
        if self._asks:
            flush_keys()

    def ask(self, prompt: str, begun: str = "") -> str:
        """Read a line from a person; everything there is from a pipe or a file."""
        if self._asks:
            with prompt_ctrl_c():
                line = input(prompt)
                rest = at_once()
            if rest and self._streams:  # without a line editor it was echoed
                _write(sys.stdout, rest.removesuffix("\n") + "\n")
            return f"{line}\n{rest}" if rest else line
        text = sys.stdin.read()
        if not text:
            raise EOFError
        return text

    @contextlib.contextmanager
    def busy(self) -> Generator[None, None, None]:
        """Nothing is hidden here."""
        yield

    async def pressed(self) -> bytes:
        """Keys typed during a turn wait for the next prompt."""
        return b""

    def close(self) -> None:
        """There is nothing to undo."""


@final
class LiveScreen:
    """A terminal with the footer at its bottom.

    Args:
        terminal: The three streams.
        footer: The footer's two lines.
    """

    def __init__(self, terminal: Terminal, footer: Footer) -> None:
        self.look = terminal.look
        self.ahead: Ahead | None = Ahead()
        self._busy = False
        self._footer = footer
        self._size = (0, 0)  # columns and rows the window was laid out for
        self._painted: tuple[str, ...] | None = None
        self._lock = threading.RLock()
        self._open = True
        self._prompt = ""  # the text before the line that is being typed
        self._attributes = attributes_now()
        self._stopped = signal.signal(signal.SIGTSTP, self._stop)
        line_editing()
        self.paint()

    def width(self) -> int:
        """Columns of the window."""
        return os.get_terminal_size(2).columns

    def say(self, text: str) -> None:
        """Print above the footer."""
        if text:
            with self._lock:
                _write(sys.stdout, text)

    def answer(self, text: str) -> None:
        """The answer was already shown while it arrived."""

    def note(self, text: str) -> None:
        """Print above the footer."""
        self.say(text)

    def log(self, line: str) -> None:
        """The footer tells progress here."""

    def paint(self) -> None:
        """Paint the footer if it, or the window, has changed."""
        with self._lock:
            if not self._open:
                return
            size = os.get_terminal_size(2)
            moved = (size.columns, size.lines) != self._size
            if moved:
                self._lay_out(size.columns, size.lines)
            if size.lines < HEIGHT_MIN:
                return
            lines = (self._typed(size.columns - 2), *self._footer(size.columns - 2))
            if lines != self._painted or moved:
                self._painted = lines
                first = size.lines - ROWS + 1
                drawn = "".join(
                    f"\x1b[{first + row};1H\x1b[K {shown(line)}"
                    for row, line in enumerate(lines)
                )
                _control(f"\x1b7\x1b[?25l{drawn}\x1b8\x1b[?25h")

    def _typed(self, width: int) -> str:
        """The line typed while a turn runs; a blank row between turns."""
        if not self._busy or self.ahead is None:
            return ""
        return self.ahead.shown(self.look, width)

    def _lay_out(self, columns: int, rows: int) -> None:
        """Keep the last rows out of scrolling; whatever is below the cursor goes."""
        self._size = (columns, rows)
        if rows < HEIGHT_MIN:
            _control(RELEASE)
            return
        # An old footer is always below the cursor, wherever the window moved it. The
        # cursor itself must not stand among the rows that are taken: going down scrolls
        # the text up where it does, and keeps the column.
        room = "\x1bD" * ROWS + f"\x1b[{ROWS}A"
        _control(f"{RELEASE}{room}\x1b7\x1b[1;{rows - ROWS}r\x1b8")

    def forget_typed(self) -> None:
        """Discard keys that were typed and not read."""
        flush_keys()

    def ask(self, prompt: str, begun: str = "") -> str:
        """Read a line above the footer."""
        with self._lock:
            restore(self._attributes)
            self.paint()
        done = threading.Event()

        def follow() -> None:
            # The window may change its size while the main thread waits in the line
            # editor.
            while not done.wait(0.25):
                self.paint()

        follower = threading.Thread(target=follow, name="turnlatch-footer", daemon=True)
        follower.start()
        self._prompt = prompt
        try:
            with prompt_ctrl_c(), beginning_with(begun):
                line = input(prompt)
                rest = at_once()
            if rest:
                self.say(rest.removesuffix("\n") + "\n")
            return f"{line}\n{rest}" if rest else line
        finally:
            self._prompt = ""
            done.set()
            follower.join()

    @contextlib.contextmanager
    def busy(self) -> Generator[None, None, None]:
        """Show what is typed in the footer's blank row, not where text arrives."""
        quiet(self._attributes)
        self._busy = True
        _control(PASTES)
        try:
            yield
        finally:
            self._busy = False
            _control(NO_PASTES)
            restore(self._attributes)
            self.paint()

    async def pressed(self) -> bytes:
        """The next keys; unread keys stay for the next prompt."""
        keyboard = sys.stdin.fileno()
        await anyio.wait_readable(keyboard)
        try:
            data = os.read(keyboard, CHUNK_BYTES)
            return data if len(data) < 2 else data + more(keyboard)
        except OSError:  # the window was closed
            return b""

    def close(self) -> None:
        """Give the last rows back and clear them. Idempotent."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            signal.signal(signal.SIGTSTP, self._stopped)
            restore(self._attributes)
            _control(RELEASE + "\x1b[?25h")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: give the window to the shell, and take it again afterwards."""
        attributes = attributes_now()
        with self._lock:
            restore(self._attributes)
            _control(f"{RELEASE}{NO_PASTES if self._busy else ''}\n")
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            # Here the process has been continued.
            signal.signal(signal.SIGTSTP, self._stop)
            restore(attributes)
            _control(PASTES if self._busy else "")
            self._size = (0, 0)
            self.paint()
            if self._prompt:  # the line editor does not know that it was interrupted
                _control(re.sub("[\x01\x02]", "", self._prompt) + typed())


def _write(stream: Any, text: str) -> None:
    stream.write(text)
    stream.flush()


def _control(text: str) -> None:
    """Write to the terminal directly: a signal may have locked Python's buffers."""
    data = text.encode(errors="replace")
    while data:
        data = data[os.write(2, data) :]

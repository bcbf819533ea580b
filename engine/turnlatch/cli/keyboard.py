"""The keyboard of a chat: how it is set, and what is taken from it."""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any, Final

from turnlatch.cli.ahead import pasted_text
from turnlatch_states.fsm.printable import escape

AT_ONCE_SECONDS: Final = 0.03
"""Keys that follow each other within this time came in one piece."""

CHUNK_BYTES: Final = 65536
PASTE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A longer paste is two."""


@contextlib.contextmanager
def prompt_ctrl_c() -> Generator[None, None, None]:
    """Let a Ctrl-C interrupt the line editor at whatever moment it comes.

    One that comes just before the editor waits for a key is only noticed with the next
    key. A thread that is woken by the signal itself sends it once more then.
    """
    if os.name != "posix":
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    seen = threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def handle(number: int, frame: FrameType | None) -> None:
        seen.set()
        raise KeyboardInterrupt

    def watch() -> None:
        while data := reader.recv(16):
            if signal.SIGINT in data and not seen.wait(0.1):
                signal.pthread_kill(main, signal.SIGINT)

    before = signal.signal(signal.SIGINT, handle)
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="turnlatch-ctrl-c", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGINT, before)
        writer.close()  # the watcher reads the end, and leaves
        watcher.join()
        reader.close()


def line_editing() -> None:
    """Give `input()` history and editing, where this Python has them."""
    with contextlib.suppress(ImportError):
        import readline

        readline.set_auto_history(True)


@contextlib.contextmanager
def beginning_with(text: str) -> Generator[None, None, None]:
    """Let the line editor begin with a text."""
    try:
        import readline
    except ImportError:
        yield
        return
    readline.set_startup_hook((lambda: readline.insert_text(text)) if text else None)
    try:
        yield
    finally:
        readline.set_startup_hook(None)


def at_once() -> str:
    """The rest of the input that arrived with the line just read: a paste, in a terminal
    without paste brackets. A person does not type that fast."""
    if os.name != "posix":
        return ""
    attributes = attributes_now()
    quiet(attributes)  # a last line without an end is there, too
    try:
        data = more(sys.stdin.fileno())
    except (OSError, ValueError):
        return ""
    finally:
        restore(attributes)
    return pasted_text(data.decode(errors="replace"))


def more(keyboard: int) -> bytes:
    """The rest of the same piece of input, up to a limit."""
    data = b""
    while select.select([keyboard], [], [], AT_ONCE_SECONDS)[0]:
        piece = os.read(keyboard, CHUNK_BYTES)
        data += piece
        if not piece or len(data) > PASTE_BYTES_MAX:
            break
    return data


def typed() -> str:
    """The text on the line that is being typed."""
    try:
        import readline
    except ImportError:
        return ""
    return escape(readline.get_line_buffer())


def flush_keys() -> None:
    """Discard keys that were typed and not read."""
    if os.name != "posix":
        return
    import termios

    with contextlib.suppress(termios.error, OSError, ValueError):
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


def attributes_now() -> list[Any] | None:
    """The terminal's settings; None if standard input is not a terminal."""
    import termios

    with contextlib.suppress(termios.error, OSError, ValueError):
        return termios.tcgetattr(sys.stdin.fileno())
    return None


def restore(attributes: list[Any] | None) -> None:
    """Set the terminal as it was."""
    import termios

    if attributes is not None:
        with contextlib.suppress(termios.error, OSError, ValueError):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, attributes)


def quiet(attributes: list[Any] | None) -> None:
    """Let keys come one by one and unseen."""
    import termios

    if attributes is not None:
        changed = list(attributes)
        # Byte by byte and unseen, but with the keys that send signals.
        changed[3] &= ~(termios.ECHO | termios.ICANON)
        changed[6] = list(changed[6])
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        restore(changed)

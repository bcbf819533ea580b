"""The first lines of the `turnlatch` command, and how Ctrl-C ends it.

Importing the rest takes a moment, in which nothing is open: a Ctrl-C ends the process on
the spot then, and not with a traceback from the middle of an import. This is a package of
its own because importing a module of `turnlatch` imports all of that.
"""

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

EXIT_INTERRUPTED: Final = 130

_LINE: Final = b"turnlatch: interrupted\n"


def main() -> None:
    """Run the command."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from turnlatch.cli import main as command

    command()


@contextmanager
def interruptible() -> Generator[None]:
    """While a command runs, Ctrl-C is a `KeyboardInterrupt`, so that it can close what it
    has open. One that leaves the command becomes one line and an exit status; from then
    on another Ctrl-C ends the process at once.

    Where SIGINT is ignored (`nohup`), it stays so.

    Raises:
        SystemExit: Ctrl-C left the command.
    """
    before = signal.getsignal(signal.SIGINT)
    ours = before in (signal.default_int_handler, _leave) and (
        threading.current_thread() is threading.main_thread()
    )
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    after = before
    try:
        yield
    except KeyboardInterrupt:
        after = _leave_silently
        os.write(2, _LINE)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except SystemExit as left:
        if left.code == EXIT_INTERRUPTED:  # the command has said it
            after = _leave_silently
        raise
    finally:
        if ours:
            signal.signal(signal.SIGINT, after)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, _LINE)
    os._exit(EXIT_INTERRUPTED)


def _leave_silently(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)

"""A process that converses until a signal comes, with an exit as people write it.

`python -m tests.sweeps.signalled FOLDER BACKEND STYLE SEED COUNT` does that COUNT times:
each time a child is forked off, which talks on a store of its own, notes outside of it
what was confirmed and for what its tool ran, and is sent one or two real signals at a
random moment by this process. The children's stores and notes stay in FOLDER.
"""

import asyncio
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, final

import anyio
import attrs
from tests.sweeps import quick

from turnlatch import Conversation


def _exit(*_: object) -> NoReturn:
    sys.exit(1)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@final
@attrs.frozen
class Style:
    """How a process ends when it is told to.

    Attributes:
        number: The signal.
        handler: What is set for it; None if the event loop handles it, see `_cancelling`.
        presses: How often it is sent.
    """

    number: int
    handler: Callable[..., Any] | None
    presses: int = 1


GRACE_SECONDS: Final = 15.0
"""How long a process may take to end before it is killed, as supervisors do."""

STYLES: Final = {
    "exits": Style(signal.SIGTERM, _exit),
    "exits, twice": Style(signal.SIGTERM, _exit, 2),
    "raises": Style(signal.SIGTERM, _interrupt),
    "default": Style(signal.SIGINT, signal.default_int_handler),
    "default, twice": Style(signal.SIGINT, signal.default_int_handler, 2),
    "cancels": Style(signal.SIGTERM, None),
}
"""An exit in a handler, an exception, the event loop's own way with Ctrl-C, a handler of
the event loop's that cancels the main task."""


def _noter(path: Path) -> Callable[[str], None]:
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(line: str) -> None:
        os.write(out, line.encode() + b"\n")

    return note


async def _talk(folder: Path, style: str, ready: Callable[[], Any]) -> None:
    if STYLES[style].handler is None:
        await _cancelling()
    confirmed, tools = (
        _noter(folder / "confirmed"),
        [quick.payer(_noter(folder / "effects"))],
    )
    async with Conversation.open(
        quick.NAME, store=folder / "chat.db", client=quick.Quick(), tools=tools
    ) as chat:
        ready()
        # Python drops an exception of a handler's that runs while it collects garbage:
        # a child that hears nothing ends by itself.
        for number in range(200):
            text = f"pay {number}" if number % 2 else f"say {number}"
            turn = await chat.send(text)
            if str(turn.state) == "confirmed":
                confirmed(text)


def _warm(folder: Path, backend: str) -> None:
    """Have everything imported before the first child, so that each costs little."""

    async def talk() -> None:
        store = folder / "warm.db"
        async with Conversation.open(
            quick.NAME, store=store, client=quick.Quick(), tools=[quick.payer(print)]
        ) as chat:
            await chat.send("say something")

    anyio.run(talk, backend=backend)


async def _cancelling() -> None:
    """A handler of the event loop's that cancels the main task."""
    if "trio" in sys.modules and _on_trio():
        import trio

        scope = trio.lowlevel.current_task().parent_nursery
        assert scope is not None
        trio.lowlevel.spawn_system_task(_trio_cancels, scope.cancel_scope)
        return
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _on_trio() -> bool:
    import sniffio

    return sniffio.current_async_library() == "trio"


async def _trio_cancels(scope: Any) -> None:
    import trio

    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


def _child(folder: Path, backend: str, style: str, out: int) -> NoReturn:
    """Be the process that is signalled; it ends as Python ends a process."""
    if STYLES[style].handler is not None:
        signal.signal(STYLES[style].number, STYLES[style].handler)
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end

    def ready() -> None:
        os.write(out, b".")

    try:
        anyio.run(_talk, folder, style, ready, backend=backend)
    finally:
        os._exit(0)


def _one(folder: Path, backend: str, style: str, dice: random.Random) -> None:
    folder.mkdir()
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        _child(folder, backend, style, write)
    os.close(write)
    os.read(read, 1)
    time.sleep(dice.uniform(0.0, 0.06))
    for _ in range(STYLES[style].presses):
        os.kill(
            pid, STYLES[style].number
        )  # a child that ended is still ours to collect
        time.sleep(dice.uniform(0.0, 0.003))
    # An exception of a handler's that comes in the middle of asyncio's own loop can make
    # that forget a task, and wait for it for ever. What is done then is done here.
    if not select.select([read], [], [], GRACE_SECONDS)[0]:
        os.kill(pid, signal.SIGKILL)
        (folder / "killed").touch()
    os.close(read)
    os.waitpid(pid, 0)


def main() -> None:
    """Signal as many children as asked for."""
    folder, backend, style, seed, count = sys.argv[1:]
    dice = random.Random(f"{backend} {style} {seed}")
    _warm(Path(folder), backend)
    for number in range(int(count)):
        _one(Path(folder) / str(number), backend, style, dice)


if __name__ == "__main__":
    main()

"""Running a coroutine beside its caller, on asyncio and on trio.

A turn that is watched must go on when its watcher pauses between two events, so it
cannot live in a scope that the watcher would have to keep open across its own awaits.
"""

import asyncio
import contextvars
import sys
from collections.abc import Awaitable, Callable
from typing import Any

_RUNNING: set[asyncio.Task[Any]] = set()  # asyncio itself keeps only a weak reference


def spawn(work: Callable[[], Awaitable[None]]) -> None:
    """Start `work` beside the caller. It must not raise."""

    async def run() -> None:
        await work()

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        context = contextvars.copy_context()  # a task of asyncio's has a copy too
        sys.modules["trio"].lowlevel.spawn_system_task(run, context=context)
        return
    task = loop.create_task(run())
    _RUNNING.add(task)
    task.add_done_callback(_RUNNING.discard)

"""Running a coroutine beside its caller, on asyncio and on trio.

A turn that is watched must go on when its watcher pauses between two events, so it
cannot live in a scope that the watcher would have to keep open across its own awaits.
"""

import asyncio
import contextvars
import sys
from collections.abc import Awaitable, Callable
from typing import Any, final

import anyio

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


@final
class Aside:
    """Work in a task of its own: whoever waits for it can leave.

    So work that does not listen when it is cancelled holds nobody up longer than its
    grace time: it is left to itself.

    Args:
        work: What to do.
        grace_seconds: How long it may take to come to its end once it is stopped.
    """

    def __init__(
        self, work: Callable[[], Awaitable[None]], grace_seconds: float
    ) -> None:
        self._work = work
        self._grace_seconds = grace_seconds
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()
        self._raised: BaseException | None = None

    @property
    def stopped(self) -> bool:
        """True once it was told to stop."""
        return self._scope.cancel_called

    async def wait(self, seconds: float) -> None:
        """Begin, and wait until it is done, or its time and its grace time are over.

        What it raises is raised here; what it raises later nobody hears.
        """
        spawn(self._run)
        try:
            with anyio.move_on_after(seconds):
                await self._done.wait()
        finally:
            if not self._done.is_set():
                await self._stop()
        if self._raised is not None:
            raise self._raised

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._work()
        except anyio.get_cancelled_exc_class():
            raise  # the loop itself is being closed
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._raised = error
        finally:
            self._done.set()

    async def _stop(self) -> None:
        """Cancel it, and give it its grace time to come to an end."""
        self._scope.cancel()
        with (
            anyio.CancelScope(shield=True),
            anyio.move_on_after(self._grace_seconds),
        ):
            await self._done.wait()

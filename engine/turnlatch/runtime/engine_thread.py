"""The thread that runs the async engine for callers without an event loop.

The caller's thread waits for what runs there. Whatever interrupts that wait, a Ctrl-C
above all, stops what it waited for, lets it come to its end, and is then raised. A forked
child has no such thread: it is told so, and never waits for it.
"""

import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from threading import Thread
from typing import Generic, TypeVar, final

import anyio
from anyio.from_thread import BlockingPortal

from turnlatch.errors import ConversationClosedError, ForkedProcessError

_T = TypeVar("_T")


@final
class EngineThread:
    """A thread with an event loop, for one conversation.

    It is not `anyio.from_thread.start_blocking_portal`, whose context waits for its
    thread when it is left or collected: in a forked child, for ever.

    Args:
        name: The conversation, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pid = os.getpid()
        self._ready: Future[BlockingPortal] = Future()
        self._portal: BlockingPortal | None = None
        # A program that ends without closing a conversation still ends.
        self._thread = Thread(target=self._serve, name=f"turnlatch {name}", daemon=True)

    def start(self) -> None:
        """Start the thread, and wait until it can be given work."""
        self._thread.start()
        self._portal = self._ready.result()

    def stop(self) -> None:
        """Wait until everything that runs there has ended, and end the thread."""
        portal, self._portal = self._portal, None
        if portal is not None:
            portal.call(portal.stop)
            self._thread.join()

    def _serve(self) -> None:
        async def serve() -> None:
            async with BlockingPortal() as portal:
                self._ready.set_result(portal)
                await portal.sleep_until_stopped()

        anyio.run(serve)

    @property
    def forked(self) -> bool:
        """True in a process that was forked off the one that has the thread."""
        return os.getpid() != self._pid

    def demand_here(self) -> None:
        """Refuse a process that was forked off.

        Raises:
            ForkedProcessError: This is one.
        """
        if self.forked:
            raise ForkedProcessError(self._name, self._pid)

    def run(
        self,
        work: Callable[[], Awaitable[_T]],
        leave: Callable[[], Awaitable[object]] | None = None,
    ) -> _T:
        """Run a coroutine there, and wait for it.

        Args:
            work: What to run.
            leave: Run if the wait is interrupted, after `work` was cancelled.

        Raises:
            ForkedProcessError: This process has no such thread.
            ConversationClosedError: The thread was stopped.
        """
        self.demand_here()
        portal = self._portal
        if portal is None:
            raise ConversationClosedError(self._name)
        job = _Job(work)
        try:
            return portal.start_task_soon(job.run).result()
        except BaseException:
            if not job.over:  # this thread was interrupted, not the work
                portal.call(job.stop)
                if leave is not None:
                    portal.call(leave)
            raise


@final
class _Job(Generic[_T]):
    """One piece of work, which can be stopped before it begins, too.

    Attributes:
        over: The work has ended, and waiting callers get its result.
    """

    def __init__(self, work: Callable[[], Awaitable[_T]]) -> None:
        self._work = work
        self._stopped = False
        self._scope: anyio.CancelScope | None = None
        self._ended: anyio.Event | None = None
        self.over = False

    async def run(self) -> _T:
        """Do it."""
        self._ended = anyio.Event()
        try:
            with anyio.CancelScope() as self._scope:
                if self._stopped:
                    self._scope.cancel()
                    await anyio.lowlevel.checkpoint()
                return await self._work()
            raise InterruptedError("it was stopped before it began")
        finally:
            self.over = True
            self._ended.set()

    async def stop(self) -> None:
        """Cancel it, and wait until it has come to its end."""
        self._stopped = True
        if self._scope is not None and self._ended is not None:
            self._scope.cancel()
            await self._ended.wait()

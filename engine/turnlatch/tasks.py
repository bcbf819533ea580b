"""Running code concurrently with its caller, on asyncio and trio: tasks, threads, callbacks.

A turn that is watched must go on when its watcher pauses between two events, so it
cannot live in a scope that the watcher would have to keep open across its own awaits.
The user's code (tools, rules, hooks) runs for a bounded time, and a cancellation that it
caused itself is distinguished from one by turnlatch.
"""

import asyncio
import contextvars
import functools
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Final, TypeVar, final

import anyio
import anyio.from_thread
import anyio.lowlevel

from turnlatch.errors import CancelledItselfError, NoAnswerError

Value = TypeVar("Value")

AWAITED_MAX: Final = 8
"""How often what was awaited may hand back something else to be awaited."""

_RUNNING: set[asyncio.Task[Any]] = set()  # asyncio itself keeps only a weak reference


def spawn(work: Callable[[], Awaitable[None]]) -> None:
    """Start `work` in another task. It must not raise."""

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


async def carried_through(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do work that a cancellation of the waiting task does not cut off.

    asyncio can cancel a task through a shield, so there the work has a separate task:
    the waiting task leaves, and the work goes on to its end.
    """
    with anyio.CancelScope(shield=True):
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return await work()
        task = loop.create_task(work())
        _RUNNING.add(task)
        task.add_done_callback(_RUNNING.discard)
        await asyncio.shield(task)


@contextmanager
def own_cancellation() -> Generator[None]:
    """Turn a cancellation that turnlatch did not request into an error.

    Code that awaits a cancelled future or task raises the same exception as if it had
    been cancelled itself.

    Raises:
        CancelledItselfError: The code within was not cancelled from outside.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        if _cancelled_from_outside():
            raise
        raise CancelledItselfError from error


def _cancelled_from_outside() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False  # trio cancels in another way
    return task is not None and task.cancelling() > 0


async def in_thread(function: Callable[[], Value]) -> Value:
    """Run a function in a new daemon thread, and wait for its result.

    The waiting task can leave at once, and a function that never returns blocks neither
    the event loop nor the end of the process, as a worker thread would.
    """
    token, done = anyio.lowlevel.current_token(), anyio.Event()
    context = contextvars.copy_context()
    if (sniffio := sys.modules.get("sniffio")) is not None:
        # In the thread no event loop runs yet: who begins one there must be its own.
        context.run(sniffio.current_async_library_cvar.set, None)
    outcome = Future[Value]()

    def work() -> None:
        try:
            outcome.set_result(context.run(function))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            outcome.set_exception(error)
        with suppress(anyio.RunFinishedError):
            anyio.from_thread.run_sync(done.set, token=token)

    threading.Thread(target=work, name="turnlatch", daemon=True).start()
    await done.wait()
    return outcome.result()


async def called(function: Callable[..., Any], *args: object) -> Any:
    """The result of a function, sync or async.

    A coroutine function runs on the event loop, any other in a thread; what that hands
    back to be awaited is awaited on the event loop. An object that gives itself when it
    is awaited, as clients of databases do, is what is left in the end.
    """
    if iscoroutinefunction(function):
        value: Any = await function(*args)
    else:
        value = await in_thread(functools.partial(function, *args))
    for _ in range(AWAITED_MAX):
        if not isawaitable(value):
            break
        value = await value
    return value


async def answered(
    function: Callable[..., Any],
    *args: object,
    seconds: float,
    grace_seconds: float,
) -> Any:
    """The result of a user's function, within a time limit; see `called`.

    Args:
        function: The function; its exceptions propagate.
        *args: The function's arguments.
        seconds: How long it may take.
        grace_seconds: How long it may take to come to its end once it is stopped.

    Raises:
        NoAnswerError: It did not answer in time.
        CancelledItselfError: It was cancelled from within.
    """
    found: list[Any] = []

    async def ask() -> None:
        found.append(await called(function, *args))

    await Aside(ask, grace_seconds).wait(seconds)
    if not found:
        raise NoAnswerError(seconds)
    return found[0]


@final
class Aside:
    """Work in a separate task, which a waiting task can leave.

    Work that ignores its cancellation delays the waiting task by at most the grace time,
    and is then left running.

    Args:
        work: The work.
        grace_seconds: How long it may take to end once it is stopped.
    """

    def __init__(
        self, work: Callable[[], Awaitable[None]], grace_seconds: float
    ) -> None:
        self._work = work
        self._grace_seconds = grace_seconds
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()
        self._whole = False
        self._raised: BaseException | None = None
        self.stopped = False
        """True once it was stopped; any thread may read it."""

    async def wait(self, seconds: float) -> None:
        """Start the work, and wait until it ends or its time and grace time are over.

        Exceptions propagate; one raised after the wait has ended is discarded.

        Raises:
            CancelledItselfError: The work was cancelled, but not by turnlatch.
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
        if not self._whole and not self.stopped:
            raise CancelledItselfError

    async def _run(self) -> None:
        try:
            with self._scope, own_cancellation():
                await self._work()
                self._whole = True
        except anyio.get_cancelled_exc_class():
            raise  # its task was cancelled: by the loop that is being closed, or by it
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._raised = error
        finally:
            self._done.set()

    async def _stop(self) -> None:
        """Cancel it, and give it its grace time to come to an end."""
        self.stopped = True
        self._scope.cancel()
        with (
            anyio.CancelScope(shield=True),
            anyio.move_on_after(self._grace_seconds),
        ):
            await self._done.wait()

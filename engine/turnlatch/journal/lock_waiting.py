"""Waiting for a store that another process has locked.

SQLite lets one process write at a time. A wait inside an operation would keep the store's
own lock meanwhile, and on an event loop it would keep everything that runs there. So no
operation waits: one that meets a lock changes nothing, raises `StoreLockedError`, and is
repeated as a whole after a pause. A `SQLiteStore` that is used directly pauses its thread
(`waited`), but for an append, which is a coroutine; a conversation pauses its task, and
the loop goes on (`patiently`).
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Final, TypeVar

import anyio

from turnlatch.errors import StoreLockedError

WAIT_SECONDS = 5.0
"""How long a locked store, or an append, is waited for; well within the time a lease
lasts."""

_FIRST_SECONDS: Final = 0.001
_MOST_SECONDS: Final = 0.05

_AT_ONCE: ContextVar[bool] = ContextVar("turnlatch_at_once", default=False)

_T = TypeVar("_T")


def pauses(seconds: float) -> Iterator[float]:
    """Pauses, in seconds, that add up to `seconds`: short ones first."""
    left, pause = seconds, _FIRST_SECONDS
    while left > 0:
        yield min(pause, left)
        left -= pause
        pause = min(2 * pause, _MOST_SECONDS)


@contextlib.contextmanager
def at_once() -> Generator[None]:
    """Have no operation on a store in this block wait: a locked one raises at once."""
    token = _AT_ONCE.set(True)
    try:
        yield
    finally:
        _AT_ONCE.reset(token)


def is_at_once() -> bool:
    """True within `at_once`."""
    return _AT_ONCE.get()


def waited(work: Callable[[], _T], seconds: float) -> _T:
    """Use a store, again while it is locked; the thread pauses in between.

    Args:
        work: Does it, all or nothing.
        seconds: How long to wait at most; within `at_once` not at all.

    Raises:
        StoreLockedError: It was locked all the time.
    """
    left = pauses(0.0 if is_at_once() else seconds)
    while True:
        try:
            return work()
        except StoreLockedError as error:
            pause = next(left, None)
            if pause is None:
                raise error if is_at_once() else error.after(seconds) from error
        time.sleep(pause)


async def patiently(work: Callable[[], _T]) -> _T:
    """Use a store, again while it is locked; other tasks run in between.

    Where it is not locked, nothing is awaited. May be cancelled while it waits: nothing
    was done then.

    Args:
        work: Does it, all or nothing, without waiting.

    Raises:
        StoreLockedError: It was locked all the time, `WAIT_SECONDS`.
    """

    async def done() -> _T:
        with at_once():
            return work()

    return await tried_patiently(done)


async def tried_patiently(work: Callable[[], Awaitable[_T]]) -> _T:
    """`patiently`, for work that may itself suspend, and gives up where the store is
    locked."""
    left = pauses(WAIT_SECONDS)
    while True:
        try:
            return await work()
        except StoreLockedError as error:
            pause = next(left, None)
            if pause is None:
                raise error.after(WAIT_SECONDS) from error
        await anyio.sleep(pause)

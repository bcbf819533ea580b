"""What a tool hands back to be read: it is read to its end, or refused."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from inspect import isawaitable
from typing import Any, cast, final

import anyio.lowlevel

from turnlatch.tasks import in_thread
from turnlatch.tools.jsonable import NoJsonError, as_json

BYTES_MAX = 16 * 1024 * 1024
"""Most that is read of what a tool gives piece by piece; a bound, for it may not end."""


def read_here(value: object, stopped: Callable[[], bool]) -> object:
    """The value, or the list of what an iterator gives; to be called in a thread.

    Args:
        value: Anything.
        stopped: Returns True once the caller has stopped waiting.

    Raises:
        NoJsonError: It gives more than `BYTES_MAX`, or what has no JSON form.
    """
    if isawaitable(value) or not isinstance(value, Iterator):
        return value
    given, found = cast("Iterator[object]", value), _Found()
    try:
        for item in given:
            found.add(item)
            if stopped():
                break
    finally:
        if isinstance(given, Generator):
            given.close()
    return found.items


async def drained(value: object, stopped: Callable[[], bool]) -> object:
    """The value, or the list of what an iterator gives; see `read_here`.

    Raises:
        NoJsonError: As `read_here`, or each thing awaited gave another to be awaited.
    """
    if isawaitable(value):
        raise NoJsonError("$", _AGAIN.format(type(value).__name__))
    if isinstance(value, AsyncIterator):
        return await _drained(cast("AsyncIterator[object]", value))
    if isinstance(value, Iterator):
        given = cast("object", value)
        return await in_thread(lambda: read_here(given, stopped))
    return value


async def _drained(value: AsyncIterator[object]) -> list[Any]:
    found = _Found()
    try:
        async for item in value:
            found.add(item)
            # The source may never await anything, and never end.
            await anyio.lowlevel.checkpoint()
    finally:
        if isinstance(value, AsyncGenerator):
            await value.aclose()
    return found.items


_AGAIN = (
    "is a {} that gives itself, or another to be awaited, however often it is awaited"
)


@final
class _Found:
    """The items read so far."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._left = BYTES_MAX

    def add(self, item: object) -> None:
        self._left -= len(as_json(item)) + 1
        if self._left < 0:
            raise NoJsonError("$", f"gives more than {BYTES_MAX} bytes; it was stopped")
        self.items.append(item)

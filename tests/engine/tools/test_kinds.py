"""Whatever kind of function a tool is, it is told as done only once it is done."""

import asyncio
import functools
import json
import threading
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
)
from typing import Any

import anyio
import pytest
from tests import warm

from turnlatch.tools import Blocks, draining, run_tool, tool
from turnlatch.tools.execution import ToolRun
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.effects.call_effects import Ending
from turnlatch_states.machine.call import Closing

pytestmark = pytest.mark.anyio

DONE: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    DONE.clear()


async def booked(seat: str) -> str:
    """Book a seat."""
    await anyio.lowlevel.checkpoint()
    DONE.append(seat)
    return f"booked {seat}"


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


class Later:
    """Something of one's own that can be awaited."""

    def __init__(self, seat: str) -> None:
        self.seat = seat

    def __await__(self) -> Generator[Any, Any, str]:
        return booked(self.seat).__await__()


def plain(seat: str) -> str:
    """Book a seat."""
    DONE.append(seat)
    return f"booked {seat}"


def hands_back(seat: str) -> object:
    """Book a seat."""
    return booked(seat)


def hands_back_later(seat: str) -> object:
    """Book a seat."""
    return Later(seat)


async def hands_back_twice(seat: str) -> object:
    """Book a seat."""
    return booked(seat)


class Counter:
    """A method of an object."""

    async def book(self, seat: str) -> str:
        """Book a seat."""
        return await booked(seat)


KINDS: dict[str, Callable[..., Any]] = {
    "coroutine function": booked,
    "function": plain,
    "wrapper": traced(booked),
    "wrapper of a wrapper": traced(traced(booked)),
    "function that hands back a coroutine": hands_back,
    "function that hands back an awaitable": hands_back_later,
    "coroutine function that hands back a coroutine": hands_back_twice,
    "method": Counter().book,
}


async def run(function: Callable[..., Any], **options: Any) -> tuple[Closing, Any]:
    one = tool(name="book", **options)(function)
    ending = await run_tool(one, ToolUse("toolu_1", "book", {"seat": "4A"}), "key")
    return ending.closing, json.loads(ending.result).get("content")


@pytest.mark.parametrize("kind", KINDS)
async def test_call_is_reported_done_after_it_ended(kind: str) -> None:
    assert await run(KINDS[kind]) == (Closing.RESULT, "booked 4A")
    assert DONE == ["4A"]


def in_pieces(seat: str) -> Iterator[str]:
    """Book a seat."""
    DONE.append(seat)
    yield "booked"
    yield seat


async def in_pieces_later(seat: str) -> AsyncIterator[str]:
    """Book a seat."""
    DONE.append(await booked(seat))
    yield "booked"
    yield seat


async def gives_an_iterator(seat: str) -> Iterator[str]:
    """Book a seat."""
    return in_pieces(seat)


@pytest.mark.parametrize("function", [in_pieces, in_pieces_later, gives_an_iterator])
async def test_result_in_pieces_is_read_to_its_end(
    function: Callable[..., Any],
) -> None:
    assert await run(function) == (Closing.RESULT, '["booked", "4A"]')
    assert DONE


async def test_pieces_may_be_blocks() -> None:
    def shots(seat: str) -> Iterator[dict[str, Any]]:
        """Take pictures."""
        for url in ("https://a.test/1.png", "https://a.test/2.png"):
            yield {"type": "image", "source": {"type": "url", "url": url}}

    closing, content = await run(shots)

    assert closing is Closing.RESULT
    assert [one["type"] for one in content] == ["image", "image"]


def for_ever(seat: str) -> Iterator[str]:
    """Never stop talking."""
    try:
        while True:
            yield "x" * 1000
    finally:
        DONE.append("let go")


async def for_ever_later(seat: str) -> AsyncIterator[str]:
    """Never stop talking."""
    try:
        while True:
            yield "x" * 1000
    finally:
        DONE.append("let go")


async def test_endless_result_without_waits_blocks_nothing() -> None:
    async def chatters(seat: str) -> AsyncIterator[int]:
        """Give the loop no turn."""
        while True:
            yield 1

    one = ToolRun(
        tool(name="book")(chatters), ToolUse("t", "book", {"seat": "1"}), "key"
    )
    with anyio.move_on_after(0.05) as scope:
        await one.wait()

    assert scope.cancelled_caught


@pytest.mark.parametrize("function", [for_ever, for_ever_later])
async def test_endless_result_is_stopped_and_reported(
    function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "BYTES_MAX", 100_000)
    closing, content = await run(function)

    assert closing is Closing.ERROR
    assert "The tool ran, but its result cannot be read" in content
    assert "gives more than 100000 bytes" in content
    assert DONE == ["let go"]


class Itself:
    """Gives itself when it is awaited, as clients of databases do."""

    def __await__(self) -> Generator[Any, Any, "Itself"]:
        yield from anyio.lowlevel.checkpoint().__await__()
        return self


class Another(Itself):
    """Gives another one."""

    def __await__(self) -> Generator[Any, Any, Itself]:
        yield from anyio.lowlevel.checkpoint().__await__()
        return Another()


@pytest.mark.parametrize("kind", [Itself, Another])
@pytest.mark.parametrize("in_loop", [True, False])
async def test_endless_chain_of_awaitables_is_an_error(
    kind: type[Itself], in_loop: bool
) -> None:
    def connects(seat: str) -> object:
        """Connect."""
        return kind()

    async def connects_later(seat: str) -> object:
        """Connect."""
        return kind()

    closing, content = await run(connects_later if in_loop else connects)

    assert closing is Closing.ERROR
    assert "The tool ran, but" in content
    assert "however often it is awaited" in content


async def test_result_of_a_plain_function_is_read_in_its_thread_and_time() -> None:
    readers: list[threading.Thread] = []
    never = threading.Event()

    class Rows(Mapping[str, int]):
        """Read when they are looked at, like the rows of a database."""

        def __getitem__(self, key: str) -> int:
            readers.append(threading.current_thread())
            never.wait(60)
            return 1

        def __iter__(self) -> Iterator[str]:
            return iter(["a"])

        def __len__(self) -> int:
            return 1

    def look(seat: str) -> object:
        """Look."""
        return Rows()

    try:
        closing, content = await run(look, timeout=0.2, grace=0.01)
    finally:
        never.set()

    assert closing is Closing.UNKNOWN
    assert "Timed out" in content
    assert threading.main_thread() not in readers


async def test_result_that_hangs_between_two_pieces_times_out() -> None:
    async def stalls(seat: str) -> AsyncIterator[str]:
        """Stall."""
        yield "one"
        await anyio.sleep_forever()

    closing, content = await run(stalls, timeout=0.01)

    assert closing is Closing.UNKNOWN
    assert "Timed out after 0.01 s" in content


async def test_a_partial_is_refused_with_what_to_do() -> None:
    from turnlatch import ToolDefinitionError

    with pytest.raises(ToolDefinitionError, match="wrap it in a function"):
        tool(name="book")(functools.partial(booked))


# Whose cancellation, whose failure.


def dead_future() -> Awaitable[str]:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


async def waits_for_the_dead(seat: str) -> str:
    """Wait for what was cancelled."""
    return await dead_future()


async def hands_back_the_dead(seat: str) -> object:
    """Hand back what was cancelled."""
    return dead_future()


async def raises_it(seat: str) -> str:
    """Say that it was cancelled."""
    raise asyncio.CancelledError


def raises_it_in_a_thread(seat: str) -> str:
    """Say that it was cancelled."""
    raise asyncio.CancelledError


async def cancels_its_task(seat: str) -> str:
    """Cancel itself."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await anyio.lowlevel.checkpoint()
    return "never"


ON_ASYNCIO = [waits_for_the_dead, hands_back_the_dead, cancels_its_task]
EVERYWHERE = [raises_it, raises_it_in_a_thread]


async def cancelled_itself(function: Callable[..., Any], effect: Any) -> None:
    closing, content = await run(function, effect=effect)

    assert closing is (Closing.ERROR if effect == "safe" else Closing.UNKNOWN)
    assert "cancelled by something it awaited" in content
    assert "Timed out" not in content
    assert ("outcome unknown" in content) is (effect != "safe")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("effect", ["safe", "once"])
@pytest.mark.parametrize("function", ON_ASYNCIO)
async def test_tool_that_cancels_itself_is_reported_as_such(
    function: Callable[..., Any], effect: str
) -> None:
    await cancelled_itself(function, effect)


@pytest.mark.parametrize("effect", ["safe", "once"])
@pytest.mark.parametrize("function", EVERYWHERE)
async def test_a_cancellation_that_is_only_raised_is_the_tools_own(
    function: Callable[..., Any], effect: str
) -> None:
    await cancelled_itself(function, effect)


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_a_time_limit_within_the_tool_is_a_failure_of_the_tool(
    seconds: float,
) -> None:
    async def limited(seat: str) -> str:
        """Wait no longer than this."""
        with anyio.fail_after(seconds):
            await anyio.sleep_forever()
        return "never"

    assert await run(limited) == (Closing.ERROR, "TimeoutError in tool book")


async def test_tool_cancelled_from_outside_is_cancelled() -> None:
    """Nothing of the above may swallow a cancellation that somebody ordered."""
    begun = anyio.Event()

    async def waits(seat: str) -> str:
        """Wait."""
        begun.set()
        await anyio.sleep_forever()
        return "never"

    found: list[Ending] = []
    one = ToolRun(tool(name="book")(waits), ToolUse("t", "book", {"seat": "1"}), "key")

    async def wait() -> None:
        found.append(await one.wait())

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await begun.wait()
        group.cancel_scope.cancel()

    assert found == []
    assert one.ending is None


HANGS = """
import sys, threading, anyio
waits = {"waits": threading.Event().wait, "works": lambda: [sum(range(999)) for _ in iter(int, 1)]}
from turnlatch import tool
from turnlatch.tools import run_tool
from turnlatch_states.api.reply import ToolUse

@tool(effect="once", timeout=0.01, grace=0.01)
def hang() -> str:
    "Hang."
    waits[sys.argv[2]]()
    return ""

ending = anyio.run(run_tool, hang, ToolUse("t", "hang", {}), "key", backend=sys.argv[1])
print(ending.closing)
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", ["waits", "works"])
def test_a_thread_that_never_ends_does_not_hold_up_the_end_of_the_process(
    backend: str, kind: str
) -> None:
    ended = warm.run(["-c", HANGS, backend, kind], timeout=120)

    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stdout.decode().strip() == "outcome unknown"


@pytest.mark.parametrize("theirs", ["asyncio", "trio"])
async def test_plain_function_may_run_a_separate_event_loop(theirs: str) -> None:
    async def inner() -> str:
        await anyio.lowlevel.checkpoint()
        return "booked 4A"

    def books(seat: str) -> str:
        """Book a seat."""
        return anyio.run(inner, backend=theirs)

    assert await run(books) == (Closing.RESULT, "booked 4A")


async def test_a_thread_is_a_daemon_and_knows_its_context() -> None:
    found: list[bool] = []

    def look(seat: str) -> Blocks:
        """Look around."""
        found.append(threading.current_thread().daemon)
        return Blocks(["looked"])

    closing, content = await run(look)

    assert closing is Closing.RESULT
    assert content == [{"type": "text", "text": "looked"}]
    assert found == [True]

"""A stream owns one turn: what it began it can end, and nothing else."""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.harness.published import texts
from tests.harness.world import World
from tests.sweeps.cancelling import Points, Way, by_scope, by_task

from turnlatch import (
    Arrived,
    Conversation,
    ConversationClosedError,
    FaultKind,
    Recorded,
    StreamEvent,
    Turn,
    TurnEnded,
    TurnFailedError,
    TurnState,
    TurnStream,
)
from turnlatch.ports import BlockClosed, BlockOpened, Delta, TextDelta
from turnlatch.simulator import call
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.build import Request

pytestmark = pytest.mark.anyio


class Gate:
    """A model port that holds each request back until it is let through.

    Args:
        deaf: It does not listen when it is cancelled.
        pieces: How many pieces each reply has.

    Attributes:
        asked: What was said last, in each request.
    """

    def __init__(self, *, deaf: bool = False, pieces: int = 3) -> None:
        self.asked: list[str] = []
        self._arrived = anyio.Event()
        self._open = anyio.Event()
        self._deaf = deaf
        self._pieces = pieces

    def let_through(self) -> None:
        """Hold nothing back any more."""
        self._open.set()

    async def arrival(self) -> None:
        """Wait until a request is held back."""
        await self._arrived.wait()

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        """Show a reply in pieces, and hold it back before it is whole."""
        said = request.body.rpartition(b'"text":"')[2].partition(b'"')[0].decode()
        self.asked.append(said)
        report(BlockOpened(0, "text"))
        for number in range(self._pieces):
            report(TextDelta(0, f"{number} "))
        self._arrived.set()
        with anyio.CancelScope(shield=self._deaf):
            await self._open.wait()
        report(BlockClosed(0))
        text = "".join(f"{number} " for number in range(self._pieces))
        meta = (
            f'{{"id":"msg_{len(self.asked)}","type":"message","role":"assistant",'
            '"model":"m","stop_reason":"end_turn","stop_sequence":null,'
            '"usage":{"input_tokens":1,"output_tokens":1},"end":"stop"}'
        )
        return Reply(f'{{"type":"text","text":"{text}"}}'.encode(), meta.encode())

    async def count(self, request: Request) -> int:
        """One token, whatever is asked."""
        return 1

    async def aclose(self) -> None:
        """Nothing to give back."""


async def watched(stream: TurnStream) -> list[StreamEvent]:
    return [event async for event in stream]


async def confirmed(chat: Conversation) -> bool:
    """Whether the next message is answered."""
    return (await chat.send("Next")).state is TurnState.CONFIRMED


async def test_unwatched_stream_sends_nothing() -> None:
    gate = Gate()
    async with Conversation.open("a", client=gate) as chat:
        chat.stream("Go")
        await anyio.wait_all_tasks_blocked()
        assert chat.turn is None
    assert gate.asked == []


async def test_a_block_left_at_once_has_sent_and_recorded_nothing() -> None:
    gate = Gate()
    gate.let_through()
    async with Conversation.open("a", client=gate) as chat:
        async with chat.stream("Go") as stream:
            pass
        turn = await stream.turn()

        assert gate.asked == []
        assert chat.turn is None
        assert (turn.number, turn.state) == (0, TurnState.FAILED)
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.CANCELLED
        with pytest.raises(TurnFailedError, match=r"no turn began.*send"):
            turn.raise_for_failure()
        assert await watched(stream) == []
        assert await confirmed(chat)


async def test_cancelled_waiting_stream_withdraws_its_message_only() -> None:
    gate = Gate()
    async with Conversation.open("a", client=gate) as chat:
        first = chat.stream("first")
        async with anyio.create_task_group() as group:
            group.start_soon(watched, first)
            await gate.arrival()
            async with chat.stream("second") as second, chat.stream("third") as third:
                await anyio.wait_all_tasks_blocked()
            assert (await second.turn()).number == (await third.turn()).number == 0
            gate.let_through()

        assert (await first.turn()).state is TurnState.CONFIRMED
        assert gate.asked == ["first"]


async def test_leaving_the_block_stops_this_turn_and_the_line_goes_on() -> None:
    gate = Gate()
    async with Conversation.open("a", client=gate) as chat:
        first, second = chat.stream("first"), chat.stream("second")
        async with anyio.create_task_group() as group:
            async with first:
                await gate.arrival()
                group.start_soon(watched, second)
                await anyio.wait_all_tasks_blocked()
            gate.let_through()

        stopped = await first.turn()
        assert stopped.fault is not None
        assert stopped.fault.kind is FaultKind.CANCELLED
        assert (await second.turn()).state is TurnState.CONFIRMED
        assert gate.asked == ["first", "second"]


async def test_an_exception_in_the_block_stops_the_turn_and_is_raised() -> None:
    gate = Gate()
    async with Conversation.open("a", client=gate) as chat:
        stream = chat.stream("Go")

        async def use() -> None:
            async with stream:
                await gate.arrival()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await use()
        turn = chat.turn
        assert turn is not None
        assert turn.state is TurnState.FAILED
        assert turn == await stream.turn()


async def test_cancelled_caller_does_not_wait_for_a_port_that_ignores_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("turnlatch.watching.stream.STOPPING_SECONDS", 0.01)
    gate = Gate(deaf=True)
    async with Conversation.open("a", client=gate) as chat:
        stream = chat.stream("Go")
        with anyio.CancelScope() as scope:
            async with stream:
                await gate.arrival()
                scope.cancel()
        assert scope.cancelled_caught
        assert chat.state is TurnState.SENT, "it is left to itself"
        gate.let_through()
        assert (await stream.turn()).number == 1
        assert await confirmed(chat)


async def test_interrupt_stops_the_running_turn_and_no_waiting_one() -> None:
    gate = Gate()
    async with Conversation.open("a", client=gate) as chat:
        first, second = chat.stream("first"), chat.stream("second")
        async with anyio.create_task_group() as group:
            group.start_soon(watched, first)
            await gate.arrival()
            group.start_soon(watched, second)
            await anyio.wait_all_tasks_blocked()
            assert await chat.interrupt()
            gate.let_through()
        assert (await first.turn()).state is TurnState.FAILED
        assert (await second.turn()).state is TurnState.CONFIRMED


async def test_each_of_two_streams_yields_its_turn_only(world: World) -> None:
    world.script("One.", "Two.")
    async with world.open() as chat:
        told: list[list[StreamEvent]] = []

        async def read(text: str) -> None:
            told.append(await watched(chat.stream(text)))

        async with anyio.create_task_group() as group:
            group.start_soon(read, "1")
            group.start_soon(read, "2")

    numbers: set[int] = set()
    for seen in told:
        ended = seen[-1]
        assert isinstance(ended, TurnEnded)
        numbers.add(ended.turn.number)
        of = {h.turn for h in seen if isinstance(h, Recorded | Arrived)}
        assert of == {ended.turn.number}
        assert "".join(texts(seen)) == ended.turn.text
    assert numbers == {1, 2}


async def test_a_second_loop_goes_on_where_the_first_one_stopped(world: World) -> None:
    world.script("One.")
    async with world.open() as chat:
        whole: list[StreamEvent] = []
        stream = chat.stream("1")
        async for event in stream:
            whole.append(event)
            if isinstance(event, Recorded):
                break
        whole += await watched(stream)
        assert await watched(stream) == []
        cursors = [h.cursor for h in whole]
        assert cursors == sorted(set(cursors))
        assert isinstance(whole[-1], TurnEnded)


async def test_a_key_that_was_answered_before_ends_its_stream_at_once(
    world: World,
) -> None:
    world.script("One.", "Two.")
    async with world.open() as chat:
        for key in "ab":
            await chat.send(key, key=key)
        for number, key in enumerate("ab", 1):
            (ended,) = await watched(chat.stream(key, key=key))
            assert isinstance(ended, TurnEnded)
            assert ended.turn.number == number
        assert len(world.bodies) == 2


async def test_closing_ends_the_streams_in_the_line_and_sends_nothing_more() -> None:
    gate = Gate()
    raised: list[BaseException] = []

    async def read(stream: TurnStream) -> None:
        try:
            await watched(stream)
        except ConversationClosedError as error:
            raised.append(error)

    async with Conversation.open("a", client=gate) as chat:
        first, second = chat.stream("first"), chat.stream("second")
        async with anyio.create_task_group() as group:
            group.start_soon(read, first)
            await gate.arrival()
            group.start_soon(read, second)
            await anyio.wait_all_tasks_blocked()
            await chat.close()
        assert len(raised) == 1
        assert (await first.turn()).state is TurnState.FAILED
        with pytest.raises(ConversationClosedError):
            await second.turn()
    assert gate.asked == ["first"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # trio's own, of the generator
async def test_a_generator_that_is_collected_ends_the_turn_it_was_reading() -> None:
    gate = Gate()
    async with Conversation.open("a", client=gate) as chat:

        async def generated() -> AsyncIterator[StreamEvent]:
            async with chat.stream("Go") as stream:
                async for event in stream:
                    yield event

        async for _ in generated():
            await gate.arrival()
            break
        gc.collect()
        with anyio.fail_after(30):
            while chat.state is not TurnState.FAILED:  # in a task of the event loop's
                await anyio.lowlevel.checkpoint()
        gate.let_through()
        assert await confirmed(chat)


# At every suspension point.


async def _use(chat: Conversation) -> None:
    async with chat.stream("mine") as stream:
        async for _ in stream:
            pass
    await stream.turn()


async def _alone(world: World, way: Way, at: frozenset[int]) -> int:
    """A stream that is stopped at a point leaves nothing that runs."""
    world.script(call("look", path="a"), "One.", "Next.", faults="529 @2")
    async with world.open(store=None) as chat:

        async def work(_: Points) -> None:
            await _use(chat)

        outcome = await way(work, at, None)
        if outcome.cancelled:
            turn = chat.turn
            assert turn is None or turn.state in (TurnState.FAILED, TurnState.CONFIRMED)
        assert await confirmed(chat)
    return outcome.points


async def _behind(_: World, way: Way, at: frozenset[int]) -> int:
    """A stream in the line that is stopped at a point stops nobody."""
    gate = Gate()
    async with Conversation.open("a", client=gate) as chat:
        others: list[Turn] = []
        points = 0

        async def other() -> None:
            others.append(await chat.send("other"))

        async def free() -> None:
            await anyio.wait_all_tasks_blocked()
            gate.let_through()

        async def work(_: Points) -> None:
            async with anyio.create_task_group() as group:
                if len(gate.asked) == 1:
                    group.start_soon(free)
                await _use(chat)

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            await gate.arrival()
            points = (await way(work, at, None)).points
            gate.let_through()
        assert others[0].state is TurnState.CONFIRMED, (
            "somebody else's turn was stopped"
        )
        assert await confirmed(chat)
    return points


async def swept(
    course: Callable[[World, Way, frozenset[int]], Awaitable[int]],
    world: World,
    way: Way,
) -> int:
    """Stop it at each of its points; how many there are."""
    points = await course(world, way, frozenset())
    for point in range(1, points + 1):
        with anyio.fail_after(30):
            await course(world, way, frozenset({point}))
    return points


COURSES = pytest.mark.parametrize("course", [_alone, _behind])


@COURSES
async def test_a_scope_cancelled_at_any_point_ends_the_stream_alone(
    world: World, course: Callable[[World, Way, frozenset[int]], Awaitable[int]]
) -> None:
    assert await swept(course, world, by_scope) > 2


@COURSES
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_cancelled_at_any_point_ends_the_stream_alone(
    world: World, course: Callable[[World, Way, frozenset[int]], Awaitable[int]]
) -> None:
    assert await swept(course, world, by_task) > 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_sweep_sees_a_stream_that_stops_another_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(turn: Any) -> None:
        turn._work.interrupt()

    monkeypatch.setattr("turnlatch.watching.stream._StreamedTurn.stop", stop)
    with pytest.raises((AssertionError, TimeoutError)), anyio.fail_after(5):
        await swept(_behind, world, by_scope)


# Memory.


async def test_unwatched_events_are_not_kept() -> None:
    gate = Gate(pieces=200)
    gate.let_through()
    async with Conversation.open("a", client=gate) as chat:
        for _ in range(20):
            await chat.stream("Go").turn()
            await chat.send("Go")
        feed = chat._feed  # pyright: ignore[reportPrivateUsage] - what is in memory
        assert feed.position > 8000
        assert feed.position - feed.dropped < 10


async def test_a_stream_that_was_dropped_keeps_nothing_of_the_turn_that_goes_on(
    tmp_path: Path,
) -> None:
    gate = Gate(pieces=200)
    async with Conversation.open("a", client=gate, store=tmp_path / "a.db") as chat:
        async for _ in chat.stream("Go"):
            break
        await gate.arrival()
        gc.collect()
        gate.let_through()
        assert await confirmed(chat)
        feed = chat._feed  # pyright: ignore[reportPrivateUsage] - what is in memory
        assert feed.position - feed.dropped < 10

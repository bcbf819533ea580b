"""Watching owns nothing: readers come, pause, leave and come back."""

import json
from collections.abc import AsyncIterator, Callable

import anyio
import pytest
from tests.harness.published import has_call, is_text, recorded, texts
from tests.harness.world import World

from turnlatch import (
    Arrived,
    CallState,
    Cursor,
    FaultKind,
    Missed,
    Recorded,
    RetryScheduled,
    SettingsError,
    StreamEvent,
    TurnEnded,
    TurnFailed,
    TurnState,
    Watch,
)
from turnlatch.ports import BlockClosed, BlockOpened, Delta, TextDelta
from turnlatch.simulator import call, reply
from turnlatch.watching.events import KEPT_MAX, PARTS_MAX
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.build import Request

pytestmark = pytest.mark.anyio


class Flood:
    """A model port whose replies arrive all at once, in very many pieces."""

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces
        self._sent = 0

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        """Report every piece, and wait for nobody in between."""
        await anyio.lowlevel.checkpoint()
        self._sent += 1
        report(BlockOpened(0, "text"))
        for piece in self._pieces:
            report(TextDelta(0, piece))
        report(BlockClosed(0))
        block = json.dumps({"type": "text", "text": "".join(self._pieces)})
        meta = {
            "id": f"msg_{self._sent}",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
            "end": "stop",
        }
        return Reply(block.encode(), json.dumps(meta).encode())

    async def count(self, request: Request) -> int:
        """One token, whatever is asked."""
        return 1

    async def aclose(self) -> None:
        """Nothing to give back."""


async def until(watch: Watch, turn: int) -> AsyncIterator[StreamEvent]:
    """What is told up to the end of that turn."""
    async for event in watch:
        yield event
        if isinstance(event, TurnEnded) and event.turn.number == turn:
            return


async def test_stream_yields_text_moves_and_the_end_in_order(world: World) -> None:
    world.script(reply("Let me see.", call("look", path="a")), "Done, all of it.")
    async with world.open() as chat:
        stream = chat.stream("Go")
        seen = [event async for event in stream]
        turn = await stream.turn()

    assert "".join(texts(seen)) == "Let me see.Done, all of it."
    entries = [one for one in seen if isinstance(one, Recorded)]
    assert [one.cursor.entry for one in entries] == [*range(2, len(entries) + 2)]
    assert tuple(one.move for one in entries if one.move is not None) == turn.path
    assert [report.state.value for one in entries for report in one.calls] == [
        "proposed",
        "started",
        "closed",
    ]
    assert isinstance(seen[-1], TurnEnded)
    cursors = [h.cursor for h in seen]
    assert cursors == sorted(set(cursors))


async def test_an_entry_names_the_calls_that_it_changed_and_no_others(
    world: World,
) -> None:
    """A call that was closed before the turn failed is not among them."""
    asked = [call("act", what="a"), call("ask", what="b"), call("ask", what="c")]
    world.script(reply(*asked), "Done.")
    async with world.open() as chat:
        watch = chat.watch()
        turn = await chat.send("Go")
        await chat.approve(turn.awaiting[0].id)
        await chat.send("Next")
        seen = [event async for event in until(watch, 2)]

    entries = [one for one in seen if isinstance(one, Recorded) and one.calls]
    assert [
        (type(one.event).__name__, [(c.name, c.state.value) for c in one.calls])
        for one in entries
    ] == [
        (
            "ReplyConfirmed",
            [("act", "proposed"), ("ask", "proposed"), ("ask", "proposed")],
        ),
        ("CallAsked", [("ask", "asked")]),
        ("CallAsked", [("ask", "asked")]),
        ("CallStarted", [("act", "started")]),
        ("CallClosed", [("act", "closed")]),
        ("CallApproved", [("ask", "approved")]),
        ("TurnFailed", [("ask", "closed"), ("ask", "closed")]),
    ]


async def test_change_outside_a_turn_is_published_too(world: World) -> None:
    async with world.open(tools=[]) as chat:
        watch = chat.watch()
        await chat.pin("name", "Ada")
        await chat.configure(system="Be brief.")
        await chat.send("Go")
        await chat.rewind()
        await chat.close()
        seen = [event async for event in watch]

    entries = [one for one in seen if isinstance(one, Recorded)]
    assert [(type(one.event).__name__, one.turn) for one in entries] == [
        ("Pinned", 0),
        ("ProfileChanged", 0),
        ("TurnOpened", 1),
        ("RequestSent", 1),
        ("ReplyConfirmed", 1),
        ("Rewound", 1),
    ]


async def test_a_wait_is_visible_as_what_it_is(world: World) -> None:
    world.script("One.", faults="429 retry-after=3 @1")
    async with world.open() as chat:
        seen = [h async for h in chat.stream("1")]

    (failed,) = recorded(seen, TurnFailed)
    assert failed.fault.status == 429
    (waiting,) = recorded(seen, RetryScheduled)
    assert waiting.wait_seconds >= 3
    assert waiting.failures == 1


async def test_leaving_the_loop_leaves_the_turn_running(world: World) -> None:
    world.script("A long story about nothing.", "Two.")
    async with world.open() as chat:
        stream = chat.stream("Go")
        async for event in stream:
            if is_text(event):
                break
        second = await chat.send("Next")

        assert (await stream.turn()).state is TurnState.CONFIRMED
        assert second.text == "Two."
        assert len(chat.history) == 2


async def test_leaving_the_block_stops_the_turn(world: World) -> None:
    world.script(call("hang", what="a"), "Two.")
    async with world.open() as chat:
        async with chat.stream("Go") as stream:
            async for event in stream:
                if has_call(event, CallState.STARTED):
                    break
        turn = await stream.turn()

        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.CANCELLED
        assert (await chat.send("Next")).text == "Two."


async def test_a_reader_comes_back_from_its_cursor(world: World) -> None:
    world.script("One, in several pieces of text.", "Two.")
    async with world.open() as chat:
        start = chat.cursor
        whole = [h async for h in chat.stream("1")]
        part = whole[3].cursor
        again: list[StreamEvent] = []
        async for event in chat.watch(part):
            again.append(event)
            if isinstance(event, TurnEnded):
                break
        assert again == whole[4:]
        assert Cursor.parse(str(part)) == part
        assert start < part


async def test_reader_of_another_process_gets_the_past_and_then_the_present(
    world: World,
) -> None:
    world.script(reply(call("look", path="a")), "One.", "Two.")
    async with world.open() as chat:
        first = [h async for h in chat.stream("1")]
    async with world.open() as chat:
        told: list[StreamEvent] = []

        async def read() -> None:
            async for event in chat.watch(Cursor()):
                told.append(event)
                if isinstance(event, TurnEnded) and event.turn.number == 2:
                    return

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await chat.send("2")

    facts = [h for h in first if isinstance(h, Recorded | TurnEnded)]
    again = [h for h in told if isinstance(h, Recorded | TurnEnded)]
    assert again[: len(facts)] == facts
    assert "".join(texts(told)) == "One.Two."
    assert again[-2].turn == 2


async def test_reader_that_falls_behind_is_informed_once(
    world: World,
) -> None:
    words = [f"{number} " for number in range(22_000)]

    async with world.open(tools=[], client=Flood(words)) as chat:
        readers = [chat.watch(), chat.watch()]
        slow = chat.stream("1")
        first = await anext(slow)
        await slow.turn()
        seen = [[first, *[h async for h in slow]]]
        turns = 3
        for _ in range(turns - 1):
            await chat.send("1")
        again = [h async for h in until(chat.watch(Cursor()), turns)]
        seen += [[h async for h in until(reader, turns)] for reader in readers]

    for events, of in zip(seen, (1, turns, turns), strict=True):
        gaps = [at for at, h in enumerate(events) if isinstance(h, Missed)]
        assert len(gaps) == 1
        gap = events[gaps[0]]
        assert isinstance(gap, Missed)
        after = events[gaps[0] - 1].cursor if gaps[0] else Cursor(1, PARTS_MAX)
        assert gap.after == after
        told = len(events) - 1
        assert told + gap.count == of * (len(words) + 5)
        assert told >= KEPT_MAX * 3 // 4
        cursors = [h.cursor for h in events]
        assert cursors == sorted(set(cursors))
        assert isinstance(events[-1], TurnEnded)
        # What was missed can be had again: from the cursor that stands in its place.
        again_from = [
            h for h in again if isinstance(h, Arrived) and h.cursor > gap.after
        ]
        found = {h.turn: texts([h]) for h in again_from if is_text(h)}
        assert found == {number: ["".join(words)] for number in range(1, turns + 1)}


async def test_every_reader_sees_everything(world: World) -> None:
    async with world.open(tools=[]) as chat:
        seen: list[list[object]] = [[], []]

        async def read(into: list[object]) -> None:
            async for event in chat.watch(Cursor()):
                into.append(event)
                if isinstance(event, TurnEnded):
                    return

        async with anyio.create_task_group() as group:
            for into in seen:
                group.start_soon(read, into)
            await chat.send("Go")

    assert seen[0] == seen[1] != []


async def test_watching_ends_when_the_conversation_is_closed(world: World) -> None:
    async with world.open(tools=[]) as chat:
        watch = chat.watch()
    assert [h async for h in watch] == []


async def test_error_reaches_every_watcher(world: World) -> None:
    async with world.open() as chat:
        with pytest.raises(SettingsError):
            chat.stream(7)  # type: ignore[arg-type] # the point

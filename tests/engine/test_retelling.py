"""What the journal tells again is what was seen live, with the same cursors.

Random conversations are watched as they happen, over restarts, and then told again from
the journal, from the beginning and from cursors in the middle. The pieces of a reply come
back as whole pieces; everything else is equal.
"""

import contextlib
import random
from bisect import bisect_left
from typing import Any

import anyio
import attrs
import pytest
from tests.harness.published import is_text, recorded, texts
from tests.harness.world import World
from tests.part import one_in

import turnlatch.watching.from_journal
import turnlatch.watching.publish
from turnlatch import (
    Arrived,
    Conversation,
    Cursor,
    IllegalEventError,
    Limits,
    Missed,
    Recorded,
    RetryPolicy,
    RetryScheduled,
    StreamEvent,
    TurnEnded,
    TurnState,
    Watch,
)
from turnlatch.ports import BlockOpened
from turnlatch.simulator import call, reply
from turnlatch_states.machine.snapshot import Snapshot

pytestmark = pytest.mark.anyio

POLICY = RetryPolicy(attempts_max=3)


def whole(pieces: list[Arrived]) -> list[Arrived]:
    """The pieces of one reply, joined, without their cursors."""
    joined: list[Arrived] = []
    for piece in pieces:
        delta, last = piece.delta, joined[-1].delta if joined else None
        if not isinstance(delta, BlockOpened) and type(last) is type(delta):
            assert last is not None
            assert not isinstance(last, BlockOpened)
            if last.index == delta.index:
                longer = attrs.evolve(delta, text=last.text + delta.text)
                joined[-1] = attrs.evolve(joined[-1], delta=longer)
                continue
        joined.append(attrs.evolve(piece, cursor=Cursor(), whole=True))
    return joined


def settled(seen: list[StreamEvent]) -> list[StreamEvent]:
    """What was seen, as a reader has it who knows what became of each reply."""
    made: list[StreamEvent] = []
    pieces: list[Arrived] = []
    for event in seen:
        assert not isinstance(event, Missed)
        if isinstance(event, Arrived):
            pieces.append(event)
            continue
        move = event.move if isinstance(event, Recorded) else None
        if move is not None and move.source in ("sent", "compacting"):
            if move.trigger != "fail":
                made += whole(pieces)
            pieces = []
        made.append(event)
    return made


async def told(chat: Conversation, after: Cursor) -> list[StreamEvent]:
    """Everything after a cursor up to now, as the conversation tells it."""
    seen: list[StreamEvent] = []
    async with anyio.create_task_group() as group:
        group.start_soon(follow, chat.watch(after), seen)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    return seen


async def follow(watch: Watch, into: list[StreamEvent]) -> None:
    """Note everything as it is told."""
    async for event in watch:
        into.append(event)  # noqa: PERF401 - it is looked at before the loop ends


async def move(chat: Conversation, chance: random.Random, number: int) -> None:
    """Something that a caller does."""
    turn = chat.turn
    waiting = turn.awaiting if turn is not None else ()
    kind = chance.random()
    if waiting and kind < 0.7:
        id_ = chance.choice(waiting).id
        await (chat.approve(id_) if kind < 0.4 else chat.deny(id_))
    elif turn is not None and turn.state is TurnState.FAILED and kind < 0.4:
        await chat.retry()
    elif kind < 0.5:
        await chat.send(f"{number}")
    elif kind < 0.6:
        await chat.steer(f"by the way, {number}")
    elif kind < 0.65:
        with contextlib.suppress(IllegalEventError):
            await chat.compact()
    elif kind < 0.75:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def cancel() -> None:
                    for _ in range(chance.randrange(40)):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()

                group.start_soon(cancel)
                await chat.stream(f"{number}").turn()
                group.cancel_scope.cancel()
        await chat.interrupt()
    else:
        await chat.stream(f"{number}").turn()


FAULTS = (
    "429 retry-after=3",
    "529",
    "error event",
    "cut 5 eof",
    "cut 3 reset",
    '400 message="No."',
)


async def conversation(world: World, seed: int) -> None:
    """Watch one random conversation, and have it told again."""
    chance = random.Random(seed)
    script = ", ".join(
        f"{chance.choice(FAULTS)} @{at}"
        for at in sorted(chance.sample(range(1, 40), 9))
    )
    answers: list[Any] = [
        chance.choice(
            [
                "Just some text, in pieces.",
                reply("Two.", call("look", path="a"), call("act", what="b")),
                reply(call("ask", what="c"), call("ask", what="d")),
                call("look", path="e"),
            ]
        )
        for _ in range(40)
    ]
    world.script(*answers, faults=script)
    store = world.folder / f"{seed}.db"
    live: list[StreamEvent] = []
    last = Cursor()
    for process in range(3):
        limits = Limits(requests_per_turn_max=12)
        async with world.open(store=store, retry=POLICY, limits=limits) as chat:
            async with anyio.create_task_group() as group:
                group.start_soon(follow, chat.watch(last), live)
                for number in range(6):
                    await move(chat, chance, 10 * process + number)
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
            last = chat.cursor
            kept = settled(live)
            again = await told(chat, Cursor())
            assert settled(again) == kept, "told from the beginning"
            entries = chat._open_driver().world.journal.entries()  # pyright: ignore[reportPrivateUsage] - what is recorded
            found = [one for one in again if isinstance(one, Recorded)]
            assert [(one.cursor, one.event) for one in found] == [
                (Cursor(entry.sequence), entry.event) for entry in entries[1:]
            ], "every entry, once, in order"
            for event in chance.sample(kept, 3):
                if isinstance(event, Arrived):
                    continue
                rest = kept[kept.index(event) + 1 :]
                later = settled(await told(chat, event.cursor))
                assert later == rest, f"told from {event.cursor}"
    assert any(isinstance(one, TurnEnded) for one in live)


@pytest.mark.parametrize("seed", one_in(2, range(12)))
async def test_journal_yields_the_events_that_were_published_live(
    world: World, seed: int
) -> None:
    await conversation(world, seed)


def whole_texts(seen: list[StreamEvent]) -> list[str]:
    """The texts that came whole."""
    return texts([h for h in seen if isinstance(h, Arrived) and h.whole])


def never(*_: object) -> bool:
    """A planted bug: nothing ends, or nothing is told."""
    return False


def too_late(numbers: list[int], entry: int) -> int:
    """A planted bug: the entry that follows the cursor is left out."""
    return bisect_left(numbers, entry) + 2


def resting(snapshot: Snapshot) -> bool:
    """A planted bug: who waits for a person is not at rest."""
    return snapshot.resting


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("where", "what", "bug"),
    [
        (turnlatch.watching.from_journal, "_CONTINUING", ()),
        (turnlatch.watching.from_journal, "_ends", never),
        (turnlatch.watching.from_journal, "at_rest", resting),
        (turnlatch.watching.from_journal, "bisect_left", too_late),
        (turnlatch.watching.publish, "_publish_reply", never),
    ],
    ids=["ends early", "never ends", "questions", "skips an entry", "no texts"],
)
async def test_the_comparison_sees_planted_bugs(
    world: World, monkeypatch: pytest.MonkeyPatch, where: Any, what: str, bug: Any
) -> None:
    monkeypatch.setattr(where, what, bug)

    async def every() -> None:
        for seed in range(12):
            await conversation(world, seed)

    with pytest.raises(AssertionError):
        await every()


async def test_reader_within_a_reply_gets_it_whole_after_its_commit(
    world: World,
) -> None:
    world.script("A reply in several pieces of text.")
    async with world.open(tools=[]) as chat:
        seen = [h async for h in chat.stream("1")]
    middle = next(h.cursor for h in seen if is_text(h))
    async with world.open(tools=[]) as chat:
        again = await told(chat, middle)
        assert whole_texts(again) == ["A reply in several pieces of text."]
        (text,) = [h for h in again if is_text(h)]
        assert await told(chat, text.cursor) == again[again.index(text) + 1 :]
        assert await told(chat, chat.cursor) == []


async def test_unstreamed_reply_is_published_whole(
    world: World,
) -> None:
    world.script(reply("Look.", call("look", path="a")), "One.")
    async with world.open() as chat:
        watch = chat.watch()
        await chat.send("1")
        seen: list[StreamEvent] = []
        again = await told(chat, Cursor())
        async for event in watch:
            seen.append(event)
            if isinstance(event, TurnEnded):
                break
    assert seen == again
    assert whole_texts(seen) == ["Look.", "One."]


async def test_wait_is_published_again_unchanged_under_another_policy(
    world: World,
) -> None:
    world.script("One.", faults="529 @1")
    async with world.open(retry=POLICY) as chat:
        seen = recorded([h async for h in chat.stream("1")], RetryScheduled)
    async with world.open(retry=RetryPolicy(attempts_max=9)) as chat:
        again = recorded(await told(chat, Cursor()), RetryScheduled)
    assert [h.attempts_max for h in seen] == [3]
    assert again == seen

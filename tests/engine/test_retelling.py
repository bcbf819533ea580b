"""What the journal tells again is what was seen live, with the same cursors.

Random conversations are watched as they happen, over restarts, and then told again from
the journal, from the beginning and from cursors in the middle. The pieces of a reply come
back as whole pieces; everything else is equal.
"""

import contextlib
import random
from typing import Any

import anyio
import attrs
import pytest
from tests.harness.world import World

import turnlatch.watching.from_journal
import turnlatch.watching.publish
from turnlatch import (
    BlockBegan,
    Conversation,
    Cursor,
    Happening,
    IllegalEventError,
    Limits,
    Missed,
    Moved,
    RetryPolicy,
    TextArrived,
    ThinkingArrived,
    TurnEnded,
    TurnState,
    Waiting,
    Watch,
)
from turnlatch.simulator import call, reply
from turnlatch_states.machine.snapshot import Snapshot

pytestmark = pytest.mark.anyio

Piece = BlockBegan | TextArrived | ThinkingArrived
POLICY = RetryPolicy(attempts_max=3)


def whole(pieces: list[Piece]) -> list[Piece]:
    """The pieces of one reply, joined, without their cursors."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, BlockBegan):
            joined.append(attrs.evolve(piece, cursor=Cursor()))
        elif (
            last is not None and type(last) is type(piece) and last.index == piece.index
        ):
            assert not isinstance(last, BlockBegan)
            joined[-1] = attrs.evolve(last, text=last.text + piece.text)
        else:
            joined.append(attrs.evolve(piece, cursor=Cursor(), whole=True))
    return joined


def settled(seen: list[Happening]) -> list[Happening]:
    """What was seen, as a reader has it who knows what became of each reply."""
    made: list[Happening] = []
    pieces: list[Piece] = []
    for happening in seen:
        assert not isinstance(happening, Missed)
        if isinstance(happening, Piece):
            pieces.append(happening)
            continue
        if isinstance(happening, Moved) and happening.source in ("sent", "compacting"):
            if happening.trigger != "fail":
                made += whole(pieces)
            pieces = []
        made.append(happening)
    return made


async def told(chat: Conversation, after: Cursor) -> list[Happening]:
    """Everything after a cursor up to now, as the conversation tells it."""
    seen: list[Happening] = []
    async with anyio.create_task_group() as group:
        group.start_soon(follow, chat.watch(after), seen)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    return seen


async def follow(watch: Watch, into: list[Happening]) -> None:
    """Note everything as it is told."""
    async for happening in watch:
        into.append(happening)  # noqa: PERF401 - it is looked at before the loop ends


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
    live: list[Happening] = []
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
            for happening in chance.sample(kept, 3):
                if isinstance(happening, Piece):
                    continue
                rest = kept[kept.index(happening) + 1 :]
                later = settled(await told(chat, happening.cursor))
                assert later == rest, f"told from {happening.cursor}"
    assert any(isinstance(one, TurnEnded) for one in live)


@pytest.mark.parametrize("seed", range(12))
async def test_the_journal_tells_again_what_was_seen_live(
    world: World, seed: int
) -> None:
    await conversation(world, seed)


def never(*_: object) -> bool:
    """A planted bug: nothing ends, or nothing is told."""
    return False


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
        (turnlatch.watching.publish, "_tell_reply", never),
    ],
    ids=["ends early", "never ends", "questions", "no texts"],
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


async def test_a_reader_in_the_middle_of_a_reply_is_told_it_whole_once_it_is_history(
    world: World,
) -> None:
    world.script("A reply in several pieces of text.")
    async with world.open(tools=[]) as chat:
        seen = [h async for h in chat.stream("1")]
    middle = next(h.cursor for h in seen if isinstance(h, TextArrived))
    async with world.open(tools=[]) as chat:
        again = await told(chat, middle)
        texts = [h for h in again if isinstance(h, TextArrived)]
        assert [(h.text, h.whole) for h in texts] == [
            ("A reply in several pieces of text.", True)
        ]
        assert await told(chat, texts[0].cursor) == again[again.index(texts[0]) + 1 :]
        assert await told(chat, chat.cursor) == []


async def test_a_reply_that_did_not_arrive_in_pieces_is_told_whole_at_once(
    world: World,
) -> None:
    world.script(reply("Look.", call("look", path="a")), "One.")
    async with world.open() as chat:
        watch = chat.watch()
        await chat.send("1")
        seen: list[Happening] = []
        again = await told(chat, Cursor())
        async for happening in watch:
            seen.append(happening)
            if isinstance(happening, TurnEnded):
                break
    assert seen == again
    texts = [(h.text, h.whole) for h in seen if isinstance(h, TextArrived)]
    assert texts == [("Look.", True), ("One.", True)]


async def test_a_wait_is_told_again_as_it_was_whatever_the_policy_is_now(
    world: World,
) -> None:
    world.script("One.", faults="529 @1")
    async with world.open(retry=POLICY) as chat:
        seen = [h async for h in chat.stream("1") if isinstance(h, Waiting)]
    async with world.open(retry=RetryPolicy(attempts_max=9)) as chat:
        again = [h for h in await told(chat, Cursor()) if isinstance(h, Waiting)]
    assert [h.attempts_max for h in seen] == [3]
    assert again == seen

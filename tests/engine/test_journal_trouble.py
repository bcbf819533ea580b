"""When the journal cannot take what happened: nothing is lost, nothing happens twice."""

import json
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import pytest
from tests.around import JournalAround, StoreAround
from tests.harness.world import World
from tests.part import WHOLE

from turnlatch import (
    Closing,
    Conversation,
    FaultKind,
    JournalError,
    JournalFullError,
    Limits,
    TerminalToolError,
    Tool,
    TurnState,
    tool,
)
from turnlatch.journal import MemoryStore
from turnlatch.ports import Journal
from turnlatch.simulator import call, reply
from turnlatch_states.machine.events import CallClosed, Event

pytestmark = pytest.mark.anyio


class FaultyStore(StoreAround):
    """A real store whose nth append fails, once or for good.

    Attributes:
        suspends: Its appends leave the event loop to others for some rounds, before and
            after they commit or fail.
    """

    suspends: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.appends = 0
        self.fail_at: int | None = None
        self.for_good = False
        self.doubt: str | None = None

    def open(self, name: str) -> Journal:
        return FaultyJournal(self, self.inner.open(name))

    def fails(self) -> bool:
        self.appends += 1
        at = self.fail_at
        return at is not None and (
            self.appends == at or (self.for_good and self.appends > at)
        )


class FaultyJournal(JournalAround):
    """One journal of a `FaultyStore`."""

    def __init__(self, store: FaultyStore, inner: Journal) -> None:
        super().__init__(inner)
        self.store = store
        self.poisoned = False

    async def append(self, events: Sequence[Event]) -> None:
        await self._rounds()
        try:
            await self._appended(events)
        finally:
            await self._rounds()

    async def _rounds(self) -> None:
        for _ in range(3 * self.store.suspends):
            await anyio.lowlevel.checkpoint()

    async def _appended(self, events: Sequence[Event]) -> None:
        doubt = self.store.doubt
        if self.poisoned:
            raise JournalError("store", "the last append is in doubt", "reopen", True)
        if not self.store.fails():
            await self.inner.append(events)
        elif doubt is None:
            raise JournalFullError("store", "there is no room", "make some")
        else:
            if doubt == "recorded":
                await self.inner.append(events)
            self.poisoned = True
            raise JournalError("store", "the commit got no answer", "reopen", True)


@pytest.fixture(
    autouse=True, params=("in place", "away") if WHOLE else ("one of both",)
)
def _commits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stores commit. An ordinary run takes every other test each way."""
    drawn = zlib.crc32(request.node.name.encode()) % 2 == 0
    away = drawn if request.param == "one of both" else request.param == "away"
    monkeypatch.setattr(FaultyStore, "suspends", away)


ANSWERS = (call("act", what="once"), "Done.", "Next.", "Next.", "Next.")


async def converse(world: World, store: FaultyStore) -> tuple[int, Any]:
    """Two turns, going on through every journal failure; how many failures there were."""
    failures = 0
    async with world.open(store=store) as chat:
        for text in ("first", "second"):
            for attempt in range(6):
                try:
                    turn = await chat.send(text, key=text)
                except JournalError:
                    failures += 1
                    continue
                if turn.state is TurnState.CONFIRMED:
                    break
                assert attempt < 5
        assert chat.unsaved == 0
        assert chat.check() == ()
        return failures, chat.snapshot


@pytest.mark.parametrize("at", range(2, 8))
async def test_one_failed_append_is_raised_once(world: World, at: int) -> None:
    """Fail the nth append once, for every n: the conversation ends the same."""
    store = FaultyStore()
    store.fail_at = at
    world.script(*ANSWERS)

    failures, snapshot = await converse(world, store)

    assert failures <= 1
    assert world.ran.count("act once") == 1, "no effect is lost or repeated"
    said = [e.reply.text for e in snapshot.history]
    assert said[-1] in ("Done.", "Next.")
    async with world.open(store=store) as chat:
        assert chat.snapshot.history == snapshot.history


@pytest.mark.parametrize("doubt", ["recorded", "not recorded"])
@pytest.mark.parametrize("at", range(2, 8))
async def test_an_append_in_doubt_is_looked_up_and_never_done_twice(
    world: World, at: int, doubt: str
) -> None:
    store = FaultyStore()
    store.fail_at, store.doubt = at, doubt
    world.script(*ANSWERS)

    failures, snapshot = await converse(world, store)

    assert failures == 1
    told = json.dumps(world.bodies[-1]["messages"])
    assert (world.ran.count("act once"), "Not executed" in told) in (
        (1, False),
        (0, True),
    )
    assert [e.reply.text for e in snapshot.history].count("Done.") == 1
    async with world.open(store=store) as chat:
        assert chat.snapshot.history == snapshot.history


async def test_the_sweep_reaches_every_append(world: World) -> None:
    """The checker of the sweep above: its range covers the appends there are."""
    store = FaultyStore()
    world.script(*ANSWERS)
    await converse(world, store)

    assert store.appends == 7


@pytest.mark.parametrize("doubt", [None, "recorded", "not recorded"])
@pytest.mark.parametrize("at", range(2, 8))
async def test_a_call_whose_end_was_not_seen_survives_a_failed_append_too(
    world: World, at: int, doubt: str | None
) -> None:
    """Also what is said meanwhile: told once, or the caller knows that it was not."""
    store = FaultyStore()
    store.fail_at, store.doubt = at, doubt
    asked: list[str] = []
    said: list[str] = []

    def find_out(key: str) -> str:
        asked.append(key)
        return "it was done"

    @tool(timeout=0.3, reconcile=find_out)
    async def slow(idempotency_key: str) -> str:
        """Take too long."""
        world.ran.append(idempotency_key)
        with suppress(JournalError):
            await chat.steer("and this", key="and this")
            said.append("and this")
        await anyio.sleep_forever()
        return ""

    world.script(call("slow"), "Done.", "Next.", "Next.")
    async with world.open(store=store, tools=[slow]) as chat:
        for _ in range(6):
            try:
                turn = await chat.send("first", key="first")
            except JournalError:
                continue
            if turn.state is TurnState.CONFIRMED:
                break
        last = await chat.send("last")
        assert last.state is TurnState.CONFIRMED
        assert chat.unsaved == 0
        assert chat.check() == ()
        history = json.dumps(chat.messages)

    assert len(world.ran) <= 1, "it ran twice"
    assert len(set(world.ran + asked)) <= 1, "one key, whatever happens"
    closings = [e.event for e in store.read("a") if isinstance(e.event, CallClosed)]
    assert len(closings) == 1
    if world.ran:
        assert closings[0].closing in (Closing.RESULT, Closing.UNKNOWN)
    else:
        assert closings[0].closing is Closing.NOT_EXECUTED
    assert history.count("and this") in ((1,) if said else (0, 1))
    async with world.open(store=store, tools=[slow]) as chat:
        assert json.dumps(chat.messages) == history


@pytest.mark.parametrize("doubt", [None, "recorded", "not recorded"])
@pytest.mark.parametrize("at", range(2, 6))
async def test_a_terminal_failure_stops_the_turn_also_where_the_journal_fails(
    world: World, at: int, doubt: str | None
) -> None:
    store = FaultyStore()
    store.fail_at, store.doubt = at, doubt

    @tool
    async def log_in() -> str:
        """Log in."""
        world.ran.append("log in")
        raise TerminalToolError("the account is locked")

    two = reply(call("log_in"), call("act", what="a"))
    world.script(two, "I see.", "I see.")
    async with world.open(store=store, tools=[*world.tools(), log_in]) as chat:
        for _ in range(4):
            try:
                turn = await chat.send("first", key="first")
            except JournalError:
                if world.ran.count("log in"):
                    break
                continue
            break
        assert chat.turn is not None
        turn = chat.turn
        if world.ran.count("log in"):
            assert turn.fault is not None
            assert turn.fault.kind is FaultKind.TOOL
            assert len(world.bodies) == 1, "the model was not asked again"
        last = await chat.send("last")
        assert last.state is TurnState.CONFIRMED
    assert world.ran.count("log in") <= 1
    assert world.ran.count("act a") <= 1


async def test_a_confirmed_reply_is_kept_in_memory_until_it_is_durable(
    world: World,
) -> None:
    store = FaultyStore()
    world.script("One.", "Two.")
    async with world.open(store=store) as chat:
        store.fail_at, store.for_good = 3, True
        with pytest.raises(JournalFullError):
            await chat.send("1")
        assert chat.unsaved == 1
        assert chat.history.head is not None
        assert chat.history.head.reply.text == "One."
        with pytest.raises(JournalFullError):
            await chat.send("2")
        assert len(world.bodies) == 1, "no second model call while the first is unsaved"
        store.fail_at = None
        turn = await chat.send("2")
        assert turn.text == "Two."
    assert [type(e.event).__name__ for e in store.read("a")].count(
        "ReplyConfirmed"
    ) == 2


async def test_an_input_that_could_not_be_saved_never_left(world: World) -> None:
    store = FaultyStore()
    world.script("One.")
    async with world.open(store=store) as chat:
        store.fail_at, store.for_good = 2, True
        with pytest.raises(JournalFullError):
            await chat.send("1")
        assert world.bodies == []
        assert chat.turn is None, "the input went back to the caller"
        store.fail_at = None
        assert (await chat.send("1")).text == "One."


async def test_a_key_that_was_never_recorded_names_no_turn(world: World) -> None:
    store = FaultyStore()
    world.script("Yours.", "Mine.")
    async with world.open(store=store) as chat:
        store.fail_at = 2
        with pytest.raises(JournalFullError):
            await chat.send("mine", key="mine")
        yours = await chat.send("yours", key="yours")
        mine = await chat.send("mine", key="mine")

    assert (yours.text, mine.text) == ("Yours.", "Mine.")


async def say(chat: Conversation, word: str) -> None:
    """Say something, and again with the same key where the journal failed."""
    for _ in range(2):
        try:
            await chat.steer(word, key=word)
        except JournalError:
            continue
        return
    raise AssertionError("it failed twice")


def talked_into(world: World, chats: list[Conversation]) -> Tool:
    """A tool during whose call the user says two words."""

    @tool
    async def act(what: str) -> str:
        """Do something that counts."""
        world.ran.append(f"act {what}")
        await say(chats[0], "word 1")
        await say(chats[0], "word 2")
        return f"did {what}"

    return act


@pytest.mark.parametrize("doubt", [None, "recorded", "not recorded"])
@pytest.mark.parametrize("at", range(2, 11))
@pytest.mark.parametrize("during", [True, False])
async def test_message_repeated_with_its_key_is_sent_once_at_any_failing_append(
    world: World, at: int, doubt: str | None, during: bool
) -> None:
    store, chats = FaultyStore(), list[Conversation]()
    store.fail_at, store.doubt = at, doubt
    world.script(call("act", what="once") if during else "Hm.", *["Done."] * 9)
    async with world.open(store=store, tools=[talked_into(world, chats)]) as chat:
        chats.append(chat)
        for number, text in enumerate(("first", "second"), 1):
            if not during:
                await say(chat, f"word {number}")
            for _ in range(3):
                try:
                    turn = await chat.send(text, key=text)
                except JournalError:
                    continue
                if turn.state is TurnState.CONFIRMED:
                    break
        texts = [block.get("text", "") for m in chat.messages for block in m["content"]]
        words = [text for text in texts if text.startswith("word")]
        assert words == (["word 1", "word 2"] if world.ran or not during else [])
        assert chat.snapshot.said == ()


async def test_the_key_of_a_word_and_of_a_message_are_two(world: World) -> None:
    world.script("One.", "Two.")
    async with world.open() as chat:
        await chat.send("first", key="k")
        await chat.steer("word", key="k")
        turn = await chat.send("second", key="l")
        await chat.steer("more", key="l")

        assert turn.number == 2
        assert len(chat.snapshot.said) == 1


@pytest.mark.parametrize("doubt", [None, "recorded", "not recorded"])
@pytest.mark.parametrize("at", range(2, 9))
async def test_a_call_that_timed_out_is_found_out_about_whatever_append_fails(
    world: World, at: int, doubt: str | None
) -> None:
    """It is paid once, or was never begun; and the turn goes on to its reply."""
    store, paid = FaultyStore(), dict[str, str]()
    store.fail_at, store.doubt = at, doubt

    async def found(key: str) -> str:  # on the loop: no thread has to be quick
        return paid.get(key, "never")

    @tool(timeout=0.1, grace=0.01, reconcile=found)
    async def pay(idempotency_key: str) -> str:
        """Pay, and never come back."""
        world.ran.append("pay")
        paid[idempotency_key] = "paid"
        await anyio.sleep_forever()
        return ""

    world.script(call("pay"), *["Done."] * 9)
    async with world.open(store=store, tools=[pay]) as chat:
        for _ in range(3):
            try:
                turn = await chat.send("Go", key="k")
            except JournalError:
                continue
            assert turn.state is TurnState.CONFIRMED
            assert turn.text == "Done."
        told = json.dumps(world.bodies[-1]["messages"])
        assert len(world.ran) <= 1
        assert ('"paid"' in told) is bool(world.ran)


@pytest.mark.parametrize("doubt", [None, "recorded", "not recorded"])
@pytest.mark.parametrize("at", range(2, 11))
async def test_of_calls_at_the_same_time_each_ends_as_it_did_whatever_append_fails(
    world: World, at: int, doubt: str | None
) -> None:
    """Also where one call waits to start, and another ends, while an append fails."""
    store = FaultyStore()
    store.fail_at, store.doubt = at, doubt
    names = ("a", "b", "c", "d")

    @tool(effect="once")
    async def act(what: str) -> str:
        """Do something that counts, and takes a while."""
        world.ran.append(what)
        for _ in range(2 * ord(what) % 5):
            await anyio.lowlevel.checkpoint()
        return f"did {what}"

    world.script(reply(*(call("act", what=name) for name in names)), *["Done."] * 9)
    limits = Limits(calls_parallel_max=2)
    async with world.open(store=store, tools=[act], limits=limits) as chat:
        for text in ("first", "last"):
            for attempt in range(6):
                try:
                    turn = await chat.send(text, key=text)
                except JournalError:
                    assert attempt < 5
                    continue
                if turn.state is TurnState.CONFIRMED:
                    break
        assert chat.unsaved == 0
        history = json.dumps(chat.messages)

    assert max(Counter(world.ran).values()) == 1, "an effect happened twice"
    closed = [e.event for e in store.read("a") if isinstance(e.event, CallClosed)]
    assert len({one.call for one in closed}) == len(closed) == len(names)
    told = Counter(one.closing for one in closed)
    assert told[Closing.RESULT] == len(world.ran)
    assert told[Closing.NOT_EXECUTED] == len(names) - len(world.ran)
    async with world.open(store=store, tools=[act], limits=limits) as chat:
        assert json.dumps(chat.messages) == history

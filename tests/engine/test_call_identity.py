"""A call is itself and no other, also where a backend gives ids again or none at all."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.around import append_now
from tests.harness.world import World

from turnlatch import (
    CallReport,
    Closing,
    Conversation,
    IllegalEventError,
    Tool,
    TurnState,
    child_tool,
    tool,
)
from turnlatch.journal import MemoryStore, SQLiteStore
from turnlatch.runtime.clock import SystemIds
from turnlatch.simulator import Answer, ClientCall, Raw, Simulator, Text
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import CallAsked, CallStarted, ConversationOpened
from turnlatch_states.machine.remedy import Remedy

pytestmark = pytest.mark.anyio

IDS = ["call_0", "", "a b"]
same_ids = pytest.mark.parametrize("id_", IDS)


def calls(name: str, *arguments: Any, id_: str = "call_0") -> Answer:
    """A reply that calls a tool once for each argument, always with the same id."""
    blocks = [
        {"type": "tool_use", "id": id_, "name": name, "input": {"what": one}}
        for one in arguments
    ]
    return Answer(tuple(map(Raw, blocks)))


class Bank:
    """A service that does nothing twice for one key."""

    def __init__(self) -> None:
        self.paid: dict[str, str] = {}

    def tool(self, **options: Any) -> Tool:
        @tool(**options)
        async def pay(what: str, idempotency_key: str) -> str:
            """Pay."""
            return self.paid.setdefault(idempotency_key, f"paid {what}")

        return pay

    @property
    def payments(self) -> list[str]:
        return sorted(self.paid.values())


def told(chat: Conversation) -> list[str]:
    """What the model was told of its calls, in the order of the requests."""
    return [
        block["content"]
        for message in chat.messages
        for block in message["content"]
        if block["type"] == "tool_result"
    ]


def started(world: World, name: str = "a") -> list[str]:
    """The keys that calls were started with."""
    store = SQLiteStore(world.store)
    try:
        events = [entry.event for entry in store.read(name)]
    finally:
        store.close()
    return [event.key for event in events if isinstance(event, CallStarted)]


@same_ids
async def test_calls_with_one_id_are_all_made_at_no_further_cost(
    world: World, id_: str
) -> None:
    bank = Bank()
    world.script(
        calls("pay", "rent", "gas", id_=id_), calls("pay", "food", id_=id_), "Done."
    )
    async with world.open(tools=[bank.tool()]) as chat:
        turn = await chat.send("Pay.")

        assert turn.text == "Done."
        assert turn.requests == 3, "no reply was paid for in vain"
        assert bank.payments == ["paid food", "paid gas", "paid rent"]
        assert told(chat) == ["paid rent", "paid gas", "paid food"]
        assert [one.closing for one in turn.calls] == [Closing.RESULT] * 3
        assert [c.input for c in turn.calls] == [
            {"what": w} for w in ("rent", "gas", "food")
        ]
        assert chat.check() == ()
        requested = world.bodies
    world.script("Fine.")
    async with world.open(tools=[bank.tool()]) as chat:
        await chat.send("Good.")
        again = world.bodies[0]["messages"][: len(requested[-1]["messages"])]
        assert again == requested[-1]["messages"], "the same after a reload"


async def test_a_call_without_its_end_is_found_out_about_by_its_own_key(
    world: World,
) -> None:
    """Killed before the second effect: the first one is not taken for it."""
    bank, asked = Bank(), list[str]()

    def look(key: str) -> str:
        asked.append(key)
        return bank.paid.get(key, "never paid")

    world.script(calls("pay", "rent"), calls("pay", "gas"), "Done.")
    async with world.open("whole", tools=[bank.tool(reconcile=look)]) as chat:
        await chat.send("Pay.")
    first, second = started(world, "whole")
    del bank.paid[second]
    store = SQLiteStore(world.store)
    events = [entry.event for entry in store.read("whole")]
    cut = [isinstance(e, CallStarted) and e.key == second for e in events].index(True)
    append_now(store.open("cut"), events[: cut + 1])
    store.close()

    world.script("Done.")
    async with world.open("cut", tools=[bank.tool(reconcile=look)]) as chat:
        turn = await chat.retry()

        assert asked == [second]
        assert told(chat) == ["paid rent", "never paid"]
        assert turn.state is TurnState.CONFIRMED
    assert first != second


async def test_each_child_answers_its_own_task(world: World) -> None:
    class Boss:
        """Asks twice; whoever has no tools says what it was asked."""

        asked = 0

        def answer(self, request: Any, rng: Any, /) -> Answer:
            if not request.get("tools"):
                content = request["messages"][-1]["content"]
                return Answer((Text(f"about {content[-1]['text']}"),))
            self.asked += 1
            if self.asked > 2:
                return Answer((Text("Done."),))
            task = {"task": f"country {self.asked}"}
            return Answer((ClientCall("research", task, "call_0"),))

    world.simulator = Simulator(Boss(), clock=world.clock.now)
    child = child_tool("research", "Finds out.")
    async with world.open(tools=[child]) as chat:
        await chat.send("Both.")

        assert told(chat) == ["about country 1", "about country 2"]


async def test_a_server_that_refuses_ids_used_again_refuses_once(
    tmp_path: Path,
) -> None:
    script = [one for _ in range(6) for one in (calls("act", "a"), "Done.")]
    strict = World(tmp_path).script(*script)
    async with strict.open() as chat:
        turns = [await chat.send("Go") for _ in range(6)]

        assert [turn.requests for turn in turns] == [2, 3, 2, 2, 2, 2]
        assert turns[1].remedies == (Remedy.RENAME,)
        assert len(strict.simulator.unscripted_rejections()) == 1
        assert told(chat) == ["did a"] * 6, "calls and results stay what they are"
    sent = strict.bodies[-1]["messages"]
    results = [b["type"] for m in sent for b in m["content"] if "tool" in b["type"]]
    assert results == ["tool_use", "tool_result"] * 6


# Where the record goes.


async def keys_of_a_payment(world: World, name: str = "a", **options: Any) -> list[str]:
    """The keys of one more payment in a conversation, on a server that takes back an id
    that was used in an earlier turn."""
    bank = Bank()
    world.script(calls("pay", "rent"), "Done.", faults="rule R11 off")
    async with world.open(name, tools=[bank.tool()], **options) as chat:
        await chat.send("Pay.")
    return list(bank.paid)


async def test_two_stores_with_conversations_of_one_name_share_no_key(
    world: World,
) -> None:
    keys: list[str] = []
    for _ in range(2):
        store = MemoryStore()
        keys += await keys_of_a_payment(world, store=store, ids=SystemIds())

    assert len(set(keys)) == 2


async def test_rewound_call_does_not_share_its_key(world: World) -> None:
    bank = Bank()
    world.script(*(calls("pay", "rent"), "Done.") * 3)
    async with world.open(tools=[bank.tool()]) as chat:
        for _ in range(3):
            await chat.send("Pay.")
            await chat.rewind()
            assert chat.history.head is None

    assert len(bank.paid) == 3


async def test_a_fork_shares_no_key_with_what_its_parent_does_after_it(
    world: World,
) -> None:
    await keys_of_a_payment(world)
    async with world.open() as chat, chat.fork("b"):
        pass
    parent, fork = await keys_of_a_payment(world), await keys_of_a_payment(world, "b")

    assert parent != fork
    assert started(world)[0] == started(world, "b")[0], (
        "made before it: the same payment"
    )
    assert started(world)[1:] == parent
    assert started(world, "b")[1:] == fork


async def test_a_fork_of_a_call_that_was_started_keeps_its_key_and_asks_by_it(
    world: World,
) -> None:
    asked: list[str] = []

    def look(key: str) -> str:
        asked.append(key)
        return "paid before"

    bank = Bank()
    world.script(calls("pay", "rent"), "Done.")
    async with world.open(tools=[bank.tool()]) as chat:
        await chat.send("Pay.")
    store = SQLiteStore(world.store)
    entries = store.read("a")
    at = next(e.sequence for e in entries if isinstance(e.event, CallStarted))
    store.fork("a", "b", at)
    store.close()
    world.script("Done.")
    async with world.open("b", tools=[bank.tool(reconcile=look)]) as chat:
        await chat.retry()

        assert told(chat) == ["paid before"]
    assert asked == list(bank.paid) == started(world, "b")


async def test_a_copy_of_a_file_goes_on_with_the_same_keys(
    world: World, tmp_path: Path
) -> None:
    bank = Bank()
    pay = bank.tool(effect="ask")
    world.script(calls("pay", "rent", "gas"))
    async with world.open(tools=[pay]) as chat:
        await chat.send("Pay.")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("chat.db", "chat.db-wal", "chat.db-head"):
        if world.store.with_name(name).exists():
            shutil.copy(world.store.with_name(name), copy / name)
    for store in (world.store, copy / "chat.db"):
        world.script("Done.")
        async with world.open(store=store, tools=[pay]) as chat:
            assert chat.turn is not None
            for waiting in chat.turn.awaiting:
                await chat.approve(waiting.place, digest=waiting.digest)
            assert told(chat) == ["paid rent", "paid gas"]

    assert bank.payments == ["paid gas", "paid rent"], "the second file found them paid"


async def test_the_machine_counts_as_the_journal_does(world: World) -> None:
    world.script(
        *(calls("act", "a"), "Done.", calls("ask", "b"), "Fine.", "Branched."),
        faults="529",
    )
    async with world.open() as chat:
        await chat.send("1")
        await chat.send("2")
        await chat.steer("and this")
        await chat.rewind()
        async with chat.fork("b") as fork:
            await fork.send("3")
            counted = {"a": chat.snapshot.entries, "b": fork.snapshot.entries}
    store = SQLiteStore(world.store)
    assert counted == {name: len(store.read(name)) for name in ("a", "b")}
    store.close()
    for name in counted:
        async with world.open(name) as chat:
            assert chat.snapshot.entries == counted[name], "the same after a reload"


# Deciding about them.


@same_ids
async def test_calls_with_one_id_are_decided_about_one_by_one(
    world: World, id_: str
) -> None:
    world.script(calls("ask", "a", "b", "c", id_=id_), "Done.")
    async with world.open() as chat:
        first, second, third = (await chat.send("Go")).awaiting
        with pytest.raises(IllegalEventError):
            await chat.approve(id_)
        await chat.deny(second.place, "not this one")
        await chat.approve(third.id)
        turn = await chat.approve(first.place, digest=first.digest)

        assert turn.text == "Done."
        assert world.ran == ["ask a", "ask c"]
        assert told(chat) == ["did a", "Denied: not this one", "did c"]


async def test_a_place_never_names_a_call_of_another_reply(world: World) -> None:
    world.script(calls("ask", "a"), calls("ask", "b"), "Done.")
    async with world.open() as chat:
        (late,) = (await chat.send("Go")).awaiting
        turn = await chat.approve(late.id)
        (now,) = turn.awaiting
        assert now.id == late.id, "an id that is unique in its reply is as it was given"
        with pytest.raises(IllegalEventError):
            await chat.approve(late.place)
        assert world.ran == ["ask a"]
        await chat.approve(now.id)

    assert world.ran == ["ask a", "ask b"]


async def test_a_question_that_an_earlier_version_put_is_still_the_question(
    world: World,
) -> None:
    """Its record has no identity, and its digest was made from the model's id."""
    world.script(calls("ask", "a"))
    async with world.open("new") as chat:
        await chat.send("Go")
    former = "a50697dfd5d94f2b13320cff8931d62e"  # as that version wrote it
    store = SQLiteStore(world.store)
    older: list[ev.Event] = []
    for entry in store.read("new"):
        match entry.event:
            case ConversationOpened(profile=profile):
                older.append(ConversationOpened(profile))
            case CallAsked(turn=turn, call=call):
                older.append(CallAsked(turn, call, former))
            case event:
                older.append(event)
    append_now(store.open("old"), older)
    store.close()
    world.script("Done.")
    async with world.open("old") as chat:
        assert chat.turn is not None
        (waiting,) = chat.turn.awaiting
        assert isinstance(waiting, CallReport)
        await chat.approve("call_0", digest=former)

    assert world.ran == ["ask a"]

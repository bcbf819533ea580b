"""Random conversations on the real engine, the real SDK and the strict simulator.

Whatever is thrown at a conversation, in whatever order people use it: the next ordinary
message is confirmed, a new process finds the same, and nothing illegal ever left. What was
said meanwhile is said once, in order, and what was paid for was paid for once.
"""

import json
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.around import append_now
from tests.harness.world import World
from tests.part import examples

from turnlatch import (
    Conversation,
    CorrectableToolError,
    IllegalEventError,
    RetryPolicy,
    TerminalToolError,
    Tool,
    TurnState,
    tool,
)
from turnlatch.journal import MemoryStore
from turnlatch.ports import Entry, Journal, Listing, Store
from turnlatch.simulator import (
    Answer,
    ClientCall,
    Scripted,
    Seeded,
    Simulator,
    Text,
    call,
    parse_faults,
)
from turnlatch.tools.execution import ToolRun
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.effects.call_effects import Ending
from turnlatch_states.machine.call import CallState
from turnlatch_states.machine.snapshot import Turn
from turnlatch_states.machine.steering import with_said

FAULTS = (
    "429 retry-after=1",
    "429 retry-after=9999",
    "529",
    "500",
    '400 message="No."',
    "401",
    "html 502",
    "empty 200",
    "truncated json",
    "malformed json",
    "reset",
    "eof",
    "cut 50% eof",
    "cut 90% reset",
    "cut 2 clean",
    "cut 5 eof",
    "cut 7 reset",
    "error overloaded_error after 3",
    "error invalid_request_error",
)
STOPS = (
    None,
    None,
    None,
    "max_tokens",
    "refusal",
    "pause_turn",
    "model_context_window_exceeded",
    "a_reason_of_tomorrow",
)
CALLS = (
    (),
    (),
    (ClientCall("look", {"path": "a"}),),
    (ClientCall("look", {"path": "a"}), ClientCall("act", {"what": "b"})),
    (ClientCall("ask", {"what": "c"}),),
    (ClientCall("nobody", {}),),
    (ClientCall("look", {"wrong": 1}),),
    (ClientCall("pay", {}), ClientCall("act", {"what": "d"})),
    (ClientCall("slip", {}),),
    (ClientCall("quit", {}), ClientCall("look", {"path": "e"})),
    (ClientCall("speak", {}), ClientCall("speak", {})),
)
MOVES = (
    "send",
    "stream",
    "retry",
    "abandon",
    "compact",
    "rewind",
    "approve",
    "deny",
    "fork",
    "reopen",
    "cancel",
    "steer",
    "steer",
    "stop",
)

CHANCES = 12
"""Enough messages to use up every scripted fault and refusal."""


def an_answer(calls: tuple[ClientCall, ...], stop: str | None) -> Answer:
    """Some words, some calls, and a reason to stop."""
    return Answer((Text("Well."), *calls), stop)


answers = st.builds(an_answer, st.sampled_from(CALLS), st.sampled_from(STOPS))
faults = st.lists(
    st.tuples(st.sampled_from(FAULTS), st.integers(1, 12)), max_size=4
).map(lambda found: ", ".join(f"{fault} @{at}" for fault, at in found))


def more_tools(world: World, chats: list[Conversation]) -> list[Tool]:
    """One whose end is never seen, two that fail, one during which the user speaks."""

    @tool(timeout=0.001, grace=0.001, reconcile=lambda key: f"paid as {key}")
    async def pay(idempotency_key: str) -> str:
        """Pay, and never come back."""
        world.ran.append(f"pay {idempotency_key}")
        await anyio.sleep_forever()
        return ""

    @tool
    async def slip() -> str:
        """Fail in a way that can be mended."""
        raise CorrectableToolError("not like that")

    @tool
    async def quit() -> str:
        """Fail in a way that ends the turn."""
        raise TerminalToolError("it is over")

    @tool(effect="safe")
    async def speak() -> str:
        """Work while the user speaks."""
        await steer(chats[-1], world)
        return "worked"

    return [pay, slip, quit, speak]


WORD = "word "


async def steer(chat: Conversation, world: World) -> None:
    """Say the next word."""
    number = sum(line.startswith(WORD) for line in world.ran)
    world.ran.append(f"{WORD}{number}")
    await chat.steer(f"{WORD}{number}")


def heard(chat: Conversation) -> list[int]:
    """The words that were answered, and then those that wait, by number."""
    wires = [*(one.user for one in chat.history), *chat.snapshot.said]
    blocks = [block for wire in wires for block in json.loads(b"[" + wire + b"]")]
    texts = [str(block.get("text", "")) for block in blocks]
    return [int(text.split()[1]) for text in texts if text.startswith(WORD)]


def opened(world: World, name: str, store: Store | None = None) -> Conversation:
    chats: list[Conversation] = []
    chat = world.open(
        name,
        store=store or world.store,
        tools=[*world.tools()[:3], *more_tools(world, chats)],
        retry=RetryPolicy(attempts_max=3),
    )
    chats.append(chat)
    return chat


async def do(chat: Conversation, world: World, move: str, number: int) -> None:
    """One thing that somebody does; what is not legal here is refused, typed."""
    waiting = chat.turn.awaiting if chat.turn is not None else ()
    match move:
        case "send":
            await chat.send(f"message {number}")
        case "stream":
            async for _ in chat.stream(f"message {number}"):
                pass
        case "retry":
            await chat.retry()
        case "abandon":
            await chat.abandon()
        case "compact":
            await chat.compact()
        case "rewind":
            await chat.rewind()
        case "approve" if waiting:
            await chat.approve(waiting[0].id)
        case "deny" if waiting:
            await chat.deny(waiting[0].id)
        case "fork":
            async with chat.fork(f"fork {number}") as other:
                await other.send("elsewhere")
        case "steer":
            await steer(chat, world)
        case "stop":
            async for _ in chat.stream(f"message {number}"):
                await chat.interrupt()
        case "cancel":
            with anyio.move_on_after(0):
                await chat.send(f"message {number}")
        case _:
            pass


async def play(world: World, moves: list[str], store: Store | None = None) -> None:
    """Play the moves, then hold the conversation to the promise."""
    chat = await opened(world, "a", store).__aenter__()
    try:
        for number, move in enumerate(moves):
            before = chat.history.wires()
            if move == "reopen":
                snapshot = chat.snapshot
                await chat.close()
                chat = await opened(world, "a", store).__aenter__()
                assert chat.history == snapshot.history
                assert chat.usage == snapshot.usage
            try:
                await do(chat, world, move, number)
            except IllegalEventError:
                assert chat.history.wires() == before
            if move != "rewind":
                assert chat.history.wires()[: len(before)] == before
            settled(chat)
            words = heard(chat)
            assert words == sorted(set(words)), "each is said once, in order"
        turn = await chat.send("And now?")
        for _ in range(CHANCES):
            if turn.state is not TurnState.CONFIRMED:
                turn = await chat.send("And now?")
        assert turn.state is TurnState.CONFIRMED, f"stuck: {turn.fault}"
        assert chat.snapshot.said == (), "nothing waits behind an answer"
        paid = [line for line in world.ran if line.startswith("pay ")]
        assert len(paid) == len(set(paid)), "paid once for each key"
        last = chat.snapshot
    finally:
        await chat.close()
    async with opened(world, "a", store) as chat:
        assert chat.history == last.history
        assert chat.check() == ()
    assert world.simulator.unscripted_rejections() == ()


def settled(chat: Conversation) -> None:
    """Between moves nothing is in flight, and every call that ran has its result."""
    assert chat.unsaved == 0
    turn = chat.snapshot.turn
    if turn is not None:
        assert turn.state in ("confirmed", "failed")
        undecided = (CallState.ASKED, CallState.APPROVED, CallState.DENIED)
        assert all(call.state in undecided for call in turn.open_calls)


@given(
    st.lists(st.sampled_from(MOVES), max_size=7), st.lists(answers, max_size=6), faults
)
@settings(max_examples=examples(75))
def test_whatever_happens_the_next_message_is_confirmed(
    moves: list[str], script: list[Answer], fault: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.simulator = Simulator(
            Scripted(script, then=Seeded(0, tool_use=0.0)),
            faults=parse_faults(fault) if fault else (),
            clock=world.clock.now,
        )
        anyio.run(play, world, moves)


class Forgetful:
    """Planted: a store that loses the newest entry when it is closed and opened."""

    def __init__(self) -> None:
        self.stores = [MemoryStore()]

    def open(self, name: str) -> Journal:
        kept = self.stores[-1]
        known = [listing.name for listing in kept.conversations()]
        if name not in known:
            return kept.open(name)
        fresh = MemoryStore()
        journal = fresh.open(name)
        append_now(journal, [entry.event for entry in kept.read(name)][:-1])
        self.stores.append(fresh)
        return journal

    def read(self, name: str) -> Sequence[Entry]:
        return self.stores[-1].read(name)

    def fork(self, parent: str, name: str, sequence: int) -> None:
        self.stores[-1].fork(parent, name, sequence)

    def conversations(self) -> Sequence[Listing]:
        return self.stores[-1].conversations()

    def close(self) -> None:
        pass


def test_the_check_finds_a_store_that_forgets(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.script("One.", "Two.", "Three.")

    with pytest.raises(AssertionError):
        anyio.run(play, world, ["send", "reopen"], Forgetful())


def test_the_check_finds_a_body_that_must_not_leave(tmp_path: Path) -> None:
    """Planted: somebody sends a blank message past the engine."""
    world = World(tmp_path)
    world.script("One.", "Two.")

    async def spoiled() -> None:
        client = world.client()
        messages = [{"role": "user", "content": " "}]
        with pytest.raises(Exception, match="non-whitespace"):
            await client.messages.create(
                model="claude-sonnet-5-5",
                max_tokens=9,
                messages=messages,  # type: ignore[arg-type] # a plain dict
            )
        await play(world, ["send"])

    with pytest.raises(AssertionError):
        anyio.run(spoiled)


@pytest.mark.spoils_journals("a planted bug writes what the tables refuse")
def test_check_finds_a_message_that_is_sent_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: what goes along is not counted, so it waits on, and goes along again."""

    def for_ever(turn: Turn, said: tuple[bytes, ...]) -> dict[str, Any]:
        return {**with_said(turn, said), "taken": turn.taken}

    world = World(tmp_path)
    world.script(call("speak"), "One.")
    monkeypatch.setattr(
        import_module("turnlatch_states.machine.step"), "with_said", for_ever
    )

    with pytest.raises(AssertionError, match="each is said once"):
        anyio.run(play, world, ["send"])


def test_the_check_finds_a_call_that_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a call whose end was not seen is run again instead of asked about."""

    async def run(tool: Tool, use: ToolUse, key: str, bytes_max: int) -> Ending:
        return await ToolRun(tool, use, key, bytes_max).wait()

    world = World(tmp_path)
    world.script(call("pay"), "One.", "Two.")
    monkeypatch.setattr(import_module("turnlatch.runtime.tool_calls"), "reconcile", run)

    with pytest.raises(AssertionError, match="paid once for each key"):
        anyio.run(play, world, ["send"])

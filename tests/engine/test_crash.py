"""A process that dies at any moment leaves the confirmed prefix and the truth."""

import signal
from pathlib import Path

import pytest
from tests import warm
from tests.harness.world import World

from turnlatch import Closing, FaultKind, TurnState
from turnlatch.simulator import Scripted, Seeded, Simulator, call, run_in_thread

pytestmark = pytest.mark.anyio

CHILD = '''
import os, sys
import anthropic, anyio
from turnlatch import Conversation, tool

url, store, ledger, point = sys.argv[1:]

def die_at(here):
    if here == point:
        print("now", flush=True)
        import signal
        signal.pause()

@tool
async def act(what: str) -> str:
    """Act."""
    die_at("before the effect")
    with open(ledger, "a") as file:
        file.write(what + "\\n")
    die_at("after the effect")
    return "acted"

class Journal:
    """The real journal, with a place to die before and after each append."""

    def __init__(self, inner): self.inner = inner
    def __getattr__(self, name): return getattr(self.inner, name)
    async def append(self, events):
        for event in events: die_at(f"before {type(event).__name__}")
        await self.inner.append(events)
        for event in events: die_at(f"after {type(event).__name__}")

class Store:
    def __init__(self, inner): self.inner = inner
    def __getattr__(self, name): return getattr(self.inner, name)
    def open(self, name): return Journal(self.inner.open(name))
    def close(self): self.inner.close()

async def main():
    from turnlatch.journal import SQLiteStore
    client = anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0)
    async with Conversation.open("a", store=Store(SQLiteStore(store)), client=client, tools=[act]) as chat:
        await chat.send("first")
        await chat.send("second")
    print("never", flush=True)

anyio.run(main)
'''

POINTS = [
    "before TurnOpened",
    "after TurnOpened",
    "before ReplyConfirmed",
    "after ReplyConfirmed",
    "before CallStarted",
    "after CallStarted",
    "before the effect",
    "after the effect",
    "before CallClosed",
    "after CallClosed",
    "before TurnContinued",
    "after RequestSent",
]


def kill_at(world: World, ledger: Path, point: str) -> None:
    """Run the child until it stands at that point, and kill it there."""
    world.simulator = Simulator(
        Scripted(
            [call("act", what="once"), "Done."],
            then=Scripted(["Next."], then=Seeded(1)),
        )
    )
    with run_in_thread(world.simulator) as server:
        process = warm.Spoken(
            ["-c", CHILD, server.base_url, str(world.store), str(ledger), point]
        )
        assert process.stdout.readline() == "now\n"
        process.child.send_signal(signal.SIGKILL)
        process.end()
    assert world.simulator.unscripted_rejections() == ()


@pytest.mark.parametrize("point", POINTS)
async def test_killed_anywhere_a_new_process_goes_on(world: World, point: str) -> None:
    ledger = world.folder / "ledger"
    kill_at(world, ledger, point)

    world.script("Carry on.", "Carry on.", "Carry on.", "Carry on.")
    effects = ledger.read_text().count("\n") if ledger.exists() else 0
    assert effects <= 1
    async with world.open(tools=[]) as chat:
        turn = chat.turn
        if turn is not None and turn.state is TurnState.FAILED:
            assert turn.fault is not None
            assert turn.fault.kind is FaultKind.INTERRUPTED
        if effects:
            assert turn is not None
            assert turn.calls[0].closing in (Closing.UNKNOWN, Closing.RESULT)
        assert chat.check() == ()
        after = await chat.send("And now?")
        assert after.state is TurnState.CONFIRMED
        wires = chat.history.wires()
    async with world.open(tools=[]) as chat:
        assert chat.history.wires() == wires
    assert (ledger.read_text().count("\n") if ledger.exists() else 0) == effects


def test_the_points_are_real() -> None:
    """A point that never comes would hang the child; its events are the core's."""
    from turnlatch_states.machine import events

    for point in POINTS:
        _, name = point.split(" ", 1)
        assert name == "the effect" or hasattr(events, name)

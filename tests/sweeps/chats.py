"""A process that converses: the real engine and SDK on the simulator, in one process.

It says outside the store what its journal was given and what was acknowledged, and its
tools write outside the store what they did, with the key of the call that they did it for.
"""

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final, TypeAlias, final

import anyio
from tests.around import JournalAround, StoreAround
from tests.harness.world import World
from tests.sweeps.work import sqlite

from turnlatch import (
    CompactionPolicy,
    Conversation,
    JournalError,
    Tool,
    TurnlatchError,
    TurnState,
    tool,
)
from turnlatch.journal.codec import encode
from turnlatch.ports import Journal, Store
from turnlatch.simulator import Answer, ClientCall, Text, call
from turnlatch_states.machine.events import CallStarted, Event

Say: TypeAlias = Callable[[str], None]

ANSWERS: Final = (
    Answer(
        (
            Text("Three at once."),
            ClientCall("act", {"what": "a"}),
            ClientCall("act", {"what": "b"}),
            ClientCall("look", {"path": "c"}),
        )
    ),
    "Done.",
    Answer((ClientCall("ask", {"what": "d"}), ClientCall("ask", {"what": "e"}))),
    call("act", what="f"),
    "Done again.",
    call("act", what="g"),
    "Done for good.",
)

NAME: Final = "a"

STEERED: Final = "and mind the gap"
"""What is said while a turn is on."""


def digest(event: Event) -> str:
    """An event as its notes name it: what would stand in the file, in short."""
    return sha256(repr(encode(event)).encode()).hexdigest()[:16]


@final
class ToldJournal(JournalAround):
    """The real journal, and notes of what it was given and what it acknowledged."""

    def __init__(self, inner: Journal, say: Say, *, late: bool) -> None:
        super().__init__(inner)
        self._say = say
        self._late = late
        self._held: list[Event] = []

    async def append(self, events: Sequence[Event]) -> None:
        """As the journal. The planted bug holds back that a call is about to start."""
        events = [*self._held, *events]
        self._held = []
        if self._late and any(isinstance(one, CallStarted) for one in events):
            self._held = events
            return
        self._say("begin " + " ".join(map(digest, events)))
        try:
            await self.inner.append(events)
        except JournalError as error:
            self._say("unknown" if error.outcome_unknown else "refused")
            raise
        self._say("sure")


@final
class ToldStore(StoreAround):
    """The real store, whose journals tell."""

    def __init__(self, inner: Store, say: Say, *, late: bool) -> None:
        super().__init__(inner)
        self._say = say
        self._late = late

    def open(self, name: str) -> Journal:
        """As the store."""
        return ToldJournal(self.inner.open(name), self._say, late=self._late)


def tools(ledger: str) -> list[Tool]:
    """Tools that act, ask and look; what they do to the world stands in the ledger."""

    def note(line: str) -> None:
        out = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(out, line.encode() + b"\n")
        os.close(out)

    @tool(effect="safe")
    async def look(path: str) -> str:
        """Look at something."""
        return f"contents of {path}"

    @tool(effect="once")
    async def act(what: str, idempotency_key: str) -> str:
        """Do something that counts."""
        note(f"{idempotency_key} {what}")
        return f"did {what}"

    @tool(effect="ask")
    async def ask(what: str, idempotency_key: str) -> str:
        """Do something a person decides."""
        note(f"{idempotency_key} {what}")
        return f"did {what}"

    return [look, act, ask]


def opened(world: World, store: Any, ledger: str) -> Conversation:
    """The conversation."""
    return world.open(
        NAME, store=store, tools=tools(ledger), compaction=CompactionPolicy(auto=False)
    )


async def have_conversation(store: Store, ledger: str, say: Say) -> None:
    """Four turns: parallel calls, a yes and a no and words between them, a summary, one
    call more."""
    world = World().script(*ANSWERS)
    async with opened(world, store, ledger) as chat:
        await chat.send("first", key="first")
        turn = await chat.send("second", key="second")
        yes, no = turn.awaiting
        await chat.steer(STEERED)
        await chat.approve(yes.id)
        await chat.deny(no.id)
        await chat.compact()
        await chat.send("third", key="third")
        assert chat.turn is not None
        assert chat.turn.state is TurnState.CONFIRMED
    assert world.simulator.unscripted_rejections() == ()


def converse(store: str, ledger: str, bug: str, say: Say) -> str:
    """Have the conversation; returns the word for how it ended."""
    inner = None
    try:
        inner = sqlite(store)
        anyio.run(
            have_conversation, ToldStore(inner, say, late=bug == "late"), ledger, say
        )
    except TurnlatchError as error:
        return f"stopped {type(error).__name__}"
    finally:
        if inner is not None:
            inner.close()
    return "done"

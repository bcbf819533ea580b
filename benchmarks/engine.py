"""Our arm: a durable conversation on SQLite, with a history that was really journaled."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import final

import anthropic

from benchmarks.material import (
    MAX_TOKENS,
    MODEL,
    USAGE,
    Case,
    echo,
    encode,
    text,
)
from benchmarks.references import Heard
from turnlatch import Conversation
from turnlatch.content import user_blocks
from turnlatch.journal import SQLiteStore
from turnlatch.ports import Journal, Store
from turnlatch.settings import make_profile
from turnlatch.tools import Tool, tool
from turnlatch_states.api.reply import Reply
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.request.build import build

ECHO: Tool = tool(effect="safe")(echo)

_BATCH_EVENTS = 600


def tools_of(case: Case) -> list[Tool]:
    """The tools a conversation of this case is opened with."""
    return [ECHO] if case is Case.TOOL else []


def open_conversation(
    name: str,
    store: "Path | Store",
    client: object,
    case: Case = Case.PLAIN,
) -> Conversation:
    """The conversation that is measured, ready to be entered."""
    return Conversation.open(
        name,
        store=store,
        client=client,
        model=MODEL,
        max_tokens=MAX_TOKENS,
        tools=tools_of(case),
    )


def _events(size: int, case: Case) -> Iterator[Event]:
    """The journal of a conversation of `size` messages, every turn confirmed."""
    profile = make_profile(model=MODEL, max_tokens=MAX_TOKENS, tools=tools_of(case))
    yield ev.ConversationOpened(profile)
    for turn in range(1, size // 2 + 1):
        said, replied = text(2 * turn - 2), text(2 * turn - 1)
        meta = {
            "id": f"msg_{turn:024}",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": USAGE,
            "request_id": f"req_{turn:024}",
            "end": "stop",
        }
        content = encode({"type": "text", "text": replied})
        yield ev.TurnOpened(turn, user_blocks(said, profile))
        yield ev.RequestSent(turn, 1)
        yield ev.ReplyConfirmed(turn, 1, Reply(content, encode(meta)))


def _append(journal: Journal, batch: list[Event]) -> None:
    """Append without an event loop; the stores here commit in place."""
    with suppress(StopIteration):
        journal.append(batch).send(None)


def write_history(store: Store, name: str, size: int, case: Case = Case.PLAIN) -> None:
    """Journal a conversation of `size` messages, as the engine would have."""
    journal = store.open(name)
    try:
        batch: list[Event] = []
        for event in _events(size, case):
            batch.append(event)
            if len(batch) >= _BATCH_EVENTS and isinstance(event, ev.ReplyConfirmed):
                _append(journal, batch)
                batch = []
        if batch:
            _append(journal, batch)
    finally:
        journal.close()


@final
class Durable:
    """Ours: SQLite with `synchronous=FULL`, the SDK's client behind it."""

    name = "turnlatch, durable"

    def __init__(self, client: anthropic.AsyncAnthropic, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._numbers = count()
        self._case = Case.PLAIN
        self._chat: Conversation | None = None

    async def prepare(self, case: Case, size: int) -> None:
        """Begin a conversation that has `size` messages already."""
        path = self._folder / f"{case}-{size}-{next(self._numbers)}.db"
        store = SQLiteStore(path)
        try:
            write_history(store, "benchmark", size, case)
        finally:
            store.close()
        self._case = case
        self._chat = open_conversation("benchmark", path, self._client, case)
        await self._chat.__aenter__()

    async def turn(self, said: str) -> Heard:
        """Take one turn."""
        chat = self.chat
        if self._case.streams:
            stream = chat.stream(said)
            async for _ in stream:
                pass
            turn = await stream.turn()
        else:
            turn = await chat.send(said)
        return Heard(turn.raise_for_failure().text, turn.requests)

    @property
    def chat(self) -> Conversation:
        """The conversation that was prepared."""
        assert self._chat is not None, "prepare() comes first"
        return self._chat

    async def close(self) -> None:
        """End the conversation."""
        chat, self._chat = self._chat, None
        if chat is not None:
            await chat.close()


def next_request(snapshot: Snapshot) -> bytes:
    """The body of the request that a conversation which stands here would send."""
    staged = b"" if snapshot.turn is None else snapshot.turn.staged
    return build(snapshot.profile, snapshot.history, snapshot.base, staged)

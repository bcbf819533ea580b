"""A model port that answers at once, and what a conversation with it must look like.

What is said begins with "pay": the reply calls the tool, whose effect counts. Everything
else is answered by a text. Every call has an id of its own, as the API gives them.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final, final

import anyio
import anyio.lowlevel

from turnlatch import Conversation, Tool, tool
from turnlatch.journal.repeated import events_of, without_repetitions
from turnlatch.ports import Delta
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.machine.events import ReplyConfirmed
from turnlatch_states.request.build import Request

NAME: Final = "talk"

_REPLIES: Final = count(1)
"""Of a process: an address is used again, which made two replies look like one."""


@final
class Quick:
    """Answers in no time, or after a wait of the event loop's.

    Args:
        pause: How long it takes, in seconds; 0 to go through the event loop once.
    """

    def __init__(self, pause: float = 0.0) -> None:
        self._pause = pause

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        """A reply to what was said last."""
        await anyio.sleep(self._pause)
        unique = f"{os.getpid():x}_{next(_REPLIES)}"
        last = json.loads(request.body)["messages"][-1]["content"]
        block: dict[str, Any] = {"type": "text", "text": "Fine."}
        stop = "end_turn"
        texts = [one["text"] for one in last if one["type"] == "text"]
        results = [one for one in last if one["type"] == "tool_result"]
        if not results and any(one.startswith("pay") for one in texts):
            arguments = {"what": texts[-1]}
            block = {"type": "tool_use", "id": f"toolu_{unique}", "name": "pay"}
            block, stop = {**block, "input": arguments}, "tool_use"
        facts = {
            "id": f"msg_{unique}",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
            "end": "stop",
        }
        return Reply(encode(block), json.dumps(facts).encode())

    async def count(self, request: Request) -> int:
        """As little as there can be."""
        return 1

    async def aclose(self) -> None:
        """There is nothing to give back."""


def payer(note: Callable[[str], None]) -> Tool:
    """The tool whose effect counts: it notes for what it ran."""

    @tool(effect="once")
    async def pay(what: str) -> str:
        """Pay for something."""
        note(what)
        await anyio.lowlevel.checkpoint()
        return f"paid {what}"

    return pay


def check(store: Path, confirmed: Sequence[str], effects: Sequence[str]) -> None:
    """Open what was left, hold it to what is known, and go on.

    Args:
        store: The store's path.
        confirmed: The texts whose turns were seen to be confirmed, in order.
        effects: For what the tool ran, in order.

    Raises:
        AssertionError: Something is gone, twice, or stuck.
    """
    repeated = [one for one, count in Counter(effects).items() if count > 1]
    assert not repeated, f"an effect happened twice: {repeated}"

    async def go_on() -> None:
        ran: list[str] = []
        tools = [payer(ran.append)]
        async with Conversation.open(
            NAME, store=store, client=Quick(), tools=tools
        ) as chat:
            there = [json.dumps(one) for one in chat.messages]
            for text in confirmed:
                assert any(f'"{text}"' in one for one in there), f"{text!r} is gone"
            for text in ("after", "pay after"):
                turn = await chat.send(text)
                assert str(turn.state) == "confirmed", turn.fault
            assert ran == ["pay after"]
            assert chat.unsaved == 0

    anyio.run(go_on)
    _once(store)


def _once(store: Path) -> None:
    """See that the record says nothing twice."""
    from turnlatch.journal import SQLiteStore

    held = SQLiteStore(store)
    try:
        entries = held.read(NAME)
    finally:
        held.close()
    assert without_repetitions(entries) is entries, "events were appended twice"
    replies = [
        one.reply.meta for one in events_of(entries) if isinstance(one, ReplyConfirmed)
    ]
    assert len(set(replies)) == len(replies), "a reply was confirmed twice"

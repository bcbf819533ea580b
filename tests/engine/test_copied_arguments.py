"""Arguments are handed out as copies: whoever edits them changes nothing."""

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.world import World

from turnlatch import (
    CallReport,
    CallState,
    Conversation,
    Recorded,
    Tool,
    ToolCall,
    Turn,
    TurnEnded,
    tool,
)
from turnlatch.simulator import Answer, ClientCall
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply, ToolUse

GIVEN: dict[str, Any] = {"order": {"to": "Ada", "items": [{"n": 1}, {"n": 2}], "x": []}}


def spoil(value: object) -> None:
    """Edit a value in every place where it can be edited."""
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value)
        for one in list(inner.values()):
            spoil(one)
        for name in inner:
            inner[name] = "spoilt"
        inner["more"] = "spoilt"
    elif isinstance(value, list):
        items = cast("list[object]", value)
        for one in items:
            spoil(one)
        items[:] = ["spoilt", *items]


class Vandal:
    """Whoever is shown arguments, and edits all of them."""

    def __init__(self) -> None:
        self.saw: dict[str, list[Any]] = {}

    def looks(self, where: str, value: object) -> None:
        """Note what is there, then edit it."""
        self.saw.setdefault(where, []).append(json.loads(json.dumps(value)))
        spoil(value)

    def rule(self, call: ToolCall) -> None:
        """An approval rule that leaves it to a person."""
        self.looks("rule", call.input)
        self.looks("rule again", call.input)

    def looks_around(self, where: str, chat: Conversation, turn: Turn) -> None:
        """Whatever a conversation and its turn show of calls."""
        for name, reports in (("calls", turn.calls), ("awaiting", turn.awaiting)):
            for report in reports:
                self.looks(f"{where} {name}", report.input)
        for reply in (*turn.replies, *(one.reply for one in chat.history)):
            for block in reply.blocks:
                if block["type"] == "tool_use":
                    self.looks(f"{where} blocks", block["input"])
            for use in reply.tool_uses:
                self.looks(f"{where} uses", use.input)
        for message in chat.messages:
            for block in message["content"]:
                if block["type"] == "tool_use":
                    self.looks(f"{where} messages", block["input"])
        machine = chat.snapshot.turn
        assert machine is not None
        for call in (*machine.done, *machine.calls):
            self.looks(f"{where} snapshot", call.use.input)


def orders(vandal: Vandal, effect: str) -> Tool:
    """A tool that a rule leaves to a person, or one that runs at once."""
    asks = tool(effect="ask", approve=vandal.rule)
    declare = asks if effect == "ask" else tool(effect="once")

    @declare
    async def place(order: dict[str, Any]) -> str:
        """Place an order."""
        vandal.looks("tool", {"order": order})
        spoil(order)
        return "placed"

    return place


@pytest.mark.anyio
@pytest.mark.parametrize("effect", ["once", "ask"])
async def test_no_observer_of_arguments_can_change_them(
    world: World, effect: str
) -> None:
    vandal = Vandal()
    two = Answer(
        (ClientCall("place", GIVEN, "toolu_1"), ClientCall("place", GIVEN, "toolu_2"))
    )
    world.script(two, Answer((ClientCall("place", GIVEN, "toolu_3"),)), "Done.")
    async with world.open(tools=[orders(vandal, effect)]) as chat:
        watch = chat.watch()
        turn = await chat.send("Order.")
        vandal.looks_around("at first", chat, turn)
        while turn.awaiting:
            waiting = turn.awaiting[0]
            turn = await chat.approve(waiting.id, digest=waiting.digest)
            vandal.looks_around("later", chat, turn)
        assert turn.text == "Done."
        await chat.close()
        watched = [event async for event in watch]
    for event in watched:
        if isinstance(event, TurnEnded):
            for report in event.turn.calls:
                vandal.looks("end", report.input)
        elif isinstance(event, Recorded):
            for report in event.calls:
                vandal.looks("entry", report.input)
    async with world.open(tools=[orders(vandal, effect)]) as chat:
        assert chat.turn is not None
        vandal.looks_around("reloaded", chat, chat.turn)

    assert len(vandal.saw["tool"]) == 3
    for where, seen in vandal.saw.items():
        assert all(one == GIVEN for one in seen), where
    sent = [
        block["input"]
        for body in world.bodies
        for message in body["messages"]
        for block in message["content"]
        if block["type"] == "tool_use"
    ]
    assert sent == [GIVEN] * 5


def used(given: Any) -> ToolUse:
    return ToolUse("id", "place", given)


def ruled(given: Any) -> ToolCall:
    return ToolCall("id", "place", given)


def reported(given: Any) -> CallReport:
    return CallReport("id", "place", given, CallState.ASKED, None, b"")


HOLDERS: tuple[Callable[[Any], Any], ...] = (used, ruled, reported)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), values, max_size=4))
def test_holders_of_arguments_do_not_share_them(
    arguments: dict[str, Any],
) -> None:
    written = encode(arguments)
    for holder in HOLDERS:
        mine = json.loads(written)
        held = holder(mine)
        spoil(held.input)
        assert encode(held.input) == written, holder
        spoil(mine)
        assert encode(held.input) == written, f"whoever made it edits it: {holder}"
    block = {"type": "tool_use", "id": "a", "name": "place", "input": arguments}
    reply = Reply(encode(block), encode({"id": "m", "stop_reason": "tool_use"}))
    spoil(reply.blocks[0]["input"])
    spoil(reply.tool_uses[0].input)
    assert encode(reply.blocks[0]["input"]) == written
    assert encode(reply.tool_uses[0].input) == written

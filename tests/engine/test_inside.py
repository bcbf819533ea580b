"""What a conversation may be told by the code that it calls: no method waits for itself.

A tool, a hook and an approval rule run inside the turn that called them. From there a
method either works or raises at once; none hangs.
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from tests.harness.world import World

from turnlatch import (
    Conversation,
    InsideTurnError,
    Reconciled,
    Tool,
    ToolCall,
    TurnState,
    tool,
)
from turnlatch.simulator import call
from turnlatch.sync import Conversation as SyncConversation

Method: TypeAlias = Callable[[Conversation], Awaitable[Any]]

REFUSED: dict[str, Method] = {
    "send": lambda chat: chat.send("a"),
    "retry": lambda chat: chat.retry(),
    "abandon": lambda chat: chat.abandon(),
    "compact": lambda chat: chat.compact(),
    "configure": lambda chat: chat.configure(max_tokens=9),
    "rewind": lambda chat: chat.rewind(turns=1),
    "approve": lambda chat: chat.approve("toolu_1"),
    "deny": lambda chat: chat.deny("toolu_1"),
    "close": lambda chat: chat.close(),
}
WORKS: dict[str, Method] = {
    "steer": lambda chat: chat.steer("and this"),
    "pin": lambda chat: chat.pin("task", "never forget"),
    "unpin": lambda chat: chat.unpin("task"),
}
STOPS = {"interrupt"}
"""It works too, and the turn is over by it."""


def test_every_method_that_waits_has_a_place_in_these_lists() -> None:
    known = {*REFUSED, *WORKS, *STOPS}
    found = {
        name
        for name in dir(Conversation)
        if inspect.iscoroutinefunction(getattr(Conversation, name))
        and not name.startswith("_")
    }
    assert found == known


async def tried(chat: Conversation) -> None:
    """Call every method from here: each works, or raises at once."""
    with anyio.fail_after(20):
        for name, method in REFUSED.items():
            before = chat.snapshot
            with pytest.raises(InsideTurnError) as caught:
                await method(chat)
            assert caught.value.method == name
            assert f"{name}()" in str(caught.value)
            assert chat.snapshot == before
        with pytest.raises(InsideTurnError):
            chat.stream("a")
        for method in WORKS.values():
            await method(chat)
        assert "task" not in chat.pins
        await chat.pin("kept", "never forget")


class Inside:
    """Code of the caller's, at every place where a conversation calls some."""

    def __init__(self) -> None:
        self.chats: list[Conversation] = []
        self.visited: list[str] = []
        # The thread of a plain tool is no worker of the loop's, which it must outlive.
        self.loop = anyio.lowlevel.current_token()

    async def visit(self, where: str) -> None:
        """Try everything from here, once."""
        if where not in self.visited:
            await tried(self.chats[0])
            self.visited.append(where)

    def tools(self) -> list[Tool]:
        """Tools that try it: in the tool, a child task, a thread, a rule, at the end."""

        @tool(effect="safe")
        async def plain() -> str:
            """Try it in a tool."""
            await self.visit("tool")
            return "done"

        @tool(effect="safe")
        async def child() -> str:
            """Try it in a task that the tool waits for."""
            async with anyio.create_task_group() as group:
                group.start_soon(self.visit, "task")
            return "done"

        @tool(effect="safe")
        def thread() -> str:
            """Try it in the thread of a plain function."""
            anyio.from_thread.run(self.visit, "thread", token=self.loop)
            return "done"

        async def rule(asked: ToolCall) -> bool:
            await self.visit("rule")
            return asked.name == "ruled"

        @tool(effect="safe", approve=rule)
        async def ruled() -> str:
            """Be decided about by a rule that tries it."""
            return "done"

        async def look(key: str) -> Reconciled:
            await self.visit("reconcile")
            return Reconciled.NOT_DONE

        @tool(effect="once", timeout=0.05, grace=0.05, reconcile=look)
        async def slow() -> str:
            """Be asked about."""
            await anyio.sleep_forever()
            return "never"

        return [plain, child, thread, ruled, slow]

    async def before(self, plan: object) -> None:
        """A hook before a summary."""
        await self.visit("before")

    async def after(self, done: object) -> None:
        """A hook after a summary."""
        await self.visit("after")


@pytest.mark.anyio
async def test_from_inside_a_method_works_or_raises_at_once(world: World) -> None:
    inside = Inside()
    names = ["plain", "child", "thread", "ruled", "slow"]
    world.script(*map(call, names), "Done.", "Next.")
    async with world.open(
        tools=inside.tools(),
        before_compaction=inside.before,
        after_compaction=inside.after,
    ) as chat:
        inside.chats.append(chat)
        turn = await chat.send("Go")
        assert turn.state is TurnState.CONFIRMED, turn.fault
        assert [one.state for one in turn.calls] == ["closed"] * 5
        await chat.compact()
        assert chat.pins == {"kept": "never forget"}

    assert inside.visited == [
        "tool", "task", "thread", "rule", "reconcile", "before", "after"
    ]  # fmt: skip


@pytest.mark.anyio
async def test_a_tool_of_a_child_waits_for_no_ancestor(world: World) -> None:
    chats: list[Conversation] = []

    @tool(effect="safe")
    async def inner() -> str:
        """Say something to the conversation that everybody here waits for."""
        with anyio.fail_after(20), pytest.raises(InsideTurnError):
            await chats[0].send("a")
        return "done"

    @tool(effect="safe")
    async def outer() -> str:
        """Run another conversation, which is no deadlock."""
        async with world.open("b", tools=[inner]) as other:
            return (await other.send("Go")).text

    world.script(call("outer"), call("inner"), "Inner done.", "Outer done.")
    async with world.open(tools=[outer]) as chat:
        chats.append(chat)
        assert (await chat.send("Go")).text == "Outer done."


@pytest.mark.anyio
async def test_a_task_that_outlives_its_turn_is_outside(world: World) -> None:
    """It has the context of the turn that started it, and that turn is over."""
    chats: list[Conversation] = []
    over, answered = anyio.Event(), anyio.Event()
    texts: list[str] = []

    async def later() -> None:
        await over.wait()
        texts.append((await chats[0].send("Later")).text)
        answered.set()

    async with anyio.create_task_group() as group:

        @tool(effect="safe")
        async def plan() -> str:
            """Leave something for later."""
            group.start_soon(later)
            return "planned"

        world.script(call("plan"), "Planned.", "Here it is.")
        async with world.open(tools=[plan]) as chat:
            chats.append(chat)
            await chat.send("Go")
            over.set()
            await answered.wait()
    assert texts == ["Here it is."]


def test_in_the_sync_twin_too(world: World) -> None:
    chats: list[SyncConversation] = []
    raised: list[str] = []

    @tool(effect="safe")
    def plain() -> str:
        """Try it in a plain tool."""
        chat = chats[0]
        methods: list[Callable[[], object]] = [
            partial(chat.send, "a"),
            partial(chat.stream, "a"),
            chat.retry,
            chat.compact,
            chat.abandon,
            chat.rewind,
        ]
        for method in methods:
            try:
                method()
            except InsideTurnError as error:
                raised.append(error.method)
        chat.pin("task", "never forget")
        chat.steer("and this")
        return "done"

    world.script(call("plain"), "Done.")
    with SyncConversation.open(
        "a", store=world.store, client=world.client(), tools=[plain]
    ) as chat:
        chats.append(chat)
        assert chat.send("Go").text == "Done."
        assert chat.pins == {"task": "never forget"}
    assert raised == ["send", "stream", "retry", "compact", "abandon", "rewind"]

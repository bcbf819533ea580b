"""A tool is told which call it runs for, and what it reports is neither lost nor a lie."""

import json
import threading
from typing import Any

import anyio
import pytest
from attrs import frozen
from tests.harness.published import has_call
from tests.harness.world import World, cancelled_once_started

from turnlatch import (
    CallReport,
    CallState,
    Closing,
    Conversation,
    Cursor,
    Progressed,
    ToolContext,
    TurnState,
    child_tool,
    tool,
)
from turnlatch.simulator import call, reply
from turnlatch.tools import run_tool
from turnlatch.tools.context import CallProgress
from turnlatch.tools.definition import facts_of
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.effects.calls import lost_calls
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.snapshot import Snapshot

pytestmark = pytest.mark.anyio


@frozen
class Deps:
    """Dependencies of the user's."""

    table: dict[str, str]


def told(made: CallReport) -> str:
    """The text of a call's result."""
    return str(json.loads(made.result or b"{}").get("content"))


async def progress_of(chat: Conversation, text: str) -> list[Progressed]:
    return [e async for e in chat.stream(text) if isinstance(e, Progressed)]


async def test_a_tool_gets_its_call_its_key_and_the_users_dependencies(
    world: World,
) -> None:
    seen: list[ToolContext[Deps]] = []

    @tool
    async def look(name: str, about: ToolContext[Deps]) -> str:
        """Look."""
        seen.append(about)
        return about.deps.table[name]

    world.script(call("look", name="a"), "Done.")
    async with world.open("shop", tools=[look], deps=Deps({"a": "apple"})) as chat:
        turn = await chat.send("Go")
    (made,) = turn.calls
    (about,) = seen
    assert (about.conversation, about.turn) == ("shop", turn.number)
    assert (about.call.id, about.call.place, about.call.name) == (
        made.id,
        made.place,
        "look",
    )
    assert len(about.key) == 32
    assert "apple" in told(made)
    schema = world.bodies[0]["tools"][0]["input_schema"]
    assert list(schema["properties"]) == schema["required"] == ["name"]


def test_the_context_may_have_any_name_next_to_the_key() -> None:
    @tool
    def first(ctx: ToolContext[None], idempotency_key: str, path: str) -> str:
        """Look."""
        return f"{ctx.call.name} {idempotency_key} {path}"

    def named(ctx: int = 1, **_: Any) -> str:
        return str(ctx)

    bare = tool(named, schema={"type": "object"})
    assert list(first.definition["input_schema"]["properties"]) == ["path"]
    assert bare.arguments.contexts == (), "only its type makes it the context"


def by_schema(ctx: ToolContext[str], **arguments: Any) -> str:
    """Look."""
    return f"{ctx.deps} {sorted(arguments)}"


async def test_a_tool_by_schema_gets_the_context_too(world: World) -> None:
    world.script(call("by_schema", a=1), "Done.")
    declared = tool(by_schema, schema={"type": "object"})
    async with world.open(tools=[declared], deps="mine") as chat:
        turn = await chat.send("Go")
    assert "mine ['a']" in told(turn.calls[0])


async def test_the_model_cannot_give_the_context(world: World) -> None:
    ran: list[str] = []

    @tool
    async def look(ctx: ToolContext[None]) -> str:
        """Look."""
        ran.append(ctx.call.id)
        return ""

    world.script(call("look", ctx={"deps": 1}), call("by_schema", ctx=1), "Done.")
    declared = tool(by_schema, schema={"type": "object"})
    async with world.open(tools=[look, declared]) as chat:
        turn = await chat.send("Go")
    assert [one.closing for one in turn.calls] == [Closing.ERROR] * 2
    assert ran == []


@pytest.mark.parametrize("kind", ["none", "given", "fork", "child"])
async def test_deps_default_to_nothing_and_are_shared_with_forks_and_children(
    world: World, kind: str
) -> None:
    seen: list[object] = []

    @tool
    async def look(ctx: ToolContext[Any]) -> str:
        """Look."""
        seen.append(ctx.deps)
        return ""

    deps = None if kind == "none" else "mine"
    if kind == "child":
        child = child_tool("child", "Does it.", tools=[look])
        world.script(call("child", task="x"), call("look"), "4", "5")
        async with world.open(tools=[child], deps=deps) as chat:
            await chat.send("Go")
    else:
        world.script(call("look"), "Done.")
        async with world.open(tools=[look], deps=deps) as chat:
            if kind == "fork":
                async with chat.fork("c") as other:
                    await other.send("Go")
            else:
                await chat.send("Go")
    assert seen == [deps]


# Reports.


@tool
async def copy(files: int, ctx: ToolContext[None]) -> str:
    """Copy files."""
    for index in range(files):
        ctx.report(f"copied {index + 1} of {files}")
    return "copied"


async def test_watchers_read_what_a_call_reports_while_it_runs(world: World) -> None:
    world.script(call("copy", files=3), "Done.")
    async with world.open(tools=[copy]) as chat:
        seen = await progress_of(chat, "Go")
        assert chat.turn is not None
        (made,) = chat.turn.calls
    assert [one.text for one in seen] == [f"copied {n} of 3" for n in (1, 2, 3)]
    assert {(one.call, one.place, one.name, one.turn) for one in seen} == {
        (made.id, made.place, "copy", 1)
    }
    assert [one.cursor for one in seen] == sorted(one.cursor for one in seen)
    assert "of 3" not in told(made), "a result that was seen says it itself"


async def test_reports_are_not_recorded(world: World) -> None:
    world.script(call("copy", files=3), "Done.")
    async with world.open(tools=[copy]) as chat:
        await chat.send("Go")
        end = chat.cursor
    async with world.open(tools=[copy]) as chat, anyio.create_task_group() as group:
        async for event in chat.watch(Cursor()):
            assert not isinstance(event, Progressed)
            if event.cursor >= end:
                group.cancel_scope.cancel()
                break


async def test_a_thread_reports_too(world: World) -> None:
    threads: list[int] = []

    @tool
    def act(ctx: ToolContext[None]) -> str:
        """Act."""
        threads.append(threading.get_ident())
        ctx.report("half")
        return "done"

    world.script(call("act"), "Done.")
    async with world.open(tools=[act]) as chat:
        seen = await progress_of(chat, "Go")
    assert [one.text for one in seen] == ["half"]
    assert threads != [threading.get_ident()]


async def test_calls_at_the_same_time_keep_their_own_reports(world: World) -> None:
    met = [anyio.Event(), anyio.Event()]

    @tool
    async def act(which: int, ctx: ToolContext[None]) -> str:
        """Act."""
        ctx.report(f"I am {which}")
        met[which].set()
        await met[1 - which].wait()
        ctx.report(f"still {which}")
        if which == 0:
            return "whole"
        await anyio.sleep_forever()
        return ""

    world.script(reply(call("act", which=0), call("act", which=1)))
    async with world.open(tools=[act]) as chat:
        async for event in chat.stream("Go"):
            if has_call(event, CallState.CLOSED):
                await chat.interrupt()
        assert chat.turn is not None
        whole, lost = chat.turn.calls
    assert (whole.closing, lost.closing) == (Closing.RESULT, Closing.UNKNOWN)
    assert told(whole) == "whole"
    assert told(lost).endswith("it had reported:\n- I am 1\n- still 1")


@pytest.mark.parametrize("effect", ["once", "safe"])
async def test_a_call_that_takes_too_long_tells_how_far_it_came(
    world: World, effect: Any
) -> None:
    @tool(timeout=0.05, effect=effect)
    async def act(ctx: ToolContext[None]) -> str:
        """Act."""
        ctx.report("copied 2 of 3")
        await anyio.sleep_forever()
        return ""

    world.script(call("act"), "Done.")
    async with world.open(tools=[act]) as chat:
        turn = await chat.send("Go")
    assert "Until then it had reported:\n- copied 2 of 3" in told(turn.calls[0])
    assert "Timed out" in told(turn.calls[0])


async def test_an_interrupted_call_tells_how_far_it_came(world: World) -> None:
    begun = anyio.Event()

    @tool
    async def act(ctx: ToolContext[None]) -> str:
        """Act."""
        ctx.report("copied 2 of 3")
        begun.set()
        await anyio.sleep_forever()
        return ""

    world.script(call("act"), "Done.")
    async with world.open(tools=[act]) as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "Go")
            await begun.wait()
            await chat.interrupt()
        turn = chat.turn
        assert turn is not None
        assert turn.state is TurnState.FAILED
        (made,) = turn.calls
        assert made.closing is Closing.UNKNOWN
        assert "outcome unknown" in told(made)
        assert "- copied 2 of 3" in told(made)
        turn = await chat.retry()
    assert turn.text == "Done."
    assert "copied 2 of 3" in str(world.bodies[-1]["messages"]), "the model reads it"


async def test_a_call_that_reported_nothing_says_nothing_of_it(world: World) -> None:
    world.script(call("hang", what="x"))
    async with world.open() as chat:
        assert await cancelled_once_started(chat, "Go")
        assert chat.turn is not None
        assert "reported" not in told(chat.turn.calls[0])


async def test_a_call_that_ends_in_its_grace_time_has_its_result(world: World) -> None:
    begun = anyio.Event()

    @tool(grace=20)
    async def act(ctx: ToolContext[None]) -> str:
        """Act."""
        ctx.report("nearly")
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            return "whole"  # noqa: B012 - it has finished

    world.script(call("act"), "Done.")
    async with world.open(tools=[act]) as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "Go")
            await begun.wait()
            await chat.interrupt()
        assert chat.turn is not None
        (made,) = chat.turn.calls
        assert (made.closing, "whole" in told(made)) == (Closing.RESULT, True)


async def test_a_call_that_is_over_reports_nothing_more(world: World) -> None:
    kept: list[ToolContext[None]] = []

    @tool
    async def act(ctx: ToolContext[None]) -> str:
        """Act."""
        kept.append(ctx)
        return "done"

    world.script(call("act"), "Done.")
    async with world.open(tools=[act]) as chat:
        seen: list[Progressed] = []
        async for event in chat.stream("Go"):
            if has_call(event, CallState.CLOSED):
                kept[0].report("too late")
            if isinstance(event, Progressed):
                seen.append(event)
    assert seen == []


def test_reports_are_bounded_in_size_number_and_rate() -> None:
    now, published = [0.0], list[str]()
    progress = CallProgress(published.append, lambda: now[0])
    for index in range(1_000):
        progress.add(f"{index} " + "x" * 5_000)
    assert len(published) == 20
    assert max(map(len, published)) == 1_000
    now[0] += 0.5
    for _ in range(100):
        progress.add("more")
    assert len(published) == 25
    assert "(the last 10 of 1100 reports)" in progress.told
    assert len(progress.told) < 11_000
    progress.add("  \n")
    assert progress.told.endswith("more"), "blank text is ignored"


async def test_only_text_can_be_reported_and_halves_of_characters_are_mended() -> None:
    published: list[str] = []
    progress = CallProgress(published.append)
    progress.add("a\ud800b")
    assert published == ["a\ufffdb"]

    @tool
    async def act(ctx: ToolContext[None]) -> str:
        """Act."""
        ctx.report(5)  # type: ignore[arg-type] # a mistake
        return ""

    ending = await run_tool(act, ToolUse("toolu_1", "act", {}), "k")
    assert b"report() takes text, not int" in ending.result


async def test_after_a_crash_the_result_says_that_reports_were_not_recorded(
    world: World,
) -> None:
    """The world ends while the call runs: what is left is the record."""
    found: list[Snapshot] = []

    @tool
    async def act(ctx: ToolContext[None]) -> str:
        """Act."""
        ctx.report("copied 2 of 3")
        found.append(chat.snapshot)
        return "done"

    world.script(call("act"), "Done.")
    chat = world.open(tools=[act])
    async with chat:
        await chat.send("Go")
    facts = {act.name: facts_of(act)}
    _, closed = lost_calls(found[0], facts)
    assert isinstance(closed, ev.CallClosed)
    assert b"Its reports until then were not recorded." in closed.result
    assert b"copied 2 of 3" not in closed.result

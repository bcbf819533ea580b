"""Tools of real MCP servers: their results are told truthfully, their deaths too."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client.client import Client
from tests.harness.mcp_server import PNG
from tests.harness.world import World

from turnlatch import (
    CallReport,
    Closing,
    McpServerError,
    Progressed,
    SettingsError,
    TurnState,
    tool,
)
from turnlatch.mcp import McpTools, mcp_tools
from turnlatch.simulator import call
from turnlatch_states.machine.connection import CONNECTION, ConnectionState

pytestmark = [
    pytest.mark.anyio,
    # The official client leaves streams to the collector when a server is killed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The official client's HTTP transport is run on asyncio."""
    return str(request.param)


def stdio(folder: Path, tools: str = "plain") -> StdioServerParameters:
    (folder / "tools").write_text(tools)
    args = ["-m", "tests.harness.mcp_server", "stdio", str(folder)]
    return StdioServerParameters(command=sys.executable, args=args, cwd=ROOT)


def ledger(folder: Path) -> list[str]:
    path = folder / "ledger"
    return path.read_text().splitlines() if path.exists() else []


def kill(folder: Path) -> None:
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)


def told(made: CallReport) -> str:
    """The text of a call's result."""
    return json.dumps(json.loads(made.result or b"{}").get("content"))


@asynccontextmanager
async def served(folder: Path) -> AsyncGenerator[tuple[str, Any]]:
    """A server over HTTP, and a function that starts it again."""
    (folder / "tools").write_text("plain")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    running: list[subprocess.Popen[bytes]] = []

    async def start() -> None:
        for one in running:  # a killed one may still listen for a moment
            one.wait()
        args = ["-m", "tests.harness.mcp_server", "http", str(folder), str(port)]
        command = [sys.executable, *args]
        running.append(subprocess.Popen(command, cwd=ROOT))  # noqa: ASYNC220 - it outlives this
        with anyio.fail_after(60):
            while True:
                try:
                    stream = await anyio.connect_tcp("127.0.0.1", port)
                except OSError:
                    await anyio.sleep(0.05)
                    continue
                return await stream.aclose()

    await start()
    try:
        yield f"http://127.0.0.1:{port}/mcp", start
    finally:
        for one in running:
            one.kill()
            one.wait()


async def test_tools_of_a_stdio_server_are_called(world: World, tmp_path: Path) -> None:
    world.script(call("echo", text="hi"), call("act", text="x"), "Done.")
    async with mcp_tools(stdio(tmp_path)) as tools:
        async with world.open(tools=[tools]) as chat:
            turn = await chat.send("Go")
        effects = {one.name: one.effect for one in tools.offered}
    assert tools.state is ConnectionState.CLOSED
    assert (turn.text, ledger(tmp_path)) == ("Done.", ["echo hi", "act x"])
    assert [one.closing for one in turn.calls] == [Closing.RESULT] * 2
    assert "echo: hi" in told(turn.calls[0])
    # A hint of the server says that it only reads; all else is never repeated.
    assert effects.pop("echo") == "safe"
    assert set(effects.values()) == {"once"}


async def test_a_server_over_http_is_called_and_found_again_after_its_death(
    world: World, tmp_path: Path
) -> None:
    world.script(call("act", text="1"), "Done.", call("act", text="2"), "Again.")
    async with (
        served(tmp_path) as (url, start),
        mcp_tools(url) as tools,
        world.open(tools=[tools]) as chat,
    ):
        assert (await chat.send("Go")).calls[0].closing is Closing.RESULT
        kill(tmp_path)
        await start()
        turn = await chat.send("Go")
    assert (turn.text, turn.calls[0].closing) == ("Again.", Closing.RESULT)
    assert ledger(tmp_path) == ["act 1", "act 2"]


async def test_each_kind_of_content_is_passed_on_or_named(
    world: World, tmp_path: Path
) -> None:
    world.script(call("show", text=""), "Done.")
    async with mcp_tools(stdio(tmp_path)) as tools, world.open(tools=[tools]) as chat:
        turn = await chat.send("Go")
    (made,) = turn.calls
    content = json.loads(made.result)["content"]
    assert made.closing is Closing.RESULT
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    assert content[1] == {"type": "image", "source": source}
    texts = [one["text"] for one in content if one["type"] == "text"]
    assert texts == [
        "seen",
        f"[Left out: image, image/tiff, {len(PNG) * 3 // 4} bytes]",
        "[Left out: audio, audio/wav, 3 bytes]",
        "[Resource note://a, text/plain]",
        "A",
        "[Left out: resource zip://a, a/zip, 3 bytes]",
        "[A link to a resource, not read: note://b, text/plain]",
        '{"rows": [1, 2]}',
    ]


async def test_an_error_of_the_server_is_an_error_with_its_words(
    world: World, tmp_path: Path
) -> None:
    world.script(call("fail", text=""), "Done.")
    async with mcp_tools(stdio(tmp_path)) as tools, world.open(tools=[tools]) as chat:
        (made,) = (await chat.send("Go")).calls
    block = json.loads(made.result)
    assert (made.closing, block["is_error"]) == (Closing.ERROR, True)
    assert block["content"][0] == {"type": "text", "text": "no such file"}
    assert "image/png" in block["content"][1]["text"]


async def test_a_call_in_flight_when_the_server_dies_is_unknown_and_life_goes_on(
    world: World, tmp_path: Path
) -> None:
    world.script(call("hang", text="x"), "I see.", call("act", text="y"), "Done.")
    async with mcp_tools(stdio(tmp_path)) as tools, world.open(tools=[tools]) as chat:
        async for event in chat.stream("Go"):
            if isinstance(event, Progressed):
                assert event.text == "1 of 3 copied"
                kill(tmp_path)
        assert chat.turn is not None
        (lost,) = chat.turn.calls
        assert (lost.closing, chat.turn.text) == (Closing.UNKNOWN, "I see.")
        assert "outcome unknown" in told(lost)
        assert "- 1 of 3 copied" in told(lost)
        turn = await chat.send("Go on")
    assert (turn.text, turn.calls[0].closing) == ("Done.", Closing.RESULT)
    assert ledger(tmp_path) == ["hang x", "reported", "act y"], "nothing ran twice"


async def test_a_call_that_was_not_sent_is_not_executed(
    world: World, tmp_path: Path
) -> None:
    world.script(call("act", text="x"), "I see.")
    async with served(tmp_path) as (url, _), mcp_tools(url) as tools:
        async with world.open(tools=[tools]) as chat:
            kill(tmp_path)
            turn = await chat.send("Go")
        assert tools.state is ConnectionState.LOST
    (made,) = turn.calls
    assert (made.closing, turn.text) == (Closing.ERROR, "I see.")
    assert "Not executed: " in told(made)
    assert ledger(tmp_path) == []


async def test_an_interrupted_call_is_unknown(world: World, tmp_path: Path) -> None:
    world.script(call("hang", text="x"))
    async with mcp_tools(stdio(tmp_path)) as tools, world.open(tools=[tools]) as chat:
        async for event in chat.stream("Go"):
            if isinstance(event, Progressed):
                await chat.interrupt()
        assert chat.turn is not None
        assert chat.turn.state is TurnState.FAILED
        assert "- 1 of 3 copied" in told(chat.turn.calls[0])


async def test_changed_tools_are_offered_from_the_next_request_on(
    world: World, tmp_path: Path
) -> None:
    world.script(call("change", text=""), call("echo", text="a"), "Done.", "Later.")
    async with mcp_tools(stdio(tmp_path)) as tools, world.open(tools=[tools]) as chat:
        before = tools.version
        await chat.send("Go")
        with anyio.fail_after(60):
            while tools.version == before:  # noqa: ASYNC110 - a process tells it
                await anyio.sleep(0.01)
        await chat.send("Go")
        assert [one.name for one in tools.offered] == ["echo", "fresh"]
    first, last = world.bodies[0]["tools"], world.bodies[-1]["tools"]
    assert len(first) == 7
    assert [one["name"] for one in last] == ["echo", "fresh"]


async def test_effects_can_be_given_instead_of_the_hints(
    world: World, tmp_path: Path
) -> None:
    world.script(call("echo", text="x"))
    effects: Any = {"echo": "ask", "act": "safe"}
    async with mcp_tools(stdio(tmp_path), effects=effects) as tools:
        async with world.open(tools=[tools]) as chat:
            turn = await chat.send("Go")
        found = {one.name: one.effect for one in tools.offered}
    assert [one.name for one in turn.awaiting] == ["echo"]
    assert (found["echo"], found["act"], ledger(tmp_path)) == ("ask", "safe", [])


async def test_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not an effect"):
        mcp_tools("http://127.0.0.1:1/", effects={"a": "never"})  # type: ignore[dict-item] # a mistake
    with pytest.raises(SettingsError, match="no tool 'nothing'"):
        async with mcp_tools(stdio(tmp_path), effects={"nothing": "ask"}):
            pass
    with pytest.raises(SettingsError, match="has to be closed"):
        await mcp_tools(stdio(tmp_path))


@pytest.mark.parametrize("where", ["no server", "no program"])
async def test_a_server_that_cannot_be_reached_is_a_typed_error(where: str) -> None:
    server: Any = "http://127.0.0.1:1/mcp"
    if where == "no program":
        server = StdioServerParameters(command="/no/such/program")
    with pytest.raises(McpServerError, match="does not answer"):
        async with mcp_tools(server):
            pass


async def test_hostile_tools_are_left_out_with_a_reason(
    world: World, tmp_path: Path
) -> None:
    world.script("Hello.")
    async with mcp_tools(stdio(tmp_path, "hostile")) as tools:
        async with world.open(tools=[tools]) as chat:
            turn = await chat.send("Go")
        offered = {one.name: one.definition["description"] for one in tools.offered}
        left = dict(tools.left_out)
    assert turn.text == "Hello."
    assert set(offered) == {"echo", "big", "controls"}
    assert len(offered["big"]) <= 8_192
    assert offered["controls"] == "a [31mb c"
    assert left["echo"] == "the server lists two tools of this name"
    assert {"no such name!", "n" * 128, "", "bomb", "remote", "huge"} <= set(left)


async def test_too_many_tools_are_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(McpServerError, match="more than 256 tools"):
        async with mcp_tools(stdio(tmp_path, "many")):
            pass


async def test_a_tool_of_the_same_name_is_refused_when_it_is_given(
    world: World, tmp_path: Path
) -> None:
    @tool
    def echo(text: str) -> str:
        """Echo."""
        return text

    async with mcp_tools(stdio(tmp_path)) as tools:
        with pytest.raises(SettingsError, match="two tools are named 'echo'"):
            world.open(tools=[echo, tools])


async def test_a_session_of_the_caller_is_used_as_it_is(
    world: World, tmp_path: Path
) -> None:
    world.script(call("echo", text="hi"), "Done.", "Later.")
    async with Client(stdio(tmp_path), mode="legacy") as client:
        tools = await mcp_tools(client.session)
        async with world.open(tools=[tools]) as chat:
            turn = await chat.send("Go")
            (tmp_path / "tools").write_text("changed")
            await tools.refresh()
            await chat.send("Go")
    assert "echo: hi" in told(turn.calls[0])
    assert [one["name"] for one in world.bodies[-1]["tools"]] == ["echo", "fresh"]


async def test_a_lost_session_that_answers_again_is_ready_after_a_refresh(
    world: World, tmp_path: Path
) -> None:
    world.script(call("echo", text="hi"), "Not yet.", call("echo", text="hi"), "Done.")
    async with Client(stdio(tmp_path), mode="legacy") as client:
        tools = await mcp_tools(client.session)
        tools._lose()  # pyright: ignore[reportPrivateUsage] # as after a lost call
        async with world.open(tools=[tools]) as chat:
            lost = await chat.send("Go")
            await tools.refresh()
            found = await chat.send("Go")
    assert "Not executed" in told(lost.calls[0])
    assert "echo: hi" in told(found.calls[0])


async def test_a_closed_connection_is_not_refreshed(tmp_path: Path) -> None:
    async with mcp_tools(stdio(tmp_path)) as tools:
        pass
    with pytest.raises(McpServerError, match="the connection is closed"):
        await tools.refresh()


async def test_the_states_of_a_connection_are_rows_of_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fired: list[str] = []
    before = McpTools._fire  # pyright: ignore[reportPrivateUsage]

    def fire(self: McpTools, trigger: str) -> None:
        source = self.state
        before(self, trigger)
        fired.append(f"{source} {trigger} {self.state}")

    monkeypatch.setattr(McpTools, "_fire", fire)
    async with mcp_tools(stdio(tmp_path)) as tools:
        await tools.refresh()
    rows = {
        f"{row.source} {row.trigger} {row.target}" for row in CONNECTION.transitions
    }
    assert fired == [
        "new connect connecting",
        "connecting list ready",
        "ready list ready",
        "ready close closed",
    ]
    assert set(fired) <= rows


def test_importing_turnlatch_does_not_load_mcp() -> None:
    asked = (
        "import turnlatch, sys; print([n for n in sys.modules if n.startswith('mcp')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "[]"

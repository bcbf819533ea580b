"""The sync twin has the same names and does the same."""

import importlib.util
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

import pytest
from tests.harness.published import has_call, texts
from tests.harness.world import World

from turnlatch import (
    CallState,
    ConversationClosedError,
    Cursor,
    IllegalEventError,
    NotNowError,
    SettingsError,
    TurnEnded,
    TurnState,
    sync,
)
from turnlatch import Conversation as AsyncConversation
from turnlatch.simulator import call


class Script(Protocol):
    """What `engine/sync_twin.py` offers."""

    FOLDER: Path
    CLASSES: Mapping[str, tuple[str, ...]]

    def twin(self, folder: Path = ...) -> str: ...


def script() -> Script:
    path = Path(sync.__file__).parents[1] / "sync_twin.py"
    spec = importlib.util.spec_from_file_location("sync_twin", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast("Script", module)  # a module is whatever its file defines


def opened(world: World, name: str = "a") -> sync.Conversation:
    return sync.Conversation(world.open(name))


def test_twin_has_the_same_names() -> None:
    def names(cls: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(cls) if not name.startswith("_")}

    assert names(sync.Conversation) == names(AsyncConversation)
    assert names(sync.TurnStream) == {"turn"}


def test_the_committed_file_is_what_the_script_writes() -> None:
    """If this fails: run `make sync` and commit the result."""
    committed = Path(sync.__file__).read_text("utf-8")

    assert committed == script().twin()


@pytest.mark.parametrize(
    ("module", "written", "changed", "delegates"),
    [
        (
            "approving.py",
            "    async def steer(",
            '    async def hurry(self, *, by: int) -> int:\n        """Hurry."""\n        '
            "return 1\n\n    async def steer(",
            "self._run(lambda: self._inner.hurry(by=by))",
        ),
        (
            "conversation_view.py",
            "    @property\n    def state(",
            '    @property\n    def mood(self) -> str:\n        """Mood."""\n        '
            'return ""\n\n    @property\n    def state(',
            "return self._inner.mood",
        ),
        (
            "conversation.py",
            "        idle_timeout: float = 90.0,",
            "        idle_timeout: float = 91.0,",
            "idle_timeout: float = 91.0,",
        ),
        (
            "watching/stream.py",
            "    async def turn(self)",
            "    async def turn(self, soon: bool = False)",
            "self._run(lambda: self._inner.turn(soon))",
        ),
        ("configuring.py", "Keep a text", "Keep the text", "Keep the text"),
    ],
)
def test_change_of_the_async_classes_changes_the_twin(
    tmp_path: Path, module: str, written: str, changed: str, delegates: str
) -> None:
    """The planted differences: a committed file without them is not what is written."""
    writer = script()
    for path in {path for paths in writer.CLASSES.values() for path in paths}:
        copied = tmp_path / path
        copied.parent.mkdir(exist_ok=True)
        text = (writer.FOLDER / path).read_text("utf-8")
        if path == module:
            text = text.replace(written, changed, 1)
        copied.write_text(text, "utf-8")

    assert delegates in writer.twin(tmp_path)
    assert delegates not in writer.twin()


def test_twin_converses_streams_forks_rewinds_and_resumes(world: World) -> None:
    world.script(call("look", path="a"), "One.", "Two, in pieces.", "Fork.", "Three.")
    with opened(world) as chat:
        assert chat.send("1").text == "One."
        stream = chat.stream("2")
        seen = list(stream)
        assert isinstance(seen[-1], TurnEnded)
        assert texts(seen)
        assert stream.turn().text == "Two, in pieces."
        with chat.fork("b") as other:
            assert other.send("f").text == "Fork."
        chat.rewind()
        assert len(chat.history) == 2
        assert chat.check() == ()
        assert chat.state is TurnState.CONFIRMED
    with opened(world) as chat:
        assert len(chat.history) == 2
        assert chat.send("3").text == "Three."
    with pytest.raises(ConversationClosedError):
        chat.send("4")


def test_entering_an_open_conversation_again_leaves_it_open(world: World) -> None:
    chat = opened(world)
    with pytest.raises(ConversationClosedError, match="never entered"):
        chat.send("0")
    with chat:
        with pytest.raises(NotNowError, match="already open"):
            chat.__enter__()
        assert chat.send("1").state is TurnState.CONFIRMED


def test_another_thread_can_interrupt(world: World) -> None:
    world.script(call("hang", what="a"), "Two.")
    with opened(world) as chat:
        cursor = chat.cursor

        def stop() -> None:
            for event in chat.watch(cursor):
                if has_call(event, CallState.STARTED):
                    chat.interrupt()
                    return

        thread = threading.Thread(target=stop)
        thread.start()
        turn = chat.send("Go")
        thread.join()

        assert turn.state is TurnState.FAILED
        assert chat.send("Next").text == "Two."


CTRL_C = '''
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast
from turnlatch import tool
from turnlatch.simulator import Scripted, Simulator, call
from turnlatch.simulator.transport import simulated_client
from turnlatch.sync import Conversation
import anyio

@tool
async def hang() -> str:
    """Hang."""
    print("hanging", flush=True)
    await anyio.sleep_forever()
    return ""

client = simulated_client(Simulator(Scripted([call("hang"), "Two."])))
with Conversation.open("a", store=Path(sys.argv[1]), client=client, tools=[hang]) as chat:
    try:
        chat.send("Go")
    except KeyboardInterrupt:
        print("stopped", chat.state.value, flush=True)
    print(chat.send("Next").text, flush=True)
'''


def test_ctrl_c_stops_the_turn_and_the_conversation_goes_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, str(tmp_path / "chat.db")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "hanging\n"
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout.read() == "stopped failed\nTwo.\n"
    assert process.returncode == 0


def test_every_method_reaches_the_engine(world: World) -> None:
    world.script(call("ask", what="a"), "Yes.", call("ask", what="b"), "No.", "Last.")
    with opened(world) as chat:
        assert chat.turn is None
        assert chat.unsaved == 0
        waiting = chat.send("1")
        assert chat.approve(waiting.awaiting[0].id).text == "Yes."
        waiting = chat.send("2")
        assert chat.deny(waiting.awaiting[0].id, "no").text == "No."
        assert chat.compact().state is TurnState.CONFIRMED
        assert chat.snapshot.base is not None
        assert chat.usage == chat.snapshot.usage
        assert chat.messages[0]["role"] == "user"
        assert chat.profile.model
        assert chat.live
        assert chat.endpoint
        assert "compacting" in chat.diagram()
        assert not chat.interrupt()
        with chat.stream("3") as stream:
            assert stream.turn().text == "Last."
        past = chat.watch(Cursor())
        assert next(past).cursor <= chat.cursor
        with pytest.raises(IllegalEventError):
            chat.retry()
        with pytest.raises(IllegalEventError):
            chat.abandon()


def test_an_error_of_the_engine_is_raised_as_it_is(world: World) -> None:
    with opened(world) as chat, pytest.raises(SettingsError):
        chat.send(7)  # type: ignore[call-overload] # the point

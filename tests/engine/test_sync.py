"""The sync twin has the same names and does the same."""

import inspect
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.engine.lab import Lab, lab

from turnlatch import Conversation as AsyncConversation
from turnlatch import (
    ConversationClosedError,
    Cursor,
    IllegalEventError,
    SettingsError,
    TextArrived,
    TurnEnded,
    TurnState,
    sync,
)
from turnlatch.simulator import call

__all__ = ["lab"]


def opened(lab: Lab, name: str = "a") -> sync.Conversation:
    return sync.Conversation(lab.open(name))


def test_it_has_the_same_names() -> None:
    def names(cls: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(cls) if not name.startswith("_")}

    assert names(sync.Conversation) == names(AsyncConversation)
    assert names(sync.TurnStream) == {"turn"}


def test_it_converses_streams_forks_rewinds_and_resumes(lab: Lab) -> None:
    lab.script(call("look", path="a"), "One.", "Two, in pieces.", "Fork.", "Three.")
    with opened(lab) as chat:
        assert chat.send("1").text == "One."
        stream = chat.stream("2")
        seen = list(stream)
        assert isinstance(seen[-1], TurnEnded)
        assert any(isinstance(h, TextArrived) for h in seen)
        assert stream.turn().text == "Two, in pieces."
        with chat.fork("b") as other:
            assert other.send("f").text == "Fork."
        chat.rewind()
        assert len(chat.history) == 2
        assert chat.check() == ()
        assert chat.state is TurnState.CONFIRMED
    with opened(lab) as chat:
        assert len(chat.history) == 2
        assert chat.send("3").text == "Three."
    with pytest.raises(ConversationClosedError):
        chat.send("4")


def test_entering_an_open_conversation_again_leaves_it_open(lab: Lab) -> None:
    chat = opened(lab)
    with pytest.raises(ConversationClosedError, match="not entered"):
        chat.send("0")
    with chat:
        with pytest.raises(IllegalEventError, match=r"conversation open.*'enter'"):
            chat.__enter__()
        assert chat.send("1").state is TurnState.CONFIRMED


def test_another_thread_can_interrupt(lab: Lab) -> None:
    lab.script(call("hang", what="a"), "Two.")
    with opened(lab) as chat:
        cursor = chat.cursor

        def stop() -> None:
            for happening in chat.watch(cursor):
                if getattr(happening, "state", None) == "started":
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
from pathlib import Path
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


def test_every_method_reaches_the_engine(lab: Lab) -> None:
    lab.script(call("ask", what="a"), "Yes.", call("ask", what="b"), "No.", "Last.")
    with opened(lab) as chat:
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


def test_an_error_of_the_engine_is_raised_as_it_is(lab: Lab) -> None:
    with opened(lab) as chat, pytest.raises(SettingsError):
        chat.send(7)  # type: ignore[arg-type] # the point

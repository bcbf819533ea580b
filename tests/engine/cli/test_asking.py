"""A person is asked about a call: what is shown, until when it counts, and what holds."""

import json
import time
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import warm
from tests.engine.cli.test_chat import PROMPT, Chat

from turnlatch import CallState, Closing, Conversation, Tool, tool
from turnlatch.cli.page import wrapped
from turnlatch.cli.terminal import Look
from turnlatch.cli.transcript import Transcript, shown_arguments
from turnlatch.result import CallReport
from turnlatch.simulator import Scripted, Simulator, call
from turnlatch.simulator.transport import simulated_client
from turnlatch.watching.events import Cursor, Recorded
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.machine.events import CallLost
from turnlatch_states.machine.snapshot import Call

FILE = "a.txt"

DYING = """
import os, sys
from turnlatch import tool
from turnlatch.simulator import Scripted, Simulator, call
from turnlatch.simulator.transport import simulated_client
from turnlatch.sync import Conversation

@tool
def pay() -> str:
    "Pay."
    os._exit(7)

client = simulated_client(Simulator(Scripted([call("pay")])))
with Conversation.open("notes", store=sys.argv[1], client=client, tools=[pay]) as chat:
    chat.send("Pay it")
"""
"""A program that ends in the middle of a call."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where `turnlatch chat` keeps its conversations."""
    folder = tmp_path / "turnlatch"
    folder.mkdir(mode=0o700)
    return folder / "chat.db"


def ask_about(store: Path, asking: Tool, *said: str) -> None:
    """Leave a conversation in which a person was asked about one call.

    Args:
        store: Where.
        asking: The tool.
        said: What was said then.
    """

    async def work() -> None:
        answers = Scripted([call(asking.name, path=FILE)])
        client = simulated_client(Simulator(answers))
        async with Conversation.open(
            "notes", store=store, client=client, tools=[asking]
        ) as chat:
            turn = await chat.send("Read it")
            assert len(turn.awaiting) == 1
            for text in said:
                await chat.steer(text)

    anyio.run(work)


def reader(seconds: float | None = None, name: str = "read_file") -> Tool:
    """A tool like the chat's own, with a time to answer and another schema."""

    @tool(effect="ask", approval_timeout=seconds, name=name)
    def read(path: str, lines: int = 1) -> str:
        """Read a text file.

        Args:
            path: Path of the file.
            lines: How many lines.
        """
        return path + str(lines)

    return read


def test_a_question_says_until_when_it_can_be_answered(
    tmp_path: Path, store: Path
) -> None:
    ask_about(store, reader(600, "pay"))
    with Chat(tmp_path, "notes", "--sim") as chat:
        chat.expect('pay {"path": "a.txt"}; answer within ')
        assert chat.expect(" min ") in ("10", "9")  # all of it, or a little less
        chat.expect("run it? [y/n] ")
        chat.type("n\r")
        chat.expect("→ denied")
        chat.expect("✓ confirmed")


def test_input_typed_before_the_question_does_not_answer_it(
    tmp_path: Path, store: Path
) -> None:
    ask_about(store, reader(name="pay"))
    with Chat(tmp_path, "notes", "--sim") as chat:
        chat.type("y\ry\r")  # while the command starts
        chat.expect("run it? [y/n] ")
        chat.type("n\r")
        chat.expect("→ denied")
        chat.expect("✓ confirmed")


@given(st.text(st.sampled_from('a \u00a0\u3000\n\t\\"\x1b'), max_size=30))
def test_question_shows_the_arguments_that_would_run(text: str) -> None:
    given = {"path": text, text: [text, {text: 1}]}
    call = CallReport("toolu_1", "pay", given, CallState.ASKED, None, b"")
    shown = shown_arguments(call)

    assert json.loads(shown) == given
    lines = wrapped(shown, 40)
    assert not any("  " in line.strip() for line in lines)


def test_expired_question_is_reported(tmp_path: Path, store: Path) -> None:
    ask_about(store, reader(1e-6, "pay"))
    with Chat(tmp_path, "notes", "--sim") as chat:
        chat.expect("the time to answer is over: pay is denied and did not run")
        chat.expect("→ denied")
        chat.expect("✓ confirmed")
        chat.expect(PROMPT)
        assert "run it?" not in chat.text


def test_a_yes_that_comes_too_late_runs_nothing(tmp_path: Path, store: Path) -> None:
    (tmp_path / FILE).write_text("alpha")
    began = time.time()
    ask_about(store, reader(12))
    with Chat(tmp_path, "notes", "--sim", "--files", str(tmp_path)) as chat:
        chat.expect("; answer within ")
        chat.expect("run it? [y/n] ")
        chat.expect("the time is over")
        assert time.time() >= began + 12
        chat.type("y\r")
        chat.expect("the time to answer is over: read_file is denied and did not run")
        chat.expect("✓ confirmed")
        assert "alpha" not in chat.text


def test_changed_call_is_asked_about_again(tmp_path: Path, store: Path) -> None:
    (tmp_path / FILE).write_text("alpha")
    ask_about(store, reader())
    args = ("--sim", "--files", str(tmp_path), "--ask")
    with Chat(tmp_path, "notes", *args) as chat:
        chat.expect('read_file {"path": "a.txt"}')
        chat.expect("run it? [y/n] ")
        chat.type("y\r")
        chat.expect("the call has changed since it was shown")
        chat.expect("look at it again, then /approve or /deny")
        chat.expect('read_file {"path": "a.txt"}')
        chat.expect("run it? [y/n] ")
        assert "alpha" not in chat.text
        chat.type("y\r")
        chat.expect("→ result: alpha")
        chat.expect("✓ confirmed")


def test_the_transcript_says_that_a_call_waits(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("alpha")
    args = ("--files", str(tmp_path), "--ask", "--seed", "3")
    with Chat(tmp_path, "notes", *args) as chat:
        chat.say("read a.txt please")
        chat.expect("? read_file waits for you")
        chat.expect("run it? [y/n] ")


def test_line_typed_before_the_answer_is_sent_with_it(
    tmp_path: Path, store: Path
) -> None:
    ask_about(store, reader(name="pay"), "mind the gap")
    with Chat(tmp_path, "notes", "--sim") as chat:
        chat.expect("run it? [y/n] ")
        assert "not heard yet" not in chat.text
        chat.type("n\r")
        chat.expect("→ denied")
        chat.expect("✓ confirmed")
        chat.say("/history")
        chat.expect("you    > mind the gap")


def test_call_without_recorded_end_is_reported_as_unknown(
    tmp_path: Path, store: Path
) -> None:
    done = warm.run(["-c", DYING, str(store)], timeout=120)
    assert done.returncode == 7
    with Chat(tmp_path, "notes", "--sim") as chat:
        chat.expect("the end of pay was not seen; turn 1 is not done: /retry goes on")
        chat.say("/retry")
        chat.expect("claude")
        chat.expect("✓ confirmed")
        chat.expect(PROMPT)
        assert "pay → result" not in chat.text


def test_call_with_an_unknown_end_is_printed_and_stands_out() -> None:
    transcript = Transcript(Look(colour=True), lambda: 80, lambda _: [])

    def moved(state: CallState, closing: Closing | None = None) -> str:
        call = Call(ToolUse("toolu_1", "pay", {}), state, closing)
        event = CallLost(1, "toolu_1")
        return transcript.tell(Recorded(Cursor(), 1, event, calls=(call,)), 0.0)

    assert "outcome unknown, asking the tool" in moved(CallState.UNKNOWN)
    unknown = moved(CallState.CLOSED, Closing.UNKNOWN)
    assert Look(colour=True).ink("│ pay → outcome unknown", "yellow") in unknown
    assert Look(colour=True).ink("│ pay → denied", "dim") in moved(
        CallState.CLOSED, Closing.DENIED
    )

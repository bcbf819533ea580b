"""`turnlatch chat`, as a person meets it: a real process on a real pseudo-terminal.

Nothing here sleeps: what is expected is read until it is there, with a deadline.
"""

import json
import os
import pty
import re
import select
import signal
import sqlite3
import stat
import subprocess
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import click
import pytest
from click.testing import CliRunner
from tests import warm

from turnlatch.cli import main
from turnlatch.cli.chat import default_store
from turnlatch.cli.files import file_tools
from turnlatch.errors import SettingsError
from turnlatch.journal import SQLiteStore
from turnlatch.simulator import Scripted, Simulator, call
from turnlatch.simulator.server import run_in_thread
from turnlatch_states.machine.events import TurnOpened

SECONDS_MAX = 60.0
"""Longest wait for anything; a busy machine takes seconds to import the SDK."""

CSI = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[78D])")
PROMPT = "you > "


def environment(home: Path, **more: str) -> dict[str, str]:
    """An environment without a key, without a config and with a state folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ANTHROPIC_")}
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "TURNLATCH_HOME", "XDG_STATE_HOME"):
        kept.pop(name, None)
    # A process that imports `readline` leaves them behind, for a window of its own.
    for name in ("COLUMNS", "LINES"):
        kept.pop(name, None)
    return {
        **kept,
        "HOME": str(home),
        "TURNLATCH_HOME": str(home / "turnlatch"),
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
        **more,
    }


class Chat:
    """A chat, or another command, on a pseudo-terminal.

    Args:
        home: Home and state folder.
        args: Arguments of the command.
        environ: More environment.
        rows: Height of the window.
        columns: Its width.
        command: The command.
    """

    def __init__(
        self,
        home: Path,
        *args: str,
        environ: Mapping[str, str] | None = None,
        rows: int = 30,
        columns: int = 100,
        command: str = "chat",
    ) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (rows, columns))
        self.process = warm.start(
            ["-m", "turnlatch", command, *args],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(home, **(environ or {})),
            terminal=True,
        )
        os.close(slave)
        self._raw = b""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    @property
    def raw(self) -> str:
        """Everything that was written, control sequences included."""
        return self._raw.decode(errors="replace")

    @property
    def text(self) -> str:
        """Everything that was written, without control sequences."""
        return CSI.sub("", self.raw)

    def expect(self, wanted: str) -> str:
        """Read until a text appears after the last one; what came before it."""
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            found = self.text.find(wanted, self._seen)
            if found >= 0:
                before = self.text[self._seen : found]
                self._seen = found + len(wanted)
                return before
            if not self._read(deadline - time.monotonic()):
                pytest.fail(f"{wanted!r} did not appear after: {self.text[-1500:]}")

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.master, keys.encode())

    def say(self, line: str) -> None:
        """Wait for the prompt, and type a line."""
        self.expect(PROMPT)
        self.type(line + "\r")
        self.expect(line)

    def left(self) -> int:
        """Read until the chat has left; its exit code."""
        deadline = time.monotonic() + SECONDS_MAX
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0.0, seconds))
        if not ready:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the other end is closed
            return False
        self._raw += data
        return bool(data)


def batch(
    home: Path, text: str | bytes, *args: str
) -> subprocess.CompletedProcess[bytes]:
    """A chat whose lines come from a pipe."""
    return warm.run(
        ["-m", "turnlatch", "chat", *args],
        input=text.encode() if isinstance(text, str) else text,
        env=environment(home),
        timeout=SECONDS_MAX * 2,
    )


def test_a_message_is_answered_and_confirmed(tmp_path: Path) -> None:
    with Chat(tmp_path, "notes") as chat:
        chat.expect("SIM")
        chat.say("hello there")

        chat.expect("claude")
        chat.expect("✓ confirmed")
        chat.expect("turn 1")

        chat.expect(PROMPT)
        chat.type("\x04")
        assert chat.left() == 0
        assert "turnlatch chat notes" in chat.text


def test_ctrl_c_stops_a_stalled_reply_and_the_next_message_is_confirmed(
    tmp_path: Path,
) -> None:
    with Chat(tmp_path, "--faults", "cut 8 stall @1") as chat:
        chat.say("tell me about turnlatchs")
        chat.expect("streaming")

        chat.type("\x03")

        chat.expect("(partial answer, not in history)")
        chat.expect("interrupted.  kept: your message")
        chat.expect("✕ failed")
        chat.say("once more")
        chat.expect("✓ confirmed")
        chat.say("/state")
        chat.expect("1 confirmed exchange")


def test_ctrl_c_stops_a_wait_for_a_retry(tmp_path: Path) -> None:
    with Chat(tmp_path, "--faults", "529 retry-after=30") as chat:
        chat.say("hello there")
        chat.expect("529 overloaded · retry 2/8 in ")
        chat.expect("in 2")  # it counts down, however late the screen is painted

        chat.type("\x03")

        chat.expect("interrupted.  kept: your message")
        chat.say("/retry")
        chat.expect("✓ confirmed")


def test_retries_are_shown_while_they_happen_and_become_one_line(
    tmp_path: Path,
) -> None:
    with Chat(tmp_path, "--faults", "529 times 2") as chat:
        chat.say("hello there")

        chat.expect("✕ failed → ○ pending  529 overloaded · retry 2/8 in 1 s")
        chat.expect("retry 3/8")
        chat.expect("↻ retried 2x (529 overloaded), waited 1.")
        chat.expect("✓ confirmed")
        chat.expect(PROMPT)
        assert "Traceback" not in chat.text


def test_ctrl_c_twice_at_the_prompt_leaves(tmp_path: Path) -> None:
    with Chat(tmp_path) as chat:
        chat.expect(PROMPT)
        chat.type("\x03")
        chat.expect("Ctrl-C again within 2 s leaves")
        chat.expect(PROMPT)
        chat.type("\x03")

        assert chat.left() == 130


def test_ctrl_c_on_a_typed_line_only_drops_the_line(tmp_path: Path) -> None:
    with Chat(tmp_path) as chat:
        chat.expect(PROMPT)
        chat.type("half a line")
        chat.expect("half a line")
        chat.type("\x03")

        assert "again" not in chat.expect(PROMPT)
        chat.type("\x04")
        assert chat.left() == 0


def test_the_window_is_given_back(tmp_path: Path) -> None:
    with Chat(tmp_path) as chat:
        chat.expect(PROMPT)
        assert "\x1b[1;27r" in chat.raw
        chat.type("\x04")

        assert chat.left() == 0
        assert chat.raw.rindex("\x1b[r") > chat.raw.rindex("\x1b[1;27r")
        assert chat.raw.endswith("\x1b[J\x1b[?25h")


def test_sigterm_closes_everything_first(tmp_path: Path) -> None:
    with Chat(tmp_path, "notes", "--faults", "stall @2") as chat:
        chat.say("hello there")
        chat.expect("✓ confirmed")
        chat.say("and now")
        chat.expect("◐ sent")

        chat.process.send_signal(signal.SIGTERM)

        assert chat.left() == 143
        assert "\x1b[r" in chat.raw
        assert "Traceback" not in chat.text
    with Chat(tmp_path, "notes") as chat:
        chat.expect("2 turns, 1 confirmed exchange")
        chat.expect("turn 2 failed")
        chat.say("/retry")
        chat.expect("✓ confirmed")


def test_a_low_window_and_plain_have_no_footer(tmp_path: Path) -> None:
    with Chat(tmp_path, rows=8) as chat:
        chat.say("hello there")
        chat.expect("claude")
        chat.expect(PROMPT)
        assert "│ turn" not in chat.text
    with Chat(tmp_path, "--plain") as chat:
        chat.say("hello there")
        chat.expect("turn=1 sent->confirmed")
        chat.expect(PROMPT)
        assert chat.text.isascii()
        assert "\x1b[1;" not in chat.raw


def test_external_condition_suspends_the_turn_and_is_printed(
    tmp_path: Path,
) -> None:
    with Chat(tmp_path, "notes", "--faults", "402 @1, 529 retry-after=300 @2") as chat:
        chat.say("hello there")
        chat.expect("✕ turn 1 suspended: 402 billing_error")
        chat.expect("next: restore the credit or raise the limit, then /retry;")
        chat.expect("402 billing · suspended · /retry  /why")

        chat.say("/retry")
        chat.expect(
            "✕ turn 1 suspended: the server asks to wait 300 s (529 overloaded)"
        )
        chat.expect("next: /retry after ")
        chat.expect("suspended for ")
        chat.expect(PROMPT)
        chat.type("\x04")
        assert chat.left() == 0
    with Chat(tmp_path, "notes", "--sim") as chat:
        chat.expect("turn 1 suspended: the server asks to wait 300 s")
        chat.say("/retry")
        chat.expect("✓ confirmed")


def test_tried_remedy_is_printed_and_settings_can_be_changed(
    tmp_path: Path,
) -> None:
    fault = '400 message="diagnostics: Extra inputs are not permitted"'
    with Chat(tmp_path, "--faults", fault) as chat:
        chat.say("hello there")
        chat.expect("· drop field: leave out an optional field")
        chat.expect("✓ confirmed")
        for command, shown in (
            ("/state", "tried     drop field"),
            ("/inject 413", "from the next request on"),
            ("and more", "making a smaller context"),
            ("/explain 529", "1  wait"),
            ("/explain", "The kinds of fault"),
            ("/explain overladed", "near: overloaded_error"),
            ("/configure model claude-opus-5", "next request on: model claude-opus-5"),
            ("/configure max_tokens 9", "next request on: max_tokens 9"),
            ("/configure max_tokens none", "turnlatch: number"),
            (
                "/configure cache sometimes",
                "turnlatch: cache: 'sometimes' is not allowed",
            ),
            ("/configure colour red", "turnlatch: /configure: no setting was given"),
            ("once more", "✓ confirmed"),
        ):
            chat.say(command)
            chat.expect(shown)
        assert "claude-opus-5 │ turn 3" in chat.text
        assert "Traceback" not in chat.text


def test_a_call_is_asked_about_and_each_answer_holds(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "alpha \x1b]0;evil\x07beta").touch()
    args = ("--files", str(folder), "--ask", "--seed", "4")
    with Chat(tmp_path, "notes", *args) as chat:
        chat.say("read a.txt please")
        chat.expect("3 calls await your yes or no")
        chat.expect("run it? [y/n] ")
        chat.type("\x03")
        chat.expect("it still waits: /approve toolu_")
        chat.expect(PROMPT)
        chat.type("\x04")
        assert chat.left() == 0
    with Chat(tmp_path, "notes", *args) as chat:
        # What the simulated model asks for never comes from what was said.
        chat.expect("list_files {}")
        chat.expect("run it? [y/n] ")
        chat.type("y\r")
        for _ in range(2):
            chat.expect("run it? [y/n] ")
            chat.type("n\r")
        chat.expect("→ result: alpha \\x1b]0;evil\\x07beta")
        chat.expect("claude")
        chat.expect("✓ confirmed")
        assert "\x1b]0;" not in chat.raw


def test_every_command_says_something(tmp_path: Path) -> None:
    with Chat(tmp_path, "notes", "--sim") as chat:
        for command, shown in (
            ("/help", "/approve ID"),
            ("/state", "no turn yet"),
            ("/why", "did not fail"),
            ("/history", "nothing is confirmed yet"),
            ("/retry", "turnlatch: nothing to retry: no turn has begun"),
            ("/nonsense", "unknown command /nonsense"),
            ("/inject 5", "turnlatch: fault script"),
            ("/inject 400 times 1", "from the next request on"),
            ("hello there", "✕ turn 1 failed: 400"),
            ("/why", "request    req_"),
            ("/why", "more       /explain invalid"),
            ("/retry", "✓ confirmed"),
            ("/history 1", "you    > hello there"),
            ("/check", "breaks no rule"),
            ("/fork other", "Open it: turnlatch chat"),
            ("/fork other", "turnlatch: "),
            ("/diagram", "confirmed"),
            ("/compact", "the smaller context is in force"),
            ("/undo", "nothing was deleted"),
            ("/undo 99", "turnlatch: "),
            ("/undo x", "turnlatch: number"),
            ("/approve nothing", "turnlatch: nothing to decide: no call"),
            ("/deny nothing at all", "turnlatch: nothing to decide: no call"),
            ("//say it", "claude"),
        ):
            chat.say(command)
            chat.expect(shown)
        chat.say("/quit")
        assert chat.left() == 0
        assert "Traceback" not in chat.text


def test_piped_input_is_one_message_and_never_a_command(tmp_path: Path) -> None:
    """Whoever pipes a file does not know what its lines say."""
    text = "/undo\r\nhello there\n\nand again\r/quit\n"
    done = batch(tmp_path, text, "notes", "--faults", "529")

    assert done.returncode == 0
    assert len(done.stdout.decode().splitlines()) == 1
    assert b"turn=1 sent->failed fail 529 overloaded req_" in done.stderr
    assert b"turn=1 failed retry=2/8" in done.stderr
    assert b"turn=1 sent->confirmed confirm" in done.stderr
    assert b"turn=2" not in done.stderr
    assert b"SIM" in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    store = SQLiteStore(tmp_path / "turnlatch" / "chat.db")
    (opened,) = (
        one.event.content
        for one in store.read("notes")
        if isinstance(one.event, TurnOpened)
    )
    store.close()
    said = "/undo\nhello there\n\nand again\n/quit"
    assert json.loads(opened) == {"type": "text", "text": said}

    empty = batch(tmp_path, " \n", "notes", "--sim")
    assert (empty.returncode, empty.stdout) == (0, b"")
    assert b"nothing to say" in empty.stderr


@pytest.mark.parametrize("terminal", ["xterm-256color", "dumb"])
def test_one_paste_is_one_input(tmp_path: Path, terminal: str) -> None:
    """Between brackets it waits for Enter; without them its lines come in one piece."""
    brackets = terminal != "dumb"
    with Chat(tmp_path, "--sim", environ={"TERM": terminal}) as chat:
        chat.expect(PROMPT)
        if brackets:
            chat.type("\x1b[200~one\rtwo\x1b[201~")
            chat.expect("two")
        chat.type("\r" if brackets else "one\rtwo\rthree")
        chat.expect("claude")
        chat.expect(PROMPT)
        chat.type("/history\r")
        chat.expect("you    > one\r\n         two")
        assert "you    >" not in chat.expect(PROMPT)
        chat.type("/quit\r/undo\r")  # a command is one line
        chat.expect("claude")
        chat.expect(PROMPT)
        chat.type("\x04")
        assert chat.left() == 0


def test_pasted_text_answers_no_question(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("alpha")
    with (
        run_in_thread(Simulator(Scripted([call("read_file", path="a.txt")]))) as server,
        Chat(
            tmp_path,
            "--files",
            str(tmp_path),
            "--ask",
            "--base-url",
            server.base_url,
            environ={"ANTHROPIC_API_KEY": "any"},
        ) as chat,
    ):
        chat.say("read it")
        for paste in ("y\ry\r", "\x1b[200~y\r\x1b[201~\r"):
            chat.expect("run it? [y/n] ")
            chat.type(paste)
            chat.expect("a paste does not answer the question")
        chat.expect("run it? [y/n] ")
        assert "alpha" not in chat.text
        chat.type("y\r")
        chat.expect("alpha")


def test_simulated_answers_are_marked_sim_throughout(tmp_path: Path) -> None:
    with Chat(tmp_path, "notes") as chat:
        chat.expect("SIM: the built-in simulator answers")
        chat.expect("SIM you > ")
        chat.type("hello there\r")
        chat.expect("SIM claude-")  # the footer
        chat.expect("SIM claude\r\n")
        chat.expect("SIM you > ")
        chat.type("/quit\r")
        assert chat.left() == 0

    # A program reads no prompt: what nobody asked to be made up says it itself.
    unasked, asked = batch(tmp_path, "hello\n"), batch(tmp_path, "hello\n", "--sim")
    assert unasked.stdout.startswith(b"SIM: ")
    assert not asked.stdout.startswith(b"SIM")

    listed = warm.run(
        ["-m", "turnlatch", "list"],
        env=environment(tmp_path),
        timeout=SECONDS_MAX * 2,
    )
    lines = listed.stdout.decode().splitlines()[1:]
    assert len(lines) == 3
    assert all(line.split()[1:3] == ["SIM", "1"] for line in lines)


def test_a_key_does_not_make_what_was_made_up_real(tmp_path: Path) -> None:
    assert batch(tmp_path, "hello\n", "notes").returncode == 0
    key = {"ANTHROPIC_API_KEY": "sk-ant-test"}
    with Chat(tmp_path, "notes", environ=key) as chat:
        chat.expect("answers that the simulator invented")
        assert chat.left() == 2

    for wrong in ({"ANTHROPIC_PROFILE": "nobody"}, {"ANTHROPIC_API_KEY": " "}):
        with Chat(tmp_path, environ=wrong) as chat:
            chat.expect("turnlatch: client: the ")
            assert chat.left() == 2  # meant for the API, and no reason to simulate


def test_a_failed_last_turn_is_exit_code_1(tmp_path: Path) -> None:
    done = batch(tmp_path, "hello there\n", "--faults", "400")

    assert (done.returncode, done.stdout) == (1, b"")
    assert b"turn 1 failed: 400 invalid_request_error: " in done.stderr
    assert b"next: read the message; say something" in b" ".join(done.stderr.split())
    assert b"Traceback" not in done.stderr


def test_chat_survives_bytes_that_are_not_text(tmp_path: Path) -> None:
    done = batch(tmp_path, b"hello \xff\xfe there\n")

    assert done.returncode == 0, done.stderr


def test_call_that_cannot_be_approved_exits_with_code_3(tmp_path: Path) -> None:
    args = ("--files", str(tmp_path), "--ask", "--seed", "4")
    done = batch(tmp_path, "read a.txt please\n", *args)

    assert done.returncode == 3
    assert b"awaits approval" in done.stderr


def test_the_last_used_conversation_is_gone_on_with(tmp_path: Path) -> None:
    """Not the newest: that is what somebody looked into once, in between."""
    assert batch(tmp_path, "hello there\n", "notes").returncode == 0
    assert batch(tmp_path, "hello there\n", "newer").returncode == 0
    assert batch(tmp_path, "and again\n", "notes").returncode == 0

    with Chat(tmp_path, "-c") as chat:
        chat.expect("notes: 2 turns, 2 confirmed exchanges")
        chat.say("third")
        chat.expect("✓ confirmed")
        chat.expect("turn 3")


def test_nothing_to_go_on_with_is_a_usage_error(tmp_path: Path) -> None:
    done = batch(tmp_path, "", "-c")

    assert done.returncode == 2
    assert b"no conversation" in done.stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["notes", "-c"], 2),
        (["--faults", "cut", "--store", "STORE"], 2),
        (["--sim", "--base-url", "http://127.0.0.1:1"], 2),
        (["--max-tokens", "0"], 2),
        (["--sim", "--max-tokens", "99999999", "--store", "STORE"], 2),
        (["--store", "/nonexistent/folder/chat.db"], 7),
        (["--store", "TEXT"], 7),
    ],
)
def test_unusable_options_are_reported_in_one_line(
    tmp_path: Path, args: list[str], code: int
) -> None:
    text = tmp_path / "text"
    text.write_text("This is no database, and it is long enough to see that. " * 20)
    places = {"STORE": str(tmp_path / "chat.db"), "TEXT": str(text)}

    result = CliRunner().invoke(main, ["chat", *(places.get(a, a) for a in args)])

    assert result.exit_code == code, result.output
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(("turnlatch: ", "Error: "))
    assert text.read_text().startswith("This is no database")


def test_the_state_folder_is_private(tmp_path: Path) -> None:
    assert batch(tmp_path, "hello there\n").returncode == 0

    folder = tmp_path / "turnlatch"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "chat.db").stat().st_mode) == 0o600
    with sqlite3.connect(folder / "chat.db") as connection:
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
    connection.close()


def test_default_store_has_its_documented_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")

    assert default_store({"TURNLATCH_HOME": "/d"}) == Path("/d/chat.db")
    assert default_store({"XDG_STATE_HOME": "/s"}) == Path("/s/turnlatch/chat.db")
    usual = Path("/home/someone/.local/state/turnlatch/chat.db")
    assert default_store({}) == usual
    assert default_store({"XDG_STATE_HOME": "relative"}) == usual


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder on offer, with a secret beside it."""
    offered = tmp_path / "offered"
    (offered / "inner").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (offered / "a.txt").write_text("alpha")
    (offered / "out").symlink_to(tmp_path / "secret")
    (offered / "up").symlink_to(tmp_path)
    os.mkfifo(offered / "pipe")
    return offered


def test_file_tools_read_what_is_inside(folder: Path) -> None:
    read_file, list_files = file_tools(folder, ask=False)

    assert read_file("a.txt") == "alpha"
    assert list_files() == "a.txt\ninner/\nout\npipe\nup"
    assert list_files("inner") == "[empty]"
    assert (read_file.effect, list_files.effect) == ("safe", "safe")


@pytest.mark.parametrize(
    "path",
    ["../secret", "out", "up/secret", "/etc/passwd", "pipe", "inner", "none", "a\0b"],
)
def test_file_tools_read_nothing_else(folder: Path, path: str) -> None:
    read_file, _ = file_tools(folder, ask=False)

    with pytest.raises((OSError, ValueError)) as caught:
        read_file(path)

    assert str(folder) not in str(caught.value)


def test_missing_folder_of_the_file_tools_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        file_tools(tmp_path / "none", ask=False)


def test_the_help_has_an_example() -> None:
    result = CliRunner().invoke(main, ["chat", "--help"])

    assert 'turnlatch chat --faults "529 times 2' in result.stdout
    assert isinstance(main, click.Group)

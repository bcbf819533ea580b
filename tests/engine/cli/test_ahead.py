"""What is typed while a turn runs: said with Enter, and nothing of it is lost."""

import re
from pathlib import Path

import pytest
from tests.engine.cli.test_chat import CSI, PROMPT, Chat

from turnlatch.cli.ahead import Ahead
from turnlatch.cli.terminal import Look, cells
from turnlatch.cli.transcript import Transcript
from turnlatch.ports import TextDelta
from turnlatch.simulator import Scripted, Simulator, reply
from turnlatch.simulator.server import run_in_thread
from turnlatch.watching.events import Arrived, Cursor


def test_line_typed_during_a_turn_is_steered_into_it(tmp_path: Path) -> None:
    with Chat(tmp_path, "notes", "--faults", "529 retry-after=4 @1") as chat:
        chat.say("hello there")
        chat.expect("retry 2/8 in")
        chat.type("and mind the gap")
        chat.expect("say > and mind the gap")
        chat.type("\r")
        chat.expect("you > and mind the gap")
        chat.expect("said; goes along with the next request")
        chat.expect("↻ retried 1x")
        chat.expect("✓ confirmed")
        chat.say("/history")
        chat.expect("you    > and mind the gap")
        chat.expect(PROMPT)
        assert "not heard yet" not in chat.text


def test_unsent_input_begins_the_next_prompt(tmp_path: Path) -> None:
    with Chat(tmp_path, "--faults", "cut 8 stall @1") as chat:
        chat.say("hello there")
        chat.expect("streaming")
        chat.type("half a lime\x7f\x7fne")
        chat.expect("say > half a line")
        chat.type("\x03")

        chat.expect("interrupted.  kept: your message")
        chat.expect(PROMPT + "half a line")
        chat.type(" more\r")
        chat.expect("claude")
        chat.expect("✓ confirmed")
        chat.say("/history 1")
        chat.expect("half a line more")


def test_stopped_turn_keeps_steered_lines_for_the_next_message(
    tmp_path: Path,
) -> None:
    with Chat(tmp_path, "notes", "--faults", "cut 8 stall @1") as chat:
        chat.say("hello there")
        chat.expect("streaming")
        chat.type("first\r")
        chat.expect("you > first")
        chat.type("second\r")
        chat.expect("you > second")
        chat.type("\x03")
        chat.expect("2 messages said meanwhile and not heard yet")
        chat.expect(PROMPT)
        chat.type("\x04")
        assert chat.left() == 0
    with Chat(tmp_path, "notes", "--sim") as chat:
        chat.expect("2 messages said meanwhile and not heard yet")
        chat.say("third")
        chat.expect("✓ confirmed")
        chat.say("/history")
        chat.expect("first second third")
        assert "not heard yet" not in chat.expect(PROMPT)


def test_a_command_waits_for_the_prompt_slashes_and_pastes_do_not(
    tmp_path: Path,
) -> None:
    with Chat(tmp_path, "--faults", "cut 8 stall @1") as chat:
        chat.say("hello there")
        chat.expect("streaming")
        chat.type("//slash\r")
        chat.expect("you > //slash")
        chat.type("\x1b[200~one\rtwo\x1b[201~")
        chat.expect("say > one⏎two")
        chat.type("\r")
        chat.expect("you > one\r\n       two")
        chat.type("/state\r")
        chat.expect("a command waits for the end")
        chat.type("\x03")
        chat.expect(PROMPT + "/state")
        chat.type("\r")
        chat.expect("turn 1 is failed")
        assert "\x1b[?2004l" in chat.raw.partition(PROMPT + "/state")[0]


def test_lines_pasted_together_are_one_steered_message() -> None:
    ahead = Ahead()
    assert ahead.feed_piece(b"one\rtwo\r\nthree\r") == ["one\ntwo\nthree"]
    assert ahead.feed_piece(b"four\nfi") == []
    assert ahead.feed_piece(b"ve\x7f\x7f\x7fx") == []
    assert ahead.feed_piece(b"\r") == ["four\nfx"]
    assert ahead.feed_piece(b"\x1b[200~a\rb\r") == []
    assert ahead.feed_piece(b"c\rd\r") == []  # the same paste goes on
    assert ahead.feed_piece(b"\x1b[201~") == []
    assert ahead.text == "a\nb\nc\nd\n"
    assert ahead.feed_piece(b"\r") == ["a\nb\nc\nd"]
    assert ahead.feed_piece(b"typed\r") == ["typed"]
    assert ahead.feed_piece(b"/quit\rmore\r") == ["/quit\nmore"]  # no command
    assert ahead.feed_piece(b"/state\r") == []
    assert ahead.take() == "/state"

    book = "line\r" * 50_000  # copied for each of them it would take minutes
    assert ahead.feed_piece(book.encode()) == [book.rstrip("\r").replace("\r", "\n")]


def test_line_typed_during_a_compaction_is_not_lost(tmp_path: Path) -> None:
    with Chat(tmp_path, "--faults", "529 retry-after=3 @2") as chat:
        chat.say("hello there")
        chat.expect("✓ confirmed")
        chat.say("/compact")
        chat.expect("retry 2/8 in")
        chat.type("and this\r")
        chat.expect("you > and this")
        chat.expect("the smaller context is in force")
        chat.expect(PROMPT)
        chat.type("then that\r")
        chat.expect("claude")
        chat.say("/history 1")
        chat.expect("and this")


def scrolled(chat: Chat) -> str:
    """What was written above the footer, without control sequences."""
    above = re.sub(
        r"\x1b7\x1b\[\?25l.*?\x1b8\x1b\[\?25h", "", chat.raw, flags=re.DOTALL
    )
    return CSI.sub("", above).replace("\r", "")


def test_streamed_reply_stays_whole_around_typed_lines(tmp_path: Path) -> None:
    """Over a real connection: a line is typed and said while the text arrives."""
    words = " ".join(f"word{number}" for number in range(60))
    slow = reply(words, pace_seconds=0.1)
    key = {"ANTHROPIC_API_KEY": "any"}
    with (
        run_in_thread(Simulator(Scripted([slow, "Heard."]))) as server,
        Chat(tmp_path, "--base-url", server.base_url, environ=key) as chat,
    ):
        chat.say("Go")
        chat.expect("word3")
        chat.type("mind the gap")
        chat.expect("say > mind the gap")
        chat.type("\r")
        chat.expect("you > mind the gap")
        chat.expect("word59")
        chat.expect("Heard.")
        chat.expect("✓ confirmed")
        chat.expect(PROMPT)

        shown = scrolled(chat)
        said = "you > mind the gap\n  said; goes along with the next request"
        assert said in shown
        assert re.findall(r"\S*word\S*", shown) == words.split()
        assert shown.count("mind the gap") == 1


def test_typed_line_does_not_break_an_arriving_word() -> None:
    transcript = Transcript(Look(), lambda: 60, lambda turn: [])
    text = "It comes in pieces, for example."
    said = ""
    for at in range(0, len(text), 3):
        piece = TextDelta(0, text[at : at + 3])
        said += transcript.tell(Arrived(Cursor(), 1, 1, piece), 0.0)
        if at == 27:  # inside the last word
            said += transcript.said("wait \x1b[2J", "said; goes along")

    said += transcript.note("the end")

    assert said == (
        "claude\n  It comes in pieces, for\nyou > wait \\x1b[2J\n  said; goes along\n"
        "claude\n  example.\n  the end\n"
    )


@pytest.mark.parametrize(
    ("keys", "said", "left"),
    [
        (b"one\rtwo\nthree", ["one", "two"], "three"),
        (b"\r  \r", [], "  "),
        (b"a b c\x17\x17d", [], "a d"),
        (b"gone\x15kept", [], "kept"),
        (b"\x7f\x08x\x7f", [], ""),
        (b"a\x1b[A\x1b[3~\x1bOPb\x1b\x00\x04", [], "ab"),
        (b"\x1b[200~pasted\x1b[201~", [], "pasted"),
        (b"\x1b[200~1\r2\r\n\t3\x15\x1b[201~!\rx", ["1\n2\n 3!"], "x"),
        ("héß漢".encode(), [], "héß漢"),
        (b"bad \xff\xfe\r", ["bad \ufffd\ufffd"], ""),
        (b"/state\r/more", [], "/state/more"),
        (b"//say\r", ["//say"], ""),
    ],
)
def test_keys_come_in_any_pieces(keys: bytes, said: list[str], left: str) -> None:
    whole, pieces = Ahead(), Ahead()

    assert whole.feed(keys) == said
    found = [line for key in keys for line in pieces.feed(bytes([key]))]

    assert whole.text == left
    if b"\x1b" not in keys:  # a key that is Esc and a sequence begin alike
        assert (found, pieces.text) == (said, left)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_the_end_of_a_long_line_is_in_sight(width: int) -> None:
    ahead = Ahead()
    assert ahead.shown(Look(), width) == ""
    ahead.feed(("漢字 word " * 20 + "\x1b]end").encode())

    shown = ahead.shown(Look(), width)

    assert shown.endswith("end_")
    assert cells(shown) <= width
    assert shown.isprintable()

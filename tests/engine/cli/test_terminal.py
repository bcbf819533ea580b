"""Nothing that anybody wrote can command the terminal, and nothing is lost from sight."""

import io
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.cli.page import INDENT, Flow
from turnlatch.cli.terminal import (
    GLYPHS,
    Look,
    cells,
    clip,
    one_line,
    shown,
    survey,
)
from turnlatch_states.fsm.printable import escape

ANYTHING = st.text(st.characters(codec=None, categories=None), max_size=200)
NASTY = st.one_of(
    ANYTHING,
    st.text(
        st.sampled_from("\x1b[]\x07\x9b\x90\r\n\t\u202e\u2066\u200b\x00a 漢\U0001f600")
    ),
)
COMMANDING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@given(NASTY)
def test_escaped_text_holds_nothing_a_terminal_obeys(text: str) -> None:
    escaped = escape(text)

    assert not COMMANDING.search(escaped)
    hidden = {unicodedata.category(char) for char in escaped if char not in "\n\t"} & {
        "Cc",
        "Cf",
        "Cs",
        "Co",
        "Cn",
        "Zl",
        "Zp",
    }
    assert not hidden


@given(NASTY)
def test_escaped_text_can_be_encoded_and_is_escaped_once(text: str) -> None:
    escaped = escape(text)

    escaped.encode()
    assert escape(escaped) == escaped


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_harmless_text_is_shown_as_it_is(text: str) -> None:
    assert escape(text) == text


@given(NASTY)
def test_one_line_is_one_line(text: str) -> None:
    assert not set(one_line(text)) & set("\n\t\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (
            "\x1b]8;;http://evil\x07click\x1b]8;;\x07",
            r"\x1b]8;;http://evil\x07click\x1b]8;;\x07",
        ),
        ("\x1b]52;c;cm0gLXJm\x07", r"\x1b]52;c;cm0gLXJm\x07"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
        ("\x9b2J", r"\x9b2J"),
        ("safe\rEVIL", r"safe\x0dEVIL"),
        ("a\u202eb", r"a\u202eb"),
        ("a\u200bb", r"a\u200bb"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("\u3164", r"\u3164"),
        ("line\r\nline", "line\nline"),
        ("Grüße, 漢字 \U0001f600", "Grüße, 漢字 \U0001f600"),
    ],
)
def test_known_attacks_are_shown_as_text(attack: str, told: str) -> None:
    assert escape(attack) == told


@given(NASTY, st.integers(0, 60))
def test_clipped_text_fits(text: str, width: int) -> None:
    assert cells(clip(one_line(text), width)) <= width


def test_every_glyph_is_one_column_and_has_an_ascii_stand_in() -> None:
    for glyph, plain in GLYPHS.values():
        assert cells(glyph) == len(glyph) == 1
        assert plain.isascii()


@given(st.lists(NASTY, max_size=8), st.integers(20, 120))
def test_flow_shows_every_word_within_the_window(pieces: list[str], width: int) -> None:
    flow = Flow()

    told = "".join(flow.feed(piece, width) for piece in pieces) + flow.end(width)

    assert not COMMANDING.search(told)
    assert all(cells(line) <= width for line in told.split("\n"))
    whole = escape("".join(pieces).replace("\r\n", "\n"))
    assert "".join(told.split()) == "".join(whole.split())
    assert not flow.mid_line


def test_flow_breaks_between_words_and_indents() -> None:
    flow = Flow()

    told = flow.feed("one two three four fi", 20) + flow.feed("ve\n  six", 20)

    assert told + flow.end(20) == (
        f"{INDENT}one two three four\n{INDENT}five\n{INDENT}  six\n"
    )


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Pipe(Tty):
    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("environ", "plain", "live", "colour"),
    [
        ({"TERM": "xterm"}, False, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, True, False),
        ({"TERM": "xterm", "CI": "true"}, False, False, False),
        ({"TERM": "dumb"}, False, False, False),
        ({}, False, False, False),
        ({"TERM": "xterm"}, True, False, False),
    ],
)
def test_terminal_and_environment_decide_colour_and_live_lines(
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    plain: bool,
    live: bool,
    colour: bool,
) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, Tty())

    found = survey(plain=plain, environ=environ)

    assert (found.live, found.look.colour) == (live, colour)
    assert found.look.ascii is plain


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_pipe_on_any_stream_means_no_footer(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for each in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, each, Pipe() if each == name else Tty())

    assert not survey(plain=False, environ={"TERM": "xterm"}).live


def test_without_colour_no_control_sequence_is_made() -> None:
    assert Look(colour=False).ink("text", "red") == "text"
    assert shown(Look(colour=True).ink("text", "red")) == "\x1b[31mtext\x1b[0m"

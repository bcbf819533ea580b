"""What may reach a terminal, and what the terminal can show.

Everything that a model, a tool or a server said passes `escape` before it is printed:
whoever writes the text must not be able to move the cursor, hide a line or set a title.
Colours and cursor moves are ours alone and are added afterwards.
"""

import codecs
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final, Literal, TextIO, TypeAlias, final

import attrs

Ink: TypeAlias = Literal["plain", "dim", "bold", "red", "green", "yellow", "cyan"]
"""The colours we use. They come from the reader's own palette, so contrast is theirs."""

_CODES: Final[Mapping[Ink, str]] = {
    "plain": "",
    "dim": "2",
    "bold": "1",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}

_SUSPECT = re.compile(r"[^\n\t\x20-\x7e]")
"""Whatever is not plainly harmless; most text has none, and is passed at once."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories that are not shown as themselves: controls, direction and format marks,
surrogates, private use, unassigned, and the separators some terminals break lines at."""

_IDEOGRAPHIC_FILLERS = frozenset("\u115f\u1160\u3164\uffa0")
"""Letters by category, but invisible: a name could be hidden behind them."""


def escape(text: str) -> str:
    """The text with every character that a terminal might obey made visible.

    A line feed and a tab stay; CR LF is one line feed; everything else of the hidden
    categories becomes a Python escape, like `\\x1b` or `\\u202e`.
    """
    return _SUSPECT.sub(_visible, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The text escaped, on one line: line feeds and tabs become spaces."""
    return " ".join(escape(text).split())


def _visible(found: re.Match[str]) -> str:
    char = found.group()
    if unicodedata.category(char) in _HIDDEN or char in _IDEOGRAPHIC_FILLERS:
        return (
            char.encode("ascii", "backslashreplace").decode()
            if (ord(char) > 0x7F)
            else f"\\x{ord(char):02x}"
        )
    return char


def cells(text: str) -> int:
    """How many columns escaped text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cell, text))


def _cell(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, width: int, more: str = "…") -> str:
    """Escaped text cut to `width` columns; `more` marks the cut."""
    if cells(text) <= width:
        return text
    left = width - cells(more)
    kept: list[str] = []
    for char in text:
        left -= _cell(char)
        if left < 0:
            break
        kept.append(char)
    return ("".join(kept) + more)[: max(width, 0)]


@final
@attrs.frozen
class Look:
    """How things are shown.

    Attributes:
        colour: Colours may be used.
        ascii: Only ASCII may be used.
    """

    colour: bool = False
    ascii: bool = False

    def ink(self, text: str, ink: Ink) -> str:
        """The text in a colour, if colours may be used. `text` is escaped already."""
        code = _CODES[ink]
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text

    def glyph(self, name: "Glyph") -> str:
        """A glyph, or its ASCII stand-in."""
        return GLYPHS[name][self.ascii]


Glyph: TypeAlias = Literal[
    "pending",
    "sent",
    "confirmed",
    "failed",
    "compacting",
    "to",
    "dot",
    "bar",
    "more",
    "retried",
]

GLYPHS: Final[Mapping[Glyph, tuple[str, str]]] = {
    "pending": ("○", "o"),
    "sent": ("◐", ">"),
    "confirmed": ("✓", "+"),
    "failed": ("✕", "x"),
    "compacting": ("≡", "="),
    "to": ("→", "->"),
    "dot": ("·", "."),
    "bar": ("│", "|"),
    "more": ("…", "..."),
    "retried": ("↻", "~"),
}
"""Every glyph, one column wide, and what stands for it where Unicode may not be used."""


@final
@attrs.frozen
class Terminal:
    """What the three streams are, and how to write to them.

    Attributes:
        asks: A person types at standard input.
        live: The footer may be drawn: all three streams are one able terminal.
        streams: The answer is shown while it arrives.
        look: How things are shown.
    """

    asks: bool
    live: bool
    streams: bool
    look: Look


def survey(
    *,
    plain: bool,
    environ: Mapping[str, str] | None = None,
    is_tty: Callable[[TextIO], bool] = lambda stream: stream.isatty(),
) -> Terminal:
    """What can be done with the streams of this process.

    Args:
        plain: The person asked for ASCII without a live area.
        environ: The environment; this process's by default.
        is_tty: Whether a stream is a terminal.
    """
    env = os.environ if environ is None else environ
    able = env.get("TERM", "") not in ("", "dumb") and not env.get("CI")
    asks = is_tty(sys.stdin)
    out, err = is_tty(sys.stdout), is_tty(sys.stderr)
    colour = out and err and able and not env.get("NO_COLOR")
    if env.get("FORCE_COLOR") and not env.get("NO_COLOR"):
        colour = True
    return Terminal(
        asks=asks,
        live=asks and out and err and able and not plain and os.name == "posix",
        streams=asks and out,
        look=Look(
            colour=colour and not plain,
            ascii=plain or not speaks_unicode(sys.stderr),
        ),
    )


def speaks_unicode(stream: TextIO) -> bool:
    """True if every glyph can be written to the stream."""
    try:
        return codecs.lookup(stream.encoding or "ascii").name.startswith("utf")
    except LookupError:
        return False


def forgive_encodings() -> None:
    """Let no character that a stream cannot carry raise in the middle of a turn."""
    for stream, errors in (
        (sys.stdin, "replace"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=errors)

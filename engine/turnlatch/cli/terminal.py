"""Guarding a terminal from foreign texts, and knowing what the terminal can show.

Everything the command writes to a terminal goes through `shown`: the streams themselves
are guarded (`guard_streams`), log lines, tracebacks and prints of libraries included. A
foreign text must not move the cursor, hide a line or set a title. Only turnlatch sets
colours. Inside the program they are marks, characters that stand in
no escaped text, and become control sequences only on their way out.
"""

import codecs
import io
import os
import re
import sys
import traceback
import unicodedata
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Literal, TextIO, TypeAlias, final

import attrs

from turnlatch_states.fsm.printable import escape

Ink: TypeAlias = Literal[
    "plain",
    "dim",
    "bold",
    "red",
    "green",
    "yellow",
    "blue",
    "magenta",
    "cyan",
    "cursor",
]
"""The colours we use. They come from the reader's own palette, so contrast is theirs."""

_CODES: Final[Mapping[Ink, str]] = {
    "plain": "0",
    "bold": "1",
    "dim": "2",
    "cursor": "7",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}

_MARKS: Final[Mapping[Ink, str]] = {
    ink: chr(0x10FF00 + place) for place, ink in enumerate(_CODES)
}
"""The marks for colours inside the program; private characters, so `escape` makes them
visible in foreign texts."""

_SEQUENCES: Final = {_MARKS[ink]: f"\x1b[{code}m" for ink, code in _CODES.items()}
_MARKED: Final = re.compile(f"([{''.join(_SEQUENCES)}])")


def shown(text: str) -> str:
    """What a terminal gets for a text: escaped, and in the colours that `ink` marked.

    Every text for a terminal is made here. A text that was not escaped before can at most
    choose one of our colours.
    """
    pieces = _MARKED.split(text)
    pieces[::2] = map(escape, pieces[::2])
    pieces[1::2] = map(_SEQUENCES.__getitem__, pieces[1::2])
    return "".join(pieces)


def one_line(text: str) -> str:
    """The text escaped, on one line: line feeds and tabs become spaces."""
    return " ".join(escape(text).split())


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
        """The text marked with a colour, if colours may be used; it is escaped already."""
        if not self.colour or ink == "plain" or not text:
            return text
        return f"{_MARKS[ink]}{text}{_MARKS['plain']}"

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
    """The kinds of the three streams, and how to write to them.

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
    """The capabilities of this process's streams.

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


def _as_it_is(**_: object) -> None:
    """A `reconfigure` for a stream that has none: does nothing."""


@final
class Guarded(io.TextIOBase):
    """A text stream to a terminal that writes what is `shown` of each text.

    It has no `buffer`: bytes would go around it.

    Args:
        stream: The stream to the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self.reconfigure: Callable[..., object] = getattr(
            stream, "reconfigure", _as_it_is
        )

    def write(self, text: str, /) -> int:
        """Write what is shown of the text; the length of the text."""
        self._stream.write(shown(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream behind."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Ask the stream behind."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor, which the line editor compares with the terminal's."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """It is for writing."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a variable here
        """The encoding of the stream behind."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]  # as above
        """How the stream behind treats what it cannot encode."""
        return self._stream.errors


def guard_streams() -> None:
    """From here on, escape everything that this process writes to a terminal.

    A stream to a file or a pipe stays as it is: a program that reads an answer gets the
    answer. With FORCE_COLOR somebody else's terminal is at its end, so it is guarded, too.
    """
    forced = bool(os.environ.get("FORCE_COLOR"))
    if not isinstance(sys.stdout, Guarded) and (forced or sys.stdout.isatty()):
        sys.stdout = Guarded(sys.stdout)
    if not isinstance(sys.stderr, Guarded) and (forced or sys.stderr.isatty()):
        sys.stderr = Guarded(sys.stderr)
    if isinstance(sys.stderr, Guarded):
        # Newer versions of Python colour their own tracebacks, which would be escaped.
        sys.excepthook = _crashed


def _crashed(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sys.stderr.write("".join(traceback.format_exception(kind, error, trace)))

"""Laying out text that is still arriving: indented, broken between words."""

import re
from typing import Final, final

from turnlatch.cli.terminal import cells
from turnlatch_states.fsm.printable import escape

WIDTH_MAX: Final = 100
"""Longer lines are hard to read, however wide the window is."""

INDENT: Final = "  "


def wrapped(line: str, width: int) -> list[str]:
    """A line broken between words to fit; what follows hangs under its first word.

    The line is escaped already. A word that is longer than a line is broken where it must
    be. No character is looked at more than a few times, however long its word is.
    """
    room = max(20, min(width, WIDTH_MAX))
    if cells(line) <= room:
        return [line]
    hang = " " * min(len(line) - len(line.lstrip(" ")) + 2, room // 2)
    lines: list[str] = []
    begun: list[str] = []  # the pieces of the open line
    taken, blank = 0, True  # its columns, and whether it holds nothing but spaces
    for token in _TOKEN.findall(line):
        word = token.rstrip()
        size = cells(word)
        if not blank and taken + size > room:
            lines.append("".join(begun).rstrip())
            begun, taken, blank = [hang], len(hang), True
        if taken + size > room:
            *whole, rest = _broken(word, room - taken, room - len(hang))
            for piece in whole:
                lines.append("".join((*begun, piece)))
                begun, taken = [hang], len(hang)
            word, size = rest, cells(rest)
        spaces = token[len(token.rstrip()) :]
        begun += (word, spaces)
        taken += size + len(spaces)
        blank = blank and not word.strip()
    last = "".join(begun)
    return [*lines, last.rstrip()] if last.strip() else lines


def _broken(word: str, first: int, room: int) -> list[str]:
    """A word in pieces that fit: `first` columns are left for the first of them."""
    pieces: list[str] = []
    start, left = 0, first
    for at, char in enumerate(word):
        left -= cells(char)
        if left < 0:
            pieces.append(word[start:at])
            start, left = at, room - cells(char)
    return [*pieces, word[start:]]


_TOKEN = re.compile(r" *[^ ]* ?")
_PIECE = re.compile(r"\n|[ \t]+|[^\n \t]+")


@final
class Flow:
    """Turns pieces of text into lines that fit, without waiting for their end.

    The last word is held back until it is known to be whole, so no word is broken in
    the middle; `end` gives it out. The text is escaped here, once.
    """

    def __init__(self) -> None:
        self._column = 0  # columns used on the open line; 0 at the start of one
        self._held: list[str] = []  # pieces of the last word
        self._spaces = ""
        self._carry = ""

    @property
    def mid_line(self) -> bool:
        """True if something stands on the open line, or is held back for it."""
        return self._column > 0 or bool(self._held)

    def feed(self, text: str, width: int) -> str:
        """The part of the text that can be printed now, for a window of that width."""
        text = self._carry + text
        self._carry = ""
        if text.endswith("\r"):  # half of a CR LF, perhaps
            text, self._carry = text[:-1], "\r"
        room = max(20, min(width, WIDTH_MAX))
        out: list[str] = []
        for piece in _PIECE.findall(escape(text)):
            if piece == "\n":
                out += (self._word(room), "\n")
                self._column, self._spaces = 0, ""
            elif piece[0] in " \t":
                out.append(self._word(room))
                spaces = self._spaces + piece.replace("\t", "    ")
                self._spaces = spaces[:WIDTH_MAX]  # more do not fit on any line
            else:
                self._held.append(piece)
        return "".join(out)

    def aside(self) -> str:
        """The end of the open line, for something to be said in between.

        A word that has begun is held back still, and goes on below.
        """
        column, self._column, self._spaces = self._column, 0, ""
        return "\n" if column else ""

    def end(self, width: int) -> str:
        """The rest, and the end of the open line."""
        if self._carry:  # no LF came after the CR
            self._held.append(escape(self._carry))
        self._carry = ""
        rest = self.feed("\n", width) if self.mid_line else ""
        self._spaces = ""
        return rest

    def _word(self, room: int) -> str:
        word = "".join(self._held)
        self._held.clear()
        if not word:
            return ""
        spaces, self._spaces = self._spaces, ""
        out: list[str] = []
        if self._column and self._column + len(spaces) + cells(word) > room:
            out.append("\n")
            self._column, spaces = 0, ""
        if not self._column:
            out.append(INDENT)
            self._column = len(INDENT)
        spaces = spaces[: max(0, room - self._column - 1)]
        out.append(spaces)
        self._column += len(spaces)
        for char in word:  # a word longer than a line is broken where it must be
            if self._column + cells(char) > room:
                out.append("\n" + INDENT)
                self._column = len(INDENT)
            out.append(char)
            self._column += cells(char)
        return "".join(out)

"""Laying out text that is still arriving: indented, broken between words."""

import re
from typing import Final, final

from detent.cli.terminal import cells, clip
from detent_states.visible import escape

WIDTH_MAX: Final = 100
"""Longer lines are hard to read, however wide the window is."""

INDENT: Final = "  "


def wrapped(line: str, width: int) -> list[str]:
    """A line broken between words to fit; what follows hangs under its first word.

    The line is escaped already. A line without a break stays as it is.
    """
    room = max(20, min(width, WIDTH_MAX))
    if cells(line) <= room:
        return [line]
    hang = " " * min(len(line) - len(line.lstrip(" ")) + 2, room // 2)
    lines: list[str] = []
    open_line = ""
    for word in _TOKEN.findall(line):
        if open_line.strip() and cells(open_line) + cells(word.rstrip()) > room:
            lines.append(open_line.rstrip())
            open_line = hang
        open_line += word
        while cells(open_line) > room and not open_line.endswith(" "):
            head = clip(open_line, room, "")
            lines.append(head)
            open_line = hang + open_line[len(head) :]
    return [*lines, open_line.rstrip()] if open_line.strip() else lines


_TOKEN = re.compile(r" *[^ ]* ?")


@final
class Flow:
    """Turns pieces of text into lines that fit, without waiting for their end.

    The last word is held back until it is known to be whole, so no word is broken in
    the middle; `end` gives it out. The text is escaped here, once.
    """

    def __init__(self) -> None:
        self._column = 0  # columns used on the open line; 0 at the start of one
        self._held = ""
        self._spaces = ""
        self._carry = ""

    @property
    def mid_line(self) -> bool:
        """True if something stands on the open line, or is held back for it."""
        return self._column > 0 or bool(self._held)

    def feed(self, text: str, width: int) -> str:
        """What can be printed of it now, for a window of that width."""
        text = self._carry + text
        self._carry = ""
        if text.endswith("\r"):  # half of a CR LF, perhaps
            text, self._carry = text[:-1], "\r"
        room = max(20, min(width, WIDTH_MAX))
        out: list[str] = []
        for char in escape(text):
            if char == "\n":
                out += (self._word(room), "\n")
                self._column, self._spaces = 0, ""
            elif char in " \t":
                out.append(self._word(room))
                self._spaces += " " if char == " " else "    "
            else:
                self._held += char
        return "".join(out)

    def aside(self) -> str:
        """The end of the open line, for something to be said in between.

        A word that has begun is held back still, and goes on below.
        """
        column, self._column, self._spaces = self._column, 0, ""
        return "\n" if column else ""

    def end(self, width: int) -> str:
        """The rest, and the end of the open line."""
        self._held += escape(self._carry)  # no LF came after the CR
        self._carry = ""
        rest = self.feed("\n", width) if self.mid_line else ""
        self._spaces = ""
        return rest

    def _word(self, room: int) -> str:
        word, self._held = self._held, ""
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

"""The line that a person types while a turn runs: Enter sends it, the rest is kept."""

import codecs
import re
from typing import Final, final

from turnlatch.cli.terminal import Look, cells, clip
from turnlatch_states.fsm.printable import escape

HINT: Final = "enter sends it"

_KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~])|\r\n|.", re.DOTALL)
"""One key: the sequence of an arrow or editing key, the bracket of a paste, a character."""

_BEGINNING = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,16}|O)\Z")
"""An escape sequence whose end has not arrived yet, up to a maximum length."""

_ENDS: Final = ("\r", "\n", "\r\n")
_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"


@final
class Ahead:
    """One line with the simplest editing: Backspace, Ctrl-W, Ctrl-U and Enter.

    Keys that move a cursor do nothing. A paste stays together with its line ends: text
    between paste brackets, or several lines that arrive in one piece. When the turn ends,
    the next prompt begins with the text on the line, which can be edited there.

    Attributes:
        text: The text on the line, as it was typed.
    """

    def __init__(self) -> None:
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pasting = False
        self._open = ""  # the beginning of an escape sequence

    def feed(self, data: bytes) -> list[str]:
        """Take keys as a terminal sends them; returns the lines that Enter ended.

        A line that begins with a slash is a command and waits for the end of the turn.
        """
        keys = self._open + self._decoder.decode(data)
        begun = _BEGINNING.search(keys)
        self._open = begun.group() if begun else ""
        keys = keys[: len(keys) - len(self._open)]
        said: list[str] = []
        typed = [self.text]  # joined once, so that the work grows with the keys
        for key in _KEY.findall(keys):
            if key in (_PASTE, _PASTED):
                self._pasting = key == _PASTE
            elif self._pasting:
                typed.append(pasted(key))
            elif key not in _ENDS:
                _edit(typed, key)
            else:
                self.text = "".join(typed)
                if self.text.strip() and not is_command(self.text):
                    said.append(self.take().rstrip("\n"))
                typed = [self.text]
        self.text = "".join(typed)
        return said

    def feed_piece(self, data: bytes) -> list[str]:
        """As `feed`, for keys that arrived in one piece: several lines count as a paste,
        also in terminals without paste brackets."""
        lines = data.rstrip(b"\r\n")
        several = b"\r" in lines or b"\n" in lines
        if several and not (self._pasting or self._open or b"\x1b" in data):
            end = b"" if lines == data else b"\r"
            data = _PASTE.encode() + lines + _PASTED.encode() + end
        return self.feed(data)

    def take(self) -> str:
        """Take the text off the line."""
        text, self.text, self._pasting = self.text, "", False
        return text

    def shown(self, look: Look, width: int) -> str:
        """The line for the window, its end in sight; empty if nothing is typed."""
        if not self.text:
            return ""
        label = "say > "
        hint = "a command waits for the end" if is_command(self.text) else HINT
        room = width - len(label) - 1
        # Only the end is visible; combining marks take no column.
        end = escape(self.text[-8 * max(room, 1) :])
        text = end.replace("\n", "|" if look.ascii else "⏎")
        if cells(text) > room:
            more = look.glyph("more")
            back = clip(text[::-1], room - len(more), "")
            text = more + back[::-1]
        left = room - cells(text) - 2
        cursor = look.ink(" ", "cursor") if look.colour else "_"
        aside = f"  {look.ink(hint, 'dim')}" if len(hint) <= left else ""
        return f"{look.ink(label, 'bold')}{text}{cursor}{aside}"


def is_command(line: str) -> bool:
    """True for one line that is for the chat and not for the model."""
    text = line.strip()
    return text.startswith("/") and not text.startswith("//") and "\n" not in text


def _edit(typed: list[str], key: str) -> None:
    """Do to the pieces of a line what a key does."""
    match key:
        case "\x7f" | "\b":
            while typed and not typed[-1]:
                typed.pop()
            if typed:
                typed[-1] = typed[-1][:-1]
        case "\x15":  # Ctrl-U
            typed.clear()
        case "\x17":  # Ctrl-W
            text = "".join(typed).rstrip()
            typed[:] = [text[: len(text) - len(text.split()[-1])] if text else ""]
        case "\t":
            typed.append(" ")
        case _:
            typed.append("" if key < " " else key)


def pasted(key: str) -> str:
    """The text for one key of a paste."""
    if key in _ENDS:
        return "\n"
    return " " if key == "\t" else "" if key < " " or key == "\x7f" else key


def pasted_text(keys: str) -> str:
    """The text for keys that arrived in one piece."""
    return "".join(map(pasted, _KEY.findall(keys)))

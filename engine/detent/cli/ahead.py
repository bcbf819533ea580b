"""The line that a person types while a turn runs: said with Enter, kept otherwise."""

import codecs
import re
from typing import Final, final

from detent.cli.terminal import Look, cells, clip
from detent_states.visible import escape

HINT: Final = "enter says it"

_KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~])|\r\n|.", re.DOTALL)
"""One key: what an arrow or an editing key sends, the bracket of a paste, a character."""

_BEGINNING = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)\Z")
"""The first of them, and its end has not come yet."""

_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"


@final
class Ahead:
    """One line with the simplest editing: Backspace, Ctrl-W, Ctrl-U and Enter.

    Keys that move a cursor do nothing. What is pasted stays together, line ends and all.
    What stands on the line when the turn ends is where the next prompt begins, and can
    be edited there.

    Attributes:
        text: What stands on the line, as it was typed.
    """

    def __init__(self) -> None:
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pasting = False
        self._open = ""  # the beginning of an escape sequence

    def feed(self, data: bytes) -> list[str]:
        """Take keys as a terminal sends them; the lines that Enter ended, in order.

        A line that begins with a slash is a command, and has to wait: it stays.
        """
        keys = self._open + self._decoder.decode(data)
        begun = _BEGINNING.search(keys)
        self._open = begun.group() if begun else ""
        keys = keys[: len(keys) - len(self._open)]
        said: list[str] = []
        for key in _KEY.findall(keys):
            if key in (_PASTE, _PASTED):
                self._pasting = key == _PASTE
            elif self._pasting:
                self.text += _pasted(key)
            elif key not in ("\r", "\n", "\r\n"):
                self.text = _edited(self.text, key)
            elif self.text.strip() and not is_command(self.text):
                said.append(self.take())
        return said

    def take(self) -> str:
        """What stands on the line, which is empty then."""
        text, self.text, self._pasting = self.text, "", False
        return text

    def shown(self, look: Look, width: int) -> str:
        """The line for the window, its end in sight; empty if nothing is typed."""
        if not self.text:
            return ""
        label = "say > "
        hint = "a command waits for the end" if is_command(self.text) else HINT
        text = escape(self.text).replace("\n", "|" if look.ascii else "⏎")
        room = width - len(label) - 1
        if cells(text) > room:
            more = look.glyph("more")
            back = clip(text[::-1], room - len(more), "")
            text = more + back[::-1]
        left = room - cells(text) - 2
        cursor = look.ink(" ", "cursor") if look.colour else "_"
        aside = f"  {look.ink(hint, 'dim')}" if len(hint) <= left else ""
        return f"{look.ink(label, 'bold')}{text}{cursor}{aside}"


def is_command(line: str) -> bool:
    """True for a line that is for the chat and not for the model."""
    text = line.strip()
    return text.startswith("/") and not text.startswith("//")


def _edited(text: str, key: str) -> str:
    match key:
        case "\x7f" | "\b":
            return text[:-1]
        case "\x15":  # Ctrl-U
            return ""
        case "\x17":  # Ctrl-W
            return re.sub(r"\S*\s*\Z", "", text)
        case "\t":
            return text + " "
        case _:
            return text if key < " " else text + key


def _pasted(key: str) -> str:
    if key in ("\r", "\n", "\r\n"):
        return "\n"
    return " " if key == "\t" else "" if key < " " or key == "\x7f" else key

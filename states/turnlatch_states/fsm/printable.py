"""Making visible what a terminal, a log or a reader could be misled by.

Texts of models, tools, servers and files hold whatever their writers chose: sequences that
move a cursor, marks that turn the direction of writing, letters that cannot be seen.
"""

import re
import unicodedata
from typing import Final

_SUSPECT: Final = re.compile(r"[^\n\t\x20-\x7e]")
"""Whatever is not plainly harmless; most text has none, and is passed at once."""

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories that are not shown as themselves: controls, direction and format marks,
surrogates, private use, unassigned, and the separators some terminals break lines at."""

_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0")
"""Letters by category, but invisible: a name could be hidden behind them."""


def escape(text: str) -> str:
    """The text with every character that a terminal might obey made visible.

    A line feed and a tab stay; CR LF is one line feed; everything else of the hidden
    categories becomes a Python escape, like `\\x1b` or `\\u202e`.
    """
    return _SUSPECT.sub(_visible, text.replace("\r\n", "\n"))


def printable(text: str) -> str:
    """The text escaped, with `\\n` and `\\t` for line feeds and tabs: one line."""
    return escape(text).replace("\n", "\\n").replace("\t", "\\t")


def _visible(found: re.Match[str]) -> str:
    char = found.group()
    if unicodedata.category(char) not in _HIDDEN and char not in _FILLERS:
        return char
    if ord(char) > 0x7F:
        return char.encode("ascii", "backslashreplace").decode()
    return f"\\x{ord(char):02x}"

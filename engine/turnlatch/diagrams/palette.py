"""The colours of drawings, on white and on near-black pages.

Text on a fill and on the page meets a contrast of 4.5 to 1, borders and lines one of
3 to 1; a test computes them. Meaning never hangs on a colour alone.
"""

from collections.abc import Mapping
from typing import Final, Literal

import attrs

from turnlatch_states.fsm.table import Role

Theme = Literal["auto", "light", "dark"]
"""Which page a drawing is for; `auto` follows what the reader's system prefers."""


@attrs.frozen
class Style:
    """Fill and border of a state."""

    fill: str
    border: str


@attrs.frozen
class Palette:
    """Every colour of one theme.

    Attributes:
        page: The page a drawing is meant for; it is never painted.
        text: States and taken rows.
        muted: Labels of rows that were not taken.
        edge: Lines of rows that were not taken.
        path: Lines and counts of rows that were taken.
        looks: Fill and border by role.
    """

    page: str
    text: str
    muted: str
    edge: str
    path: str
    looks: Mapping[Role, Style]


LIGHT: Final = Palette(
    page="#ffffff",
    text="#1f2328",
    muted="#59636e",
    edge="#8c959f",
    path="#0969da",
    looks={
        Role.IDLE: Style("#f6f8fa", "#59636e"),
        Role.BUSY: Style("#ddf4ff", "#0969da"),
        Role.OK: Style("#dafbe1", "#1a7f37"),
        Role.BAD: Style("#ffebe9", "#cf222e"),
        Role.UPKEEP: Style("#fbefff", "#8250df"),
    },
)

DARK: Final = Palette(
    page="#0d1117",
    text="#e6edf3",
    muted="#9198a1",
    edge="#6e7681",
    path="#58a6ff",
    looks={
        Role.IDLE: Style("#161b22", "#9198a1"),
        Role.BUSY: Style("#0c2d6b", "#58a6ff"),
        Role.OK: Style("#0f3d1e", "#3fb950"),
        Role.BAD: Style("#5a1e1e", "#ff7b72"),
        Role.UPKEEP: Style("#3c1e70", "#bc8cff"),
    },
)

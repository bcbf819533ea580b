"""Diagrams of declared machines: SVG, Mermaid, DOT and text, all from the same rows.

Nothing is drawn by hand. A table goes in, a string comes out, and the same table gives
the same bytes; a row that is in the table is in the picture.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, assert_never

from turnlatch.diagrams import dot, mermaid, svg, text
from turnlatch.diagrams.labels import MoveLabel
from turnlatch.diagrams.palette import Theme
from turnlatch.diagrams.parts import folded
from turnlatch_states.fsm.table import Table
from turnlatch_states.machine.call import CALL
from turnlatch_states.machine.connection import CONNECTION
from turnlatch_states.machine.thread import THREAD
from turnlatch_states.machine.turn import TURN
from turnlatch_states.machine.writer import WRITER

Format = Literal["mermaid", "svg", "dot", "text"]
"""The formats of a drawing."""

MACHINES: Final[Mapping[str, Table]] = MappingProxyType(
    {table.name: table for table in (TURN, CALL, THREAD, WRITER, CONNECTION)}
)
"""Every declared machine by name, the turn first."""


def render(
    table: Table,
    format: Format,
    *,
    path: Sequence[MoveLabel] = (),
    current: str | None = None,
    theme: Theme = "auto",
) -> str:
    """Draw a machine.

    Args:
        table: The machine; every state and every row of it is drawn. States that
            have parts are drawn as one; text and Mermaid draw the parts, too.
        format: `svg`, `mermaid`, `dot` or `text`.
        path: Moves that were taken, such as those of a recorded turn. Their rows are
            drawn thick where the format can, and carry how often.
        current: The state to draw with a thick border.
        theme: `auto` follows the reader's system in SVG; formats that cannot do so
            take the light colours. Text has no colours.

    Returns:
        The drawing, ending in a line feed.

    Raises:
        ValueError: A move is not a row of the table, or `current` is not a state of it.
    """
    match format:
        case "svg":
            return svg.draw(folded(table), path=path, current=current, theme=theme)
        case "mermaid":
            return mermaid.draw(table, path=path, current=current, theme=theme)
        case "dot":
            return dot.draw(folded(table), path=path, current=current, theme=theme)
        case "text":
            return text.draw(table, path=path, current=current)
        case _:
            assert_never(format)


__all__ = ["MACHINES", "Format", "MoveLabel", "Theme", "render"]
